"""What ``fastbce fit`` says: notes on the standard error, and results as text or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import fastbce

from .notes import note
from .prepare import missing_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastbce.model_file import Feature, Model

    from .prepare import Data
    from .tables import Table

REPORT = "fastbce fit"
REPORT_SCHEMA = 1
SHOWN_LEVELS = 5
SHOWN_NAMES = 40


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name if name.strip() else repr(name) for name in names[:SHOWN_NAMES])
    more = len(names) - SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def say_reading(table: Table, data: Data) -> None:
    """Say how each column was read, what was left out and why, and which rows."""
    for text in table.notes:
        note(f"{table.source}: {text}")
    numbers = [feature.name for feature in data.features if feature.levels is None]
    if numbers:
        note(f"numbers: {_listed(numbers)}")
    for feature in data.features:
        if feature.levels is not None and len(feature.levels) > 1:
            note(_groups(feature, compared=data.formula is None))
    if data.formula is not None:
        note(f"columns by the formula: {_listed(data.formula.columns)}")
    reasons: dict[str, list[str]] = {}
    for name, why in data.left_out.items():
        reason, _, detail = why.partition(": ")
        named = name if name.strip() else repr(name)
        reasons.setdefault(reason, []).append(f"{named} ({detail})" if detail else named)
    for why, names in reasons.items():
        note(f"left out ({why}): {_listed(names)}")
    dropped = data.rows - len(data.y)
    if dropped:
        note(f"{dropped} of {data.rows} rows dropped{missing_text(data.missing)}")


def _groups(feature: Feature, *, compared: bool) -> str:
    levels = feature.levels or ()
    others = [level for level in levels[compared:] if level not in feature.without]
    shown = ", ".join(repr(level) for level in others[:SHOWN_LEVELS])
    more = ", ..." if len(others) > SHOWN_LEVELS else ""
    pooled = f"; pooled: {_listed(feature.pooled)}" if feature.pooled else ""
    with_what = f", compared with {levels[0]!r}" if compared else ""
    return f"groups: {feature.name} ({len(levels)}){with_what}: {shown}{more}{pooled}"


def target_line(data: Data, target: str) -> str:
    """Return which rows and which class are fitted."""
    ones, rows = int(data.y.sum()), len(data.y)
    negative, positive = data.classes
    return (
        f"{rows} rows, {len(data.names)} columns; target {target!r}: {positive!r} is 1 "
        f"({ones} rows), {negative!r} is 0 ({rows - ones} rows)"
    )


def coefficient_lines(names: Sequence[str], values: Sequence[float]) -> list[str]:
    """Return the table of a fit with a penalty, which has no standard errors."""
    width = max(len(name) for name in names)
    lines = ["coefficients (a penalty pulls them towards 0, so there are no p-values; see --C)"]
    rows = zip(names, values, strict=True)
    return lines + [f"{name.ljust(width)}  {value:12.6g}" for name, value in rows]


def document(table: Table, data: Data, model: Model) -> dict[str, Any]:
    """Return all that a fit says, for a machine to read."""
    columns = []
    for feature in data.features:
        entry: dict[str, Any] = {"name": feature.name, "read_as": "numbers"}
        if feature.levels is not None:
            entry |= {
                "read_as": "groups",
                "reference": feature.levels[0],
                "levels": list(feature.levels),
                "pooled": list(feature.pooled),
            }
        columns.append(entry)
    return {
        "format": REPORT,
        "schema": REPORT_SCHEMA,
        "fastbce": fastbce.__version__,
        "data": str(table.source),
        "notes": list(table.notes),
        "rows": {"read": data.rows, "used": len(data.y), "class_1": int(np.sum(data.y))},
        "missing": data.missing,
        "columns": columns,
        "left_out": data.left_out,
        "model": model.document(),
    }
