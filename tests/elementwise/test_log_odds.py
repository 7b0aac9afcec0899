"""Softplus, log-sigmoid and logit where their formulas change: at the ends and next to 1/2."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from cases import Array
from checks import both_dtypes, same_bits

import fastbce
from fastbce._reference.accuracy import ulps

NAN, INF = math.nan, math.inf
LOG2 = math.log(2)


@both_dtypes
def test_special_values(dtype: Any, backend: str) -> None:
    x = np.array([INF, -INF, NAN, 0.0, -0.0, 1e30, -1e30, 800.0, -800.0], dtype)
    soft = [INF, 0.0, NAN, LOG2, LOG2, 1e30, 0.0, 800.0, 0.0]
    log = [0.0, -INF, NAN, -LOG2, -LOG2, 0.0, -1e30, 0.0, -800.0]
    np.testing.assert_allclose(fastbce.softplus(x), np.array(soft, dtype), rtol=1e-7)
    np.testing.assert_allclose(fastbce.log_sigmoid(x), np.array(log, dtype), rtol=1e-7)
    assert not np.signbit(fastbce.log_sigmoid(x)[0])
    p = np.array([0.0, -0.0, 1.0, 0.5, -1e-30, 1 + 1e-6, 2.0, INF, -INF, NAN], dtype)
    expected = np.array([-INF, -INF, INF, 0.0, NAN, NAN, NAN, NAN, NAN, NAN], dtype)
    np.testing.assert_array_equal(fastbce.logit(p), expected)
    assert not np.signbit(fastbce.logit(p)[3])


def exact_logit(p: Array) -> Array:
    """Return the logit by mpmath, as long double."""
    with mpmath.workprec(200):
        found = [mpmath.log(mpmath.mpf(float(v)) / (1 - mpmath.mpf(float(v)))) for v in p]
        return np.array([np.longdouble(mpmath.nstr(v, 30)) for v in found])


@both_dtypes
def test_logit_next_to_its_ends_and_its_zero(dtype: Any, backend: str) -> None:
    info = np.finfo(dtype)
    tiny = np.ldexp(np.ones(12, dtype), info.minexp - np.arange(12))  # normal, then subnormal
    steps = np.arange(-6, 7).astype(dtype)
    # Half of the steps below 1/2: there 1 - p is rounded.
    middle = dtype(0.5) + steps[steps != 0] * info.epsneg / 2
    p = np.concatenate([tiny, middle, 1 - np.arange(1, 9).astype(dtype) * info.epsneg])
    error = ulps(fastbce.logit(p).astype(dtype), exact_logit(p))
    assert error.max() <= (1.4 if backend == "numba" else 8)


@both_dtypes
def test_logit_is_odd_about_one_half(dtype: Any, rng: np.random.Generator) -> None:
    p = np.ldexp(rng.integers(1, 2**20, 1000), -20).astype(dtype)  # 1 - p is exact
    assert same_bits(fastbce.logit(1 - p), -fastbce.logit(p) + dtype(0))


@both_dtypes
def test_relations(dtype: Any, backend: str, rng: np.random.Generator) -> None:
    x = rng.normal(scale=8, size=1000).astype(dtype)
    assert same_bits(fastbce.log_sigmoid(x), -fastbce.softplus(-x))
    near = rng.uniform(-3, 3, 1000).astype(dtype)
    eps = np.finfo(dtype).eps
    back = fastbce.logit(fastbce.sigmoid(near))
    # The sigmoid's own rounding, over its slope.
    np.testing.assert_allclose(back, near, atol=40 * eps)


def test_names_of_warmup() -> None:
    with pytest.raises(ValueError, match=r"warmup takes no function 'sigmod'.*'softplus'"):
        fastbce.warmup("sigmod")
