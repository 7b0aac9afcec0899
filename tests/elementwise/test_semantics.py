"""What every function computes, for everything it accepts, on both backends."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from cases import BY_NAME, LABEL_DTYPES, Array, Case
from checks import (
    REDUCTIONS,
    all_dtypes,
    assert_close,
    assert_right,
    at_night,
    both_dtypes,
    both_families,
    each_case,
    every_case,
    every_case_at_night,
    every_loss,
    in_ci,
    options_for,
    same_bits,
    tolerance,
)

import fastbce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZES = (1, 2, 15, 16, 17, 1023, 1024, 1025, 16383, 16384, 16385, 65535, 65536, 65537, 131_073)


@every_case
@all_dtypes
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_value_dtype_and_shape(
    case: Case, dtype: Any, reduction: str, backend: str, rng: np.random.Generator
) -> None:
    if reduction != "none" and not case.is_loss:
        reduction = "none"
    assert_right(case, case.draw(rng, (37, 5), dtype), backend, reduction=reduction)


@each_case
def test_each_function(case: Case, backend: str, rng: np.random.Generator) -> None:
    """Most tests leave to CI what is not the widest function of its family."""
    reduction = "mean" if case.is_loss else "none"
    assert_right(case, case.draw(rng, (37, 5), np.float32), backend, reduction=reduction)


@every_case
@pytest.mark.parametrize("dtype", [np.int64, in_ci(np.bool_), *map(at_night, [np.int8, np.uint64])])
def test_scores_of_integers_give_float64(
    case: Case, dtype: Any, backend: str, rng: np.random.Generator
) -> None:
    # Unsigned and bool values of a normal draw would wrap: draw 0 and 1.
    arguments = tuple(rng.integers(0, 2, 20).astype(dtype) for _ in case.draw(rng, 1))
    assert_right(case, arguments, backend)


@both_families
@pytest.mark.parametrize(
    ("labels", "reduction"),
    [
        # Each is a kernel of its own.
        *((np.dtype(code), "mean") for code in ("?", "q", "f", ">f8")),
        *((np.dtype(code), "none") for code in ("?", "q")),
        *(in_ci(np.dtype(code), "mean") for code in ("b", "Q", "e")),
        *(in_ci(np.dtype(code), "none") for code in (">i2", "d")),
        *(at_night(dtype, "mean") for dtype in LABEL_DTYPES if dtype.char not in "?qfbQe"),
        *(at_night(np.dtype(code), "mean") for code in (">i4", ">f2")),
        *(at_night(np.dtype(code), "none") for code in ("b", "Q")),
    ],
    ids=str,
)
def test_every_label_dtype_gives_the_same_bits(
    case: Case, labels: np.dtype[Any], reduction: str, backend: str, rng: np.random.Generator
) -> None:
    scores, y = case.draw(rng, 300, np.float32)
    expected = case(scores, y, reduction=reduction)
    results = case(scores, y.astype(labels), reduction=reduction)
    for actual, value in zip(results, expected, strict=True):
        assert same_bits(actual, value)


@both_families
@pytest.mark.parametrize("labels", [np.bool_, np.int64, in_ci(np.float32)])
def test_labels_of_float64_scores(
    case: Case, labels: Any, backend: str, rng: np.random.Generator
) -> None:
    assert_right(case, case.draw(rng, 300, np.float64, labels), backend)
    assert_right(case, case.draw(rng, 300, np.float64, labels), backend, reduction="mean")


@every_loss
@both_dtypes
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_soft_labels(
    case: Case, dtype: Any, reduction: str, backend: str, rng: np.random.Generator
) -> None:
    scores, y = case.draw(rng, 5000, dtype, soft=True)
    # The error is relative to the terms that cancel: those of label 1 and of label 0.
    results = case(scores, y, reduction=reduction)
    exact = case.exact(scores, y, reduction=reduction)
    negative = case.exact(scores, np.zeros_like(y), weight=1 - y, reduction=reduction)
    positive = case.exact(scores, np.ones_like(y), weight=y, reduction=reduction)
    eps = np.finfo(dtype).eps
    for actual, value, a, b in zip(results, exact, negative, positive, strict=True):
        bound = (4 if backend == "numba" else 8) * eps * (np.abs(a) + np.abs(b))
        assert np.all(np.abs(actual - value) <= bound)


@every_loss
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_one_soft_label_among_hard_ones(
    case: Case, reduction: str, backend: str, rng: np.random.Generator
) -> None:
    scores, y = case.draw(rng, 40_000, np.float32)
    y[20_000] = 0.25
    scores[20_000] = 0.75
    assert_right(case, (scores, y), backend, reduction=reduction)


# --- weights and reductions ---------------------------------------------------------------------


@both_families
@both_dtypes
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights(
    case: Case, dtype: Any, reduction: str, backend: str, rng: np.random.Generator
) -> None:
    arguments = case.draw(rng, (50, 40), dtype)
    weight = rng.random((50, 40)).astype(dtype)
    weight[3, 4] = 0
    assert_right(case, arguments, backend, reduction=reduction, weight=weight, slack=1.0)


@both_families
@pytest.mark.parametrize(
    "weight",
    [2, 0.5, [2.0], np.arange(4), np.arange(3)[:, None], np.ones((3, 4), np.bool_)],
    ids=["int", "float", "list", "row", "column", "bool"],
)
@pytest.mark.parametrize("reduction", ["none", "mean", "samples"])
def test_weights_broadcast(
    case: Case, weight: Any, reduction: str, backend: str, rng: np.random.Generator
) -> None:
    arguments = case.draw(rng, (3, 4), np.float64)
    full = np.broadcast_to(np.asarray(weight, np.float64), (3, 4)).copy()
    expected = case(*arguments, sample_weight=full, reduction=reduction)
    results = case(*arguments, sample_weight=weight, reduction=reduction)
    for actual, value in zip(results, expected, strict=True):
        assert same_bits(actual, value)


@every_loss
@pytest.mark.parametrize("outputs", [1, 2, 3, 100, 1023, 1024, 1025, 16384, 20_000])
def test_means_of_rows(case: Case, outputs: int, backend: str, rng: np.random.Generator) -> None:
    arguments = case.draw(rng, (max(2, 4000 // outputs), outputs), np.float32)
    assert_right(case, arguments, backend, reduction="samples")


@every_loss
def test_gradients_are_of_the_reduced_loss(
    case: Case, backend: str, rng: np.random.Generator
) -> None:
    arguments = case.draw(rng, (8, 4), np.float64)
    whole = dict(zip(case.results, case(*arguments, reduction="none"), strict=True))
    for reduction, divisor in (("mean", 32), ("sum", 1), ("samples", 4)):
        results = case(*arguments, reduction=reduction)
        for name, actual in zip(case.results, results, strict=True):
            if name != "loss":
                exact = whole[name] if name == "probabilities" else whole[name] / divisor
                np.testing.assert_allclose(actual, exact, rtol=1e-15)


def test_default_reduction_is_the_mean(backend: str) -> None:
    assert fastbce.bce_loss([0.5, 0.25], [1, 0]) == fastbce.bce_loss(
        [0.5, 0.25], [1, 0], reduction="mean"
    )


@every_loss
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)], ids=str)
def test_empty_losses(case: Case, shape: tuple[int, ...], backend: str) -> None:
    empty = np.zeros(shape, np.float32)
    for reduction, loss in (("mean", np.nan), ("sum", 0.0)):
        results = case(empty, empty, reduction=reduction)
        for name, actual in zip(case.results, results, strict=True):
            if name == "loss":
                assert same_bits(actual, np.float32(loss))
            else:
                assert same_bits(actual, empty)
    for actual in case(empty, empty, reduction="none"):
        assert same_bits(actual, empty)
    results = case(empty, empty, reduction="samples")
    if "loss" in case.results:
        assert same_bits(results[0], np.full(shape[:-1], np.nan, np.float32)[()])


@pytest.mark.parametrize("name", ["sigmoid", "sigmoid_backward"])
def test_empty_activations(name: str, backend: str) -> None:
    case = BY_NAME[name]
    empty = np.zeros((0, 3), np.float32)
    (result,) = case(*(empty for _ in case.draw(np.random.default_rng(), 1)))
    assert same_bits(result, empty)


@both_families
@pytest.mark.parametrize("eps", [1e-30, 1e-15, 1e-3, 0.25])
@both_dtypes
def test_clip_bound(
    case: Case, eps: float, dtype: Any, backend: str, rng: np.random.Generator
) -> None:
    if case.kind != "clipped":
        return
    p, y = case.draw(rng, 1000, dtype)
    for reduction in ("none", "mean"):
        results = case(p, y, eps=eps, reduction=reduction)
        exact = case.exact(p, y, eps=eps, reduction=reduction)
        for name, actual, value in zip(case.results, results, exact, strict=True):
            assert_close(actual, value, tolerance(case, name, dtype, backend, reduction))


# --- sizes --------------------------------------------------------------------------------------


@every_case
@both_dtypes
def test_an_element_does_not_depend_on_length_position_or_alignment(
    case: Case, dtype: Any, rng: np.random.Generator
) -> None:
    arguments = case.draw(rng, max(SIZES) + 5, dtype)
    options = options_for(case)
    whole = case(*arguments, **options)
    for size in SIZES:
        for start in (0, 1, 5):
            part = case(*(a[start : start + size] for a in arguments), **options)
            for actual, value in zip(part, whole, strict=True):
                assert same_bits(actual, value[start : start + size])


@every_loss
@pytest.mark.parametrize("size", SIZES)
def test_sums_of_every_size(case: Case, size: int, backend: str, rng: np.random.Generator) -> None:
    arguments = case.draw(rng, size, np.float32)
    for reduction in ("mean", "sum"):
        assert_right(case, arguments, backend, reduction=reduction)


@every_case_at_night
@pytest.mark.ci
def test_millions_of_elements(case: Case, rng: np.random.Generator) -> None:
    # More than one kernel call a thread.
    arguments = case.draw(rng, 2 * 2**21 + 12_345, np.float32, np.int8)
    scores = arguments[0] if case.kind != "sigmoid_backward" else arguments[1]
    options = options_for(case, "mean")
    results = case(*arguments, **options)
    exact = case.exact(*arguments, wide=np.float64, reduction="mean")
    for name, actual, value in zip(case.results, results, exact, strict=True):
        assert actual.dtype == scores.dtype or case.kind == "sigmoid_backward"
        assert_close(actual, value, tolerance(case, name, actual.dtype, "numba", "mean"))


# --- threads ------------------------------------------------------------------------------------


@every_case
@both_dtypes
def test_thread_count_does_not_change_a_bit(
    case: Case, dtype: Any, threads: Callable[[int], None], rng: np.random.Generator
) -> None:
    arguments = case.draw(rng, (1003, 701), dtype)
    for reduction in ("none", "mean", "samples") if case.is_loss else ("none",):
        options = options_for(case, reduction)
        threads(1)
        expected = case(*arguments, **options)
        for count in (2, 3, 8):
            threads(count)
            for actual, value in zip(case(*arguments, **options), expected, strict=True):
                assert same_bits(actual, value)


# --- what the user told NumPy to raise ----------------------------------------------------------

SPECIAL = (
    *(0.0, -0.0, 5e-324, -1e-310, 2e-45, 1e-40, 6e-8, 1e-5, 0.5, 1.0, -1.0, 2.0),
    *(30.0, -30.0, 88.8, -103.9, 746.0, -746.0, 65504.0, 1e30, -1e30, 1e300),
    *(np.inf, -np.inf, np.nan),
)
FINITE = (1e30, 3e38, -3e38, 6e4, 1e4, 746.0, 5e-324, 1e-40)


def _cast(values: tuple[float, ...], dtype: Any) -> Array:
    with np.errstate(all="ignore"):
        return np.array(values).astype(dtype)


def _calls_of(case: Case, dtype: Any) -> Iterator[Callable[[], Any]]:
    """Yield calls on special values; sums of finite ones overflow where others would be NaN."""
    for values in (SPECIAL, FINITE):
        x = _cast(values, dtype)
        if not case.is_loss:
            grid = np.meshgrid(x, x)[: case.arity]
            yield partial(case, *grid)
            yield partial(case, *(a[::2].T for a in grid))
            continue
        a, y = (np.ascontiguousarray(part) for part in np.meshgrid(x, _cast((0, 1, 0.3), dtype)))
        weights = (None, 1e300, 5e-324, np.full(a.shape, 1e-30))
        for weight, reduction in itertools.product(weights, REDUCTIONS):
            options = {"sample_weight": weight, "reduction": reduction}
            yield partial(case, a, y, **options)
            yield partial(case, a[:, ::2], y[:, ::2], **options)
        if case.kind == "clipped":
            yield partial(case, a, y, eps=1e-300)
        yield partial(case, a, np.full_like(y, np.nan), check_labels=True)
        yield partial(case, a, y, sample_weight=a, reduction="none")


def _outcome(call: Callable[[], Any], told: Literal["ignore", "warn", "raise"]) -> Any:
    try:
        with np.errstate(all=told):
            results = call()
    except ValueError as error:
        return str(error)
    arrays = [np.asarray(a) for a in (results if isinstance(results, tuple) else (results,))]
    return [(a.dtype, a.shape, a.tobytes()) for a in arrays]


def _assert_no_flag_matters(call: Callable[[], Any]) -> None:
    expected = _outcome(call, "ignore")
    # A warning is an error in these tests, as in all.
    assert _outcome(call, "warn") == expected
    assert _outcome(call, "raise") == expected


@every_case_at_night
@all_dtypes
@pytest.mark.ci
def test_flags_of_numpy_change_nothing(case: Case, dtype: Any, backend: str) -> None:
    for call in _calls_of(case, dtype):
        _assert_no_flag_matters(call)


@both_families
def test_flags_of_numpy_and_rows_longer_than_a_strip(case: Case, backend: str) -> None:
    x = np.full((2, 40_000), -3e38, np.float32)
    for reduction, weight in itertools.product(REDUCTIONS, (None, 10.0, 1e-45)):
        options = {"reduction": reduction, "sample_weight": weight}
        _assert_no_flag_matters(partial(case, x, np.ones_like(x), **options))


def test_sums_beyond_the_largest_number_are_infinite(backend: str) -> None:
    x = np.full(100_000, -1e308)
    _assert_no_flag_matters(partial(fastbce.bce_with_logits_loss, x, np.ones(100_000)))
    assert fastbce.bce_with_logits_loss(x, np.ones(100_000), reduction="sum") == np.inf
    x = np.full(10, -3e38, np.float32)
    assert fastbce.bce_with_logits_loss(x, np.ones(10), reduction="sum") == np.inf


@all_dtypes
@pytest.mark.ci
def test_flags_of_numpy_and_the_linear_pass(dtype: Any, backend: str) -> None:
    for values, coef in itertools.product((SPECIAL, FINITE), (1.0, 1e300, 1e-300, np.nan)):
        X = np.repeat(_cast(values, dtype), 2).reshape(-1, 2)
        y, factors = np.arange(len(X)) % 2, np.full(2, coef)
        for intercept, weight in itertools.product((0.0, 1e300), (1e300, 5e-324)):
            options: dict[str, Any] = {"sample_weight": np.full(len(X), weight)}
            for c in (factors, [coef, -coef]):
                for function, arguments in (
                    (fastbce.linear_bce_loss_gradient, (X, y, c, intercept)),
                    (fastbce.linear_bce_hessian, (X, c, intercept)),
                ):
                    _assert_no_flag_matters(partial(function, *arguments, **options))
