"""Draw the README's picture, docs/results/speed-light.svg and -dark.svg, from the results there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

from fastbce.bench.report import LIMIT, OURS

mpl.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
PANELS = {
    "bce_with_logits_loss_gradient": "loss and gradient from logits",
    "sigmoid": "sigmoid",
}
# Readable on white and on black for people who do not tell red from green (Okabe and Ito).
COLOURS = {
    "NumPy": "#0072B2",
    "PyTorch": "#D55E00",
    "torch.compile": "#CC79A7",
    "JAX": "#009E73",
    "scikit-learn": "#E69F00",
    "numexpr": "#56B4E9",
    "SciPy": "#999999",
}
TICKS = (1, 2, 5, 10, 20, 50, 100, 200)
THEMES = {"light": ("#ffffff", "#24292f"), "dark": ("#14181e", "#ced6dd")}


def ratios(result: dict[str, Any], operation: str) -> dict[str, list[tuple[int, float]]]:
    """Return for each of the others the sizes, and its time over ours: float32, fresh results."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in result["rows"]:
        if (row["operation"], row["dtype"], row["policy"]) == (operation, "float32", "fresh"):
            medians = {who: times["median"] for who, times in row["times"].items()}
            for who in medians.keys() - {OURS, LIMIT}:
                found.setdefault(who, []).append((row["n"], medians[who] / medians[OURS]))
    return {who: sorted(found[who]) for who in COLOURS if who in found}


def draw(result: dict[str, Any], theme: str, path: Path) -> None:
    """Write the picture: one panel for each operation, one line for each of the others."""
    paper, ink = THEMES[theme]
    style: Any = {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "fastbce",  # the same file each time
        "font.family": "sans-serif",
        "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
        "font.size": 11,
        "axes.spines.right": False,
        "axes.spines.top": False,
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "legend.facecolor"), paper),
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), ink),
        **dict.fromkeys(("xtick.color", "ytick.color"), ink),
    }
    with mpl.rc_context(style):
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
        for axis, (operation, title) in zip(axes, PANELS.items(), strict=True):
            for who, points in ratios(result, operation).items():
                sizes, times = zip(*points, strict=True)
                axis.loglog(sizes, times, color=COLOURS[who], marker="o", markersize=3.5, label=who)
            axis.axhline(1, color=ink, linewidth=2)
            axis.annotate("fastbce", (1.1e3, 0.68), color=ink, fontweight="bold")
            axis.set_ylim(0.55, 260)
            axis.set_title(title, fontsize=12, fontweight="bold", color=ink)
            axis.set_xlabel("elements")
            axis.set_yticks(TICKS, [str(tick) for tick in TICKS])
            axis.minorticks_off()
            axis.grid(alpha=0.25)
        axes[0].set_ylabel("time over fastbce's")
        handles: dict[str, Any] = {}
        for axis in axes:
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=len(handles),
            columnspacing=1.0,
            handlelength=1.2,
            fontsize=10,
            frameon=False,
        )
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def main() -> None:
    result = json.loads((RESULTS / "two-threads.json").read_text(encoding="utf-8"))
    for theme in THEMES:
        path = RESULTS / f"speed-{theme}.svg"
        draw(result, theme, path)
        print(path.name)


if __name__ == "__main__":
    main()
