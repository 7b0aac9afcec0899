"""The options of a loss: which elements count, what its labels mean, what its mean divides by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._bfloat16 import as_bits, bfloat16, numbers
from ._inputs import as_array, as_elements, as_number, broadcast, check_choice, check_flag, describe
from ._typing import Array

DIVISORS = ("elements", "weights", "kept")
GRADIENTS = ("reference", "zero", "torch")
# PyTorch's least p (1 - p), and the least whose reciprocal float16 has.
FLOOR, FLOOR_16 = 1e-12, 2.0**-15


# A row for each thread that may take part, of three counts and room up to the next cache lines.
COUNTS = (64, 16)


class Metrics(NamedTuple):
    """What ``metrics=True`` adds to the results of a loss."""

    accuracy: float
    """Share of the elements whose score is on their label's side: above 1/2 where the label is."""
    clipped: int
    """How many probabilities were clipped; 0 where the scores are logits."""


class Given(NamedTuple):
    """The options of one call that most calls do not have, checked."""

    mask: Array | None = None
    """True for what counts, of the scores' shape."""
    ignore: Any = None
    """The label of what does not, as the kernels have labels."""
    smoothing: float | None = None
    positive: Array | None = None
    """``pos_weight``: one number, or one for each place of the last axis."""
    gradient: str = "reference"
    divisor: str = "elements"
    counts: Array | None = None
    """Where to count for `metrics`."""

    def metrics(self) -> Metrics:
        """Return what was counted."""
        counts: Any = self.counts
        counted, right, clipped = np.sum(counts, axis=0)[:3].tolist()
        return Metrics(right / counted if counted else np.nan, clipped)

    def kept(self, y: Array) -> Array | None:
        """Return which elements are not ignored; None is all."""
        if self.ignore is None:
            return self.mask
        labels = numbers(y, np.float32) if y.dtype == bfloat16 else y
        kept = np.asarray(labels != self.ignore)
        return kept if self.mask is None else kept & self.mask


NOTHING_GIVEN = Given()


# What the options are that `are_default` looks at, where nobody can give them.
DEFAULTS: tuple[Any, ...] = (None, None, None, 0.0, None, "reference", False)


def are_default(options: tuple[Any, ...]) -> bool:
    """Tell whether none of the options is given: in a fraction of the time that checks take."""
    if options is DEFAULTS:
        return True
    mask, ignore_index, pos_weight, label_smoothing, divisor, gradient, metrics = options
    return (
        mask is None
        and ignore_index is None
        and pos_weight is None
        and divisor is None
        and type(label_smoothing) is float
        and label_smoothing == 0.0
        and gradient == "reference"
        and metrics is False
    )


def check_options(options: tuple[Any, ...], x: Array, y: Array, dtype: np.dtype[Any]) -> Given:
    """Return the options as given for scores and labels of these arrays, computed in `dtype`."""
    mask, ignore_index, pos_weight, label_smoothing, divisor, gradient, metrics = options
    check_flag(metrics, "metrics")
    if divisor is None:
        divisor = "elements" if mask is None and ignore_index is None else "kept"
    check_choice(divisor, DIVISORS, "unknown divisor")
    check_choice(gradient, GRADIENTS, "unknown gradient")
    return Given(
        None if mask is None else _checked_mask(mask, x.shape),
        None if ignore_index is None else _as_label(ignore_index, y),
        _checked_smoothing(label_smoothing),
        None if pos_weight is None else _checked_pos_weight(pos_weight, x.shape, dtype),
        gradient,
        divisor,
        np.zeros(COUNTS, np.int64) if metrics else None,
    )


def _checked_mask(mask: Any, shape: tuple[int, ...]) -> Array:
    array = as_array(mask, "mask")
    if array.dtype != np.bool_:
        raise TypeError(
            f"mask must be bool, True for what counts, got dtype {array.dtype}; pass mask != 0 if "
            "other numbers than 0 stand for what counts"
        )
    return broadcast(array, shape, "mask")


def _as_label(ignore_index: Any, y: Array) -> Any:
    """Return the ignored label in the labels' own type; None if they cannot be that."""
    whole = isinstance(ignore_index, (int, np.integer, np.bool_))
    if not whole and not (isinstance(ignore_index, float) and ignore_index.is_integer()):
        raise TypeError(f"ignore_index must be a whole number, got {describe(ignore_index)}")
    kinds: dict[str, Any] = {"?": np.uint8, "e": np.float32, "V": np.float32}
    kind = kinds.get(y.dtype.char, y.dtype.type)
    with np.errstate(all="ignore"):
        try:
            label = kind(int(ignore_index))
        except OverflowError:
            return None
    return label if np.isfinite(label) and int(label) == int(ignore_index) else None


def _checked_smoothing(label_smoothing: Any) -> float | None:
    hint = "; for another one in each column smooth the labels: y_true * (1 - s) + s / 2"
    smoothing = as_number(label_smoothing, "label_smoothing", hint)
    if not 0.0 <= smoothing <= 1.0:
        raise ValueError(f"label_smoothing must lie in [0, 1], got {smoothing!r}")
    return smoothing or None


def _checked_pos_weight(pos_weight: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    array = as_bits(as_elements(pos_weight, "pos_weight"))
    if array.size != 1 and array.shape != (*(1,) * (array.ndim - 1), *shape[-1:]):
        raise ValueError(
            f"pos_weight has shape {array.shape}; for scores of shape {shape} it is one number or "
            f"has shape {shape[-1:]}, one number for each place of the last axis. For others and "
            "labels of 0 and 1 pass sample_weight=np.where(y_true == 1, pos_weight, 1)"
        )
    given = numbers(array, np.float64)
    with np.errstate(all="ignore"):
        array = given.astype(dtype).reshape(-1)
    if array.size and not (np.min(array) >= 0 and np.max(array) < np.inf):
        raise ValueError(
            "pos_weight must be finite and not negative, got values in "
            f"[{np.min(given)}, {np.max(given)}]"
        )
    return array


# --- what a mean divides by ----------------------------------------------------------------------


def divide(
    given: Given, reduction: str, count: int, y: Array, weight: Array | None
) -> tuple[float, Array | None, Array | None]:
    """Return what the mean divides by, the weights, and which rows have no mean.

    For means of rows `count` stays the divisor, and the weights make up for the difference.
    """
    if given.divisor == "elements" or reduction not in ("mean", "samples"):
        return count, weight, None
    if weight is not None and weight.dtype == bfloat16:
        weight = numbers(weight, np.float32)
    if reduction == "mean":
        return float(_divisors(given, y, weight, None)), weight, None
    divisors = _divisors(given, y, weight, -1)
    empty = divisors == 0
    factors = np.where(empty, 0.0, count / np.where(empty, 1, divisors))[..., np.newaxis]
    weight = np.broadcast_to(factors, y.shape) if weight is None else factors * weight
    return count, weight, empty if empty.any() else None


def _divisors(given: Given, y: Array, weight: Array | None, axis: int | None) -> Any:
    """Return how many elements count, or the sum of their weights: in all, or along an axis."""
    kept = given.kept(y)
    if given.divisor == "weights" and weight is not None:
        return np.sum(weight if kept is None else np.where(kept, weight, 0), axis, np.float64)
    if kept is None:
        return y.size if axis is None else np.full(y.shape[:-1], y.shape[-1])
    return np.count_nonzero(kept, axis)
