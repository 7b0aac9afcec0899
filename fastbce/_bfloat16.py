"""bfloat16 without a package that has it: its bits under a dtype of their own, and NumPy's part.

An array of ``ml_dtypes.bfloat16`` is seen as one of :data:`bfloat16` inside, whoever made it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._typing import Array

# Bits whose owner has no dtype for them: ``bits.view(fastbce.bfloat16)``.
bfloat16 = np.dtype([("bfloat16", np.uint16)])


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype is bfloat16, by its name: nothing is imported for that."""
    return dtype == bfloat16 or (dtype.name == "bfloat16" and dtype.itemsize == 2)


def as_bits(array: Array) -> Array:
    """Return the array as kernels and formulas know it: bool as uint8, bfloat16 under our name."""
    kind = array.dtype.kind
    if kind == "b":
        return array.view(np.uint8)
    return array.view(bfloat16) if kind == "V" else array


def numbers(array: Array, dtype: Any) -> Array:
    """Return a copy of the array in a float dtype."""
    if array.dtype == bfloat16:
        wide = array["bfloat16"].astype(np.uint32) << np.uint32(16)
        array = np.asarray(wide).view(np.float32)
    return array.astype(dtype)


def write(target: Array, values: Any, where: Any = True) -> None:
    """Write numbers to an array, rounded once to its dtype."""
    with np.errstate(all="ignore"):  # a number may be out of the dtype's range
        if target.dtype == bfloat16:
            target, values = target["bfloat16"], _rounded(np.asarray(values))
        np.copyto(target, values, casting="same_kind", where=where)


def scalar(value: float, dtype: np.dtype[Any]) -> Any:
    """Return the nearest bfloat16: as float32 where the dtype has no scalars."""
    bits = np.empty((), bfloat16)
    write(bits, value)
    return numbers(bits, np.float32)[()] if dtype == bfloat16 else bits.view(dtype)[()]


def _rounded(values: Array) -> Array:
    """Return the bits of the nearest bfloat16, ties to even.

    A float64 first becomes a float32 whose last bit is odd where that is not exact: it then lies
    on the right side of every tie.
    """
    near = values.astype(np.float32)
    bits = np.asarray(near).view(np.uint32)
    if values.dtype == np.float64:
        wide = near.astype(np.float64)
        bits = (bits - (np.abs(wide) > np.abs(values))) | (wide != values)
    bits = bits.astype(np.uint64)
    up = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(near), bits >> 16 | 0x40, up).astype(np.uint16)
