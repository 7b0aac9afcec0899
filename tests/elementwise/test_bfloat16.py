"""bfloat16 as bits: read and written in place, computed in float32, rounded once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import BY_NAME, Array, Case
from checks import REDUCTIONS, options_for, same_bits

import fastbce
from fastbce._kernels.float16 import convert_block

BITS = np.arange(2**16, dtype=np.uint16)
FEW = [
    BY_NAME[name]
    for name in ("sigmoid", "sigmoid_backward", "logit", "bce_loss_gradient", "sigmoid_bce")
]
few_cases = pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)


def widened(bits: Array) -> Array:
    """Return the float32 numbers that bfloat16 bits stand for: their upper halves."""
    halves = np.zeros((*bits.shape, 2), np.uint16)
    halves[..., 1] = bits
    return halves.view("<f4")[..., 0].astype(np.float32)


FINITE = widened(BITS[BITS & 0x7FFF < 0x7F80]).astype(np.float64)
GRID = np.unique(FINITE) + 0.0  # which of the two zeros is kept depends on the processor


def nearest(values: Any) -> Array:
    """Return the bits of the nearest bfloat16 by a search among all of them, ties to even."""
    x = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):
        place = np.searchsorted(GRID, x).clip(1, GRID.size - 1)
        low, high = GRID[place - 1], GRID[place]
        bits = np.asarray(low, np.float32).view(np.uint32) >> 16
        over = np.where(low >= 0, bits + 1, bits - 1) & 0xFFFF
        over = np.where((low < 0) & (high == 0), 0x8000, over)
        down = (x - low < high - x) | ((x - low == high - x) & (bits % 2 == 0))
        found = np.where(down, bits, over)
        # Half a step beyond the largest number begins infinity.
        most, step = GRID[-1], GRID[-1] - GRID[-2]
        infinite = np.abs(x) >= most + step / 2
    found = np.where(np.abs(x) > most, 0x7F7F | (x < 0) << 15, found)
    found = np.where(infinite, 0x7F80 | (x < 0) << 15, found)
    found = np.where(x == 0, np.signbit(x).astype(int) << 15, found)
    return np.asarray(found, np.uint16)


def test_all_patterns_are_read() -> None:
    wide = np.empty(BITS.size, np.float32)
    convert_block(BITS.view(np.int16), wide)
    expected = widened(BITS)
    number = ~np.isnan(expected)
    assert same_bits(wide[number], expected[number])
    assert np.isnan(wide[~number]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_rounded_once(dtype: Any, backend: str, rng: np.random.Generator) -> None:
    ties = (FINITE[FINITE >= 0] * (1 + 2.0**-9))[:: 1 if dtype == np.float64 else 7]
    near = [np.nextafter(ties.astype(dtype), dtype(side)) for side in (0, np.inf)]
    top = [GRID[-1] * (1 + 2.0**-9), 3.3999e38, 3.4e38, 0.0, 1e-45, 4.6e-41, 4.59e-41]
    x = np.concatenate([ties.astype(dtype), *near, np.array(top, dtype), FINITE.astype(dtype)])
    x = x[x < 1e38 if dtype == np.float32 else np.isfinite(x)]
    x = np.concatenate([x, -x])
    x = np.append(x, [np.inf, -np.inf]).astype(dtype)
    out = np.empty(x.size, fastbce.bfloat16)
    if backend == "numba":
        convert_block(x, out.view(np.int16))
    else:
        from fastbce._bfloat16 import write

        write(out, x)
    assert same_bits(out.view(np.uint16), nearest(x))
    convert_block(np.full(3, np.nan, dtype), out[:3].view(np.int16))
    assert np.isnan(widened(out[:3].view(np.uint16))).all()


def layouts(bits: Array, how: str) -> Array:
    """Return the bits laid out in a larger array, marked as bfloat16."""
    frame = np.zeros((2 * bits.shape[0], bits.shape[1]), np.uint16)
    view = {"plain": bits, "strided": frame[::2], "fortran": np.asfortranarray(bits)}[how]
    view[...] = bits
    return view.view(fastbce.bfloat16)


@few_cases
@pytest.mark.parametrize("how", ["plain", "strided", "fortran"])
def test_results(case: Case, how: str, backend: str, rng: np.random.Generator) -> None:
    """What float32 gives for the same numbers, rounded; labels and weights may be of it too."""
    bits = [nearest(a) for a in case.draw(rng, (30, 40), soft=True)]
    marked = [layouts(b, how) for b in bits]
    weight = nearest(rng.random((30, 40)))
    for reduction in REDUCTIONS if case.is_loss else ("none",):
        options = options_for(case, reduction)
        marks: dict[str, Any] = {}
        if case.is_loss:
            options["sample_weight"] = widened(weight)
            marks = {**options, "sample_weight": layouts(weight, how)}
        results = case(*marked, **marks)
        expected = case(*(widened(b) for b in bits), **options)
        for actual, value in zip(results, expected, strict=True):
            if np.ndim(value):
                assert actual.dtype == fastbce.bfloat16
                assert same_bits(actual.copy("C").view(np.uint16), nearest(value))
            else:
                # The sum is rounded once more than the float64 that float32 comes from.
                assert type(actual) is np.float32
                assert float(actual) in widened(nearest([value * (1 - 1e-7), value * (1 + 1e-7)]))


@few_cases
def test_in_place_and_labels_of_other_dtypes(
    case: Case, backend: str, rng: np.random.Generator
) -> None:
    bits, *more = (nearest(a) for a in case.draw(rng, (30, 40)))
    scores = bits.view(fastbce.bfloat16)
    others = [b.view(fastbce.bfloat16) for b in more]
    if case.is_loss:
        others = [widened(b).astype(np.int8) for b in more]
    options = options_for(case)
    expected = case(scores, *others, **options)
    out: list[Any] = [None] * len(case.results)
    out[-1] = scores
    results = case(scores, *others, out=tuple(out), **options)
    assert results[-1] is scores
    for actual, value in zip(results, expected, strict=True):
        assert same_bits(actual, value)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_out_of_another_dtype(dtype: Any, backend: str, rng: np.random.Generator) -> None:
    x = rng.normal(scale=4, size=(7, 300)).astype(dtype)
    out = np.empty((7, 300), fastbce.bfloat16)
    fastbce.sigmoid(x, out=out)
    exact = fastbce.sigmoid(x.astype(np.float32) if dtype == np.float16 else x)
    assert same_bits(out.view(np.uint16), nearest(exact))
    back = np.empty((7, 300), dtype)
    fastbce.sigmoid(out, out=back)
    wide = fastbce.sigmoid(widened(out.view(np.uint16)))
    assert same_bits(back, wide.astype(dtype))
    losses = np.empty(7, fastbce.bfloat16)
    fastbce.bce_loss(x, x > 0, reduction="samples", out=losses)
    exact = fastbce.bce_loss(
        x.astype(np.float32) if dtype == np.float16 else x, x > 0, reduction="samples"
    )
    assert same_bits(losses.view(np.uint16), nearest(exact))


def test_ends(backend: str) -> None:
    """No element, one without an axis, bad labels, rows longer than a strip."""
    empty = np.zeros((2, 0), fastbce.bfloat16)
    nothing = fastbce.bce_loss(empty, empty, reduction="samples").view(np.uint16)
    assert np.isnan(widened(nothing)).all()
    assert np.isnan(fastbce.bce_loss(empty, empty))
    half = np.array(0x3F00, np.uint16).view(fastbce.bfloat16)
    assert fastbce.logit(half).view(np.uint16) == 0
    labels = nearest([0.5, 1.5]).view(fastbce.bfloat16)
    with pytest.raises(ValueError, match=r"y_true\[1\] is 1\.5"):
        fastbce.bce_loss([0.5, 0.5], labels, check_labels=True)
    long = np.full((2, 20_000), 0x3F00, np.uint16).view(fastbce.bfloat16)
    means = fastbce.bce_loss(long, long, reduction="samples")
    assert np.all(means.view(np.uint16) == nearest(np.log(2)))
    with pytest.raises(ValueError, match=r"not negative, got values in \[-1\.0"):
        fastbce.bce_loss([0.5], [1], sample_weight=nearest([-1.0]).view(fastbce.bfloat16))
    with pytest.raises(TypeError, match="X has dtype"):
        fastbce.linear_bce_hessian(long, np.zeros(20_000))


def test_bits_that_are_not_marked_are_integers(backend: str) -> None:
    bits = np.array([0x3F80, 0], np.uint16)
    assert fastbce.sigmoid(bits).tolist() == [1.0, 0.5]
    assert widened(fastbce.sigmoid(bits.view(fastbce.bfloat16)).view(np.uint16))[0] < 0.74


def test_arrays_of_ml_dtypes(backend: str, rng: np.random.Generator) -> None:
    kind = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    x = rng.normal(scale=4, size=(6, 50)).astype(np.float32).astype(kind)
    y = (rng.random((6, 50)) < 0.5).astype(kind)
    bits = [a.view(np.uint16).view(fastbce.bfloat16) for a in (x, y)]
    for reduction in REDUCTIONS:
        expected = fastbce.bce_with_logits_loss_gradient(*bits, reduction=reduction)
        results = fastbce.bce_with_logits_loss_gradient(x, y, reduction=reduction)
        assert results[0].dtype == results[1].dtype == kind
        assert same_bits(results[1].view(np.uint16), expected[1].view(np.uint16))
        assert np.all(np.asarray(results[0], np.float32) == numbers_of(expected[0]))
    out = np.empty_like(x)
    assert fastbce.sigmoid(x, out=out) is out
    assert same_bits(out, fastbce.sigmoid(x))
    assert fastbce.sigmoid(x, out=x) is x
    assert same_bits(out, x)


def numbers_of(values: Any) -> Array:
    values = np.asarray(values)
    return values if values.dtype == np.float32 else widened(values.view(np.uint16))


def test_a_tensor_is_told_how_to_come() -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            raise TypeError("Got unsupported ScalarType BFloat16")

    with pytest.raises(TypeError, match=r"view\(torch\.int16\).*view\(fastbce\.bfloat16\)"):
        fastbce.sigmoid(Tensor())
