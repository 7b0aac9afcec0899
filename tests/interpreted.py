"""Check the kernels as plain Python: run with ``NUMBA_DISABLE_JIT=1``, as test_interpreted does.

Here every line of a kernel counts for coverage, and a mutated kernel is checked in a second
(tools/mutations.py). Results are held against long double; every strip, lane and row boundary is
crossed by making lanes and strips small.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numba import config

import fastbce
from fastbce._engine import elementwise as _engine
from fastbce._kernels import clipped, logits  # noqa: F401 - so that their constants are changed
from fastbce._kernels.float16 import convert_block
from fastbce._kernels.reductions import TERMS

Array = Any
SPECIAL = [0.0, -0.0, 1e-30, -1e-3, 37, -37, 88, -88, -100, -103, 104, -700, 710, -746, 1e30]


def exact(z: Array, y: Array) -> tuple[Array, Array, Array]:
    """Return loss, gradient and Hessian of logits, in long double, without cancellation."""
    z, y = z.astype(np.longdouble), y.astype(np.longdouble)
    e = np.exp(-np.abs(z))
    share = np.where(z >= 0, 1 - y, y)
    loss = np.where(share == 0, 0, np.abs(z) * share) + np.log1p(e)
    right, left = np.where(z >= 0, 1, e) / (1 + e), np.where(z >= 0, e, 1) / (1 + e)
    return loss, (1 - y) * right - y * left, e / (1 + e) ** 2


def exact_clipped(p: Array, y: Array) -> tuple[Array, Array]:
    """Return clipped loss and gradient, in long double."""
    c = np.clip(p, p.dtype.type(1e-7), p.dtype.type(1 - 1e-7)).astype(np.longdouble)
    y = y.astype(np.longdouble)
    return -(y * np.log(c) + (1 - y) * np.log1p(-c)), (c - y) / (c * (1 - c))


def near(actual: Any, expected: Any, dtype: Any, ulp: float, what: str, size: Any = None) -> None:
    """Raise where a result is off by more than `ulp`, relative to the terms it is made of."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    limits = np.finfo(dtype)
    scale = np.maximum(np.abs(expected) if size is None else size, limits.tiny)
    error = np.abs(actual.astype(np.longdouble) - expected)
    close = np.isfinite(expected) & (error <= ulp * limits.eps * scale)
    wrong = ~(close | (actual == expected))
    wrong &= ~(np.isnan(actual) & np.isnan(expected))
    if wrong.any():
        raise AssertionError(f"{what}: {actual[wrong][:3]} instead of {expected[wrong][:3]}")


def in_place(scores: Array, labels: Array, function: Any) -> None:
    """Raise unless a gradient written over the scores is the one written elsewhere."""
    loss, gradient = function(scores, labels)
    own = scores.copy()
    again, result = function(own, labels, out=own)
    assert result is own
    assert loss == again or np.isnan(loss)
    assert np.array_equal(gradient, own, equal_nan=True)
    losses, _ = function(scores, labels, reduction="none")
    own = scores.copy()
    _, gradient = function(own, labels, reduction="none", out=(own, None))
    assert np.array_equal(losses, own, equal_nan=True)


def refused(scores: Array, labels: Array) -> bool:
    """Tell whether labels are refused, naming the last but one, by every function."""
    answers = set()
    for function in (fastbce.bce_loss, fastbce.bce_gradient, fastbce.bce_with_logits_loss_gradient):
        for reduction in ("none", "mean", "samples"):
            try:
                function(scores, labels, reduction=reduction, check_labels=True)
                answers.add(False)
            except ValueError as error:
                answers.add(f"y_true[{len(labels) - 2}]" in str(error))
    assert len(answers) == 1
    return answers.pop()


def check(dtype: Any) -> None:
    """Check every function for one dtype."""
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(0, 5, 90), SPECIAL, [np.inf, -np.inf]]).astype(dtype)
    n = z.size
    s = fastbce.sigmoid(z)
    wide = z.astype(np.longdouble)
    e = np.exp(-np.abs(wide))
    near(s, np.where(wide >= 0, 1, e) / (1 + e), dtype, 2, "sigmoid")
    assert np.isnan(fastbce.sigmoid(np.full(3, np.nan, dtype))).all()
    back = fastbce.sigmoid_backward(z[:90], s[:90])
    near(back, z[:90] * s[:90].astype(np.longdouble) * (1 - s[:90]), dtype, 3, "sigmoid_backward")

    hard, soft = rng.integers(0, 2, n), rng.random(n).astype(dtype)
    mixed = np.where(np.arange(n) < n // 2, hard, soft).astype(dtype)
    p = rng.random(n).astype(dtype) * dtype(1.2) - dtype(0.1)
    p[:9] = [0, 1, 1e-7, 1 - 1e-7, 1e-4, 1e-3, 0.5, -np.inf, np.inf]
    weights = rng.random(n).astype(dtype)
    finite = slice(0, 90)
    for y in (hard, hard > 0, soft, mixed):
        loss, gradient, hessian = exact(z, y)
        got = fastbce.bce_with_logits_loss_gradient_hessian(z, y, reduction="none")
        near(got[0], loss, dtype, 3, "logits loss")
        near(got[1], gradient, dtype, 3, "logits gradient", np.where(y % 1 == 0, abs(gradient), 1))
        near(got[2], hessian, dtype, 3, "logits Hessian")
        fused = fastbce.sigmoid_bce(z, y, reduction="none")
        assert all(map(np.array_equal, fused, (got[0], s, got[1])))
        loss, gradient = exact_clipped(p, y)
        size = np.where(np.asarray(y) % 1 == 0, abs(gradient), 1e7)
        got = fastbce.bce_loss_gradient(p, y, reduction="none")
        near(got[0], loss, dtype, 4, "clipped loss")
        near(got[1], gradient, dtype, 4, "clipped gradient", size)
        for w in (None, weights[finite]):
            factor = 1 if w is None else w.astype(np.longdouble)
            for function, scores, formula in (
                (fastbce.bce_with_logits_loss_gradient, z, exact),
                (fastbce.bce_loss_gradient, p, exact_clipped),
            ):
                x, t = scores[finite], np.asarray(y)[finite]
                losses, slopes = (factor * v for v in formula(x, t)[:2])
                total, slope = function(x, t, sample_weight=w, reduction="sum")
                near(total, losses.sum(), dtype, 16, "sum")
                near(slope, slopes, dtype, 4, "slope", np.maximum(abs(slopes), 1e7))
                mean, slope = function(x, t, sample_weight=w)
                near(mean, losses.mean(), dtype, 16, "mean")
                x, t = x.reshape(-1, 6), t.reshape(-1, 6)
                w_rows = None if w is None else w.reshape(-1, 6)
                rows, _ = function(x, t, sample_weight=w_rows, reduction="samples")
                near(rows, losses.reshape(-1, 6).mean(axis=1), dtype, 16, "row means")
        in_place(p, np.asarray(y), fastbce.bce_loss_gradient)
        in_place(z[finite], np.asarray(y)[finite], fastbce.bce_with_logits_loss_gradient)
    own = z.copy()
    assert np.array_equal(fastbce.sigmoid(own, out=own), s)
    own = z[:90].copy()
    assert np.array_equal(fastbce.sigmoid_backward(own, s[:90], out=own), back)
    for bad, wanted in ((np.nan, True), (-1e-3, True), (1.001, True), (0, False), (1, False)):
        labels = np.full(n, 0.5, dtype)
        labels[n - 2] = bad
        assert refused(p.clip(0, 1), labels) == wanted, f"label {bad}"
    tiny = np.full(64, 1e-30, dtype)
    ones = np.ones(64, dtype)
    total = fastbce.bce_loss(tiny, ones, eps=1e-30, reduction="sum")
    near(total, 64 * 30 * np.log(np.longdouble(10)), dtype, 64, "product of tiny factors")
    saturated = fastbce.bce_with_logits_loss(np.full(64, 40, dtype), ones, reduction="sum")
    near(saturated, 64 * np.exp(np.longdouble(-40)), dtype, 64, "sum of tiny losses")
    nan = np.where(np.arange(64) == 40, np.nan, 0.3).astype(dtype)
    for y in (ones, 1 - ones, ones / 2):
        assert np.isnan(fastbce.bce_loss(nan, y))
        assert np.isnan(fastbce.bce_with_logits_loss(nan, y))
        assert np.isnan(fastbce.bce_loss(nan, y, reduction="none")).sum() == 1


def check_elements(dtype: Any) -> None:
    """Check softplus, log-sigmoid, logit and the focal loss."""
    rng = np.random.default_rng(2)
    z = np.concatenate([rng.normal(0, 5, 90), SPECIAL]).astype(dtype)
    wide = z.astype(np.longdouble)
    tail = np.log1p(np.exp(-np.abs(wide)))
    near(fastbce.softplus(z), np.maximum(wide, 0) + tail, dtype, 3, "softplus")
    near(fastbce.log_sigmoid(z), np.minimum(wide, 0) - tail, dtype, 3, "log-sigmoid")
    p = np.concatenate([rng.random(50), 0.5 + np.ldexp(1.0, -np.arange(2, 20)), [1e-42, 1, 0]])
    p = np.concatenate([p, 1 - p[:68]]).astype(dtype)
    wide = p.astype(np.longdouble)
    middle = abs(wide - 0.5) < 0.25
    logit = np.where(middle, 2 * np.arctanh(2 * wide - 1), np.log(wide) - np.log1p(-wide))
    near(fastbce.logit(p), logit, dtype, 3, "logit")
    assert np.isnan(fastbce.logit(np.array([-0.1, 1.1, np.nan], dtype))).all()
    z, y = z[:90].reshape(9, 10), rng.integers(0, 2, (9, 10))
    for labels in (y, rng.random((9, 10)).astype(dtype)):
        for gamma, alpha in ((2, 0.25), (0.5, -1), (0, 0.5)):
            for reduction in ("none", "mean", "samples"):
                options: dict[str, Any] = {"gamma": gamma, "alpha": alpha, "reduction": reduction}
                found = fastbce.focal_loss_gradient_hessian(z, labels, **options)
                with fastbce.use_backend("numpy"):
                    expected = fastbce.focal_loss_gradient_hessian(z, labels, **options)
                for ours, theirs in zip(found, expected, strict=True):
                    exact = np.asarray(theirs, np.longdouble)
                    near(ours, exact, dtype, 32, f"focal {options}", np.maximum(abs(exact), 1e-2))
    saturated = np.array([-40, 40, -90, 90], dtype)
    tiny = fastbce.focal_loss(saturated, saturated > 0, reduction="none")
    share = np.array([0.75, 0.25, 0.75, 0.25]) * np.exp(-3 * abs(saturated.astype(np.longdouble)))
    near(tiny, share, dtype, 8, "saturated focal loss")
    far, gamma = np.linspace(-24, -15, 12).astype(dtype), dtype(1.7)
    tiny = fastbce.focal_loss(far, far > 0, gamma=float(gamma), reduction="none")
    e = np.exp(-abs(far.astype(np.longdouble)))
    share = 0.75 * (e / (1 + e)) ** np.longdouble(gamma) * np.log1p(e)
    near(tiny, share, dtype, 8, "focal loss of a fraction")
    ends = np.array([-np.inf, np.inf], dtype)
    assert not fastbce.focal_loss(ends, ends > 0, gamma=0, reduction="none").any()
    p, labels = np.array([0, 0.2, 0.7, 1, np.nan], dtype), np.array([0, 1, 1, 0, 0])
    for reduction in ("none", "mean"):
        metrics = fastbce.bce_loss(p, labels, reduction=reduction, metrics=True)[-1]
        assert tuple(metrics) == (0.4, 2)
        ignored = fastbce.bce_loss(p, labels, mask=p > 0.5, reduction=reduction, metrics=True)[-1]
        assert tuple(ignored) == (0.5, 1)
        metrics = fastbce.bce_with_logits_loss(p - dtype(0.5), labels, metrics=True)[-1]
        assert tuple(metrics) == (0.4, 0)


def check_options(dtype: Any) -> None:
    """Compare the options with the other backend, which other tests compare with an oracle."""
    rng = np.random.default_rng(1)
    y, weights = rng.integers(-1, 2, (9, 5)), rng.random((9, 5)).round(1).astype(dtype)
    mask, row = rng.random((9, 5)) < 0.7, np.array([0.5, 3, 1, 0, 2])
    every: dict[str, Any] = {"ignore_index": -1, "mask": mask}
    for more in (
        {},
        {"pos_weight": row, "sample_weight": weights, "label_smoothing": 0.2},
        {"label_smoothing": 0.1, "divisor": "weights"},
        {"pos_weight": 2.0, "gradient": "zero"},
        {"gradient": "torch", "check_labels": True},
    ):
        for reduction in ("none", "sum", "mean", "samples"):
            for function, scores in (
                (fastbce.bce_loss_gradient, rng.random((9, 5))),
                (fastbce.bce_with_logits_loss_gradient_hessian, rng.normal(0, 5, (9, 5))),
            ):
                options = {**every, **more, "reduction": reduction}
                if function is not fastbce.bce_loss_gradient:
                    options.pop("gradient", None)
                x = np.where(mask, scores, np.nan).astype(dtype)
                found = function(x, y, **options)
                with fastbce.use_backend("numpy"):
                    expected = function(x, y, **options)
                for ours, theirs in zip(found, expected, strict=True):
                    size = np.maximum(abs(theirs), 1)
                    near(ours, np.asarray(theirs, np.longdouble), dtype, 16, f"{options}", size)


def check_float16() -> None:
    """Compare with NumPy's conversion, both ways and through the sigmoid functions."""
    numbers = [
        *SPECIAL,
        np.inf,
        -np.inf,
        np.nan,
        1,
        65519,
        65520,
        -7e4,
        6.1e-5,
        6.09e-5,
        3e-8,
        2e-8,
    ]
    x = np.array(numbers, np.float32)
    with np.errstate(all="ignore"):
        expected, bits = x.astype(np.float16), np.empty(x.size, np.uint16)
        convert_block(x, bits)
        assert np.array_equal(bits.view(np.float16), expected, equal_nan=True)
        back = np.empty_like(x)
        convert_block(bits, back)
        assert np.array_equal(back, expected.astype(np.float32), equal_nan=True)
        values = fastbce.sigmoid(expected)
        near(values, 1 / (1 + np.exp(-expected.astype(np.float64))), np.float16, 0.51, "float16")
        ones = np.ones_like(values)
        slopes = fastbce.sigmoid_backward(ones, values)
        wide = values.astype(np.float64)
        near(slopes, wide * (1 - wide), np.float16, 0.51, "float16 backward")
        for offset in (-1e-9, 1e-9):  # float32 would round these to a tie
            beside = np.array([1 + 2.0**-11, -3 - 3 * 2.0**-9, 2.0**-25]) * (1 + offset)
            convert_block(beside, bits[:3])
            assert np.array_equal(bits[:3].view(np.float16), beside.astype(np.float16))


def check_bfloat16() -> None:
    """Check what bits stand for, ties, and numbers that float32 would round to one."""
    one, step = 0x3F80, 2.0**-7
    numbers = [1, 1 + step / 2, 1 + 1.5 * step, -1 - 1.6 * step, np.inf, -0.0, 3.4e38, 1e-45]
    expected = [one, one, one + 2, 0x8000 + one + 2, 0x7F80, 0x8000, 0x7F80, 0]
    with np.errstate(all="ignore"):
        bits = np.empty(len(numbers), np.int16)
        convert_block(np.array(numbers, np.float32), bits)
        assert bits.view(np.uint16).tolist() == expected
        wide = np.empty(len(numbers), np.float32)
        convert_block(bits, wide)
        assert wide.tolist()[:4] == [1, 1, 1 + 2 * step, -1 - 2 * step]
        convert_block(np.array([1 + step / 2]) * [1 + 1e-9], bits[:1])
        convert_block(np.array([np.nan]), bits[1:2])
        assert bits[0] == one + 1
        convert_block(bits[1:2], wide[:1])
        assert np.isnan(wide[0])
        cut = np.array([0x7F800001], np.uint32).view(np.float32)  # its first half is infinity's
        convert_block(cut, bits[:1])
        convert_block(bits[:1], wide[:1])
        assert np.isnan(wide[0])
        x = np.array([0.5, -3, 20], np.float32)
        marked = (x.view(np.uint32) >> 16).astype(np.uint16).view(fastbce.bfloat16)
        found = fastbce.sigmoid(marked).view(np.int16)
        convert_block(found, wide[:3])
        assert np.all(np.abs(wide[:3] * (1 + np.exp(-x)) - 1) <= step / 2)


def everywhere(**constants: int) -> None:
    """Change constants in every module that has them, and forget the scratch space."""
    for module in list(sys.modules.values()):
        if module.__name__.startswith("fastbce."):
            for name in constants.keys() & vars(module).keys():
                setattr(module, name, constants[name])
    _engine._scratch = _engine._Scratch()


def check_stores() -> None:
    """Check that results that go past the caches are those that do not; a block is 1 or 2 lines."""
    from past_the_caches import check_past_the_caches

    everywhere(LANES=32, STRIP=TERMS * 32, SPACE=16)
    for dtype, n, offset in (
        (np.float32, 1, 3),
        (np.float64, 19, 3),
        (np.float32, 50, 5),
        (np.float32, 50, 0),
        (np.float32, TERMS * 32 + 1, 1),
    ):
        check_past_the_caches(dtype, n, offset)


def check_samples(dtype: Any) -> None:
    """Check the sums of the metrics against those of NumPy, and what they find."""
    from fastbce._engine import samples as _samples
    from fastbce._reference import samples as _plain

    p = np.array([0, 1, 0.25, 1e-9, 0.7, 0.5] * 7, dtype)
    rows, y = np.stack([1 - p, p], axis=1), np.arange(len(p)) % 3 % 2
    for given, w, eps in ((p, None, None), (p, p, 1e-7), (rows, None, 1e-7), (rows, p, None)):
        found, expected = (m.sums(given, y, (0, 1), w, eps) for m in (_samples, _plain))
        assert np.allclose(found[:4], expected[:4], 1e-14, 0), (found, expected)
        assert found[4:] == expected[4:] == (True, True)
    for bad_p, bad_y, bad_w in ((2, 0, 1), (0.5, 0.5, 1), (0.5, 1, -1), (np.nan, 1, 1)):
        p, y, w = np.array([0.5, bad_p], dtype), np.array([1, bad_y]), np.array([1.0, bad_w])
        assert not _samples.sums(p, y, (0, 1), w, None).is_sound
    assert not _samples.sums(rows[:2] / 2, y, (0, 1), None, None).is_even


def check_scalar_functions(dtype: Any) -> None:
    """Check that the functions for users' own loops are those of arrays."""
    from fastbce import numba as scalar

    z = np.array([*SPECIAL, 0.3, -2.5], dtype)
    p = np.array([0, 1e-9, 0.2, 0.5, 0.9, 1], dtype)
    each: Any = {"reduction": "none"}
    _, hessian = fastbce.bce_with_logits_gradient_hessian(z, z > 0, reduction="none")
    for name, values, labels, expected in (
        ("sigmoid", z, None, fastbce.sigmoid(z)),
        ("log_sigmoid", z, None, fastbce.log_sigmoid(z)),
        ("softplus", z, None, fastbce.softplus(z)),
        ("logit", p, None, fastbce.logit(p)),
        ("bce", p, p > 0.3, fastbce.bce_loss(p, p > 0.3, **each)),
        ("bce_gradient", p, p > 0.3, fastbce.bce_gradient(p, p > 0.3, **each)),
        ("bce_with_logits", z, z > 1, fastbce.bce_with_logits_loss(z, z > 1, **each)),
        ("bce_with_logits_gradient", z, z > 1, fastbce.bce_with_logits_gradient(z, z > 1, **each)),
        ("bce_with_logits_hessian", z, None, hessian),
    ):
        function = getattr(scalar, name)
        others = () if labels is None else (labels.astype(dtype),)
        found = [function(*element) for element in zip(values, *others, strict=True)]
        near(np.array(found, dtype), expected.astype(np.longdouble), dtype, 3, f"{name} of one")


def main() -> None:
    """Check both dtypes, with strips of 32 elements and shared calls from 8 on."""
    if not config.DISABLE_JIT:  # type: ignore[attr-defined]
        sys.exit("run with NUMBA_DISABLE_JIT=1")
    everywhere(PEEK=2)
    for lanes, small in ((1, 8), (512, 1 << 15)):
        everywhere(LANES=lanes, STRIP=TERMS * lanes)
        everywhere(MIN_PER_THREAD=2 * small, MIN_LIGHT_PER_THREAD=2 * small)  # of float32
        for dtype in (np.float32, np.float64):
            with np.errstate(all="ignore"):  # scalars warn where compiled code does not
                check(dtype)
                check_options(dtype)
    for dtype in (np.float32, np.float64):
        with np.errstate(all="ignore"):
            check_elements(dtype)
            check_samples(dtype)
            check_scalar_functions(dtype)
    check_float16()
    check_bfloat16()
    check_stores()
    print("all as exact")


if __name__ == "__main__":
    main()
