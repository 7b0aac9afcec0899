"""How the demo talks: progress, agreement and timings, the same way for both data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track
from rich.table import Table

from fastbce.demo._training import largest_disagreement, train_together

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from fastbce.demo._training import Run


def train_with_progress(
    runs: Sequence[Run],
    X: NDArray[Any],
    y: NDArray[Any],
    *,
    epochs: int,
    learning_rate: float,
) -> None:
    """Train all runs behind one progress bar, on the standard error."""
    console = Console(stderr=True)
    training = train_together(runs, X, y, epochs=epochs, learning_rate=learning_rate)
    # Redrawing takes the processor from whichever run is being timed, so it is done seldom.
    for _ in track(training, "training", epochs, console=console, update_period=0.5):
        pass


def report_agreement(console: Console, runs: Sequence[Run], tolerance: float) -> bool:
    """Print how far the losses of all runs are from the first one's, and whether that is fine."""
    reference, *others = runs
    agreed = True
    for run in others:
        difference = largest_disagreement(reference, run)
        within = difference <= tolerance
        agreed = agreed and within
        verdict = "[green]agree[/]" if within else "[bold red]DISAGREE[/]"
        console.print(
            f"{run.name}: losses of all {len(run.losses)} epochs {verdict} with {reference.name} "
            f"(largest relative difference {difference:.1e}, allowed {tolerance:.0e}); "
            f"final loss {run.losses[-1]:.9f} against {reference.losses[-1]:.9f}"
        )
    return agreed


def facts(runs: Sequence[Run], X: NDArray[Any], *, agreed: bool) -> dict[str, Any]:
    """Return the numbers of one training, under the names that JSON has them by."""
    return {
        "ok": agreed,
        "rows": len(X),
        "variables": X.shape[1],
        "dtype": str(X.dtype),
        "epochs": len(runs[0].losses),
        "runs": [
            {
                "name": run.name,
                "seconds": {"sigmoid_loss": run.head_median, "epoch": run.epoch_median},
                "loss": {"first": run.losses[0], "last": run.losses[-1]},
                "largest_difference": largest_disagreement(runs[0], run),
            }
            for run in runs
        ],
    }


def report_speed(console: Console, runs: Sequence[Run]) -> None:
    """Print the median times per epoch, and say plainly where the first run is not beaten."""
    reference, *others = runs
    table = Table(title="median time per epoch", title_justify="left")
    table.add_column("implementation")
    table.add_column("sigmoid + loss", justify="right")
    table.add_column("whole epoch", justify="right")
    for run in runs:
        cells = [
            _cell(run.head_median, reference.head_median),
            _cell(run.epoch_median, reference.epoch_median),
        ]
        table.add_row(run.name, *cells)
    console.print(table)
    for run in others:
        for part, ours, theirs in (
            ("sigmoid + loss", run.head_median, reference.head_median),
            ("the whole epoch", run.epoch_median, reference.epoch_median),
        ):
            if ours is not None and theirs is not None and ours >= theirs:
                console.print(
                    f"[yellow]{run.name} is NOT faster here:[/] {part} takes "
                    f"{ours / theirs:.2f} times as long as {reference.name}."
                )


def _cell(seconds: float | None, reference_seconds: float | None) -> str:
    if seconds is None or reference_seconds is None:
        return "in the pass"
    return f"{seconds * 1e3:.3f} ms ({reference_seconds / seconds:.1f}x)"
