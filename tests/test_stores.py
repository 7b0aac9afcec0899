"""Results that go past the caches are the same, and nothing beside them is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest

import fastbce
from fastbce._engine import elementwise as _engine
from fastbce._kernels import results as _stores

Array = Any
GUARD = 80  # elements before and behind a result, two lines and more
LOSSES: tuple[tuple[Any, int], ...] = (
    (fastbce.bce_gradient, 1),
    (fastbce.bce_with_logits_gradient, 1),
    (fastbce.bce_with_logits_gradient_hessian, 2),
)


@contextmanager
def shared(past: bool) -> Iterator[None]:
    """Let two threads share every call, and write past the caches or not."""
    changed: dict[str, Any] = {
        "MIN_PER_THREAD": 0,
        "MIN_LIGHT_PER_THREAD": 0,
        "FAR": 0,
        "SUPPORTED": True,
        "threads_for": lambda *_: 2,
        "grain_of": lambda n, unit, threads, strip: max(unit, strip),
    }
    with (
        mock.patch.multiple(_engine, **changed),
        mock.patch.object(_engine._Ways, "past", return_value=past),
    ):
        yield


def guarded(n: int, dtype: Any, offset: int) -> tuple[Array, Array]:
    """Return an array of `n` elements, so many behind a line's begin, and the memory around it."""
    memory = np.full(n + 4 * GUARD, 9, dtype)
    line = _stores.LINE // memory.itemsize
    start = GUARD + (-(memory.ctypes.data // memory.itemsize + GUARD)) % line + offset
    return memory[start : start + n], memory[start - GUARD : start + n + GUARD]


def results(scores: Array, soft: Array, offset: int) -> list[bytes]:
    """Return what every function writes, with the memory around, where `out` is given."""
    found: list[Array] = []
    n, dtype = scores.size, scores.dtype

    def places(count: int) -> tuple[Array, ...]:
        # The second result lies elsewhere in its line than the first.
        made = [guarded(n, dtype, offset + i) for i in range(count)]
        found.extend(memory for _, memory in made)
        return tuple(place for place, _ in made)

    fastbce.sigmoid(scores, out=places(1)[0])
    fastbce.sigmoid_backward(scores, soft, out=places(1)[0])
    for x in (scores, scores.copy()):
        found += [fastbce.sigmoid(x, out=x)]
    if dtype == np.float16:
        return [array.tobytes() for array in found]
    late = (scores > 0).astype(dtype)
    late[-1:] = 0.5  # its strip is done over
    for labels in (scores > 0, soft, late):
        for weight in (None, soft):
            for reduction in ("mean", "none"):
                options: dict[str, Any] = {"sample_weight": weight, "reduction": reduction}
                for function, count in LOSSES:
                    out = places(count)
                    function(soft, labels, out=out if count > 1 else out[0], **options)
                for both in (fastbce.bce_loss_gradient, fastbce.bce_with_logits_loss_gradient):
                    if reduction == "mean":
                        found.append(both(soft, labels, out=places(1)[0], **options)[0])
                    else:
                        both(soft, labels, out=places(2), **options)
        x = soft.copy()
        found += fastbce.bce_with_logits_loss_gradient(x, labels, out=x)
    return [np.asarray(array).tobytes() for array in found]


def check_past_the_caches(dtype: Any, n: int, offset: int) -> None:
    """Raise unless both ways to store give the same bits."""
    rng = np.random.default_rng(n)
    scores, soft = rng.normal(0, 5, n).astype(dtype), rng.random(n).astype(dtype)
    written = []
    for past in (False, True):
        with shared(past), np.errstate(all="ignore"):
            written.append(results(scores.copy(), soft, offset))
    assert written[0] == written[1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 1, 7])
@pytest.mark.parametrize("n", [1, 15, 17, 511, 513, 16_384, 16_385, 100_003])
def test_the_same_bits_past_the_caches(dtype: Any, n: int, offset: int) -> None:
    check_past_the_caches(dtype, n, offset)


def test_the_faster_way_is_taken() -> None:
    ways = _engine._Ways()
    taken = []
    for call in range(4 * _engine.AGAIN):
        past = ways.past()
        ordinary = 2.0 if call < 2 * _engine.AGAIN else 0.5
        ways.note(past, 1.0 if past else ordinary)
        taken.append(past)
    tried = _engine.AGAIN - 1  # the slower way is tried again in this call
    assert taken[: 2 * _engine.AGAIN] == [
        call not in {0, tried, tried + _engine.AGAIN} for call in range(2 * _engine.AGAIN)
    ]
    assert not any(taken[3 * _engine.AGAIN : -1])
    assert taken[-1]


def test_a_call_that_was_held_up_counts_half() -> None:
    ways = _engine._Ways()
    for seconds in (9.0, 1.0, 3.0):
        ways.note(True, seconds)
    assert ways.seconds == [np.inf, 2.0]


def test_only_large_given_results_of_several_threads_have_a_way(threads: Any) -> None:
    large = np.zeros(_engine.FAR // 4, np.float32)
    out = np.empty_like(large)
    with mock.patch.object(_engine, "_ways", dict[Any, Any]()) as ways:
        threads(2)
        fastbce.sigmoid(large)
        fastbce.sigmoid(large[1:], out=out[1:])
        threads(1)
        fastbce.sigmoid(large, out=out)
        assert not ways
        threads(2)
        with mock.patch.object(_engine, "SUPPORTED", True):
            fastbce.sigmoid(large, out=out)
        assert len(ways) == 1


def test_a_large_result_is_right(threads: Any) -> None:
    n = 2 * _engine.FAR // 4 + 5
    z = np.random.default_rng(5).normal(0, 5, n).astype(np.float32)
    out, memory = guarded(n, np.float32, 3)
    threads(2)
    with mock.patch.object(_engine._Ways, "past", return_value=True):
        loss, _ = fastbce.bce_with_logits_loss_gradient(z, z > 0, out=out)
    assert np.all(memory[:GUARD] == 9)
    assert np.all(memory[-GUARD:] == 9)
    threads(1)
    expected, gradient = fastbce.bce_with_logits_loss_gradient(z, z > 0)
    assert loss == expected
    assert np.array_equal(out, gradient)
