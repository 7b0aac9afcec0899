"""Tables in files (extra ``fit``): what is common to all formats.

Whatever is wrong with a file is a :class:`TableError` whose one line says what and where.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastbce._columns import Advice, Column, TableError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Table", "TableError", "check_names", "one_line"]

LONGEST_MESSAGE = 200
MOST_NAMES = 30
LEAVE_OUT = "leave it out with --drop"


@dataclass(frozen=True)
class Table:
    """Columns of equal length, by name."""

    source: Path
    columns: dict[str, pa.ChunkedArray]
    rows: int
    index: tuple[str, ...] = ()  # columns that name the rows, so no variables
    decimal: str = "."
    typed: bool = True  # the file says what is text
    notes: tuple[str, ...] = ()  # what was guessed

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """Return a column, or raise an error that says which there are."""
        check_names(self.source, [name], self.columns)
        return self.columns[name]

    def column(self, name: str, *, fitting: bool) -> Column:
        """Return a column with the advice for a fit, or for predictions."""
        groups = f"give --categorical {name} to make groups of its values"
        comma = "" if self.typed else "--decimal ,"
        advice = Advice("the model needs numbers there", "", "--na-values", comma)
        if fitting:
            advice = Advice(LEAVE_OUT, groups, "--na-values", comma)
        return Column(self.source, name, self[name], advice, decimal=self.decimal, typed=self.typed)


def check_names(source: Path, names: Sequence[str] | None, known: Iterable[str]) -> None:
    """Raise unless all names are known."""
    known = list(known)
    for name in names or ():
        if name not in known:
            # Blanks around a name, or none at all, show in quotes only.
            shown = [text if text and text == text.strip() else repr(text) for text in known]
            more = f", ... ({len(shown)} in all)" if len(shown) > MOST_NAMES else ""
            listed = ", ".join(shown[:MOST_NAMES])
            raise TableError(f"{source} has no column {name!r}; its columns are {listed}{more}")


def one_line(error: Exception) -> str:
    """Return the text of an error in one line, cut where it is long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 3] + "..."
