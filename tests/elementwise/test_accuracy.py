"""How far off an element or a sum may be, and what becomes of special values.

Oracles: the naive formulas in 80-bit long double for float64 (checked against mpmath here), in
float64 for float32. Sampled unless said otherwise; the slow tests go through all of float32.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import mpmath
import numpy as np
import pytest
from cases import BY_NAME, CASES, EPS, ORACLES, Array, Case, clip_bounds
from checks import FAMILIES, assert_close, at_night, both_dtypes, both_families, in_ci, same_bits
from worst_errors import SAMPLES, SWEPT, bit_patterns, errors_of, sweep, too_large

import fastbce
from fastbce._kernels.float16 import convert_block

NAN, INF = math.nan, math.inf
every_family = pytest.mark.parametrize("case", SWEPT, ids=lambda case: case.kind)
needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than float64 here"
)


def assert_accurate(case: Case, x: Array) -> None:
    """Check all elements of `x` as first argument, with both hard labels."""
    assert not too_large(case, x.dtype, errors_of(case, x))


# --- elements -----------------------------------------------------------------------------------


@every_family
@pytest.mark.ci
def test_float32_across_all_bit_patterns(case: Case) -> None:
    with np.errstate(invalid="ignore"):  # signalling NaN
        for x in bit_patterns(11, 2**32, 509):
            assert_accurate(case, x)


@every_family
@pytest.mark.slow
def test_float32_every_bit_pattern(case: Case) -> None:
    assert not too_large(case, np.float32, sweep(case, np.float32))


@needs_long_double
@every_family
@pytest.mark.parametrize("sample", SAMPLES)
def test_float64(case: Case, sample: str, rng: np.random.Generator) -> None:
    with np.errstate(invalid="ignore"):
        assert_accurate(case, SAMPLES[sample](rng, 200_000))


@needs_long_double
@every_family
@pytest.mark.slow
def test_float64_a_thousand_million_points(case: Case) -> None:
    assert not too_large(case, np.float64, sweep(case, np.float64))


@needs_long_double
@every_family
def test_oracle_against_mpmath(case: Case, rng: np.random.Generator) -> None:
    x = np.concatenate([draw(rng, 40)[:40] for draw in SAMPLES.values()])
    x = x[np.isfinite(x)]
    if case.kind == "logit":
        x = x[(x > 0) & (x < 1)]
    low, high = clip_bounds(np.dtype(np.float64), EPS)

    def exact(name: str, value: float, y: int) -> Any:
        z = mpmath.mpf(value)
        if case.kind == "clipped":
            c = min(max(z, mpmath.mpf(float(low))), mpmath.mpf(float(high)))
            return -mpmath.log(c if y else 1 - c) if name == "loss" else 1 / (1 - c - y)
        if case.kind == "logit":
            return mpmath.log(z / (1 - z))
        if case.kind in ("softplus", "log_sigmoid"):
            sign = 1 if case.kind == "softplus" else -1
            return sign * mpmath.log1p(mpmath.exp(sign * z))
        s = 1 / (1 + mpmath.exp(-z))
        if name == "loss":
            return mpmath.log1p(mpmath.exp(-z if y else z))
        results = {"value": s, "probabilities": s, "gradient": s - y, "hessian": s * (1 - s)}
        return results[name]

    # 1 - s and s - 1 cancel by up to 1100 bits.
    with mpmath.workprec(2400), np.errstate(all="ignore"):
        for y in (0, 1) if case.is_loss else (0,):
            arguments = (x, np.full(x.shape, y)) if case.is_loss else (x,)
            for name, wide in zip(case.results, case.exact(*arguments), strict=True):
                for value, result in zip(x.tolist(), wide, strict=True):
                    mantissa, exponent = np.frexp(result)
                    digits = mpmath.mpf(int(np.ldexp(mantissa, 64)))
                    target = exact(name, value, y)
                    error = abs(mpmath.ldexp(digits, int(exponent) - 64) - target)
                    # Far below half a unit of float64, its subnormal numbers included.
                    assert error <= abs(target) * 2.0**-60 + mpmath.ldexp(1, -1085)


@both_dtypes
def test_sigmoid_backward(dtype: Any, rng: np.random.Generator) -> None:
    case = BY_NAME["sigmoid_backward"]
    wide = np.longdouble if dtype == np.float64 else np.float64
    for d, s in (
        (rng.normal(size=300_000), rng.random(300_000)),
        (rng.uniform(1, 1.1, 300_000), rng.uniform(0.06, 0.065, 300_000)),  # the worst found
        (np.ldexp(rng.random(300_000), -140), rng.random(300_000)),
    ):
        arguments = d.astype(dtype), s.astype(dtype)
        (result,) = case(*arguments)
        (exact,) = case.exact(*arguments, wide=wide)
        assert_close(result, exact, case.ulp("value", dtype))


@pytest.mark.parametrize("dtype", [np.float32, in_ci(np.float64)])
def test_every_function_of_a_family_gives_the_same_elements(
    dtype: Any, rng: np.random.Generator
) -> None:
    """What holds for the function that returns everything holds for the others."""
    for family in FAMILIES:
        arguments = family.draw(rng, 5000, dtype)
        results = dict(zip(family.results, family(*arguments, reduction="none"), strict=True))
        results["probabilities"] = fastbce.sigmoid(arguments[0])
        for case in CASES:
            if case.kind == family.kind:
                actual = case(*arguments, reduction="none")
                for name, value in zip(case.results, actual, strict=True):
                    assert same_bits(value, results[name])


# --- special values -----------------------------------------------------------------------------

# logit -> sigmoid, then loss and gradient for label 0, loss and gradient for label 1, Hessian
LOGITS = [
    (NAN, (NAN, NAN, NAN, NAN, NAN, NAN)),
    (INF, (1.0, INF, 1.0, 0.0, 0.0, 0.0)),
    (-INF, (0.0, 0.0, 0.0, INF, -1.0, 0.0)),
    (0.0, (0.5, math.log(2), 0.5, math.log(2), -0.5, 0.25)),
    (-0.0, (0.5, math.log(2), 0.5, math.log(2), -0.5, 0.25)),
    (1e30, (1.0, 1e30, 1.0, 0.0, 0.0, 0.0)),
    (-1e30, (0.0, 0.0, 0.0, 1e30, -1.0, 0.0)),
]
# probability -> the clipped one (0: eps, 1: 1 - eps, NaN)
PROBABILITIES = [
    (NAN, NAN),
    (INF, 1),
    (-INF, 0),
    (0.0, 0),
    (-0.0, 0),
    (5e-324, 0),
    (1.0, 1),
    (2.0, 1),
    (-1.0, 0),
]


@both_dtypes
@pytest.mark.parametrize(("logit", "row"), LOGITS, ids=str)
def test_special_logits(logit: float, row: tuple[float, ...], dtype: Any, backend: str) -> None:
    sigma, loss0, gradient0, loss1, gradient1, hessian = row
    z = np.full(20, logit, dtype)
    expected = {0: (loss0, gradient0, hessian), 1: (loss1, gradient1, hessian)}
    np.testing.assert_array_equal(fastbce.sigmoid(z), np.full(20, sigma, dtype))
    for label, values in expected.items():
        y = np.full(20, label)
        results = fastbce.bce_with_logits_loss_gradient_hessian(z, y, reduction="none")
        for actual, value in zip(results, values, strict=True):
            np.testing.assert_allclose(actual, np.full(20, value), rtol=1e-6)
        mean = fastbce.bce_with_logits_loss(z, y)
        np.testing.assert_allclose(mean, values[0], rtol=1e-6)


@both_dtypes
@pytest.mark.parametrize(("probability", "side"), PROBABILITIES, ids=str)
@pytest.mark.parametrize("label", [0, 1])
def test_special_probabilities(
    probability: float, side: float, label: int, dtype: Any, backend: str
) -> None:
    c = np.longdouble(NAN if math.isnan(side) else clip_bounds(np.dtype(dtype), EPS)[int(side)])
    loss, gradient = -np.log(c if label else 1 - c), 1 / (1 - label - c)
    with np.errstate(under="ignore"):
        p = np.full(20, probability).astype(dtype)
    y = np.full(20, label, dtype)
    for weight in (None, 1):
        options: dict[str, Any] = {"sample_weight": weight, "reduction": "none"}
        losses, gradients = fastbce.bce_loss_gradient(p, y, **options)
        np.testing.assert_allclose(losses, np.full(20, float(loss)), rtol=1e-6)
        np.testing.assert_allclose(gradients, np.full(20, float(gradient)), rtol=1e-6)
    np.testing.assert_allclose(fastbce.bce_loss(p, y), float(loss), rtol=1e-6)


@both_dtypes
@both_families
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("bad", ["score", "label"])
def test_one_nan_is_not_lost(
    case: Case, reduction: str, bad: str, dtype: Any, backend: str, rng: np.random.Generator
) -> None:
    scores, y = case.draw(rng, 5000, dtype)
    y[1234] = 1
    (scores if bad == "score" else y)[1234] = np.nan
    results = dict(zip(case.results, case(scores, y, reduction=reduction), strict=True))
    for name, actual in results.items():
        if np.ndim(actual) == 0:
            assert np.isnan(actual)
        elif name != "hessian" or bad == "score":
            assert np.flatnonzero(np.isnan(actual)).tolist() == [1234]


@both_dtypes
def test_saturated_right_labels_keep_a_gradient(dtype: Any, backend: str) -> None:
    z = np.array([30.0, 40.0, 80.0, 100.0], dtype)
    up = fastbce.bce_with_logits_gradient(z, np.ones(4), reduction="none")
    down = fastbce.bce_with_logits_gradient(-z, np.zeros(4), reduction="none")
    np.testing.assert_allclose(down, np.exp(-z.astype(np.float64)), rtol=1e-5, atol=1e-45)
    np.testing.assert_array_equal(up, -down)
    assert np.all(down > 0)


def test_float16_is_converted_as_numpy_does() -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    wide, expected = np.empty(bits.size, np.float32), bits.view(np.float16).astype(np.float32)
    convert_block(bits, wide)
    number = ~np.isnan(expected)
    assert same_bits(wide[number], expected[number])
    assert np.all(np.isnan(wide[~number]))
    # Every float32 whose last bits are those of a tie between two float16, or next to it.
    ties = np.arange(0, 2**32, 2**12, dtype=np.uint32)
    x = (ties[:, None] + np.arange(-1, 2)).astype(np.uint32).ravel().view(np.float32)
    narrow = np.empty(x.size, np.uint16)
    convert_block(x, narrow)
    with np.errstate(all="ignore"):
        nearest = x.astype(np.float16)
    number = ~np.isnan(x)
    assert same_bits(narrow.view(np.float16)[number], nearest[number])
    assert np.all(np.isnan(narrow.view(np.float16)[~number]))


@both_dtypes
def test_subnormal_results(dtype: Any, backend: str) -> None:
    low, high = (-103.6, -88.0) if dtype == np.float32 else (-744.7, -709.0)
    x = np.linspace(low, high, 50).astype(dtype)
    result = fastbce.sigmoid(x)
    assert np.all((result > 0) & (result < np.finfo(dtype).tiny))
    # An error of half a unit and the exponential's own: NumPy's rounds to whole units too.
    (exact,) = BY_NAME["sigmoid"].exact(x)
    assert_close(result, exact, 1.01)


@both_dtypes
def test_results_below_the_least_subnormal(dtype: Any, backend: str) -> None:
    low, high = (-106.0, -103.6) if dtype == np.float32 else (-747.0, -744.7)
    x = np.linspace(low, high, 500).astype(dtype)
    (exact,) = BY_NAME["sigmoid"].exact(x)
    assert_close(fastbce.sigmoid(x), exact, 0.75)


@both_dtypes
def test_subnormal_inputs(dtype: Any, backend: str) -> None:
    smallest = np.array([5e-324 if dtype == np.float64 else 1e-45] * 20, dtype)
    assert np.all(smallest > 0)
    for x in (smallest, -smallest):
        np.testing.assert_array_equal(fastbce.sigmoid(x), np.full(20, 0.5))
    np.testing.assert_array_equal(
        fastbce.sigmoid_backward(smallest, np.full(20, 0.5, dtype)), np.zeros(20)
    )


@both_dtypes
def test_the_loss_is_never_negative(dtype: Any, backend: str) -> None:
    p = np.linspace(-0.1, 1.1, 10_001).astype(dtype)
    z = np.linspace(-800, 800, 10_001).astype(dtype)
    for y in (np.zeros(10_001), np.ones(10_001), np.linspace(0, 1, 10_001)):
        assert np.all(fastbce.bce_loss(p, y, reduction="none") > 0)
        assert np.all(fastbce.bce_with_logits_loss(z, y, reduction="none") >= 0)


def test_flags_of_numpy_are_left_alone(backend: str) -> None:
    with np.errstate(all="raise"):
        fastbce.sigmoid(np.array([-1e4, 1e4, np.nan, np.inf]))
        fastbce.bce_with_logits_loss_gradient(np.array([1e4, -1e4, np.nan]), np.ones(3))
        fastbce.bce_loss_gradient(np.array([0.0, 1.0, np.nan]), np.ones(3))


# --- sums ---------------------------------------------------------------------------------------


def _exact_sum(case: Case, arguments: tuple[Array, ...]) -> float:
    """Return the sum of the exact element losses."""
    wide = np.longdouble if arguments[0].dtype == np.float64 else np.float64
    low_high = clip_bounds(arguments[0].dtype, EPS) if case.kind == "clipped" else ()
    inputs = [a.astype(wide) for a in arguments]
    return math.fsum(ORACLES[case.kind, "loss"](*inputs, *low_high).tolist())


@pytest.mark.parametrize("name", ["bce_loss", "bce_with_logits_loss"])
@pytest.mark.parametrize(
    ("size", "spread"),
    [
        *itertools.product((1000, 100_003), (0.1, 6, 60)),
        in_ci(3_000_001, 6),
        *map(at_night, (3_000_001, 3_000_001), (0.1, 60)),
    ],
)
def test_error_of_a_sum_does_not_grow_with_its_length(
    name: str, size: int, spread: float, rng: np.random.Generator
) -> None:
    """Elements are off by 2 ULP at random signs; the sum adds nothing that grows with n.

    Multiplying probabilities rounds each to 2^-53, which is more than 2 ULP of a tiny loss.
    """
    case = BY_NAME[name]
    for dtype, limit in ((np.float32, 3e-7), (np.float64, 2e-15)):
        x, y = rng.normal(scale=spread, size=size), rng.integers(0, 2, size)
        scores = fastbce.sigmoid(x) if case.kind == "clipped" else x
        arguments = scores.astype(dtype), y.astype(dtype)
        # The sum of float32 is rounded to float32: 6e-8 of the limit.
        exact = _exact_sum(case, arguments)
        (total,) = case(*arguments, reduction="sum")
        rounding = 2.0**-53 * size if case.kind == "clipped" else 0
        assert abs(float(total) - exact) <= limit * exact + rounding


@pytest.mark.parametrize("name", ["bce_loss", "bce_with_logits_loss"])
def test_equal_terms_sum_without_drift(name: str) -> None:
    """A million equal terms: the error of one term, and of the few sums above it."""
    case = BY_NAME[name]
    for score in (0.1, 0.3, 0.7, 0.9):
        arguments = np.full(1_000_000, score, np.float32), np.ones(1_000_000, np.float32)
        exact = _exact_sum(case, arguments)
        (total,) = case(*arguments, reduction="sum")
        assert abs(float(total) - exact) <= 3e-7 * exact


@pytest.mark.parametrize("label", [0, 1])
def test_sum_of_tiny_losses(label: int, backend: str) -> None:
    """Terms so small that 1 + e is 1 still count."""
    z = np.full(100_000, 40.0 if label else -40.0)
    total = fastbce.bce_with_logits_loss(z, np.full(100_000, label), reduction="sum")
    np.testing.assert_allclose(total, 100_000 * math.exp(-40), rtol=1e-14)


@pytest.mark.parametrize("label", [0, 1])
def test_sum_of_losses_at_the_clip(label: int, backend: str) -> None:
    p = np.full(100_000, float(label))
    mean = fastbce.bce_loss(p, np.full(100_000, label))
    np.testing.assert_allclose(mean, -math.log1p(-EPS), rtol=0, atol=2.0**-53)


@pytest.mark.parametrize("label", [0, 1])
def test_sum_of_large_losses(label: int, backend: str) -> None:
    """The mean of finite losses is finite, even where their sum exceeds float32."""
    z = np.full(100_000, -3e38 if label else 3e38, np.float32)
    mean = fastbce.bce_with_logits_loss(z, np.full(100_000, label))
    np.testing.assert_allclose(mean, 3e38, rtol=1e-6)


def test_sum_where_products_would_underflow(backend: str) -> None:
    """Every factor at its smallest: the product of a lane must not reach 0."""
    p = np.zeros(100_000)
    for eps in (1e-7, 1e-9, 0.99e-9, 1e-18, 1e-25, 1e-300):
        mean = fastbce.bce_loss(p, np.ones(100_000), eps=eps)
        np.testing.assert_allclose(mean, -math.log(eps), rtol=1e-13)
