"""The plots of ``fastbce fit``: ROC, calibration and coefficients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import fastbce
from fastbce.cli.model_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fastbce._inputs import Array
    from fastbce.inference import LogitResult

MOST_BARS = 30
BINS = 10


def calibration(p: Array, y: Array) -> tuple[Array, Array, Array]:
    """Return mean probability, share of ones and number of rows in bins of equal size."""
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), BINS) if part.size]
    predicted = np.array([p[part].mean() for part in parts])
    observed = np.array([y[part].mean() for part in parts])
    return predicted, observed, np.array([part.size for part in parts])


def draw(
    directory: Path,
    z: Array,
    y: Array,
    names: Sequence[str],
    coef: Array,
    result: LogitResult | None,
    X: Array,
) -> list[Path]:
    """Write the three plots and return their paths; `z` and `y` are the held-out rows'."""
    from matplotlib.figure import Figure

    paths = []
    plots: dict[str, Callable[[Any], None]] = {
        "roc.png": lambda axes: _roc(axes, z, y),
        "calibration.png": lambda axes: _calibration(axes, z, y),
        "coefficients.png": lambda axes: _coefficients(axes, names, coef, result, X.std(axis=0)),
    }
    for name, plot in plots.items():
        # Figure is used directly: pyplot would pick a window system and keep global state.
        figure = Figure(figsize=(7, 5), dpi=120, layout="constrained")
        plot(figure.subplots())
        write_whole(directory / name, figure.savefig)
        paths.append(directory / name)
    return paths


def _roc(axes: Any, z: Array, y: Array) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    false, true, _ = roc_curve(y, z)
    axes.plot(false, true, label=f"held-out rows, AUC {roc_auc_score(y, z):.3f}")
    axes.plot([0, 1], [0, 1], ":", color="gray", label="guessing")
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.legend(loc="lower right")


def _calibration(axes: Any, z: Array, y: Array) -> None:
    predicted, observed, _ = calibration(fastbce.sigmoid(z), y)
    axes.plot([0, 1], [0, 1], ":", color="gray", label="perfect")
    axes.plot(predicted, observed, "o-", label="held-out rows, in bins of equal size")
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("observed share")
    axes.legend(loc="upper left")


def _coefficients(
    axes: Any, names: Sequence[str], coef: Array, result: LogitResult | None, scale: Array
) -> None:
    """Draw log-odds for one standard deviation of each column, the largest first."""
    effect = coef * scale
    order = np.argsort(-np.abs(effect), kind="stable")[:MOST_BARS][::-1]
    error = None
    if result is not None:
        error = 1.96 * result.bse[1:][order] * scale[order]
    axes.errorbar(effect[order], np.arange(len(order)), xerr=error, fmt="o", capsize=3)
    axes.axvline(0, color="gray", linestyle=":")
    axes.set_yticks(np.arange(len(order)), [names[i] for i in order])
    interval = ", with 95 % intervals" if result is not None else ""
    axes.set_xlabel(f"log-odds for one standard deviation{interval}")
