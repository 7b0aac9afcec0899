"""Losses inside a PyTorch program: ``python bench/in_torch.py [--compile] [--dtype bfloat16]``.

It needs PyTorch. Logits, float32 unless another dtype is named, medians of rounds in which all take
turns. The first table has whole steps, forward and backward, one after the other: by the adapter,
by PyTorch, and with ``--compile`` both under ``torch.compile``. The second has the adapter's call
for loss and gradient with an operation of PyTorch on the same logits before and after it:

- alone: one call after the other with nothing between, on the threads that are faster;
- chosen: as the adapter works, by recent timings;
- own, PyTorch's, one: on our workers, on PyTorch's OpenMP team, on one thread.
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

import fastbce
from fastbce._engine.lender import Choice
from fastbce._machine import machine_line
from fastbce.interop import torch as interop

if TYPE_CHECKING:
    from collections.abc import Callable

    Times = dict[str, list[float]]

SIZES = (8_192, 16_384, 32_768, 100_000, 300_000, 1_000_000, 10_000_000)
DTYPES = ("float32", "float64", "float16", "bfloat16")
ROUNDS, CALLS = 9, 30
# Elements of all calls of one way in one round, at most.
ELEMENTS = 30_000_000
THEIRS = torch.nn.functional


def data(n: int, dtype: Any) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, generator=generator) * 3
    return x.to(dtype), (torch.rand(n, generator=generator) < 0.3).to(dtype)


def seconds(call: Callable[[], Any], between: Callable[[], Any] | None, n: int) -> list[float]:
    """Return the seconds of each call, with something else before and after."""
    found = []
    for _ in range(max(min(CALLS, ELEMENTS // n), 2)):
        if between:
            between()
        start = perf_counter()
        call()
        found.append(perf_counter() - start)
        if between:
            between()
    return found


def medians(ways: dict[str, Callable[[], list[float]]]) -> dict[str, float]:
    """Return the us of each way, after a round that is not counted."""
    times: Times = {way: [] for way in ways}
    for way in ways.values():
        way()
    for _ in range(ROUNDS):
        for name, way in ways.items():
            times[name] += way()
    return {name: median(found) * 1e6 for name, found in times.items()}


def step(function: Callable[..., Any], leaf: Any, y: Any) -> None:
    function(leaf, y).backward()
    leaf.grad = None


def loss_of(module: Any, x: Any, y: Any) -> Any:
    return module.binary_cross_entropy_with_logits(x, y)


def steps(dtype: Any, *, compiled: bool) -> None:
    """Print the first table."""
    ours, theirs = (partial(loss_of, module) for module in (interop, THEIRS))
    functions = {"fastbce": ours, "PyTorch": theirs}
    if compiled:
        functions["fastbce, compiled"] = torch.compile(ours)
        functions["PyTorch, compiled"] = torch.compile(theirs)
    print("\nforward and backward, us\n")
    print(f"| elements | {' | '.join(functions)} | PyTorch / fastbce |")
    print("| --- " * (2 + len(functions)) + "|")
    for n in SIZES:
        x, y = data(n, dtype)
        leaf = x.requires_grad_()
        us = medians(
            {
                name: partial(seconds, partial(step, function, leaf, y), None, n)
                for name, function in functions.items()
            }
        )
        cells = " | ".join(f"{value:.0f}" for value in us.values())
        print(f"| {n:,} | {cells} | {us['PyTorch'] / us['fastbce']:.1f} |", flush=True)


def on(team: bool | None, count: int, call: Callable[[], list[float]]) -> list[float]:
    """Return what a call returns on PyTorch's team or not, or as it chooses, on so many threads."""
    borrows, threads = Choice.borrows, fastbce.get_num_threads()
    if team is not None:
        Choice.borrows = lambda choice: team  # type: ignore[method-assign]
    fastbce.set_num_threads(count)
    try:
        return call()
    finally:
        Choice.borrows = borrows  # type: ignore[method-assign]
        fastbce.set_num_threads(threads)


def among_operations(threads: int, dtype: Any) -> None:
    """Print the second table."""
    print("\nloss and gradient between operations of PyTorch, us\n")
    print("| elements | alone | chosen | chosen / alone | own | PyTorch's | one |")
    print("| --- " * 7 + "|")
    for n in SIZES:
        x, y = data(n, dtype)
        call = partial(loss_of, interop, x.clone().requires_grad_(), y)
        alone = partial(seconds, call, None, n)
        among = partial(seconds, call, partial(torch.sigmoid, x), n)
        us = medians(
            {
                "alone, own": partial(on, False, threads, alone),
                "alone, PyTorch's": partial(on, True, threads, alone),
                "chosen": partial(on, None, threads, among),
                "own": partial(on, False, threads, among),
                "PyTorch's": partial(on, True, threads, among),
                "one": partial(on, None, 1, among),
            }
        )
        least, *_ = sorted((us.pop("alone, own"), us.pop("alone, PyTorch's")))
        cells = [f"{least:.0f}", f"{us['chosen']:.0f}", f"{us.pop('chosen') / least:.2f}"]
        cells += [f"{value:.0f}" for value in us.values()]
        print(f"| {n:,} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    given = parser.parse_args()
    dtype = getattr(torch, given.dtype)
    threads = fastbce.get_num_threads()
    print(f"{machine_line()}; PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    steps(dtype, compiled=given.compile)
    among_operations(threads, dtype)


if __name__ == "__main__":
    main()
