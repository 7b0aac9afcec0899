"""Results in arrays of another float dtype than the scores: rounded once, in the same pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cases import BY_NAME, FLOATS, Array, Case
from checks import REDUCTIONS, every_case, options_for, same_bits

import fastbce
from fastbce._kernels.float16 import convert_block

if TYPE_CHECKING:
    from collections.abc import Callable

# A family stands for both: what differs is where results are written.
CASE = BY_NAME["bce_with_logits_loss_gradient_hessian"]
PAIRS = [(a, b) for a in FLOATS for b in FLOATS if a is not b]
both_ways = pytest.mark.parametrize(
    ("dtype", "target"), PAIRS, ids=lambda dtype: np.dtype(dtype).name
)


def rounded(values: Any, dtype: Any) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(dtype)


@every_case
def test_every_function(case: Case, backend: str, rng: np.random.Generator) -> None:
    arguments = case.draw(rng, (30, 40), np.float64)
    options = options_for(case)
    out = tuple(np.full((30, 40), 9, np.float32) for _ in case.results)
    results = case(*arguments, out=out, **options)
    for actual, given, value in zip(results, out, case(*arguments, **options), strict=True):
        assert actual is given
        assert same_bits(given, rounded(value, np.float32))


@both_ways
@pytest.mark.parametrize("layout", ["plain", "strided"])
@pytest.mark.ci
def test_every_pair_of_dtypes(
    dtype: Any, target: Any, layout: str, backend: str, rng: np.random.Generator
) -> None:
    arguments = CASE.draw(rng, (6, 700), dtype)
    step = 2 if layout == "strided" else 1
    for reduction in REDUCTIONS:
        # Of float16 scores a wider array gets the float32 numbers, which float16 would round.
        wide = tuple(a.astype(np.float32) if i == 0 else a for i, a in enumerate(arguments))
        expected = CASE(*(wide if dtype == np.float16 else arguments), reduction=reduction)
        shapes = [np.shape(value) for value in expected if np.ndim(value)]
        out = tuple(np.full((*s[:-1], s[-1] * step), 9, target)[..., ::step] for s in shapes)
        results = CASE(*arguments, reduction=reduction, out=out)
        arrays = [value for value in expected if np.ndim(value)]
        for given, value in zip(out, arrays, strict=True):
            # A mean of a row is float64 until it is rounded: a wider array gets all of it.
            longer = np.shape(value) != np.shape(arguments[0]) and target == np.float64
            written = rounded(given, value.dtype) if longer else given.copy()
            assert same_bits(written, value if longer else rounded(value, target))
        if reduction in ("mean", "sum"):
            assert results[0] == rounded(expected[0], dtype)


def test_results_differ_in_dtype(backend: str, rng: np.random.Generator) -> None:
    z, y = rng.normal(size=500), rng.integers(0, 2, 500)
    out: tuple[Array, ...]
    out = (np.empty(500), np.empty(500, np.float32), np.empty(500, np.float16))
    fastbce.bce_with_logits_loss_gradient_hessian(z, y, reduction="none", out=out)
    expected = fastbce.bce_with_logits_loss_gradient_hessian(z, y, reduction="none")
    for given, value in zip(out, expected, strict=True):
        assert same_bits(given, rounded(value, given.dtype))


def test_many_elements_on_threads(threads: Callable[[int], None], rng: np.random.Generator) -> None:
    z, y = rng.normal(scale=5, size=3_000_001), rng.integers(0, 2, 3_000_001)
    threads(2)
    out = (np.empty(z.size, np.float32), np.empty(z.size, np.float32))
    fastbce.bce_with_logits_gradient_hessian(z, y, reduction="sum", out=out)
    for given, value in zip(
        out, fastbce.bce_with_logits_gradient_hessian(z, y, reduction="sum"), strict=True
    ):
        assert same_bits(given, rounded(value, np.float32))


def test_memory_of_an_input_in_another_dtype_is_refused(backend: str) -> None:
    x = np.ones(8)
    for out in (x.view(np.float32)[:8], x.view(np.float32)[::2]):
        with pytest.raises(ValueError, match="out= overlaps an input"):
            fastbce.sigmoid(x, out=out)
    assert np.all(x == 1)


def test_float64_to_float16_is_rounded_once() -> None:
    """Next to each tie between two float16 a float64 lies on one side, its float32 on the tie."""
    bits = np.arange(0x7C00, dtype=np.uint16)
    numbers = bits.view(np.float16).astype(np.float64)
    ties = (numbers + np.append(numbers[1:], 65536.0)) / 2
    x = np.concatenate([np.nextafter(ties, 0), ties, np.nextafter(ties, np.inf), numbers])
    x = np.concatenate([x, -x, [np.inf, -np.inf, 1e300, 1e-300, 5e-324, 0.0, -0.0]])
    narrow = np.empty(x.size, np.uint16)
    convert_block(x, narrow)
    assert same_bits(narrow.view(np.float16), rounded(x, np.float16))
    convert_block(np.full(3, np.nan), narrow[:3])
    assert np.all(np.isnan(narrow[:3].view(np.float16)))
