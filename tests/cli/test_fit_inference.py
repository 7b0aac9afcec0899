"""Robust and clustered errors, kinds of weights, offsets and Firth's method by ``fastbce fit``."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pd = pytest.importorskip("pandas", reason="files come from data frames")
for package in ("pyarrow", "sklearn"):
    pytest.importorskip(package, reason=f"fastbce fit needs {package}")

import fastbce
from fastbce import cli
from fastbce.linear_model import LogisticRegression
from fastbce.model_file import model_of

ROWS = 160
# What to_dict of a result calls the keys of a model file.
KEYS = {
    "method": "method",
    "names": "names",
    "estimates": "coefficients",
    "standard_errors": "standard errors",
    "p_values": "p-values",
    "covariance_type": "covariance type",
    "covariance": "covariance",
    "clusters": "clusters",
    "weight_kind": "weights",
    "observations": "observations",
    "log_likelihood": "log-likelihood",
    "null_log_likelihood": "null log-likelihood",
    "likelihood_ratio_p_value": "LLR p-value",
    "aic": "AIC",
    "bic": "BIC",
}


def frame(**changes: Any) -> Any:
    rng = np.random.default_rng(12)
    x, g = rng.normal(size=ROWS).round(3), rng.choice(["a", "b"], ROWS)
    firm, year = rng.choice(list("pqrstuvw"), ROWS), rng.integers(2001, 2008, ROWS)
    base, w = rng.normal(size=ROWS).round(3), rng.integers(0, 4, ROWS) / 2
    effect = np.array([ord(letter) % 3 - 1 for letter in firm])
    y = (x + base + effect + (g == "b") + rng.logistic(size=ROWS) > 0).astype(int)
    columns = {"x": x, "g": g, "firm": firm, "year": year, "base": base, "w": w, "y": y}
    data = pd.DataFrame(columns).astype({"year": "Int64"})
    for row, name in enumerate(("x", "firm", "year", "base", "w")):
        data.loc[10 + row, name] = pd.NA if name == "year" else None
    return data.assign(**changes)


def used(data: Any, *names: str) -> tuple[Any, Any, Any]:
    """Return rows without missing values in these columns or weights of 0; X and y of them."""
    data = data.dropna(subset=list(names))
    data = data[data.w > 0] if "w" in names else data
    X = pd.DataFrame({"x": data.x, "g=b": (data.g == "b").astype(float)})
    return data, X, data.y


def fit(data: Any, folder: Path, *options: str) -> int:
    data.to_csv(folder / "d.csv", index=False)
    files = ["--out", str(folder / "m.json"), "--json", str(folder / "r.json")]
    return cli.main(["fit", str(folder / "d.csv"), "--target", "y", *files, *options])


def check(folder: Path, estimator: Any) -> dict[str, Any]:
    """Compare the report with an estimator, and the model read from its file; return the report."""
    report: dict[str, Any] = json.loads((folder / "r.json").read_text())
    found, right = report["model"]["fit"], estimator.result_.to_dict()
    for key, name in KEYS.items():
        if key in ("names", "clusters") or isinstance(right[name], str | None):
            assert found[key] == right[name], key
        else:
            np.testing.assert_allclose(found[key], right[name], rtol=1e-9, atol=1e-12, err_msg=key)
    read = fastbce.load(folder / "m.json").result_
    assert read.summary(width=100) == estimator.result_.summary(width=100)
    return report


CASES = [
    (["--robust"], {"cov_type": "HC0"}),
    (["--robust", "HC3"], {"cov_type": "HC3"}),
    (["--cluster", "firm"], {"cov_type": "cluster"}),
    (["--cluster", "firm,year", "--offset", "base"], {"cov_type": "cluster"}),
    (["--weights", "w", "--weight-kind", "analytic"], {"weight_kind": "analytic"}),
    (
        ["--weights", "w", "--weight-kind", "sampling", "--robust", "hc1", "--offset", "base"],
        {"weight_kind": "sampling", "cov_type": "HC1"},
    ),
    (["--firth", "--weights", "w", "--offset", "base"], {"penalty": "firth"}),
]
ROLES = ["firm", "year", "base", "w"]


@pytest.mark.parametrize(("options", "parameters"), CASES, ids=lambda value: " ".join(value))
def test_it_is_the_fit_of_the_estimator(
    options: list[str], parameters: dict[str, Any], tmp_path: Path
) -> None:
    names = [name for name in ROLES if name in ",".join(options).split(",")]
    drop = [name for name in ROLES if name not in names]
    more = ["--drop", ",".join(drop)]
    assert fit(frame(), tmp_path, *options, *more) == 0
    data, X, y = used(frame(), "x", *names)
    clusters = data[[n for n in names if n in ("firm", "year")]] if "--cluster" in options else None
    estimator = LogisticRegression(C=np.inf, **parameters).fit(
        X,
        y,
        data.w if "w" in names else None,
        offset=data.base if "base" in names else None,
        clusters=clusters,
    )
    report = check(tmp_path, estimator)
    assert report["missing"] == dict.fromkeys(["x", *names], 1)
    assert report["rows"]["used"] == len(data)
    assert report["model"]["offset"] == ("base" if "base" in names else None)


def test_rows_of_a_level_with_one_class_go_with_their_clusters(tmp_path: Path) -> None:
    data = frame()
    data["firm"] = pd.to_datetime("2020-01-01") + pd.to_timedelta(data.year.fillna(2001) % 7, "D")
    data.loc[20:40, "g"] = "c"
    data.loc[20:40, "y"] = 1
    options = ["--cluster", "firm", "--offset", "base", "--weights", "w", "--drop", "year"]
    assert fit(data, tmp_path, *options) == 0
    data, X, y = used(data[data.g != "c"], "x", "firm", "base", "w")
    estimator = LogisticRegression(C=np.inf, cov_type="cluster")
    check(tmp_path, estimator.fit(X, y, data.w, offset=data.base, clusters=data.firm))


def test_firth_keeps_what_separates(tmp_path: Path) -> None:
    data = frame()
    data["y"] = np.where(data.g == "b", 1, data.y)
    assert fit(data, tmp_path, "--firth", "--drop", ",".join(ROLES), "--plot", str(tmp_path)) == 0
    _, X, y = used(data, "x")
    check(tmp_path, LogisticRegression(penalty="firth").fit(X, y))


def test_a_flag_before_the_file_is_no_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame().to_csv(tmp_path / "d.csv", index=False)
    rest = [str(tmp_path / "d.csv"), "--target", "y", "--features", "x"]
    for options, kind in ((["--robust"], "HC0"), (["--rob"], "HC0"), (["--robust", "hc2"], "HC2")):
        assert cli.main(["fit", *options, *rest]) == 0
        assert f"covariance: {kind}" in re.sub(" +", " ", capsys.readouterr().out)
    with pytest.raises(SystemExit):
        cli.main(["fit", "--robust", "HC4", *rest])
    assert "invalid choice: 'hc4'" in capsys.readouterr().err


def test_predictions_need_the_offset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(frame(), tmp_path, "--offset", "base", "--drop", "firm,year,w") == 0
    data, X, y = used(frame(), "x", "base")
    estimator = LogisticRegression(C=np.inf).fit(X, y, offset=data.base)
    new = frame().rename(columns={"base": "other"})
    new.to_csv(tmp_path / "new.csv", index=False)
    arguments = ["predict", str(tmp_path / "m.json"), str(tmp_path / "new.csv")]
    capsys.readouterr()
    assert cli.main(arguments) == 2
    assert "was fitted with the offset 'base': give --offset" in capsys.readouterr().err
    assert cli.main([*arguments, "--offset", "other"]) == 0
    captured = capsys.readouterr()
    assert "missing in 2 of 160 rows (other 1, x 1)" in captured.err
    p = [row["probability"] for row in csv.DictReader(captured.out.splitlines())]
    assert [place for place, cell in enumerate(p) if not cell] == [10, 13]
    right = estimator.predict_proba(X, offset=data.base)[:, 1]
    np.testing.assert_allclose([float(cell) for cell in p if cell], right, rtol=1e-9)

    saved = tmp_path / "saved.json"
    model_of(estimator).save(saved)
    for path in (tmp_path / "m.json", saved):
        model = fastbce.load(path)
        with pytest.raises(ValueError, match="fitted with the offset"):
            model.predict(X.to_numpy())
        found = model.predict_proba(X.to_numpy(), data.base)[:, 1]
        np.testing.assert_allclose(found, right, rtol=1e-9)
        with pytest.raises(ValueError, match="offset has shape"):
            model.predict_proba(X.to_numpy(), data.base[:3])

    assert fit(frame(), tmp_path, "--C", "2", "--offset", "base", "--features", "x,g") == 0
    small = fastbce.load(tmp_path / "m.json")
    direct = LogisticRegression(C=2).fit(X, y, offset=data.base)
    np.testing.assert_allclose(small.coef, direct.coef_[0])
    np.testing.assert_allclose(small.intercept, direct.intercept_[0])

    assert fit(frame(), tmp_path, "--features", "x") == 0
    assert cli.main([*arguments, "--offset", "other"]) == 2
    assert "without an offset: leave --offset other out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("--firth --C 1", "give either --firth or --C"),
        ("--firth --robust", "it does not go with --robust"),
        ("--firth --cluster f", "it does not go with --cluster"),
        ("--firth --weights w --weight-kind analytic", "not go with --weight-kind analytic"),
        ("--firth --max-iter 9", "--firth has no --max-iter"),
        ("--C 1 --cluster f", "--cluster is for standard errors"),
        ("--C 1 --weights w --weight-kind analytic", "--weight-kind analytic is for standard"),
        ("--robust hc1 --cluster f", "leave --robust out, or --cluster"),
        ("--cluster f,g,h", "takes one column or two, got 3: f,g,h"),
        ("--cluster f,f", "--cluster names 'f' twice"),
        ("--weight-kind sampling --robust", "name them with --weights"),
        ("--weights w --weight-kind sampling", "add --robust, or --cluster"),
        ("--cluster y", "the target 'y' cannot be the cluster as well"),
        ("--weights w --offset w", "the weights 'w' cannot be the offset as well"),
        ("--cluster f --features x,f", "the cluster 'f' is among --features"),
    ],
)
def test_what_makes_no_sense_is_refused_before_the_file_is_read(
    options: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # There is no such file, which would be said otherwise.
    code = cli.main(["fit", str(tmp_path / "none.csv"), "--target", "y", *options.split()])
    assert code == 2
    assert text in capsys.readouterr().err


def test_advice_is_of_options_that_go_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = frame().drop(columns=["firm", "year", "base", "w", "g"])
    data["sure"] = data.y * 2 + np.arange(ROWS) / ROWS
    assert fit(data, tmp_path) == 2
    assert "--firth (finite estimates" in capsys.readouterr().err
    assert fit(data, tmp_path, "--robust") == 2
    error = capsys.readouterr().err
    assert "--firth without --robust (finite" in error
    assert "--C 1 without --robust (a penalty" in error
    # Neither column separates alone, so it is the fit that finds it.
    noise = np.random.default_rng(1).normal(size=ROWS) * 9
    far = data.assign(sure=data.y + noise, other=data.y - noise)
    assert fit(far, tmp_path, "--robust") == 2
    error = capsys.readouterr().err
    assert "give --firth without --robust, or give --C 1 without --robust" in error
    one = frame(firm="p")
    assert fit(one, tmp_path, "--cluster", "firm", "--features", "x") == 2
    assert "all samples are in one cluster" in capsys.readouterr().err
    assert fit(frame(firm=None), tmp_path, "--cluster", "firm", "--features", "x") == 2
    assert "'firm' has no values; name another for --cluster" in capsys.readouterr().err
    assert fit(frame(base="?!"), tmp_path, "--offset", "base", "--features", "x") == 2
    error = capsys.readouterr().err
    assert "column 'base'" in error
    assert "--drop" not in error
    assert "--categorical" not in error
