"""What sharing a call among threads costs and brings: ``python bench/handover.py``.

Microseconds of a call on one thread and on all, results reused: in a row, one call after the other,
and after a pause in which the workers have gone to sleep. One thread and all take turns.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING

import numpy as np

import fastbce
from fastbce._machine import machine_line
from fastbce.bench.operations import OPERATIONS, Data

if TYPE_CHECKING:
    from fastbce.bench.operations import Call

SIZES = (16_384, 32_768, 65_536, 131_072, 262_144, 524_288, 1_048_576, 3_000_000)
SHOWN = ("sigmoid", "sigmoid_backward", "bce_loss", "bce_with_logits_loss_gradient")
ROUNDS, ROW_SECONDS, PAUSE = 9, 2e-3, 2e-3


def in_a_row(call: Call) -> float:
    """Return the seconds of a call that follows others."""
    call()
    call()
    calls = 0
    start = perf_counter()
    while (end := perf_counter()) - start < ROW_SECONDS or calls < 5:
        call()
        calls += 1
    return (end - start) / calls


def after_a_pause(call: Call) -> float:
    """Return the seconds of a call that follows nothing."""
    times = []
    for _ in range(9):
        sleep(PAUSE)
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    dtype = parser.parse_args().dtype
    threads = fastbce.get_num_threads()
    print(machine_line())
    for measure in (in_a_row, after_a_pause):
        print(
            f"\n{measure.__name__.replace('_', ' ')}, {dtype}: 1 thread / {threads} threads, us\n"
        )
        print(f"| elements | {' | '.join(SHOWN)} |")
        print("| --- " * (1 + len(SHOWN)) + "|")
        for n in SIZES:
            data = Data.make(n, np.dtype(dtype).type)
            cells = []
            for operation in OPERATIONS:
                if operation.name not in SHOWN:
                    continue
                call = operation.ours(data, bool(operation.writes))
                times: dict[int, list[float]] = {1: [], threads: []}
                for _ in range(ROUNDS):
                    for count, found in times.items():
                        fastbce.set_num_threads(count)
                        found.append(measure(call))
                cells.append(" / ".join(f"{median(t) * 1e6:.1f}" for t in times.values()))
            print(f"| {n:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
