"""Check the linear pass as plain Python, with ``NUMBA_DISABLE_JIT=1``, as test_interpreted does.

Its vectors exist in compiled code alone: here arrays of their lanes stand for them.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numba import config

from fastbce._kernels import vectors as _vectors

Array = Any


def lanes_of(kind: Any) -> int:
    return int(_vectors.BYTES // np.dtype(kind).itemsize)


def load_of(width: int) -> Any:
    def load(a: Array, i: int, one: Any) -> Array:
        vector = np.zeros(lanes_of(type(one)), type(one))
        vector[:width] = a[i : i + width]
        return vector

    return load


def add_of(width: int) -> Any:
    def add(a: Array, i: int, vector: Array) -> None:
        a[i : i + width] += vector[:width]

    return add


def tile_step(rows: Array, i: int, factors: Array, j: int, tile: list[Array]) -> list[Array]:
    vector = rows[i : i + tile[0].size]
    return [total + vector * factors[j + column] for column, total in enumerate(tile)]


def tile_add(matrix: Array, place: int, stride: int, tile: list[Array]) -> None:
    for column, total in enumerate(tile):
        start = place + column * stride
        matrix[start : start + total.size] += total


def store_sums(array: Array, i: int, first: Any, second: Any, start: Any) -> None:
    array[i : i + 8] = [vector.sum() + start for vector in (*first, *second)]


def stand_in() -> None:
    """Replace the instructions before the kernels import them."""
    replacements: dict[str, Any] = {
        "load": {width: load_of(width) for width in _vectors.WIDTHS},
        "add": {width: add_of(width) for width in _vectors.WIDTHS},
        "splat": lambda value: np.full(lanes_of(type(value)), value, type(value)),
        "minus": lambda a, b: a - b,
        "vector_fma": lambda a, b, c: a * b + c,
        "prefetch": lambda x, i, ahead: None,
        "tile_zero": lambda one: [np.zeros(lanes_of(type(one)), type(one))] * _vectors.TILE_COLUMNS,
        "tile_step": tile_step,
        "tile_add": tile_add,
        "store_sums": store_sums,
        "sums": lambda *vectors: tuple(vector.sum() for vector in vectors),
    }
    for name, function in replacements.items():
        setattr(_vectors, name, function)


def main() -> None:
    """Check both layouts and dtypes, with every width of the last lanes."""
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        sys.exit("run with NUMBA_DISABLE_JIT=1")
    stand_in()
    from linear_pass import check, draw

    from fastbce import _backends, linear
    from fastbce._engine import linear as _linear

    _backends._loaded["linear"] = _linear
    assert linear.linear_backend() is _linear
    rng = np.random.default_rng(0)
    for dtype in ("f4", "f8"):
        for shape in ((1, 1), (9, 31), (37, 45), (70, 4), (8, 2)):
            X, y, coef = draw(rng, shape, dtype)
            weight = rng.random(shape[0]).astype(dtype)
            for order in "CF":
                laid: Array = np.asarray(X, order=order)  # type: ignore[call-overload]
                check(laid, y, coef, kind=dtype)
                check(laid, y, coef, weight, kind=dtype)
    print("all as exact")


if __name__ == "__main__":
    main()
