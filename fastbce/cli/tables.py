"""Tables in files, as a matrix to fit: CSV, Parquet, Arrow, .npy and .npz (extra ``fit``).

A number stays a number; text becomes one column for each level but the first. Whatever is wrong
with a file is a :class:`TableError` whose one line says what and where.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbce._columns import Advice, Column, TableError, as_known, index_of_pandas
from fastbce._typing import Array

from .csv_text import check_csv, check_utf8

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Feature", "Table", "TableError", "design", "learn_features", "read_table", "target_of"]

# More levels than this are taken for an identifier.
MAX_LEVELS = 200
NULLS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]
LONGEST_MESSAGE = 200
MOST_NAMES = 30
LEAVE_OUT = "leave it out with --features"


@dataclass(frozen=True)
class Table:
    """Columns of equal length, by name."""

    source: Path
    columns: dict[str, pa.ChunkedArray]
    rows: int
    index: tuple[str, ...] = ()  # columns that name the rows, so no variables

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """Return a column, or raise an error that says which there are."""
        check_names(self.source, [name], self.columns)
        return self.columns[name]

    def column(self, name: str, *, fitting: bool) -> Column:
        """Return a column with the advice for a fit, or for predictions."""
        groups = f"give --categorical {name} to make groups of its values"
        advice = Advice(LEAVE_OUT, groups) if fitting else Advice("the model needs numbers there")
        return Column(self.source, name, self[name], advice)


@dataclass(frozen=True)
class Feature:
    """What a column becomes: itself, or (with levels) an indicator for each level but the first."""

    name: str
    levels: tuple[str, ...] | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the columns of the matrix."""
        if self.levels is None:
            return (self.name,)
        return tuple(f"{self.name}={level}" for level in self.levels[1:])


def read_table(path: Path, names: Sequence[str] | None = None) -> Table:
    """Read a table.

    Parameters
    ----------
    path : Path
        The suffix tells the format. A .npy file holds a two-dimensional array (columns ``x1``,
        ``x2``, ...) or a structured one; a .npz file holds one array for each column, or
        two-dimensional ones, whose columns are called ``name1``, ``name2``, ....
    names : sequence of str, optional
        The columns to read; all by default.

    Returns
    -------
    Table
        With the columns asked for.

    Raises
    ------
    TableError
        If the file is missing, empty, damaged, larger than memory, or has no such column.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise TableError(f"{path}: unknown format; known are {', '.join(READERS)}")
    _check_file(path)
    try:
        columns, index = reader(path, names)
    except (TableError, ModuleNotFoundError):
        raise
    except MemoryError:
        raise TableError(f"{path} does not fit into memory") from None
    except Exception as error:
        raise TableError(f"{path} cannot be read: {one_line(error)}") from error
    check_names(path, names, columns)
    lengths = {name: len(column) for name, column in columns.items()}
    rows = next(iter(lengths.values()), 0)
    for name, length in lengths.items():
        if length != rows:
            raise TableError(f"{path}: column {name!r} has {length} rows, where others have {rows}")
    if not rows:
        raise TableError(f"{path} has no rows")
    return Table(path, columns, rows, tuple(index))


def _check_file(path: Path) -> None:
    if not path.exists():
        raise TableError(f"{path} does not exist")
    if not path.is_file():
        raise TableError(f"{path} is not a file")
    if not path.stat().st_size:
        raise TableError(f"{path} is empty")


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


def _check_memory(path: Path, size: int) -> None:
    """Refuse what cannot fit before the machine begins to swap."""
    available = available_memory()
    if available is not None and size > available:
        raise TableError(
            f"{path} has {size / 2**30:.1f} GiB, more than the {available / 2**30:.1f} GiB of "
            "memory available; name fewer columns of a Parquet file, or take a sample"
        )


def available_memory() -> int | None:
    """Return the bytes of memory that this process may still use, or None where nobody says."""
    limits = []
    try:
        fields = Path("/proc/meminfo").read_text(encoding="ascii").split()
        limits.append(1024 * int(fields[fields.index("MemAvailable:") + 1]))
    except (OSError, ValueError):
        pass
    group = Path("/sys/fs/cgroup")
    try:
        used = int((group / "memory.current").read_text(encoding="ascii"))
        limits.append(int((group / "memory.max").read_text(encoding="ascii")) - used)
    except (OSError, ValueError):
        pass
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            limits.append(limit - pages * os.sysconf("SC_PAGE_SIZE"))
    except (ImportError, OSError, ValueError):
        pass
    return max(min(limits), 0) if limits else None


# By name, and the names of those that name the rows.
Columns = tuple[dict[str, Any], list[str]]


def _columns_of(path: Path, table: pa.Table) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in columns:
            raise TableError(f"{path}: two columns are called {name!r}")
        columns[name] = as_known(column)
    return columns


def _read_csv(path: Path, names: Sequence[str] | None) -> Columns:
    import pyarrow as pa
    from pyarrow import csv

    check_csv(path)
    _check_memory(path, path.stat().st_size)
    with csv.open_csv(path) as reader:
        known = reader.schema.names
    check_names(path, names, known)
    for name in names or ():
        if known.count(name) > 1:
            raise TableError(f"{path}: {known.count(name)} columns are called {name!r}")
    convert = csv.ConvertOptions(
        include_columns=list(names or ()), null_values=NULLS, strings_can_be_null=True
    )
    try:
        table = csv.read_csv(path, convert_options=convert)
    except pa.ArrowInvalid as error:
        if "conversion error" not in str(error):
            raise
        # Types come from the first block: look at all rows before giving up.
        whole = csv.ReadOptions(block_size=min(path.stat().st_size + 1, 2**31 - 1))
        table = csv.read_csv(path, convert_options=convert, read_options=whole)
    columns = _columns_of(path, table)
    check_utf8(path, columns)
    # A first column without a name holds the names of rows, as pandas and R write them.
    return columns, [name for name in known[:1] if not name.strip()]


def _read_parquet(path: Path, names: Sequence[str] | None) -> Columns:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    check_names(path, names, file.schema_arrow.names)
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    chunks = [group.column(j) for group in groups for j in range(group.num_columns)]
    wanted = [c for c in chunks if names is None or c.path_in_schema.split(".")[0] in names]
    _check_memory(path, sum(chunk.total_uncompressed_size for chunk in wanted))
    table = file.read(columns=None if names is None else list(names))
    return _columns_of(path, table), index_of_pandas(file.schema_arrow)


def _read_arrow(path: Path, names: Sequence[str] | None) -> Columns:
    import pyarrow as pa

    _check_memory(path, path.stat().st_size)
    with pa.memory_map(os.fspath(path)) as source:
        try:
            table = pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            table = pa.ipc.open_stream(source).read_all()
    index = index_of_pandas(table.schema)
    check_names(path, names, table.column_names)
    return _columns_of(path, table if names is None else table.select(dict.fromkeys(names))), index


def _read_numpy(path: Path, names: Sequence[str] | None) -> Columns:
    import pyarrow as pa

    loaded = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
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
    return {n: as_known(pa.chunked_array([pa.array(a)])) for n, a in native.items()}, []


READERS: dict[str, Callable[[Path, Sequence[str] | None], Columns]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".npy": _read_numpy,
    ".npz": _read_numpy,
}


def learn_features(
    table: Table, names: Sequence[str], categorical: Sequence[str] = ()
) -> list[Feature]:
    """Decide what each column becomes.

    Parameters
    ----------
    table : Table
        What the levels are taken from.
    names : sequence of str
        The columns to use.
    categorical : sequence of str
        Columns of numbers to be treated like text.

    Returns
    -------
    list of Feature
        One for each name.

    Raises
    ------
    TableError
        If a column is constant, has no values, too many levels or a type that is neither number
        nor text.
    """
    return [
        _feature(table.column(name, fitting=True), categorical=name in categorical)
        for name in names
    ]


def _feature(column: Column, *, categorical: bool) -> Feature:
    if column.values.null_count == len(column.values):
        column.refuse("has no values")
    column.check_type(f"{LEAVE_OUT}, or turn it into one of them")
    if not (categorical or column.is_categories()) and _is_numbers(column):
        values = column.numbers()
        values = values[~np.isnan(values)]
        if not len(values):
            column.refuse("has no values")
        if values.min() == values.max():
            _refuse_constant(column, f"{values[0]:g}")
        return Feature(column.name)
    levels = column.levels()
    if len(levels) == 1:
        _refuse_constant(column, repr(levels[0]))
    if len(levels) > MAX_LEVELS:
        column.refuse(
            f"has {len(levels)} different values, more than {MAX_LEVELS}",
            f"{LEAVE_OUT} if it is an identifier",
        )
    return Feature(column.name, tuple(levels))


def _is_numbers(column: Column) -> bool:
    if not column.is_text():
        return True
    if not column.holds_numbers():
        return False
    if column.source.suffix.lower() != ".csv":
        # Whoever wrote it may have meant groups, or numbers.
        column.refuse(
            "is text in which every cell is a number",
            f"store it as numbers, or {column.advice.as_groups}",
        )
    return True


def _refuse_constant(column: Column, value: str) -> None:
    column.refuse(f"is constant ({value} in every row), so it tells nothing")


def design(
    table: Table, features: Sequence[Feature], *, fitting: bool = False
) -> tuple[Array, Array]:
    """Return the matrix, in Fortran order, and which rows have no missing value."""
    width = sum(len(feature.outputs) for feature in features)
    X = np.empty((table.rows, width), order="F")
    complete = np.ones(table.rows, np.bool_)
    place = 0
    for feature in features:
        column = table.column(feature.name, fitting=fitting)
        if feature.levels is None:
            X[:, place] = column.numbers()
            complete &= ~np.isnan(X[:, place])
        else:
            codes = _codes(column, feature.levels)
            complete &= codes >= 0
            for level in range(1, len(feature.levels)):
                X[:, place + level - 1] = codes == level
        place += len(feature.outputs)
    return X, complete


def _codes(column: Column, levels: Sequence[str]) -> Array:
    """Return the number of each row's level, -1 where it is missing."""
    encoded = column.text().combine_chunks().dictionary_encode()
    if hasattr(encoded, "combine_chunks"):
        encoded = encoded.combine_chunks()
    number = {level: i for i, level in enumerate(levels)}
    found = encoded.dictionary.to_pylist()
    rows = encoded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
    for i, level in enumerate(found):
        if level not in number:
            where = column.place(int(np.argmax(rows == i)))
            raise TableError(
                f"{column.source}: column {column.name!r} holds {level!r}, a level that the model "
                f"has not seen, in {where}"
            )
    places = np.array([number[level] for level in found] + [-1])
    return np.asarray(places[rows])


Label = bool | int | float | str


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
        rare = _rarest(column, cells) if 2 < len(values) <= MAX_LEVELS else ""
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
