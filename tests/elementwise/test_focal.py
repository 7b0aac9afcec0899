"""The focal loss: its formula, its derivatives by mpmath, its ends, its options."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np
import pytest
from cases import BY_NAME, CASES, Array
from checks import both_dtypes, in_ci, same_bits

import fastbce

if TYPE_CHECKING:
    from collections.abc import Callable

INF, NAN = math.inf, math.nan
FOCAL = [case for case in CASES if case.kind == "focal"]
WIDEST = BY_NAME["focal_loss_gradient_hessian"]
GAMMAS = (0, 0.5, 1, 2, 5)
LOGITS = (-700, -90, -37.5, -8, -2.79, -1, -0.3, -1e-9, 0, 0.25, 0.9, 2.790373, 5, 17, 40, 104, 740)
# ULP of the loss and the gradient; the Hessian's and a soft label's are of the sum of the terms.
LIMITS = {"numba": (4.5, 9.0), "numpy": (24.0, 40.0)}


@cache
def exact(z: float, y: float, alpha: float, gamma: float) -> tuple[list[Any], list[Any]]:
    """Return loss, gradient and Hessian, and sums of the sizes of their terms.

    The derivatives are mpmath's own of the loss.
    """
    # The Hessian of an unlikely label is exp(-|z|) beside a loss of |z|.
    with mpmath.workprec(300 + int(3 * abs(z))):
        one, label = mpmath.mpf(1), mpmath.mpf(y)
        share = (
            one if alpha < 0 else mpmath.mpf(alpha) * label + (1 - mpmath.mpf(alpha)) * (1 - label)
        )

        def loss(x: Any) -> Any:
            p, q = 1 / (1 + mpmath.exp(-x)), 1 / (1 + mpmath.exp(x))
            u = p * (1 - label) + q * label
            tails = mpmath.log1p(mpmath.exp(-x)), mpmath.log1p(mpmath.exp(x))
            ce = label * tails[0] + (1 - label) * tails[1]
            return share * ce * u ** mpmath.mpf(gamma)

        x = mpmath.mpf(z)
        found = [loss(x), mpmath.diff(loss, x, 1), mpmath.diff(loss, x, 2)]
        p, q = 1 / (1 + mpmath.exp(-x)), 1 / (1 + mpmath.exp(x))
        u = p * (1 - label) + q * label
        r, factor = p * q / u, share * u ** mpmath.mpf(gamma)
        pull = r * (found[0] / factor if factor else 0)
        slope = (1 - label) * p + label * q
        turn = 2 * slope * r + pull * (abs(gamma - 1) * r + p + q)
        sizes = [found[0], factor * (slope + gamma * pull), factor * (p * q + gamma * turn)]
        return found, sizes


@both_dtypes
@pytest.mark.parametrize("gamma", [gamma if gamma in (0, 2) else in_ci(gamma) for gamma in GAMMAS])
def test_against_mpmath(gamma: float, dtype: Any, backend: str) -> None:
    z = np.repeat(np.array(LOGITS, dtype), 3)
    y = np.tile(np.array([0, 0.25, 1], dtype), len(LOGITS))
    info = np.finfo(dtype)
    few, some = LIMITS[backend]
    for alpha in (0.25, -1.0):
        results = WIDEST(z, y, alpha=alpha, gamma=gamma, reduction="none")
        for i, (logit, label) in enumerate(zip(z.tolist(), y.tolist(), strict=True)):
            values, sizes = exact(logit, label, alpha, gamma)
            for k, (result, value, size) in enumerate(zip(results, values, sizes, strict=True)):
                hard = label in (0, 1) and k < 2
                # Of an exponential below the normal numbers the digits are few.
                least = 2 * float(info.smallest_subnormal) * (1 + gamma * abs(logit))
                bound = (few if hard else some) * float(info.eps) * abs(value if hard else size)
                error = abs(mpmath.mpf(float(result[i])) - value)
                assert error <= bound + least, (logit, label, alpha, k, float(result[i]), value)


def test_torchvisions_formula(backend: str, rng: np.random.Generator) -> None:
    z, y = rng.normal(scale=3, size=400), np.concatenate([rng.random(200), np.arange(200) % 2])
    p = 1 / (1 + np.exp(-z))
    ce = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
    p_t = p * y + (1 - p) * (1 - y)
    for alpha, gamma in ((0.25, 2.0), (0.9, 0.5), (-1, 3.0), (0, 1.0), (1, 2)):
        loss = ce * (1 - p_t) ** gamma
        if alpha >= 0:
            loss = (alpha * y + (1 - alpha) * (1 - y)) * loss
        options: dict[str, Any] = {"alpha": alpha, "gamma": gamma}
        each = fastbce.focal_loss(z, y, reduction="none", **options)
        np.testing.assert_allclose(each, loss, rtol=1e-10)
        np.testing.assert_allclose(fastbce.focal_loss(z, y, **options), loss.mean(), rtol=1e-12)
        total = fastbce.focal_loss(z, y, reduction="sum", **options)
        np.testing.assert_allclose(total, loss.sum(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, in_ci(np.float64)])
def test_gamma_0_without_alpha_is_the_plain_loss(
    dtype: Any, backend: str, rng: np.random.Generator
) -> None:
    plain = BY_NAME["bce_with_logits_loss_gradient_hessian"]
    z = np.concatenate([rng.normal(scale=9, size=3000), [INF, -INF, NAN, 1e30, 0, 800, -104]])
    z = z.astype(dtype)
    for y in (rng.integers(0, 2, z.size), rng.random(z.size).astype(dtype)):
        focal = WIDEST(z, y, alpha=-1, gamma=0, reduction="none")
        for actual, value in zip(focal, plain(z, y, reduction="none"), strict=True):
            np.testing.assert_array_equal(actual, value)  # a NaN may have another sign
    z, y = z[:3000], y[:3000]
    means = (fastbce.focal_loss(z, y, alpha=-1, gamma=0), fastbce.bce_with_logits_loss(z, y))
    np.testing.assert_allclose(*means, rtol=1e-6)


@both_dtypes
@pytest.mark.parametrize("gamma", GAMMAS)
def test_saturated_logits(gamma: float, dtype: Any, backend: str) -> None:
    z = np.array([1e4, 1e30, np.finfo(dtype).max, 3e2, INF], dtype)
    for sign, label in ((1, 1), (-1, 0)):
        right = WIDEST(sign * z, np.full(5, label), gamma=gamma, reduction="none")
        for actual in right:
            limit = 0 if dtype == np.float32 else 1e-100
            assert np.all(np.abs(actual) <= limit)
        wrong = WIDEST(sign * z, np.full(5, 1 - label), gamma=gamma, reduction="none")
        share = 0.75 if label else 0.25
        np.testing.assert_allclose(wrong[0], z * dtype(share), rtol=1e-6)
        np.testing.assert_allclose(wrong[1], np.full(5, sign * share), rtol=1e-6)
        assert np.all(np.abs(wrong[2]) <= 1e-100)
    soft = WIDEST(z, np.full(5, 0.5, dtype), gamma=gamma, reduction="none")
    assert np.isfinite(soft[0][:-1]).all()
    assert soft[0][-1] == INF
    np.testing.assert_allclose(soft[1], np.full(5, 0.25 * 0.5**gamma), rtol=1e-6)
    # No part of an infinite loss is nothing.
    nothing = fastbce.focal_loss(z[-1:], np.zeros(1), alpha=1, gamma=gamma, reduction="none")
    assert nothing[0] == 0


@pytest.mark.parametrize("reduction", ["none", in_ci("mean")])
def test_every_function_gives_the_same(
    reduction: str, backend: str, rng: np.random.Generator
) -> None:
    z, y = WIDEST.draw(rng, (40, 30), np.float32)
    options: dict[str, Any] = {"reduction": reduction, "gamma": 1.5}
    expected = dict(zip(WIDEST.results, WIDEST(z, y, **options), strict=True))
    for case in FOCAL:
        for name, actual in zip(case.results, case(z, y, **options), strict=True):
            assert same_bits(actual, expected[name])


def test_weights_and_reductions(backend: str, rng: np.random.Generator) -> None:
    z, y = WIDEST.draw(rng, (20, 30), np.float64, soft=True)
    weight = rng.random((20, 1))
    each = WIDEST(z, y, reduction="none")
    loss, *derivatives = WIDEST(z, y, sample_weight=weight, reduction="samples")
    np.testing.assert_allclose(loss, (each[0] * weight).mean(axis=1), rtol=1e-12)
    for actual, value in zip(derivatives, each[1:], strict=True):
        np.testing.assert_allclose(actual, value * weight / 30, rtol=1e-12)


@pytest.mark.parametrize("labels", [in_ci(np.bool_), np.float16])
def test_labels_of_another_dtype(labels: Any, rng: np.random.Generator) -> None:
    z, y = WIDEST.draw(rng, 3000, np.float32)
    for reduction in ("none", "mean"):
        expected = WIDEST(z, y, reduction=reduction)
        for actual, value in zip(
            WIDEST(z, y.astype(labels), reduction=reduction), expected, strict=True
        ):
            assert same_bits(actual, value)


def test_a_nan_stays_one(backend: str) -> None:
    for z, y in (([NAN, 1.0], [1, 1]), ([1.0, 1.0], [NAN, 1])):
        for actual in WIDEST(z, y, reduction="none"):
            assert np.isnan(actual).tolist() == [True, False]
        assert np.isnan(fastbce.focal_loss(z, y))


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "large alpha": ({"alpha": 1.5}, ValueError, r"alpha must be at most 1, got 1\.5"),
    "alpha that is NaN": ({"alpha": NAN}, ValueError, "alpha must be at most 1, got nan"),
    "no alpha": ({"alpha": None}, TypeError, "alpha must be one number.*negative one weighs both"),
    "negative gamma": ({"gamma": -1}, ValueError, r"gamma must be finite.*got -1\.0"),
    "infinite gamma": ({"gamma": INF}, ValueError, "gamma must be finite.*got inf"),
    "many gammas": ({"gamma": [1, 2]}, TypeError, "gamma must be one number"),
}


@pytest.mark.parametrize("case", FOCAL, ids=lambda case: case.name)
@pytest.mark.parametrize("bad", BAD)
def test_options_out_of_range(case: Any, bad: str) -> None:
    options, error, words = BAD[bad]
    with pytest.raises(error, match=words):
        case([0.5], [1], **options)


def test_threads_and_streaming_change_nothing(
    threads: Callable[[int], None], rng: np.random.Generator
) -> None:
    z, y = WIDEST.draw(rng, 300_001, np.float32)
    found: list[tuple[Array, ...]] = []
    for count in (1, 3):
        threads(count)
        found.append(WIDEST(z, y))
    for a, b in zip(*found, strict=True):
        assert same_bits(a, b)
