"""A model of the time of a call, checked against a measured result.

::

    t(n, T) = call + [T > 1] share + (T - 1) handover + n max(k / T, b / B(T))

`call` is a call of one element; `share` the longer way in of a call that is shared, and `handover`
what each further thread costs; `k` the seconds an
element takes one thread when everything is in its cache; `b` the bytes of an element that cross the
memory bus when the arrays exceed the last-level cache, and `B(T)` the bytes a second that T threads
get through it. `call` and `k` come from the sizes up to 10^5 on one thread, `B` from the twins at
the largest size.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

SHARE, HANDOVER = 1.3e-6, 0.5e-6
CACHE = 32e6  # bytes; between a quarter and twice of it the model is rough

Row = dict[str, Any]


def _rows(result: dict[str, Any]) -> dict[tuple[str, str], dict[int, Row]]:
    found: dict[tuple[str, str], dict[int, Row]] = {}
    for row in result["rows"]:
        if "limit" in row["times"]:
            found.setdefault((row["operation"], row["dtype"]), {})[row["n"]] = row
    return found


def _ours(row: Row) -> float:
    return float(row["times"]["fastbce"]["median"])


def bandwidth(result: dict[str, Any]) -> float:
    """Return bytes a second of the twins at the largest size."""
    largest = max(row["n"] for row in result["rows"])
    rows = [by_size[largest] for by_size in _rows(result).values()]
    return float(median(row["bytes"] / row["times"]["limit"]["median"] for row in rows))


def predict(
    n: int, threads: int, call: float, k: float, width: float, bytes_per_second: float
) -> float:
    """Return the seconds of a call by the model."""
    memory = width / bytes_per_second if n * width > CACHE else 0.0
    sharing = SHARE + (threads - 1) * HANDOVER if threads > 1 else 0.0
    return call + sharing + n * max(k / threads, memory)


def check(one: dict[str, Any], many: dict[str, Any]) -> str:
    """Return a Markdown table of predicted over measured times, and the scaling they imply."""
    threads, single, shared = many["threads"], bandwidth(one), bandwidth(many)
    sizes = sorted({row["n"] for row in many["rows"] if row["n"] >= 10**5})
    lines = [
        f"Bandwidth: {single / 1e9:.0f} GB/s on 1 thread, {shared / 1e9:.0f} GB/s on {threads}.",
        "",
        "| operation | dtype | ns an element, cached | "
        + " | ".join(f"model / measured, {n:,}, {threads} threads" for n in sizes)
        + " | cores to saturate |",
        "| --- " * (4 + len(sizes)) + "|",
    ]
    measured = _rows(many)
    for (name, dtype), by_size in _rows(one).items():
        low, high = min(by_size), 10**5
        k = (_ours(by_size[high]) - _ours(by_size[low])) / (high - low)
        call = max(_ours(by_size[low]) - low * k, 0.0)
        width = by_size[high]["bytes"] / high
        cells = []
        for n in sizes:
            model = predict(n, threads, call, k, width, shared)
            cells.append(f"{model / _ours(measured[name, dtype][n]):.2f}")
        cores = max(1.0, k * shared / width)
        lines.append(
            f"| {name} | {dtype} | {k * 1e9:.2f} | " + " | ".join(cells) + f" | {cores:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """``python -m fastbce.bench.model ONE_THREAD.json ALL_THREADS.json``: print the check."""
    one, many = (json.loads(Path(f).read_text(encoding="utf-8")) for f in sys.argv[1:])
    print(check(one, many))


if __name__ == "__main__":
    main()
