"""Print a result, plot it, and write the figures of the documentation from it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

OURS, NUMPY, LIMIT = "fastbce", "NumPy", "limit"
MARGIN = 1.03  # closer than this is a draw: it is within the spread of most rows
SHOWN_SIZE = 10**7
TRAINING_STEP = "bce_with_logits_loss_gradient"
# A page has room for a few rows, or for all of them.
SUMMARY = ("<!-- summary -->", "<!-- end summary -->")
FIGURES = ("<!-- figures -->", "<!-- end figures -->")
SUMMARY_OPERATIONS = ("sigmoid", "bce_loss", "bce_with_logits_loss", TRAINING_STEP)


def _median(row: dict[str, Any], name: str) -> float:
    return float(row["times"][name]["median"])


def best_peer(row: dict[str, Any]) -> tuple[str, float]:
    """Return the fastest of the others, NumPy included, and its time."""
    others = [name for name in row["times"] if name not in (OURS, LIMIT)]
    return min(((name, _median(row, name)) for name in others), key=lambda pair: pair[1])


def losses(result: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each row in which somebody is faster than fastbce."""
    for row in result["rows"]:
        name, time = best_peer(row)
        ours = _median(row, OURS)
        if ours > time * MARGIN:
            yield (
                f"{row['operation']}, {row['n']:,} {row['dtype']}, {row['policy']} results: "
                f"{name} takes {_time(time)}, fastbce {_time(ours)} ({time / ours:.2f}x)."
            )


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    return f"{seconds * 1e3:.3g} ms"


def _cells(row: dict[str, Any]) -> list[str]:
    ours = _median(row, OURS)
    peer, time = best_peer(row)
    spread = (row["times"][OURS]["high"] - row["times"][OURS]["low"]) / ours / 2
    return [
        f"{_time(ours)} ±{spread:.0%}",
        f"{row['bytes'] / ours / 1e9:.1f}",
        f"{_median(row, NUMPY) / ours:.1f}",
        f"{time / ours:.2f}",
        peer,
        f"{ours / _median(row, LIMIT):.2f}" if LIMIT in row["times"] else "",
    ]


HEADINGS = ("time", "GB/s", "x NumPy", "x best peer", "best peer", "t / limit")
FIGURES_HEADINGS = (
    "operation",
    "dtype",
    "fresh",
    *HEADINGS[2:4],
    "reuse",
    *HEADINGS[1:4],
    "t / limit",
)


def print_report(console: Any, result: dict[str, Any]) -> None:
    """Print the table, the losses and what is missing."""
    from rich.table import Table

    table = Table(title=f"{result['threads']} threads, medians; spread is half the quartiles'")
    for heading in ("operation", "n", "dtype", "results", *HEADINGS):
        table.add_column(heading, justify="left" if heading == "operation" else "right")
    for row in result["rows"]:
        where = (row["operation"], f"{row['n']:,}", row["dtype"], row["policy"])
        table.add_row(*where, *_cells(row))
    console.print(table)
    for line in startup_lines(result):
        console.print(line, highlight=False)
    for name, reason in result["missing"].items():
        console.print(f"{name} is missing: {reason}", highlight=False)
    sentences = list(losses(result))
    for sentence in sentences:
        console.print(f"fastbce loses: {sentence}", highlight=False)
    if not sentences:
        console.print("No one was faster than fastbce in any row.")


def plot(result: dict[str, Any], directory: Path) -> list[Path]:
    """Write the plots, and return their paths."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    paths = []
    names = sorted({row["operation"] for row in result["rows"]})
    everybody = sorted({who for row in result["rows"] for who in row["times"]} - {OURS, LIMIT})
    colours = {OURS: "black", **{who: f"C{i}" for i, who in enumerate(everybody)}}
    for dtype in ("float32", "float64"):
        rows = [r for r in result["rows"] if r["dtype"] == dtype and r["policy"] == "fresh"]
        lines = math.ceil(len(names) / 3)
        figure, axes = plt.subplots(lines, 3, figsize=(15, 4 * lines), sharex=True, squeeze=False)
        for axis, name in zip(axes.flat, names, strict=False):
            mine = [r for r in rows if r["operation"] == name]
            for who in sorted({w for r in mine for w in r["times"] if w != LIMIT}):
                points = [(r["n"], _median(r, who)) for r in mine if who in r["times"]]
                axis.loglog(
                    *zip(*points, strict=True),
                    marker="o",
                    markersize=3,
                    label=who,
                    linewidth=2.5 if who == OURS else 1,
                    color=colours[who],
                )
            axis.set_title(name, fontsize=9)
            axis.grid(alpha=0.3)
            axis.legend(fontsize=6)
        for axis in axes.flat[len(names) :]:
            axis.set_axis_off()
        for axis in axes[-1]:
            axis.set_xlabel("elements")
        for axis in axes[:, 0]:
            axis.set_ylabel("seconds")
        figure.suptitle(f"{dtype}, {result['threads']} threads\n{result['machine']}", fontsize=9)
        paths.append(_save(figure, directory / f"time-{dtype}-{result['threads']}.png"))
    largest = max(row["n"] for row in result["rows"])
    rows = [r for r in result["rows"] if r["n"] == largest and LIMIT in r["times"]]
    figure, axis = _bars(rows, LIMIT, "tab:blue")
    axis.axvline(1, color="black", linewidth=1)
    axis.set_xlabel(f"share of the memory limit, {largest:,} elements, results reused")
    paths.append(_save(figure, directory / f"limit-{result['threads']}.png"))
    rows = [r for r in result["rows"] if r["n"] == largest and r["policy"] == "fresh"]
    figure, axis = _bars(rows, NUMPY, "tab:green")
    axis.set_xlabel(f"times as fast as NumPy, {largest:,} elements")
    paths.append(_save(figure, directory / f"speedup-{result['threads']}.png"))
    return paths


def _bars(rows: list[dict[str, Any]], other: str, colour: str) -> tuple[Any, Any]:
    """Draw how many times as long somebody takes, one bar a row."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(9, 1 + 0.22 * len(rows)))
    labels = [f"{r['operation']}, {r['dtype']}" for r in rows]
    axis.barh(labels, [_median(r, other) / _median(r, OURS) for r in rows], color=colour)
    axis.invert_yaxis()
    axis.margins(y=0.01)
    return figure, axis


def _save(figure: Any, path: Path) -> Path:
    import matplotlib.pyplot as plt

    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return path


def _shown_size(result: dict[str, Any]) -> int:
    sizes = {row["n"] for row in result["rows"]}
    return SHOWN_SIZE if SHOWN_SIZE in sizes else max(sizes)


def _head(result: dict[str, Any], headings: Iterable[str]) -> list[str]:
    """Return what was measured where, and the first two lines of a table."""
    columns = list(headings)
    return [
        f"{_threads(result)}, {_shown_size(result):,} elements; {result['machine']}:",
        "",
        f"| {' | '.join(columns)} |",
        "| --- " * len(columns) + "|",
    ]


def summary(result: dict[str, Any]) -> str:
    """Return eight rows as Markdown: fastbce's time, and how many times as long others take."""
    n = _shown_size(result)
    rows = [
        row
        for row in result["rows"]
        if (row["n"], row["policy"]) == (n, "fresh") and row["operation"] in SUMMARY_OPERATIONS
    ]
    peers = list(dict.fromkeys(who for row in rows for who in row["times"]))
    peers = [who for who in peers if who not in (OURS, LIMIT)]
    lines = _head(result, ("operation", "dtype", OURS, *peers))
    for row in rows:
        ours = _median(row, OURS)
        cells = [f"`{row['operation']}`", row["dtype"], _time(ours)]
        cells += [
            f"{_median(row, who) / ours:.1f} x" if who in row["times"] else "" for who in peers
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _count_of_losses(result), ""])


def figures(result: dict[str, Any]) -> str:
    """Return one size as Markdown: a line for each operation and dtype, and the start-up."""
    n = _shown_size(result)
    lines = _head(result, FIGURES_HEADINGS)
    shown: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in result["rows"]:
        if row["n"] == n:
            by_policy = shown.setdefault((row["operation"], row["dtype"]), {})
            by_policy[row["policy"]] = _cells(row)
    for (operation, dtype), by_policy in shown.items():
        time, rate, numpy, times, peer, limit = by_policy["fresh"]
        cells = [operation, dtype, time, numpy, f"{times} {peer}"]
        if "reuse" in by_policy:
            time, rate, numpy, times, peer, limit = by_policy["reuse"]
            cells += [time, rate, numpy, f"{times} {peer}", limit]
        else:  # nothing but a scalar is allocated
            cells += ["", rate, "", "", limit]
        lines.append("| " + " | ".join(cells) + " |")
    for row in result["rows"]:
        if (row["n"], row["operation"], row["policy"]) == (n, TRAINING_STEP, "fresh"):
            others = [name for name in row["times"] if name not in (OURS, LIMIT)]
            factors = (f"{_median(row, name) / _median(row, OURS):.1f}x {name}" for name in others)
            lines += ["", f"`{TRAINING_STEP}`, {row['dtype']}, fresh: {', '.join(factors)}."]
    for line in startup_lines(result):
        lines += ["", line]
    return "\n".join([*lines, "", _count_of_losses(result), ""])


def startup_lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each state of the cache that a new process may find."""
    for state, t in result["startup"].items():
        importing = f"import {t['import'] * 1e3:.0f} ms on top of NumPy's {t['numpy'] * 1e3:.0f}"
        first = f"first result {t['first']:.2f} s, `warmup()` after it {t['warmup']:.1f} s"
        yield f"New process, {state}: {importing}, {first}."


def _threads(result: dict[str, Any]) -> str:
    return f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"


def _count_of_losses(result: dict[str, Any]) -> str:
    slower = [row for row in result["rows"] if next(losses({"rows": [row]}), None)]
    sizes = ", ".join(
        f"{sum(row['n'] == n for row in slower)} at {n:,}"
        for n in sorted({row["n"] for row in slower})
    )
    return (
        f"Somebody is faster, by more than {MARGIN - 1:.0%}, in {len(slower)} of "
        f"{len(result['rows'])} rows: {sizes or 'none'}."
    )


def whole(result: dict[str, Any]) -> str:
    """Return all of a result as Markdown: the losses, one sentence each, and every row."""
    lines = [f"# {_threads(result)}", "", result["machine"], "", "## Where somebody is faster", ""]
    lines += [_count_of_losses(result), "", *(f"- {sentence}" for sentence in losses(result)), ""]
    lines += _against_numpy(result)
    lines += [
        "## All rows",
        "",
        f"| operation | elements | dtype | results | {' | '.join(HEADINGS)} |",
    ]
    lines += ["| --- " * (4 + len(HEADINGS)) + "|"]
    for row in result["rows"]:
        cells = [row["operation"], f"{row['n']:,}", row["dtype"], row["policy"], *_cells(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _against_numpy(result: dict[str, Any]) -> list[str]:
    """Return a table of what reusing results brings over NumPy's own way, and what it could."""
    pairs: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in result["rows"]:
        if row["n"] == SHOWN_SIZE:
            by_policy = pairs.setdefault((row["operation"], row["dtype"]), {})
            by_policy[row["policy"]] = row
    if not pairs:
        return []
    lines = [
        "## Results reused here, NumPy's own way there",
        "",
        f"{SHOWN_SIZE:,} elements; the limit of the memory is the same in both columns.",
        "",
        "| operation | dtype | x NumPy | the most that the memory allows |",
        "| --- | --- | --- | --- |",
    ]
    for (operation, dtype), by_policy in pairs.items():
        own, best = _median(by_policy["fresh"], NUMPY), by_policy.get("reuse", by_policy["fresh"])
        if LIMIT not in best["times"]:  # a step of the classes has no twin
            continue
        factors = [own / _median(best, OURS), own / _median(best, LIMIT)]
        lines.append(f"| {operation} | {dtype} | {factors[0]:.1f} | {factors[1]:.1f} |")
    return [*lines, ""]


def write_page(page: Path, result: dict[str, Any]) -> None:
    """Replace what stands between the page's markers."""
    text = page.read_text(encoding="utf-8")
    for (begin, end), write in ((SUMMARY, summary), (FIGURES, figures)):
        if begin in text:
            head, rest = text.split(begin)
            _, tail = rest.split(end)
            text = f"{head}{begin}\n{write(result)}{end}{tail}"
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """``python -m fastbce.bench PAGE.md ... RESULT.json ...``: write the figures.

    The pages show the first result; each is written whole into a Markdown file beside it.
    """
    paths = [Path(argument) for argument in sys.argv[1:]]
    files = [path for path in paths if path.suffix == ".json"]
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    for page in paths:
        if page not in files:
            write_page(page, results[0])
    for file, result in zip(files, results, strict=True):
        file.with_suffix(".md").write_text(whole(result), encoding="utf-8")
