"""What each column of a table becomes: numbers, groups, or nothing, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fastbce._columns import Column, TableError, inexact
from fastbce._typing import Array
from fastbce.model_file import Feature

from .tables import LEAVE_OUT, Table, check_names

# Text with more levels than this is taken for an identifier, and so is text of which most
# levels occur once.
MAX_LEVELS = 200


@dataclass(frozen=True)
class Choices:
    """What the user says of the columns."""

    features: Sequence[str] | None = None
    drop: Sequence[str] = ()
    categorical: Sequence[str] = ()
    reference: dict[str, str] = field(default_factory=dict)
    pool_rare: int = 0


@dataclass
class Reading:
    """What the columns become."""

    features: list[Feature] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # the reason by column
    problems: list[str] = field(default_factory=list)


def names_of(table: Table, used: Sequence[str], choices: Choices) -> list[str]:
    """Return the columns that may be variables, beside those that are used otherwise.

    Raises
    ------
    TableError
        If an option names a column that is not there, or not among these.
    """
    check_names(table.source, choices.drop, table.columns)
    names = choices.features
    if names is None:
        names = [name for name in table.columns if name not in (*used, *table.index)]
    names = [name for name in dict.fromkeys(names) if name not in choices.drop]
    options = (("--categorical", choices.categorical), ("--reference", choices.reference))
    for option, named in options:
        for name in named:
            if name not in names:
                raise TableError(f"{option} {name} is not among the features")
    if not names:
        raise TableError(f"{table.source} has no column beside the target")
    return names


def read_columns(table: Table, used: Sequence[str], choices: Choices) -> Reading:
    """Decide what each column becomes.

    Parameters
    ----------
    table : Table
        What the levels are taken from.
    used : sequence of str
        Columns that are no variables: the target, weights.
    choices : Choices
        What the user says.

    Returns
    -------
    Reading
        Features in the order of the table, columns that are left out with the reason, and what is
        wrong with others.
    """
    reading = Reading()
    if choices.features is None:
        for name in table.index:
            if name not in used and name not in choices.drop:
                named = "an index of pandas" if name.strip() else "a column without a name"
                reading.left_out[name] = f"{named}, which names the rows"
    for name in names_of(table, used, choices):
        column = table.column(name, fitting=True)
        try:
            made = _read(column, choices)
        except TableError as error:
            reading.problems.append(str(error).removeprefix(f"{table.source}: "))
            continue
        if isinstance(made, Feature):
            reading.features.append(made)
        else:
            reading.left_out[name] = made
    return reading


def _read(column: Column, choices: Choices) -> Feature | str:
    """Return a feature, or why there is none."""
    asked = choices.features is not None
    if column.values.null_count == len(column.values):
        return "has no values"
    if not column.is_known():
        if asked:
            column.check_type(f"{LEAVE_OUT}, or turn it into one of them")
        return f"is of type {column.values.type}; numbers and text can be used"
    grouped = column.name in choices.categorical or column.name in choices.reference
    if not (grouped or column.is_categories()) and _is_numbers(column):
        return _numbers(column, asked=asked)
    return _groups(column, choices)


def _numbers(column: Column, *, asked: bool) -> Feature | str:
    if not asked and column.is_whole() and inexact(column.whole()).any():
        return "holds whole numbers that float64 would round, as long identifiers are"
    values = column.numbers()
    low, high = np.fmin.reduce(values), np.fmax.reduce(values)  # without those that are missing
    if np.isnan(low):
        return "has no values"
    if low == high:
        return f"is constant ({low:g} in every row), so it tells nothing"
    if not asked and _counts_rows(values):
        return f"numbers the rows, from {values[0]:g} to {values[-1]:g}; --features may name it"
    return Feature(column.name)


def _counts_rows(values: Array) -> bool:
    first = values[0]
    return bool(first in (0, 1) and np.array_equal(values, np.arange(len(values)) + first))


def _is_numbers(column: Column) -> bool:
    if not column.is_text():
        return True
    if not column.holds_numbers():
        return False
    if column.typed:
        # Whoever wrote it may have meant groups, or numbers.
        column.refuse(
            "is text in which every cell is a number",
            f"store it as numbers, or {column.advice.as_groups}",
        )
    return True


def _groups(column: Column, choices: Choices) -> Feature | str:
    levels = column.levels()
    if len(levels) == 1:
        return f"is constant ({levels[0]!r} in every row), so it tells nothing"
    known = len(column.values) - column.values.null_count
    few_rows = 2 * len(levels) > known and column.is_text()
    asked = choices.features is not None or column.name in choices.categorical
    if (len(levels) > MAX_LEVELS and not choices.pool_rare) or (few_rows and not asked):
        what = f"has {len(levels)} different values in {known} rows"
        if asked:
            column.refuse(
                f"{what}, more than {MAX_LEVELS}",
                f"{LEAVE_OUT} if it is an identifier, or give --pool-rare N to pool rare ones",
            )
        return f"{what}, as identifiers have"
    reference = choices.reference.get(column.name)
    if reference is not None:
        if reference not in levels:
            shown = ", ".join(repr(level) for level in levels[:10])
            more = ", ..." if len(levels) > 10 else ""
            raise TableError(
                f"{column.source}: --reference {column.name}={reference} is not a level of that "
                f"column, which has {shown}{more}"
            )
        levels = [reference, *(level for level in levels if level != reference)]
    return Feature(column.name, tuple(levels))
