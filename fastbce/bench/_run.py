"""Run the comparison: sizes x dtypes x operations x allocation policies."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

import fastbce
from fastbce._machine import machine_line
from fastbce._writing import check_writable, is_standard_output, write_whole

from .operations import OPERATIONS, Call, Data, Operation, check
from .peers import PEERS, Unavailable
from .report import plot, print_report
from .timing import ROUNDS, interleave
from .twins import twin

SIZES = (10**3, 10**4, 10**5, 10**6, 10**7, 5 * 10**7)
QUICK_SIZES = (10**4, 10**6)
OURS, NUMPY, LIMIT = "fastbce", "NumPy", "limit"


def run_bench(
    *,
    sizes: Sequence[int] | None = None,
    quick: bool = False,
    peers: bool = False,
    threads: int | None = None,
    json_file: Path | None = None,
    plot_dir: Path | None = None,
    rounds: int | None = None,
) -> dict[str, Any]:
    """Compare, print the table and the losses, and write what was asked for.

    Parameters
    ----------
    sizes : sequence of int, optional
        Numbers of elements; ``quick`` chooses fewer.
    peers : bool
        Whether SciPy, numexpr, scikit-learn, PyTorch and JAX take part where they are installed.
    threads : int, optional
        Threads of everybody who lets them be set; all usable ones by default.
    json_file, plot_dir : Path, optional
        Where the result and the plots go; ``-`` is the standard output.

    Returns
    -------
    dict
        What `json_file` holds: machine, threads, rows, start-up times, and why peers are missing.
    """
    if json_file is not None:
        check_writable("--json", json_file)
    if plot_dir is not None:
        plot_dir.mkdir(parents=True, exist_ok=True)
        check_writable("--plot", plot_dir / "plot.png")
    # Where the result goes to the standard output, nothing else may.
    to_stderr = is_standard_output(json_file)
    console = Console(stderr=to_stderr)
    if not console.is_terminal:
        console = Console(stderr=to_stderr, width=160)
    if threads is not None:
        fastbce.set_num_threads(threads)
    count = fastbce.get_num_threads()
    sizes = tuple(sizes or (QUICK_SIZES if quick else SIZES))
    rounds = rounds or (5 if quick else ROUNDS)
    with Console(stderr=True).status("starting new processes, with kernels on disk and without"):
        starts = {} if quick else startup()
    result: dict[str, Any] = {
        "schema": 1,
        "machine": machine_line(),
        "threads": count,
        "startup": starts,
        "missing": {},
        "rows": [],
    }
    console.print(result["machine"], highlight=False)
    cells = [(n, t) for n in sizes for t in (np.float32, np.float64)]
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(
            "measuring", total=len(cells) * sum(len(o.policies) for o in OPERATIONS)
        )
        for n, dtype in cells:
            data = Data.make(n, dtype)
            for operation in OPERATIONS:
                progress.update(task, description=f"{operation.name}, {n:,} {dtype.__name__}")
                error = check(operation, data)
                for reuse in operation.policies:
                    row = _measure(operation, data, reuse, peers, count, rounds, result)
                    result["rows"].append(row | {"error": error})
                    progress.advance(task)
            del data
            gc.collect()
    text = json.dumps(result, indent=1) + "\n"
    if json_file is not None:
        write_whole(json_file, lambda file: file.write(text.encode()))
    print_report(console, result)
    if plot_dir:
        for path in plot(result, plot_dir):
            console.print(f"wrote {path}")
    return result


def _measure(
    operation: Operation,
    data: Data,
    reuse: bool,
    peers: bool,
    threads: int,
    rounds: int,
    result: dict[str, Any],
) -> dict[str, Any]:
    calls: dict[str, Call] = {
        OURS: operation.ours(data, reuse),
        NUMPY: operation.numpy(data, reuse),
    }
    if reuse or not operation.writes:
        calls[LIMIT] = twin(
            operation.arrays(data, operation.reads), operation.arrays(data, operation.writes)
        )
    for name, peer in PEERS.items() if peers else ():
        try:
            call = peer(operation.name, data, reuse, threads)
            call()
        except Unavailable:
            continue
        except Exception as error:  # noqa: BLE001 - somebody else's failure is a missing row
            result["missing"].setdefault(name, f"{type(error).__name__}: {error}"[:200])
            continue
        calls[name] = call
    times = interleave(calls, rounds)
    return {
        "operation": operation.name,
        "dtype": str(data.z.dtype),
        "n": data.z.size,
        "policy": "reuse" if reuse else "fresh",
        "bytes": operation.bytes_moved(data),
        "times": {name: timing.as_dict() for name, timing in times.items()},
    }


_STARTUP = """
import time
start = time.perf_counter()
import numpy as np
between = time.perf_counter()
import fastbce
imported = time.perf_counter()
x = np.full(100_000, 0.5, np.float32)
fastbce.bce_with_logits_loss_gradient(x, x)
first = time.perf_counter()
fastbce.warmup()
print(between - start, imported - between, first - imported, time.perf_counter() - first)
"""


def startup() -> dict[str, dict[str, float]]:
    """Return the seconds of a first call in new processes, with an empty cache and with a full one.

    Returns
    -------
    dict
        For ``"cold"`` and ``"cached"``: importing NumPy, importing fastbce, the first result,
        and `warmup` after it.
    """
    names = ("numpy", "import", "first", "warmup")
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        environment = {**os.environ, "NUMBA_CACHE_DIR": directory}
        for state in ("cold", "cached"):
            done = subprocess.run(  # noqa: S603
                [sys.executable, "-c", _STARTUP],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            values = map(float, done.stdout.split())
            found[state] = dict(zip(names, values, strict=True))
    return found
