"""How a text file is written: its encoding, separator and decimal sign, guessed where not given."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbce._columns import DECIMAL_COMMA, TableError, place

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# In the order in which they win where several are possible. A blank stands within names as well.
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
BEGINNING = 1 << 20
RECORDS = 100
LONGEST_CELL = 40
DECIMAL_POINT = r"^[+-]?\d*\.\d+([eE][+-]?\d+)?$"
# Thousands as well as a decimal comma with three digits.
AMBIGUOUS = r"^[+-]?[1-9]\d{0,2},\d{3}$"


@dataclass(frozen=True)
class Spelling:
    """What the user says of a text file; None where it is to be guessed."""

    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    na_values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """How a text file is read, and what of it was guessed."""

    encoding: str
    sep: str
    decimal: str
    names: tuple[str, ...]
    shifted: bool  # the header has no name for the first column, as R writes row names
    guessed: tuple[str, ...]


def look(source: Path, beginning: bytes, spelling: Spelling) -> Text:
    """Return how a file is written that begins so.

    Raises
    ------
    TableError
        If it is no text.
    """
    encoding = spelling.encoding or _encoding(source, beginning)
    text = _decoded(source, beginning, encoding)
    sep = spelling.sep or _separator(text, tab=source.suffix.lower() == ".tsv")
    records = _records(text, sep)
    names = tuple(records[0]) if records else ()
    shifted = _is_shifted(records)
    decimal = spelling.decimal or _decimal(records[1:], sep)
    guessed = []
    if spelling.sep is None and sep != ",":
        guessed.append(f"columns are separated by {SEPARATORS.get(sep, 'blanks')}")
    if spelling.decimal is None and decimal != ".":
        guessed.append("numbers have a decimal comma")
    if spelling.encoding is None and encoding != "utf-8":
        guessed.append(f"the encoding is {encoding}")
    return Text(encoding, sep, decimal, names, shifted, tuple(guessed))


def _encoding(source: Path, beginning: bytes) -> str:
    for mark, encoding in MARKS.items():
        if beginning.startswith(mark):
            return encoding
    if b"\0" in beginning:
        # Letters of most alphabets in UTF-16: every second byte is the same, mostly 0.
        for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            if beginning[first::2].count(0) > len(beginning) // 4:
                return encoding
        raise TableError(f"{source} holds bytes of 0: it is no text in a known encoding")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return other_than_utf8(beginning)
    return "utf-8"


def other_than_utf8(content: bytes) -> str:
    """Return the encoding of text that is not UTF-8: Windows-1252, or else Latin-1."""
    try:
        content.decode("windows-1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "windows-1252"


def _decoded(source: Path, beginning: bytes, encoding: str) -> str:
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(beginning)
    except UnicodeDecodeError as error:
        byte = beginning[error.start]
        raise TableError(
            f"{source} is not {encoding}: its byte {error.start} is 0x{byte:02x}; leave --encoding "
            "out to have it guessed"
        ) from None
    return text.removeprefix("\ufeff").lstrip("\r\n")


def _records(text: str, sep: str) -> list[list[str]]:
    """Return the first records, without one that the beginning may have cut."""
    lines = io.StringIO(text, newline="")
    records = []
    try:
        for record in csv.reader(lines, delimiter=sep):
            if record:
                records.append(record)
            if len(records) > RECORDS:
                break
    except csv.Error:
        return records
    return records[:-1] if len(records) > 2 and lines.tell() >= BEGINNING else records


def _is_shifted(records: Sequence[Sequence[str]]) -> bool:
    if len(records) < 2 or len(records[0]) < 2:
        return False
    return all(len(record) == len(records[0]) + 1 for record in records[1:])


def _separator(text: str, *, tab: bool) -> str:
    """Return the separator that cuts all records alike, into the largest number of cells."""
    best, most = "\t" if tab else ",", 1
    for sep in (*SEPARATORS, " "):
        records = _records(text, sep)
        if not records or (sep == " " and most > 1):
            continue
        count = len(records[0])
        even = all(len(record) == count for record in records) or _is_shifted(records)
        if even and count > most:
            best, most = sep, count
    return best


def _decimal(records: Sequence[Sequence[str]], sep: str) -> str:
    if sep == ",":
        return "."
    cells = [cell.strip() for record in records for cell in record]
    commas = [cell for cell in cells if re.match(DECIMAL_COMMA, cell)]
    points = any(re.match(DECIMAL_POINT, cell) for cell in cells)
    clear = not all(re.match(AMBIGUOUS, cell) for cell in commas)
    return "," if commas and clear and not points else "."


def first_not_utf8(source: Path, columns: dict[str, Any]) -> tuple[str, bytes] | None:
    """Return where the first cell is that is not UTF-8, which Arrow takes for bytes, and it."""
    from pyarrow import types

    for name, column in columns.items():
        if not types.is_binary(column.type):
            continue
        row = 0
        for chunk in column.chunks:
            for cell in chunk.to_pylist():
                if cell is not None and _bad_byte(cell) is not None:
                    return f"column {name!r} in {place(source, row, len(column))}", cell
                row += 1
    return None


def _bad_byte(cell: bytes) -> int | None:
    try:
        cell.decode()
    except UnicodeDecodeError as error:
        return cell[error.start]
    return None


def not_utf8(where: str, cell: bytes, encoding: str) -> str:
    """Return what is said of a cell that is not UTF-8, read in another encoding."""
    shown = cell.decode(encoding, errors="replace")[:LONGEST_CELL]
    return f"{where} has the byte 0x{_bad_byte(cell) or 0:02x} (in {encoding} it reads {shown!r})"
