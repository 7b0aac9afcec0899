"""What fits and their results refuse: the exact type, and words that name what was passed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")

from logistic import logistic

from fastbce import metrics
from fastbce.inference import LogitResult
from fastbce.linear_model import LogisticRegression
from fastbce.streaming import ArrayChunks

if TYPE_CHECKING:
    from collections.abc import Callable

    from cases import Array

N = 300


def samples() -> tuple[Array, Array]:
    return logistic(np.random.default_rng(3), N)


def fit(X: Any, y: Any, **arrays: Any) -> LogisticRegression:
    cov_type = "cluster" if "clusters" in arrays else "nonrobust"
    return LogisticRegression(C=np.inf, cov_type=cov_type).fit(X, y, **arrays)


def result(columns: Any = slice(None), **arrays: Any) -> LogitResult:
    X, y = samples()
    found: LogitResult = fit(X[:, columns], y, **arrays).result_
    return found


def wald(hypothesis: Any) -> Callable[[], Any]:
    return lambda: result().wald_test(hypothesis)


def only_an_intercept() -> Any:
    alone = LogitResult(("const",), np.ones(1), np.ones((1, 1)), "nonrobust", N, -1.0, -1.0)
    return alone.wald_test()


def other_samples() -> Any:
    X, y = samples()
    return result([0]).lr_test(fit(X, 1 - y * (X[:, 0] > 0)).result_)


def effects(**options: Any) -> Callable[[], Any]:
    """Return the effects of two indicators of one group and of a number."""

    def called() -> Any:
        X, y = samples()
        X[:, 1:] = np.eye(3)[np.arange(N) % 3][:, :2]
        return fit(X, y).result_.marginal_effects(X, **options)

    return called


def with_arrays(**arrays: Any) -> Callable[[], Any]:
    return lambda: result(**arrays)


def third_class_in_a_chunk() -> Any:
    X, _ = samples()
    return LogisticRegression().fit_stream(ArrayChunks(X, np.arange(N) % 3, rows=100))


def three_declared_classes() -> Any:
    X, y = samples()
    return LogisticRegression().partial_fit(X, y, classes=[0, 1, 2])


def log_loss(y: Any) -> Callable[[], Any]:
    return lambda: metrics.log_loss(y, np.full(2, 0.5))


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "nothing to test": (only_an_intercept, ValueError, "the intercept is the only parameter"),
    "a mapping": (wald({"x0": 0}), TypeError, "names of parameters or a matrix, got a mapping"),
    "other labels": (other_samples, ValueError, "null models have different log-likelihoods"),
    "an offset that is NaN": (
        effects(offset=np.full(N, np.nan)),
        ValueError,
        "offset holds NaN or infinity",
    ),
    "a group that is text": (effects(groups=["x1"]), TypeError, "of names, got the text 'x1'"),
    "a column in two groups": (
        effects(groups=[["x2", "x3"], ["x2", "x3"]]),
        ValueError,
        "groups names 'x2' twice",
    ),
    "an offset that is text": (
        with_arrays(offset=["a"] * N),
        ValueError,
        f"offset must be {N} numbers, got list",
    ),
    "clusters of two kinds": (
        with_arrays(clusters=np.array(["a", 1] * (N // 2), object)),
        ValueError,
        "clusters mixes text and numbers",
    ),
    "three classes": (third_class_in_a_chunk, ValueError, "3 classes"),
    "three declared classes": (three_declared_classes, ValueError, "two labels, got 3"),
    "two columns of labels": (
        log_loss([[1, 0], [1, 1]]),
        ValueError,
        "two columns that do not hold one 1 a row",
    ),
    "dates": (log_loss(np.array(["2020", "2021"], "M8[Y]")), ValueError, "has dtype datetime64"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refusals(what: str) -> None:
    call, error, said = REFUSED[what]
    with pytest.raises(error, match=said) as caught:
        call()
    assert type(caught.value) is error


@pytest.mark.parametrize("alpha", [0.0, 1.0, np.nan])
def test_levels_of_profiles(alpha: float) -> None:
    X, y = samples()
    model = fit(X, y)
    with pytest.raises(ValueError, match=r"strictly between 0 and 1, got"):
        model.profile_conf_int(X, y, alpha=alpha)


def test_results_as_json_frames_and_csv() -> None:
    pandas = pytest.importorskip("pandas", reason="frames are pandas'")
    found = result()
    test = found.wald_test("x1")
    assert json.loads(json.dumps(test.to_dict()))["pvalue"] == test.pvalue
    X, _ = samples()
    table = found.marginal_effects(X)
    frame = table.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    np.testing.assert_array_equal(frame["effect"], table.effects)
    read = [row.split(",") for row in table.to_csv().splitlines()]
    assert float(read[1][read[0].index("effect")]) == table.effects[0]
