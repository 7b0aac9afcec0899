"""What was passed: every check of the inputs and options, and the texts of their errors.

Nothing here computes or writes: a call that gets past these functions cannot fail half-way.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeGuard

import numpy as np

# The estimator imports it from here.
from ._typing import Array as Array  # noqa: PLC0414

REDUCTIONS = ("none", "mean", "sum", "samples")

_FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


_PLAIN_SCORES = frozenset(_FLOATS[1:])
_PLAIN_LABELS = frozenset(np.dtype(c) for c in "?bBhHiIlLfd")


def is_plain(array: Any, labels: bool = False) -> TypeGuard[Array]:
    """Tell whether the kernels can take the array as it is: the quick way past all the checks."""
    return (
        type(array) is np.ndarray
        and array.dtype in (_PLAIN_LABELS if labels else _PLAIN_SCORES)
        and array.flags.carray
        and array.ndim > 0
    )


def as_array(value: Any, name: str) -> Array:
    """Return `value` as a real numeric array, without a copy where it is one already."""
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
    raise TypeError(
        f"{name} has dtype {array.dtype}; fastbce takes bool, integers, float16, float32 and "
        f"float64{_dtype_hint(array.dtype)}"
    )


def _dtype_hint(dtype: np.dtype[Any]) -> str:
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
            f"{name}: cannot turn {type(value).__name__} into a NumPy array ({error}); "
            "pass a numeric array or a rectangular nested sequence"
        ) from error


def float_dtypes(array: Array) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Return (dtype to compute in, dtype of the result) for predictions, logits or inputs."""
    dtype = array.dtype
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


def check_weight(weight: Any, shape: tuple[int, ...]) -> Array | None:
    """Return sample weights broadcast to `shape` (a view), or None."""
    if weight is None:
        return None
    array = as_array(weight, "sample_weight")
    if array.shape != shape:
        try:
            array = np.broadcast_to(array, shape)
        except ValueError:
            hint = "one weight an element, or a shape that broadcasts to it"
            if array.ndim == 1 and len(shape) > 1 and array.shape[0] == shape[0]:
                hint = "for one weight a row pass sample_weight[:, None]"
            raise ValueError(
                f"sample_weight has shape {array.shape}, which does not broadcast to {shape}: "
                f"{hint}"
            ) from None
    if array.size:
        low, high = np.min(array), np.max(array)
        if not (low >= 0 and high < np.inf):
            raise ValueError(
                f"sample_weight must be finite and not negative, got values in [{low}, {high}]"
            )
    return array


def check_reduction(reduction: Any, scores: Array) -> None:
    """Raise unless the reduction is a known one, and the scores have what it needs."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"unknown reduction {reduction!r}; choose one of {list(REDUCTIONS)}")
    if reduction == "samples" and not scores.ndim:
        raise ValueError("reduction='samples' needs at least one axis, got a 0-d array")


def refuse_later_options(pos_weight: Any, label_smoothing: Any) -> None:
    """Raise for the two options whose kernels are not written yet."""
    if pos_weight is not None:
        raise NotImplementedError("pos_weight is not supported yet; pass sample_weight instead")
    if label_smoothing != 0.0:
        raise NotImplementedError(
            f"label_smoothing={label_smoothing!r} is not supported yet; smooth the labels "
            "instead: y_true * (1 - s) + s / 2"
        )


def raise_first_bad_label(labels: Array) -> None:
    """Raise for the first label that is NaN or outside [0, 1]."""
    rows = 1 + (1 << 16) // max(1, labels[:1].size) if labels.ndim else 1
    for start in range(0, len(labels) if labels.ndim else 1, rows):
        part = labels[start : start + rows] if labels.ndim else labels
        bad = np.argwhere(~((part >= 0) & (part <= 1)))
        if len(bad):
            first = tuple(bad[0].tolist())
            value = part[first]
            index = (start + first[0], *first[1:]) if first else ()
            where = index[0] if len(index) == 1 else index
            raise ValueError(
                f"y_true[{where}] is {value}, but labels must lie in [0, 1]{_label_hint(labels)}"
            )


def _label_hint(labels: Array) -> str:
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        return "; drop the rows whose label is missing"
    low, high = labels.min(), labels.max()
    if low == -1 and high == 1:
        return "; for labels -1 and 1 pass (y_true + 1) / 2"
    return f", and here they reach from {low} to {high}"


def as_eps(eps: Any) -> float:
    """Return the clip bound as a float."""
    try:
        return float(eps)
    except (TypeError, ValueError):
        raise TypeError(f"eps must be a number, got {type(eps).__name__}") from None


@lru_cache
def clip_bounds(eps: float, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the bounds that predictions are clipped to, as scalars of `dtype`.

    They are `eps` and ``1 - eps`` rounded to `dtype`, except that they never reach 0 and 1,
    where the loss would be infinite.
    """
    if not 0.0 < eps < 0.5:
        raise ValueError(f"eps must lie strictly between 0 and 0.5, got {eps!r}")
    low = max(dtype.type(eps), np.finfo(dtype).tiny)
    high = min(dtype.type(1.0 - eps), np.nextafter(dtype.type(1), dtype.type(0)))
    return low, high
