"""Tables in files, as a matrix to fit: CSV, Parquet, Arrow, .npy and .npz (extra ``fit``).

A number stays a number; text becomes one column for each level but the first. Whatever is wrong
with a file is a :class:`TableError` whose one line says what and where.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbce._typing import Array

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Feature", "Table", "TableError", "design", "learn_features", "read_table", "target_of"]

# More levels than this are taken for an identifier.
MAX_LEVELS = 200
NULLS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]
LONGEST_MESSAGE = 200


class TableError(Exception):
    """A file or one of its columns cannot be used; the text is the one line that says why."""


@dataclass(frozen=True)
class Table:
    """Columns of equal length, by name."""

    source: Path
    columns: dict[str, pa.ChunkedArray]
    rows: int

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """Return a column, or raise an error that says which there are."""
        check_names(self.source, [name], self.columns)
        return self.columns[name]


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
        columns = reader(path, names)
    except (TableError, ModuleNotFoundError):
        raise
    except MemoryError:
        raise TableError(f"{path} does not fit into memory") from None
    except Exception as error:
        raise TableError(f"{path} cannot be read: {_one_line(error)}") from error
    check_names(path, names, columns)
    lengths = {name: len(column) for name, column in columns.items()}
    rows = next(iter(lengths.values()), 0)
    for name, length in lengths.items():
        if length != rows:
            raise TableError(f"{path}: column {name!r} has {length} rows, where others have {rows}")
    if not rows:
        raise TableError(f"{path} has no rows")
    return Table(path, columns, rows)


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
            raise TableError(f"{source} has no column {name!r}; its columns are {', '.join(known)}")


def _one_line(error: Exception) -> str:
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


Columns = dict[str, Any]


def _columns_of(path: Path, table: pa.Table) -> Columns:
    columns: Columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in columns:
            raise TableError(f"{path}: two columns are called {name!r}")
        columns[name] = column
    return columns


def _read_csv(path: Path, names: Sequence[str] | None) -> Columns:
    import pyarrow as pa
    from pyarrow import csv

    _check_memory(path, path.stat().st_size)
    with csv.open_csv(path) as reader:
        known = reader.schema.names
    check_names(path, names, known)
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
    return _columns_of(path, table)


def _read_parquet(path: Path, names: Sequence[str] | None) -> Columns:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    check_names(path, names, file.schema_arrow.names)
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    chunks = [group.column(j) for group in groups for j in range(group.num_columns)]
    wanted = [c for c in chunks if names is None or c.path_in_schema.split(".")[0] in names]
    _check_memory(path, sum(chunk.total_uncompressed_size for chunk in wanted))
    return _columns_of(path, file.read(columns=None if names is None else list(names)))


def _read_arrow(path: Path, names: Sequence[str] | None) -> Columns:
    import pyarrow as pa

    _check_memory(path, path.stat().st_size)
    with pa.memory_map(os.fspath(path)) as source:
        try:
            table = pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            table = pa.ipc.open_stream(source).read_all()
    columns = _columns_of(path, table)
    return columns if names is None else {name: columns[name] for name in names if name in columns}


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
    return {
        name: pa.chunked_array([pa.array(np.ascontiguousarray(column))])
        for name, column in wanted.items()
    }


READERS: dict[str, Callable[[Path, Sequence[str] | None], Columns]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".npy": _read_numpy,
    ".npz": _read_numpy,
}


def _is_text(column: Any) -> bool:
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _as_text(column: Any) -> Any:
    """Return the values as text, whole numbers without a point whatever type they are read as."""
    from pyarrow import compute, int64, string, types

    if types.is_floating(column.type):
        column = compute.if_else(compute.is_nan(column), None, column)
        if compute.all(compute.equal(compute.round(column), column)).as_py():
            column = compute.cast(column, int64())
    return compute.cast(column, string())


def _as_numbers(column: Any, name: str, source: Path) -> Array:
    """Return float64 with NaN for what is missing."""
    from pyarrow import compute, float64, types

    kind = column.type
    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    if not (numeric or types.is_decimal(kind)):
        raise TableError(
            f"{source}: column {name!r} is of type {kind}; numbers and text can be used: leave it "
            "out with --features, or turn it into one of them"
        )
    if types.is_boolean(kind):
        from pyarrow import int8

        column = compute.cast(column, int8())
    values = compute.cast(column, float64(), safe=False).to_numpy()
    if np.isinf(values).any():
        row = int(np.argmax(np.isinf(values))) + 1
        raise TableError(f"{source}: column {name!r} is infinite in row {row}")
    return np.asarray(values)


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
    features = []
    for name in names:
        column = table[name]
        if column.null_count == len(column):
            raise TableError(f"{table.source}: column {name!r} has no values")
        if not (_is_text(column) or name in categorical):
            values = _as_numbers(column, name, table.source)
            if np.nanmin(values) == np.nanmax(values):
                _refuse_constant(table, name, f"{np.nanmin(values):g}")
            features.append(Feature(name))
            continue
        if not _is_text(column):
            _as_numbers(column, name, table.source)  # refuses what is neither number nor text
        levels = _as_text(column).drop_null().unique().to_pylist()
        levels.sort(key=None if _is_text(column) else float)
        if len(levels) == 1:
            _refuse_constant(table, name, repr(levels[0]))
        if len(levels) > MAX_LEVELS:
            raise TableError(
                f"{table.source}: column {name!r} has {len(levels)} different values, more than "
                f"{MAX_LEVELS}; leave it out with --features if it is an identifier"
            )
        features.append(Feature(name, tuple(levels)))
    return features


def _refuse_constant(table: Table, name: str, value: str) -> None:
    raise TableError(
        f"{table.source}: column {name!r} is constant ({value} in every row), so it tells nothing; "
        "leave it out with --features"
    )


def design(table: Table, features: Sequence[Feature]) -> tuple[Array, Array]:
    """Return the matrix, in Fortran order, and which rows have no missing value."""
    width = sum(len(feature.outputs) for feature in features)
    X = np.empty((table.rows, width), order="F")
    complete = np.ones(table.rows, np.bool_)
    place = 0
    for feature in features:
        column = table[feature.name]
        if feature.levels is None:
            if _is_text(column):
                raise TableError(
                    f"{table.source}: column {feature.name!r} holds text, where the model was "
                    "fitted to numbers"
                )
            X[:, place] = _as_numbers(column, feature.name, table.source)
            complete &= ~np.isnan(X[:, place])
        else:
            codes = _codes(column, feature, table)
            complete &= codes >= 0
            for level in range(1, len(feature.levels)):
                X[:, place + level - 1] = codes == level
        place += len(feature.outputs)
    return X, complete


def _codes(column: Any, feature: Feature, table: Table) -> Array:
    """Return the number of each row's level, -1 where it is missing."""
    encoded = _as_text(column).combine_chunks().dictionary_encode()
    if hasattr(encoded, "combine_chunks"):
        encoded = encoded.combine_chunks()
    number = {level: i for i, level in enumerate(feature.levels or ())}
    found = encoded.dictionary.to_pylist()
    unknown = [level for level in found if level not in number]
    if unknown:
        raise TableError(
            f"{table.source}: column {feature.name!r} holds {unknown[0]!r}, a level that the model "
            "has not seen"
        )
    places = np.array([number[level] for level in found] + [-1])
    codes = encoded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
    return np.asarray(places[codes])


Label = bool | int | float | str


def _spellings(value: Label) -> set[str]:
    """Return how a value may be written on the command line."""
    text = str(value)
    return {text, text.lower()} | ({f"{value:g}"} if isinstance(value, float) else set())


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
    from pyarrow import compute, types

    column = table[name]
    if types.is_dictionary(column.type):
        column = _as_text(column)
    found = compute.unique(column).to_pylist()
    values = sorted({v for v in found if v is not None and v == v}, key=lambda v: (str(type(v)), v))
    if len(values) != 2:
        shown = ", ".join(repr(v) for v in values[:5]) + (", ..." if len(values) > 5 else "")
        raise TableError(
            f"{table.source}: the target {name!r} has {len(values)} different value(s) ({shown}); "
            "two are needed"
        )
    if not all(isinstance(value, bool | int | float | str) for value in values):
        raise TableError(f"{table.source}: the target {name!r} is of type {column.type}")
    if positive is not None:
        matching = [v for v in values if positive in _spellings(v)]
        if len(matching) != 1:
            raise TableError(
                f"--positive {positive} is not a value of the target {name!r}, which has "
                f"{values[0]!r} and {values[1]!r}"
            )
        if matching[0] == values[0]:
            values.reverse()
    hits = compute.equal(column, values[1])
    misses = compute.equal(column, values[0])
    labels = compute.fill_null(hits, False).to_numpy().astype(np.uint8)
    known = labels.astype(np.bool_) | compute.fill_null(misses, False).to_numpy()
    return labels, known, (values[0], values[1])
