"""What writing results past the caches brings: ``python bench/stores.py``.

Milliseconds of a call on all threads, results reused, stored the ordinary way and past the caches,
in turns. From ``FAR`` bytes of scores on (``fastbce/_engine/calls.py``) fastbce takes the
faster way.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

import fastbce
from fastbce._engine import calls
from fastbce._machine import machine_line
from fastbce.bench.operations import OPERATIONS, Data

if TYPE_CHECKING:
    from fastbce.bench.operations import Call

SIZES = (3_000_000, 5_000_000, 7_000_000, 10_000_000, 20_000_000, 50_000_000)
WAYS = {"the ordinary way": False, "past the caches": True}
ROUNDS = 11


def seconds(call: Call) -> float:
    """Return the seconds of a call that follows one like it."""
    call()
    start = perf_counter()
    call()
    call()
    return (perf_counter() - start) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    dtype = parser.parse_args().dtype
    print(machine_line())
    calls.FAR = 0
    operations = [operation for operation in OPERATIONS if True in operation.policies]
    print(f"\n{dtype}, {fastbce.get_num_threads()} threads, ms {' / '.join(WAYS)}\n")
    print(f"| operation | {' | '.join(f'{n:,}' for n in SIZES)} |")
    print("| --- " * (1 + len(SIZES)) + "|")
    for operation in operations:
        cells = []
        for n in SIZES:
            call = operation.ours(Data.make(n, np.dtype(dtype).type), True)
            times: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(ROUNDS):
                for way, past in WAYS.items():
                    calls.Stores.past = lambda self, past=past: past
                    times[way].append(seconds(call))
            cells.append(" / ".join(f"{median(t) * 1e3:.2f}" for t in times.values()))
        print(f"| {operation.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
