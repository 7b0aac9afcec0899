"""``fastbce predict``: ids, thresholds, intervals, and rows that get no prediction."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="files come from data frames")
sm = pytest.importorskip("statsmodels.api", reason="the right values come from statsmodels")
for package in ("pyarrow", "sklearn"):
    pytest.importorskip(package, reason=f"fastbce fit needs {package}")

from fastbce import cli

ROWS = 200


def frame(**changes: Any) -> Any:
    rng = np.random.default_rng(4)
    x, g = rng.normal(size=ROWS), rng.choice(["a", "b", "c"], ROWS)
    y = (x + (g == "b") + rng.logistic(size=ROWS) > 0).astype(int)
    key = rng.permutation(ROWS) + 1000
    return pd.DataFrame({"key": key, "x": x, "g": g, "y": y}).assign(**changes)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    frame().to_csv(tmp_path / "train.csv", index=False)
    path = tmp_path / "m.json"
    arguments = ["fit", tmp_path / "train.csv", "--target", "y", "--drop", "key", "--out", path]
    assert cli.main([*map(str, arguments), "--no-holdout"]) == 0
    return path


def predict(model: Path, data: Any, *options: Any) -> int:
    path = model.parent / "new.csv"
    data.to_csv(path, index=False)
    return cli.main(["predict", str(model), str(path), *map(str, options)])


def test_ids_threshold_interval_and_linear_predictor(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = frame()
    X = np.column_stack([np.ones(ROWS), data.x, data.g == "b", data.g == "c"]).astype(float)
    right = sm.Logit(data.y, X).fit(disp=0, tol=1e-12)
    capsys.readouterr()
    options = ("--id", "key,g", "--threshold", 0.3, "--interval", 0.9, "--linear")
    assert predict(model, data, *options) == 0
    found = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(found.columns) == [
        "key", "g", "probability", "prediction", "linear_predictor", "probability_low",
        "probability_high",
    ]  # fmt: skip
    assert found.key.tolist() == data.key.tolist()
    assert found.g.tolist() == data.g.tolist()
    np.testing.assert_allclose(found.probability, right.predict(X), rtol=1e-7)
    assert found.prediction.tolist() == (right.predict(X) >= 0.3).astype(int).tolist()
    np.testing.assert_allclose(found.linear_predictor, X @ right.params, rtol=1e-6, atol=1e-8)
    error = np.sqrt(np.einsum("ij,jk,ik->i", X, right.cov_params(), X))
    for name, sign in (("probability_low", -1), ("probability_high", 1)):
        z = X @ right.params + sign * 1.6448536269514722 * error
        np.testing.assert_allclose(found[name], 1 / (1 + np.exp(-z)), rtol=1e-6)


def test_rows_without_a_prediction_are_counted_and_named(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = frame()
    data.loc[[5, 6], "g"], data.loc[9, "g"], data.loc[2, "x"] = "new", "Neu, CH", np.nan
    assert predict(model, data, "--id", "key") == 0
    captured = capsys.readouterr()
    found = pd.read_csv(io.StringIO(captured.out))
    assert np.flatnonzero(found.probability.isna()).tolist() == [2, 5, 6, 9]
    assert found.key.tolist() == data.key.tolist()
    assert "3 of 200 rows have a level that the model has not seen: " in captured.err
    assert "g=new (2 rows, first row 6 (line 7 of the file))" in captured.err
    assert "g=Neu, CH (1 rows, first row 10" in captured.err
    assert "values are missing in 1 of 200 rows (x 1), the first is row 3" in captured.err
    assert predict(model, data, "--unknown", "error") == 2
    assert "g=new (2 rows" in capsys.readouterr().err
    assert predict(model, data, "--missing", "error", "--unknown", "error") == 2
    line = capsys.readouterr().err
    assert "row 3" in line
    assert "g=new" in line


def test_what_is_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = frame()
    assert predict(model, data, "--id", "name") == 2
    assert "no column 'name'" in capsys.readouterr().err
    path = model.parent / "new.csv"
    text = data.to_csv(index=False)
    path.write_text(text.replace("key,x,g,y", "x,x,g,y"))
    assert cli.main(["predict", str(model), str(path)]) == 2
    assert "2 columns are called 'x'" in capsys.readouterr().err
    assert predict(model, data.rename(columns={"key": "probability"}), "--id", "probability") == 2
    assert "two columns of one name" in capsys.readouterr().err
    penalised = model.parent / "p.json"
    train = model.parent / "train.csv"
    arguments = ["fit", str(train), "--target", "y", "--C", "1", "--out", str(penalised)]
    assert cli.main(arguments) == 0
    capsys.readouterr()
    assert predict(penalised, data, "--interval", 0.95) == 2
    assert "which --interval needs: fit it without --C" in capsys.readouterr().err
    for options in (("--threshold", "1"), ("--interval", "95"), ("--unknown", "guess")):
        with pytest.raises(SystemExit) as stop:
            predict(model, data, *options)
        assert stop.value.code == 2
