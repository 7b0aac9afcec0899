"""How many threads a call gets, and in what parts they take it."""

from __future__ import annotations

import math
from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest

import fastbce
from fastbce._engine import calls as _calls
from fastbce._engine import elementwise
from fastbce._engine.calls import EACH, LONG, SOON, grain_of, threads_for
from fastbce._kernels.reductions import STRIP

LEAST = 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that the rule sees, in a list of one; no call came before."""
    now = [0.0]
    monkeypatch.setattr(_calls, "perf_counter", lambda: now[0])
    monkeypatch.setattr(_calls.pace, "last_end", -math.inf)
    return now


def calls(clock: list[float], work: int, count: int, seconds: float, most: int = 2) -> list[int]:
    """Return the threads of so many calls, each some time after the last."""
    found = []
    for _ in range(count):
        clock[0] += seconds
        found.append(threads_for(work, LEAST, most))
    return found


@pytest.mark.parametrize(
    ("work", "most", "threads"),
    [
        (2 * LEAST - 1, 8, 1),
        (2 * LONG * LEAST, 2, 2),
        (2 * LONG * LEAST - 1, 2, 1),
        (10**9, 1, 1),
        (10**9, 8, 8),
    ],
)
def test_a_single_call_is_shared_if_it_is_long(
    work: int, most: int, threads: int, clock: list[float]
) -> None:
    assert calls(clock, work, 1, SOON, most) == [threads]


def test_a_row_is_shared_from_when_it_is_long(clock: list[float]) -> None:
    assert calls(clock, 2 * LEAST, LONG + 2, SOON / 2) == [1] * (LONG - 1) + [2] * 3
    assert calls(clock, 2 * LEAST, 3, 2 * SOON) == [1] * 3  # a pause ends it
    # From the end of a call, not from its start.
    assert calls(clock, 17 * LEAST, 3, SOON + 18 * EACH) == [1] * 3
    assert calls(clock, 17 * LEAST, 3, SOON + 16 * EACH) == [2] * 3
    clock[0] += 1
    # The last of them counts already.
    assert calls(clock, LONG * LEAST, 3, SOON / 2) == [1, 2, 2]


def test_calls_too_short_to_share_make_no_row(clock: list[float]) -> None:
    assert calls(clock, 2 * LEAST - 1, 3 * LONG, SOON / 2) == [1] * 3 * LONG
    assert calls(clock, 2 * LEAST, 1, SOON / 2) == [1]


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
@pytest.mark.parametrize("unit", [1, 64, 1000])
@pytest.mark.parametrize("n", [1, 16_384, 10**6, 10**9])
def test_grains_are_whole_units(n: int, unit: int, threads: int) -> None:
    grain = grain_of(n, unit, threads, 16_384)
    assert grain >= unit
    assert grain % unit == 0
    assert grain <= max(16 * 16_384, unit)


@pytest.mark.parametrize(
    ("name", "n", "count"),
    [
        ("focal_gradient", 200_000, 2),
        ("bce_with_logits_gradient", 200_000, 1),
        ("bce_with_logits_gradient", 600_000, 2),
        ("bce_gradient", 600_000, 1),
    ],
)
def test_a_heavy_operation_is_long_sooner_than_a_light_one(
    name: str,
    n: int,
    count: int,
    clock: list[float],
    threads: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads(2)
    share = mock.Mock()
    monkeypatch.setattr(_calls, "share", share)
    x = np.full(n, 0.25, np.float32)
    getattr(fastbce, name)(x, x)
    assert share.call_args.args[3] == count


def test_one_part_is_not_shared(
    clock: list[float], threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sum is cut into strips."""
    threads(2)
    monkeypatch.setattr(elementwise, "MIN_HEAVY_PER_THREAD", 1)
    share = mock.Mock()
    monkeypatch.setattr(_calls, "share", share)
    for n, count in ((STRIP, 1), (STRIP + 1, 2)):
        x = np.zeros(n, np.float32)
        fastbce.focal_loss(x, x)
        assert share.call_args.args[3] == count


def test_one_thread_takes_the_short_way(
    threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = mock.Mock(wraps=_calls.execute)
    monkeypatch.setattr(elementwise, "execute", execute)
    for count, n, long in ((1, 200_000, False), (1, _calls.ALONE + 1, True), (2, 200_000, True)):
        threads(count)
        execute.reset_mock()
        x = np.full(n, 0.25, np.float32)
        assert fastbce.sigmoid_backward(x, x)[-1] == np.float32(0.25 * 0.25 * 0.75)
        assert fastbce.bce_gradient(x, x, reduction="sum")[-1] == 0
        assert execute.call_count == 2 * long
