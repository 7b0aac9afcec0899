"""Which columns separate the classes: those that do, and no innocent one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checks import in_ci

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")
pytest.importorskip("mpmath", reason="the oracles need mpmath")
pd = pytest.importorskip("pandas", reason="names come with a pandas frame")

from fitted import Outcome, fitted, separating
from logit_oracle import (
    assert_right,
    maximum_likelihood,
    rank,
    separates,
    separating_sets,
)

if TYPE_CHECKING:
    from cases import Array

every_solver = pytest.mark.parametrize("solver", ["newton", in_ci("lbfgs")])


def blamed(frame: Any, y: Array, **options: Any) -> set[str]:
    return separating(fitted(frame, y, **options).refusal)


def sample(seed: int, n: int = 60) -> tuple[np.random.Generator, Array]:
    rng = np.random.default_rng(seed)
    y = (np.arange(n) >= n // 2).astype(int)
    return rng, y


@every_solver
def test_row_numbers_of_sorted_data(solver: str) -> None:
    """The others say something of the class too, but only the row number gives it away."""
    for seed in range(20):
        rng, y = sample(seed)
        frame = pd.DataFrame(
            {
                "a": rng.normal(size=60) + y,
                "id": np.arange(1, 61),
                "b": 50 + 5 * y + 9 * rng.normal(size=60),
                "c": 1.02 + 0.005 * y + 0.01 * rng.normal(size=60),
                "d": 800 - 150 * y + 200 * rng.normal(size=60),
            }
        )
        assert blamed(frame, y, solver=solver) == {"id"}, seed


@every_solver
@pytest.mark.parametrize("name", ["rownames", "bwt"])
def test_a_column_that_the_label_was_made_of(name: str, solver: str) -> None:
    """Births: row numbers beside the label, or the weight whose threshold the label is."""
    for seed in range(10):
        rng, y = sample(seed, 180)
        y = 1 - y
        weight = np.where(
            y == 1, 2500 - 10 * rng.integers(1, 150, 180), 2510 + 10 * rng.integers(0, 200, 180)
        )
        frame = pd.DataFrame(
            {
                "rownames": np.where(y == 1, 4, 85) + np.r_[90:0:-1, 90:0:-1] * 0.5,
                "age": rng.integers(14, 45, 180),
                "lwt": 130 - 10 * y + rng.integers(-40, 60, 180),
                "smoke": (rng.random(180) < 0.3 + 0.2 * y) * 1,
                "ui": (rng.random(180) < 0.05 + 0.2 * y) * 1,
                "bwt": weight,
            }
        ).drop(columns="bwt" if name == "rownames" else "rownames")
        assert blamed(frame, y, solver=solver) == {name}, seed


@every_solver
def test_all_that_separate_alone_are_named(solver: str) -> None:
    for seed in range(10):
        rng, y = sample(seed)
        frame = pd.DataFrame(rng.normal(size=(60, 5)), columns=list("abcde"))
        frame["a"] += y
        frame["b"] = np.abs(frame["b"]) * (2 * y - 1)
        frame["d"] = 1e6 + 1e-3 * (y == 0) * rng.random(60)  # one value for one class
        frame["e"] = y * (rng.random(60) < 0.2)
        assert separating_sets(frame.to_numpy(), y)[0] == [1, 3, 4]
        assert blamed(frame, y, solver=solver) == {"b", "d", "e"}, seed


@every_solver
@pytest.mark.parametrize("scale", [1.0, *map(in_ci, [1e6, 1e-6])])
def test_two_that_separate_together(scale: float, solver: str) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(120, 6))
        y = (X[:, 1] - X[:, 4] > 0).astype(int)
        X[:, [0, 2, 3]] += 0.7 * y[:, None]
        assert separating_sets(X, y) == ([], [(1, 4)])
        X[:, 4] *= scale
        assert blamed(X, y, solver=solver) == {"x2", "x5"}, seed


@every_solver
def test_three_that_separate_together(solver: str) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(150, 6))
        y = (X[:, 0] - X[:, 2] + X[:, 5] > 0).astype(int)
        X[:, [1, 3]] += 0.7 * y[:, None]
        assert separating_sets(X, y) == ([], [(0, 2, 5)])
        assert blamed(X, y, solver=solver) == {"x1", "x3", "x6"}, seed


@every_solver
def test_levels_with_one_class(solver: str) -> None:
    rng = np.random.default_rng(1)
    g = rng.choice(list("abcdefg"), 300)
    y = (rng.random(300) < 0.4).astype(int)
    y[np.isin(g, list("efg"))] = 1
    frame = pd.DataFrame({f"g={level}": (g == level) * 1 for level in "bcdefg"})
    frame["x"] = rng.normal(size=300) + y
    assert blamed(frame, y, solver=solver) == {"g=e", "g=f", "g=g"}


def test_a_level_that_is_the_reference_and_has_one_class() -> None:
    """No column alone says that it is that level; all the other levels together do."""
    rng = np.random.default_rng(2)
    g = rng.integers(0, 4, 200)
    y = (rng.random(200) < 0.5).astype(int)
    y[g == 0] = 0
    X = np.column_stack([g == 1, g == 2, rng.normal(size=200), g == 3]).astype(float)
    assert separating_sets(X, y) == ([], [(0, 1, 3)])
    assert blamed(X, y) == {"x1", "x2", "x4"}


@pytest.mark.parametrize("way", ["fit_stream", "dask"])
def test_chunks_say_the_same(way: str) -> None:
    if way == "dask":
        pytest.importorskip("dask", reason="the collections are Dask's")
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 6))
    y = (X[:, 1] - X[:, 4] > 0).astype(int)
    X[:, 0] += 0.7 * y
    assert blamed(X, y, way=way) == {"x2", "x5"}
    X[:, 3] = y * (X[:, 2] > 0)
    assert blamed(X, y, way=way) == {"x4"}


def random_case(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(8, 40)), int(rng.integers(1, 6))
    X = np.column_stack(
        [
            rng.integers(0, 4, n) * 1.0 if rng.random() < 0.5 else rng.normal(size=n).round(2)
            for _ in range(d)
        ]
    )
    z = (X - X.mean(axis=0)) @ rng.normal(size=d) * rng.choice([1, 3, 10])
    y = (z + rng.logistic(size=n) > 0).astype(int)
    # Powers of 2: what is on a boundary stays on it to the last bit.
    return X * 2.0 ** rng.integers(-20, 21, d), y


@pytest.mark.ci
@pytest.mark.parametrize("intercept", [True, False])
def test_verdicts_and_names_on_small_data(intercept: bool) -> None:
    seen = {"alone": 0, "together": 0, "overlap": 0}
    for seed in range(130):
        X, y = random_case(seed)
        if y.min() == y.max() or rank(X, intercept=intercept) < X.shape[1] + intercept:
            continue
        alone, smallest = separating_sets(X, y, intercept=intercept)
        outcome = fitted(X, y, fit_intercept=intercept)
        if alone:
            seen["alone"] += 1
            assert separating(outcome.refusal) == {f"x{j + 1}" for j in alone}, seed
        elif smallest:
            seen["together"] += 1
            sets = [{f"x{j + 1}" for j in chosen} for chosen in smallest]
            assert separating(outcome.refusal) in sets, seed
        else:
            seen["overlap"] += 1
            exact = maximum_likelihood(X, y, intercept=intercept)
            if exact.comfortable:
                assert_right(outcome.right, exact)
    assert min(seen.values()) >= 3, seen


@pytest.mark.parametrize("intercept", [True, False])
def test_an_intercept_is_not_named(intercept: bool) -> None:
    """Without an intercept, a column of one sign separates where it has one class's sign."""
    rng, y = sample(4)
    X = rng.normal(size=(60, 2))
    X[:, 0] = np.abs(X[:, 0]) * (2 * y - 1) + 5 * intercept
    assert blamed(X, y, fit_intercept=intercept) == {"x1"}


def test_rows_without_weight_do_not_count() -> None:
    rng, y = sample(5)
    X = rng.normal(size=(60, 3))
    X[:, 1] = np.abs(X[:, 1]) * (2 * y - 1)
    X[:5, 1] *= -1
    w = np.ones(60)
    assert fitted(X, y, w).result is not None
    w[:5] = 0
    assert separating(fitted(X, y, w).refusal) == {"x2"}


def irreducible(X: Array, y: Array, chosen: list[int]) -> bool:
    """Tell whether columns separate, and without any one of them do not."""
    if separates(X[:, chosen], y) == "overlap":
        return False
    fewer = [[j for j in chosen if j != left] for left in chosen]
    return all(not part or separates(X[:, part], y) == "overlap" for part in fewer)


@every_solver
def test_votes_of_many_columns(solver: str) -> None:
    """The smallest set is not to be had for many columns, but none of the named is too many."""
    rng = np.random.default_rng(6)
    party = rng.integers(0, 2, 120)
    X = (rng.random((120, 16)) < np.where(party[:, None] == 1, 0.8, 0.25)).astype(float)
    names = separating(fitted(X, party, solver=solver).refusal)
    assert irreducible(X, party, sorted(int(name[1:]) - 1 for name in names)), names


@pytest.mark.parametrize("solver", ["newton", in_ci("lbfgs")])
@pytest.mark.ci
def test_one_of_three_hundred_columns(solver: str) -> None:
    rng = np.random.default_rng(7)
    X = rng.normal(size=(1500, 300))
    y = (X[:, 0] + rng.logistic(size=1500) > 0).astype(int)
    X[:, 123] = y * (rng.random(1500) < 0.1)
    assert blamed(X, y, solver=solver) == {"x124"}


def test_too_many_columns_are_not_listed() -> None:
    rng = np.random.default_rng(8)
    X, y = rng.normal(size=(200, 150)), rng.integers(0, 2, 200)
    assert len(fitted(X, y).refusal) < 1_500


# --- a maximum that exists, but only just --------------------------------------------------------


def told_or_small(outcome: Outcome, X: Array, y: Array, weight: Any = None) -> None:
    """No standard error of 1e6, for a column of unit spread, without a word."""
    if outcome.result is None:
        assert outcome.warned
    elif not outcome.warned:
        spread = np.concatenate([[1], X.std(axis=0)])
        assert np.max(outcome.result.bse[1:] * spread[1:]) < 1e6
        exact = maximum_likelihood(X, y, weight)
        assert exact.converged
        assert_right(outcome.result, exact)


@every_solver
@pytest.mark.parametrize("amount", [1e-3, 1e-6, 1e-9, 1e-12, 1e-15, 1e-100, 5e-324])
@pytest.mark.parametrize("columns", [1, 3])
def test_rows_of_little_weight_overlap(columns: int, amount: float, solver: str) -> None:
    rng, y = sample(9)
    X = rng.normal(size=(60, columns))
    X[:, 0] = np.abs(X[:, 0]) * (2 * y - 1)
    X[:2, 0] *= -1
    X[-2:, 0] *= -1
    w = np.ones(60)
    w[[0, 1, -1, -2]] = amount
    told_or_small(fitted(X, y, w, solver=solver), X, y, w)


@every_solver
@pytest.mark.parametrize("overlap", [1e-2, 1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
@pytest.mark.parametrize("origin", [0.0, 1.0])
def test_classes_that_hardly_overlap(origin: float, overlap: float, solver: str) -> None:
    rng, y = sample(10)
    X = rng.normal(size=(60, 2))
    X[:, 0] = np.abs(X[:, 0]) * (2 * y - 1)
    X[0, 0], X[-1, 0] = overlap, -overlap
    X[:, 0] += origin
    told_or_small(fitted(X, y, solver=solver), X, y)


@every_solver
@pytest.mark.parametrize("separated", [0, 1])
def test_one_row_on_the_wrong_side(separated: int, solver: str) -> None:
    """A million right rows do not make one wrong one vanish."""
    n = 200_000
    x = np.linspace(-1, 1, n)
    y = (x > 0).astype(int)
    y[n // 4] = 1 - separated
    outcome = fitted(x[:, None], y, solver=solver)
    if separated:
        assert separating(outcome.refusal) == {"x1"}
    else:
        assert_right(outcome.right, maximum_likelihood(x[:, None], y))


@every_solver
def test_a_strong_effect_is_no_separation(solver: str) -> None:
    rng = np.random.default_rng(11)
    for strength in (10, 30, 60):
        X = rng.normal(size=(2_000, 2))
        y = (strength * X[:, 0] + rng.logistic(size=2_000) > 0).astype(int)
        assert_right(fitted(X, y, solver=solver).right, maximum_likelihood(X, y))
