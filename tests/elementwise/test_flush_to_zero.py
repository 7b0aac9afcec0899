"""Another library has switched on flush-to-zero: what is subnormal counts as 0.

Each test has a process of its own, since the setting is its thread's.
"""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

import pytest
from checks import at_night

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Python = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="sets the control register of x86-64 through glibc",
)

PREAMBLE = """
import contextlib, ctypes
import numpy as np
import fastbce

libm = ctypes.CDLL("libm.so.6")
environment = (ctypes.c_uint32 * 8)()  # the last word is MXCSR
FLUSH = 0x8040  # subnormal results become 0, subnormal inputs count as 0

@contextlib.contextmanager
def flushing():
    libm.fegetenv(environment)
    environment[7] |= FLUSH
    libm.fesetenv(environment)
    assert not (np.array([1e-40], np.float32) * np.float32(0.5)).view(np.uint32).any()
    try:
        yield
    finally:
        environment[7] &= ~FLUSH
        libm.fesetenv(environment)
        assert (np.array([1e-40], np.float32) * np.float32(0.5)).view(np.uint32).any()

def drop(a):
    return np.where(np.abs(a) < np.finfo(a.dtype).tiny, np.copysign(a.dtype.type(0), a), a)

def calls(z, y, p):
    w = p + p.dtype.type(0.5)
    for reduction in ("none", "sum", "mean"):
        for weight in (None, w):
            options = {"reduction": reduction, "sample_weight": weight}
            yield from fastbce.bce_with_logits_loss_gradient_hessian(z, y, **options)
            yield from fastbce.bce_loss_gradient(p, y, **options)
    yield fastbce.sigmoid(z)
    yield fastbce.sigmoid_backward(z, p)

# The most by which each result is multiplied; the number of the sigmoid among them.
WEIGHTS = 3 * (5 * [1] + 5 * [1.5]) + [1, 1]
SIGMOID = 30

def same(a, b):
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True)

def draw(dtype, n):
    rng = np.random.default_rng(5)
    least = -np.log(np.finfo(dtype).tiny)
    z = np.concatenate([
        rng.normal(scale=9, size=n), np.linspace(-1.1, 1.1, 5001) * least,
        [0, -0.0, np.inf, -np.inf],
    ]).astype(dtype)
    p = rng.random(z.size).astype(dtype)
    p[:5] = [0, 1, 1e-7, 0.5, 1 - 1e-7]
    return z, p, rng.random(z.size).astype(dtype)
"""


@pytest.mark.ci
@pytest.mark.parametrize("every", [False, at_night(True)])
def test_subnormal_results_become_zero(every: bool, python: Python) -> None:
    """Nothing else changes but what docs/accuracy.md says, on one thread or on three.

    A weight, here 1.5 at most, multiplies a loss that is 0 already. The least sigmoids lose their
    correction. A worker that was made meanwhile, or before, takes the caller's setting.
    """
    script = """
from fastbce._engine import calls as engine
engine.LONG = 0.0  # calls are shared at once

def on(count):
    fastbce.set_num_threads(count)
    return [np.array(a) for a in calls(z, y, p)]

for dtype in (np.float32, np.float64):
    z, p, soft = draw(dtype, 300_000)
    labels = (soft, soft > 0.5, (soft > 0.5).astype(dtype))
    for y in labels if EVERY else labels[: 2 if dtype == np.float32 else 1]:
        plain = on(1)
        with flushing():
            flushed, shared = on(1), on(3)  # the first time, the workers are made here
        assert all(same(a, b) for a, b in zip(flushed, shared, strict=True))
        dropped = 0
        for number, (a, b) in enumerate(zip(plain, flushed, strict=True)):
            changed = (a != b) & ~(np.isnan(a) & np.isnan(b))
            old, new = np.abs(a[changed]), np.abs(b[changed])
            zero = new == 0
            dropped += np.count_nonzero(zero)
            tiny = np.finfo(dtype).tiny
            assert np.all(old[zero] < tiny * WEIGHTS[number])
            assert np.all(np.abs(old - new)[~zero] <= np.spacing(old[~zero]))
            if number == SIGMOID:
                assert np.all(old < 2.0**24 * tiny)
            else:
                assert zero.all()
            assert np.all((b == 0) | (np.abs(b) >= tiny))
        assert dropped
        assert all(same(a, b) for a, b in zip(plain, on(3), strict=True))
"""
    python(f"{PREAMBLE}\nEVERY = {every}\n{script}")


@pytest.mark.ci
def test_subnormal_inputs_count_as_zero(python: Python) -> None:
    script = """
fastbce.set_num_threads(1)
for dtype in (np.float32, np.float64):
    z, p, soft = draw(dtype, 3_000)
    tiny = np.finfo(dtype).tiny
    for a in (z, p, soft):
        a[7::11] = tiny / 8
    z[8::11] = -tiny / 8
    inputs = drop(z), drop(soft), drop(p)
    with flushing():
        flushed = list(calls(z, soft, p))
        expected = list(calls(*inputs))
    assert all(same(a, b) for a, b in zip(flushed, expected, strict=True))
"""
    python(PREAMBLE + script)
