"""How many samples of each class are predicted rightly at a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import tables

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


@dataclass(frozen=True)
class ConfusionTable:
    """Counts of samples by their class and the predicted one; sums of weights where there are some.

    Parameters
    ----------
    true_negatives, false_positives, false_negatives, true_positives : float
        "Positive" is the second class.
    threshold : float
        Probabilities above it predict the second class.
    classes : tuple
        The two classes.
    """

    true_negatives: float
    false_positives: float
    false_negatives: float
    true_positives: float
    threshold: float = 0.5
    classes: tuple[Any, Any] = (0, 1)

    @property
    def sensitivity(self) -> float:
        """Share of the second class that is predicted as such."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> float:
        """Share of the first class that is predicted as such."""
        return _share(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def precision(self) -> float:
        """Share of those predicted as the second class that are of it."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def negative_predictive_value(self) -> float:
        """Share of those predicted as the first class that are of it."""
        return _share(self.true_negatives, self.true_negatives + self.false_negatives)

    @property
    def accuracy(self) -> float:
        """Share of all that are predicted rightly."""
        right = self.true_negatives + self.true_positives
        return _share(right, right + self.false_negatives + self.false_positives)

    def to_dict(self) -> dict[str, Any]:
        """Return counts and shares, for JSON; a share of nothing is None."""
        shares = (
            "sensitivity",
            "specificity",
            "precision",
            "negative_predictive_value",
            "accuracy",
        )
        content = {**self.__dict__, **{name: getattr(self, name) for name in shares}}
        found: dict[str, Any] = tables.plain(content)
        return found

    def __str__(self) -> str:
        zero, one = map(str, self.classes)
        counts = {
            f"predicted {zero}": [self.true_negatives, self.false_negatives],
            f"predicted {one}": [self.false_positives, self.true_positives],
        }
        cells = {title: [f"{count:.10g}" for count in column] for title, column in counts.items()}
        table = tables.text_table(
            [f"observed {zero}", f"observed {one}"], cells, tables.terminal_width(), 2
        )
        shares = [
            ("sensitivity", f"{self.sensitivity:.4f}"),
            ("specificity", f"{self.specificity:.4f}"),
            ("precision", f"{self.precision:.4f}"),
            ("negative predictive value", f"{self.negative_predictive_value:.4f}"),
            ("accuracy", f"{self.accuracy:.4f}"),
        ]
        below = "\n".join(f"{name}: {value}" for name, value in shares)
        return f"probability of {one} above {self.threshold:g}\n{table}\n{below}"


def confusion_table(
    y_true: ArrayLike,
    probability: ArrayLike,
    *,
    threshold: float = 0.5,
    sample_weight: ArrayLike | None = None,
    classes: tuple[Any, Any] = (0, 1),
) -> ConfusionTable:
    """Count the samples of each class that are predicted rightly at a threshold.

    Parameters
    ----------
    y_true : array_like of shape (n,)
        Labels, each one of `classes`.
    probability : array_like of shape (n,)
        Probabilities of the second class.
    threshold : float, default 0.5
        Probabilities above it predict the second class.
    sample_weight : array_like of shape (n,), optional
        Non-negative weights.
    classes : tuple, default (0, 1)
        The two classes; "positive" is the second one.

    Returns
    -------
    ConfusionTable
        Its text is a table with sensitivity and specificity.

    Raises
    ------
    ValueError
        If the shapes differ, a probability is outside [0, 1], a label is none of `classes`, a
        weight is negative or not finite, or `threshold` is not between 0 and 1.

    Examples
    --------
    >>> from fastbce.inference import confusion_table
    >>> table = confusion_table([0, 1, 1, 0], [0.2, 0.9, 0.4, 0.1])
    >>> print(table.sensitivity, table.specificity, table.accuracy)
    0.5 1.0 0.75
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold!r}")
    y, p = np.asarray(y_true), np.asarray(probability, np.float64)
    weight = np.ones(p.shape) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if p.ndim != 1 or not y.shape == p.shape == weight.shape:
        raise ValueError(
            f"labels, probabilities and weights must be of one shape (n,), got {y.shape}, "
            f"{p.shape} and {weight.shape}"
        )
    wrong = ~((p >= 0) & (p <= 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"the probability in row {row + 1} is {p[row]!r}")
    wrong = ~(np.isfinite(weight) & (weight >= 0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"the weight in row {row + 1} is {weight[row]!r}")
    positive = y == classes[1]
    wrong = ~(positive | (y == classes[0]))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"the label in row {row + 1} is {tables.plain(y[row])!r}, which is neither "
            f"{classes[0]!r} nor {classes[1]!r}"
        )
    predicted = p > threshold
    tn, fp, fn, tp = (
        float(weight[(positive == observed) & (predicted == guess)].sum())
        for observed in (False, True)
        for guess in (False, True)
    )
    return ConfusionTable(tn, fp, fn, tp, float(threshold), classes)
