"""Text files of the world: what is guessed is right and said, and options say otherwise."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="files come from data frames")
for package in ("pyarrow", "sklearn"):
    pytest.importorskip(package, reason=f"fastbce fit needs {package}")

from hypothesis import given
from hypothesis import strategies as st

from fastbce import cli
from fastbce.cli.csv_text import Spelling, look
from fastbce.cli.formats import read_table

ROWS = 120


def frame() -> Any:
    rng = np.random.default_rng(5)
    x = rng.normal(size=ROWS).round(3)
    town = rng.choice(["Zürich", "Genf, CH", "Bern"], ROWS)
    y = np.where(x + rng.logistic(size=ROWS) > 0, "ja", "nein")
    return pd.DataFrame({"größe": x, "town": town, "y": y})


def text(**options: Any) -> str:
    return str(frame().to_csv(index=False, **options))


def fit(data: Any, folder: Path, *options: Any) -> int:
    arguments = ["fit", data, "--target", "y", "--out", folder / "m.json", *options]
    return cli.main([str(argument) for argument in arguments])


def coefficients(folder: Path) -> Any:
    return json.loads((folder / "m.json").read_text())["coef"]


FILES: dict[str, tuple[str, bytes, str]] = {
    "semicolons": ("d.csv", text(sep=";").encode(), "separated by semicolons"),
    "decimal comma": ("d.csv", text(sep=";", decimal=",").encode(), "a decimal comma"),
    "tabs": ("d.tsv", text(sep="\t").encode(), "separated by tabs"),
    "bars": ("d.dat", text(sep="|").encode(), "separated by vertical bars"),
    "txt": ("d.txt", text(sep="\t", decimal=",").encode(), "a decimal comma"),
    "latin": ("d.csv", text().encode("latin-1"), "the encoding is windows-1252"),
    "utf-16": ("d.csv", text().encode("utf-16"), "the encoding is utf-16"),
    "utf-16 without a mark": ("d.csv", text().encode("utf-16-be"), "encoding is utf-16-be"),
    "utf-32": ("d.csv", text().encode("utf-32"), "the encoding is utf-32"),
    "mark": ("d.csv", text().encode("utf-8-sig"), ""),
    "gzip": ("d.csv.gz", gzip.compress(text().encode()), ""),
    "unknown suffix": ("d.data", text().encode(), ""),
    "old Mac": ("d.csv", text(lineterminator="\r").encode(), ""),
}


@pytest.mark.parametrize("name", FILES)
def test_every_spelling_gives_the_same_model(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain.csv").write_bytes(text().encode())
    assert fit(tmp_path / "plain.csv", tmp_path, "--no-holdout") == 0
    right = coefficients(tmp_path)
    assert "separated" not in capsys.readouterr().err
    file, content, said = FILES[name]
    (tmp_path / file).write_bytes(content)
    assert fit(tmp_path / file, tmp_path, "--no-holdout") == 0
    assert coefficients(tmp_path) == right
    notes = capsys.readouterr().err
    assert said in notes
    assert ("guess" in notes or "separated" in notes or "encoding" in notes) == bool(said)


def test_what_the_user_says_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "d.csv"
    data.write_bytes(text(sep=";", decimal=",").encode("cp1252"))
    options = ("--sep", ";", "--decimal", ",", "--encoding", "cp1252")
    assert fit(data, tmp_path, *options) == 0
    assert str(data) not in capsys.readouterr().err.replace("wrote", "")
    assert fit(data, tmp_path, "--encoding", "utf-8") == 2
    assert "is not utf-8: its byte" in capsys.readouterr().err
    for wrong in (("--sep", "ab"), ("--encoding", "latin-17"), ("--decimal", "x")):
        with pytest.raises(SystemExit) as stop:
            fit(data, tmp_path, *wrong)
        assert stop.value.code == 2
    # 1,234 may be a thousand or a decimal comma: nothing is guessed, and both are offered.
    data.write_text("x;y\n" + "".join(f"{1 + i % 5},{i % 7}00;{i % 2}\n" for i in range(40)))
    assert fit(data, tmp_path) == 2
    assert "give --decimal , if those are decimal commas" in capsys.readouterr().err
    assert fit(data, tmp_path, "--decimal", ",") == 0


def test_bad_bytes_far_down_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "d.csv"
    lines = [f"{i % 9},{'x' if i % 2 else 'z'},{i % 5 % 2}" for i in range(200_000)]
    lines[-1] = "1,Zürich,0"
    data.write_bytes(("a,b,y\n" + "\n".join(lines)).encode("latin-1"))
    table = read_table(data)
    assert table.columns["b"].to_pylist()[-1] == "Zürich"
    assert "column 'b' in row 200000 (line 200001 of the file) has the byte 0xfc" in table.notes[0]


def test_row_names_of_r(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_text('"a" "b"\n"1" 1.5 "x y"\n"2" 2 "z"\n')
    table = read_table(tmp_path / "d.txt")
    assert list(table.columns) == ["", "a", "b"]
    assert table.index == ("",)
    assert table.columns["b"].to_pylist() == ["x y", "z"]


@pytest.mark.parametrize("kind", ["csv", "gzip", "parquet", "feather"])
def test_the_standard_input(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content: Any = io.BytesIO()
    if kind in ("csv", "gzip"):
        content.write(text().encode() if kind == "csv" else gzip.compress(text().encode()))
    else:
        getattr(frame(), f"to_{kind}")(content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.getvalue())))
    assert fit("-", tmp_path) == 0
    (tmp_path / "d.csv").write_bytes(text().encode())
    right = coefficients(tmp_path)
    assert fit(tmp_path / "d.csv", tmp_path) == 0
    assert coefficients(tmp_path) == right


def test_other_formats_are_told_how_to_be_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, advice in (("d.dta", "pandas.read_stata("), ("d.rds", "in R: write.csv(")):
        (tmp_path / name).write_bytes(b"content")
        assert fit(tmp_path / name, tmp_path) == 2
        assert advice in capsys.readouterr().err


def test_excel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "d.xlsx"
    try:
        frame().to_excel(data, index=False)
    except ModuleNotFoundError:
        data.write_bytes(b"PK\x03\x04")
        assert fit(data, tmp_path) == 2
        assert "pip install 'fastbce[excel]', or save the sheet as CSV" in capsys.readouterr().err
        return
    assert fit(data, tmp_path) == 0
    right = coefficients(tmp_path)
    (tmp_path / "d.csv").write_bytes(text().encode())
    assert fit(tmp_path / "d.csv", tmp_path) == 0
    np.testing.assert_allclose(coefficients(tmp_path), right, rtol=1e-9)


@given(
    sep=st.sampled_from([",", ";", "\t", "|"]),
    rows=st.lists(
        st.tuples(st.integers(-99, 99), st.text("abc ,;|", max_size=6), st.integers(0, 1)),
        min_size=2,
        max_size=20,
    ),
)
def test_the_separator_is_found(sep: str, rows: list[tuple[int, str, int]]) -> None:
    table = pd.DataFrame(rows, columns=["a", "b", "y"])
    content = table.to_csv(index=False, sep=sep, quoting=2).encode()
    found = look(Path("d.csv"), content, Spelling())
    assert (found.sep, found.names) == (sep, ("a", "b", "y"))
