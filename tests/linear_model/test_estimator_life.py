"""Whatever is called in whatever order: what a fresh object gives, or an error and no change."""

from __future__ import annotations

import copy
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checks import at_night
from logistic import logistic

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")

from estimator_life import assert_equal, live, state

from fastbce.linear_model import LogisticRegression
from fastbce.streaming import ArrayChunks

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable


needs_mprotect = pytest.mark.skipif(sys.platform == "win32", reason="mprotect is POSIX's")


# The compiled pass takes seconds for each combination of dtypes, and lives draw dozens of them.
@pytest.mark.parametrize(
    ("backend", "first"),
    [
        *(("numpy", first) for first in (0, 5)),
        *(at_night("numpy", first) for first in range(10, 30, 5)),
        *(at_night("numba", first) for first in range(0, 30, 5)),
    ],
    indirect=["backend"],
)
def test_lives(first: int, backend: str) -> None:
    for seed in range(first, first + 5):
        live(seed)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1_000, 3_000, 100))
def test_many_lives(first: int, backend: str) -> None:
    for seed in range(first, first + 100):
        live(seed, calls=40)


def guarded(python: Callable[..., Any], first: int, last: int, backend: str) -> None:
    folder = str(Path(__file__).parents[1])
    script = (
        f"import sys, runpy; sys.path.insert(0, {folder!r}); "
        f"sys.argv = ['', '{first}', '{last}', '{backend}']; "
        "runpy.run_module('estimator_life', run_name='__main__')"
    )
    done: subprocess.CompletedProcess[str] = python(script, check=False, timeout=3_000)
    lines = done.stdout.split()
    assert done.returncode == 0, f"life {lines[-1:]}, exit {done.returncode}: {done.stderr[-800:]}"


@pytest.mark.ci
@needs_mprotect
@pytest.mark.parametrize("backend", ["numba", at_night("numpy")])
def test_lives_beside_guarded_pages(
    backend: str, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    guarded(python, 100, 112, backend)


@pytest.mark.slow
@needs_mprotect
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_many_lives_beside_guarded_pages(
    backend: str, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    guarded(python, 10_000, 11_000, backend)


@needs_mprotect
@pytest.mark.ci
def test_a_warm_start_of_another_size_reads_nothing(
    python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import numpy as np
from estimator_life import at_the_edge
from fastbce.linear_model import LogisticRegression
rng = np.random.default_rng(0)
y = at_the_edge(rng.integers(0, 2, 1024))
for before, after in ((40, 2), (250, 2), (2, 40), (300, 260)):
    for order in "CF":
        model = LogisticRegression(warm_start=True, C=0.1).fit(rng.normal(size=(1024, before)), y)
        X = at_the_edge(np.asarray(rng.normal(size=(1024, after)), order=order))
        try:
            model.fit(X, y)
        except ValueError as error:
            assert str(before) in str(error) and str(after) in str(error), error
        else:
            raise AssertionError(f"{{before}} coefficients were taken for {{after}} columns")
        assert model.coef_.shape == (1, before)
"""
    done = python(script, check=False)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-500:]}"


def unchanged(model: Any, call: Callable[[], Any]) -> str:
    """Call what must raise ValueError and change nothing; return the text."""
    before = state(model)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the caller looks at the text
        call()
    assert_equal(state(model), before, exact=True)
    return str(caught.value)


@pytest.mark.parametrize("way", ["fit", "fit_stream"])
@pytest.mark.parametrize("columns", [2, 5])
def test_a_warm_start_of_another_number_of_columns(
    columns: int, way: str, backend: str, rng: np.random.Generator
) -> None:
    X, y = logistic(rng)
    other, _ = logistic(rng, d=columns)
    model = LogisticRegression(warm_start=True).fit(X, y)
    calls: dict[str, Callable[[], Any]] = {
        "fit": lambda: model.fit(other, y),
        "fit_stream": lambda: model.fit_stream(ArrayChunks(other, y)),
    }
    text = unchanged(model, calls[way])
    assert "3" in text
    assert str(columns) in text
    model.set_params(warm_start=False)
    calls[way]()
    assert model.coef_.shape == (1, columns)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["coef_", "intercept_"])
def test_a_warm_start_from_no_number(name: str, value: float, rng: np.random.Generator) -> None:
    X, y = logistic(rng)
    model = LogisticRegression(warm_start=True).fit(X, y)
    getattr(model, name).flat[-1] = value
    # Its predictions are NaN as well: only the call itself is looked at.
    coef = model.coef_.copy()
    calls: list[Callable[[], Any]] = [
        lambda: model.fit(X, y),
        lambda: model.fit_stream(ArrayChunks(X, y)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=name):
            call()
        np.testing.assert_array_equal(model.coef_, coef)


@pytest.mark.parametrize("way", ["fit", "fit_stream"])
def test_partial_fit_after_fit_starts_anew_and_says_so(way: str, rng: np.random.Generator) -> None:
    X, y = logistic(rng)
    model = LogisticRegression()
    _ = model.fit(X, y) if way == "fit" else model.fit_stream(ArrayChunks(X, y))
    with pytest.warns(UserWarning, match="starts anew") as caught:
        model.partial_fit(X[::2], y[::2])
    assert caught[0].filename == __file__
    expected = LogisticRegression().partial_fit(X[::2], y[::2])
    assert_equal(state(model), state(expected), exact=True)


@pytest.mark.parametrize("way", ["fit", "fit_stream"])
def test_fit_forgets_what_partial_fit_knew(way: str, rng: np.random.Generator) -> None:
    X, y = logistic(rng, 600)
    model = LogisticRegression().partial_fit(X[:200], y[:200])
    expected = LogisticRegression()
    for one in (model, expected):
        _ = (
            one.fit(X[200:], y[200:])
            if way == "fit"
            else one.fit_stream(ArrayChunks(X[200:], y[200:]))
        )
    assert_equal(state(model), state(expected), exact=True)


def test_a_failed_fit_leaves_partial_fit_going(rng: np.random.Generator) -> None:
    X, y = logistic(rng, 600)
    model = LogisticRegression().partial_fit(X[:200], y[:200])
    unchanged(model, lambda: model.fit(X, np.zeros(600)))
    unchanged(model, lambda: model.fit(X[:, 0], y))
    bad = X.copy()
    bad[300, 1] = np.nan
    unchanged(model, lambda: model.fit(bad, y))
    unchanged(model, lambda: model.fit_stream(ArrayChunks(bad, y, rows=100)))
    unchanged(model, lambda: model.partial_fit(bad, y))
    model.partial_fit(X[200:], y[200:])
    expected = LogisticRegression().partial_fit(X[:200], y[:200]).partial_fit(X[200:], y[200:])
    assert_equal(state(model), state(expected), exact=True)


INVALID: list[tuple[str, Any]] = [
    *(("fit_intercept", value) for value in ("no", "False", 0, 1, None, 2.0, [True])),
    *(("warm_start", value) for value in ("no", "False", 0, 1, None, 2.0)),
    *(("tol", value) for value in (np.inf, np.nan, 0, -1e-6, "1e-6", None, True)),
    *(("C", value) for value in (np.nan, 0, -1, -np.inf, "1", None, True)),
    *(("max_iter", value) for value in (True, 0, -1, 1.5, np.inf, None, "200")),
    *(("solver", value) for value in ("sag2", None, 1)),
    *(("cov_type", value) for value in ("HC4", None, "clusters")),
]


@pytest.mark.parametrize(("name", "value"), INVALID, ids=str)
@pytest.mark.parametrize("way", ["fit", "fit_stream", "partial_fit"])
def test_arguments_are_not_taken_at_their_word(
    way: str, name: str, value: Any, rng: np.random.Generator
) -> None:
    X, y = logistic(rng, 60)
    options: Any = {name: value}
    model = LogisticRegression(**options)
    calls: dict[str, Callable[[], Any]] = {
        "fit": lambda: model.fit(X, y),
        "fit_stream": lambda: model.fit_stream(ArrayChunks(X, y)),
        "partial_fit": lambda: model.partial_fit(X, y),
    }
    with pytest.raises(ValueError, match=name):
        calls[way]()
    assert not hasattr(model, "coef_")
    assert not hasattr(model, "n_features_in_")


def test_dask_checks_its_arguments_too(rng: np.random.Generator) -> None:
    da: Any = pytest.importorskip("dask.array", reason="the collections are Dask's")
    from fastbce.interop.dask import LogisticRegression as OnDask

    X, y = logistic(rng, 60)
    parts = da.from_array(X, chunks=(20, -1)), da.from_array(y, chunks=20)
    for name, value in (("fit_intercept", "no"), ("tol", np.inf), ("max_iter", True)):
        options: Any = {name: value}
        model = OnDask(**options)
        with pytest.raises(ValueError, match=name):
            model.fit(*parts)
    model = OnDask(warm_start=True).fit(*parts)
    other = da.from_array(X[:, :2], chunks=(20, -1))
    unchanged(model, lambda: model.fit(other, parts[1]))
    with pytest.warns(UserWarning, match="starts anew"):
        model.partial_fit(X, y)


@pytest.mark.parametrize("label", [1, 0, True, "a", 2.5])
def test_numbers_in_messages_read_as_numbers(label: Any, rng: np.random.Generator) -> None:
    X, _ = logistic(rng, 20)
    y = np.full(20, label)
    calls: list[Callable[[], Any]] = [
        lambda: LogisticRegression().fit(X, y),
        lambda: LogisticRegression().fit_stream(ArrayChunks(X, y)),
        lambda: LogisticRegression().partial_fit(X, y),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=str(label)) as caught:
            call()
        assert "np." not in str(caught.value)


def test_a_users_strict_numpy_breaks_nothing(backend: str, rng: np.random.Generator) -> None:
    X, y = logistic(rng)
    far = 1e3 * X
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for C in (1.0, np.inf):
            model = LogisticRegression(C=C).fit(X, y)
            model.predict_proba(far)
            model.predict_log_proba(far)
            state(model)
        _ = model.result_.odds_ratios, model.result_.pvalues, model.result_.summary()
        LogisticRegression().partial_fit(far, y)
        LogisticRegression().fit_stream(ArrayChunks(far, y))


@pytest.mark.ci
def test_partial_fit_takes_class_weights(backend: str, rng: np.random.Generator) -> None:
    X, y = logistic(rng)
    factor = np.where(y == 1, 3.0, 0.5)
    model, expected = LogisticRegression(class_weight={0: 0.5, 1: 3.0}), LogisticRegression()
    for part in (slice(0, 100), slice(100, 300)):
        model.partial_fit(X[part], y[part])
        expected.partial_fit(X[part], y[part], sample_weight=factor[part])
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)


def test_two_objects_share_nothing(rng: np.random.Generator) -> None:
    X, y = logistic(rng)
    model = LogisticRegression().partial_fit(X, y)
    other = copy.deepcopy(model)
    before = state(model)
    other.partial_fit(X[::2], y[::2])
    assert_equal(state(model), before, exact=True)
