"""Random fits, and the judgement of each by the oracles.

``python tests/random_fits.py --seeds A B`` runs the seeds from A to B - 1, prints each fit that
fails and the counts.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from fitted import Outcome, fitted
from logit_oracle import (
    Fit,
    differences,
    maximum_likelihood,
    mpmath_maximum_likelihood,
    rank,
    separates,
    wrong,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cases import Array

BAD = ("wrong in silence", "false refusal", "crashed")


@dataclass
class Draw:
    """One random data set, and how it is fitted."""

    X: Array
    y: Array
    weight: Array | None
    options: dict[str, Any] = field(default_factory=dict)
    kind: str = ""

    @property
    def intercept(self) -> bool:
        return bool(self.options["fit_intercept"])


def column(rng: np.random.Generator, n: int) -> Array:
    kind = rng.integers(0, 6)
    if kind == 0:
        share = max(rng.choice([0.05, 0.2, 0.5]), 6 / n)
        return np.asarray((rng.random(n) < share) * 1.0)
    if kind == 1:
        return rng.integers(0, int(rng.integers(2, 30)), n) * 1.0
    if kind == 2:
        return rng.lognormal(0, 1.5, n).round(2)
    if kind == 3:
        return rng.random(n)
    return rng.normal(size=n)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def spoil(rng: np.random.Generator, X: Array, y: Array) -> str:
    """Make some columns collinear, or the classes separate, exactly or nearly; say which."""
    n, d = X.shape
    what = rng.random()
    j = int(rng.integers(d))
    if what < 0.05 and d > 1:
        X[:, j] = X[:, j - 1] * rng.choice([1.0, -2.0])
        return "collinear"
    if what < 0.12 and d > 1:
        X[:, j] = X[:, j - 1] + 10.0 ** rng.uniform(-9, -2) * np.std(X[:, j - 1]) * rng.normal(
            size=n
        )
        return "nearly collinear"
    if what < 0.16:
        X[:, j] = rng.normal(size=n) ** 2 * np.where(y > 0, 1, -1)
        return "separated"
    if what < 0.20:
        # The rows that overlap, overlap by little.
        X[:, j] = np.abs(X[:, j]) * np.where(y > 0, 1, -1)
        X[int(rng.integers(n)), j] *= -(10.0 ** rng.uniform(-9, 0))
        return "nearly separated"
    if what < 0.24:
        X[:, j] = (y > 0) & (rng.random(n) < 0.2)
        return "one class in a level"
    return ""


def weights(rng: np.random.Generator, n: int) -> Array | None:
    what = rng.random()
    if what < 0.6:
        return None
    if what < 0.75:
        return rng.integers(0, 5, n) * 1.0
    if what < 0.9:
        return rng.random(n) * 10.0 ** rng.integers(-3, 4)
    return 10.0 ** rng.uniform(-3, 3, n)


def draw(seed: int) -> Draw:
    """Draw a data set with both classes in it."""
    rng = np.random.default_rng([20260, seed])
    n = round(log_uniform(rng, 20, 2_000))
    # With half as many columns as rows, classes nearly always separate: a few such are enough.
    most = n // int(rng.choice([1, 2, 4, 10], p=[0.03, 0.07, 0.2, 0.7]))
    d = min(round(log_uniform(rng, 1, 300)), max(most - 1, 1))
    X = np.column_stack([column(rng, n) for _ in range(d)])
    spread = np.where(X.std(axis=0) > 0, X.std(axis=0), 1)
    effects = rng.normal(size=d) * rng.choice([0.0, 1.0], d, p=[0.6, 0.4]) / np.sqrt(d)
    z = (X - X.mean(axis=0)) / spread @ effects * rng.choice([0.5, 1.5, 3.0])
    z += -rng.uniform(2, 4) if rng.random() < 0.2 else rng.normal()
    y = (z + rng.logistic(size=n) > 0).astype(int)
    kind = spoil(rng, X, y)
    w = weights(rng, n)
    for label in (0, 1):  # a class that has no row, or none with a weight, is no case
        y[label] = label
        if w is not None:
            w[label] = max(w[label], 1e-3)
    intercept = bool(rng.random() < 0.8)
    dtype = np.float32 if rng.random() < 0.3 else np.float64
    if intercept and rng.random() < 0.4:
        far = 5 if dtype == np.float32 else 9
        X = X + spread * rng.choice([-1, 1], d) * 10.0 ** rng.uniform(0, far, d)
    if rng.random() < 0.5:
        X = X * 10.0 ** rng.uniform(-12, 12, d)
    options = {
        "way": str(rng.choice(["fit", "fit_stream", "dask"], p=[0.6, 0.3, 0.1])),
        "solver": str(rng.choice(["auto", "newton", "lbfgs"], p=[0.7, 0.1, 0.2])),
        "cov_type": str(rng.choice(["nonrobust", "HC0"])),
        "fit_intercept": intercept,
    }
    X = np.asarray(X.astype(dtype), order="F" if rng.random() < 0.2 else "C")
    return Draw(X, y, w, options, kind)


def judge(seed: int) -> tuple[str, str]:
    """Fit one data set; return the verdict and what there is to say about it."""
    case = draw(seed)
    exact = maximum_likelihood(case.X, case.y, case.weight, intercept=case.intercept)
    about = (
        f"seed {seed}: {case.X.shape} {case.X.dtype} {case.kind} {case.options} "
        f"weights {case.weight is not None}, condition {exact.condition:.2g}, "
        f"largest standard error {np.max(exact.unit_bse):.3g}"
    )
    try:
        outcome = fitted(case.X, case.y, case.weight, **case.options)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault, and counted
        return "crashed", f"{about}: {type(error).__name__}: {error}"
    if outcome.result is None or outcome.warned:
        verdict = "warned" if outcome.result is not None else "refused rightly"
        if exact.comfortable:
            verdict = "false refusal"
        elif outcome.result is None and not outcome.warned:
            verdict = "wrong in silence"
        return verdict, f"{about}: {outcome.reason or outcome.warned[0]}"
    return judge_numbers(case, exact, outcome, about)


def judge_numbers(case: Draw, exact: Fit, outcome: Outcome, about: str) -> tuple[str, str]:
    hc0 = case.options["cov_type"] == "HC0"
    if not exact.converged:
        # Newton's method without a way back may end where all is flat, from 0 or from anywhere.
        exact = maximum_likelihood(
            case.X, case.y, case.weight, intercept=case.intercept, start=outcome.right.params
        )
    if not exact.converged:
        dependent = rank(case.X, intercept=case.intercept) < len(exact.params)
        if not dependent and case.X.shape[0] * len(exact.params) ** 2 < 100_000:
            arguments = (case.X, case.y, case.weight)
            try:
                exact = mpmath_maximum_likelihood(*arguments, intercept=case.intercept)
            except ZeroDivisionError:
                dependent = True
        if dependent:
            return "wrong in silence", f"{about}: numbers for dependent columns"
    if exact.converged:
        # Of nearly dependent columns it may be; then it is the condition that is large too.
        if np.max(exact.unit_bse) > 1e6 + 100 * exact.condition:
            return "wrong in silence", f"{about}: a standard error of 1e6 without a word"
        found = wrong(outcome.result, exact, hc0=hc0)
        if found:
            return "wrong in silence", f"{about}: {found}"
        return "right", str(differences(outcome.result, exact, hc0=hc0))
    verdict = separates(case.X, case.y, case.weight, intercept=case.intercept)
    if verdict == "separated":
        return "wrong in silence", f"{about}: numbers for separated classes"
    return "not judged", about


def sweep(seeds: Iterable[int]) -> tuple[Counter[str], list[str]]:
    """Judge all seeds; return the counts and what is bad."""
    counts: Counter[str] = Counter()
    bad = []
    for seed in seeds:
        verdict, about = judge(seed)
        counts[verdict] += 1
        if verdict in (*BAD, "not judged"):
            print(f"{verdict}: {about[:600]}", flush=True)
        if verdict in BAD:
            bad.append(f"{verdict}: {about[:600]}")
    print(dict(counts))
    return counts, bad


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs=2, type=int, default=(0, 10_000), metavar=("A", "B"))
    first, last = parser.parse_args().seeds
    return 1 if sweep(range(first, last))[1] else 0


if __name__ == "__main__":
    sys.exit(main())
