"""Late or not: the large batch, where the sigmoid and the loss are a real share of an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbce.demo._data import LATE_MINUTES, load_flights
from fastbce.demo._report import report_agreement, report_speed, train_with_progress
from fastbce.demo._training import fastbce_run, fused_run, reference_run

if TYPE_CHECKING:
    from rich.console import Console

# float32 on both sides; the runs also round their weights apart, a little each epoch.
TOLERANCE = 1e-6


def run(console: Console, *, epochs: int = 100, rows: int | None = None) -> bool:
    """Train on the flights of 2013 with full batches, and time the parts of an epoch.

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
    bool
        Whether the losses of the implementations agree in every epoch.
    """
    console.rule("Flights: will it arrive late?")
    with console.status("reading the flights"):
        X, y, names = load_flights()
    X, y = X[:rows], y[:rows]
    console.print(
        f"{len(y):,} flights, {y.mean():.1%} of them {LATE_MINUTES} or more minutes late; "
        f"{len(names)} variables known before departure; full batches, {X.dtype}"
    )
    runs = [make(X.shape[1], X.dtype) for make in (reference_run, fastbce_run, fused_run)]
    train_with_progress(console, runs, X, y, epochs=epochs, learning_rate=0.5)
    agreed = report_agreement(console, runs, TOLERANCE)
    report_speed(console, runs)
    console.print(
        "The matrix products are the same NumPy calls in every row: what they take is the whole "
        "epoch less sigmoid + loss."
    )
    reference, ours, _ = runs
    heaviest = np.argsort(-np.abs(ours.layer.weights[:, 0]))[:5]
    weights = ", ".join(f"{names[i]} {ours.layer.weights[i, 0]:+.2f}" for i in heaviest)
    console.print(f"largest weights (log-odds): {weights}")
    rate = float(y.mean(dtype=np.float64))
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    console.print(
        f"loss {reference.losses[0]:.4f} before training, {ours.losses[-1]:.4f} after; "
        f"always predicting the average gives {entropy:.4f}"
    )
    return agreed
