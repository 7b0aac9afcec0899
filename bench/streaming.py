"""Fit a file of several times the memory that the process is allowed, and time its passes.

    python bench/streaming.py --gib 3 --limit 720 --dir DIR

For a Parquet file and for a memory map: the file is written by another process, then this one may
use `--limit` MiB of memory of its own (RLIMIT_DATA: all that is not a mapped file, whose pages the
system takes back when it needs them). Passes alternate with mere reading of the same chunks, from
the disk (the file is dropped from the page cache before, as if it did not fit) and from the cache.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = 32
ROWS_AT_ONCE = 1 << 18
ROUNDS = 5
# Arrow's other allocators reserve a gigabyte of addresses and the C library some for each thread:
# the limit would count what is never used.
ALLOCATORS = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1"}


def truth() -> Any:
    import numpy as np

    return np.linspace(-0.4, 0.4, COLUMNS)


def draw(rows: int, seed: int) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, COLUMNS), np.float32)
    return X, (X @ truth() + rng.logistic(size=rows) > 0).astype(np.int8)


def write(kind: str, directory: Path, rows: int) -> None:
    """Write the data in blocks; the same for both kinds of file."""
    blocks = ((i, min(ROWS_AT_ONCE, rows - i)) for i in range(0, rows, ROWS_AT_ONCE))
    if kind == "memory map":
        import numpy as np

        X = np.lib.format.open_memmap(directory / "X.npy", "w+", np.float32, (rows, COLUMNS))
        y = np.lib.format.open_memmap(directory / "y.npy", "w+", np.int8, (rows,))
        for start, count in blocks:
            X[start : start + count], y[start : start + count] = draw(count, start)
        return
    import pyarrow as pa
    from pyarrow import parquet

    names = [f"x{j + 1}" for j in range(COLUMNS)]
    schema = pa.schema([*((name, pa.float32()) for name in names), ("y", pa.int8())])
    with parquet.ParquetWriter(directory / "data.parquet", schema, use_dictionary=False) as file:
        for start, count in blocks:
            X, y = draw(count, start)
            file.write_table(pa.table([*(pa.array(c) for c in X.T.copy()), y], schema=schema))


def source_of(kind: str, directory: Path) -> Callable[[], Any]:
    """Return a source that opens its files for each pass: no page stays mapped in between."""
    import numpy as np

    from fastbce.streaming import ArrayChunks, ParquetChunks

    if kind == "Parquet":
        return lambda: ParquetChunks(directory / "data.parquet", target="y")
    return lambda: ArrayChunks(
        np.load(directory / "X.npy", mmap_mode="r"), np.load(directory / "y.npy", mmap_mode="r")
    )


def drop_from_cache(directory: Path) -> None:
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def seconds(action: Callable[[], object]) -> float:
    start = perf_counter()
    action()
    return perf_counter() - start


def own_memory() -> float:
    """Return the MiB of this process that are not a file's."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return float("nan")


class Watched:
    """A source that notes the most memory at the end of its chunks."""

    def __init__(self, source: Callable[[], Any]) -> None:
        self.source, self.most, self.passes = source, 0.0, 0

    def __iter__(self) -> Any:
        self.passes += 1
        for chunk in self.source():
            self.most = max(self.most, own_memory())
            yield chunk


def compile_kernels(kind: str, directory: Path) -> None:
    """Fill the cache of kernels: the compiler does not fit into the memory allowed."""
    import numpy as np

    from fastbce.linear_model import LogisticRegression

    chunk = next(iter(source_of(kind, directory)()))
    LogisticRegression(C=np.inf).fit_stream(lambda: [chunk])


def run(kind: str, directory: Path, rows: int, limit: int) -> None:
    import numpy as np

    from fastbce.linear_model import LogisticRegression
    from fastbce.linear_model.objective import likelihood_of
    from fastbce.linear_model.stream import Stream, first_pass

    size = sum(file.stat().st_size for file in directory.iterdir()) / 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit << 20, limit << 20))
    source = source_of(kind, directory)
    watched = Watched(source)
    model = LogisticRegression(C=np.inf)
    took = seconds(lambda: model.fit_stream(watched))
    z = (model.result_.params[1:] - truth()) / model.result_.bse[1:]
    print(
        f"{kind}: {rows:,} x {COLUMNS} float32, {size:,.0f} MiB, {size / limit:.1f} times the "
        f"{limit} MiB allowed; fitted in {took:.1f} s and {watched.passes} passes, with "
        f"{watched.most:.0f} MiB at most; the worst coefficient is {np.max(np.abs(z)):.1f} "
        "standard errors from the truth"
    )
    survey, kept = first_pass(source)
    objective = likelihood_of(Stream(survey, None, source, kept))
    objective.gram_dtype = np.dtype(np.float32)
    theta = np.zeros(COLUMNS + 1)
    actions: dict[str, Callable[[], object]] = {
        "reading": lambda: [None for _ in source()],
        "gradient": lambda: objective(theta),
        "with Hessian": lambda: objective(theta, hessian=True),
    }
    for place in ("disk", "cache"):
        times: dict[str, list[float]] = {name: [] for name in actions}
        for _ in range(ROUNDS):
            for name, action in actions.items():
                if place == "disk":
                    drop_from_cache(directory)
                times[name].append(seconds(action))
        for name, values in times.items():
            shares = [one / other for one, other in zip(times["reading"], values, strict=True)]
            print(
                f"  from {place}: {name:13}{median(values):6.2f} s a pass, "
                f"{rows / median(values) / 1e6:5.1f} million rows/s, {median(shares):4.0%} of the "
                "reading speed"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gib", type=float, default=3.0, help="size of the file")
    parser.add_argument("--limit", type=int, default=720, help="MiB of memory allowed")
    parser.add_argument("--dir", type=Path, help="where to write the file, for a while")
    arguments = parser.parse_args()
    rows = int(arguments.gib * 2**30 / (4 * COLUMNS))
    os.environ.update(ALLOCATORS)
    spawn = multiprocessing.get_context("spawn")
    for kind in ("Parquet", "memory map"):
        with tempfile.TemporaryDirectory(dir=arguments.dir) as name:
            for target, options in (
                (write, (kind, Path(name), rows)),
                (compile_kernels, (kind, Path(name))),
                (run, (kind, Path(name), rows, arguments.limit)),
            ):
                process = spawn.Process(target=target, args=options)
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(f"{target.__name__} failed")


if __name__ == "__main__":
    main()
