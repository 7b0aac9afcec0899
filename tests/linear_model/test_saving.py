"""An estimator is saved as ``fastbce fit`` saves a model, and read by ``fastbce.load``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pd = pytest.importorskip("pandas", reason="names of columns come from data frames")
pytest.importorskip("pyarrow", reason="fastbce.load needs pyarrow for data frames")

from sklearn.exceptions import NotFittedError

import fastbce
from fastbce import cli
from fastbce.inference import InferenceError
from fastbce.linear_model import LogisticRegression


@pytest.fixture
def data(rng: np.random.Generator) -> Any:
    X = pd.DataFrame(rng.normal(size=(120, 2)).round(3), columns=["age", "bmi"])
    return X.assign(died=np.where(X.age + rng.logistic(size=120) > 0, "yes", "no"))


@pytest.mark.parametrize("options", [{}, {"cov_type": "HC1"}, {"fit_intercept": False}])
def test_what_is_saved_comes_back(options: Any, data: Any, tmp_path: Path) -> None:
    X = data[["age", "bmi"]]
    ours = LogisticRegression(C=np.inf, **options).fit(X, data.died)
    ours.save(tmp_path / "m.json", "died")
    model = fastbce.load(tmp_path / "m.json")
    assert (model.target, model.classes) == ("died", ("no", "yes"))
    np.testing.assert_allclose(model.predict_proba(data), ours.predict_proba(X), rtol=1e-13)
    np.testing.assert_array_equal(model.predict(data), ours.predict(X))
    assert model.result_.summary() == ours.result_.summary()


def test_the_schema_is_that_of_the_command_line(data: Any, tmp_path: Path) -> None:
    data.to_csv(tmp_path / "d.csv", index=False)
    arguments = ["fit", str(tmp_path / "d.csv"), "--target", "died", "--no-holdout"]
    assert cli.main([*arguments, "--out", str(tmp_path / "cli.json")]) == 0
    ours = LogisticRegression(C=np.inf).fit(data[["age", "bmi"]].astype("f4"), data.died)
    ours.save(tmp_path / "m.json", "died")
    theirs, found = (json.loads((tmp_path / f).read_text()) for f in ("cli.json", "m.json"))
    np.testing.assert_allclose(found.pop("coef"), theirs.pop("coef"), rtol=1e-5)
    assert found.pop("intercept") == pytest.approx(theirs.pop("intercept"), rel=1e-5)
    # What the command line knows of the file and of its options beside.
    beside = {"fastbce", "rows", "weights", "cluster_columns", "held_out", "warnings"}
    assert set(theirs.pop("fit")) - set(found.pop("fit")) == beside
    assert found == theirs


def test_a_penalty_leaves_a_reason(data: Any, tmp_path: Path) -> None:
    LogisticRegression(C=1.0).fit(data[["age", "bmi"]].to_numpy(), data.died).save(
        tmp_path / "m.json"
    )
    model = fastbce.load(tmp_path / "m.json")
    assert model.names == ("x1", "x2")
    with pytest.raises(InferenceError, match=r"no covariance.*a penalty \(C=1\) pulls"):
        _ = model.result_


def test_what_is_refused(data: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        LogisticRegression().save(tmp_path / "m.json")
    days = np.where(data.died == "yes", np.datetime64("2020-01-02"), np.datetime64("2020-01-01"))
    ours = LogisticRegression().fit(data[["age", "bmi"]], days)
    with pytest.raises(ValueError, match=r"classes datetime.date\(2020, 1, 1\) and .* JSON"):
        ours.save(tmp_path / "m.json")
    assert not list(tmp_path.iterdir())
