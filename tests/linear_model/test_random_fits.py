"""Thousands of random fits against the oracle: no wrong number in silence, no false refusal.

The slow test takes 10,000 seeds, or those that the environment variable
``FASTBCE_RANDOM_FITS="A B"`` says, so that it can be split among processes.
"""

from __future__ import annotations

import os

import pytest

pytest.importorskip("sklearn", reason="the estimator needs scikit-learn")
pytest.importorskip("scipy", reason="the estimator needs SciPy")
pytest.importorskip("mpmath", reason="the oracles need mpmath")
pytest.importorskip("dask", reason="some of the collections are Dask's")

from checks import at_night
from random_fits import sweep


def assert_good(seeds: range) -> None:
    counts, bad = sweep(seeds)
    assert not bad, f"{len(bad)} of {len(seeds)} fits: " + "\n".join(bad[:20])
    # Otherwise the sweep would show nothing.
    assert counts["right"] > 0.5 * len(seeds)
    assert counts["not judged"] <= 0.002 * len(seeds)


# Random dtypes, layouts and weights: most have kernels of their own.
@pytest.mark.parametrize("seeds", [range(12), at_night(range(12, 25))], ids=str)
@pytest.mark.ci
def test_a_few_random_fits(seeds: range) -> None:
    assert_good(seeds)


@pytest.mark.ci
def test_where_one_solver_cannot_go_on() -> None:
    # The first step ends where the loss is flat: of Newton's method, and of L-BFGS.
    for seed in (4231, 6807):
        assert sweep([seed])[0]["right"] == 1


@pytest.mark.slow
def test_many_random_fits() -> None:
    first, last = map(int, os.environ.get("FASTBCE_RANDOM_FITS", "0 10000").split())
    assert_good(range(first, last))
