"""Float16 and bfloat16, which Numba does not have on a CPU: they come as uint16 and int16.

These functions make numbers of the bits. Integer arithmetic throughout, since not every processor
has instructions for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compile import kernel as block
from .compile import point
from .exp_log import HALF_32

HALF_INF = np.int32(0x7C00)
HALF_NAN = np.int32(0x7E00)
INF_BITS_32 = np.int32(0x7F800000)
HALF_BITS_32 = np.int32(0x3F000000)  # 1 / 2
LEAST_HALF_32 = np.float32(2.0**-24)
LEAST_NORMAL_HALF_BITS_32 = np.int32(0x38800000)  # 2^-14
OVER_HALF_BITS_32 = np.int32(0x47800000)  # 2^16
REBIAS_32 = np.int32((127 - 15) << 23)


@point
def float_of_half_point(bits: Any) -> Any:
    """Return the float32 of the same value."""
    h = np.int32(bits)
    size = np.int32(h & np.int32(0x7FFF))
    sign = np.int32(np.int32(h & np.int32(0x8000)) << 16)
    wide = np.int32(size << 13)
    normal = np.int32(wide + REBIAS_32)
    special = np.int32(wide | INF_BITS_32)
    subnormal = np.float32(np.float32(size) * LEAST_HALF_32).view(np.int32)
    found = special if size >= HALF_INF else normal
    found = subnormal if size < np.int32(0x400) else found
    return np.int32(found | sign).view(np.float32)


@point
def narrow_point(value: Any) -> Any:
    """Return a float32 that is rounded further as the float32 or float64 `value` itself would be.

    Where float32 cannot hold a float64, its last bit is made odd: it lies between all shorter
    numbers and the ties between them on the right side.
    """
    if isinstance(value, np.float64):
        near = np.float32(value)
        wide = np.float64(near)
        bits = np.int32(near.view(np.int32) - np.int32(abs(wide) > abs(value)))
        return np.int32(bits | np.int32(wide != value)).view(np.float32)
    else:
        return np.float32(value)


@point
def half_of_float_point(value: Any) -> Any:
    """Return the bits of the nearest float16, ties to even."""
    bits = np.float32(narrow_point(value)).view(np.int32)
    sign = np.int32(np.int32(bits >> 16) & np.int32(0x8000))
    size = np.int32(bits & np.int32(0x7FFFFFFF))
    even = np.int32(np.int32(size >> 13) & np.int32(1))
    normal = np.int32(np.int32(size + np.int32(0xFFF) + even - REBIAS_32) >> 13)
    # Adding 1/2, whose last bit is worth 2^-24, rounds to whole subnormals.
    rounded = np.float32(size.view(np.float32) + HALF_32)
    subnormal = np.int32(rounded.view(np.int32) - HALF_BITS_32)
    found = subnormal if size < LEAST_NORMAL_HALF_BITS_32 else normal
    found = HALF_INF if size >= OVER_HALF_BITS_32 else found
    found = HALF_NAN if size > INF_BITS_32 else found
    return np.uint16(found | sign)


@point
def brain_of_float_point(value: Any) -> Any:
    """Return the bits of the nearest bfloat16, ties to even: those of a float32, cut."""
    bits = np.float32(narrow_point(value)).view(np.int32)
    even = np.int32(np.int32(bits >> 16) & np.int32(1))
    found = np.int32(np.int32(bits + np.int32(0x7FFF) + even) >> 16)
    nan = np.int32(np.int32(bits >> 16) | np.int32(0x40))
    return np.int16(nan if np.int32(bits & np.int32(0x7FFFFFFF)) > INF_BITS_32 else found)


@point
def number(x: Any) -> Any:
    """Return an element to compute with: a float as it is, bits as what they stand for."""
    if isinstance(x, np.uint16):
        return float_of_half_point(x)
    elif isinstance(x, np.int16):
        return np.int32(np.int32(x) << 16).view(np.float32)
    else:
        return x


@point
def element(before: Any, value: Any) -> Any:
    """Return `value` as an array has it whose element was `before`: bits if that is an integer."""
    if isinstance(before, np.uint16):
        return half_of_float_point(value)
    elif isinstance(before, np.int16):
        return brain_of_float_point(value)
    else:
        return value


@block
def convert_block(source: Any, target: Any) -> None:
    """Convert a short float to float32 or float64, or back: the integers hold its bits."""
    for i in range(source.size):
        target[i] = element(target[i], number(source[i]))
