"""Which variables matter: p-values for both data sets, beside scikit-learn's time to fit."""

from __future__ import annotations

import warnings
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from fastbce.demo._data import LATE_MINUTES, load_breast_cancer, load_flights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from rich.console import Console

    from fastbce.inference import LogitResult

# Few, not collinear, and without perfect separation.
TUMOUR_VARIABLES = ("mean radius", "mean texture", "mean smoothness", "mean symmetry")
# The first level of each group is what the others are compared with.
FLIGHT_BASE = ("month 1", "carrier 9E", "origin EWR")
PLOT_NAME = "fastbce-demo-flights-coefficients.png"
REPEATS = 3


def run(console: Console, plot_dir: Path, *, every: int = 1) -> list[dict[str, Any]]:
    """Print significance tables and fitting times, and draw the coefficients for the flights.

    Parameters
    ----------
    console : rich.console.Console
        Where to print.
    plot_dir : Path
        The directory the plot is written to.
    every : int, default 1
        Which flights to use: all, or each n-th one.

    Returns
    -------
    list of dict
        For each table the fit, its seconds and those of scikit-learn.
    """
    console.rule("Which variables matter?")
    data = load_breast_cancer()
    X, y = np.concatenate([data.X_train, data.X_test]), np.concatenate([data.y_train, data.y_test])
    columns = [data.names.index(name) for name in TUMOUR_VARIABLES]
    _, tumours = _compare(console, "malignant tumours", X[:, columns], y[:, 0], TUMOUR_VARIABLES)
    console.print(f"with all 30 variables: {_refusal(X, y[:, 0])}", soft_wrap=True)

    with console.status("reading the flights"):
        X, y, names = load_flights()
    kept = [i for i, name in enumerate(names) if name not in FLIGHT_BASE]
    title = f"flights {LATE_MINUTES} or more minutes late"
    chosen = tuple(names[i] for i in kept)
    result, late = _compare(console, title, X[::every][:, kept], y[::every, 0], chosen)
    path = plot_dir / PLOT_NAME
    _plot(path, result)
    console.print(f"the coefficients are in {path}", soft_wrap=True)
    return [tumours, late]


def _compare(
    console: Console, title: str, X: NDArray[Any], y: NDArray[Any], names: tuple[str, ...]
) -> tuple[LogitResult, dict[str, Any]]:
    """Print one table of coefficients, and the times of both libraries."""
    from dataclasses import replace

    from sklearn.linear_model import LogisticRegression as Peer

    from fastbce.linear_model import LogisticRegression

    model = LogisticRegression(C=np.inf)
    ours = _best(partial(model.fit, X, y))
    result = replace(model.result_, names=("const", *names))
    table = Table(title=f"{title}: {result.nobs:,.0f} samples", title_justify="left")
    for heading in ("variable", "coefficient", "standard error", "z", "p-value", "odds ratio"):
        table.add_column(heading, justify="left" if heading == "variable" else "right")
    for row in zip(
        result.names,
        result.params,
        result.bse,
        result.zvalues,
        result.pvalues,
        result.odds_ratios,
        strict=True,
    ):
        name, b, se, z, p, odds = row
        shown = f"{p:.3f}" if p >= 0.001 else "<0.001"
        cells = (f"{b:.4g}", f"{se:.2g}", f"{z:.2f}", shown, f"{odds:.4g}")
        table.add_row(name, *cells, style="" if p < 0.05 else "dim")
    console.print(table)
    console.print(f"fastbce: fit with standard errors and p-values in {ours * 1e3:.1f} ms")
    peers: list[dict[str, Any]] = []
    for solver in ("lbfgs", "newton-cholesky"):
        peer = Peer(C=np.inf, solver=solver, max_iter=10_000, tol=1e-6)
        theirs = _best(partial(peer.fit, X, y))
        difference = np.max(np.abs(peer.coef_[0] - model.coef_[0]) / result.bse[1:])
        peers.append({"solver": solver, "seconds": theirs, "largest_difference": difference})
        console.print(
            f"scikit-learn, {solver}: fit without them in {theirs * 1e3:.1f} ms "
            f"({theirs / ours:.1f}x); coefficients within {difference:.1e} standard errors"
        )
        if theirs <= ours:
            console.print(f"[yellow]fastbce is NOT faster than {solver} here.[/]")
    found = {"title": title, "fit": result.to_dict(), "seconds": ours, "scikit-learn": peers}
    return result, found


def _best(work: Callable[[], object]) -> float:
    """Return the least time of a few runs, after one that may compile."""
    seconds = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a peer's solver that stops early shows in the difference
        work()
        for _ in range(REPEATS):
            start = perf_counter()
            work()
            seconds.append(perf_counter() - start)
    return min(seconds)


def _refusal(X: NDArray[Any], y: NDArray[Any]) -> str:
    """Return why there are no p-values for the whole data set."""
    from fastbce.inference import InferenceError
    from fastbce.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=np.inf).fit(X, y)
    try:
        return f"pseudo R-squared {model.result_.prsquared:.3f}"
    except InferenceError as error:
        return str(error).partition(" Columns")[0]


def _plot(path: Path, result: LogitResult) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7), dpi=120, layout="constrained")
    axes = figure.subplots()
    order = np.argsort(result.params[1:]) + 1
    bounds = 1.96 * result.bse[order]
    axes.errorbar(result.params[order], np.arange(len(order)), xerr=bounds, fmt="o", capsize=3)
    axes.axvline(0, color="gray", linestyle=":")
    axes.set_yticks(np.arange(len(order)), [result.names[i] for i in order])
    axes.set_xlabel("change of the log-odds of a late arrival, with 95 % intervals")
    figure.savefig(path)
