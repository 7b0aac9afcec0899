"""The classes' training step, single calls, fresh results and memory: ``python bench/classes.py``.

Four tables; ``--part`` chooses some of them.

- ``step``: a training step through the two classes, and through the class that fuses them, beside
  the same step through the from-scratch classes in plain NumPy (``fastbce/demo/from_scratch.py``).
- ``calls``: microseconds of single calls of one element and of 1,000.
- ``fresh``: results that fastbce allocates, beside the same call with ``out=``.
- ``memory``: what is resident after 100 steps, and processor time of a step with memory that
  fastbce keeps and with fresh memory (``FASTBCE_POOL=0``).

Each row is measured in a process of its own. glibc decides by the largest block that a process has
freed whether freed memory goes back to the system: a NumPy step of 327,346 float64 takes 11.5 ms in
a new process and 3.7 ms late in one that has freed large blocks. So a process has one size and one
dtype, as a program that trains a network has.

Both sides of a row take turns, in rotating order. Everybody rests before its block, and runs
untimed for 2 ms. The tables have medians. Results are compared with NumPy's in
float64 when all is timed, since that frees larger blocks. The tables of memory need Linux.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np

import fastbce
from fastbce._machine import machine_line
from fastbce._operations import OPERATIONS as TABLE
from fastbce.bench.operations import OPERATIONS, STEPS, Data, check
from fastbce.bench.timing import interleave

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbce.bench.operations import Call

DTYPES = ("float32", "float64")
STEP_SIZES = (10**3, 10**4, 327_346, 10**6, 10**7)
CALL_SIZES = (1, 10**3)
FRESH_SIZE, MEMORY_SIZE, POOL_SIZE = 10**7, 10**6, 10**7
# More rounds for short calls: their medians are to have three digits.
ROUNDS, SHORT_ROUNDS, MEMORY_STEPS, POOL_STEPS = 11, 51, 100, 15
FRESH_GOAL = 1.3
TWO, FUSED = STEPS


def apart(function: Callable[..., Any], *arguments: Any, **environment: str) -> Any:
    """Return what a function gives in a process of its own."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(function, *arguments).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def medians(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    return {name: timing.median for name, timing in interleave(calls, rounds).items()}


def everybody(data: Data) -> dict[str, Call]:
    """Return the steps: of the from-scratch classes, of ours, of the fused class."""
    return {
        "NumPy": TWO.numpy(data, False),
        "two classes": TWO.ours(data, False),
        "fused class": FUSED.ours(data, False),
    }


def step_row(n: int, dtype: str, rounds: int) -> dict[str, float]:
    """Return the seconds of a step of each."""
    data = Data.make(n, np.dtype(dtype))
    found = medians(everybody(data), rounds)
    for operation in STEPS:
        check(operation, data)
    return found


def call_row(n: int, dtype: str, rounds: int) -> dict[str, float]:
    """Return the seconds of single calls."""
    data = Data.make(n, np.dtype(dtype))
    hard = data.y.astype(np.int64)
    calls: dict[str, Call] = {
        "`sigmoid`": partial(fastbce.sigmoid, data.z),
        "`sigmoid`, `out=`": partial(fastbce.sigmoid, data.z, out=data.out),
        "`bce_loss`": partial(fastbce.bce_loss, data.p, data.y),
        "`bce_loss`, int64 labels": partial(fastbce.bce_loss, data.p, hard),
        "`bce_loss`, `label_smoothing`": partial(
            fastbce.bce_loss, data.p, data.y, label_smoothing=0.1
        ),
        "`bce_loss_gradient`": partial(fastbce.bce_loss_gradient, data.p, data.y),
        "`bce_loss_gradient`, `out=`": partial(
            fastbce.bce_loss_gradient, data.p, data.y, out=data.out
        ),
        "`bce_with_logits_loss_gradient`": partial(
            fastbce.bce_with_logits_loss_gradient, data.z, data.y
        ),
    }
    steps = {f"step, {name}": call for name, call in everybody(data).items()}
    return medians(calls | steps, rounds)


def fresh_row(n: int, dtype: str, rounds: int) -> dict[str, dict[str, float]]:
    """Return the seconds of each common operation with fresh results and with given ones."""
    data = Data.make(n, np.dtype(dtype))
    return {
        operation.name: medians(
            {"fresh": operation.ours(data, False), "out=": operation.ours(data, True)}, rounds
        )
        for operation in OPERATIONS
        if True in operation.policies and TABLE[operation.name].common
    }


def resident() -> float:
    """Return the MiB of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_row(n: int, dtype: str, who: str, steps: int) -> list[float]:
    """Return what is resident after the first step and after the last, beyond the arrays."""
    everybody(Data.make(1, np.dtype(dtype)))[who]()  # loads the kernels
    before = resident()
    data = Data.make(n, np.dtype(dtype))
    for array in vars(data).values():
        array += 0  # pages that nobody has written are not resident
    before += sum(array.nbytes for array in vars(data).values()) / 2**20
    step = everybody(data)[who]
    found = []
    for _ in range(steps):
        step()
        found.append(resident() - before)
    return [found[0], found[-1]]


def pool_row(n: int, dtype: str, steps: int) -> float:
    """Return the processor time of a step of the two classes on one thread."""
    fastbce.set_num_threads(1)
    step = TWO.ours(Data.make(n, np.dtype(dtype)), False)
    times = []
    for _ in range(steps):
        start = process_time()
        step()
        times.append(process_time() - start)
    return median(times[2:])


def head(*cells: str) -> None:
    print(f"\n| {' | '.join(cells)} |\n{'| --- ' * len(cells)}|")


def row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def shown(seconds: float) -> str:
    """Return milliseconds, with three digits where they are few."""
    return f"{seconds * 1e3:.3g}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def print_step(rounds: int | None) -> None:
    ours = ("two classes", "fused class")
    columns = [column for name in ours for column in (name, f"NumPy / {name}")]
    head("a step, ms", "dtype", "NumPy", *columns)
    for dtype in DTYPES:
        for n in STEP_SIZES:
            found = apart(step_row, n, dtype, rounds or ROUNDS)
            numpy = found["NumPy"]
            cells = []
            for name in ours:
                cells += [shown(found[name]), f"{numpy / found[name]:.1f}"]
            row(f"{n:,}", dtype, shown(numpy), *cells)


def print_calls(rounds: int | None) -> None:
    columns = {
        f"{n:,} {dtype}": apart(call_row, n, dtype, rounds or SHORT_ROUNDS)
        for dtype in DTYPES
        for n in CALL_SIZES
    }
    head("a call, us", *columns)
    for name in next(iter(columns.values())):
        row(name, *(f"{found[name] * 1e6:.2f}" for found in columns.values()))


def print_fresh(rounds: int | None) -> None:
    head(f"{FRESH_SIZE:,} elements, ms", "dtype", "fresh", "out=", "fresh / out=")
    for dtype in DTYPES:
        for name, found in apart(fresh_row, FRESH_SIZE, dtype, rounds or ROUNDS).items():
            ratio = found["fresh"] / found["out="]
            mark = f", not {FRESH_GOAL:g}" if ratio > FRESH_GOAL else ""
            cells = [f"{seconds * 1e3:.2f}" for seconds in found.values()]
            row(f"`{name}`", dtype, *cells, f"{ratio:.2f}{mark}")


def print_memory(rounds: int | None) -> None:
    head(f"MiB beside the arrays, {MEMORY_SIZE:,} elements", "dtype", "first step", "last step")
    for dtype in DTYPES:
        for who in ("NumPy", "two classes", "fused class"):
            found = apart(memory_row, MEMORY_SIZE, dtype, who, MEMORY_STEPS)
            row(f"{who}, {MEMORY_STEPS} steps", dtype, *(f"{mib:.1f}" for mib in found))
    head(f"two classes, {POOL_SIZE:,} elements, ms of processor time", "fresh memory", "kept")
    for dtype in DTYPES:
        found = [
            apart(pool_row, POOL_SIZE, dtype, POOL_STEPS, **environment)
            for environment in ({"FASTBCE_POOL": "0"}, {})
        ]
        row(dtype, *(f"{seconds * 1e3:.1f}" for seconds in found))


PARTS = {"step": print_step, "calls": print_calls, "fresh": print_fresh, "memory": print_memory}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="one of the tables")
    parser.add_argument("--rounds", type=int, metavar="N", help="measurements of each row")
    arguments = parser.parse_args()
    print(f"{machine_line()}; {fastbce.get_num_threads()} threads")
    for name in arguments.part or PARTS:
        PARTS[name](arguments.rounds)


if __name__ == "__main__":
    main()
