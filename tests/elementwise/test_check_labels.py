"""``check_labels=True``: the first label that is NaN or outside [0, 1] is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checks import at_night, every_loss, every_loss_at_night, same_bits

import fastbce

if TYPE_CHECKING:
    from cases import Array, Case

pytestmark = pytest.mark.usefixtures("backend")

REDUCTIONS = ("none", "sum", "mean", "samples")
SIZES = (1, 15, 16, 17, 511, 513, 16385, 70001)


def labels_with(n: int, place: int, value: Any, dtype: Any = np.float32) -> Array:
    labels = (np.arange(n) % 2).astype(dtype)
    labels[place] = value
    return labels


def refused(case: Case, scores: Array, labels: Array, **options: Any) -> str:
    with pytest.raises(ValueError, match="labels must lie in") as caught:
        case(scores, labels, check_labels=True, **options)
    return str(caught.value)


@every_loss_at_night
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.ci
def test_good_labels_change_nothing(case: Case, reduction: str, rng: np.random.Generator) -> None:
    for soft in (False, True):
        arguments = case.draw(rng, (300, 70), np.float32, soft=soft)
        if case.kind == "clipped":
            arguments = (arguments[0].clip(0, 1), arguments[1])
        checked = case(*arguments, reduction=reduction, check_labels=True)
        for a, b in zip(checked, case(*arguments, reduction=reduction), strict=True):
            assert same_bits(np.asarray(a), np.asarray(b))


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_bad_labels_are_found_anywhere(case: Case, reduction: str) -> None:
    for n in SIZES:
        scores = np.full(n, 0.25, np.float32)
        for place in {0, n // 2, n - 1}:
            message = refused(case, scores, labels_with(n, place, 1.5), reduction=reduction)
            assert f"y_true[{place}] is 1.5" in message


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.nan, np.float32),
        (np.inf, np.float64),
        (-1e-45, np.float32),
        (np.nextafter(1, 2), np.float64),
        (2, np.int64),
        (np.nan, np.float16),
        (-np.inf, ">f8"),
        (255, np.uint8),
        # Each has a kernel of its own.
        at_night(-1, np.int8),
        at_night(2**63, np.uint64),
    ],
)
@pytest.mark.ci
def test_every_kind_of_bad_label(value: Any, dtype: Any) -> None:
    scores = np.zeros(40)
    labels = labels_with(40, 7, value, dtype)
    for weight in (None, 0.5):
        for layout in (labels, labels[::-1].copy()[::-1]):
            with pytest.raises(ValueError, match=r"y_true\[7\] is "):
                fastbce.bce_with_logits_loss(
                    scores, layout, sample_weight=weight, check_labels=True
                )


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 1e-45, 0.5])
def test_good_values(value: float) -> None:
    labels = labels_with(40, 7, value)
    assert np.isfinite(fastbce.bce_loss(np.full(40, 0.5), labels, check_labels=True))
    assert np.isfinite(fastbce.bce_loss(0.5, value, check_labels=True))


def test_the_first_index_in_every_shape() -> None:
    labels = np.zeros((50, 40, 30))
    labels[30, 2, 5] = labels[30, 2, 4] = labels[31, 0, 0] = 9
    scores = np.zeros_like(labels)
    with pytest.raises(ValueError, match=r"y_true\[\(30, 2, 4\)\] is 9\.0"):
        fastbce.bce_with_logits_gradient(scores, labels, check_labels=True)
    with pytest.raises(ValueError, match=r"y_true\[\(0, 0, 31\)\] is 9\.0"):
        fastbce.bce_with_logits_gradient(scores.T, labels.T, check_labels=True)
    with pytest.raises(ValueError, match=r"y_true\[\(\)\] is 2"):
        fastbce.bce_with_logits_gradient(0.0, 2, check_labels=True)


def test_hints() -> None:
    scores = np.zeros(4)
    for labels, hint in (
        ([1, -1, 1, 1], "(y_true + 1) / 2"),
        ([0, 1, np.nan, 1], "label is missing"),
        ([0, 5, 255, 3], "from 0 to 255"),
    ):
        with pytest.raises(ValueError, match=r"labels must lie in \[0, 1\]") as caught:
            fastbce.bce_with_logits_loss(scores, labels, check_labels=True)
        assert hint in str(caught.value)


def test_empty_and_unchecked() -> None:
    assert fastbce.bce_with_logits_gradient([], [], check_labels=True).size == 0
    # Without the check a label outside [0, 1] is a number like any other.
    assert fastbce.bce_with_logits_loss([2.0], [2.0]) == pytest.approx(np.log1p(np.exp(2.0)) - 4)


def test_in_place_and_rows_longer_than_a_strip() -> None:
    logits = np.zeros((2, 40_000), np.float32)
    labels = np.zeros_like(logits)
    labels[1, 39_999] = -3
    for reduction in REDUCTIONS:
        with pytest.raises(ValueError, match=r"y_true\[\(1, 39999\)\] is -3\.0"):
            fastbce.bce_with_logits_loss(logits, labels, reduction=reduction, check_labels=True)
    with pytest.raises(ValueError, match=r"y_true\[\(1, 39999\)\]"):
        fastbce.bce_with_logits_gradient(logits, labels, check_labels=True, out=logits)
