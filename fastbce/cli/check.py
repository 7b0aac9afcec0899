"""``fastbce check``: how well the functions do on this machine, beside the libraries it has."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastbce import __version__
from fastbce._backends import active_backend
from fastbce._machine import kernel_state, machine_line
from fastbce._operations import OPERATIONS
from fastbce._progress import is_terminal, show
from fastbce._threads import get_num_threads
from fastbce._writing import check_writable, is_standard_output, write_whole

from .agreement import COMPARED, DTYPES, Row, measure
from .frameworks import FRAMEWORKS, Results
from .notes import note

LEGEND = (
    "Errors of fastbce are in ULP, against the formula in a wider dtype; at most the stated ones.\n"
    "Those of sigmoid_clipped_bce are against sigmoid, loss and gradients, one after the other.\n"
    "Columns of libraries: largest difference from fastbce in ULP, float32 / float64. A large one\n"
    "beside a small error is the library's own, such as of sigmoid(z) - 1 where the sigmoid is 1."
)


def _libraries() -> tuple[dict[str, Results], dict[str, str], dict[str, str]]:
    """Return what can be compared with, their versions, and why others cannot."""
    results: dict[str, Results] = {}
    versions = {"NumPy": version("numpy")}
    missing: dict[str, str] = {}
    for name, (package, make) in FRAMEWORKS.items():
        try:
            found = version(package)
            results[name] = make()
        except PackageNotFoundError:
            missing[name] = "not installed"
        except Exception as error:  # noqa: BLE001 - somebody else's broken install is a reason
            missing[name] = f"{type(error).__name__}: {error}".partition("\n")[0]
        else:
            versions[name] = found
    return results, versions, missing


def run_check(arguments: argparse.Namespace) -> bool:
    """Measure, print the table, and write what was asked for.

    Parameters
    ----------
    arguments : argparse.Namespace
        As ``fastbce check`` parses them.

    Returns
    -------
    bool
        Whether all errors are as stated, all bits equal, and all libraries mean the same.
    """
    if arguments.json is not None:
        check_writable("--json", arguments.json)
    if active_backend() == "numba" and kernel_state() == "cold":
        note("the kernels are not on disk yet: compiling them takes some minutes, this once")
    libraries, versions, missing = _libraries()
    rows: list[Row] = []
    total = len(DTYPES) * len(OPERATIONS)
    live = is_terminal()
    for done, (operation, dtype, found) in enumerate(measure(libraries), 1):
        rows += found
        if live:
            show(f"checked {done}/{total}: {operation} {dtype}")
    if live:
        show("", end="\r")
    failed = [line for row in rows for line in _faults(row)]
    say = note if is_standard_output(arguments.json) else print
    say(_report(rows, versions, missing, failed))
    if arguments.json is not None:
        result = {
            "schema": 1,
            "fastbce": __version__,
            "machine": machine_line(),
            "threads": get_num_threads(),
            "libraries": versions,
            "missing": missing,
            "ok": not failed,
            "failed": failed,
            "rows": [asdict(row) | {"ok": row.ok} for row in rows],
        }
        text = json.dumps(_finite(result), indent=1, allow_nan=False) + "\n"
        write_whole(arguments.json, lambda file: file.write(text.encode()))
        if not is_standard_output(arguments.json):
            note(f"wrote {arguments.json}")
    return not failed


def _finite(value: Any) -> Any:
    """Return the value with infinities as null: JSON has none."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and value in (float("inf"), -float("inf")) else value


def _faults(row: Row) -> list[str]:
    where = f"{row.operation} {row.result} {row.dtype}"
    found = []
    if not row.error <= row.limit:
        found.append(f"{where}: an error of {_number(row.error)} ULP, stated are {row.limit:g}")
    if not row.same_bits:
        found.append(f"{where}: other bits with one thread than with all")
    return found + [f"{where}: not what {library} gives" for library in row.disagrees]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.0e}"


def _whole(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value < 10_000 else f"{value:.0e}"


def _report(
    rows: Sequence[Row], versions: dict[str, str], missing: dict[str, str], failed: Sequence[str]
) -> str:
    """Return the table and what it says, as text."""
    lines = [f"fastbce {__version__}: {machine_line()}", ""]
    head = ["function", "result", *DTYPES, "stated", "bits", *versions]
    table = [head]
    cells = {(row.operation, row.result, row.dtype): row for row in rows}
    for operation, result in dict.fromkeys((row.operation, row.result) for row in rows):
        found = [cells[operation, result, dtype] for dtype in DTYPES]
        compared = [cells[operation, result, dtype] for dtype in COMPARED]
        others = []
        for name in versions:
            pair = [_whole(row.differences.get(name)) for row in compared]
            others.append("-" if set(pair) == {"-"} else " / ".join(pair))
        same = "same" if all(row.same_bits for row in found) else "DIFFER"
        errors = [_number(row.error) for row in found]
        stated = f"{max(row.limit for row in found):g}"
        table.append([operation, result, *errors, stated, same, *others])
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    align: list[Callable[[str, int], str]] = [str.ljust, str.ljust]
    align += [str.rjust] * (len(head) - 2)
    for line in table:
        cut = zip(align, line, widths, strict=True)
        lines.append("  ".join(place(text, width) for place, text, width in cut).rstrip())
    lines += ["", LEGEND, ""]
    lines += [f"{name} is not compared: {why}" for name, why in missing.items()]
    with_versions = ", ".join(f"{name} {number}" for name, number in versions.items())
    if failed:
        lines += ["FAILED:", *failed]
    else:
        lines.append(
            f"all {len(rows)} results are within the stated errors, have the same bits with one "
            f"thread as with {max(2, get_num_threads())}, and mean the same as in {with_versions}"
        )
    return "\n".join(lines)
