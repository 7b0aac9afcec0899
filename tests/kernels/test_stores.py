"""Results that go past the caches are the same, and nothing beside them is touched."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
from checks import at_night
from past_the_caches import GUARD, check_past_the_caches, guarded

import fastbce
from fastbce._engine import calls


@pytest.mark.parametrize("dtype", [np.float16, np.float32, at_night(np.float64)])
@pytest.mark.parametrize("offset", [0, 1, 7])
@pytest.mark.parametrize("n", [1, 15, 17, 511, 513, 16_384, 16_385, 100_003])
@pytest.mark.ci
def test_the_same_bits_past_the_caches(dtype: Any, n: int, offset: int) -> None:
    check_past_the_caches(dtype, n, offset)


def test_the_faster_way_is_taken() -> None:
    ways = calls.Stores()
    taken = []
    for call in range(4 * calls.AGAIN):
        past = ways.past()
        ordinary = 2.0 if call < 2 * calls.AGAIN else 0.5
        ways.note(1.0 if past else ordinary, 1, past=past)
        taken.append(past)
    tried = calls.AGAIN - 1  # the slower way is tried again in this call
    assert taken[: 2 * calls.AGAIN] == [
        call not in {0, tried, tried + calls.AGAIN} for call in range(2 * calls.AGAIN)
    ]
    assert not any(taken[3 * calls.AGAIN : -1])
    assert taken[-1]


def test_a_call_that_was_held_up_counts_half() -> None:
    ways = calls.Stores()
    for seconds in (9.0, 1.0, 3.0):
        ways.note(seconds, 1, past=True)
    assert ways.seconds == [np.inf, 2.0]


def test_only_large_results_of_several_threads_have_a_way(threads: Any) -> None:
    large = np.zeros(calls.FAR // 4, np.float32)
    larger = np.zeros(calls.FAR_IF_NEW // 4, np.float32)
    out = np.empty_like(large)
    with (
        mock.patch.object(calls, "_stores", dict[Any, Any]()) as ways,
        mock.patch.object(calls, "SUPPORTED", True),
    ):
        threads(2)
        fastbce.bce_loss(larger, larger)
        fastbce.bce_loss(larger, larger, divisor="elements")
        fastbce.sigmoid(large)
        fastbce.sigmoid(larger, out=np.empty_like(larger, np.float64))
        fastbce.bce_loss(*[larger.reshape(-1, 2)] * 2, reduction="samples")
        fastbce.sigmoid(large[1:], out=out[1:])
        threads(1)
        fastbce.sigmoid(large, out=out)
        fastbce.bce_gradient(larger, larger)
        assert not ways
        threads(2)
        fastbce.sigmoid(larger)
        fastbce.sigmoid(large, out=out)
        assert len(ways) == 1
        fastbce.bce_gradient(larger, larger)
        assert len(ways) == 2


def test_a_large_result_is_right(threads: Any) -> None:
    n = 2 * calls.FAR // 4 + 5
    z = np.random.default_rng(5).normal(0, 5, n).astype(np.float32)
    out, memory = guarded(n, np.float32, 3)
    threads(2)
    with mock.patch.object(calls.Stores, "past", return_value=True):
        loss, _ = fastbce.bce_with_logits_loss_gradient(z, z > 0, out=out)
    assert np.all(memory[:GUARD] == 9)
    assert np.all(memory[-GUARD:] == 9)
    threads(1)
    expected, gradient = fastbce.bce_with_logits_loss_gradient(z, z > 0)
    assert loss == expected
    assert np.array_equal(out, gradient)
