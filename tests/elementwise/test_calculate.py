"""The loss's running totals without an array of losses, and with a forward of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from checks import same_bits
from test_layers import data

import fastbce

pytestmark = pytest.mark.usefixtures("backend")


class Doubled(fastbce.Loss_BinaryCrossentropy):
    """A forward of its own, by way of the base class's."""

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        return 2 * super().forward(y_pred, y_true)


def test_calculate_honours_a_forward_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    p, y = data((50, 3))
    plain = fastbce.Loss_BinaryCrossentropy()
    expected = float(plain.calculate(p, y))
    assert Doubled().calculate(p, y) == pytest.approx(2 * expected, rel=1e-14)
    own = fastbce.Loss_BinaryCrossentropy()
    own.forward = lambda y_pred, y_true: np.full(7, 3.0)  # type: ignore[method-assign]
    assert own.calculate(p, y) == 3
    assert own.accumulated_count == 7
    monkeypatch.setattr(
        fastbce.Loss_BinaryCrossentropy, "forward", lambda self, y_pred, y_true: np.full(5, 4.0)
    )
    assert plain.calculate(p, y) == 4
    assert plain.accumulated_count == 55


def test_calculate_makes_no_array_of_losses() -> None:
    """A sum of losses that the losses' own dtype does not hold: 10 * 8192 are beyond float16."""
    n = 8192
    p, y = np.zeros((n, 1), np.float16), np.ones((n, 1))
    loss = fastbce.Loss_BinaryCrossentropy()
    mean = loss.calculate(p, y)
    assert type(mean) is np.float16
    assert mean == np.float16(15 * np.log(2))
    assert loss.accumulated_sum == pytest.approx(n * 15 * np.log(2), rel=1e-6)
    assert loss.calculate_accumulated() == pytest.approx(10.397, rel=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (40_000, 1), (300, 7), (3, 20_000), (5, 4, 3)], ids=str)
def test_calculate_is_the_mean_of_forward(shape: tuple[int, ...], dtype: Any) -> None:
    rng = np.random.default_rng(3)
    loss = fastbce.Loss_BinaryCrossentropy()
    p, y = rng.random(shape).astype(dtype), rng.integers(0, 2, shape)
    mean, losses = loss.calculate(p, y), np.asarray(loss.forward(p, y))
    assert mean.dtype == losses.dtype == dtype
    assert loss.accumulated_count == losses.size
    wide = losses.astype(np.float64)
    rtol = 2 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(float(mean), wide.mean(), rtol=rtol)
    np.testing.assert_allclose(loss.accumulated_sum, wide.sum(), rtol=rtol)


@pytest.mark.parametrize(("shape", "count"), [((0, 1), 0), ((0,), 0), ((3, 0), 3)], ids=str)
def test_calculate_of_nothing(shape: tuple[int, ...], count: int) -> None:
    ours, empty = fastbce.Loss_BinaryCrossentropy(), np.zeros(shape, np.float32)
    mean = ours.calculate(empty, empty)
    assert np.isnan(mean)
    assert mean.dtype == np.float32
    if shape == (0,):  # one sample without outputs
        count = 1
    assert ours.accumulated_count == count
    assert np.isnan(ours.accumulated_sum) == bool(count)
    with pytest.raises(ValueError, match="at least one axis"):
        ours.calculate(0.5, 1)


def test_one_output_a_sample_is_its_own_mean() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        for order in ("C", "F"):
            p, y = data((3000, 1), dtype)
            p = np.asarray(p, order=order)
            losses = fastbce.bce_loss(p, y, reduction="samples")
            assert same_bits(losses, fastbce.bce_loss(p, y, reduction="none")[:, 0])
            out = np.empty(6000, dtype)[::2]
            assert fastbce.bce_loss(p, y, reduction="samples", out=out) is out
            assert same_bits(out.copy(), losses)
            three = fastbce.bce_loss(p[:, None], y[:, None], reduction="samples")
            assert same_bits(three, losses[:, None])
