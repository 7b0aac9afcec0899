"""Malignant or benign: the small data set, where the numbers matter more than the speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

import fastbce
from fastbce.demo._data import Scaler, load_breast_cancer
from fastbce.demo._report import facts, report_agreement, report_speed, train_with_progress
from fastbce.demo._training import fastbce_run, reference_run

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray
    from rich.console import Console

    from fastbce.demo._data import Split
    from fastbce.demo._training import Run

PLOT_NAME = "fastbce-demo-breast-cancer.png"
# float64 on both sides: rounding is all that may differ.
TOLERANCE = 1e-12
TUMOURS_SHOWN = 6


def run(console: Console, plot_dir: Path, *, epochs: int = 2000) -> list[dict[str, Any]]:
    """Train on one variable, then on all thirty, with both implementations.

    Parameters
    ----------
    console : rich.console.Console
        Where to print.
    plot_dir : Path
        The directory the fitted curve is written to.
    epochs : int
        Steps of gradient descent for each of the two models.

    Returns
    -------
    list of dict
        For each of the two models what was measured, and as ``"ok"`` whether the losses of the two
        implementations agree in every epoch.
    """
    with console.status("reading the breast-cancer data"):
        data = load_breast_cancer()
    n_train, n_test = len(data.y_train), len(data.y_test)
    malignant = int(data.y_train.sum() + data.y_test.sum())
    console.rule("Breast cancer: is a tumour malignant?")
    console.print(
        f"{n_train + n_test} tumours, {malignant} of them malignant; "
        f"{n_train} to train on, {n_test} held out; float64"
    )

    console.print(
        "A batch of some hundred rows takes microseconds either way, most of them for the calls "
        "themselves: the speed does not matter here, the numbers do."
    )

    console.print("\n[bold]One variable: mean radius[/]")
    scaler, one, found_of_one = _fit(console, data, [0], epochs=epochs, learning_rate=2.0)
    path = plot_dir / PLOT_NAME
    with console.status("drawing the fitted curve"):
        _plot(path, data, one, scaler)
    console.print(f"the fitted curve is in {path}", soft_wrap=True)

    console.print("\n[bold]All 30 variables[/]")
    columns = list(range(len(data.names)))
    scaler, full, found_of_all = _fit(console, data, columns, epochs=epochs, learning_rate=0.5)
    found_of_all["tumours"] = _show_tumours(console, data, full.probabilities(scaler(data.X_test)))
    return [found_of_one, found_of_all]


def _fit(
    console: Console, data: Split, columns: list[int], *, epochs: int, learning_rate: float
) -> tuple[Scaler, Run, dict[str, Any]]:
    scaler = Scaler.of(data.X_train[:, columns])
    X = scaler(data.X_train[:, columns])
    runs = [make(len(columns), np.float64) for make in (reference_run, fastbce_run)]
    train_with_progress(runs, X, data.y_train, epochs=epochs, learning_rate=learning_rate)
    agreed = report_agreement(console, runs, TOLERANCE)
    report_speed(console, runs)
    ours = runs[1]
    p = ours.probabilities(scaler(data.X_test[:, columns]))
    accuracy = np.mean((p > 0.5) == data.y_test)
    log_loss = fastbce.Loss_BinaryCrossentropy().calculate(p, data.y_test)
    console.print(
        f"held-out accuracy {accuracy:.1%} of {len(p)} tumours, log-loss {float(log_loss):.4f}"
    )
    found = facts(runs, X, agreed=agreed)
    return scaler, ours, found | {"accuracy": float(accuracy), "log_loss": float(log_loss)}


def _show_tumours(console: Console, data: Split, p: NDArray[Any]) -> list[dict[str, Any]]:
    """Print tumours from the surest benign to the surest malignant, evenly spaced."""
    shown = []
    table = Table(title="held-out tumours", title_justify="left")
    for name in ("mean radius", "probability of malignant", "diagnosis"):
        table.add_column(name, justify="right")
    order = np.argsort(p[:, 0])
    for row in order[np.linspace(0, len(order) - 1, TUMOURS_SHOWN).astype(int)]:
        diagnosis = "malignant" if data.y_test[row, 0] else "benign"
        right = bool(p[row, 0] > 0.5) == bool(data.y_test[row, 0])
        table.add_row(
            f"{data.X_test[row, 0]:.2f}",
            f"{p[row, 0]:.4f}",
            diagnosis if right else f"[red]{diagnosis} (missed)[/]",
        )
        radius, probability = float(data.X_test[row, 0]), float(p[row, 0])
        shown.append({"mean radius": radius, "probability": probability, "diagnosis": diagnosis})
    console.print(table)
    return shown


def _plot(path: Path, data: Split, model: Run, scaler: Scaler) -> None:
    # Figure is used directly: pyplot would pick a window system and keep global state.
    from matplotlib.figure import Figure

    radius = np.concatenate([data.X_train[:, 0], data.X_test[:, 0]])
    grid = np.linspace(radius.min(), radius.max(), 300)[:, None]
    weight = model.layer.weights[0, 0] / scaler.scale[0]
    even_odds = scaler.mean[0] - model.layer.biases[0, 0] / weight

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    for X, y, marker, label in (
        (data.X_train, data.y_train, ".", "training tumours"),
        (data.X_test, data.y_test, "x", "held-out tumours"),
    ):
        axes.plot(X[:, 0], y, marker, alpha=0.4, label=label)
    axes.plot(grid, model.probabilities(scaler(grid)), "k-", label="fitted probability")
    axes.axvline(even_odds, color="gray", linestyle=":", label=f"even odds at {even_odds:.1f}")
    axes.set_xlabel("mean radius")
    axes.set_ylabel("probability of malignant")
    axes.set_yticks([0, 0.5, 1])
    axes.legend()
    figure.savefig(path)
