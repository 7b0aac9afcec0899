"""What was passed: every check of the inputs and options, and the texts of their errors.

Nothing here computes or writes: a call that gets past these functions cannot fail half-way.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeGuard

import numpy as np

from ._bfloat16 import as_bits, bfloat16, is_bfloat16, numbers

# The estimator imports it from here.
from ._typing import Array as Array  # noqa: PLC0414

REDUCTIONS = ("none", "mean", "sum", "samples")
# Images have this where a mask holds.
MASK = 255
# 1 / eps is the largest gradient: float16 ends at 65504.
LEAST_EPS_16 = 2.0**-15

_FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


_PLAIN_SCORES = frozenset(_FLOATS[1:])
_PLAIN_LABELS = frozenset(np.dtype(c) for c in "?bBhHiIlLfd")


def is_plain(array: Any) -> TypeGuard[Array]:
    """Tell whether the kernels can take the array as it is: the quick way past all the checks."""
    return (
        type(array) is np.ndarray
        and array.dtype in _PLAIN_SCORES
        and array.flags.carray
        and array.ndim > 0
    )


def are_plain(scores: Any, labels: Any) -> bool:
    """Tell whether kernels can take both as they are: two calls of `is_plain` take 0.1 us more."""
    return (
        type(scores) is np.ndarray
        and type(labels) is np.ndarray
        and scores.dtype in _PLAIN_SCORES
        and labels.dtype in _PLAIN_LABELS
        and (shape := scores.shape) == labels.shape
        and shape != ()
        and scores.flags.carray
        and labels.flags.carray
    )


def describe(value: Any) -> str:
    """Say in a message what was passed: arrays by their shape, numbers as numbers."""
    kind = type(value).__name__
    if isinstance(value, np.generic):
        value = value.item()
    elif hasattr(value, "shape"):
        return f"{kind} of shape {value.shape}"
    return f"{reprlib.repr(value)} of type {kind}"


def as_number(value: Any, name: str, hint: str = "") -> float:
    """Return the one number that is meant, given as a scalar or an array of one element."""
    if isinstance(value, (np.ndarray, np.generic)):
        masked = isinstance(value, np.ma.MaskedArray)  # whose item() is 0 under the mask
        if value.size == 1 and value.dtype.kind in "biuf" and not masked:
            return float(value.item())
    elif hasattr(value, "__float__") or hasattr(value, "__index__"):  # float() reads text too
        try:
            return float(value)
        except Exception as error:
            raise TypeError(f"{name} must be one number, got {describe(value)}{hint}") from error
    raise TypeError(f"{name} must be one number, got {describe(value)}{hint}")


def check_choice(value: Any, choices: Sequence[str], what: str) -> None:
    """Raise unless the value is one of the names."""
    if not isinstance(value, str) or value not in choices:
        got = repr(str(value)) if isinstance(value, str) else describe(value)
        raise ValueError(f"{what} {got}; choose one of {list(choices)}")


def check_flag(value: Any, name: str) -> None:
    """Raise unless the value is True or False: any text and most arrays would count as True."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {describe(value)}")


def as_elements(value: Any, name: str) -> Array:
    """Return `value` as :func:`as_array` does, or as an array of bfloat16."""
    return as_array(value, name, is_bfloat16)


def as_array(value: Any, name: str, takes: Callable[[np.dtype[Any]], bool] | None = None) -> Array:
    """Return `value` as a real numeric array, without a copy where it is one already.

    Other dtypes are taken too where `takes` says so.
    """
    if type(value) is np.ndarray:
        array = value
    elif isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array, whose mask would be lost; pass {name}.compressed() or "
            f"{name}.filled(...)"
        )
    else:
        array = _convert(value, name)
    kind = array.dtype.kind
    if kind in "biu" or array.dtype.newbyteorder("=") in _FLOATS:
        return array
    if takes is not None and takes(array.dtype):
        return array
    raise TypeError(
        f"{name} has dtype {array.dtype}; fastbce takes bool, integers, float16, float32 and "
        f"float64{_dtype_hint(array, value)}"
    )


def _dtype_hint(array: Array, value: Any) -> str:
    dtype = array.dtype
    if dtype.kind == "O" and not array.ndim:
        return f", got {describe(value)}"
    if dtype.kind == "O":
        return ": convert it, for example with np.asarray(values, dtype=np.float64)"
    if dtype.kind == "c":
        return ": pass its real part"
    return ": convert it with .astype(np.float64)"


def _convert(value: Any, name: str) -> Array:
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise TypeError(
            f"{name}: cannot turn {type(value).__name__} into a NumPy array ({error}); pass "
            + (
                "its bits: t.view(torch.int16).numpy().view(fastbce.bfloat16)"
                if "bfloat16" in str(error).lower()
                else "a numeric array or a rectangular nested sequence"
            )
        ) from error


def float_dtypes(array: Array) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Return (dtype to compute in, dtype of the result) for predictions, logits or inputs."""
    dtype = array.dtype
    if dtype.kind == "V":
        return _FLOATS[1], dtype
    if dtype.kind != "f":
        return _FLOATS[2], _FLOATS[2]
    if dtype.itemsize == 2:
        return _FLOATS[1], _FLOATS[0]
    native = dtype.newbyteorder("=")
    return native, native


def check_same_shape(a: Array, a_name: str, b: Array, b_name: str) -> None:
    """Raise unless the two have one shape; broadcasting labels hides mistakes."""
    if a.shape == b.shape:
        return
    hint = "give both the same shape"
    if a.size == b.size:
        hint = f"use {b_name}.reshape({a_name}.shape) if the elements correspond in order"
    raise ValueError(
        f"{b_name} has shape {b.shape} but {a_name} has shape {a.shape}; shapes are not "
        f"broadcast: {hint}"
    )


def check_weight(
    weight: Any, shape: tuple[int, ...], read: Callable[[Any, str], Array] = as_array
) -> Array | None:
    """Return sample weights broadcast to `shape` (a view), or None."""
    if weight is None:
        return None
    array = as_bits(broadcast(read(weight, "sample_weight"), shape, "sample_weight"))
    if array.size:
        values = numbers(array, np.float32) if array.dtype == bfloat16 else array
        # The functions of that name take 1.5 us more.
        low, high = np.minimum.reduce(values, axis=None), np.maximum.reduce(values, axis=None)
        if not (low >= 0 and high < np.inf):
            raise ValueError(
                f"sample_weight must be finite and not negative, got values in [{low}, {high}]"
            )
    return array


def broadcast(array: Array, shape: tuple[int, ...], name: str) -> Array:
    """Return what is given for each element, broadcast to `shape` (a view)."""
    if array.shape == shape:
        return array
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        hint = "one for each element, or a shape that broadcasts to that"
        if array.ndim == 1 and len(shape) > 1 and array.shape[0] == shape[0]:
            hint = f"for one for each row pass {name}[:, None]"
        raise ValueError(
            f"{name} has shape {array.shape}, which does not broadcast to {shape}: {hint}"
        ) from None


def check_reduction(reduction: Any, scores: Array) -> None:
    """Raise unless the reduction is a known one, and the scores have what it needs."""
    check_choice(reduction, REDUCTIONS, "unknown reduction")
    if reduction == "samples" and not scores.ndim:
        raise ValueError("reduction='samples' needs at least one axis, got a 0-d array")


def check_focus(alpha: Any, gamma: Any) -> tuple[float, float, float]:
    """Return what the labels 1 and 0 weigh in the focal loss, and gamma."""
    share = as_number(alpha, "alpha", "; a negative one weighs both labels alike")
    power = as_number(gamma, "gamma")
    if not share <= 1:
        raise ValueError(
            f"alpha must be at most 1, got {share!r}; it is the weight of label 1, and 1 - alpha "
            "that of label 0. A negative alpha weighs both alike"
        )
    if not 0 <= power < np.inf:
        raise ValueError(f"gamma must be finite and not negative, got {power!r}")
    return (1.0, 1.0, power) if share < 0 else (share, 1 - share, power)


def raise_first_bad_label(labels: Array, kept: Array | None) -> None:
    """Raise for the first label that is NaN or outside [0, 1], of the elements that are kept."""
    found = _first_outside(labels, kept)
    if found:
        hint = _label_hint(labels if kept is None else labels[kept])
        raise ValueError(f"y_true{found}, but labels must lie in [0, 1]{hint}")


def raise_first_bad_probability(probabilities: Array, name: str, kept: Array | None) -> None:
    """Raise for the first prediction that is NaN or outside [0, 1], of those that are kept."""
    found = _first_outside(probabilities, kept)
    if found:
        raise ValueError(
            f"{name}{found}, but probabilities must lie in [0, 1]; logits, which may be any "
            "number, are what bce_with_logits_loss and its relatives take"
        )


def _first_outside(values: Array, kept: Array | None) -> str:
    """Name the first element that is NaN or outside [0, 1], and say what it is."""
    rows = 1 + (1 << 16) // max(1, values[:1].size) if values.ndim else 1
    for start in range(0, len(values) if values.ndim else 1, rows):
        part = values[start : start + rows] if values.ndim else values
        outside = ~((part >= 0) & (part <= 1))
        if kept is not None:
            outside &= kept[start : start + rows] if values.ndim else kept
        bad = np.argwhere(outside)
        if len(bad):
            first = tuple(bad[0].tolist())
            index = (start + first[0], *first[1:]) if first else ()
            return f"[{index[0] if len(index) == 1 else index}] is {part[first]}"
    return ""


def _label_hint(labels: Array) -> str:
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        return "; drop the rows whose label is missing"
    low, high = labels.min(), labels.max()
    if low == -1 and np.isin(labels, (-1, 0, 1)).all():
        if (labels == 0).any():
            return "; if -1 stands for an unknown label pass ignore_index=-1"
        return "; for labels -1 and 1 pass (y_true + 1) / 2"
    reach = f", and here they reach from {low} to {high}"
    if high == MASK and np.isin(labels, (0, MASK)).all():
        return f"{reach}; for a mask of 0 and {MASK} pass y_true == {MASK}"
    if low < high and np.isin(labels, (low, high)).all():
        return f"{reach}; if {high} stands for 1 and {low} for 0 pass y_true == {high}"
    return reach


@lru_cache
def clip_bounds(eps: float, dtype: np.dtype[Any], result: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the bounds that predictions are clipped to, as scalars of `dtype`.

    They are `eps` and ``1 - eps`` rounded to `dtype`, except that they never reach 0 and 1,
    where the loss would be infinite, nor the numbers where a gradient exceeds float16.
    """
    if not 0.0 < eps < 0.5:
        raise ValueError(f"eps must lie strictly between 0 and 0.5, got {eps!r}")
    if result == np.float16:
        eps = max(eps, LEAST_EPS_16)
    with np.errstate(all="ignore"):
        low = max(dtype.type(eps), np.finfo(dtype).tiny)
        high = min(dtype.type(1.0 - eps), np.nextafter(dtype.type(1), dtype.type(0)))
    return low, high
