"""The metrics beside scikit-learn's: ``python bench/metrics.py``.

Milliseconds of one call each way, medians, and how many times as long scikit-learn takes: of
elapsed time, and of processor time, which counts all threads. Everybody runs untimed first.
"""

from __future__ import annotations

import argparse
from functools import partial
from statistics import median
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from sklearn import metrics as theirs

import fastbce
from fastbce import metrics as ours
from fastbce._machine import machine_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = ("log_loss", "d2_log_loss_score", "brier_score_loss")
ROUNDS = 15  # ours; scikit-learn's calls are long, and a third of them are enough


def samples(n: int) -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Give labels, probabilities and options of several kinds, and their name."""
    rng = np.random.default_rng(0)
    p, w = rng.uniform(size=n), rng.uniform(size=n)
    y = (rng.uniform(size=n) < p).astype(np.int64)
    p32 = p.astype(np.float32)
    yield "int8 of 0 and 1, float32", y.astype(np.int8), p32, {}
    yield "int64 of 0 and 1, float64", y, p, {}
    yield "float64 of 0 and 1, float64", y.astype(float), p, {}
    yield "int64, two columns of float32", y, np.stack([1 - p32, p32], axis=1), {}
    yield "int64, two columns of float64", y, np.stack([1 - p, p], axis=1), {}
    yield "int64, float32, float64 weights", y, p32, {"sample_weight": w}
    yield "int64, float64, float64 weights", y, p, {"sample_weight": w}
    yield "int64 of -1 and 1, float64", 2 * y - 1, p, {}
    yield "text, float64", np.where(y, "spam", "ham"), p, {}


def milliseconds(call: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Return the medians of elapsed time and of processor time."""
    call()
    call()
    elapsed, used = [], []
    for _ in range(rounds):
        start = process_time(), perf_counter()
        call()
        elapsed.append(perf_counter() - start[1])
        used.append(process_time() - start[0])
    return median(elapsed) * 1e3, median(used) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=1_000_000)
    n = parser.parse_args().samples
    print(machine_line())
    print(f"\n{n:,} samples, scikit-learn {sklearn.__version__}, ", end="")
    print(f"{fastbce.get_num_threads()} threads: ms, scikit-learn -> fastbce\n")
    print(f"| labels, probabilities | {' | '.join(f'`{name}`' for name in NAMES)} |")
    print("| --- " * (1 + len(NAMES)) + "|")
    for what, y, p, options in samples(n):
        cells = []
        for name in NAMES:
            more = dict(options)
            if name == "brier_score_loss" and y.dtype.kind == "U":
                more["pos_label"] = "spam"
            peer = milliseconds(partial(getattr(theirs, name), y, p, **more), ROUNDS // 3)
            own = milliseconds(partial(getattr(ours, name), y, p, **more), ROUNDS)
            ratios = [a / b for a, b in zip(peer, own, strict=True)]
            cells.append(f"{peer[0]:.0f} -> {own[0]:.2f} ({ratios[0]:.0f} x, {ratios[1]:.0f} x)")
        print(f"| {what} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
