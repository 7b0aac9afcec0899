"""The plots of ``fastbce fit``: ROC, calibration and odds ratios."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import fastbce
from fastbce._writing import write_whole

from .holdout import calibration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastbce._typing import Array
    from fastbce.model_file import Model

    from .prepare import Data

MOST_BARS = 30
LONGEST_NAME = 40
# Odds ratios further out are drawn at the edge.
FARTHEST = 1e6


def draw(
    directory: Path, model: Model, data: Data, z: Array | None, hidden: Array | None
) -> list[Path]:
    """Write the plots and return their paths.

    Parameters
    ----------
    directory : Path
        Where to.
    model : Model
        What was fitted.
    data : Data
        What it was fitted to.
    z, hidden : ndarray or None
        Logits of the first fit, and which rows were held out of it. Without them there are neither
        ROC nor calibration.

    Returns
    -------
    list of Path
        ``roc.png``, ``calibration.png`` and ``odds_ratios.png``.
    """
    from matplotlib.figure import Figure

    plots: dict[str, Callable[[Any, Any], None]] = {}
    if z is not None and hidden is not None:
        logits, y = z[hidden], data.y[hidden]
        weight = np.ones(len(y)) if data.weight is None else data.weight[hidden]
        plots["roc.png"] = lambda _, axes: _roc(axes, logits, y, weight)
        plots["calibration.png"] = lambda _, axes: _calibration(axes, logits, y, weight)
    plots["odds_ratios.png"] = lambda figure, axes: _odds_ratios(figure, axes, model)
    about = f"{_short(model.target)} = {_short(str(model.classes[1]))}"
    paths = []
    for name, plot in plots.items():
        # Figure is used directly: pyplot would pick a window system and keep global state.
        figure = Figure(figsize=(7, 5), dpi=120, layout="constrained")
        axes = figure.subplots()
        plot(figure, axes)
        title = axes.get_title()
        axes.set_title(f"{title}\n{_plain(about)}", fontsize=11)
        write_whole(directory / name, partial(figure.savefig, format="png"))
        paths.append(directory / name)
    return paths


def _short(name: str) -> str:
    """Return a name without its middle where it is long."""
    if len(name) <= LONGEST_NAME:
        return name
    half = LONGEST_NAME // 2 - 1
    return f"{name[:half]}…{name[-half:]}"


def _plain(text: str) -> str:
    """Return a text that Matplotlib takes for no formula."""
    return text.replace("$", r"\$")


def _roc(axes: Any, z: Array, y: Array, weight: Array) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    false, true, _ = roc_curve(y, z, sample_weight=weight)
    area = roc_auc_score(y, z, sample_weight=weight)
    axes.plot(false, true, label=f"AUC {area:.3f}")
    axes.plot([0, 1], [0, 1], ":", color="gray", label="guessing")
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    axes.set_title(f"ROC of {len(y)} held-out rows, {int(y.sum())} of them 1")
    axes.set_aspect("equal")
    axes.legend(loc="lower right")


def _calibration(axes: Any, z: Array, y: Array, weight: Array) -> None:
    """Draw observed over predicted shares, with Wilson's 95 % intervals and numbers of rows."""
    p = fastbce.sigmoid(z.astype(np.float64))
    predicted, observed, _ = calibration(p, y, weight)
    # Weights count as repetitions; what an interval rests on is the number of rows.
    counts = [len(part) for part in np.array_split(np.arange(len(y)), len(observed))]
    rows = np.array(counts, np.float64)
    middle, half = _wilson(observed, rows)
    low, high = np.minimum(middle - half, observed), np.maximum(middle + half, observed)
    axes.errorbar(
        predicted,
        observed,
        yerr=[observed - low, high - observed],
        fmt="o",
        capsize=3,
        label="bins, with 95 % intervals",
    )
    most = 1.08 * max(float(high.max()), float(predicted.max()))
    most = 1.0 if most > 0.7 else most
    axes.plot([0, most], [0, most], ":", color="gray", label="perfect")
    for x, top, y_mean, n in zip(predicted, high, observed, counts, strict=True):
        axes.annotate(
            f"{round(y_mean * n)}/{n}",
            (x, top),
            (0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7,
        )
    axes.set_xlim(-0.02 * most, most)
    axes.set_ylim(-0.02 * most, 1.06 * most)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("observed share")
    axes.set_title("calibration on held-out rows (ones/rows of each bin)")
    axes.legend(loc="upper left")


def _wilson(share: Array, rows: Array) -> tuple[Array, Array]:
    """Return middle and half width of Wilson's 95 % interval of shares."""
    square = 1.959963984540054**2
    middle = (share + square / (2 * rows)) / (1 + square / rows)
    spread = share * (1 - share) / rows + square / (4 * rows**2)
    return middle, np.sqrt(square * spread) / (1 + square / rows)


def _odds_ratios(figure: Any, axes: Any, model: Model) -> None:
    """Draw odds ratios for one unit, as in the table, those furthest from 1 in standard errors."""
    coef = np.array(model.coef)
    first = len(model.fit.get("names", ())) - len(coef)
    half = np.zeros(len(coef))
    order = np.argsort(-np.abs(coef), kind="stable")
    chosen = "largest"
    if "standard_errors" in model.fit:
        error = np.array(model.fit["standard_errors"], np.float64)[first:]
        half = 1.959963984540054 * error
        order = np.argsort(-np.abs(coef / error), kind="stable")
        chosen = "most significant"
    order = order[:MOST_BARS]
    # In the order of the table, from the top.
    order = np.sort(order)[::-1]
    edge = np.log(FARTHEST)
    low, high = (np.exp(np.clip(coef[order] + s * half[order], -edge, edge)) for s in (-1, 1))
    middle = np.exp(np.clip(coef[order], -edge, edge))
    places = np.arange(len(order))
    figure.set_size_inches(8, max(3.0, 1.6 + 0.24 * len(order)))
    axes.errorbar(middle, places, xerr=[middle - low, high - middle], fmt="o", ms=4, capsize=3)
    axes.axvline(1, color="gray", linestyle=":")
    axes.set_xscale("log")
    axes.set_yticks(places, [_plain(_short(model.names[i])) for i in order], fontsize=8)
    axes.set_ylim(-0.7, len(order) - 0.3)
    interval = ", with 95 % intervals" if half.any() else ""
    axes.set_xlabel(f"odds ratio for one more unit{interval} (log scale)")
    rest = f" ({len(order)} {chosen} of {len(coef)})" if len(order) < len(coef) else ""
    axes.set_title(f"odds ratios{rest}")
