"""Tables of numbers: text with aligned decimal points, HTML, CSV, data frames, JSON."""

from __future__ import annotations

import csv
import html
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import os

    from fastbce._typing import Array

DIGITS = 4
LEAST_NAME = 16
# Where standard output is no terminal.
DEFAULT_WIDTH = 100


def number(value: float) -> str:
    """Return a number with four digits, trailing zeros included."""
    if not np.isfinite(value):
        return str(float(value))
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        size = 0 if value == 0 else int(np.floor(np.log10(abs(float(f"{value:.3e}")))))
        return f"{value:.{max(DIGITS - 1 - size, 0)}f}"
    return f"{value:.{DIGITS - 1}e}"


def probability(value: float) -> str:
    """Return a p-value with three decimals."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def aligned(cells: Sequence[str]) -> list[str]:
    """Return the cells of a column with their decimal points below each other."""
    heads, tails = [], []
    for cell in cells:
        # "1e+06" and "nan" have no point: then the end of the number is its place.
        place = cell.find(".") if "." in cell else len(cell)
        heads.append(cell[:place])
        tails.append(cell[place:])
    left, right = max(map(len, heads), default=0), max(map(len, tails), default=0)
    return [h.rjust(left) + t.ljust(right) for h, t in zip(heads, tails, strict=True)]


def terminal_width() -> int:
    """Return the width of the terminal, or a hundred columns where there is none."""
    return shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns


def shortened(name: str, width: int) -> str:
    """Return a name whose middle is left out where it is too long."""
    if len(name) <= width:
        return name
    tail = (width - 3) // 2
    return f"{name[: width - 3 - tail]}...{name[len(name) - tail :]}"


def text_table(
    names: Sequence[str], columns: Mapping[str, Sequence[str]], width: int, keep: int
) -> str:
    """Return a table as text, no wider than `width` where that can be.

    Long names are shortened first; then the columns after the first `keep` go below the others, in
    a table of their own.
    """
    cells = {title: aligned(column) for title, column in columns.items()}
    widths = {title: max([len(title), *map(len, column)]) for title, column in cells.items()}
    titles = list(columns)
    longest = max(map(len, names), default=0)
    least = min(longest, LEAST_NAME)
    if len(titles) > keep and least + sum(widths[t] + 2 for t in titles) > width:
        above = {title: columns[title] for title in titles[:keep]}
        below = {title: columns[title] for title in titles[keep:]}
        return "\n".join(text_table(names, part, width, keep) for part in (above, below))
    room = max(width - sum(widths[t] + 2 for t in titles), least)
    first = min(longest, room)

    def line(start: str, rest: Sequence[str]) -> str:
        padded = [cell.rjust(widths[title]) for title, cell in zip(titles, rest, strict=True)]
        return "  ".join([start.ljust(first), *padded]).rstrip()

    rows = list(zip(*cells.values(), strict=True))
    body = [line(shortened(n, first), row) for n, row in zip(names, rows, strict=True)]
    head = line("", titles)
    rule = "-" * max(map(len, [head, *body]))
    return "\n".join([rule, head, rule, *body, rule])


def text_facts(title: str, facts: Sequence[tuple[str, str]], width: int) -> str:
    """Return a title and facts below it, in two columns where they fit."""
    lines = [f"{name}: {value}" for name, value in facts]
    half = (len(lines) + 1) // 2
    left = max(map(len, lines[:half]), default=0)
    if left + 4 + max(map(len, lines[half:]), default=0) > width:
        return "\n".join([title, *lines])
    pairs = zip(lines[:half], [*lines[half:], ""], strict=False)
    return "\n".join([title, *(f"{a.ljust(left)}    {b}".rstrip() for a, b in pairs)])


def html_table(
    title: str,
    facts: Sequence[tuple[str, str]],
    names: Sequence[str],
    columns: Mapping[str, Sequence[str]],
) -> str:
    """Return the same as HTML."""
    style = ' style="text-align:right"'

    def row(tag: str, first: str, rest: Sequence[str]) -> str:
        cells = "".join(f"<{tag}{style}>{html.escape(cell)}</{tag}>" for cell in rest)
        return f'<tr><th style="text-align:left">{html.escape(first)}</th>{cells}</tr>'

    known = "; ".join(f"{html.escape(name)}: {html.escape(value)}" for name, value in facts)
    rows = zip(*columns.values(), strict=True)
    body = "".join(row("td", name, cells) for name, cells in zip(names, rows, strict=True))
    caption = "<br>".join(part for part in (html.escape(title), known) if part)
    return (
        f"<table><caption>{caption}</caption>"
        f"<thead>{row('th', '', list(columns))}</thead><tbody>{body}</tbody></table>"
    )


def frame(names: Sequence[str], columns: Mapping[str, Array]) -> Any:
    """Return the numbers as a data frame of pandas, which is imported for it."""
    import pandas as pd

    return pd.DataFrame(dict(columns), index=pd.Index(names, name="name"))


def csv_text(
    names: Sequence[str], columns: Mapping[str, Array], path: str | os.PathLike[str] | None
) -> str:
    """Return the numbers as CSV, each with all its digits, and write them where a path is given."""
    target = io.StringIO(newline="")
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(["name", *columns])
    for name, *values in zip(names, *columns.values(), strict=True):
        writer.writerow([name, *(repr(float(value)) for value in values)])
    text = target.getvalue()
    if path is not None:
        Path(path).write_text(text, encoding="utf-8", newline="")
    return text


def plain(value: Any) -> Any:
    """Return a value as JSON knows it, with all digits; what is no finite number is None."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def json_text(content: Mapping[str, Any]) -> str:
    """Return JSON that any reader takes, without NaN and infinity."""
    return json.dumps(plain(content), indent=1, allow_nan=False, ensure_ascii=False)
