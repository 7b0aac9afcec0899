"""The formats of files that hold tables: text, Parquet, Arrow, NumPy and Excel (extra ``fit``)."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbce._columns import TEXT_SUFFIXES, TableError, as_known, index_of_pandas, without
from fastbce._limits import available_memory
from fastbce._typing import Array

from .csv_text import (
    BEGINNING,
    Spelling,
    Text,
    first_not_utf8,
    look,
    not_utf8,
    other_than_utf8,
)
from .tables import Table, check_names, one_line

if TYPE_CHECKING:
    import pyarrow as pa

NULLS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]
COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")
# Read by pandas, whose one line converts them.
ELSEWHERE = {
    ".dta": "read_stata",
    ".sas7bdat": "read_sas",
    ".xpt": "read_sas",
    ".sav": "read_spss",
    ".json": "read_json",
    ".jsonl": "read_json",
    ".xls": "read_excel",
    ".ods": "read_excel",
    ".rds": None,
    ".rda": None,
    ".rdata": None,
}
GZIP = b"\x1f\x8b"
# Bytes of a text file that are read at a time.
BLOCK = 1 << 23
STANDARD_INPUT = "standard input"


@dataclass(frozen=True)
class Source:
    """A file, or what was read from the standard input, a pipe or a device."""

    path: Path
    content: bytes | None = None

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.path.stat().st_size if self.content is None else len(self.content)

    @property
    def suffix(self) -> str:
        """The suffix that tells the format, without that of a compression."""
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        while suffixes and suffixes[-1] in COMPRESSED:
            suffixes.pop()
        return suffixes[-1] if suffixes else ""

    @property
    def compressed(self) -> bool:
        """Whether the bytes are those of a compressed file."""
        return self.path.suffix.lower() in COMPRESSED

    def open(self) -> Any:
        """Return the bytes, decompressed, as a file of Arrow."""
        import pyarrow as pa

        if self.content is None:
            return pa.input_stream(os.fspath(self.path))
        buffer = pa.BufferReader(self.content)
        if self.content.startswith(GZIP):
            return pa.CompressedInputStream(buffer, "gzip")
        return buffer

    def file(self) -> Any:
        """Return what NumPy, Arrow and openpyxl open."""
        return os.fspath(self.path) if self.content is None else io.BytesIO(self.content)

    def beginning(self, size: int = BEGINNING) -> bytes:
        """Return the first bytes, decompressed."""
        with self.open() as stream:
            return bytes(stream.read(size))


@dataclass(frozen=True)
class Content:
    """What a reader found: columns by name, and what there is to know of them."""

    columns: dict[str, Any]
    index: tuple[str, ...] = ()
    decimal: str = "."
    typed: bool = True
    notes: tuple[str, ...] = ()


def read_table(
    path: Path, names: Sequence[str] | None = None, spelling: Spelling | None = None
) -> Table:
    """Read a table.

    Parameters
    ----------
    path : Path
        The suffix tells the format, or the first bytes where it is unknown; ``-`` is the standard
        input. A .npy file holds a two-dimensional array (columns ``x1``, ``x2``, ...) or a
        structured one; a .npz file holds one array for each column, or two-dimensional ones, whose
        columns are called ``name1``, ``name2``, ....
    names : sequence of str, optional
        The columns to read; all by default.
    spelling : Spelling, optional
        How text is written, where that is not to be guessed, and what counts as missing.

    Returns
    -------
    Table
        With the columns asked for.

    Raises
    ------
    TableError
        If the file is missing, empty, damaged, larger than memory, or has no such column.
    """
    spelling = Spelling() if spelling is None else spelling
    source = _source(path)
    path = source.path
    reader = _reader(source)
    try:
        found = reader(source, names, spelling)
    except (TableError, ModuleNotFoundError):
        raise
    except MemoryError:
        raise TableError(f"{path} does not fit into memory") from None
    except Exception as error:
        raise TableError(f"{path} cannot be read: {one_line(error)}") from error
    check_names(path, names, found.columns)
    lengths = {name: len(column) for name, column in found.columns.items()}
    rows = next(iter(lengths.values()), 0)
    for name, length in lengths.items():
        if length != rows:
            raise TableError(f"{path}: column {name!r} has {length} rows, where others have {rows}")
    if not rows:
        raise TableError(f"{path} has no rows")
    columns = found.columns
    for name in columns:
        columns[name] = without(columns[name], spelling.na_values)
    return Table(path, columns, rows, found.index, found.decimal, found.typed, found.notes)


def _source(path: Path) -> Source:
    if str(path) == "-":
        source = Source(Path(STANDARD_INPUT), sys.stdin.buffer.read())
    elif not path.exists():
        raise TableError(f"{path} does not exist")
    elif path.is_dir():
        raise TableError(f"{path} is not a file")
    else:
        source = Source(path, None if path.is_file() else path.read_bytes())
    if not source.size:
        raise TableError(f"{source.path} is empty")
    return source


def _reader(source: Source) -> Callable[[Source, Sequence[str] | None, Spelling], Content]:
    suffix = source.suffix
    if suffix in READERS:
        return READERS[suffix]
    path = source.path
    if suffix in ELSEWHERE:
        tool = ELSEWHERE[suffix]
        advice = "in R: write.csv(data, 'data.csv', row.names = FALSE)"
        if tool is not None:
            advice = f"in Python: pandas.{tool}({str(path)!r}).to_csv('data.csv', index=False)"
        raise TableError(f"{path}: {suffix} files are not read; convert it, for example {advice}")
    beginning = source.beginning(1 << 12)
    for magic, known in MAGIC.items():
        if beginning.startswith(magic):
            return READERS[known]
    return _read_text


def release_memory() -> None:
    """Give back to the system what Arrow keeps for later."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _check_memory(path: Path, size: int) -> None:
    """Refuse what cannot fit before the machine begins to swap."""
    available = available_memory()
    if available is not None and size > available:
        raise TableError(
            f"{path} has {size / 2**30:.1f} GiB, more than the {available / 2**30:.1f} GiB of "
            "memory available; name fewer columns of a Parquet file, or take a sample"
        )


def _columns_of(path: Path, table: pa.Table) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in columns:
            raise TableError(f"{path}: two columns are called {name!r}")
        columns[name] = as_known(column)
    return columns


def _read_text(source: Source, names: Sequence[str] | None, spelling: Spelling) -> Content:
    path = source.path
    _check_memory(path, source.size)
    text = look(path, source.beginning(), spelling)
    known = ["", *text.names] if text.shifted else list(text.names)
    check_names(path, names, known)
    for name in known if names is None else names:
        if known.count(name) > 1:
            raise TableError(f"{path}: {known.count(name)} columns are called {name!r}")
    table = _parsed(source, names, spelling, text)
    columns = _columns_of(path, table)
    notes = list(text.guessed)
    bad = first_not_utf8(path, columns)
    if bad is not None:
        where, cell = bad
        encoding = other_than_utf8(cell)
        said = not_utf8(where, cell, encoding)
        if spelling.encoding is not None:
            raise TableError(f"{path} is not {spelling.encoding}: {said}")
        text = replace(text, encoding=encoding)
        columns = _columns_of(path, _parsed(source, names, spelling, text))
        notes.append(f"the encoding is {encoding}, not utf-8: {said}")
    # A first column without a name holds the names of rows, as pandas and R write them.
    index = tuple(name for name in known[:1] if not name.strip())
    return Content(columns, index, text.decimal, typed=False, notes=tuple(notes))


def _parsed(
    source: Source, names: Sequence[str] | None, spelling: Spelling, text: Text
) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    convert = csv.ConvertOptions(
        include_columns=list(names or ()),
        null_values=[*NULLS, *spelling.na_values],
        strings_can_be_null=True,
        decimal_point=text.decimal,
    )
    parse = csv.ParseOptions(delimiter=text.sep)
    header: dict[str, Any] = {"encoding": text.encoding}
    if text.shifted:
        header |= {"column_names": ["", *text.names], "skip_rows": 1}
    try:
        # In batches of this size a file of 53 MiB takes 134 MiB until it is read, and then 103; all
        # at once, 227.
        options = csv.ReadOptions(**header, block_size=BLOCK)
        with source.open() as stream, csv.open_csv(stream, options, parse, convert) as reader:
            table = pa.Table.from_batches(list(reader), reader.schema)
        release_memory()
        return table  # noqa: TRY300
    except pa.ArrowInvalid as error:
        if "conversion error" not in str(error):
            raise
    # Types come from the first block: look at all rows before giving up.
    size = 1 << 31
    if not source.compressed and source.content is None:
        size = 4 * source.size + 1  # UTF-8 has at most that many bytes
    whole = csv.ReadOptions(**header, block_size=min(size, 2**31 - 1))
    with source.open() as stream:
        return csv.read_csv(stream, whole, parse, convert)


def _read_parquet(source: Source, names: Sequence[str] | None, _: Spelling) -> Content:
    from pyarrow import parquet

    path = source.path
    file = parquet.ParquetFile(source.file())
    check_names(path, names, file.schema_arrow.names)
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    chunks = [group.column(j) for group in groups for j in range(group.num_columns)]
    wanted = [c for c in chunks if names is None or c.path_in_schema.split(".")[0] in names]
    _check_memory(path, sum(chunk.total_uncompressed_size for chunk in wanted))
    table = file.read(columns=None if names is None else list(names))
    return Content(_columns_of(path, table), tuple(index_of_pandas(file.schema_arrow)))


def _read_arrow(source: Source, names: Sequence[str] | None, _: Spelling) -> Content:
    import pyarrow as pa

    path = source.path
    _check_memory(path, source.size)
    opened = pa.memory_map(source.file()) if source.content is None else source.open()
    with opened as stream:
        try:
            table = pa.ipc.open_file(stream).read_all()
        except pa.ArrowInvalid:
            stream.seek(0)
            table = pa.ipc.open_stream(stream).read_all()
    index = tuple(index_of_pandas(table.schema))
    check_names(path, names, table.column_names)
    if names is not None:
        table = table.select(dict.fromkeys(names))
    return Content(_columns_of(path, table), index)


def _read_numpy(source: Source, names: Sequence[str] | None, _: Spelling) -> Content:
    import pyarrow as pa

    path = source.path
    mapped = source.suffix == ".npy" and source.content is None
    loaded = np.load(source.file(), mmap_mode="r" if mapped else None, allow_pickle=False)
    arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else {k: loaded[k] for k in loaded}
    flat: dict[str, Array] = {}
    for name, array in arrays.items():
        if array.dtype.names:
            flat |= {field: array[field] for field in array.dtype.names}
        elif array.ndim == 1:
            flat[name] = array
        elif array.ndim == 2:
            flat |= {f"{name}{j + 1}": array[:, j] for j in range(array.shape[1])}
        else:
            raise TableError(f"{path}: {name!r} has shape {array.shape}; one or two axes are known")
    wanted = flat if names is None else {name: flat[name] for name in names if name in flat}
    # Arrow knows neither strides nor the other order of bytes.
    native = {n: np.ascontiguousarray(a, a.dtype.newbyteorder("=")) for n, a in wanted.items()}
    return Content({n: as_known(pa.chunked_array([pa.array(a)])) for n, a in native.items()})


def _read_excel(source: Source, names: Sequence[str] | None, _: Spelling) -> Content:
    try:
        import openpyxl
    except ModuleNotFoundError:
        raise TableError(
            f"{source.path}: Excel files are read by openpyxl, which is not installed: "
            "pip install 'fastbce[excel]', or save the sheet as CSV"
        ) from None
    import pyarrow as pa

    path = source.path
    book = openpyxl.load_workbook(source.file(), read_only=True, data_only=True)
    sheet = book.worksheets[0]
    filled = (row for row in sheet.iter_rows(values_only=True) if set(row) != {None})
    header, *rows = filled
    known = ["" if cell is None else str(cell) for cell in header]
    check_names(path, names, known)
    columns: dict[str, Any] = {}
    for place, name in enumerate(known):
        if names is not None and name not in names:
            continue
        if name in columns:
            raise TableError(f"{path}: two columns are called {name!r}")
        cells = [row[place] if place < len(row) else None for row in rows]
        columns[name] = as_known(pa.chunked_array([_cells_of_excel(cells)]))
    notes = []
    if len(book.worksheets) > 1:
        notes.append(f"the first of {len(book.worksheets)} sheets, {sheet.title!r}, is read")
    index = tuple(name for name in known[:1] if not name.strip())
    return Content(columns, index, typed=False, notes=tuple(notes))


def _cells_of_excel(cells: list[Any]) -> pa.Array:
    """Return cells as numbers, dates or truth values where all are such, else as text."""
    import pyarrow as pa

    cells = [None if cell in NULLS else cell for cell in cells]
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds <= {int, float}:
        return pa.array(cells, pa.int64() if kinds == {int} else pa.float64())
    if len(kinds) == 1:
        return pa.array(cells)
    return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())


READERS: dict[str, Callable[[Source, Sequence[str] | None, Spelling], Content]] = {
    **dict.fromkeys(TEXT_SUFFIXES, _read_text),
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".npy": _read_numpy,
    ".npz": _read_numpy,
    ".xlsx": _read_excel,
    ".xlsm": _read_excel,
}
MAGIC = {
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"\xff\xff\xff\xff": ".arrow",
    b"\x93NUMPY": ".npy",
}
