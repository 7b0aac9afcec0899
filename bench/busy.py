"""Shared calls beside busy processes: ``python bench/busy.py``, with PyTorch where it is installed.

Four processes that never rest share the processors with this one. For each library, the mean time
of a call on all threads and on one, which take turns, and what it is while nobody else computes.
The mean, since a program waits for every call; the worst of them says for how long at most.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from statistics import mean
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import numpy as np

import fastbce
from fastbce._machine import machine_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    # Sets the number of threads; is done before a call, untimed; the call.
    Row = tuple[Callable[[int], Any], Callable[[], Any], Callable[[], Any]]

N, PROCESSES, ROUNDS, CALLS = 1_000_000, 4, 20, 20


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep so many processes busy."""
    command = [sys.executable, "-c", "while True: pass"]
    started = [subprocess.Popen(command) for _ in range(processes)]
    try:
        sleep(0.5 if processes else 0.0)
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def numpy_step(z: Any, y: Any) -> Any:
    e = np.exp(-np.abs(z))
    loss = np.mean(np.maximum(z, 0) - z * y + np.log1p(e))
    return loss, (np.where(z >= 0, 1, e) / (1 + e) - y) / y.size


def nothing(*_: Any) -> None:
    pass


def rows() -> dict[str, Row]:
    """Return the libraries: loss and gradient of the same float32 logits."""
    rng = np.random.default_rng(0)
    z = rng.normal(scale=3, size=N).astype(np.float32)
    y = (rng.random(N) < 0.3).astype(np.float32)
    out = np.empty_like(z)
    ours = partial(fastbce.bce_with_logits_loss_gradient, z, y, out=out)
    found: dict[str, Row] = {
        "fastbce": (fastbce.set_num_threads, nothing, ours),
        "NumPy": (nothing, nothing, partial(numpy_step, z, y)),
    }
    try:
        import torch
    except ImportError:
        return found
    from fastbce.interop import torch as interop

    leaf, labels = torch.from_numpy(z).requires_grad_(), torch.from_numpy(y)

    def step(module: Any) -> None:
        module.binary_cross_entropy_with_logits(leaf, labels).backward()
        leaf.grad = None

    def set_both(count: int) -> None:
        torch.set_num_threads(count)
        fastbce.set_num_threads(count)

    sigmoid = partial(torch.sigmoid, leaf.detach())
    for name, module in (("fastbce.interop.torch", interop), ("PyTorch", torch.nn.functional)):
        found[f"{name}, after a sigmoid"] = set_both, sigmoid, partial(step, module)
    found["PyTorch, the sigmoid"] = set_both, nothing, sigmoid
    return found


def measured(row: Row, threads: int) -> dict[int, list[float]]:
    """Return the seconds of calls on one thread and on all, in turns."""
    set_threads, before, call = row
    times: dict[int, list[float]] = {1: [], threads: []}
    for _ in range(ROUNDS):
        for count, found in times.items():
            set_threads(count)
            for _ in range(CALLS):
                before()
                start = perf_counter()
                call()
                found.append(perf_counter() - start)
    return times


def main() -> None:
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    before = fastbce.get_num_threads()
    threads = max(before, 2)
    print(f"{machine_line()}; ms of a call, {N:,} elements\n")
    print("| | busy processes | one thread | all: mean | worst | all / one |")
    print("| --- " * 6 + "|")
    table = rows()
    for processes in (0, PROCESSES):
        for name, row in table.items():
            for count in (threads, 1):
                row[0](count)
                row[-1]()
            with busy(processes):
                times = measured(row, threads)
            one, many = (mean(times[count]) * 1e3 for count in (1, threads))
            worst = max(times[threads]) * 1e3
            cells = f"{one:.2f} | {many:.2f} | {worst:.1f} | {many / one:.2f}"
            print(f"| {name} | {processes} | {cells} |", flush=True)
    fastbce.set_num_threads(before)


if __name__ == "__main__":
    main()
