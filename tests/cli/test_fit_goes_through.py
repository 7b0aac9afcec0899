"""Files that R or Stata fit with a note are fitted, and every column that is left out is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="files come from data frames")
sm = pytest.importorskip("statsmodels.api", reason="the right values come from statsmodels")
for package in ("pyarrow", "sklearn"):
    pytest.importorskip(package, reason=f"fastbce fit needs {package}")

from hypothesis import given
from hypothesis import strategies as st

from fastbce import cli
from fastbce.cli.screen import POOLED, made_up, used_levels
from fastbce.model_file import Feature

ROWS = 240


def frame(**changes: Any) -> Any:
    rng = np.random.default_rng(3)
    x, g = rng.normal(size=ROWS).round(3), rng.choice(["a", "b", "c"], ROWS)
    y = (x + (g == "c") + rng.logistic(size=ROWS) > 0).astype(int)
    return pd.DataFrame({"x": x, "g": g, "y": y}).assign(**changes)


def fit(data: Any, folder: Path, *options: Any) -> int:
    data.to_csv(folder / "d.csv", index=False)
    arguments = ["fit", folder / "d.csv", "--target", "y", "--out", folder / "m.json", *options]
    return cli.main([str(argument) for argument in arguments])


def model(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "m.json").read_text())
    return found


def error_of(capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert code == 2
    return str(capsys.readouterr().err.rpartition("fastbce fit: ")[2])


def check(folder: Path, data: Any, columns: list[Any]) -> None:
    """Compare the model with statsmodels' fit of these columns."""
    X = np.column_stack([np.ones(len(data)), *columns])
    right = sm.Logit(data.y.to_numpy(float), X.astype(float)).fit(disp=0, tol=1e-12)
    found = model(folder)["fit"]
    np.testing.assert_allclose(found["estimates"], right.params, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found["standard_errors"], right.bse, rtol=1e-6)
    np.testing.assert_allclose(found["z"], right.tvalues, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found["p_values"], right.pvalues, rtol=1e-5)
    np.testing.assert_allclose(found["intervals_95"], right.conf_int(), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["covariance"], right.cov_params(), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found["log_likelihood"], right.llf, rtol=1e-12)
    np.testing.assert_allclose(found["aic"], right.aic, rtol=1e-12)


def test_all_that_tells_nothing_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = frame()
    data = frame(
        row=np.arange(ROWS) + 1,
        name=[f"person {i}" for i in range(ROWS)],
        day="2024-01-01",
        one=7,
        word="same",
        empty=np.nan,
        twice=2 * base.x,
        isc=np.where(base.g == "c", "yes", "no"),
        long=2**53 + 1 + np.arange(ROWS),
    )
    data["g"] = ["A", *base.g[1:]]
    data.loc[0, "x"] = np.nan  # A occurs only in a row that is dropped, and would come first
    assert fit(data, tmp_path) == 0
    said = capsys.readouterr().err
    for name, why in (
        ("row", "numbers the rows"),
        ("name", "240 different values in 240 rows"),
        ("day", "of type date32"),
        ("one", "constant (7"),
        ("word", "constant ('same'"),
        ("empty", "has no values"),
        ("twice", "is a multiple of x"),
        ("isc=yes", "is the same as g=c"),
        ("long", "float64 would round"),
        ("g=A", "occurs only in rows that are dropped"),
    ):
        assert any(
            line.startswith("left out (") and name in line and why in line
            for line in said.splitlines()
        ), name
    assert "numbers: x\n" in said
    assert "groups: g (3), compared with 'a': 'b', 'c'" in said
    assert "1 of 240 rows dropped; values are missing: x 1" in said
    kept = data[1:]
    check(tmp_path, kept, [kept.x, kept.g == "b", kept.g == "c"])
    # Each is an error where nothing may be left out, all in one run.
    line = error_of(capsys, fit(data, tmp_path, "--strict"))
    for name in ("row", "name", "day", "one", "word", "empty", "long"):
        assert f"'{name}' " in line


def test_indicators_that_others_make_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    service = np.where(frame().g == "a", "none", np.where(np.arange(ROWS) % 2, "yes", "no"))
    more = np.where(frame().g == "a", "none", np.where(np.arange(ROWS) % 3, "yes", "no"))
    data = frame(service=service, more=more)
    assert fit(data, tmp_path) == 0
    said = capsys.readouterr().err
    assert "left out (is made up by g=b, g=c): service=none, more=none" in said
    assert model(tmp_path)["features"][2]["without"] == ["none"]
    columns = [data.x, data.g == "b", data.g == "c", data.service == "yes", data.more == "yes"]
    check(tmp_path, data, columns)
    # Predictions follow from the columns that are there.
    assert cli.main(["predict", str(tmp_path / "m.json"), str(tmp_path / "d.csv")]) == 0


def test_sums_that_were_rounded_to_float32() -> None:
    parts = np.random.default_rng(0).lognormal(5, 1, (400, 3)).astype(np.float32)
    total = parts.sum(axis=1)
    found = made_up(np.column_stack([parts, total]).astype(float))
    assert list(found) == [3]
    np.testing.assert_allclose(list(found[3].values()), 1, rtol=1e-6)


@pytest.mark.ci
def test_near_dependence_is_none(tmp_path: Path) -> None:
    year = np.random.default_rng(0).integers(1997, 2003, ROWS)
    assert fit(frame(year=year, square=year**2), tmp_path) == 0
    assert [f["name"] for f in model(tmp_path)["features"]] == ["x", "g", "year", "square"]


@given(
    rows=st.integers(2, 40),
    columns=st.integers(1, 12),
    rank=st.integers(1, 6),
    seed=st.integers(0, 10**6),
)
def test_made_up_columns_are_those_that_add_no_rank(
    rows: int, columns: int, rank: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (rows, rank)) @ rng.integers(-1, 2, (rank, columns)) * 1.0
    found = made_up(X)
    before = np.ones((rows, 1))
    for j in range(columns):
        wider = np.column_stack([before, X[:, j]])
        adds = np.linalg.matrix_rank(wider) > np.linalg.matrix_rank(before)
        assert adds == (j not in found)
        before = wider


def with_lone_levels() -> Any:
    """Return levels of which e and f have only ones, h only zeros."""
    base = frame()
    g = base.g.to_numpy(object).copy()
    ones = np.flatnonzero(base.y == 1)[:9]
    g[ones[:4]], g[ones[4:9]] = "e", "f"
    g[np.flatnonzero(base.y == 0)[:2]] = "h"
    return g


def test_levels_with_one_class_are_left_out_with_their_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    g = with_lone_levels()
    # All rows with flag 1 are of class 1; with them goes the only difference in the column.
    flag = ((frame().y == 1) & (np.arange(ROWS) % 8 == 0)).astype(int)
    data = frame(g=g, flag=flag)
    assert fit(data, tmp_path) == 0
    said = capsys.readouterr().err
    line = next(line for line in said.splitlines() if "one class only" in line)
    assert line.startswith(
        "left out (one class only, and its rows with it): g=e (4 rows, all 1), g=f"
    )
    assert "g=h (2 rows, all 0), flag=1 (" in line
    kept = data[~np.isin(g.astype(str), ["e", "f", "h"]) & (flag == 0)]
    assert f"{ROWS - len(kept)} of {ROWS} rows dropped\n" in said
    check(tmp_path, kept, [kept.x, kept.g == "b", kept.g == "c"])
    # The limit of a fit with all rows: the likelihood is the same, to what it still gains.
    X = np.column_stack([np.ones(ROWS), data.x, *(g == level for level in "bcefh"), flag])
    start = np.concatenate([model(tmp_path)["fit"]["estimates"], [40, 40, -40, 40]])
    everything = sm.Logit(data.y.to_numpy(float), X.astype(float))
    found = model(tmp_path)["fit"]["log_likelihood"]
    np.testing.assert_allclose(everything.loglike(start), found, rtol=1e-12)
    gradient = everything.score(start)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    # Nothing is known of them, so nothing is predicted.
    assert cli.main(["predict", str(tmp_path / "m.json"), str(tmp_path / "d.csv")]) == 0
    captured = capsys.readouterr()
    assert captured.out.split("\n").count(",") == ROWS - len(kept)
    assert "flag=1 (" in captured.err


def test_a_column_that_tells_the_class_of_few_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = frame()
    few = np.where((base.y == 1) & (np.arange(ROWS) % 7 == 0), 1 + np.arange(ROWS) % 3, 0)
    data = frame(few=few)
    assert fit(data, tmp_path) == 0
    count = np.count_nonzero(few)
    assert f"few!=0 ({count} rows, whose class it tells)" in capsys.readouterr().err
    kept = data[few == 0]
    check(tmp_path, kept, [kept.x, kept.g == "b", kept.g == "c"])
    assert cli.main(["predict", str(tmp_path / "m.json"), str(tmp_path / "d.csv")]) == 0
    assert capsys.readouterr().out.split("\n").count(",") == count
    # All but the zeros of a class: the target in other words.
    amount = np.where(base.y == 1, 1 + np.arange(ROWS) % 5, 0)
    line = error_of(capsys, fit(frame(amount=amount), tmp_path))
    assert "amount (the classes part at 0); give --drop amount" in line


def test_what_separates_alone_is_named_in_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, g = frame(), with_lone_levels()
    code = np.where(base.y == 1, 5, 2)
    line = error_of(capsys, fit(frame(g=g, code=code), tmp_path))
    for part in ("g=e (4 rows, all 1)", "g=f (5 rows, all 1)", "code=2 (", "code=5 ("):
        assert part in line
    assert "--pool-rare" not in line  # it would not help with the code
    number = code * 1000 + np.arange(ROWS)
    line = error_of(capsys, fit(frame(code=number), tmp_path))
    border = f"the classes part at {number[base.y == 0].max()}"
    assert f"by each of these alone: code ({border}); give --drop code" in line
    line = error_of(capsys, fit(frame(g=g), tmp_path, "--strict"))
    assert "give --pool-rare 6 (levels" in line
    assert "g=h (2 rows, all 0)" in line


def test_rare_levels_are_pooled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, g = frame(), with_lone_levels()
    assert fit(frame(g=g), tmp_path, "--pool-rare", 6, "--strict") == 0
    feature = model(tmp_path)["features"][1]
    assert feature["levels"] == ["a", "b", "c", POOLED]
    assert feature["pooled"] == ["e", "f", "h"]
    pooled = np.isin(g.astype(str), ["e", "f", "h"])
    check(tmp_path, base, [base.x, g == "b", g == "c", pooled])
    capsys.readouterr()
    assert cli.main(["predict", str(tmp_path / "m.json"), str(tmp_path / "d.csv")]) == 0
    assert "no prediction" not in capsys.readouterr().err
    # A penalty needs none of that.
    assert fit(frame(g=g), tmp_path, "--C", 1, "--strict") == 0
    assert len(model(tmp_path)["coef"]) == 6


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 30))
def test_pooling_keeps_every_row(codes: list[int], least: int) -> None:
    feature = Feature("g", tuple("abcdef"))
    changed, found, unused = used_levels(feature, np.array(codes, np.int16), least)
    levels = changed.levels or ()
    assert set(unused) == set("abcdef") - {"abcdef"[code] for code in codes}
    for code, place in zip(codes, found, strict=True):
        name = "abcdef"[code]
        assert levels[place] == (POOLED if name in changed.pooled else name)
    counts = np.bincount(found, minlength=len(levels))
    assert (counts > 0).all()
    if len(levels) > 1:
        assert counts.min() >= min(least, len(codes)) or least == 0


def test_all_problems_in_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = frame()
    data["x"] = data.x.astype(str)
    data.loc[3, "x"] = "?"
    data["z"] = data.x.to_numpy()
    data.loc[[3, 5], "z"] = ["1,5", "2,5"]
    data["w"] = [np.inf, *range(1, ROWS)]
    line = error_of(capsys, fit(data, tmp_path))
    assert "3 problems" in line
    assert "column 'x' holds text where numbers are expected, in 1 cell: '?' in row 4" in line
    assert "give --na-values='?' if that means a missing value" in line
    assert "'1,5' in row 4 (line 5 of the file), '2,5' in row 6" in line
    assert "give --decimal , if those are decimal commas" in line
    assert "'w' is infinite in row 1" in line
    data = data.drop(columns=["z", "w"])
    assert fit(data, tmp_path, "--na-values=?") == 0
    assert "1 of 240 rows dropped; values are missing: x 1" in capsys.readouterr().err
    assert model(tmp_path)["na_values"] == ["?"]
    # The model knows what counts as missing.
    assert cli.main(["predict", str(tmp_path / "m.json"), str(tmp_path / "d.csv")]) == 0
    assert (
        "values are missing in 1 of 240 rows (x 1), the first is row 4" in capsys.readouterr().err
    )


def test_codes_for_missing_values_among_numbers(tmp_path: Path) -> None:
    data = frame()
    data.loc[[2, 9], "x"] = -999
    assert fit(data, tmp_path, "--na-values=-999,?") == 0
    assert model(tmp_path)["fit"]["rows"] == ROWS - 2
    data.to_parquet(tmp_path / "d.parquet")
    out = tmp_path / "p.json"
    arguments = ["fit", str(tmp_path / "d.parquet"), "--target", "y", "--na-values=-999,?"]
    assert cli.main([*arguments, "--out", str(out)]) == 0
    assert json.loads(out.read_text()) == model(tmp_path)


def test_a_column_known_for_one_class_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = np.where(np.arange(ROWS) % 2, "heart", "lung").astype(object)
    known[(frame().y == 0).to_numpy()] = None
    data = frame(cause=known, u=[None, *frame().x[1:]])
    # Where it is missing tells the class, so without it all rows can be used.
    assert fit(data, tmp_path) == 0
    assert "left out (has values in rows of one class only): cause" in capsys.readouterr().err
    found = model(tmp_path)
    assert found["fit"]["rows"] == ROWS - 1
    assert "cause" not in [feature["name"] for feature in found["features"]]
    zeros = int((data.y == 0).sum())
    line = error_of(capsys, fit(data, tmp_path, "--features", "cause,u"))
    assert f"the target has one value; values are missing in cause {zeros}, u 1: leave" in line
    line = error_of(capsys, fit(data, tmp_path, "--strict"))
    assert "values are missing in 1 rows, the first is row 1 (u 1)" in line
    line = error_of(capsys, fit(data[["cause", "y"]], tmp_path))
    assert "no column beside the target can be used: 'cause' has values in rows of one" in line
    assert fit(data, tmp_path, "--drop", "cause") == 0


@pytest.mark.parametrize("rows", [10, 23])
def test_small_data_is_fitted_whatever_the_seed(rows: int, tmp_path: Path) -> None:
    y = np.arange(rows) % 2
    x = np.random.default_rng(1).permutation(rows) * 1.5
    data = pd.DataFrame({"x": x, "y": y})
    for seed in range(4):
        assert fit(data, tmp_path, "--seed", seed) == 0
    check(tmp_path, data, [data.x])
    assert model(tmp_path)["fit"]["held_out"]["rows"] == 2 * round(0.25 * rows / 2)


def test_one_event_and_no_holdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    y = np.zeros(ROWS, int)
    y[100] = 1
    data = pd.DataFrame({"x": np.arange(ROWS)[::-1] % 17, "y": y})
    assert fit(data, tmp_path) == 0
    captured = capsys.readouterr()
    assert "not measured on held-out rows: a class has too few rows" in captured.err
    assert "held out of a first fit" not in captured.out
    assert fit(frame(), tmp_path, "--no-holdout") == 0
    assert "held" not in capsys.readouterr().out
    assert model(tmp_path)["fit"]["held_out"] is None


def test_reference_weights_and_drop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = frame(n=np.arange(ROWS) % 4, k=np.arange(ROWS) % 3)
    options = ("--reference", "g=b", "--reference", "k=2", "--weights", "n", "--drop", "x")
    assert fit(data, tmp_path, *options) == 0
    assert "groups: g (3), compared with 'b': 'a', 'c'" in capsys.readouterr().err
    repeated = data.loc[data.index.repeat(data.n)]
    columns = [repeated.g == "a", repeated.g == "c", repeated.k == 0, repeated.k == 1]
    check(tmp_path, repeated, columns)
    data.loc[7, "n"] = -1
    line = error_of(capsys, fit(data, tmp_path, "--weights", "n"))
    assert "'n' is negative in row 8" in line
    line = error_of(capsys, fit(data, tmp_path, "--reference", "g=z"))
    assert "--reference g=z is not a level of that column, which has 'a', 'b', 'c'" in line
    for wrong, text in (
        (("--drop", "height"), "no column 'height'"),
        (("--drop", "y"), "the target 'y' is among --drop"),
        (("--reference", "y=1"), "--reference y is not among"),
        (("--weights", "y"), "cannot be the weights"),
        (("--robust", "--C", "1"), "--robust is for standard errors"),
    ):
        assert text in error_of(capsys, fit(data, tmp_path, *wrong))


def test_messages_name_no_option_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_of(capsys, fit(frame(), tmp_path, "--C", "1", "--max-iter", "1"))
    assert "Raise --max-iter, or give a smaller --C" in line
    assert "(--max-iter was reached)" in error_of(capsys, fit(frame(), tmp_path, "--max-iter", "1"))
    x = frame().x.to_numpy()
    far = frame(u=x + 3 * frame().y, v=x - 3 * frame().y)  # together they separate
    line = error_of(capsys, fit(far, tmp_path))
    assert "separate" in line
    assert "--drop" in line
    assert "--C 1" in line
    assert "finite C" not in line


def test_what_the_estimator_warns_of_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.arange(1.0, 41.0)
    y = (x > 20).astype(int)
    x[19], x[20] = 20.5 + 1e-3, 20.5 - 1e-3  # two rows on the wrong side, by very little
    table = pd.DataFrame({"x": x, "y": y})
    assert fit(table, tmp_path, "--no-holdout") == 0
    assert "the classes are nearly separated, by x" in capsys.readouterr().err
