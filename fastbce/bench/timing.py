"""Time several calls in turns, so that a noisy machine shows as spread and not as a winner."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

from .operations import Call

ROUNDS = 11
SAMPLE_SECONDS = 300e-6  # a sample is as many calls as take this long at least
REST_SECONDS = 0.01  # OpenMP's idle threads keep a processor busy for milliseconds after a call
# Untimed calls before a sample. After a rest threads sleep: 327,346 float32 through the fused class
# took 0.28 ms in the second call and 0.14 from about the tenth on, as in a program that trains.
WARM_SECONDS = 2e-3
ROW_SECONDS = 1.0  # what a candidate may take in all, but for three rounds


@dataclass(frozen=True)
class Timing:
    """Seconds a call: median and quartiles of the rounds."""

    median: float
    low: float
    high: float
    rounds: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def _seconds(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def interleave(calls: dict[str, Call], rounds: int = ROUNDS) -> dict[str, Timing]:
    """Time each call in each round, in rotating order, warm.

    Before its sample everybody rests, and then runs untimed for 2 ms, one call at least: what the
    one before it left in the caches and in spinning threads is not its fault, and its own threads
    are awake. What the first calls after a pause cost is bench/handover.py's.
    """
    repeats, untimed, most = {}, {}, {}
    for name, call in calls.items():
        call()
        once = min(_seconds(call, 1) for _ in range(3))
        repeats[name] = max(1, min(2000, round(SAMPLE_SECONDS / max(once, 1e-9))))
        untimed[name] = max(1, min(2000, round(WARM_SECONDS / max(once, 1e-9))))
        block = once * (repeats[name] + untimed[name])
        most[name] = max(3, round(ROW_SECONDS / max(block, 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if len(samples[name]) < most[name]:
                time.sleep(REST_SECONDS)
                _seconds(calls[name], untimed[name])
                samples[name].append(_seconds(calls[name], repeats[name]))
    return {name: _summary(values) for name, values in samples.items()}


def _summary(values: list[float]) -> Timing:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, low, high, len(values))
