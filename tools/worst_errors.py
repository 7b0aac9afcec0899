"""The points at which accuracy is checked, and the largest errors found at very many of them.

    python tools/worst_errors.py

goes through all 2^32 float32 numbers and 10^9 float64 ones for each family, on all processors, and
prints a table: tens of minutes. It fails where an error is larger than `MAX_ULP` allows.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from cases import BY_NAME, CASES, EPS, Array, Case
from checks import FAMILIES

import fastbce
from fastbce._reference.accuracy import ulps

SWEPT = (*(case for case in CASES if case.arity == 1), *FAMILIES)
BLOCK = 1 << 21
PARTS = 64

# (result, label or None) -> units in the last place, argument
Worst = dict[tuple[str, int | None], tuple[float, float]]


def errors_of(case: Case, x: Array) -> Worst:
    """Return the largest errors for `x` as first argument, with both hard labels."""
    wide = np.longdouble if x.dtype == np.float64 else np.float64
    found: Worst = {}
    for label in (0, 1) if case.is_loss else (None,):
        arguments = (x,) if label is None else (x, np.full(x.shape, label, x.dtype))
        results = case(*arguments, **({} if label is None else {"reduction": "none"}))
        for name, actual, exact in zip(
            case.results, results, case.exact(*arguments, wide=wide), strict=True
        ):
            error = ulps(actual, exact)
            i = int(error.argmax())
            found[name, label] = (float(error[i]), float(x[i]))
            if name in ("loss", "hessian") and np.any(actual < 0):
                found[name, label] = (math.inf, float(x[actual < 0][0]))
    return found


def larger(first: Worst, second: Worst) -> Worst:
    return {key: max(error, first.get(key, (0.0, 0.0))) for key, error in second.items()}


# --- points -------------------------------------------------------------------------------------


def bit_patterns(start: int, stop: int, step: int) -> Iterator[Array]:
    """Yield float32 numbers by their bits, some millions at a time."""
    for first in range(start, stop, step * BLOCK):
        last = min(first + step * BLOCK, stop)
        yield np.arange(first, last, step, dtype=np.uint32).view(np.float32)


def neighbours(centres: Array, width: int = 3) -> Array:
    """Return each number with those next to it."""
    steps = np.arange(-width, width + 1)
    bits = centres.astype(np.float64).view(np.int64)
    return (bits[:, None] + steps).view(np.float64).ravel()


def adversarial() -> Array:
    """Return float64 numbers where the kernels change what they do, or lose the most."""
    octaves = np.arange(1, 1077)
    half_octaves = (octaves - 0.5) * math.log(2)  # the exponential's range reduction switches
    powers = np.ldexp(1.0, np.arange(-1073, 11))
    roots = np.ldexp(math.sqrt(0.5), np.arange(-30, 5))  # so does the logarithm's
    limits = np.array([EPS, 1 - EPS, 36.7, 37.5, 708.4, 709.8, 744.4, 745.13, 746.0, 1e30])
    near = np.concatenate([half_octaves, octaves * math.log(2), powers, roots, 1 - roots, limits])
    positive = neighbours(near[near > 0])
    return np.concatenate([positive, -positive])


SAMPLES: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "adversarial": lambda rng, n: adversarial(),
    "bits": lambda rng, n: rng.integers(0, 2**64, n, dtype=np.uint64).view(np.float64),
    "octaves": lambda rng, n: np.ldexp(rng.uniform(-2, 2, n), rng.integers(-40, 10, n)),
    "tail": lambda rng, n: rng.uniform(-746, -30, n),
    "middle": lambda rng, n: rng.uniform(-8, 8, n),
    "unit": lambda rng, n: rng.random(n),
    "near one": lambda rng, n: 1 - np.ldexp(rng.uniform(1, 2, n), rng.integers(-25, 0, n)),
}
DRAWN = len(SAMPLES) - 1  # the adversarial ones are few, and always the same


# --- the sweep ----------------------------------------------------------------------------------


def _part(name: str, float32: bool, step: int, points: int, part: int) -> Worst:
    """Return the largest errors at one of `PARTS` parts of the points."""
    fastbce.set_num_threads(1)
    case, found = BY_NAME[name], Worst()
    with np.errstate(all="ignore"):  # signalling NaN
        if float32:
            share = 2**32 // PARTS
            for x in bit_patterns(part * share, (part + 1) * share, step):
                found = larger(found, errors_of(case, x))
            return found
        rng = np.random.default_rng(part)
        left = -(-points // (PARTS * DRAWN))
        while left > 0:
            for draw in SAMPLES.values():
                found = larger(found, errors_of(case, draw(rng, min(left, BLOCK))))
            left -= BLOCK
    return found


def sweep(case: Case, dtype: Any, *, step: int = 1, points: int = 10**9) -> Worst:
    """Return the largest errors at each `step`-th float32 number, or at some float64 ones."""
    work = partial(_part, case.name, np.dtype(dtype) == np.float32, step, points)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found: Worst = {}
        for part in pool.map(work, range(PARTS)):
            found = larger(found, part)
    return found


def too_large(case: Case, dtype: Any, found: Worst) -> list[str]:
    """Return a line for each error above the one that is allowed."""
    return [
        f"{case.kind} {name} {np.dtype(dtype)}, label {label}: {error:.3f} ULP at {x!r}"
        for (name, label), (error, x) in found.items()
        if not error <= case.ulp(name, dtype)
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--step", type=int, default=1, help="each so many-th float32 number")
    parser.add_argument("--points", type=int, default=10**9, help="float64 numbers a family")
    arguments = parser.parse_args()
    print("| result | dtype | label | largest error, ULP | at |")
    print("| --- | --- | --- | --- | --- |")
    failures = []
    for dtype in (np.float32, np.float64):
        for case in SWEPT:
            found = sweep(case, dtype, step=arguments.step, points=arguments.points)
            for (name, label), (error, x) in found.items():
                which = "" if label is None else label
                kind = np.dtype(dtype)
                print(
                    f"| {case.kind} {name} | {kind} | {which} | {error:.3f} | {x!r} |", flush=True
                )
            failures += too_large(case, dtype, found)
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
