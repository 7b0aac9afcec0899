"""What a CSV file is written in: its encoding and separator, looked at before it is parsed."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any

from fastbce._columns import TableError, place

MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
BEGINNING = 1 << 20
LONGEST_CELL = 40


def check_csv(path: Path) -> None:
    """Raise unless the beginning is UTF-8 text with commas.

    Raises
    ------
    TableError
        It says what the file is instead.
    """
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
    for mark, encoding in MARKS.items():
        if beginning.startswith(mark):
            raise TableError(f"{path} is {encoding}, not UTF-8; {_convert(path, encoding)}")
    if b"\0" in beginning:
        raise TableError(
            f"{path} holds bytes of 0: it is no text, or UTF-16, not UTF-8; in the latter case "
            f"{_convert(path, 'UTF-16')}"
        )
    beginning = beginning.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
    header = re.split(rb"[\r\n]", beginning, maxsplit=1)[0]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(header)
    except UnicodeDecodeError as error:
        names = header.split(b",")
        column = header[: error.start].count(b",")
        raise _not_utf8(path, f"the name of column {column + 1}", names[column]) from None
    for separator, name in SEPARATORS.items():
        if separator in text and "," not in text:
            raise TableError(
                f"{path} is separated by {name}, where commas are needed; convert it, for example "
                f"in Python: pandas.read_csv({str(path)!r}, sep={separator!r})"
                f".to_csv('commas.csv', index=False){_decimal_comma(separator)}"
            )


def check_utf8(path: Path, columns: dict[str, Any]) -> None:
    """Raise an error that names the first cell that is not UTF-8, which Arrow takes for bytes."""
    from pyarrow import types

    for name, column in columns.items():
        if not types.is_binary(column.type):
            continue
        row = 0
        for chunk in column.chunks:
            for cell in chunk.to_pylist():
                if cell is not None and _bad_byte(cell) is not None:
                    where = f"column {name!r} in {place(path, row, len(column))}"
                    raise _not_utf8(path, where, cell)
                row += 1


def _bad_byte(cell: bytes) -> int | None:
    try:
        cell.decode()
    except UnicodeDecodeError as error:
        return cell[error.start]
    return None


def _not_utf8(path: Path, where: str, cell: bytes) -> TableError:
    shown = cell.decode("cp1252", errors="replace")[:LONGEST_CELL]
    return TableError(
        f"{path} is not UTF-8: {where} has the byte 0x{_bad_byte(cell) or 0:02x} (as Windows-1252 "
        f"it reads {shown!r}); if that is right, {_convert(path, 'WINDOWS-1252')}"
    )


def _convert(path: Path, encoding: str) -> str:
    return f"convert it: iconv -f {encoding} -t UTF-8 {path} > utf8.csv"


def _decimal_comma(separator: str) -> str:
    return " (with decimal=',' if numbers are written so)" if separator == ";" else ""
