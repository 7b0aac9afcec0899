"""Labels that are no labels, probabilities that are logits, and float16 gradients that stay finite.

Bool and integer labels are looked at always, floats with ``check_labels=True``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cases import BY_NAME, LOSSES, Array, Case
from checks import REDUCTIONS, at_night, every_loss, in_ci

import fastbce

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("backend")

WITH_LOSS = BY_NAME["bce_loss_gradient"]
CLIPPED = [case for case in LOSSES if case.kind == "clipped" and case is not WITH_LOSS]


def refused(call: Callable[[], Any], *words: str) -> str:
    with pytest.raises(ValueError, match=re.escape("must lie in [0, 1]")) as caught:
        call()
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


@every_loss
def test_integer_labels_are_always_looked_at(case: Case) -> None:
    scores, labels = np.full((3, 40), 0.25, np.float32), np.zeros((3, 40), np.int64)
    labels[1, 7] = 2
    for reduction in REDUCTIONS:
        refused(lambda r=reduction: case(scores, labels, reduction=r), "y_true[(1, 7)] is 2")  # type: ignore[misc]


@pytest.mark.parametrize("dtype", [*"bBQ", *map(at_night, "hHiIq")])
@pytest.mark.ci
def test_integer_labels_of_every_dtype(dtype: str) -> None:
    labels = np.zeros(40, dtype)
    labels[7] = 2
    refused(lambda: fastbce.bce_with_logits_gradient(np.zeros(40), labels), "y_true[7] is 2")


@pytest.mark.ci
def test_integer_labels_in_every_layout() -> None:
    labels = np.zeros((50, 700), np.int16)
    labels[49, 699] = -1
    scores = np.zeros(labels.shape)
    for y in (labels, np.asfortranarray(labels), labels.astype(">i2"), np.repeat(labels, 2, 1)):
        x = np.zeros(y.shape)
        refused(lambda x=x, y=y: fastbce.bce_with_logits_gradient(x, y), "is -1")  # type: ignore[misc]
        refused(lambda x=x, y=y: fastbce.bce_with_logits_loss(x.T, y.T), "is -1")  # type: ignore[misc]
    refused(lambda: fastbce.bce_with_logits_loss(scores, labels, sample_weight=0.5), "is -1")
    # float16 scores go through scratch space, rows longer than a strip one by one.
    refused(lambda: fastbce.bce_gradient(scores.astype(np.float16), labels), "y_true[(49, 699)]")
    long = np.zeros((2, 17_000), np.uint8)
    long[1, -1] = 255
    refused(lambda: fastbce.bce_loss(long / 2, long, reduction="samples"), "y_true[(1, 16999)]")


@pytest.mark.parametrize(
    ("labels", "words", "repaired"),
    [
        (np.array([0, 255, 255, 0], np.uint8), ["is 255", "mask of 0 and 255"], [0, 1, 1, 0]),
        (np.array([255, 255, 255, 255], np.uint8), ["mask of 0 and 255"], [1, 1, 1, 1]),
        (np.array([2, 1, 1, 2]), ["is 2", "2 stands for 1"], [1, 0, 0, 1]),
        (np.array([1, -1, -1, 1]), ["is -1", "labels -1 and 1"], [1, 0, 0, 1]),
    ],
    ids=["0/255", "255", "1/2", "-1/1"],
)
def test_the_advice_works(labels: Array, words: list[str], repaired: list[int]) -> None:
    z = np.array([0.5, -1.0, 2.0, -3.0])
    message = refused(lambda: fastbce.bce_with_logits_loss(z, labels), *words)
    y_true = eval(message.rpartition("pass ")[2], {"y_true": labels})
    assert fastbce.bce_with_logits_loss(z, y_true) == fastbce.bce_with_logits_loss(z, repaired)


def test_the_linear_pass_looks_at_integer_labels_too() -> None:
    X, y, coef = np.ones((4, 2)), np.array([0, 255, 0, 255], np.uint8), np.zeros(2)
    refused(lambda: fastbce.linear_bce_loss_gradient(X, y, coef), "y_true[1] is 255", "y_true == ")
    loss, *_ = fastbce.linear_bce_loss_gradient(X, y == 255, coef)
    assert loss == pytest.approx(np.log(2))


def test_bool_that_holds_other_bits() -> None:
    labels = np.array([0, 255, 1, 0], np.uint8).view(np.bool_)
    refused(lambda: fastbce.bce_with_logits_loss(np.zeros(4), labels), "y_true[1] is 255")


@pytest.mark.parametrize("case", [WITH_LOSS, *map(at_night, CLIPPED)], ids=lambda case: case.name)
@pytest.mark.parametrize("value", [3.0, -5.0, np.nan, np.inf, -1e-45, np.nextafter(1, 2)])
@pytest.mark.ci
def test_logits_given_as_probabilities(case: Case, value: float) -> None:
    p, y = np.full(40, 0.5), np.zeros(40)
    p[33] = value
    for reduction in REDUCTIONS:
        for labels in (y, y.astype(bool)):
            options = {"reduction": reduction, "check_labels": True}
            message = refused(lambda y=labels, o=options: case(p, y, **o), f"y_pred[33] is {p[33]}")  # type: ignore[misc]
            assert "bce_with_logits_loss" in message
    case(p, y.astype(bool))  # not asked for


@pytest.mark.parametrize("case", [WITH_LOSS, *CLIPPED], ids=lambda case: case.name)
def test_good_probabilities(case: Case) -> None:
    p = np.array([0.0, -0.0, 1.0, 1e-45, 0.5])
    case(p, np.ones(5), check_labels=True)


def test_nothing_is_lost_where_results_go_over_what_is_checked() -> None:
    for place in (0, 1):
        arrays = [np.full(5, 0.5), np.full(5, 0.5)]
        arrays[place][3] = 3.0
        before = [a.copy() for a in arrays]
        for target in arrays:
            refused(
                lambda t=target, a=arrays: fastbce.bce_gradient(*a, check_labels=True, out=t),  # type: ignore[misc]
                "[3] is 3.0",
            )
            assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


@pytest.mark.parametrize("check", [False, in_ci(True)])
def test_classes(check: bool) -> None:
    p, mask = np.array([[0.9], [0.8]]), np.array([[255], [0]])
    loss = fastbce.Loss_BinaryCrossentropy(check_labels=check)
    fused = fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy(check_labels=check)
    for call in (loss.calculate, loss.forward, loss.backward, fused.forward, fused.backward):
        refused(lambda c=call: c(p, mask), "y_true[(0, 0)] is 255")  # type: ignore[misc]
    y, logits = np.array([[1.0], [2.0]]), np.array([[3.0], [0.5]])
    good = np.ones((2, 1))
    for bad in ((p, y), (logits, good)):
        for call in (loss.calculate, loss.forward, loss.backward):
            if check:
                refused(lambda c=call, b=bad: c(*b), "] is ")  # type: ignore[misc]
            else:
                call(*bad)
    if check:
        refused(lambda: fused.forward(logits, y), "y_true[(1, 0)] is 2.0")
    fused.forward(logits, good)
    fused.backward(fused.output, good)


def test_classes_whose_subclass_has_an_init_of_its_own() -> None:
    class Own(fastbce.Loss_BinaryCrossentropy):
        def __init__(self) -> None:
            self.name = "own"

    assert Own().calculate(np.full((2, 1), 0.5), np.ones((2, 1))) == pytest.approx(np.log(2))
    with pytest.raises(TypeError, match="check_labels must be True or False"):
        fastbce.Loss_BinaryCrossentropy(check_labels="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("eps", [1e-7, 2.0**-15, 1e-3])
def test_float16_gradients_are_finite(eps: float) -> None:
    p, y = np.array([0, 1, 0, 1, 6e-8, 0.5], np.float16), np.array([1, 0, 0, 1, 1, 0])
    gradient = fastbce.bce_gradient(p, y, eps=eps, reduction="none")
    c = np.clip(p.astype(np.float64), low := max(eps, 2.0**-15), 1 - low)
    np.testing.assert_allclose(gradient, (c - y) / (c * (1 - c)), rtol=2**-11)
    loss = fastbce.bce_loss(p, y, eps=eps, reduction="none")
    np.testing.assert_allclose(loss, -np.where(y, np.log(c), np.log1p(-c)), rtol=2**-11, atol=6e-8)


def test_a_float16_network_goes_on_after_saturated_wrong_rows() -> None:
    z, y = np.array([[20], [-20], [1], [-1]], np.float16), np.array([[0], [1], [1], [0]])
    activation, loss = fastbce.Activation_Sigmoid(), fastbce.Loss_BinaryCrossentropy()
    activation.forward(z)
    assert np.isfinite(loss.calculate(activation.output, y))
    loss.backward(activation.output, y)
    activation.backward(loss.dinputs)
    assert np.isfinite(loss.dinputs).all()
    assert np.isfinite(activation.dinputs).all()
