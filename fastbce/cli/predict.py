"""``fastbce predict``: from a model and a file to predictions, one line for each row."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fastbce
from fastbce._columns import TableError
from fastbce._features import encode, frame_of
from fastbce._formulas import FormulaError
from fastbce._writing import check_writable, is_standard_output, write_whole
from fastbce.model_file import Label, Model, load

from .csv_text import Spelling
from .fit import spelling_of
from .formats import read_table
from .notes import note, step
from .tables import check_names

if TYPE_CHECKING:
    import argparse

    from fastbce._typing import Array

    from .tables import Table

ROWS_AT_ONCE = 1 << 16
SHOWN_LEVELS = 5


class _Rows:
    """The matrix of a table, and the rows that get no prediction."""

    def __init__(self, table: Table, model: Model, offset: str | None) -> None:
        self.missing: Array = np.zeros(table.rows, np.bool_)
        self.unknown: Array = np.zeros(table.rows, np.bool_)
        self.missing_in: dict[str, int] = {}
        self.levels: list[str] = []
        self.beyond: dict[str, int] = {}
        self.offset: Array | None = None
        if offset is not None:
            self.offset = np.asarray(table.column(offset, fitting=False).numbers(), np.float64)
            gone = np.isnan(self.offset)
            if gone.any():
                self.missing_in[offset] = int(np.count_nonzero(gone))
            self.missing |= gone
        encoded = {}
        for feature in model.features:
            column = table.column(feature.name, fitting=False)
            values, unknown = encode(column, feature)
            grouped = feature.levels is not None
            gone = values == -1 if grouped else np.isnan(values)
            if gone.any():
                self.missing_in[feature.name] = int(np.count_nonzero(gone))
            self.missing |= gone
            if grouped:
                self.unknown |= values == -2
                for level, (count, row) in unknown.items():
                    where = column.place(row)
                    self.levels.append(f"{feature.name}={level} ({count} rows, first {where})")
            encoded[feature.name] = values
        try:
            self.X = model.matrix(encoded, table.rows)
            known = ~(self.missing | self.unknown)
            if model.formula is not None and known.any():
                self._look_at_the_formula(model, encoded, known)
        except FormulaError as error:
            raise TableError(f"{table.source}: {error}") from None

    def _look_at_the_formula(self, model: Model, encoded: dict[str, Array], known: Array) -> None:
        """Count the rows beyond those of the fit, and those for which a function has no value."""
        frame = frame_of(model.features, {name: values[known] for name, values in encoded.items()})
        for what, beyond in () if model.formula is None else model.formula.outside(frame):
            if beyond.any():
                self.beyond[what] = int(np.count_nonzero(beyond))
                self.unknown[known] |= beyond
        gone = ~np.isfinite(self.X).all(axis=1) & ~self.missing & ~self.unknown
        for place, name in enumerate(model.names):
            count = int(np.count_nonzero(~np.isfinite(self.X[gone, place])))
            if count:
                self.missing_in[name] = count
        self.missing |= gone


def run_predict(arguments: argparse.Namespace) -> None:
    """Write the probability and the class of each row of a file.

    Parameters
    ----------
    arguments : argparse.Namespace
        As ``fastbce predict`` parses them.

    Raises
    ------
    TableError
        If the model or the data cannot be used.
    OSError
        If the file cannot be written.
    """
    out = Path("-") if arguments.out is None else arguments.out
    check_writable("--out", out, [arguments.data, arguments.model])
    model = load(arguments.model)
    _check_offset(model, arguments)
    covariance = _covariance(model, arguments.model) if arguments.interval else None
    wanted = dict.fromkeys([*arguments.id, *(feature.name for feature in model.features)])
    if arguments.offset is not None:
        wanted[arguments.offset] = None
    said = spelling_of(arguments)
    missing = tuple(dict.fromkeys([*said.na_values, *model.na_values]))
    spelling = Spelling(said.sep, said.decimal, said.encoding, missing)
    with step(f"reading {arguments.data}"):
        table = read_table(arguments.data, list(wanted), spelling)
    check_names(table.source, arguments.id, table.columns)
    for text in table.notes:
        note(f"{table.source}: {text}")
    rows = _Rows(table, model, arguments.offset)
    _say_blanks(rows, table, arguments)
    z = _logits(model, rows, table.source)
    columns = [(name, _cells(table, name)) for name in arguments.id]
    named = [name for name, _ in columns]
    header = [*named, *_header(arguments)]
    if len(set(header)) < len(header):
        listed = ",".join(arguments.id)
        raise TableError(f"--id {listed}: the output would have two columns of one name")
    half = _half_widths(rows.X, covariance, arguments.interval)

    def write(file: Any) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        try:
            _write_predictions(text, arguments, model, (header, columns, z, half))
        finally:
            text.detach()

    if is_standard_output(out):
        _check_encoding(model.classes)
        _write_predictions(sys.stdout, arguments, model, (header, columns, z, half))
        return
    write_whole(out, write)
    blank = int(np.count_nonzero(np.isnan(z)))
    note(f"wrote {len(z)} predictions to {out}" + (f", {blank} of them blank" if blank else ""))


def _check_offset(model: Model, arguments: argparse.Namespace) -> None:
    if model.offset is not None and arguments.offset is None:
        raise TableError(
            f"{arguments.model} was fitted with the offset {model.offset!r}: give --offset and the "
            f"column of {arguments.data} that holds it (zeros, where there is none)"
        )
    if model.offset is None and arguments.offset is not None:
        raise TableError(
            f"{arguments.model} was fitted without an offset: leave --offset {arguments.offset} out"
        )


def _header(arguments: argparse.Namespace) -> list[str]:
    names = ["probability", "prediction"]
    if arguments.linear:
        names.append("linear_predictor")
    if arguments.interval:
        names += ["probability_low", "probability_high"]
    return names


def _covariance(model: Model, path: Path) -> Array:
    found = model.fit.get("covariance")
    if found is None:
        raise TableError(
            f"{path} has no covariance of its coefficients, which --interval needs: fit it without "
            "--C, with this version"
        )
    return np.array(found, np.float64)


def _say_blanks(rows: _Rows, table: Table, arguments: argparse.Namespace) -> None:
    """Say which rows get no prediction, or raise where that is not wanted."""
    problems = []
    if rows.missing.any():
        count = int(np.count_nonzero(rows.missing))
        listed = ", ".join(f"{name} {n}" for name, n in rows.missing_in.items())
        first = int(np.argmax(rows.missing)) + 1
        text = f"values are missing in {count} of {table.rows} rows ({listed}), the first is "
        text += f"row {first}"
        problems.append((text, arguments.missing))
    if rows.unknown.any():
        count = int(np.count_nonzero(rows.unknown))
        listed = ", ".join(rows.levels[:SHOWN_LEVELS])
        more = len(rows.levels) - SHOWN_LEVELS
        listed += f" and {more} more" if more > 0 else ""
        seen = f"a level that the model has not seen: {listed}"
        if rows.beyond:
            ends = ", ".join(f"{what} ({n} rows)" for what, n in rows.beyond.items())
            seen = f"{seen}, or are beyond {ends}" if listed else f"values beyond {ends}"
        text = f"{count} of {table.rows} rows have {seen}"
        problems.append((text, arguments.unknown))
    wrong = [text for text, choice in problems if choice == "error"]
    if wrong:
        raise TableError(f"{table.source}: {'; '.join(wrong)}")
    for text, _ in problems:
        note(f"{table.source}: {text}; they get no prediction")


def _logits(model: Model, rows: _Rows, source: Path) -> Array:
    known = ~(rows.missing | rows.unknown)
    with np.errstate(over="ignore", invalid="ignore"):
        z = model.decision_function(rows.X, rows.offset)
    bad = ~np.isfinite(z) & known
    if bad.any():
        row = int(np.argmax(bad)) + 1
        raise TableError(f"{source}: the values in row {row} are so large that no prediction holds")
    z[~known] = np.nan
    return z


def _half_widths(X: Array, covariance: Array | None, level: float | None) -> Array | None:
    """Return half the widths of the intervals of the logits."""
    if covariance is None or level is None:
        return None
    from scipy.special import ndtri

    half = np.empty(len(X))
    for start in range(0, len(X), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        rows = X[part]
        if len(covariance) > rows.shape[1]:
            rows = np.column_stack([np.ones(len(rows)), rows])
        variance = np.einsum("ij,jk,ik->i", rows, covariance, rows, optimize=True)
        half[part] = np.sqrt(np.maximum(variance, 0.0))
    return np.asarray(ndtri((1 + level) / 2) * half)


def _cells(table: Table, name: str) -> list[str]:
    """Return the cells of a column as the file writes them, as far as it says."""
    cells = table.column(name, fitting=False).text().to_pylist()
    return ["" if cell is None else cell for cell in cells]


def _check_encoding(classes: tuple[Label, Label]) -> None:
    """Refuse to write other names than the classes have."""
    encoding = sys.stdout.encoding or "utf-8"
    for value in classes:
        try:
            str(value).encode(encoding)
        except UnicodeEncodeError:
            raise TableError(
                f"the standard output is {encoding}, which cannot write the class {value!r}; name "
                "a file with --out, or set PYTHONIOENCODING=utf-8"
            ) from None


def _write_predictions(
    file: Any,
    arguments: argparse.Namespace,
    model: Model,
    content: tuple[list[str], list[tuple[str, list[str]]], Array, Array | None],
) -> None:
    header, ids, z, half = content
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    blank = [""] * len(_header(arguments))
    for start in range(0, len(z), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        p = fastbce.sigmoid(z[part])
        values = [p.tolist(), [model.classes[int(v >= arguments.threshold)] for v in p]]
        if arguments.linear:
            values.append(z[part].tolist())
        if half is not None:
            values.append(fastbce.sigmoid(z[part] - half[part]).tolist())
            values.append(fastbce.sigmoid(z[part] + half[part]).tolist())
        named = [cells[part] for _, cells in ids]
        known = np.isfinite(z[part])
        for i, row in enumerate(zip(*values, strict=True)):
            writer.writerow([*(cells[i] for cells in named), *(row if known[i] else blank)])
