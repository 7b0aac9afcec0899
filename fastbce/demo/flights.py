"""Late or not: the large batches, where the library's speed is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbce.demo._data import LATE_MINUTES, load_flights
from fastbce.demo._report import facts, report_agreement, report_speed, train_with_progress
from fastbce.demo._training import fastbce_run, fused_run, pass_run, reference_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray
    from rich.console import Console

    from fastbce.demo._training import Run

# float32 on both sides; the runs also round their weights apart, a little each epoch.
TOLERANCE = 1e-6
# NumPy's matrix products sum 3 million float32 numbers in float32, the linear pass in float64:
# after two epochs their losses were 2e-5 apart.
PRODUCTS_TOLERANCE = 1e-4


# The second batch is so many times the flights, and trained for so much fewer epochs.
TIMES = 10


def run(console: Console, *, epochs: int = 100, rows: int | None = None) -> list[dict[str, Any]]:
    """Train on the flights of 2013 with full batches, then on ten times as many.

    Parameters
    ----------
    console : rich.console.Console
        Where to print.
    epochs : int
        Steps of gradient descent for each implementation.
    rows : int, optional
        How many flights to train on; all of them by default.

    Returns
    -------
    list of dict
        For each batch what was measured, and as ``"ok"`` whether the losses of the implementations
        agree in every epoch.
    """
    console.rule("Flights: will it arrive late?")
    with console.status("reading the flights"):
        X, y, names = load_flights()
    X, y = X[:rows], y[:rows]
    console.print(
        f"{len(y):,} flights, {y.mean():.1%} of them {LATE_MINUTES} or more minutes late; "
        f"{len(names)} variables known before departure; full batches, {X.dtype}"
    )
    found, (reference, ours, *_) = _train(console, X, y, epochs)
    console.print(
        "The classes replace sigmoid and loss alone: their matrix products are NumPy's in each "
        "row. The linear pass does the products as well, and reads the data once. Each trains "
        "for some epochs in a row, and rests before."
    )
    heaviest = np.argsort(-np.abs(ours.layer.weights[:, 0]))[:5]
    weights = ", ".join(f"{names[i]} {ours.layer.weights[i, 0]:+.2f}" for i in heaviest)
    console.print(f"largest weights (log-odds): {weights}")
    rate = float(y.mean(dtype=np.float64))
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    console.print(
        f"loss {reference.losses[0]:.4f} before training, {ours.losses[-1]:.4f} after; "
        f"always predicting the average gives {entropy:.4f}"
    )
    console.print(f"\n[bold]{TIMES} times as many rows, drawn from the flights[/]")
    drawn = np.random.default_rng(0).integers(0, len(y), TIMES * len(y))
    found_of_more, _ = _train(console, X[drawn], y[drawn], max(epochs // TIMES, 1))
    return [found, found_of_more]


def _train(
    console: Console, X: NDArray[Any], y: NDArray[Any], epochs: int
) -> tuple[dict[str, Any], Sequence[Run]]:
    """Train all implementations, and print what came out."""
    makers = (reference_run, fastbce_run, fused_run, pass_run)
    runs = [make(X.shape[1], X.dtype) for make in makers]
    train_with_progress(runs, X, y, epochs=epochs, learning_rate=0.5)
    agreed = report_agreement(console, runs[:-1], TOLERANCE)
    agreed = report_agreement(console, [runs[0], runs[-1]], PRODUCTS_TOLERANCE) and agreed
    report_speed(console, runs)
    return facts(runs, X, agreed=agreed), runs
