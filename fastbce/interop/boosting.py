"""Objectives for XGBoost and LightGBM, in their native and their scikit-learn forms.

Nothing of the frameworks is imported: an objective is a function of what they pass to it. It gives
the gradient and the Hessian of each sample with its weight, as both frameworks want, which apply no
weights to those of an objective that is not their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastbce._inputs import (
    as_array,
    as_number,
    check_choice,
    check_same_shape,
    check_weight,
    describe,
)
from fastbce._typing import Array
from fastbce.functional import (
    bce_with_logits_gradient_hessian,
    focal_gradient_hessian,
    sigmoid,
)

__all__ = ["Objective", "Probabilities", "init_score", "objective"]

# The losses, each with its options and their defaults; None has to be given.
LOSSES: dict[str, dict[str, float | None]] = {
    "logistic": {},
    "weighted": {"pos_weight": None},
    "focal": {"alpha": 0.25, "gamma": 2.0, "min_hessian": 1e-16},
}
FRAMEWORKS = ("xgboost", "lightgbm")


@dataclass(frozen=True)
class Objective:
    """What :func:`objective` returns: a function that can be pickled, copied and compared."""

    loss: str
    framework: str
    options: tuple[tuple[str, float], ...] = ()

    def __call__(self, first: Any, second: Any, sample_weight: Any = None) -> tuple[Array, Array]:
        """Return the gradient and the Hessian of the loss with respect to each score.

        Parameters
        ----------
        first, second : ndarray of shape (n_samples,)
            Scores and the training set (native form), or labels and scores (scikit-learn form).
        sample_weight : ndarray of shape (n_samples,), optional
            Weights of the scikit-learn form; a training set has its own.

        Returns
        -------
        gradient, hessian : ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            If a label is NaN or outside [0, 1], or there is not one score a sample.
        """
        labels, scores, weight = second, first, sample_weight
        if hasattr(second, "get_label"):
            labels, weight = second.get_label(), second.get_weight()
            if weight is not None and not len(weight):  # XGBoost's for no weights
                weight = None
        else:
            labels, scores = first, second
        if np.ndim(scores) != 1:
            raise ValueError(
                f"{self.framework} passed scores of shape {np.shape(scores)}: the {self.loss} loss "
                "has one score a sample, so train one model for each class"
            )
        options: dict[str, Any] = dict(self.options)
        least = options.pop("min_hessian", None)
        function = (
            focal_gradient_hessian if self.loss == "focal" else bce_with_logits_gradient_hessian
        )
        gradient, hessian = function(
            scores,
            labels,
            sample_weight=weight,
            reduction="sum",
            check_labels=True,
            # What both frameworks keep, whatever the scores are.
            out=(np.empty(len(scores), np.float32), np.empty(len(scores), np.float32)),
            **options,
        )
        if least is not None:
            np.maximum(hessian, np.float32(least), out=hessian)
        return gradient, hessian


def objective(loss: str, framework: str, **options: float) -> Objective:
    """Return an objective for gradient boosting.

    Parameters
    ----------
    loss : {"logistic", "weighted", "focal"}
        The cross-entropy of the scores, as XGBoost's ``binary:logistic`` and LightGBM's ``binary``;
        the same with label 1 counted `pos_weight` times, as their ``scale_pos_weight``; or the
        focal loss, see :func:`fastbce.focal_loss`.
    framework : {"xgboost", "lightgbm"}
        What it is for.
    pos_weight : float
        Of "weighted": finite and not negative.
    alpha, gamma : float, default 0.25 and 2.0
        Of "focal".
    min_hessian : float, default 1e-16
        Of "focal", whose Hessian is negative where a label is unlikely: less than this is replaced
        by it, since the frameworks divide by sums of it.

    Returns
    -------
    Objective
        For XGBoost: ``xgboost.train({"objective": "binary:logistic", ...}, data, obj=...)`` or
        ``XGBClassifier(objective=...)``. For LightGBM: ``lightgbm.train({"objective": ..., ...},
        data)`` or ``LGBMClassifier(objective=...)``. Neither starts from the share of the positive
        samples then: see :func:`init_score`.

    Raises
    ------
    TypeError, ValueError
        If a name is unknown, or an option is missing, of another loss or cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> import xgboost
    >>> from fastbce.interop.boosting import objective
    >>> X = np.arange(8.0).reshape(-1, 1)
    >>> data = xgboost.DMatrix(X, (X[:, 0] > 3).astype(int))
    >>> params = {"objective": "binary:logistic", "base_score": 0.5}
    >>> booster = xgboost.train(params, data, 3, obj=objective("logistic", "xgboost"))
    >>> booster.predict(data).shape
    (8,)
    """
    check_choice(loss, tuple(LOSSES), "unknown loss")
    check_choice(framework, FRAMEWORKS, "unknown framework")
    known = LOSSES[loss]
    for name in options.keys() - known.keys():
        has = f"has {', '.join(known)}" if known else "has none"
        raise TypeError(f"{name} is no option of the {loss} loss, which {has}")
    values: dict[str, Any] = {**known, **options}
    for name, value in values.items():
        if value is None:
            raise TypeError(f"{name} is missing: the {loss} loss needs it")
        values[name] = as_number(value, name)
    least = values.get("min_hessian", 0.0)
    if not 0.0 <= least < math.inf:
        raise ValueError(f"min_hessian must be finite and not negative, got {least!r}")
    found = Objective(loss, framework, tuple(values.items()))
    found(np.zeros(1), np.zeros(1))  # what cannot be used is an error now, not in the first round
    return found


def init_score(y_true: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return the log-odds of the share of the positive samples, by weight.

    The frameworks start from there with objectives of their own, and with no others. XGBoost takes
    it as a probability, ``base_score=fastbce.sigmoid(score)``. LightGBM takes it for each sample,
    ``init_score=np.full(len(y), score)``, and forgets it: see :class:`Probabilities`.

    Parameters
    ----------
    y_true : array_like of shape (n_samples,)
        Labels in [0, 1].
    sample_weight : array_like of shape (n_samples,), optional
        Finite, non-negative weights.

    Returns
    -------
    float
        The log-odds.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, a label is outside [0, 1], or all weight is in one class.

    Examples
    --------
    >>> from fastbce.interop.boosting import init_score
    >>> print(f"{init_score([0, 1, 1, 1]):.4f}")  # log(3)
    1.0986
    """
    y = as_array(y_true, "y_true")
    if y.ndim != 1 or not y.size:
        raise ValueError(f"y_true has shape {y.shape}: pass one label a sample, (n_samples,)")
    if not (y.min() >= 0 and y.max() <= 1):
        raise ValueError(
            f"labels must lie in [0, 1], and here they reach from {y.min()} to {y.max()}"
        )
    if sample_weight is None:
        positive, total = float(y.sum(dtype=np.float64)), float(y.size)
    else:
        weight = as_array(sample_weight, "sample_weight")
        check_same_shape(y, "y_true", weight, "sample_weight")
        check_weight(weight, y.shape)
        positive = float(np.multiply(weight, y, dtype=np.float64).sum())
        total = float(weight.sum(dtype=np.float64))
    if not 0 < positive < total:
        raise ValueError(
            "all weight is in one class, whose log-odds are infinite: there is nothing to learn"
        )
    return math.log(positive) - math.log(total - positive)


class Probabilities:
    """A fitted model of XGBoost or LightGBM whose scores are log-odds, as a classifier.

    LightGBM gives scores where it does not know the objective, and from ``predict_proba`` too; what
    the training started from is not among them. XGBoost gives probabilities by itself where the
    parameters keep ``"objective": "binary:logistic"``, as ``XGBClassifier`` does.

    Parameters
    ----------
    model : Booster or classifier of XGBoost or LightGBM
        Fitted with an :func:`objective`.
    init_score : float, default 0.0
        What the training started from, for LightGBM; XGBoost's models hold it.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Those of a classifier, else 0 and 1.

    Raises
    ------
    TypeError
        If the model is of neither framework.
    """

    def __init__(self, model: Any, init_score: float = 0.0) -> None:
        packages = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
        found = packages & set(FRAMEWORKS)
        if not found:
            got = describe(model)
            raise TypeError(f"model must be a fitted model of XGBoost or LightGBM, got {got}")
        self.model, self.init_score = model, init_score
        self.classes_ = np.asarray(getattr(model, "classes_", (0, 1)))
        self._option = "raw_score" if "lightgbm" in found else "output_margin"

    def decision_function(self, X: Any) -> Array:
        """Return the log-odds of the second class for each row of what the model predicts from."""
        scores: Array = self.model.predict(X, **{self._option: True})
        scores += scores.dtype.type(self.init_score)
        return scores

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of both classes, one row a sample."""
        scores = self.decision_function(X)
        # 1 less the other column would lose the digits of a small probability.
        return np.stack([sigmoid(-scores), sigmoid(scores)], axis=1)

    def predict(self, X: Any) -> Array:
        """Return the more probable class of each row."""
        found: Array = self.classes_[(self.decision_function(X) > 0).astype(np.intp)]
        return found
