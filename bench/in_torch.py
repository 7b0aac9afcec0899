"""Shared calls inside a PyTorch program: ``python bench/in_torch.py`` (needs PyTorch).

Loss and gradient of float32 logits through the adapter, with an operation of PyTorch on the same
logits before and after each call. Medians in us, of rounds in which the ways take turns:

- alone: one call after the other, with nothing between, on the threads that are faster;
- chosen: as the adapter works, by recent timings;
- own, PyTorch's, one: on our workers, on PyTorch's OpenMP team, on one thread;
- PyTorch: its own function, forward and backward.
"""

from __future__ import annotations

import argparse
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

SIZES = (16_384, 100_000, 300_000, 1_000_000, 10_000_000)
ROUNDS, CALLS = 9, 30


def between(x: Any) -> None:
    """Do what a model does before and after: an operation on all threads."""
    torch.sigmoid(x)


def seconds(call: Callable[[], Any], x: Any) -> list[float]:
    """Return the seconds of each call among operations of PyTorch; without any if x is None."""
    found = []
    for _ in range(CALLS):
        if x is not None:
            between(x)
        start = perf_counter()
        call()
        found.append(perf_counter() - start)
        if x is not None:
            between(x)
    return found


class Ways:
    """The ways of a call, each set and put back around its own calls."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y
        self.leaf = x.clone().requires_grad_()
        self.borrows = Choice.borrows
        self.threads = fastbce.get_num_threads()

    def ours(self) -> Any:
        return interop.binary_cross_entropy_with_logits(self.leaf, self.y)

    def theirs(self) -> None:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(self.leaf, self.y)
        loss.backward()
        self.leaf.grad = None

    def run(self, way: str) -> list[float]:
        borrows = {"own": False, "alone, own": False, "alone, PyTorch's": True, "PyTorch's": True}
        if way in borrows:
            Choice.borrows = lambda choice: borrows[way]  # type: ignore[method-assign]
        if way == "one":
            fastbce.set_num_threads(1)
        try:
            call = self.theirs if way == "PyTorch" else self.ours
            return seconds(call, None if way.startswith("alone") else self.x)
        finally:
            Choice.borrows = self.borrows  # type: ignore[method-assign]
            fastbce.set_num_threads(self.threads)


SHOWN = ("alone, own", "alone, PyTorch's", "chosen", "own", "PyTorch's", "one", "PyTorch")


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    threads = fastbce.get_num_threads()
    print(f"{machine_line()}; PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"\nloss and gradient of float32 logits on {threads} threads, us\n")
    print("| elements | alone | chosen | chosen / alone | own | PyTorch's | one | PyTorch |")
    print("| --- " * 8 + "|")
    for n in SIZES:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(n, generator=generator) * 3
        ways = Ways(x, (torch.rand(n, generator=generator) < 0.3).float())
        times: dict[str, list[float]] = {way: [] for way in SHOWN}
        for way in SHOWN:
            ways.run(way)
        for _ in range(ROUNDS):
            for way, found in times.items():
                found += ways.run(way)
        us = {way: median(found) * 1e6 for way, found in times.items()}
        alone = min(us["alone, own"], us["alone, PyTorch's"])
        cells = [f"{alone:.0f}", f"{us['chosen']:.0f}", f"{us['chosen'] / alone:.2f}"]
        cells += [f"{us[way]:.0f}" for way in SHOWN[3:]]
        print(f"| {n:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
