"""Relations between results that need no oracle: symmetries, scaling, derivatives, reordering."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import BY_NAME, Array, Case
from checks import both_families, every_case, every_loss, in_ci, options_for, same_bits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastbce

pytestmark = pytest.mark.usefixtures("backend")

seeds = st.integers(0, 2**32 - 1)
sizes = st.one_of(st.integers(1, 40), st.sampled_from([1023, 1024, 1025, 16384, 16385, 40_000]))
float_dtypes = st.sampled_from([np.float32, np.float64])
logits: Any = hnp.arrays(
    st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)]),
    st.integers(1, 40),
    elements=st.floats(-1000, 1000, width=32),
)


def drawn(case: Case, seed: int, shape: Any, dtype: Any, **options: Any) -> tuple[Array, ...]:
    return case.draw(np.random.default_rng(seed), shape, dtype, **options)


def relative(dtype: Any) -> float:
    return 1e-5 if dtype == np.float32 else 1e-13


# A clipped loss that is summed up is off by this much at most, however small it is.
ABSOLUTE = 2.0**-52


# --- symmetries ---------------------------------------------------------------------------------


@given(x=logits)
def test_sigmoid_mirrors(x: Array) -> None:
    eps = np.finfo(x.dtype).eps
    left, right = fastbce.sigmoid(-x), fastbce.sigmoid(x)
    np.testing.assert_allclose(left + right, np.ones_like(x), rtol=0, atol=2 * eps)


@given(x=logits)
def test_sigmoid_rises(x: Array) -> None:
    """Monotone but for the last digits: 2 ULP where both stand for one value."""
    result = fastbce.sigmoid(np.sort(x))
    tiny = np.finfo(x.dtype).tiny
    assert np.all(np.diff(result) >= -4 * np.finfo(x.dtype).eps * result[:-1] - tiny)
    assert np.all((result >= 0) & (result <= 1))


@given(x=logits)
def test_sigmoid_rises_over_coarse_steps(x: Array) -> None:
    steps = np.unique(np.round(np.clip(x, -80, 15), 3))
    assert np.all(np.diff(fastbce.sigmoid(steps)) > 0)


@given(z=logits, seed=seeds, reduction=st.sampled_from(["none", "mean", "sum"]))
def test_exchanging_the_classes_changes_signs_alone(z: Array, seed: int, reduction: str) -> None:
    y = np.random.default_rng(seed).integers(0, 2, z.shape)
    function = fastbce.bce_with_logits_loss_gradient_hessian
    loss, gradient, hessian = function(z, y, reduction=reduction)
    # 0 - z: a positive zero stays positive, as its mirror image does.
    other_loss, other_gradient, other_hessian = function(0 - z, 1 - y, reduction=reduction)
    assert same_bits(loss, other_loss)
    np.testing.assert_array_equal(gradient, -other_gradient)
    np.testing.assert_array_equal(hessian, other_hessian)


@given(seed=seeds, size=sizes, reduction=st.sampled_from(["none", "mean", "sum"]))
def test_exchanging_the_classes_of_probabilities(seed: int, size: int, reduction: str) -> None:
    rng = np.random.default_rng(seed)
    p = rng.integers(0, 2**20, size) / 2**20  # 1 - p is exact
    y = rng.integers(0, 2, size)
    loss, gradient = fastbce.bce_loss_gradient(p, y, reduction=reduction)
    other_loss, other_gradient = fastbce.bce_loss_gradient(1 - p, 1 - y, reduction=reduction)
    np.testing.assert_allclose(loss, other_loss, rtol=1e-9)  # 1 - eps is rounded, eps is not
    np.testing.assert_allclose(gradient, -other_gradient, rtol=1e-8)


# --- the two families ---------------------------------------------------------------------------


@given(seed=seeds, size=sizes, soft=st.booleans())
def test_the_families_agree_between_the_clips(seed: int, size: int, soft: bool) -> None:
    rng = np.random.default_rng(seed)
    z = rng.uniform(-10, 10, size)
    y = rng.random(size) if soft else rng.integers(0, 2, size)
    p = fastbce.sigmoid(z)
    for reduction in ("none", "mean"):
        loss, gradient = fastbce.bce_with_logits_loss_gradient(z, y, reduction=reduction)
        clipped, slope = fastbce.bce_loss_gradient(p, y, reduction=reduction)
        np.testing.assert_allclose(clipped, loss, rtol=1e-10)
        chained = fastbce.sigmoid_backward(slope, p)
        np.testing.assert_allclose(chained, gradient, rtol=1e-10, atol=1e-15)


@given(seed=seeds, size=sizes)
def test_the_gradient_is_the_error_of_the_sigmoid(seed: int, size: int) -> None:
    z, y = drawn(BY_NAME["bce_with_logits_loss"], seed, size, np.float64, soft=True)
    gradient, hessian = fastbce.bce_with_logits_gradient_hessian(z, y, reduction="none")
    p, q = fastbce.sigmoid(z), fastbce.sigmoid(-z)
    np.testing.assert_allclose(gradient, p - y, rtol=0, atol=1e-15)
    np.testing.assert_allclose(hessian, p * q, rtol=1e-14)


# --- derivatives --------------------------------------------------------------------------------


def central(function: Any, x: Array, step: float) -> Array:
    """Return the slope of `function`, of fourth order in the step."""
    near = function(x + step) - function(x - step)
    far = function(x + 2 * step) - function(x - 2 * step)
    return np.asarray((8 * near - far) / (12 * step))


@pytest.mark.parametrize(
    ("soft", "weighted"), [(True, False), *map(in_ci, (True, False, False), (True, False, True))]
)
@given(seed=seeds)
def test_gradients_are_slopes_of_the_loss(seed: int, soft: bool, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    y = rng.random(50) if soft else rng.integers(0, 2, 50)
    weight = rng.random(50) if weighted else None
    options: dict[str, Any] = {"sample_weight": weight, "reduction": "none"}
    z, p = rng.uniform(-5, 5, 50), rng.uniform(0.05, 0.95, 50)
    slope = central(lambda x: fastbce.bce_with_logits_loss(x, y, **options), z, 1e-3)
    gradient, hessian = fastbce.bce_with_logits_gradient_hessian(z, y, **options)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-11)
    curve = central(lambda x: fastbce.bce_with_logits_gradient(x, y, **options), z, 1e-3)
    np.testing.assert_allclose(hessian, curve, rtol=0, atol=1e-11)
    slope = central(lambda x: fastbce.bce_loss(x, y, **options), p, 1e-4)
    np.testing.assert_allclose(fastbce.bce_gradient(p, y, **options), slope, rtol=1e-6, atol=1e-7)


@given(seed=seeds)
def test_sigmoid_backward_is_the_slope_of_the_sigmoid(seed: int) -> None:
    z = np.random.default_rng(seed).uniform(-5, 5, 50)
    slope = central(fastbce.sigmoid, z, 1e-3)
    backward = fastbce.sigmoid_backward(np.ones(50), fastbce.sigmoid(z))
    np.testing.assert_allclose(backward, slope, rtol=0, atol=1e-11)


@both_families
@pytest.mark.parametrize("reduction", ["sum", in_ci("mean")])
def test_gradients_of_reductions_are_slopes_of_the_sum(
    case: Case, reduction: str, rng: np.random.Generator
) -> None:
    """Move a single element and watch the scalar."""
    loss_of = BY_NAME["bce_loss" if case.kind == "clipped" else "bce_with_logits_loss"].function
    scores = rng.uniform(0.2, 0.8, 7)
    y, weight = rng.random(7), rng.random(7)
    options = {"sample_weight": weight, "reduction": reduction}
    results = dict(zip(case.results, case(scores, y, **options), strict=True))
    for i in range(7):
        unit = np.eye(7)[i]
        slope = central(
            lambda step, unit=unit: loss_of(scores + step * unit, y, **options), np.zeros(()), 1e-4
        )
        np.testing.assert_allclose(results["gradient"][i], slope, rtol=1e-7, atol=1e-9)


# --- weights ------------------------------------------------------------------------------------


@both_families
@given(seed=seeds, size=sizes, dtype=float_dtypes)
def test_weights_of_one_change_nothing(case: Case, seed: int, size: int, dtype: Any) -> None:
    arguments = drawn(case, seed, size, dtype)
    for actual, value in zip(
        case(*arguments, sample_weight=np.ones(size, np.int8), reduction="none"),
        case(*arguments, reduction="none"),
        strict=True,
    ):
        assert same_bits(actual, value)
    for actual, value in zip(case(*arguments, sample_weight=1), case(*arguments), strict=True):
        np.testing.assert_allclose(actual, value, rtol=relative(dtype), atol=ABSOLUTE)


@both_families
@given(seed=seeds, dtype=float_dtypes, power=st.integers(-8, 8))
def test_results_scale_with_the_weights(case: Case, seed: int, dtype: Any, power: int) -> None:
    arguments = drawn(case, seed, 60, dtype)
    weight = np.random.default_rng(seed + 1).random(60).astype(dtype)
    for reduction in ("none", "mean", "sum"):
        options = {"reduction": reduction}
        for actual, value in zip(
            case(*arguments, sample_weight=weight * dtype(2.0**power), **options),
            case(*arguments, sample_weight=weight, **options),
            strict=True,
        ):
            np.testing.assert_allclose(actual, value * dtype(2.0**power), rtol=relative(dtype))


@both_families
@given(seed=seeds)
def test_a_weight_of_two_is_the_element_twice(case: Case, seed: int) -> None:
    scores, y = drawn(case, seed, 50, np.float64)
    times = np.arange(50) % 3
    weighted = case(scores, y, sample_weight=times, reduction="sum")
    repeated = case(np.repeat(scores, times), np.repeat(y, times), reduction="sum")
    np.testing.assert_allclose(weighted[0], repeated[0], rtol=1e-13)


# --- reductions and order -----------------------------------------------------------------------


@every_loss
@given(seed=seeds, size=sizes, dtype=float_dtypes, soft=st.booleans())
def test_reductions_agree(case: Case, seed: int, size: int, dtype: Any, soft: bool) -> None:
    if "loss" not in case.results:
        return
    arguments = drawn(case, seed, size, dtype, soft=soft)
    elements = case(*arguments, reduction="none")[0]
    total = case(*arguments, reduction="sum")[0]
    mean = case(*arguments, reduction="mean")[0]
    by_hand = np.sum(elements, dtype=np.float64)
    rtol, atol = relative(dtype), ABSOLUTE
    np.testing.assert_allclose(total, by_hand, rtol=rtol, atol=atol * size)
    np.testing.assert_allclose(mean * size, total, rtol=rtol)
    rows = tuple(a.reshape(1, size) for a in arguments)
    np.testing.assert_allclose(case(*rows, reduction="samples")[0], [mean], rtol=rtol, atol=atol)


@every_case
@given(seed=seeds, size=sizes, dtype=float_dtypes)
def test_permuting_the_elements_permutes_the_results(
    case: Case, seed: int, size: int, dtype: Any
) -> None:
    arguments = drawn(case, seed, size, dtype, soft=True)
    order = np.random.default_rng(seed).permutation(size)
    options = options_for(case)
    for actual, value in zip(
        case(*(a[order] for a in arguments), **options),
        case(*arguments, **options),
        strict=True,
    ):
        assert same_bits(actual, value[order])


@every_case
@given(seed=seeds, cut=st.integers(0, 3000), dtype=float_dtypes)
def test_two_halves_are_the_whole(case: Case, seed: int, cut: int, dtype: Any) -> None:
    arguments = drawn(case, seed, 3000, dtype)
    options = options_for(case)
    first = case(*(a[:cut] for a in arguments), **options)
    second = case(*(a[cut:] for a in arguments), **options)
    for a, b, value in zip(first, second, case(*arguments, **options), strict=True):
        assert same_bits(np.concatenate([a, b]), value)
    if "loss" in case.results:
        parts = ([x[:cut] for x in arguments], [x[cut:] for x in arguments], arguments)
        left, right, total = (float(case(*part, reduction="sum")[0]) for part in parts)
        np.testing.assert_allclose(left + right, total, rtol=relative(dtype))


# --- everything together ------------------------------------------------------------------------


@given(data=st.data(), seed=seeds)
@every_case
def test_any_shape_stride_and_dtype(case: Case, data: st.DataObject, seed: int) -> None:
    """A view cut out of a larger array gives the bits of its plain copy."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=6))
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64, ">f4", ">f8"]))
    index = data.draw(hnp.basic_indices(shape, max_dims=4, allow_newaxis=True))
    whole = drawn(case, seed, shape, dtype)
    parts = tuple(a[index] for a in whole)
    options = options_for(case)
    for actual, value in zip(
        case(*parts, **options),
        case(*(np.array(a, a.dtype.newbyteorder("=")) for a in parts), **options),
        strict=True,
    ):
        assert np.shape(actual) == np.shape(parts[0])
        np.testing.assert_allclose(
            np.asarray(actual, np.float64), np.asarray(value, np.float64), rtol=1e-6
        )
