"""One column of a file: its values as numbers or as text, and where a cell is wrong.

Whatever is wrong is a :class:`TableError` that names the file, the column, the row and the value.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from ._inputs import Array

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

__all__ = [
    "TEXT_SUFFIXES",
    "Advice",
    "Column",
    "TableError",
    "as_known",
    "index_of_pandas",
    "inexact",
    "place",
    "without",
]

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".dat")

NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[iI][nN][fF]([iI][nN][iI][tT][yY])?)$"
# What people write for a number: currency, thousands, a decimal comma, percent.
LIKE_A_NUMBER = (
    r"^[+-]?[$€£¥]? ?[+-]?\d{1,3}(?:[ \x{a0}\x{202f},.'’]?\d{3})*(?:[.,]\d+)?"
    r"(?: ?(?:[%‰$€£¥]|USD|EUR|GBP|CHF))?$"
)
# What people write where there is no number. They do not count when the others are looked at.
MARKS = ["?", ".", "-", "--", "*", "na", "n/a", "<na>", "#n/a", "nan", "null", "none", "\\n"]
MARKS += ["missing", "unknown"]
# With more numbers than this among the other cells, text is a column of numbers with bad cells.
SHARE_OF_NUMBERS = 0.9
SHOWN_CELLS = 3
# A decimal comma, in cells that are read with a decimal point or with that comma.
DECIMAL_COMMA = r"^[+-]?\d*,\d+([eE][+-]?\d+)?$"
# float64 holds every whole number up to here, beyond it only some.
LARGEST_EXACT = 1 << 53


class TableError(ValueError):
    """A file or one of its columns cannot be used; the text is the one line that says why."""


class Advice(NamedTuple):
    """What to do about a column that cannot be used."""

    leave_out: str
    as_groups: str = ""
    as_missing: str = ""  # the option whose values count as missing
    with_comma: str = ""  # the option that reads decimal commas


def place(source: Path, row: int, rows: int) -> str:
    """Return where a row is, as a person counts; `rows` is the number of all."""
    # With line breaks in quotes or empty lines, rows are no lines.
    if source.suffix.lower() in TEXT_SUFFIXES and _lines(source) == rows + 1:
        return f"row {row + 1} (line {row + 2} of the file)"
    return f"row {row + 1}"


def _lines(path: Path) -> int:
    count, last = 0, b"\n"
    if not path.is_file():
        return -1
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            count, last = count + block.count(b"\n"), block[-1:]
    return count + (last != b"\n")


def inexact(values: Array) -> Array:
    """Return which whole numbers float64 would round."""
    # Three more arrays of this size are for columns that need them.
    if values.min(initial=0) >= -LARGEST_EXACT and values.max(initial=0) <= LARGEST_EXACT:
        return np.zeros(len(values), np.bool_)
    size = np.abs(values).astype(np.uint64)
    found = np.asarray(size > LARGEST_EXACT)
    large = size[found]
    # Up to 53 bits beside the zeros at the end are held exactly.
    found[found] = large // (large & (~large + np.uint64(1))) > LARGEST_EXACT
    return found


def index_of_pandas(schema: pa.Schema) -> list[str]:
    """Return the columns that pandas wrote for the index of a frame."""
    try:
        described = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        names = described.get("index_columns", [])
    except (ValueError, AttributeError):
        return []
    return [name for name in names if isinstance(name, str) and name in schema.names]


def as_known(values: Any) -> Any:
    """Return a column without views as text, and with nulls for text of blanks alone."""
    import pyarrow as pa
    from pyarrow import compute, types

    if types.is_dictionary(values.type) and types.is_string_view(values.type.value_type):
        values = pa.chunked_array(
            [
                pa.DictionaryArray.from_arrays(
                    part.indices, part.dictionary.cast(pa.string()), ordered=values.type.ordered
                )
                for part in values.chunks
            ]
        )
    if types.is_string_view(values.type):
        values = compute.cast(values, pa.string())
    if types.is_string(values.type) or types.is_large_string(values.type):
        blank = compute.match_substring_regex(values, r"^\s+$")
        if compute.any(blank).as_py():
            values = compute.if_else(blank, None, values)
    return values


def without(values: Any, missing: Sequence[str]) -> Any:
    """Return a column with nulls for the cells that are written as one of `missing`."""
    from pyarrow import compute, float64, types

    kind = values.type
    if not missing or types.is_dictionary(kind):
        return values
    if types.is_string(kind) or types.is_large_string(kind):
        cells = compute.utf8_trim_whitespace(values)
        found = compute.is_in(cells, value_set=_array(list(missing)).cast(kind))
    elif types.is_integer(kind) or types.is_floating(kind):
        codes = [float(text) for text in missing if re.match(NUMBER, text)]
        if not codes:
            return values
        cells = compute.cast(values, float64(), safe=False)
        found = compute.is_in(cells, value_set=_array(codes, float64()))
    else:
        return values
    return compute.if_else(found, None, values) if compute.any(found).as_py() else values


@dataclass(frozen=True)
class Column:
    """The values of a column, or of a part of it, and where they come from."""

    source: Path
    name: str
    values: Any
    advice: Advice
    before: int = 0  # rows of the file in front of these
    decimal: str = "."
    typed: bool = True  # the file says which columns are text; a text file does not

    def refuse(self, what: str, advice: str | None = None) -> NoReturn:
        """Raise the error that says what is wrong with the column."""
        advice = self.advice.leave_out if advice is None else advice
        raise TableError(f"{self.source}: column {self.name!r} {what}; {advice}")

    def place(self, row: int) -> str:
        """Return where a row of these is."""
        return place(self.source, self.before + row, len(self.values))

    def is_text(self) -> bool:
        """Return whether the cells are text; categories are not, whatever is in them."""
        from pyarrow import types

        return bool(types.is_string(self.values.type) or types.is_large_string(self.values.type))

    def is_categories(self) -> bool:
        """Return whether the file says that the column is one of groups."""
        from pyarrow import types

        return bool(types.is_dictionary(self.values.type))

    def is_ordered(self) -> bool:
        """Return whether the file gives the categories an order."""
        return self.is_categories() and bool(self.values.type.ordered)

    def categories(self) -> Any:
        """Return all categories in the order of the file."""
        return self.values.unify_dictionaries().chunk(0).dictionary

    def _kind(self) -> Any:
        """Return the type of the values, or that of the categories."""
        return self.values.type.value_type if self.is_categories() else self.values.type

    def is_known(self) -> bool:
        """Return whether the values are numbers or text."""
        from pyarrow import types

        kind = self._kind()
        known = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        text = types.is_string(kind) or types.is_large_string(kind)
        return bool(text or types.is_null(kind) or any(is_one(kind) for is_one in known))

    def check_type(self, advice: str) -> None:
        """Raise unless the values are numbers or text."""
        if not self.is_known():
            self.refuse(f"is of type {self._kind()}; numbers and text can be used", advice)

    def is_whole(self) -> bool:
        """Return whether the values are whole numbers that float64 may round."""
        from pyarrow import types

        return bool(types.is_integer(self.values.type) and self.values.type.bit_width == 64)

    def whole(self) -> Array:
        """Return whole numbers as they are, 0 for what is missing."""
        from pyarrow import compute

        return np.asarray(compute.fill_null(self.values, 0).to_numpy())

    def holds_numbers(self) -> bool:
        """Return whether all cells of text are numbers, beside blanks.

        Raises
        ------
        TableError
            If most are numbers and some are not: they would become groups one by one.
        """
        cells, good = self._cells()
        known = len(cells) - cells.null_count
        numbers = int(np.count_nonzero(good))
        if numbers == known:
            return numbers > 0
        from pyarrow import compute

        like = _matching(cells, LIKE_A_NUMBER)
        marks = compute.is_in(compute.utf8_lower(cells), value_set=_array(MARKS)).to_numpy()
        other = known - np.count_nonzero(marks & ~good)
        if np.count_nonzero(good | like) > SHARE_OF_NUMBERS * other:
            self._refuse_cells(good)
        return False

    def _cells(self) -> tuple[Any, Array]:
        """Return the text without blanks around it, and which cells are numbers."""
        from pyarrow import bool_, compute

        cells = compute.utf8_trim_whitespace(self.values)
        if self.decimal == ".":
            return cells, _matching(cells, NUMBER)
        good = _matching(cells, NUMBER.replace(r"\.", self.decimal))
        dotted = compute.replace_substring(cells, self.decimal, ".")
        return compute.if_else(_array(good, bool_()), dotted, cells), good

    def _refuse_cells(self, good: Array) -> NoReturn:
        from pyarrow import int64

        bad = np.flatnonzero(~good & self.values.is_valid().to_numpy())
        rows = [int(row) for row in bad[:SHOWN_CELLS]]
        shown = ", ".join(f"{self.values[row].as_py()!r} in {self.place(row)}" for row in rows)
        more = ", ..." if len(bad) > SHOWN_CELLS else ""
        count = "1 cell" if len(bad) == 1 else f"{len(bad)} cells"
        cells = self.values.take(_array(bad, int64())).unique().to_pylist()
        self.refuse(
            f"holds text where numbers are expected, in {count}: {shown}{more}",
            self._way_out([cell.strip() for cell in cells]),
        )

    def _way_out(self, cells: list[str]) -> str:
        """Return what may be done about cells that are no numbers."""
        ways = ["write numbers like 1234.5"]
        if all(re.match(DECIMAL_COMMA, cell) for cell in cells) and self.decimal == ".":
            if self.advice.with_comma:
                ways = [f"give {self.advice.with_comma} if those are decimal commas"]
        elif len(cells) <= SHOWN_CELLS and "," not in "".join(cells) and self.advice.as_missing:
            listed = shlex.quote(",".join(cells))
            # With the sign of equality, a leading hyphen is no option.
            ways.insert(0, f"give {self.advice.as_missing}={listed} if that means a missing value")
        else:
            ways.insert(0, "empty the cells whose value is missing")
        if self.advice.as_groups:
            ways.append(self.advice.as_groups)
        return f"{', '.join(ways[:-1])}, or {ways[-1]}" if len(ways) > 1 else ways[0]

    def numbers(self, *, complete: bool = False) -> Array:
        """Return numbers, with NaN for what is missing unless they must be complete.

        Raises
        ------
        TableError
            If a cell is no number, is infinite, or would be rounded.
        """
        from pyarrow import compute, float64, int8, types

        self.check_type(self.advice.leave_out)
        values = self.decoded()
        if types.is_null(values.type):
            return np.full(len(values), np.nan)
        if types.is_string(values.type) or types.is_large_string(values.type):
            values = self._parsed()
        if types.is_boolean(values.type):
            values = compute.cast(values, int8())
        if types.is_integer(values.type) and values.type.bit_width == 64:
            self._refuse_rounding(values, inexact(compute.fill_null(values, 0).to_numpy()))
        elif types.is_decimal(values.type):
            values = self._from_decimals(values)
        if values.null_count:
            values = compute.cast(values, float64(), safe=False)
        array = np.asarray(values.to_numpy())
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            infinite = np.isinf(array)
            if infinite.any():
                row = int(np.argmax(infinite))
                raise TableError(
                    f"{self.source}: column {self.name!r} is infinite in {self.place(row)}"
                )
            if complete:
                self._refuse_missing(int(np.argmax(np.isnan(array))))
        return array

    def _parsed(self) -> Any:
        import pyarrow as pa
        from pyarrow import compute

        cells, good = self._cells()
        if not np.all(good | cells.is_null().to_numpy()):
            self._refuse_cells(good)
        try:
            return compute.cast(cells, pa.int64())
        except pa.ArrowInvalid:
            return compute.cast(cells, pa.float64())

    def _from_decimals(self, values: Any) -> Any:
        from pyarrow import compute, float64, string

        # By way of text every number becomes the nearest one; Arrow's own cast is less exact.
        found = compute.cast(compute.cast(values, string()), float64())
        # The first that is rounded, 2^53 + 1, is 2^53 by now.
        large = np.abs(compute.fill_null(found, 0).to_numpy()) >= LARGEST_EXACT
        for row in np.flatnonzero(large):
            large[row] = values[int(row)].as_py() != found[int(row)].as_py()
        self._refuse_rounding(values, large)
        return found

    def _refuse_rounding(self, values: Any, rounded: Array) -> None:
        if rounded.any():
            row = int(np.argmax(rounded))
            self.refuse(
                f"holds {values[row].as_py()} in {self.place(row)}, which float64 would round, as "
                "it does with long identifiers"
            )

    def refuse_missing(self) -> None:
        """Raise an error that names the first null."""
        if self.values.null_count:
            self._refuse_missing(int(np.argmax(self.values.is_null().to_numpy(False))))

    def _refuse_missing(self, row: int) -> NoReturn:
        self.refuse(f"has missing values, the first in {self.place(row)}")

    def labels(self) -> Array:
        """Return the values of a target, none of which may be missing."""
        from pyarrow import types

        self.refuse_missing()
        values = self.decoded()
        if types.is_decimal(values.type):
            return self.numbers()
        return np.asarray(values.to_numpy())

    def text(self) -> Any:
        """Return the values as text, whole numbers without a point whatever their type is."""
        return _spelled(self.decoded())

    def codes(self) -> tuple[Array, list[str]]:
        """Return the values as text, each once, and the number of each cell's.

        The number of a missing cell is one more than the last.
        """
        encoded = self.text().combine_chunks().dictionary_encode()
        if hasattr(encoded, "combine_chunks"):
            encoded = encoded.combine_chunks()
        found = encoded.dictionary.to_pylist()
        numbers = encoded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
        return np.asarray(numbers), found

    def decoded(self) -> Any:
        """Return the values of categories, or the values as they are."""
        from pyarrow import compute

        values = self.values
        return compute.cast(values, values.type.value_type) if self.is_categories() else values

    def levels(self) -> list[str]:
        """Return the different values as text: in the file's order of categories, or sorted."""
        from pyarrow import types

        used = set(self.text().drop_null().unique().to_pylist())
        if self.is_ordered():
            return [name for name in _spelled(self.categories()).to_pylist() if name in used]
        kind = self.decoded().type
        wordy = types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind)
        return sorted(used, key=None if wordy else float)


def _spelled(values: Any) -> Any:
    from pyarrow import compute, float64, int64, string, types

    if types.is_decimal(values.type):
        values = compute.cast(compute.cast(values, string()), float64())
    text = compute.cast(values, string())
    if types.is_floating(values.type):
        small = compute.less(compute.abs(values), float(1 << 63))
        whole = compute.and_(compute.equal(compute.round(values), values), small)
        numbers = compute.cast(compute.if_else(whole, values, 0.0), int64())
        text = compute.if_else(whole, compute.cast(numbers, string()), text)
        text = compute.if_else(compute.is_nan(values), None, text)
    return text


def _array(values: Any, kind: Any = None) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.string() if kind is None else kind)


def _matching(cells: Any, pattern: str) -> Array:
    from pyarrow import compute

    found = compute.fill_null(compute.match_substring_regex(cells, pattern), False)
    return np.asarray(found.to_numpy())
