"""Where results go: nothing but ordinary files is replaced, and what cannot be written is known."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="files come from data frames")
for package in ("pyarrow", "sklearn", "matplotlib"):
    pytest.importorskip(package, reason=f"fastbce fit needs {package}")

import fastbce
from fastbce import cli
from fastbce._writing import check_writable, write_whole
from fastbce.linear_model import LogisticRegression
from fastbce.model_file import model_of

posix = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and devices of POSIX")
ROWS = 160


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    x, g = rng.normal(size=ROWS), rng.choice(["a", "b"], ROWS)
    y = np.where(x + rng.logistic(size=ROWS) > 0, "yes", "no")
    ids = [f"p{i}" for i in range(ROWS)]
    pd.DataFrame({"id": ids, "x": x, "g": g, "y": y}).to_csv(tmp_path / "d.csv", index=False)
    return tmp_path / "d.csv"


def fit(data: Path, *options: Any) -> int:
    return cli.main(["fit", str(data), "--target", "y", *map(str, options)])


@posix
def test_links_lead_to_what_is_written(data: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "folder" / "model.json", tmp_path / "link.json"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    assert fit(data, "--out", link) == 0
    assert link.is_symlink()
    assert json.loads(target.read_text())["target"] == "y"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    twin = tmp_path / "twin.json"
    os.link(target, twin)
    target.write_text("old")
    assert fit(data, "--out", twin) == 0
    assert target.read_text() == twin.read_text() != "old"
    (tmp_path / "dangling").symlink_to(tmp_path / "folder" / "new.json")
    assert fit(data, "--out", tmp_path / "dangling") == 0
    assert (tmp_path / "folder" / "new.json").exists()


@posix
def test_pipes_and_devices_stay(data: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert fit(data, "--out", pipe) == 0
    reader.join(10)
    assert json.loads(read[0])["target"] == "y"
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert fit(data, "--out", "/dev/null") == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is full")
def test_a_full_device_is_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(data, "--out", "/dev/full") == 2
    assert "No space left on device: '/dev/full'" in capsys.readouterr().err
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_data_and_model_are_not_overwritten(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, model = data.read_bytes(), tmp_path / "m.json"
    other = tmp_path / "." / "d.csv"
    assert fit(data, "--out", other) == 2
    assert "which is read; name another file" in capsys.readouterr().err
    assert fit(data, "--json", data) == 2
    assert fit(data, "--out", model, "--json", model) == 2
    assert fit(data, "--out", "-", "--json", "-") == 2
    assert not model.exists()
    assert fit(data, "--out", model) == 0
    written = model.read_bytes()
    for out in (data, model):
        assert cli.main(["predict", str(model), str(data), "--out", str(out)]) == 2
    assert (data.read_bytes(), model.read_bytes()) == (before, written)


def test_what_cannot_be_written_is_known_before_the_fit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_fit(self: Any, *args: Any) -> None:
        raise AssertionError("the fit began")

    monkeypatch.setattr(LogisticRegression, "fit", no_fit)

    def refuse(**options: Any) -> Any:
        raise PermissionError(13, "Permission denied", "/folder/.fastbce123")

    (tmp_path / "no").mkdir()
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert fit(data, "--out", tmp_path / "no" / "m.json") == 2
    line = capsys.readouterr().err
    assert "m.json cannot be written: Permission denied" in line
    assert ".fastbce" not in line  # the temporary name is nobody's business
    assert fit(data, "--plot", tmp_path / "no") == 2


def test_the_standard_output_holds_one_thing(data: Path, capfdbinary: Any) -> None:
    assert fit(data, "--out", "-", "--no-holdout") == 0
    captured = capfdbinary.readouterr()
    assert json.loads(captured.out)["format"] == "fastbce logistic regression"
    assert b"P>|z|" in captured.err
    assert fit(data, "--json", "-") == 0
    report = json.loads(capfdbinary.readouterr().out)
    assert report["rows"] == {"read": ROWS, "used": ROWS, "class_1": report["rows"]["class_1"]}
    assert report["columns"][1] == {
        "name": "g",
        "read_as": "groups",
        "reference": "a",
        "levels": ["a", "b"],
        "pooled": [],
    }
    assert report["left_out"]["id"].startswith("has 160 different values")
    fitted = report["model"]["fit"]
    assert len(fitted["covariance"]) == len(fitted["names"]) == 3
    assert np.sqrt(fitted["covariance"][1][1]) == pytest.approx(fitted["standard_errors"][1])


def test_a_name_that_no_console_can_write(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, encoding="ascii")
    data.write_text(data.read_text().replace(",a,", ",日本,"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    assert fit(data, "--out", tmp_path / "m.json") == 0
    assert rb"g=\u65e5\u672c" in raw.getvalue()


@posix
def test_names_that_are_no_text(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = os.fsdecode(b"col\xff")
    assert cli.main(["fit", str(data), "--target", broken]) == 2
    assert cli.main(["fit", os.fsdecode(b"no\xff.csv"), "--target", "y"]) == 2
    assert capsys.readouterr().err.encode("utf-8", "backslashreplace").count(b"\n") == 2


def test_a_model_in_python(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    assert fit(data, "--out", path) == 0
    model = fastbce.load(path)
    table = pd.read_csv(data)
    direct = LogisticRegression(C=np.inf).fit(
        np.column_stack([table.x, table.g == "b"]), table.y == "yes"
    )
    right = direct.predict_proba(np.column_stack([table.x, table.g == "b"]))
    for columns in (table, {name: table[name].tolist() for name in table}):
        np.testing.assert_allclose(model.predict_proba(columns), right, rtol=1e-9)
    assert model.predict(table).tolist() == np.where(right[:, 1] > 0.5, "yes", "no").tolist()
    np.testing.assert_allclose(model.result_.bse, direct.result_.bse, rtol=1e-9)
    assert model.result_.summary().startswith("Logistic regression")
    gaps = table.assign(g=["new", None, *table.g[2:]], x=[1.0, 1.0, np.nan, *table.x[3:]])
    assert np.isnan(model.predict_proba(gaps)[:3]).all()
    with pytest.raises(ValueError, match="3 of 160 rows have a missing value or a level"):
        model.predict(gaps)
    with pytest.raises(ValueError, match=r"X has no column\(s\) called 'g'"):
        model.predict_proba(table.drop(columns="g"))
    again = tmp_path / "again.json"
    model.save(again)
    assert fastbce.load(again) == model
    model_of(direct, "bought").save(again)
    np.testing.assert_array_equal(
        fastbce.load(again).decision_function(np.ones((1, 2))),
        direct.decision_function(np.ones((1, 2))),
    )
    with pytest.raises(OSError, match="is a directory"):
        model.save(tmp_path)


def test_models_of_the_first_schema_are_read(tmp_path: Path) -> None:
    old = {
        "format": "fastbce logistic regression", "schema": 1, "target": "y",
        "classes": [0, 1], "features": [{"name": "g", "levels": ["a", "b"]}],
        "intercept": 0.5, "coef": [1.0], "fit": {"covariance": "HC0"},
    }  # fmt: skip
    (tmp_path / "m.json").write_text(json.dumps(old))
    model = fastbce.load(tmp_path / "m.json")
    assert model.decision_function({"g": ["a", "b", "a"]}).tolist() == [0.5, 1.5, 0.5]
    with pytest.raises(AttributeError, match="no covariance"):
        _ = model.result_


def test_options_of_writing_are_checked(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no such directory"):
        check_writable("--out", tmp_path / "no" / "m.json")
    write_whole(tmp_path / "m.json", lambda file: file.write(b"text"))
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]
