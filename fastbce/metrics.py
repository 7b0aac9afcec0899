"""Metrics of probabilities with scikit-learn's signatures and answers, for two classes.

They take what scikit-learn's functions of these names take, but for what has more than two classes,
and need no scikit-learn. One pass checks all that was passed and adds it up, in float64; labels
that are numbers are read in place, text is compared with its two values first.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ._backends import backend
from ._inputs import as_array, check_flag, check_weight, describe
from ._reference import samples as plain
from ._typing import Array, Sums

__all__ = ["brier_score_loss", "d2_log_loss_score", "log_loss"]

# Samples from which on a kernel, which must be compiled or loaded first, is worth it: so many take
# NumPy a tenth of a millisecond.
MANY = 1 << 13
# Labels among which the second class is looked for first.
PEEK = 256
# As scikit-learn: the name of the probabilities before its version 1.9.
_EARLIER_NAME = "y_pred is the earlier name of y_proba"


def log_loss(
    y_true: ArrayLike,
    y_proba: ArrayLike | None = None,
    *,
    normalize: bool = True,
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    y_pred: ArrayLike | None = None,
) -> float:
    """Mean of ``-log(p)`` over the probabilities `p` given to the true classes.

    Each `p` is clipped to ``[eps, 1 - eps]`` with the machine precision of the dtype of `y_proba`.

    Parameters
    ----------
    y_true : array_like of shape (n_samples,)
        Labels of two classes: integers, bool, integral floats or text. An indicator of shape
        (n_samples, 2) is taken too.
    y_proba : array_like of shape (n_samples,) or (n_samples, 2)
        Probabilities of the class that comes last in order, or of both classes in order.
    normalize : bool, default True
        Whether to return the mean, by weight where weights are given; else the sum.
    sample_weight : array_like of shape (n_samples,), optional
        Finite, non-negative weights, not all of them 0.
    labels : array_like of shape (2,), optional
        The two classes, where `y_true` may hold one of them alone.
    y_pred : array_like, optional
        The earlier name of `y_proba`.

    Returns
    -------
    float
        The loss, computed and summed in float64.

    Raises
    ------
    TypeError
        If an argument cannot be used for its type.
    ValueError
        If shapes do not fit, a probability is not in [0, 1], there are not two classes, or a
        weight is negative (scikit-learn takes those) or not finite.

    Warns
    -----
    UserWarning
        If the two columns of `y_proba` do not sum to one, or `labels` are not in order.

    Examples
    --------
    >>> from fastbce.metrics import log_loss
    >>> round(log_loss(["spam", "ham", "ham", "spam"], [0.9, 0.1, 0.2, 0.65]), 5)
    0.21616
    """
    check_flag(normalize, "normalize")
    proba = _probabilities(_one_of(y_proba, y_pred))
    sums = _two_classes(y_true, proba, sample_weight, labels, _eps(proba))
    return sums.logs / sums.weights if normalize else sums.logs


def brier_score_loss(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_label: float | str | None = None,
    labels: ArrayLike | None = None,
    scale_by_half: bool | str = "auto",
) -> float:
    """Mean of ``(p - y)^2``: the squared error of the probabilities.

    Parameters
    ----------
    y_true : array_like of shape (n_samples,)
        Labels of two classes, or of one: integers, bool, integral floats or text.
    y_proba : array_like of shape (n_samples,) or (n_samples, 2)
        Probabilities of `pos_label`, or of both classes in order.
    sample_weight : array_like of shape (n_samples,), optional
        Finite, non-negative weights, not all of them 0.
    pos_label : int, float, bool or str, optional
        The label that `y_proba` of shape (n_samples,) is of. By default 1 where labels are 0 and 1
        or -1 and 1, else the greater number; text has no default.
    labels : array_like of shape (2,), optional
        The two classes, where `y_proba` has two columns and `y_true` may hold one class alone.
    scale_by_half : bool or "auto", default "auto"
        False doubles the result: the sum over both classes.

    Returns
    -------
    float
        The score, summed in float64.

    Raises
    ------
    TypeError
        If an argument cannot be used for its type.
    ValueError
        If shapes do not fit, a probability is not in [0, 1], there are more than two classes, text
        comes without `pos_label`, `pos_label` is neither of two classes (scikit-learn then counts
        no sample as positive), or a weight is negative or not finite.

    Warns
    -----
    UserWarning
        As :func:`log_loss` does.

    Examples
    --------
    >>> from fastbce.metrics import brier_score_loss
    >>> print(f"{brier_score_loss([0, 1, 1], [0.1, 0.8, 0.6]):.4f}")
    0.0700
    """
    if not (isinstance(scale_by_half, str) and scale_by_half == "auto"):
        check_flag(scale_by_half, "scale_by_half")
    proba = _probabilities(y_proba)
    if proba.ndim == 1:
        samples = _looked_at(y_true, proba, sample_weight, None)
        positive = _positive_label(pos_label, samples.classes, samples.y)
        sums = samples.sums_of(positive)
    else:
        sums = _two_classes(y_true, proba, sample_weight, labels, None)
    score = sums.squares / sums.weights / proba.ndim
    return score if scale_by_half else 2 * score


def d2_log_loss_score(
    y_true: ArrayLike,
    y_proba: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    y_pred: ArrayLike | None = None,
) -> float:
    """Share of the log loss that is explained: 1 less :func:`log_loss` over that of the shares.

    A model that gives each sample the shares of the classes gets 0, a perfect one 1.

    Parameters
    ----------
    y_true, y_proba, sample_weight, labels, y_pred
        As for :func:`log_loss`.

    Returns
    -------
    float
        The score; NaN for one sample.

    Raises
    ------
    TypeError, ValueError
        As :func:`log_loss` does.

    Warns
    -----
    UserWarning
        As :func:`log_loss` does, and for one sample.

    Examples
    --------
    >>> from fastbce.metrics import d2_log_loss_score
    >>> print(f"{d2_log_loss_score([0, 1, 1], [0.1, 0.8, 0.6]):.4f}")
    0.5605
    """
    proba = _probabilities(_one_of(y_proba, y_pred))
    if len(proba) < 2:
        text = "D^2 score is not well-defined with less than two samples."
        warnings.warn(text, UserWarning, stacklevel=2)
        return float("nan")
    sums = _two_classes(y_true, proba, sample_weight, labels, _eps(proba))
    share = sums.positives / sums.weights
    eps = float(np.finfo(np.float64).eps)
    low, high = (np.clip(s, eps, 1 - eps) for s in (1 - share, share))
    entropy = -(share * np.log(high) + (1 - share) * np.log(low))
    return float(1 - sums.logs / sums.weights / entropy)


# --- what was passed -----------------------------------------------------------------------------


def _one_of(y_proba: Any, y_pred: Any) -> Any:
    if y_pred is None and y_proba is None:
        raise TypeError("y_proba is missing: pass the predicted probabilities")
    if y_pred is not None and y_proba is not None:
        raise ValueError(f"{_EARLIER_NAME}: pass one of them")
    return y_proba if y_pred is None else y_pred


def _probabilities(value: Any) -> Array:
    """Return probabilities as floats of shape (n,) or (n, 2)."""
    proba = as_array(value, "y_proba")
    if proba.ndim == 2 and proba.shape[1] == 1:
        proba = proba[:, 0]
    if proba.ndim != 1 and (proba.ndim != 2 or proba.shape[1] != 2):
        more = "; sklearn.metrics takes more than two classes" if proba.ndim == 2 else ""
        raise ValueError(
            f"y_proba has shape {proba.shape}: pass probabilities of class 1 of shape (n_samples,) "
            f"or those of both classes of shape (n_samples, 2){more}"
        )
    if not len(proba):
        raise ValueError(f"y_proba has shape {proba.shape}: there must be at least one sample")
    if proba.dtype.kind != "f":
        proba = proba.astype(np.float64)
    return proba


def _check_unit(proba: Array) -> None:
    if not (proba.min() >= 0 and proba.max() <= 1):
        bad = np.argwhere(~((proba >= 0) & (proba <= 1)))[0].tolist()
        raise ValueError(
            f"y_proba[{', '.join(map(str, bad))}] is {proba[tuple(bad)]}, but probabilities must "
            "lie in [0, 1]; of logits take fastbce.sigmoid first"
        )


def _eps(proba: Array) -> float:
    return float(np.finfo(proba.dtype).eps)


def _sums(
    proba: Array,
    y: Array,
    classes: tuple[Any, Any],
    weight: Array | None,
    eps: float | None,
) -> Sums:
    module = backend("samples") if len(proba) >= MANY else plain
    found: Sums = module.sums(proba, y, classes, weight, eps)
    if found.is_sound and not found.weights:
        raise ValueError("sample_weight must hold at least one number other than 0")
    return found


class _Samples(NamedTuple):
    """Samples of at most two classes, checked."""

    y: Array
    classes: tuple[Any, ...]
    """Those that are among the labels, in order."""
    proba: Array
    weight: Array | None
    eps: float | None
    sums: Sums | None = None
    """Known already where labels are numbers of two classes."""

    def sums_of(self, label: Any) -> Sums:
        """Return the sums for probabilities of that class."""
        if self.sums is not None and label == self.classes[1]:
            return self.sums
        positive = np.asarray(self.y == label)
        return _sums(self.proba, positive, (False, True), self.weight, self.eps)


def _looked_at(y_true: Any, proba: Array, sample_weight: Any, eps: float | None) -> _Samples:
    y = _labels(y_true)
    _check_length("y_true", y, proba)
    weight = _weight(sample_weight, proba)
    classes = _two_numbers(y)
    if classes is not None:
        sums = _sums(proba, y, classes, weight, eps)
        if sums.is_sound:
            return _Samples(y, classes, proba, weight, eps, sums)
    _check_unit(proba)
    check_weight(weight, proba.shape[:1])
    return _Samples(y, _classes(y), proba, weight, eps)


def _two_classes(
    y_true: Any, proba: Array, sample_weight: Any, labels: Any, eps: float | None
) -> Sums:
    """Check all that log losses and both columns of probabilities need, and add up."""
    samples = _looked_at(y_true, proba, sample_weight, eps)
    classes = samples.classes if labels is None else _declared(labels)
    if len(classes) == 1:
        raise ValueError(
            f"y_true contains only one label ({_shown(classes[0])}): pass both classes as "
            "labels=, for example labels=[0, 1]"
        )
    if classes != samples.classes:
        _check_declared(samples.y, classes)
    sums = samples.sums_of(classes[1])
    if not sums.is_even:
        _warn_of_sums(proba)
    return sums


def _labels(value: Any) -> Array:
    """Return labels of numbers or text as an array of one axis."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError("y_true is a masked array, whose mask would be lost; pass .compressed()")
    y = np.asarray(value)
    if y.ndim == 2 and y.shape[1] == 2 and y.dtype.kind in "biuf":
        if not np.array_equal(y[:, 0], y[:, 1] == 0) or not np.array_equal(y[:, 1] != 0, y[:, 1]):
            raise ValueError(
                "y_true has two columns that do not hold one 1 a row: pass one label a sample"
            )
        second: Array = y[:, 1] != 0
        return second
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        got = describe(value)
        raise ValueError(f"y_true must have shape (n_samples,), one label a sample, got {got}")
    if y.dtype.kind == "S" or (y.dtype.kind == "O" and len(y) and isinstance(y[0], bytes)):
        raise TypeError("y_true holds bytes: convert the labels to text with .astype(str)")
    if y.dtype.kind not in "biufOUT":
        raise ValueError(f"y_true has dtype {y.dtype}; labels are integers, bool or text")
    return y


def _shown(label: Any) -> str:
    return repr(label.item() if isinstance(label, np.generic) else label)


def _second(y: Array) -> int | None:
    """Return where the first label is that differs from the very first; None if all are equal."""
    for part in (y[:PEEK], y):
        others = part != y[0]
        at = int(others.argmax())
        if others[at]:
            return at
    return None


def _two_numbers(y: Array) -> tuple[Any, Any] | None:
    """Return two classes that are whole numbers, in order, or None; there may be more."""
    if y.dtype.kind not in "biuf" or y.itemsize > 8:  # kernels take no long doubles
        return None
    at = _second(y)
    if at is None:
        return None
    low, high = sorted((y[0], y[at]))
    return (low, high) if float(low).is_integer() and float(high).is_integer() else None


def _classes(y: Array) -> tuple[Any, ...]:
    """Return the one or two classes of labels, in order."""
    at = _second(y)
    found: tuple[Any, ...] = (y[0],) if at is None else (y[0], y[at])
    if at is not None:
        third = (y != found[0]) & (y != found[1])
        if third.any():
            raise ValueError(
                f"y_true holds more than two classes: {_shown(found[0])}, {_shown(found[1])} and, "
                f"in row {third.argmax()}, {_shown(y[third.argmax()])}; sklearn.metrics takes those"
            )
    if y.dtype.kind == "f" and not all(float(c).is_integer() for c in found):
        raise ValueError(
            f"y_true holds {_shown(found[-1])}: labels are classes; for soft labels take "
            "fastbce.bce_loss"
        )
    if y.dtype.kind == "O" and not all(isinstance(c, str) for c in found):
        kinds = dict.fromkeys(type(c).__name__ for c in found)
        # As scikit-learn: what cannot be put in order is a TypeError.
        raise (TypeError if len(kinds) > 1 else ValueError)(
            f"y_true has dtype object and holds {' and '.join(kinds)}: convert it, for example "
            "with .astype(int) or .astype(str)"
        )
    return tuple(sorted(found))


def _declared(labels: Any) -> tuple[Any, Any]:
    """Return the two classes that the caller names, in order."""
    given = np.asarray(labels)
    classes = sorted({*given.tolist()}) if given.ndim == 1 else []
    if len(classes) < 2:
        raise ValueError(f"labels must hold at least two classes, got {labels!r}")
    if len(classes) > 2:
        raise ValueError(
            f"the number of classes in labels is {len(classes)}, but y_proba has those of two; "
            "sklearn.metrics takes more"
        )
    if classes != given.tolist():
        warnings.warn(
            f"labels={labels!r} are taken in their order, {classes}: the columns of y_proba must "
            "be in that order",
            UserWarning,
            stacklevel=4,
        )
    return classes[0], classes[1]


def _check_declared(y: Array, classes: tuple[Any, ...]) -> None:
    known = (y == classes[0]) | (y == classes[1])
    if not np.all(known):
        row = int(np.argmin(known)) if np.ndim(known) else 0
        raise ValueError(
            f"y_true[{row}] is {_shown(y[row])}, which is not among labels={[*classes]}"
        )


def _positive_label(pos_label: Any, classes: tuple[Any, ...], y: Array) -> Any:
    if pos_label is None:
        if y.dtype.kind in "OUT":
            raise ValueError(
                f"y_true holds {' and '.join(map(_shown, classes))}, and pos_label is not "
                "specified: pass as pos_label= the label that y_proba are the probabilities of"
            )
        return 1 if set(classes) <= {0, 1} or set(classes) <= {-1, 1} else classes[-1]
    if len(classes) == 2 and pos_label not in classes:
        found = " and ".join(map(_shown, classes))
        raise ValueError(f"pos_label={pos_label!r} is not among the labels, {found}")
    return pos_label


def _weight(sample_weight: Any, proba: Array) -> Array | None:
    if sample_weight is None:
        return None
    weight = as_array(sample_weight, "sample_weight")
    if weight.ndim != 1:
        raise ValueError(
            f"sample_weight has shape {weight.shape}: pass one weight a sample, {(len(proba),)}"
        )
    _check_length("sample_weight", weight, proba)
    return weight


def _check_length(name: str, array: Array, proba: Array) -> None:
    if len(array) != len(proba):
        raise ValueError(f"{name} has {len(array)} samples, but y_proba has {len(proba)}")


def _warn_of_sums(proba: Array) -> None:
    row = int(np.abs(proba[:, 0] + proba[:, 1] - 1).argmax())
    warnings.warn(
        "The y_prob values do not sum to one. Make sure to pass probabilities: row "
        f"{row} holds {proba[row].tolist()}",
        UserWarning,
        stacklevel=4,
    )
