"""Whole fits to the same gradient beside scikit-learn's solvers: ``python bench/fits.py``.

Each fit runs in a process of its own, which prints its best time of several, the largest element
of the gradient of the mean objective that it ended with, and by how much the fit raised the peak
of the resident memory (Linux only: the peak is reset through /proc). `X` is float32.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from pathlib import Path
from time import perf_counter
from typing import Any

TOL = 1e-6
SOLVERS = ("fastbce", "lbfgs", "newton-cholesky", "newton-cg")
PROCESS = Path("/proc/self")


def data(name: str) -> tuple[Any, Any]:
    """Return the flights of 2013, less one column of each kind, or synthetic rows."""
    import numpy as np

    if name == "flights":
        from fastbce.demo._data import load_flights

        X, y, names = load_flights()
        first = {names.index(next(n for n in names if n.startswith(k))) for k in FACTORS}
        kept = [j for j in range(len(names)) if j not in first]
        return np.ascontiguousarray(X[:, kept]), y[:, 0].astype(np.int8)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5_000_000, 32), np.float32)
    z = X @ np.linspace(-0.4, 0.4, 32, dtype=np.float32)
    return X, (z + rng.logistic(size=len(X)) > 0).astype(np.int8)


FACTORS = ("month", "carrier", "origin")


def peak() -> int:
    """Return the peak resident size in bytes."""
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status")


def one(name: str, solver: str, tol: float, repeats: int) -> None:
    """Fit, and print a row."""
    import numpy as np
    from sklearn import linear_model

    import fastbce
    from fastbce.linear_model import LogisticRegression

    def make() -> Any:
        if solver == "fastbce":
            return LogisticRegression(C=1.0, tol=tol)
        return linear_model.LogisticRegression(C=1.0, solver=solver, tol=tol, max_iter=1000)

    X, y = data(name)
    warnings.simplefilter("ignore")
    make().fit(X[:100_000], y[:100_000])
    (PROCESS / "clear_refs").write_text("5")
    before = peak()
    times = []
    for _ in range(repeats):
        start = perf_counter()
        model = make().fit(X, y)
        times.append(perf_counter() - start)
    extra = (peak() - before) / 2**20
    coef = model.coef_[0].astype(np.float64)
    _, gradient, slope = fastbce.linear_bce_loss_gradient(X, y, coef, float(model.intercept_[0]))
    norm = max(np.max(np.abs(gradient + coef / len(X))), abs(slope))
    print(
        f"| {name} {len(X):,} x {X.shape[1]} | {solver} | {tol:.0e} | {min(times):.3f} | "
        f"{norm:.1e} | {int(np.max(model.n_iter_))} | {extra:.1f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", choices=("flights", "synthetic"))
    parser.add_argument("--solver", choices=SOLVERS)
    parser.add_argument("--tol", type=float, default=TOL)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.data and arguments.solver:
        one(arguments.data, arguments.solver, arguments.tol, arguments.repeats)
        return
    from fastbce._machine import machine_line

    print(machine_line())
    print("\n| data | solver | tol | best s | gradient | steps | MiB beyond X |")
    print("|" + " --- |" * 7, flush=True)
    for name in [arguments.data] if arguments.data else ["flights", "synthetic"]:
        for solver in SOLVERS:
            options = ["--data", name, "--solver", solver, "--tol", str(arguments.tol)]
            options += ["--repeats", str(arguments.repeats)]
            subprocess.run([sys.executable, __file__, *options], check=True)


if __name__ == "__main__":
    main()
