"""What files of other formats than text hold: kinds of cells, names, and several tables."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

for package in ("pyarrow", "sklearn"):
    pytest.importorskip(package, reason=f"fastbce fit needs {package}")

import pyarrow as pa
from pyarrow import parquet

from fastbce._columns import TableError
from fastbce.cli.formats import read_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADER: list[Any] = ["n", "x", "when", "both", "yes"]
DAY = dt.datetime(2024, 2, 29)
CELLS: list[list[Any]] = [
    [1, 0.5, DAY, 1, True],
    [None, 2, DAY, "a", False],
    [3, "NA", None, None, None],
]


def book(path: Path, *sheets: Sequence[Any]) -> Path:
    openpyxl = pytest.importorskip("openpyxl", reason="Excel files need it")
    made = openpyxl.Workbook()
    made.remove(made.active)
    for rows in sheets:
        sheet = made.create_sheet()
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


def test_kinds_of_cells_in_excel(tmp_path: Path) -> None:
    content = read_table(book(tmp_path / "d.xlsx", [HEADER, *CELLS, [], [4]]))
    found = {name: column.to_pylist() for name, column in content.columns.items()}
    # What is empty, or says that it is, is missing; rows may end early.
    assert found == {
        "n": [1, None, 3, 4],
        "x": [0.5, 2, None, None],
        "when": [DAY, DAY, None, None],
        "both": ["1", "a", None, None],
        "yes": [True, False, None, None],
    }
    assert pa.types.is_integer(content.columns["n"].type)
    assert pa.types.is_floating(content.columns["x"].type)


def test_some_columns_of_the_first_sheet(tmp_path: Path) -> None:
    path = book(tmp_path / "d.xlsx", [HEADER, *CELLS], [["other"], [1]])
    content = read_table(path, ["x"])
    assert list(content.columns) == ["x"]
    assert "the first of 2 sheets, 'Sheet', is read" in content.notes[0]


def test_names_that_occur_twice(tmp_path: Path) -> None:
    excel = book(tmp_path / "d.xlsx", [["a", "a"], [1, 2]])
    parquet.write_table(pa.table([[1], [2]], names=["a", "a"]), tmp_path / "d.parquet")
    text = tmp_path / "d.csv"
    text.write_text("a,b,a\n1,2,3\n")
    for path in (excel, tmp_path / "d.parquet", text):
        with pytest.raises(TableError, match="columns are called 'a'"):
            read_table(path)


def test_records_of_numpy(tmp_path: Path) -> None:
    records = np.zeros(5, [("a", "<f4"), ("b", ">i2"), ("c", "U3")])
    records["a"], records["b"], records["c"] = np.arange(5) / 2, np.arange(5) - 300, list("vwxyz")
    np.save(tmp_path / "d.npy", records)
    np.savez(tmp_path / "d.npz", one=records, two=np.arange(10).reshape(5, 2))
    columns = read_table(tmp_path / "d.npy").columns
    for name in "abc":
        assert columns[name].to_pylist() == records[name].tolist()
    assert list(read_table(tmp_path / "d.npz").columns) == ["a", "b", "c", "two1", "two2"]
    assert read_table(tmp_path / "d.npz", ["two2"]).columns["two2"].to_pylist() == [1, 3, 5, 7, 9]
