"""``fastbce fit --formula``: as statsmodels' formulas, and new rows with the states of the fit."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="files come from data frames")
sm = pytest.importorskip("statsmodels.api", reason="the right values come from statsmodels")
patsy = pytest.importorskip("patsy", reason="statsmodels' formulas")
for package in ("pyarrow", "sklearn", "formulaic"):
    pytest.importorskip(package, reason=f"fastbce fit needs {package}")

import fastbce
from fastbce import cli

ROWS = 400


def frame(**changes: Any) -> Any:
    rng = np.random.default_rng(8)
    carrier, zone = rng.choice(["AA", "B6", "UA"], ROWS), rng.integers(1, 4, ROWS)
    hour, age = rng.integers(5, 23, ROWS), rng.integers(20, 70, ROWS)
    distance = rng.uniform(1, 25, ROWS).round(2)
    z = 0.1 * (hour - 14) + 0.03 * distance * (carrier == "B6") + 0.4 * zone - 1
    columns = {"hour": hour, "carrier": carrier, "distance": distance, "age": age, "zone": zone}
    late = (z + rng.logistic(size=ROWS) > 0).astype(int)
    return pd.DataFrame({**columns, "late": late}).assign(**changes)


def fit(data: Any, folder: Path, formula: str, *options: str) -> int:
    data.to_csv(folder / "d.csv", index=False)
    arguments = ["fit", str(folder / "d.csv"), "--formula", formula, "--no-holdout"]
    return cli.main([*arguments, "--out", str(folder / "m.json"), *options])


def predict(data: Any, folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> Any:
    data.to_csv(folder / "new.csv", index=False)
    capsys.readouterr()
    assert cli.main(["predict", str(folder / "m.json"), str(folder / "new.csv"), *options]) == 0
    said = capsys.readouterr()
    return pd.read_csv(io.StringIO(said.out), skip_blank_lines=False), said.err


def model(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "m.json").read_text())
    return found


def error_of(capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert code == 2
    return str(capsys.readouterr().err.rpartition("fastbce fit: ")[2])


@pytest.mark.parametrize(
    "formula",
    [
        "late ~ hour + C(carrier) * distance + bs(age, 4)",
        "late ~ standardize(distance) + center(hour):carrier + C(zone) - 1",
        "late ~ I(age ** 2) + np.log(distance) + C(carrier, Treatment('UA'))",
    ],
)
def test_equal_to_statsmodels(
    formula: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = frame()
    data.loc[3, "distance"] = None
    assert fit(data, tmp_path, formula) == 0
    y, X = patsy.dmatrices(formula, data.dropna())
    right = sm.Logit(y, X).fit(disp=0, method="newton", tol=1e-13)
    found, info = model(tmp_path)["fit"], X.design_info
    # Names are alike; the places of terms are those of formulaic or of patsy.
    order = [info.column_names.index(_patsy(name)) for name in found["names"]]
    np.testing.assert_allclose(found["estimates"], right.params[order], rtol=1e-6)
    np.testing.assert_allclose(found["standard_errors"], right.bse[order], rtol=1e-6)
    # Few rows, whose own means, knots and levels are others.
    few = data[data.carrier != "AA"].dropna().tail(9)
    shown, _ = predict(few, tmp_path, capsys, "--interval", "0.95")
    # patsy keeps the states of the fit as well.
    (design,) = patsy.build_design_matrices([info], few)
    z, covariance = design @ right.params, right.cov_params()
    np.testing.assert_allclose(shown.probability, 1 / (1 + np.exp(-z)), rtol=1e-6)
    half = 1.959963984540054 * np.sqrt(np.sum((design @ covariance) * design, axis=1))
    np.testing.assert_allclose(shown.probability_high, 1 / (1 + np.exp(-z - half)), rtol=1e-6)
    probability = fastbce.load(tmp_path / "m.json").predict_proba(few)[:, 1]
    np.testing.assert_allclose(probability, shown.probability, rtol=1e-12)


def _patsy(name: str) -> str:
    """Return what patsy calls a column."""
    if name.startswith("bs("):
        place = int(name[name.index("[") + 1 : -1])
        return f"{name[: name.index('[')]}[{place - 1}]"
    return {"const": "Intercept"}.get(name, name)


def test_rows_without_a_prediction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(frame(), tmp_path, "late ~ C(carrier) + np.log(distance) + bs(age, 4)") == 0
    new = frame().head(7)
    whole, _ = predict(new, tmp_path, capsys)
    new = new.astype({"distance": float, "age": float, "hour": float})
    new.loc[1, "carrier"] = "ZZ"
    new.loc[2, "age"] = 99
    new.loc[3, "distance"] = 0
    new.loc[4, "age"] = None
    found, said = predict(new, tmp_path, capsys)
    rows = [0, 5, 6]
    assert found.probability.isna().tolist() == [row not in rows for row in range(7)]
    np.testing.assert_array_equal(found.probability[rows], whole.probability[rows])
    assert "values are missing in 2 of 7 rows (age 1, np.log(distance) 1), the first is row" in said
    assert "2 of 7 rows have a level that the model has not seen: carrier=ZZ (1 rows," in said
    assert "or are beyond bs(age, 4) of 20 to 69 (1 rows)" in said
    probability = fastbce.load(tmp_path / "m.json").predict_proba(new)[:, 1]
    np.testing.assert_array_equal(np.isnan(probability), found.probability.isna())
    arguments = ["predict", str(tmp_path / "m.json"), str(tmp_path / "new.csv")]
    assert cli.main([*arguments, "--unknown", "error"]) == 2
    assert cli.main([*arguments, "--missing", "error"]) == 2


def test_what_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = frame(one=frame().carrier)
    data.loc[:4, "one"] = "alone"
    data.loc[:4, "late"] = 1
    options = ("--reference", "carrier=B6")
    assert fit(data, tmp_path, "late ~ one + hour + I(2 * hour) + carrier:distance", *options) == 0
    said = capsys.readouterr().err
    assert "left out (is a multiple of hour): I(2 * hour)" in said
    assert "left out (one class only, and its rows with it): one=alone (5 rows, all 1)" in said
    rest = data[5:]
    y, X = patsy.dmatrices("late ~ one + hour + carrier:distance", rest)
    right = sm.Logit(y, X).fit(disp=0, tol=1e-13)
    found = model(tmp_path)["fit"]
    order = [X.design_info.column_names.index(_patsy(name)) for name in found["names"]]
    np.testing.assert_allclose(found["estimates"], right.params[order], rtol=1e-6)
    # In an interaction alone a level with one class needs no infinite coefficient.
    assert fit(data, tmp_path, "late ~ hour + one:distance", "--C", "1") == 0
    assert "one[alone]:distance" in model(tmp_path)["formula"]["columns"]


@pytest.mark.parametrize(
    ("formula", "options", "match"),
    [
        ("late ~ hour", ["--target", "hour"], "--target hour is not the left side"),
        ("late ~ hour", ["--features", "age"], "--features does not go with --formula"),
        ("late ~ hour", ["--drop", "age"], "--drop does not go with --formula"),
        ("late + hour", [], "a formula is a text such as"),
        ("late ~ 1", [], "has no variable"),
        ("late ~ nothing", [], "has no column 'nothing'"),
        ("late ~ late", [], "the target 'late' is on the right side"),
        ("late ~ log(hour - 5)", [], "column 'log(hour - 5)' of the formula"),
        ("late ~ C(zone) + zone", [], "makes groups of numbers that the formula uses otherwise"),
        ("late ~ C(np.floor(age))", [], "makes groups of numbers"),
        ("late ~ lag(hour)", [], "'lag' in 'lag(hour)' is refused"),
        ("late ~ carrier + np.log(carrier)", [], "failed"),
        ("late ~ same + hour", [], "'same' is constant (7 in every row), so it tells nothing"),
    ],
)
def test_what_is_refused(
    formula: str,
    options: list[str],
    match: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert match in error_of(capsys, fit(frame(same=7), tmp_path, formula, *options))
    assert not (tmp_path / "m.json").exists()


def test_a_target_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame().to_csv(tmp_path / "d.csv", index=False)
    line = error_of(capsys, cli.main(["fit", str(tmp_path / "d.csv")]))
    assert line.strip() == "give --target COL, or --formula 'COL ~ ...'"
