"""``fastbce fit`` and ``fastbce predict``: what they write, and how each bad file is refused."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pytest

for package in ("pyarrow", "sklearn", "matplotlib"):
    pytest.importorskip(package, reason=f"fastbce fit needs {package}")

import pyarrow as pa
from pyarrow import feather, parquet

from fastbce import cli
from fastbce._limits import available_memory
from fastbce._writing import write_whole
from fastbce.cli import formats
from fastbce.cli.formats import read_table
from fastbce.linear_model import LogisticRegression
from fastbce.model_file import Feature, TableError, load

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 400


def columns(seed: int = 0) -> dict[str, list[Any]]:
    rng = np.random.default_rng(seed)
    age, income = rng.integers(18, 80, ROWS), rng.normal(size=ROWS)
    town = rng.choice(["Bern", "Genf", "Zug"], ROWS)
    z = (age - 50) / 20 + income + (town == "Zug")
    bought = np.where(z + rng.logistic(size=ROWS) > 0, "yes", "no")
    return {
        "age": age.tolist(),
        "income": income.tolist(),
        "town": town.tolist(),
        "bought": bought.tolist(),
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write columns as CSV: the ones above, with changes."""

    def make(name: str = "data.csv", **changes: Any) -> Path:
        table = {**columns(), **changes}
        table = {key: values for key, values in table.items() if values is not None}
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(table)
            writer.writerows(zip(*table.values(), strict=True))
        return tmp_path / name

    return make


def fit(data: Path, *options: Any) -> int:
    return cli.main(["fit", str(data), "--target", "bought", *map(str, options)])


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    """Return the line in which a refused command said why, after its notes."""
    captured = capsys.readouterr()
    assert code == 2
    line = captured.err.splitlines()[-1]
    assert captured.err.endswith("\n")
    assert line.startswith("fastbce ")
    return str(line)


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_fit_and_predict(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out, plots = write(), tmp_path / "model.json", tmp_path / "plots"
    plots.mkdir()
    assert fit(data, "--out", out, "--plot", plots) == 0
    text = capsys.readouterr().out
    for part in ("'yes' is 1", "'no' is 0", "P>|z|", "town=Zug", "log-loss", "AUC", "accuracy"):
        assert part in text
    assert "calibration" in text
    assert left(plots) == {"roc.png", "calibration.png", "odds_ratios.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in plots.iterdir())

    model = json.loads(out.read_text())
    assert model["schema"] == 2
    assert model["classes"] == ["no", "yes"]
    assert model["features"][2] == {"name": "town", "levels": ["Bern", "Genf", "Zug"]}
    table = columns()
    towns = np.array(table["town"])
    X = np.column_stack([table["age"], table["income"], towns == "Genf", towns == "Zug"])
    y = np.array(table["bought"]) == "yes"
    direct = LogisticRegression(C=np.inf).fit(X, y)
    np.testing.assert_allclose(model["coef"], direct.coef_[0], rtol=1e-9)
    np.testing.assert_allclose(model["fit"]["p_values"], direct.result_.pvalues, rtol=1e-6)

    assert cli.main(["predict", str(out), str(data), "--out", str(tmp_path / "p.csv")]) == 0
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose(
        [float(row["probability"]) for row in rows], direct.predict_proba(X)[:, 1], rtol=1e-9
    )
    assert [row["prediction"] == "yes" for row in rows] == direct.predict(X).tolist()
    capsys.readouterr()
    assert cli.main(["predict", str(out), str(data)]) == 0
    assert capsys.readouterr().out == (tmp_path / "p.csv").read_text()


def test_formats_give_the_same_model(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pa.table(columns())
    parquet.write_table(table, tmp_path / "data.parquet")
    feather.write_feather(table, tmp_path / "data.feather")
    with pa.ipc.new_stream(tmp_path / "data.arrow", table.schema) as stream:
        stream.write_table(table)
    arrays: dict[str, Any] = {name: np.array(values) for name, values in columns().items()}
    np.savez(tmp_path / "data.npz", **arrays)
    models = []
    for name in ("data.csv", "data.parquet", "data.feather", "data.arrow", "data.npz"):
        write() if name == "data.csv" else None
        assert fit(tmp_path / name, "--out", tmp_path / "model.json") == 0
        models.append(json.loads((tmp_path / "model.json").read_text()))
    assert all(model == models[0] for model in models[1:])


def test_a_matrix_in_npy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 3))
    X[:, 2] = X[:, 0] + rng.logistic(size=200) > 0
    np.save(tmp_path / "data.npy", X)
    assert cli.main(["fit", str(tmp_path / "data.npy"), "--target", "x3"]) == 0
    assert "1.0 is 1" in capsys.readouterr().out


def test_options(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.json"
    ages = [age // 10 for age in columns()["age"]]
    data = write(age=ages)
    options = ["--positive", "no", "--features", "age,town", "--categorical", "age", "--out", out]
    assert fit(data, *options, "--C", 0.5) == 0
    text = capsys.readouterr().out
    assert "'no' is 1" in text
    assert "no p-values" in text
    model = load(out)
    assert model.classes == ("yes", "no")
    assert [feature.name for feature in model.features] == ["age", "town"]
    assert model.features[0].levels == tuple(map(str, sorted(set(ages))))
    assert fit(data, "--robust") == 0
    assert "covariance: HC0" in capsys.readouterr().out


def test_groups_are_the_same_as_whole_floats(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ages = [age // 10 for age in columns()["age"]]
    out = tmp_path / "model.json"
    assert fit(write(age=ages), "--categorical", "age", "--out", out) == 0
    floats = write("floats.csv", age=[float(age) for age in ages])
    assert cli.main(["predict", str(out), str(floats)]) == 0


def test_missing_values(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = columns(), tmp_path / "model.json"
    table["age"][3], table["town"][5], table["bought"][7] = "NA", "", ""
    data = write(**table)
    assert fit(data, "--out", out) == 0
    said = capsys.readouterr().err
    assert "3 of 400 rows dropped; values are missing: bought 1, age 1, town 1" in said
    assert "row 4" in refused(capsys, fit(data, "--missing", "error"))
    assert cli.main(["predict", str(out), str(data), "--out", str(tmp_path / "p.csv")]) == 0
    assert "2 of them blank" in capsys.readouterr().err
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert len(lines) == ROWS + 1
    assert [i for i, line in enumerate(lines) if line == ","] == [4, 6]
    arguments = ["predict", str(out), str(data), "--missing", "error"]
    assert "row 4" in refused(capsys, cli.main(arguments))


BAD_COLUMNS: list[tuple[dict[str, Any], str]] = [
    ({"bought": ["yes"] * ROWS}, "1 different value"),
    ({"bought": ["a", "b", "c", "d"] * (ROWS // 4)}, "4 different value"),
    ({"bought": [""] * ROWS}, "0 different value"),
    ({"age": ["inf", *range(1, ROWS)]}, "'age' is infinite in row 1"),
    ({"bought": None}, "no column 'bought'; its columns are age, income, town"),
    (
        {"same": [v == "yes" for v in columns()["bought"]]},
        "by each of these alone: same=0 (180 rows, all 'no')",
    ),
]


@pytest.mark.parametrize(("changes", "text"), BAD_COLUMNS, ids=[text for _, text in BAD_COLUMNS])
def test_bad_columns(
    changes: dict[str, Any],
    text: str,
    write: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "same" in changes:
        changes = {"same": [int(value) for value in changes["same"]]}
    data = write(**changes)
    assert text in refused(capsys, fit(data, "--out", tmp_path / "model.json"))
    assert left(tmp_path) == {"data.csv"}


def damaged(folder: Path) -> dict[str, Path]:
    """Write one file for each way to be damaged."""
    table = pa.table(columns())
    parquet.write_table(table, folder / "whole.parquet")
    feather.write_feather(table, folder / "whole.feather")
    np.save(folder / "whole.npy", np.ones((50, 3)))
    content = {
        "empty.csv": b"",
        "header.csv": b"age,bought\n",
        "ragged.csv": b"age,bought\n1,yes\n2\n3,no,4\n",
        "latin.csv": b"age,bought\n1,\xe9\n2,no\n",
        "twice.csv": b"age,age,bought\n1,2,yes\n2,3,no\n",
        "text.parquet": b"this is not Parquet",
        "cut.parquet": (folder / "whole.parquet").read_bytes()[:-100],
        "cut.feather": (folder / "whole.feather").read_bytes()[:-100],
        "cut.npy": (folder / "whole.npy").read_bytes()[:-100],
        "text.npz": b"this is not a zip archive",
        "data.xlsx": b"PK",
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    np.save(folder / "objects.npy", np.array([[1, "a"]], dtype=object), allow_pickle=True)
    np.save(folder / "cube.npy", np.ones((2, 2, 2)))
    np.savez(folder / "lengths.npz", age=np.ones(3), bought=np.ones(4))
    (folder / "folder.csv").mkdir()
    for name in ("whole.parquet", "whole.feather", "whole.npy"):
        (folder / name).unlink()
    return {path.name: path for path in [*folder.iterdir(), folder / "absent.csv"]}


def test_damaged_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    files = damaged(folder)
    assert len(files) == 16
    for name, path in files.items():
        line = refused(capsys, fit(path, "--out", tmp_path / "model.json"))
        assert name in line
        assert len(line) < 450
    assert left(tmp_path) == {"damaged"}


def test_larger_than_memory(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write()
    monkeypatch.setattr(formats, "available_memory", lambda: 1_000)
    assert "of memory available" in refused(capsys, fit(data))
    monkeypatch.setattr(formats, "available_memory", lambda: None)

    def no_memory(source: Any, names: Any, spelling: Any) -> Any:
        raise MemoryError

    monkeypatch.setitem(formats.READERS, ".csv", no_memory)
    assert "does not fit into memory" in refused(capsys, fit(data))


def test_available_memory_is_said_or_unknown() -> None:
    available = available_memory()
    assert available is None or 0 <= available < 2**50


@pytest.mark.ci
def test_types_that_change_far_down_a_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    values = [str(v) for v in rng.integers(0, 9, 300_000)]
    values[-1] = "2.5"
    lines = [f"{v},{'yes' if int(float(v)) + rng.normal() * 5 > 4 else 'no'}" for v in values]
    (tmp_path / "data.csv").write_text("age,bought\n" + "\n".join(lines) + "\n")
    assert fit(tmp_path / "data.csv") == 0


def test_arguments_that_do_not_fit_the_data(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write()
    for options, text in (
        (["--features", "age,height"], "no column 'height'"),
        (["--features", "age,bought"], "among --features"),
        (["--categorical", "height"], "--categorical height"),
        (["--positive", "maybe"], "'no' and 'yes'"),
        (["--out", tmp_path / "nowhere" / "model.json"], "no such directory"),
        (["--out", tmp_path], "is a directory"),
        (["--plot", tmp_path / "nowhere"], "no such directory"),
    ):
        assert text in refused(capsys, fit(data, *options))
    for bad in (["--C", "-1"], ["--test-size", "1"], ["--missing", "guess"]):
        with pytest.raises(SystemExit) as stop:
            fit(data, *bad)
        assert stop.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_predict_refuses_other_data(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.json"
    assert fit(write(), "--out", model) == 0
    capsys.readouterr()
    for changes, text in (
        ({"age": None}, "no column 'age'"),
        ({"age": ["old"] * ROWS}, "'age' holds text"),
    ):
        data = write("other.csv", **changes)
        out = tmp_path / "p.csv"
        arguments = ["predict", str(model), str(data), "--out", str(out)]
        assert text in refused(capsys, cli.main(arguments))
        assert not out.exists()


def test_bad_models(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, path = write(), tmp_path / "model.json"
    assert fit(data, "--out", path) == 0
    capsys.readouterr()
    good = json.loads(path.read_text())
    shorter = {key: value for key, value in good.items() if key != "coef"}
    for content, text in (
        ("", "not a model"),
        ("[1]", "not a model written by"),
        (path.read_text()[:-200], "not a model"),
        (json.dumps(good | {"schema": 99}), "schema 99; this version reads schema 1 and 2"),
        (json.dumps(good | {"coef": [1.0]}), "do not match"),
        (json.dumps(good | {"classes": 3}), "damaged"),
        (json.dumps(shorter), "damaged"),
    ):
        path.write_text(content)
        assert text in refused(capsys, cli.main(["predict", str(path), str(data)]))
    path.unlink()
    assert "does not exist" in refused(capsys, cli.main(["predict", str(path), str(data)]))


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")

    def half(file: BinaryIO) -> None:
        file.write(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, half)
    assert path.read_text() == "old"
    assert left(tmp_path) == {"out.txt"}
    write_whole(path, lambda file: file.write(b"new"))
    assert path.read_text() == "new"
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_features_name_their_columns() -> None:
    assert Feature("age").outputs == ("age",)
    assert Feature("town", ("a", "b", "c")).outputs == ("town=b", "town=c")


def test_tables_of_the_library(write: Callable[..., Path]) -> None:
    table = read_table(write(), ["age", "bought"])
    assert (list(table.columns), table.rows) == (["age", "bought"], ROWS)
    with pytest.raises(TableError, match="no column 'x'"):
        _ = table["x"]
