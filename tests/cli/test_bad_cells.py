"""Files as people have them: bad cells, encodings, types and row names are named or understood."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="files come from data frames")
for package in ("pyarrow", "sklearn", "matplotlib"):
    pytest.importorskip(package, reason=f"these tests of fastbce fit need {package}")

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, parquet

import fastbce
from fastbce import cli
from fastbce._columns import inexact
from fastbce.cli.formats import read_table
from fastbce.cli.reading import Choices, read_columns
from fastbce.cli.target import target_of
from fastbce.model_file import TableError, encode

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 200


def frame(**changes: Any) -> Any:
    rng = np.random.default_rng(0)
    age = rng.integers(18, 90, ROWS)
    data = pd.DataFrame({"age": age, "town": rng.choice(["Bern", "Genf", "Zug"], ROWS)})
    data["y"] = (0.05 * (age - 50) + rng.logistic(size=ROWS) > 0).astype(int)
    return data.assign(**changes)


def ages(cells: dict[int, str]) -> list[str]:
    """Return the ages as text, with other cells in some rows."""
    return [cells.get(row, str(age)) for row, age in enumerate(frame().age)]


def run(*arguments: Any) -> int:
    return cli.main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert error.startswith("fastbce ")
    return str(error)


def learn_features(table: Any, names: Any, categorical: Any = ()) -> Any:
    """Return the features that columns become; the first problem is raised."""
    reading = read_columns(table, [], Choices(names, categorical=categorical))
    if reading.problems:
        raise TableError(reading.problems[0])
    assert not reading.left_out
    return reading.features


def design(table: Any, features: Any) -> tuple[Any, Any]:
    """Return the matrix of some features, NaN where something is missing, and the whole rows."""
    parts = []
    for feature in features:
        values = encode(table.column(feature.name, fitting=True), feature).values
        if feature.levels is None:
            parts.append(np.asarray(values, np.float64))
        else:
            parts += [np.where(values < 0, np.nan, values == i) for i in feature.indicated]
    X = np.column_stack(parts)
    return X, ~np.isnan(X).any(axis=1)


BAD_CELLS = ["?", "12,5", "n/a", "-", "unknown", ".", "<NA>", "#N/A", "\\N", "missing", "Total"]
BAD_CELLS += ["1,234", "12%", "$5", "5 CHF", "12'000"]


@pytest.mark.parametrize("cell", BAD_CELLS)
def test_a_bad_cell_among_numbers_is_named(
    cell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = tmp_path / "d.csv", tmp_path / "m.json"
    frame(age=ages({7: cell})).to_csv(data, index=False)
    text = refused(capsys, run("fit", data, "--target", "y", "--out", model))
    assert f"column 'age' holds text where numbers are expected, in 1 cell: {cell!r} in " in text
    assert "in row 8 (line 9 of the file); " in text
    assert "--categorical age" in text
    assert not model.exists()
    # The same in a file to predict for, without the advice that would not help there.
    frame().to_csv(tmp_path / "good.csv", index=False)
    assert run("fit", tmp_path / "good.csv", "--target", "y", "--out", model) == 0
    capsys.readouterr()
    text = refused(capsys, run("predict", model, data))
    assert f"'age' holds text where numbers are expected, in 1 cell: {cell!r} in row 8" in text
    assert "--categorical" not in text


def test_the_share_of_numbers_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "d.csv"
    fifth = dict.fromkeys(range(0, ROWS, 5), "old")
    few = [str(int(age) // 20) if age != "old" else age for age in ages(fifth)]
    frame(age=few).to_csv(data, index=False)  # 80 % of numbers: a column of groups
    table = read_table(data)
    assert learn_features(table, ["age"])[0].levels == ("0", "1", "2", "3", "4", "old")
    marks = [cell.replace("old", "?") for cell in few]  # marks are no groups, however many
    frame(age=marks).to_csv(data, index=False)
    with pytest.raises(
        TableError, match=r"in 40 cells: '\?' in row 1 .*, '\?' in row 6 .*, \.\.\."
    ):
        learn_features(read_table(data), ["age"])
    assert learn_features(read_table(data), ["age"], ["age"])[0].levels is not None
    for spelling in ("{:.1f}%", "${:.2f}", "{:,.2f}"):  # all cells, in no spelling of numbers
        frame(age=[spelling.format(1000.5 + age) for age in frame().age]).to_csv(data, index=False)
        with pytest.raises(TableError, match="in 200 cells"):
            learn_features(read_table(data), ["age"])


def test_blanks_around_numbers_and_alone(tmp_path: Path) -> None:
    data = tmp_path / "d.csv"
    frame(age=ages({3: " 41 ", 5: "  ", 6: "+42"}), town=["  ", *frame().town[1:]]).to_csv(
        data, index=False
    )
    table = read_table(data)
    features = learn_features(table, ["age", "town"])
    assert features[0].levels is None
    assert features[1].levels == ("Bern", "Genf", "Zug")
    X, complete = design(table, features)
    assert np.flatnonzero(~complete).tolist() == [0, 5]
    expected = pd.read_csv(data, skipinitialspace=True).age.to_numpy()
    np.testing.assert_array_equal(X[:, 0], expected)


def test_lines_are_named_only_where_rows_are_lines(tmp_path: Path) -> None:
    data = tmp_path / "d.csv"
    frame(age=ages({7: "?"}), town='two\nlines "here"').to_csv(data, index=False)
    with pytest.raises(TableError, match=r"'\?' in row 8; give --na-values='\?' if"):
        learn_features(read_table(data), ["age"])


def encoded(encoding: str, **changes: Any) -> bytes:
    return str(frame(**changes).to_csv(index=False)).encode(encoding)


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "twice": (lambda: b"age,age,y\n1,2,0\n2,3,1\n", "columns are called 'age'"),
    "blanks": (lambda: b"age, y\n1, 0\n2, 1\n", "no column 'y'; its columns are age, ' y'"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_a_csv_file_is_instead(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, text = FILES[name]
    data = tmp_path / "d.csv"
    data.write_bytes(make())
    assert text in refused(capsys, run("fit", data, "--target", "y"))
    assert text in refused(capsys, run("fit", data, "--target", "y", "--features", "age,town")) or (
        name in ("twice", "blanks")
    )


def test_a_mark_of_utf8_and_columns_that_are_not_read(tmp_path: Path) -> None:
    data = tmp_path / "d.csv"
    data.write_bytes(encoded("utf-8-sig", town="Zürich"))
    assert list(read_table(data).columns) == ["age", "town", "y"]
    data.write_bytes(encoded("latin-1", town="Zürich"))
    assert list(read_table(data, ["age", "y"]).columns) == ["age", "y"]


@pytest.mark.parametrize("suffix", ["parquet", "feather", "csv"])
def test_row_names_are_no_variables(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = tmp_path / f"d.{suffix}", tmp_path / "m.json"
    part = frame().sort_values("y")  # whose index separates the classes
    if suffix == "csv":
        part.to_csv(data)
    else:
        getattr(part, f"to_{suffix}")(data)
    assert run("fit", data, "--target", "y", "--out", model) == 0
    assert "left out (" in capsys.readouterr().err
    names = [feature["name"] for feature in json.loads(model.read_text())["features"]]
    assert names == list((pd.read_csv(data, index_col=0) if suffix == "csv" else part).columns)[:2]
    assert run("predict", model, data) == 0


def test_a_named_index_is_one_too_unless_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = tmp_path / "d.parquet", tmp_path / "m.json"
    frame(number=np.random.default_rng(1).permutation(ROWS)).set_index("number").to_parquet(data)
    for options, expected in (((), ["age", "town"]), (("--features", "number"), ["number"])):
        assert run("fit", data, "--target", "y", "--out", model, *options) == 0
        features = json.loads(model.read_text())["features"]
        assert [feature["name"] for feature in features] == expected
    assert read_table(data).index == ("number",)
    frame().set_index("y").to_parquet(data)  # as a target it is asked for as well
    assert run("fit", data, "--target", "y") == 0


INTEGERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(2**53 - 5, 2**53 + 5),
    st.integers(-(2**53) - 5, 5 - 2**53),
    st.integers(0, 62).map(lambda bits: 1 << bits),
)


@given(values=st.lists(INTEGERS, min_size=1))
def test_inexact_is_what_python_says(values: list[int]) -> None:
    expected = [int(float(value)) != value for value in values]
    assert inexact(np.array(values, np.int64)).tolist() == expected
    large = [value + 2**63 for value in values]
    expected = [int(float(value)) != value for value in large]
    assert inexact(np.array(large, np.uint64)).tolist() == expected


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, 2**53 + 1, None], pa.int64()),
        pa.array([1, 2, 2**64 - 1, 2], pa.uint64()),
        pa.array([Decimal(1), Decimal(2), Decimal(10**20 + 1), None], pa.decimal128(38, 0)),
    ],
    ids=lambda values: str(values.type),
)
def test_numbers_that_would_be_rounded(values: pa.Array, tmp_path: Path) -> None:
    data = tmp_path / "d.parquet"
    parquet.write_table(pa.table({"id": values}), data)
    with pytest.raises(TableError, match=rf"'id' holds {values[2]} in row 3, which float64 would"):
        learn_features(read_table(data), ["id"])
    assert learn_features(read_table(data), ["id"], ["id"])[0].levels is not None


def test_decimals_are_their_numbers(tmp_path: Path) -> None:
    digits = np.random.default_rng(0).integers(-(10**9), 10**9, ROWS).tolist()
    exact = [Decimal(digit) / 1000 for digit in digits]
    label = [Decimal(int(value)) for value in frame().y]
    data = tmp_path / "d.feather"
    for scale, positive in ((0, "1"), (2, "1")):
        labels = pa.array(label, pa.decimal128(10, scale))
        table = pa.table({"x": pa.array(exact, pa.decimal128(38, 18)), "y": labels})
        feather.write_feather(table, data)
        read = read_table(data)
        X, _ = design(read, learn_features(read, ["x"]))
        assert X[:, 0].tolist() == [float(value) for value in exact]
        labels, known, classes = target_of(read, "y", positive)
        assert classes == (0, 1)
        assert [type(value) for value in classes] == [int, int]
        np.testing.assert_array_equal(labels, frame().y)
        assert known.all()


def test_views_are_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = pa.array([None, *frame().town[1:]])
    label = pa.array(["no", "yes"]).take(pa.array(frame().y))
    models = []
    for kind in (pa.string(), pa.string_view(), pa.large_string()):
        data = tmp_path / "d.feather"
        feather.write_feather(
            pa.table({"age": frame().age, "town": text.cast(kind), "y": label.cast(kind)}), data
        )
        assert run("fit", data, "--target", "y", "--out", tmp_path / "m.json") == 0
        assert "1 of 200 rows dropped" in capsys.readouterr().err
        models.append(json.loads((tmp_path / "m.json").read_text()))
    assert models[0] == models[1] == models[2]
    codes = pa.array([0, 1] * (ROWS // 2))
    views = pa.DictionaryArray.from_arrays(codes, pa.array(["a", "b"]).cast(pa.string_view()))
    feather.write_feather(pa.table({"g": views}), data)
    assert learn_features(read_table(data), ["g"])[0].levels == ("a", "b")


def test_ordered_categories_keep_their_order(tmp_path: Path) -> None:
    names = ["young", "mid", "old", "never"]
    values = pd.Categorical(np.array(names)[frame().age // 31], names, ordered=True)
    numbers = pd.Categorical(frame().age // 31, [2, 1, 0], ordered=True)
    free = pd.Categorical(np.array(names)[frame().age // 31], names)
    table = frame(
        ordered=values,
        numbers=numbers,
        free=free,
        y=pd.Categorical(np.where(frame().y, "a", "b"), ["b", "a"], ordered=True),
    )
    pa_table = pa.Table.from_pandas(table)
    parquet.write_table(pa_table, tmp_path / "d.parquet", row_group_size=50)
    feather.write_feather(pa_table, tmp_path / "d.feather", chunksize=50)
    for path in (tmp_path / "d.parquet", tmp_path / "d.feather"):
        read = read_table(path)
        levels = [feature.levels for feature in learn_features(read, ["ordered", "free"])]
        assert levels == [("young", "mid", "old"), ("mid", "old", "young")]
        labels, _, classes = target_of(read, "y")
        assert classes == ("b", "a")
        np.testing.assert_array_equal(labels, frame().y)
    assert learn_features(read, ["numbers"])[0].levels == ("2", "1", "0")


def test_text_of_numbers_in_a_file_with_types(tmp_path: Path) -> None:
    data = tmp_path / "d.parquet"
    frame(age=ages({})).to_parquet(data)
    with pytest.raises(TableError, match=r"every cell is a number; .*--categorical"):
        learn_features(read_table(data), ["age"])
    # For a model of numbers there is only one meaning.
    X, complete = design(read_table(data), learn_features(_csv(tmp_path), ["age"]))
    np.testing.assert_array_equal(X[:, 0], frame().age)
    assert complete.all()


def _csv(folder: Path) -> Any:
    frame().to_csv(folder / "plain.csv", index=False)
    return read_table(folder / "plain.csv")


def test_groups_of_other_types(tmp_path: Path) -> None:
    data = tmp_path / "d.feather"
    floats = [1e300, 0.5] * (ROWS // 2)
    feather.write_feather(frame(b=frame().age > 50, f=floats), data)
    features = learn_features(read_table(data), ["b", "f"], ["b", "f"])
    assert [feature.levels for feature in features] == [("false", "true"), ("0.5", "1e+300")]
    X, _ = design(read_table(data), features)
    np.testing.assert_array_equal(X, np.column_stack([frame().age > 50, np.array(floats) > 1]))


TARGETS: list[tuple[Any, str]] = [
    ([0.3, 0.7], "'y' holds 0.7 in row 2 (line 3 of the file), which names no class"),
    ([0, np.inf], "'y' holds inf in row 2"),
    (["0", "1", "0", "1", "0", "?", "1", "0"], "'?', first in row 6 (line 7 of the file)"),
    (["2020-01-01", "2020-01-02"], "'y' is of type date32"),
]


@pytest.mark.parametrize(("values", "text"), TARGETS)
def test_targets_that_are_none(
    values: Any, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "d.csv"
    if len(values) == 8:
        values = [*values[:6], *(["0", "1"] * ROWS)][:ROWS]
    frame(y=(list(values) * ROWS)[:ROWS]).to_csv(data, index=False)
    assert text in refused(capsys, run("fit", data, "--target", "y"))


@pytest.mark.parametrize("value", ["1e200", "-1.797e308", "1.797e308", "5e-324"])
@pytest.mark.parametrize("options", [(), ("--C", "1")])
def test_no_value_of_a_file_ends_in_a_traceback(
    value: str, options: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "d.csv"
    frame(age=ages({3: value, 9: "-" + value.lstrip("-")})).to_csv(data, index=False)
    code = run("fit", data, "--target", "y", *options)
    if code:
        refused(capsys, code)


def test_a_seed_is_a_whole_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame().to_csv(tmp_path / "d.csv", index=False)
    for seed in ("-1", "1.5", "x"):
        with pytest.raises(SystemExit) as stop:
            run("fit", tmp_path / "d.csv", "--target", "y", "--seed", seed)
        assert "whole number from 0 on" in refused(capsys, int(stop.value.code or 0))


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command.replace("fastbce", f"{sys.executable} -m fastbce")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(fastbce.__file__).parents[1]), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.ci
def test_an_output_that_cannot_write_a_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.where(frame().y, "jä", "nein")
    towns = [town.replace("Zug", "Zürich") for town in frame().town]
    frame(y=labels, town=towns).to_csv(tmp_path / "d.csv", index=False)
    done = shell("fastbce fit d.csv --target y --out m.json", tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "town=Z\\xfcrich" in done.stdout
    # Predictions are data, which must not change.
    done = shell("fastbce predict m.json d.csv", tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the standard output is ascii, which cannot write the class 'j\\xe4'" in done.stderr
    done = shell("fastbce predict m.json d.csv", tmp_path, PYTHONIOENCODING="utf-8")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, ROWS + 1)


def test_an_output_that_is_closed(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "d.csv", index=False)
    done = shell("fastbce fit d.csv --target y --out m.json >&-", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the standard output is closed" in done.stderr
    assert not (tmp_path / "m.json").exists()


def test_models_that_hold_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = tmp_path / "d.csv", tmp_path / "m.json"
    frame().to_csv(data, index=False)
    assert run("fit", data, "--target", "y", "--out", model) == 0
    content = json.loads(model.read_text())
    for change, text in (
        ({"coef": [float("nan")] * 3}, "not finite"),
        ({"intercept": float("inf")}, "not finite"),
        ({"classes": [[0], 1]}, "its classes"),
    ):
        (tmp_path / "bad.json").write_text(json.dumps(content | change))
        capsys.readouterr()
        assert text in refused(capsys, run("predict", tmp_path / "bad.json", data))
    content["coef"][0] = 1e300
    model.write_text(json.dumps(content))
    pd.read_csv(data).assign(age=1e300).to_csv(data, index=False)
    assert "row 1 are so large" in refused(capsys, run("predict", model, data))


def test_predictions_for_columns_without_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = tmp_path / "d.csv", tmp_path / "m.json"
    frame().to_csv(data, index=False)
    assert run("fit", data, "--target", "y", "--out", model) == 0
    for name in ("age", "town"):
        frame(**{name: None}).to_csv(data, index=False)
        capsys.readouterr()
        assert run("predict", model, data) == 0
        lines = pd.read_csv(io.StringIO(capsys.readouterr().out), skip_blank_lines=False)
        assert len(lines) == ROWS
        assert lines.isna().all(axis=None)
