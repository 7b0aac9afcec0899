"""What the smaller adapters bring: ``python bench/adapters.py``.

Milliseconds, measured as ``fastbce bench`` does: losses under JAX's ``jit`` beside optax's,
functions of ``fastbce.numba`` in a loop beside ``math``'s, and focal derivatives for boosting
beside NumPy's formulas. It needs JAX and optax. PyTorch's losses and the metrics have scripts of
their own.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import numba
import numpy as np
import optax

import fastbce
import fastbce.numba as scalar
from fastbce._machine import machine_line
from fastbce._operations import OPERATIONS
from fastbce.bench.timing import interleave
from fastbce.interop import jax as interop

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (1_000, 100_000, 1_000_000, 10_000_000)
ELEMENTS = 1_000_000
ROUNDS = 11


def compare(title: str, ways: dict[str, Callable[[], Any]]) -> None:
    """Print a row: what each way takes, and how many times as long the first one does."""
    found = [timing.median * 1e3 for timing in interleave(ways, ROUNDS).values()]
    cells = [f"{ms:.3f} ({found[0] / ms:.1f} x)" for ms in found]
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


def head(first: str, *ways: str) -> None:
    print(f"\n| {first} | {' | '.join(ways)} |")
    print("| --- " * (1 + len(ways)) + "|")


def under_jax() -> None:
    head("float32", "optax", "`sigmoid_binary_cross_entropy(...).mean()`", "`bce_with_logits_loss`")
    losses: tuple[Callable[[Any, Any], Any], ...] = (
        lambda z, y: optax.sigmoid_binary_cross_entropy(z, y).mean(),
        lambda z, y: interop.sigmoid_binary_cross_entropy(z, y).mean(),
        interop.bce_with_logits_loss,
    )
    compiled = [jax.jit(jax.value_and_grad(loss)) for loss in losses]

    def run(function: Callable[..., Any], *arrays: Any) -> None:
        jax.block_until_ready(function(*arrays))

    for n in SIZES:
        z = np.random.default_rng(0).normal(size=n).astype(np.float32)
        arrays = jax.device_put(z), jax.device_put((z > 0.5).astype(np.float32))
        ways = dict(zip("abc", (partial(run, f, *arrays) for f in compiled), strict=True))
        compare(f"{n:,}", ways)


def loop_of(function: Callable[..., Any]) -> Callable[..., None]:
    @numba.njit(error_model="numpy")
    def loop(x: Any, y: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = function(x[i], y[i])

    return loop


def in_loops() -> None:
    head(f"{ELEMENTS:,} elements in a loop, one thread", "`math`", "`fastbce.numba`")
    ways: dict[str, tuple[Any, Any]] = {
        "sigmoid": (
            numba.njit(lambda x, y: 1 / (1 + math.exp(-x))),
            numba.njit(lambda x, y: scalar.sigmoid(x)),
        ),
        "loss of logits": (
            numba.njit(lambda x, y: max(x, 0) - x * y + math.log1p(math.exp(-abs(x)))),
            scalar.bce_with_logits,
        ),
    }
    for name, functions in ways.items():
        loops = [loop_of(function) for function in functions]
        for dtype in (np.float32, np.float64):
            x = np.random.default_rng(0).normal(size=ELEMENTS).astype(dtype)
            arrays = x, (x > 0.5).astype(dtype), np.empty_like(x)
            calls = dict(zip("ab", (partial(loop, *arrays) for loop in loops), strict=True))
            compare(f"{name}, {np.dtype(dtype)}", calls)


def for_boosting() -> None:
    head(f"{ELEMENTS:,} focal gradients and Hessians", "NumPy's formulas", "fastbce", "one thread")
    plain = OPERATIONS["focal_gradient_hessian"].family.plain
    threads = fastbce.get_num_threads()

    def on(count: int, call: Callable[[], Any]) -> None:
        fastbce.set_num_threads(count)
        call()

    for dtype in (np.float32, np.float64):
        z = np.random.default_rng(0).normal(size=ELEMENTS).astype(dtype)
        y = (z > 0.5).astype(dtype)
        ours = partial(fastbce.focal_gradient_hessian, z, y, reduction="none")
        calls = {
            "numpy": partial(plain, ("gradient", "hessian"), z, y),
            "ours": partial(on, threads, ours),
            "one": partial(on, 1, ours),
        }
        compare(str(np.dtype(dtype)), calls)
    fastbce.set_num_threads(threads)


def main() -> None:
    print(machine_line())
    under_jax()
    in_loops()
    for_boosting()


if __name__ == "__main__":
    main()
