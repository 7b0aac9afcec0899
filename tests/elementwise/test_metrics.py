"""Accuracy and the number of clipped probabilities, counted in the pass of the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cases import BY_NAME, CASES, Case
from checks import REDUCTIONS, same_bits

import fastbce
from fastbce._engine.team import WORKERS
from fastbce._options import COUNTS

if TYPE_CHECKING:
    from collections.abc import Callable

FEW = [BY_NAME["bce_loss_gradient"], BY_NAME["bce_with_logits_loss"]]
few_cases = pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
EPS = 1e-7


def exact(case: Case, x: Any, y: Any, kept: Any = True) -> tuple[float, int]:
    """Count element by element."""
    middle, right, counted, clipped = (0.5 if case.kind == "clipped" else 0.0), 0, 0, 0
    kept = np.broadcast_to(kept, np.shape(x)).ravel().tolist()
    for score, label, counts in zip(x.ravel().tolist(), y.ravel().tolist(), kept, strict=True):
        if counts:
            counted += 1
            right += score == score and label == label and (score > middle) == (label > 0.5)
            clipped += case.kind == "clipped" and (score < EPS or score > 1 - 2 * EPS)
    return right / counted, clipped


@few_cases
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_counts(
    case: Case, reduction: str, soft: bool, backend: str, rng: np.random.Generator
) -> None:
    x, y = case.draw(rng, (50, 40), np.float32, soft=soft)
    x[3, :6] = [np.nan, 0.5, 0.0, 1.0, np.inf, -np.inf]
    *results, metrics = case.function(x, y, reduction=reduction, metrics=True)
    assert tuple(metrics) == exact(case, x, y)
    assert (type(metrics.accuracy), type(metrics.clipped)) == (float, int)
    for actual, value in zip(results, case(x, y, reduction=reduction), strict=True):
        assert same_bits(actual, value)
    view = (x.T, np.ascontiguousarray(y.T))  # through scratch space
    assert case.function(*view, reduction=reduction, metrics=True)[-1] == metrics


@few_cases
@pytest.mark.ci
def test_what_is_ignored_is_not_counted(case: Case, backend: str, rng: np.random.Generator) -> None:
    x, y = case.draw(rng, (30, 20), np.float64, np.int64)
    y[rng.random(y.shape) < 0.2] = -1
    mask, weight = rng.random((30, 1)) < 0.7, rng.integers(0, 3, (30, 20)).astype(float)
    options: dict[str, Any] = {"mask": mask, "ignore_index": -1, "sample_weight": weight}
    found = case.function(x, y, metrics=True, label_smoothing=0.3, pos_weight=2, **options)[-1]
    assert tuple(found) == exact(case, x, y, (y != -1) & mask & (weight != 0))


@few_cases
@pytest.mark.ci
def test_in_place_by_threads(
    case: Case, threads: Callable[[int], None], rng: np.random.Generator
) -> None:
    x, y = case.draw(rng, 400_001, np.float32)
    expected = exact(case, x, y)
    for count in (1, 3):
        threads(count)
        own = x.copy()
        out = own if len(case.results) > 1 else None
        assert tuple(case.function(own, y, metrics=True, out=out)[-1]) == expected
    assert COUNTS[0] > WORKERS


def test_nothing_to_count(backend: str) -> None:
    empty = np.zeros(0)
    for mask in (None, np.zeros(3, bool)):
        x = empty if mask is None else np.zeros(3)
        *_, metrics = fastbce.bce_loss(x, x, metrics=True, mask=mask)
        assert np.isnan(metrics.accuracy)
        assert metrics.clipped == 0


@pytest.mark.parametrize(
    "case", [c for c in CASES if "loss" in c.results], ids=lambda case: case.name
)
def test_every_loss_has_them(case: Case) -> None:
    with fastbce.use_backend("numpy"):
        *results, metrics = case.function([0.25, 0.75], [0, 1], metrics=True)
    assert len(results) == len(case.results)
    assert metrics.accuracy == (1.0 if case.kind == "clipped" else 0.5)


def test_a_flag_that_is_none() -> None:
    with pytest.raises(TypeError, match="metrics must be True or False, got 'yes'"):
        fastbce.bce_loss([0.5], [1], metrics="yes")  # type: ignore[arg-type]
