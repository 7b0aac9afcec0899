"""Where results go: new arrays, or those given with ``out=`` after every check of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import numpy as np

from ._bfloat16 import as_bits, is_bfloat16
from ._typing import Array

# Steps of a search for an element that two strided arrays share, some milliseconds; there are
# strides for which it takes minutes.
OVERLAP_WORK: Any = 100_000
# What a result may be rounded to.
_FLOATS = frozenset(np.dtype(t) for t in (np.float16, np.float32, np.float64))


def targets(
    out: Any,
    shapes: tuple[tuple[int, ...], ...],
    dtype: np.dtype[Any],
    inputs: tuple[Array | None, ...],
    empty: Callable[..., Array],
    *,
    plain: bool = False,
) -> tuple[list[Array], bool, bool]:
    """Return the arrays to write, whether one is an input, and whether all are plain.

    New ones are made by `empty`, which takes what ``np.empty`` takes.
    """
    if plain:
        # The same without what plain arrays do not need: 0.7 us of a call of 1,000 elements.
        if out is None:
            if len(shapes) == 1:
                return [empty(shapes[0], dtype)], False, True
            return [empty(shape, dtype) for shape in shapes], False, True
        outs = plain_outs(out, shapes, dtype, inputs)
        if outs is not None:
            return [*outs], False, True
    if out is None:
        return [empty(s, dtype, _order(s, inputs[0])) for s in shapes], False, False
    given = check_out(out, shapes, dtype)
    aliased = overlaps(given, inputs)
    return (
        [
            empty(shape, dtype, _order(shape, inputs[0])) if array is None else array
            for array, shape in zip(given, shapes, strict=True)
        ],
        aliased,
        False,
    )


def plain_outs(
    out: Any, shapes: tuple[tuple[int, ...], ...], dtype: np.dtype[Any], inputs: Sequence[Any]
) -> tuple[Array, ...] | None:
    """Return the given arrays if all can be taken as they are, apart from each other and inputs."""
    outs = out if type(out) is tuple else (out,)
    if len(outs) != len(shapes):
        return None
    if len(outs) == 1:
        return outs if is_plain_out(outs[0], shapes[0], dtype, inputs) else None
    apart = [*inputs]
    for given, shape in zip(outs, shapes, strict=True):
        if not is_plain_out(given, shape, dtype, apart):
            return None
        apart.append(given)
    return outs


def is_plain_out(
    out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], apart: Sequence[Array] = ()
) -> TypeGuard[Array]:
    """Tell whether an output can be taken as it is, sharing no memory with the arrays `apart`."""
    if type(out) is not np.ndarray or out.dtype != dtype or out.shape != shape:
        return False
    flags = out.flags
    if not flags.carray:
        return False
    for other in apart:
        # Two arrays that own their memory are apart: known in 50 ns, where NumPy takes 160.
        if not (flags.owndata and other.flags.owndata and other is not out) and np.may_share_memory(
            out, other
        ):
            return False
    return True


def _order(shape: tuple[int, ...], like: Array | None) -> str:
    """Return the order of a new result: Fortran's for Fortran-ordered input."""
    return "F" if like is not None and like.flags.fnc and like.shape == shape else "C"


def check_out(
    out: Any, shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]
) -> tuple[Array | None, ...]:
    """Return one array (or None: allocate) for each array result, without its subclass."""
    count = len(shapes)
    if count == 0:
        raise ValueError("out= was given, but this reduction leaves no array to write")
    outs = out if isinstance(out, tuple) else (out,)
    if len(outs) != count:
        raise ValueError(
            f"out= holds {len(outs)} array(s), but this call has {count} array result(s)"
        )
    return tuple(
        None if array is None else _checked_out(array, shape, dtype)
        for array, shape in zip(outs, shapes, strict=True)
    )


def _checked_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out= must be a NumPy array, got {type(out).__name__}")
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError("out= is a masked array, whose mask would stay; pass its .data")
    # A subclass may say what it likes of its shape, and a matrix cannot be made flat.
    array = np.asarray(out)
    if array.shape != shape:
        raise ValueError(f"out= has shape {array.shape}, but the result has shape {shape}")
    if array.dtype not in _FLOATS and not is_bfloat16(array.dtype):
        raise TypeError(
            f"out= has dtype {array.dtype}, but the result has dtype {dtype}; float16, bfloat16, "
            "float32 and float64 of this machine's byte order are taken too"
        )
    if not array.flags.writeable:
        raise ValueError("out= is read-only; pass a writable array")
    if any(s == 0 and n > 1 for s, n in zip(array.strides, array.shape, strict=True)):
        raise ValueError("out= is a broadcast view: several elements share one place")
    return as_bits(array)


def as_given(out: Any, arrays: list[Array]) -> list[Any]:
    """Return the caller's own objects, of subclasses of arrays too, or scalars for no axes."""
    if out is None:
        return [a if a.ndim else a[()] for a in arrays]
    outs = out if isinstance(out, tuple) else (out,)
    return [a if given is None else given for a, given in zip(arrays, outs, strict=True)]


def overlap(array: Array, source: Array | None) -> bool:
    """Tell whether an output may share memory with an input."""
    return source is not None and np.may_share_memory(array, source)


def overlaps(outs: Sequence[Array | None], inputs: Sequence[Array | None]) -> bool:
    """Tell whether an output is one of the inputs, element for element.

    Raises
    ------
    ValueError
        If an output shares memory with an input or with another output in any other way.
    """
    aliased = False
    given = [array for array in outs if array is not None]
    for i, array in enumerate(given):
        for other in given[:i]:
            if _share_an_element(array, other):
                raise ValueError("two arrays of out= share memory; pass separate arrays")
        for source in inputs:
            if source is None or not overlap(array, source):
                continue
            if _identical(array, source):
                aliased = True
            elif _share_an_element(array, source):
                raise ValueError(
                    "out= overlaps an input without being exactly that array; pass the input "
                    "itself to work in place, or a separate array"
                )
    return aliased


def _share_an_element(a: Array, b: Array) -> bool:
    """Tell whether an element lies in both; where that takes long to find out, it may."""
    try:
        return np.shares_memory(a, b, max_work=OVERLAP_WORK)
    except np.exceptions.TooHardError:
        return True


def _identical(a: Array, b: Array) -> bool:
    return (
        a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
        and a.shape == b.shape
        and a.strides == b.strides
        and a.dtype == b.dtype
    )
