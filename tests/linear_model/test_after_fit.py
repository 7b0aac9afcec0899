"""Tests of several coefficients, marginal effects, confusion tables, and tables of all of them."""

from __future__ import annotations

import json
import pickle
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")

from data_sets import DATA, ENDOMETRIAL, anes96, breast_cancer, fair
from hypothesis import given
from hypothesis import strategies as st

from fastbce.inference import ConfusionTable, LogitResult, confusion_table, tables
from fastbce.linear_model import LogisticRegression
from fastbce.streaming import ArrayChunks

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

    from cases import Array


def inference(X: Any, y: Array, weight: Any = None, **options: Any) -> LogitResult:
    return LogisticRegression(C=np.inf, **options).fit(X, y, weight).result_


def statsmodels_logit(X: Array, y: Array, **options: Any) -> Any:
    sm = pytest.importorskip("statsmodels.api", reason="compares with statsmodels")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sm.Logit(y, sm.add_constant(X)).fit(disp=0, method="newton", tol=1e-13, **options)


# --- tests


@pytest.mark.parametrize("cov_type", ["nonrobust", "HC0"])
@pytest.mark.parametrize("load", DATA)
def test_wald_tests(load: Any, cov_type: str, rng: np.random.Generator) -> None:
    X, y = load()
    ours, theirs = inference(X, y, cov_type=cov_type), statsmodels_logit(X, y, cov_type=cov_type)
    k = len(ours.params)
    matrix, value = rng.normal(size=(2, k)), rng.normal(size=2)
    for hypothesis, as_matrix, goal in (
        (None, np.eye(k)[1:], 0.0),
        ("x2", np.eye(k)[[2]], 0.0),
        (["x1", "x3"], np.eye(k)[[1, 3]], 0.0),
        (matrix, matrix, value),
        (matrix[0], matrix[:1], 0.0),
    ):
        expected = theirs.wald_test((as_matrix, np.broadcast_to(goal, len(as_matrix))), scalar=True)
        found = ours.wald_test(hypothesis, value=goal)
        assert found.statistic == pytest.approx(float(expected.statistic), rel=1e-6)
        assert found.pvalue == pytest.approx(float(expected.pvalue), rel=1e-6)
        assert found.df == len(as_matrix)
    assert ours.wald_test("x2").statistic == pytest.approx(ours.zvalues[2] ** 2, rel=1e-9)


@pytest.mark.ci
def test_wald_tests_do_not_depend_on_units(rng: np.random.Generator) -> None:
    X, y = fair()
    expected = inference(X, y).wald_test(["x1", "x2"]).statistic
    units = np.geomspace(1e-100, 1e100, X.shape[1])
    found = inference(X * units, y).wald_test(["x1", "x2"])
    assert found.statistic == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="variance of 'x1' is beyond the range"):
        inference(X * 1e-170, y).wald_test(["x1", "x2"])


def test_what_a_wald_test_refuses() -> None:
    X, y = anes96()
    result = inference(X, y)
    for hypothesis, match in (
        ("age", "no parameter 'age'; the parameters are const, x1"),
        (["x1", "x1"], "named twice"),
        ([], "names no parameter"),
        (np.zeros((1, 6)), "has no variance"),
        (np.ones((2, 6)), "linearly dependent"),
        (np.ones((2, 5)), "one column for each of the 6 parameters"),
        (np.full((1, 6), np.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=match):
            result.wald_test(hypothesis)
    with pytest.raises(ValueError, match="pass a number or 1 of them"):
        result.wald_test("x1", value=[0.0, 1.0])
    few = LogisticRegression(C=np.inf, cov_type="cluster").fit(X, y, clusters=np.arange(len(y)) % 3)
    with pytest.raises(ValueError, match=r"too few clusters \(3\)"):
        few.result_.wald_test()
    assert "Wald p-value: nan" in few.result_.summary()


@pytest.mark.parametrize("load", DATA)
def test_likelihood_ratio_tests(load: Any) -> None:
    X, y = load()
    large, small = inference(X, y), inference(X[:, [0, 2]], y)
    theirs = statsmodels_logit(X, y), statsmodels_logit(X[:, [0, 2]], y)
    found = large.lr_test(small)
    assert found == small.lr_test(large)
    assert found.statistic == pytest.approx(2 * (theirs[0].llf - theirs[1].llf), rel=1e-6)
    assert found.df == X.shape[1] - 2
    streamed = LogisticRegression(C=np.inf).fit_stream(ArrayChunks(X[:, [0]], y)).result_
    assert large.lr_test(streamed).df == X.shape[1] - 1


def test_what_a_likelihood_ratio_test_refuses() -> None:
    X, y = anes96()
    large = inference(X, y)
    weight = np.full(len(y), 2.0)
    for other, match in (
        (inference(X[:, :2], 1 - y), "labels, weights or offsets differ"),
        (inference(X[::-1, :2], y[::-1]), "labels, weights or offsets differ"),
        (inference(X[1:, :2], y[1:]), "one has 943 observations, the other 944"),
        (inference(X[:, :2], y, weight), "observations"),
        (inference(X, y), "both models have 6 parameters"),
        (inference(X[:, :2] ** 2, y), "x1, x2 of the smaller one is no column"),
        (inference(X[:, :2], y, weight, weight_kind="analytic"), "weights are"),
        (
            inference(X[:, :2], y, weight, weight_kind="sampling", cov_type="HC1"),
            "with sampling weights",
        ),
    ):
        with pytest.raises(ValueError, match=match):
            large.lr_test(other)


# --- marginal effects


@pytest.mark.parametrize("at", ["average", "means"])
@pytest.mark.parametrize("cov_type", ["nonrobust", "HC0"])
@pytest.mark.parametrize("load", DATA)
def test_marginal_effects(load: Any, cov_type: str, at: str) -> None:
    X, y = load()
    X = np.column_stack([X, X[:, 0] > np.median(X[:, 0]), X[:, 1] > np.mean(X[:, 1])])
    ours, theirs = inference(X, y, cov_type=cov_type), statsmodels_logit(X, y, cov_type=cov_type)
    found = ours.marginal_effects(X, at)
    where = {"average": "overall", "means": "mean"}[at]
    expected = theirs.get_margeff(at=where, dummy=True)
    np.testing.assert_allclose(found.effects, expected.margeff, rtol=1e-6)
    np.testing.assert_allclose(found.bse, expected.margeff_se, rtol=1e-6)
    np.testing.assert_allclose(found.pvalues, expected.pvalues, rtol=1e-5, atol=1e-300)
    np.testing.assert_allclose(found.conf_int(0.1), expected.conf_int(0.1), rtol=1e-5, atol=1e-9)
    assert found.indicators[-2:] == (True, True)
    assert "(0 to 1)" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["at"] == at
    many = np.repeat(X, 3, 0)
    weighted = ours.marginal_effects(X, at, sample_weight=np.full(len(X), 3.0))
    np.testing.assert_allclose(weighted.bse, ours.marginal_effects(many, at).bse, rtol=1e-9)


@pytest.mark.parametrize("at", ["average", "means"])
def test_a_group_of_levels_changes_from_its_reference(at: str, rng: np.random.Generator) -> None:
    n = 400
    level = rng.integers(0, 3, n)
    X = np.column_stack([rng.normal(size=n), level == 1, level == 2, rng.normal(size=n)])
    offset = rng.normal(size=n)
    y = (0.5 * X[:, 1] + X[:, 0] + offset + rng.logistic(size=n) > 0).astype(int)
    model = LogisticRegression(C=np.inf).fit(X, y, offset=offset)
    result = model.result_

    def change(params: Array, X: Array, shift: Array) -> float:
        one, none = X.copy(), X.copy()
        one[:, 1:3], none[:, 1:3] = (1, 0), (0, 0)
        p, q = (1 / (1 + np.exp(-(params[0] + A @ params[1:] + shift))) for A in (one, none))
        return float((p - q).mean())

    found = result.marginal_effects(X, at, groups=[["x2", "x3"]], offset=offset)
    where, shift = (X, offset) if at == "average" else (X.mean(0)[None], offset.mean()[None])
    assert found.effects[1] == pytest.approx(change(result.params, where, shift), rel=1e-9)
    slope = np.array(
        [
            change(result.params + step, where, shift) - change(result.params - step, where, shift)
            for step in 1e-6 * np.eye(5)
        ]
    )
    error = np.sqrt(slope @ result.covariance @ slope) / 2e-6
    assert found.bse[1] == pytest.approx(error, rel=1e-6)


def test_what_marginal_effects_refuse() -> None:
    pandas = pytest.importorskip("pandas", reason="passes a frame")
    X, y = anes96()
    result = inference(X, y)
    for options, match in (
        ({"at": "median"}, "at must be one of"),
        ({"X": X[:, 1:]}, r"numbers of shape \(n, 5\)"),
        ({"X": X.astype(str)}, r"numbers of shape \(n, 5\)"),
        ({"X": np.where(X.max() == X, np.nan, X)}, "X holds nan in row"),
        ({"groups": [["x1", "x2"]]}, "'x1', which does not hold 0 and 1 alone"),
        ({"groups": [["x9"]]}, "names 'x9'"),
        ({"sample_weight": -np.ones(len(y))}, "must not be negative"),
        ({"offset": np.ones(3)}, r"offset has shape \(3,\)"),
        ({"X": pandas.DataFrame(X, columns=list("abcde"))}, "the fit had x1, x2"),
    ):
        arguments: dict[str, Any] = {"X": X, **options}
        with pytest.raises(ValueError, match=match):
            result.marginal_effects(**arguments)


# --- confusion tables


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5])
def test_confusion_tables(threshold: float, rng: np.random.Generator) -> None:
    from sklearn.metrics import accuracy_score, confusion_matrix, precision_score, recall_score

    X, y = breast_cancer()
    labels = np.where(y, "ill", "well")
    model = LogisticRegression(C=np.inf).fit(X, labels)
    weight = rng.exponential(size=len(y))
    found = model.confusion_table(X, labels, threshold=threshold, sample_weight=weight)
    # "well" comes second.
    well = 1 - y
    predicted = model.predict_proba(X)[:, 1] > threshold
    (tn, fp), (fn, tp) = confusion_matrix(well, predicted, sample_weight=weight)
    counts = (found.true_negatives, found.false_positives, found.false_negatives)
    np.testing.assert_allclose((*counts, found.true_positives), (tn, fp, fn, tp), rtol=1e-12)
    options = {"sample_weight": weight}
    assert found.sensitivity == pytest.approx(recall_score(well, predicted, **options))
    assert found.specificity == pytest.approx(recall_score(well, predicted, pos_label=0, **options))
    assert found.precision == pytest.approx(precision_score(well, predicted, **options))
    assert found.accuracy == pytest.approx(accuracy_score(well, predicted, **options))
    assert "observed ill" in str(found)
    assert found.to_dict()["sensitivity"] == found.sensitivity


def test_confusion_tables_of_odd_data() -> None:
    empty = confusion_table([0, 0], [0.1, 0.2])
    assert (empty.true_negatives, empty.specificity) == (2, 1.0)
    assert np.isnan(empty.sensitivity)
    assert empty.to_dict()["sensitivity"] is None
    assert confusion_table([1, 0], [0.5, 0.5], threshold=0.5) == ConfusionTable(1, 0, 1, 0)
    for arguments, match in (
        (([0, 1], [0.5]), "one shape"),
        (([0, 2], [0.5, 0.5]), "row 2 is 2, which is neither 0 nor 1"),
        (([0, 1], [0.5, 1.5]), "probability in row 2"),
        (([0, 1], [np.nan, 0.5]), "probability in row 1"),
    ):
        with pytest.raises(ValueError, match=match):
            confusion_table(*arguments)
    with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
        confusion_table([0, 1], [0.5, 0.5], threshold=2)
    with pytest.raises(ValueError, match="weight in row 2"):
        confusion_table([0, 1], [0.5, 0.5], sample_weight=[1, -1])


# --- tables


def test_nothing_is_rounded_where_a_machine_reads_it(tmp_path: Any) -> None:
    X, y = fair()
    result = inference(X, y, cov_type="HC2")
    content = json.loads(result.to_json())
    assert content["log-likelihood"] == result.llf
    assert content["null log-likelihood"] == result.llnull
    assert (content["AIC"], content["BIC"]) == (result.aic, result.bic)
    for name, values in (
        ("coefficients", result.params),
        ("standard errors", result.bse),
        ("z", result.zvalues),
        ("p-values", result.pvalues),
        ("lower", result.conf_int()[:, 0]),
        ("odds ratio upper", result.odds_ratios_conf_int()[:, 1]),
        ("covariance", result.covariance),
    ):
        np.testing.assert_array_equal(content[name], values)
    text = result.to_csv(tmp_path / "out.csv", alpha=0.1)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == text
    numbers = np.loadtxt(text.splitlines()[1:], delimiter=",", usecols=range(1, 10))
    np.testing.assert_array_equal(numbers[:, 0], result.params)
    np.testing.assert_array_equal(numbers[:, 4:6], result.conf_int(0.1))
    frame = result.to_frame()
    assert list(frame.index) == list(result.names)
    np.testing.assert_array_equal(frame["std err"], result.bse)
    again = pickle.loads(pickle.dumps(result))
    assert again.to_dict() == result.to_dict()


def test_json_has_no_nan(rng: np.random.Generator) -> None:
    X, y = anes96()
    model = LogisticRegression(C=np.inf, cov_type="cluster").fit(X, y, clusters=np.arange(len(y)))
    content = json.loads(model.result_.to_json(), parse_constant=pytest.fail)
    assert content["AIC"] is None
    assert content["clusters"] == [len(y)]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_summary_fits_into_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    pandas = pytest.importorskip("pandas", reason="names come with a frame")
    monkeypatch.setenv("COLUMNS", str(width))
    X, y = fair()
    names = [f"a long name of a column, number {i} of them" for i in range(X.shape[1])]
    result = inference(pandas.DataFrame(X, columns=names), y)
    text = result.summary()
    widest = max(map(len, text.splitlines()))
    assert widest <= max(width, 75)
    assert all(line == line.rstrip() for line in text.splitlines())
    if width == 200:
        assert names[3] in text
    rows = [line for line in text.splitlines() if line.startswith("a long")]
    assert len(rows) in (len(names), 2 * len(names))
    assert all("f them " in row for row in rows)
    places = {row.index(".", row.index("f them ")) for row in rows}
    assert len(places) <= 2  # one for each of two tables


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_numbers_are_shown_to_four_digits(value: float) -> None:
    shown = float(tables.number(value))
    if np.isfinite(value):
        assert shown == pytest.approx(value, rel=5.001e-4, abs=0)
    else:
        np.testing.assert_equal(shown, value)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=8))
def test_decimal_points_stand_below_each_other(values: list[float]) -> None:
    cells = tables.aligned([tables.number(value) for value in values])
    assert len({len(cell) for cell in cells}) == 1
    assert len({cell.index(".") for cell in cells if "." in cell}) <= 1
    for cell, value in zip(cells, values, strict=True):
        assert cell.strip() == tables.number(value)


def test_html_escapes_and_shows_firths_profile() -> None:
    pandas = pytest.importorskip("pandas", reason="names come with a frame")
    frame = pandas.DataFrame(ENDOMETRIAL[:, :3], columns=["a<b", "c&d", "e"])
    result = LogisticRegression(penalty="firth").fit(frame, ENDOMETRIAL[:, 3]).result_
    text = result._repr_html_()
    assert text == result.to_html()
    for part in ("a&lt;b", "c&amp;d", "Firth", "chi2", "7.855"):
        assert part in text
    assert result.profile is not None
    assert result.to_dict()["chi2"] == result.profile.statistics.tolist()


def test_importing_inference_imports_no_scikit_learn(
    python: Callable[..., CompletedProcess[str]],
) -> None:
    script = (
        "import sys, fastbce.inference; print(*sorted({'sklearn', 'pandas'} & set(sys.modules)))"
    )
    assert not python(script).stdout.strip()
