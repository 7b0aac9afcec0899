"""The linear pass beside scikit-learn, BLAS and mere reading: ``python bench/linear.py``.

One table for loss and gradient, one for the Hessian. The calls of a row alternate, so that a
machine that is busy for a moment slows all of them. ``reading`` sums the elements of `X` on the
same team of threads: what the memory allows.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from sklearn._loss import HalfBinomialLoss
from sklearn.linear_model._linear_loss import LinearModelLoss
from threadpoolctl import threadpool_limits

import fastbce
from fastbce._engine.team import sharing
from fastbce._engine.workers import crew
from fastbce._kernels.compile import OPTIONS
from fastbce._machine import machine_line

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = ((2_000_000, 32), (500_000, 128), (100_000, 512))
# Lanes for each thread, in lines of memory that no other thread writes to.
LANES, APART, STRIP = 256, 4096, 1 << 15
# The threads of OpenBLAS and OpenMP go on spinning after a call, and would slow the next one.
PAUSE = 0.05


@njit(nogil=True, **OPTIONS)
def _read(index: Any, start: Any, x: Any, lanes: Any) -> None:
    mine = lanes[index]
    for s in range(0, x.size - LANES + 1, LANES):
        part = x[s : s + LANES]
        for i in range(LANES):
            mine[i] += part[i]


_share = sharing(_read)


@njit(nogil=True, **OPTIONS)
def _read_team(arrays: Any, options: Any, n: Any, grain: Any, slots: Any, threads: Any) -> None:
    _share(arrays, options, n, grain, slots, threads)


class Data:
    """One matrix with its labels, and the calls to compare."""

    def __init__(self, n: int, columns: int, dtype: Any, threads: int) -> None:
        rng = np.random.default_rng(n)
        self.X = rng.standard_normal((n, columns), dtype)
        self.coef = np.asarray(rng.standard_normal(columns) / columns**0.5, dtype)
        self.labels = (self.X @ self.coef + rng.logistic(size=n) > 0).astype(dtype)
        self.threads = threads
        self.z, self.r, self.q = (np.zeros(n, dtype) for _ in range(3))
        self.scaled: Any = None
        self.model = LinearModelLoss(HalfBinomialLoss(), fit_intercept=True)
        self.both = np.append(self.coef, np.asarray(0, dtype))

    def fused(self) -> Any:
        loss, gradient, slope = fastbce.linear_bce_loss_gradient(self.X, self.labels, self.coef)
        return loss, np.append(gradient, slope)

    def sklearn(self) -> Any:
        return self.model.loss_gradient(self.both, self.X, self.labels, n_threads=self.threads)

    def two_passes(self) -> Any:
        np.dot(self.X, self.coef, out=self.z)
        loss, r = fastbce.bce_with_logits_loss_gradient(
            self.z, self.labels, reduction="mean", out=self.r
        )
        return loss, np.append(r @ self.X, r.sum())

    def reading(self) -> None:
        n = self.X.size
        lanes = np.zeros((self.threads, APART), self.X.dtype)
        _read_team((self.X.reshape(-1),), (lanes,), n, STRIP, crew(self.threads), self.threads)

    def fused_hessian(self) -> Any:
        return fastbce.linear_bce_hessian(self.X, self.coef)[1:, 1:]

    def blas_hessian(self) -> Any:
        np.dot(self.X, self.coef, out=self.z)
        fastbce.bce_with_logits_gradient_hessian(
            self.z, self.labels, reduction="mean", out=(self.r, self.q)
        )
        if self.scaled is None:
            self.scaled = np.empty_like(self.X)
        np.multiply(self.X, self.q[:, None], out=self.scaled)
        return self.X.T @ self.scaled

    def sklearn_hessian(self) -> Any:
        return self.model.gradient_hessian(self.both, self.X, self.labels, n_threads=self.threads)[
            1
        ][:-1, :-1]


def timed(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            sleep(PAUSE)
            start = perf_counter()
            call()
            times[name].append(perf_counter() - start)
    return times


def row(
    data: Data, names: dict[str, Callable[[], object]], rounds: int, targets: dict[str, float]
) -> str:
    """Return times, and how often each of the others is as long as the fused pass."""
    results = [call() for name, call in names.items() if name != "reading"]
    first = results[0]
    for other in results[1:]:
        pairs = zip(first, other, strict=True) if isinstance(first, tuple) else [(first, other)]
        for mine, theirs in pairs:
            scale = np.max(np.abs(theirs))
            worst = np.max(np.abs(mine - theirs)) / scale
            assert worst < 1e4 * np.finfo(data.X.dtype).eps, worst
    times = timed(names, rounds)
    ours = next(iter(times.values()))
    cells = [f"{median(ours) * 1e3:.1f}"]
    for name, values in list(times.items())[1:]:
        ratio = median(b / a for a, b in zip(ours, values, strict=True))
        shown = 1 / ratio if name == "reading" else ratio
        target = targets.get(name)
        missed = target is not None and (shown > target if name == "reading" else shown < target)
        mark = f", not {target:g}" if missed else ""
        cells.append(f"{median(values) * 1e3:.1f} ({shown:.2f}{mark})")
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--part", choices=("gradient", "hessian"), default=None)
    parser.add_argument("--dtype", choices=("float32", "float64"), default=None)
    arguments = parser.parse_args()
    print(machine_line())
    heads = {
        "gradient": "| two BLAS passes (x) | scikit-learn (x) | reading X (t / reading) |",
        "hessian": "| BLAS (x) | scikit-learn (x) |",
    }
    for part, head in heads.items():
        if arguments.part not in (None, part):
            continue
        print(f"\n| {part}, ms | dtype | threads | fastbce {head}")
        print("|" + " --- |" * (head.count("|") + 3))
        for dtype in (np.float32, np.float64):
            if arguments.dtype not in (None, np.dtype(dtype).name):
                continue
            for n, columns in SHAPES:
                for threads in (1, fastbce.get_num_threads()):
                    with threadpool_limits(threads):
                        before = fastbce.get_num_threads()
                        fastbce.set_num_threads(threads)
                        print(
                            f"| {n:,} x {columns} | {np.dtype(dtype).name} | {threads} | ", end=""
                        )
                        data = Data(n, columns, dtype, threads)
                        print(_row_of(part, data, arguments.rounds), "|", flush=True)
                        fastbce.set_num_threads(before)


def _row_of(part: str, data: Data, rounds: int) -> str:
    if part == "hessian":
        calls: dict[str, Callable[[], object]] = {
            "fused": data.fused_hessian,
            "BLAS": data.blas_hessian,
            "scikit-learn": data.sklearn_hessian,
        }
        return row(data, calls, max(rounds // 3, 3), {})
    calls = {
        "fused": data.fused,
        "BLAS": data.two_passes,
        "scikit-learn": data.sklearn,
        "reading": data.reading,
    }
    least = {"scikit-learn": 3.0 if data.X.dtype == np.float32 else 2.0, "BLAS": 1.7}
    return row(data, calls, rounds, {**least, "reading": 1.5})


if __name__ == "__main__":
    main()
