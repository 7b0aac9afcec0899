"""The clipped chain in one pass: sigmoid, clip, loss, and its gradient through clip and sigmoid."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from cases import BY_NAME, Array
from checks import at_night, both_dtypes, in_ci, same_bits

import fastbce
from fastbce.demo import from_scratch as reference

CHAIN = BY_NAME["sigmoid_clipped_bce"].function
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-42, 15.9, 16.2, -16.2, 40.0, -104.0)


def logits(n: int, dtype: Any, seed: int = 3) -> tuple[Array, Array]:
    """Return logits, special ones among them, and hard labels."""
    rng = np.random.default_rng(seed)
    z, y = rng.normal(scale=8, size=n), rng.integers(0, 2, n).astype(dtype)
    z[: 2 * len(SPECIAL)] = np.tile(SPECIAL, 2)
    y[: len(SPECIAL)], y[len(SPECIAL) : 2 * len(SPECIAL)] = 0, 1
    return z.astype(dtype), y


def steps(z: Array, y: Array, **options: Any) -> tuple[Any, Array, Array]:
    """Return what one function after the other gives."""
    p = fastbce.sigmoid(z)
    loss, slope = fastbce.bce_loss_gradient(p, y, **options)
    return loss, p, fastbce.sigmoid_backward(slope, p)


@pytest.mark.parametrize(
    ("reduction", "dtype"),
    [
        in_ci("mean", np.float32),
        ("none", np.float64),
        in_ci("samples", np.float32),
        *map(at_night, ("mean", "none", "samples"), (np.float64, np.float32, np.float64)),
    ],
)
def test_the_bits_are_those_of_one_function_after_the_other(reduction: str, dtype: Any) -> None:
    for n in (30, 20_000, 300_000):
        z, y = (a.reshape(-1, 2) for a in logits(n, dtype))
        for labels in (y, (y + dtype(0.5)) / 2):
            found = CHAIN(z, labels, reduction=reduction)
            expected = steps(z, labels, reduction=reduction)
            for ours, theirs in zip(found, expected, strict=True):
                assert same_bits(ours, theirs), n


@pytest.mark.usefixtures("backend")
def test_the_numbers_of_the_reference() -> None:
    z, y = (a[:, None] for a in logits(500, np.float64))
    z = np.clip(np.nan_to_num(z), -700, 700)
    activation, loss = reference.Activation_Sigmoid(), reference.Loss_BinaryCrossentropy()
    activation.forward(z)
    expected = loss.calculate(activation.output, y)
    loss.backward(activation.output, y)
    activation.backward(loss.dinputs)
    found = CHAIN(z, y)
    # A probability next to 1 may be rounded the other way: 1 - p is then off by half a unit of 1.
    unit = 2.0**-52 / (1e-7 * len(z))
    np.testing.assert_allclose(found[0], expected, rtol=1e-9)
    np.testing.assert_allclose(found[1], activation.output, rtol=1e-14)
    np.testing.assert_allclose(found[2], activation.dinputs, rtol=1e-9, atol=unit)


@both_dtypes
def test_accuracy(dtype: Any) -> None:
    """Of the exact value at the rounded probability, against mpmath."""
    z, y = logits(1000, dtype)
    z, y = z[np.isfinite(z)], y[np.isfinite(z)]
    loss, p, gradient = CHAIN(z, y, reduction="none")
    low = dtype(1e-7)
    high = dtype(1 - 1e-7)
    with mpmath.workprec(200):
        for i in range(len(z)):
            share, t = mpmath.mpf(float(p[i])), int(y[i])
            c = min(max(share, mpmath.mpf(float(low))), mpmath.mpf(float(high)))
            exact = -mpmath.log(c if t else 1 - c)
            slope = (c - t) / (c * (1 - c)) * share * (1 - share)
            for value, target, most in ((loss[i], exact, 1.0), (gradient[i], slope, 3.5)):
                unit = np.spacing(dtype(abs(float(target))))
                assert abs(mpmath.mpf(float(value)) - target) <= most * float(unit), (z[i], t)


@pytest.mark.usefixtures("backend")
@both_dtypes
def test_special_values(dtype: Any) -> None:
    z = np.array([np.inf, -np.inf, np.nan, np.inf, -np.inf], dtype)
    y = np.array([0, 1, 1, 1, 0], dtype)
    loss, p, gradient = CHAIN(z, y, reduction="none")
    most = -np.log1p(-np.float64(dtype(1 - 1e-7)))
    np.testing.assert_allclose(loss[[0, 1]], [most, -np.log(1e-7)], rtol=1e-6)
    np.testing.assert_array_equal(p, [1, 0, np.nan, 1, 0])
    # Through a sigmoid that saturates nothing comes back: what the clip at the logits avoids.
    np.testing.assert_array_equal(np.abs(gradient), [0, 0, np.nan, 0, 0])


@pytest.mark.usefixtures("backend")
@pytest.mark.ci
def test_options() -> None:
    z, y = (a.reshape(-1, 2) for a in logits(60, np.float64))
    finite = np.isfinite(z)
    kept = finite & (np.arange(z.size).reshape(z.shape) % 3 > 0)
    w = np.random.default_rng(4).random(z.shape)
    p = 1 / (1 + np.exp(-np.where(kept, np.clip(z, -700, 700), 0)))
    c = np.clip(p, 0.01, 0.99)
    a, b = 3 * (y * 0.8 + 0.1), (1 - y) * 0.8 + 0.1
    loss = (-w * (a * np.log(c) + b * np.log1p(-c)))[kept].mean()
    slope = w * (b / (1 - c) - a / c) * p * (1 - p) / kept.sum()
    for rule in ("reference", "zero"):
        found = CHAIN(
            z,
            y,
            sample_weight=w,
            mask=kept,
            pos_weight=3,
            label_smoothing=0.2,
            eps=0.01,
            gradient=rule,
            metrics=True,
        )
        moves = kept if rule == "reference" else kept & (p == c)
        np.testing.assert_allclose(found[0], loss, rtol=1e-12)
        np.testing.assert_allclose(found[1], fastbce.sigmoid(z), rtol=1e-14)
        np.testing.assert_allclose(found[2], np.where(moves, slope, 0), rtol=1e-12, atol=1e-14)
        assert found[3] == (np.mean((p > 0.5)[kept] == y[kept]), np.sum((p != c)[kept]))
    torch = CHAIN(z, y, mask=kept, gradient="torch", reduction="sum")
    expected = steps(z, y, mask=kept, gradient="torch", reduction="sum")
    assert np.isclose(torch[0], expected[0], rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, at_night(np.float64)])
@pytest.mark.ci
def test_in_place_and_of_other_dtypes(dtype: Any) -> None:
    z, y = logits(40_000, dtype)
    for labels in (y, (y + dtype(0.5)) / 2):
        loss, p, gradient = CHAIN(z, labels)
        for place in (0, 1):
            own: list[Array | None] = [None, None]
            own[place] = z.copy()
            found = CHAIN(own[place], labels, out=tuple(own))
            assert all(map(same_bits, found, (loss, p, gradient)))
        other = np.float32 if dtype == np.float64 else np.float64
        found = CHAIN(z, labels, out=(np.empty(z.shape, other), np.empty(z.shape, other)))
        assert all(map(same_bits, found, (loss, p.astype(other), gradient.astype(other))))


@pytest.mark.ci
def test_logits_are_no_probabilities() -> None:
    """With check_labels labels alone are looked at: a logit may be any number."""
    z = np.array([3.0, -2.0])
    assert same_bits(CHAIN(z, np.array([1.0, 0.0]), check_labels=True)[0], CHAIN(z, [1, 0])[0])
    with pytest.raises(ValueError, match=r"y_true\[1\] is 2"):
        CHAIN(z, np.array([1.0, 2.0]), check_labels=True)
    with pytest.raises(ValueError, match="y_true has shape"):
        CHAIN(z, np.ones((2, 1)))
