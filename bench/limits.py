"""Memory beyond the results, and cost against size: ``python bench/limits.py`` prints both tables.

Memory is the growth of the process's peak resident size during one call with ``out=`` given, all
arrays touched and kernels loaded before (Linux only: the peak is reset through /proc). Cost is the
best of several calls, in nanoseconds an element, up to 5 x 10^8 float32 where memory allows.
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastbce
from fastbce._machine import machine_line
from fastbce.bench.operations import OPERATIONS, Data

PROCESS = Path("/proc/self")
MEMORY_SIZES = (10**5, 10**6, 10**7, 10**8)
COST_SIZES = (10**5, 10**6, 10**7, 10**8, 5 * 10**8)
WARM = 10**6  # large enough to start the threads and load their kernels


def _peak() -> int:
    """Return the peak resident size in bytes."""
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status")


def extra_memory(operation: Any, data: Data) -> int:
    """Return by how much a call raises the peak."""
    call = operation.ours(data, True)
    gc.collect()
    (PROCESS / "clear_refs").write_text("5")
    before = _peak()
    call()
    return _peak() - before


def seconds(call: Any, repeats: int) -> float:
    """Return the best time of several calls."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def _head(corner: str, sizes: tuple[int, ...]) -> None:
    print(f"| {corner} |", " | ".join(f"{n:,}" for n in sizes), "|")
    print("| --- " * (len(sizes) + 1) + "|")


def main() -> None:
    """Print the two tables."""
    print(machine_line(), f"{fastbce.get_num_threads()} threads", sep="; ", end="\n\n")
    for dtype in (np.float32, np.float64):
        warm = Data.make(WARM, dtype)
        for operation in OPERATIONS:
            operation.ours(warm, True)()
    _head("KiB beyond the results, worst function", MEMORY_SIZES)
    for dtype in (np.float32, np.float64):
        row = []
        for n in MEMORY_SIZES:
            data = Data.make(n, dtype)
            for array in (data.out, data.more):
                array.fill(0)
            extra = {o.name: extra_memory(o, data) for o in OPERATIONS if o.takes_out}
            worst = max(extra, key=lambda name: extra[name])
            row.append(f"{extra[worst] // 1024} ({worst})")
            del data
        print(f"| {np.dtype(dtype).name} |", " | ".join(row), "|")
    print()
    _head("ns an element, float32", COST_SIZES)
    for name in ("sigmoid", "bce_loss", "bce_with_logits_loss_gradient"):
        operation = next(o for o in OPERATIONS if o.name == name)
        row = []
        for n in COST_SIZES:
            data = Data.make(min(n, 10**7), np.float32)
            if n > 10**7:
                arrays = {
                    key: np.resize(array, n)
                    for key, array in vars(data).items()
                    if key in operation.reads + operation.writes
                }
                data = Data(**{key: arrays.get(key, data.z[:0]) for key in vars(data)})
            call = operation.ours(data, True)
            call()
            row.append(f"{seconds(call, 3 if n > 10**7 else 20) / n * 1e9:.3f}")
            del data, call
        print(f"| {name} |", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
