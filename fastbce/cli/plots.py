"""The plots of ``fastbce fit``: ROC, calibration and odds ratios."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import fastbce
from fastbce._writing import write_whole

from .holdout import calibration
from .notes import note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastbce._typing import Array
    from fastbce.model_file import Model

    from .prepare import Data

MOST_BARS = 30
MOST_TICKS = 9
MORE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
    "Noto Sans",
)
LONGEST_NAME = 40
# Odds ratios further out are drawn at the edge.
FARTHEST = 1e6
# Probabilities that are further apart than this are drawn on logarithmic scales.
DECADES = 30


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
    import matplotlib as mpl
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
    with mpl.rc_context({"font.family": _fonts()}), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, plot in plots.items():
            # Figure is used directly: pyplot would pick a window system and keep global state.
            figure = Figure(figsize=(7, 5), dpi=120, layout="constrained")
            axes = figure.subplots()
            plot(figure, axes)
            title = axes.get_title()
            axes.set_title(f"{title}\n{_plain(about)}", fontsize=11)
            write_whole(directory / name, partial(figure.savefig, format="png"))
            paths.append(directory / name)
    if any("missing from font" in str(warning.message) for warning in caught):
        note("the plots have boxes for characters that no installed font has")
    return paths


def _fonts() -> list[str]:
    """Return Matplotlib's own font, and those that have what it lacks, as far as installed."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in MORE_FONTS if name in installed)]


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
    ordered = np.array_split(y[np.argsort(p, kind="stable")], len(counts))
    ones = [int(part.sum()) for part in ordered]
    middle, half = _wilson(observed, rows)
    low, high = np.minimum(middle - half, observed), np.maximum(middle + half, observed)
    # Shares that differ by decades would lie in one corner.
    decades = predicted.min() > 0 and predicted.max() > DECADES * predicted.min()
    least = 0.0
    if decades:
        least = min(predicted.min(), high.min()) / 3
        low, observed = np.maximum(low, least), np.maximum(observed, least)
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.errorbar(
        predicted,
        observed,
        yerr=[observed - low, high - observed],
        fmt="o",
        capsize=3,
        label="bins, with 95 % intervals",
    )
    most = max(float(high.max()), float(predicted.max()))
    ends = [least, min(1.0, 1.5 * most)] if decades else [0, 1.0 if most > 0.7 else 1.08 * most]
    axes.plot(ends, ends, ":", color="gray", label="perfect")
    for x, top, n_ones, n in zip(predicted, high, ones, counts, strict=True):
        axes.annotate(
            f"{n_ones}/{n}",
            (x, top),
            (0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=7,
            rotation=90,
        )
    margin = 0 if decades else 0.02 * ends[1]
    axes.set_xlim(ends[0] - margin, ends[1] + margin)
    axes.set_ylim(ends[0] - margin, ends[1] * (3 if decades else 1.1))
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
    bounds = np.column_stack([coef, coef])
    order = np.argsort(-np.abs(coef), kind="stable")
    chosen = "largest"
    if "standard_errors" in model.fit:
        error = np.array(model.fit["standard_errors"], np.float64)[first:]
        order = np.argsort(-np.abs(coef / error), kind="stable")
        chosen = "most significant"
        # Those of the table: for Firth's method they are no multiple of standard errors.
        bounds = model.result_.conf_int()[first:]
    order = order[:MOST_BARS]
    # In the order of the table, from the top.
    order = np.sort(order)[::-1]
    edge = np.log(FARTHEST)
    low, high = (np.exp(np.clip(bound[order], -edge, edge)) for bound in bounds.T)
    middle = np.exp(np.clip(coef[order], -edge, edge))
    places = np.arange(len(order))
    figure.set_size_inches(8, max(3.0, 1.6 + 0.24 * len(order)))
    axes.errorbar(middle, places, xerr=[middle - low, high - middle], fmt="o", ms=4, capsize=3)
    axes.axvline(1, color="gray", linestyle=":")
    axes.set_xscale("log")
    ticks = _ticks(*axes.get_xlim())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_yticks(places, [_plain(_short(model.names[i])) for i in order], fontsize=8)
    axes.set_ylim(-0.7, len(order) - 0.3)
    interval = ", with 95 % intervals" if "standard_errors" in model.fit else ""
    axes.set_xlabel(f"odds ratio for one more unit{interval} (log scale)")
    rest = f" ({len(order)} {chosen} of {len(coef)})" if len(order) < len(coef) else ""
    axes.set_title(f"odds ratios{rest}")


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers on a logarithmic axis: 1, 2 and 5, or only 1 where there are many."""
    from matplotlib.ticker import MaxNLocator

    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1, 2, 5), (1,)):
        ticks = [m * 10.0**k for k in powers for m in steps if low <= m * 10.0**k <= high]
        if len(ticks) <= MOST_TICKS:
            break
    return ticks if len(ticks) > 2 else list(MaxNLocator(5).tick_values(low, high))
