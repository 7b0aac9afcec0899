"""The column that is predicted: which two values it has, and which of them is 1."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np

from fastbce._columns import Column, TableError
from fastbce._typing import Array
from fastbce.model_file import Label

from .tables import Table

# With more values than this, the rarest is no slip of the pen.
MANY = 200


def _spellings(value: Label) -> set[str]:
    """Return how a value may be written on the command line."""
    text = str(value)
    return {text, text.lower()} | ({f"{value:g}"} if isinstance(value, float) else set())


def _is_known(cell: Any) -> bool:
    return cell is not None and bool(cell == cell)


def _label(cell: Any) -> Label:
    """Return a cell of a target; decimals are the numbers that a CSV file would hold."""
    if not isinstance(cell, Decimal):
        return cell  # type: ignore[no-any-return]
    return int(cell) if cell == cell.to_integral_value() else float(cell)


def _rarest(column: Column, cells: Any) -> str:
    """Say where the rarest value is: often it is the one that should not be there."""
    from pyarrow import compute

    counts = {
        entry["values"]: entry["counts"]
        for entry in compute.value_counts(cells).to_pylist()
        if _is_known(entry["values"])
    }
    value = min(counts, key=lambda v: counts[v])
    row = compute.index(cells, value).as_py()
    return f"; the rarest is {_label(value)!r}, first in {column.place(row)}"


def target_of(
    table: Table, name: str, positive: str | None = None
) -> tuple[Array, Array, tuple[Label, Label]]:
    """Return labels of 0 and 1, which rows have one, and the two values behind them.

    Parameters
    ----------
    table : Table
        Where the target is.
    name : str
        Its column.
    positive : str, optional
        The value that is 1, as text; by default the larger one.

    Returns
    -------
    labels : ndarray of uint8
        0 and 1.
    known : ndarray of bool
        False where the target is missing.
    values : tuple
        The values that became 0 and 1.

    Raises
    ------
    TableError
        If the column does not hold two values, or `positive` is neither of them.
    """
    import pyarrow as pa
    from pyarrow import compute

    column = table.column(name, fitting=True)
    column.check_type("turn the target into one of them")
    cells = column.decoded()
    raw = {_label(cell): cell for cell in compute.unique(cells).to_pylist() if _is_known(cell)}
    values = sorted(raw, key=lambda v: (str(type(v)), v))
    if column.is_ordered():
        values.sort(key=[_label(cell) for cell in column.categories().to_pylist()].index)
    if len(values) != 2:
        shown = ", ".join(repr(v) for v in values[:5]) + (", ..." if len(values) > 5 else "")
        rare = _rarest(column, cells) if 2 < len(values) <= MANY else ""
        raise TableError(
            f"{table.source}: the target {name!r} has {len(values)} different value(s) ({shown}); "
            f"two are needed{rare}"
        )
    hits, misses = (compute.equal(cells, pa.scalar(raw[v], cells.type)) for v in values[::-1])
    for value, where in zip(values[::-1], (hits, misses), strict=True):
        if isinstance(value, float) and not value.is_integer():
            row = column.place(compute.index(where, True).as_py())
            raise TableError(
                f"{table.source}: the target {name!r} holds {value!r} in {row}, which names no "
                "class: that is a whole number or text"
            )
    if positive is not None:
        matching = [v for v in values if positive in _spellings(v)]
        if len(matching) != 1:
            raise TableError(
                f"--positive {positive} is not a value of the target {name!r}, which has "
                f"{values[0]!r} and {values[1]!r}"
            )
        if matching[0] == values[0]:
            values.reverse()
            hits, misses = misses, hits
    labels = compute.fill_null(hits, False).to_numpy().astype(np.uint8)
    known = labels.astype(np.bool_) | compute.fill_null(misses, False).to_numpy()
    return labels, known, (values[0], values[1])
