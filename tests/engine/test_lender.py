"""Calls on the threads of another library: the choice by timings, and what is left without them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from fastbce._engine.lender import AGAIN, Choice, Lender

if TYPE_CHECKING:
    from collections.abc import Callable

    Way = Callable[[random.Random], float]

MS = 1e-3


def constant(milliseconds: float) -> Way:
    return lambda rng: milliseconds * MS


def held_up(usual: float, late: float, share: float) -> Way:
    """Return what a region takes of which a share waits for a thread that does not run."""
    return lambda rng: (late if rng.random() < share else usual) * MS


def played(choice: Choice, calls: int, own: Way, team: Way) -> tuple[float, float]:
    """Return the mean milliseconds of calls, and the share of them on the borrowed team."""
    rng = random.Random(0)
    total, borrowed = 0.0, 0
    for _ in range(calls):
        borrows = choice.borrows()
        seconds = (team if borrows else own)(rng)
        choice.note(seconds, 1000, borrowed=borrows)
        total, borrowed = total + seconds, borrowed + borrows
    return total / MS / calls, borrowed / calls


def test_a_faster_team_is_taken() -> None:
    mean, share = played(Choice(), 640, constant(0.5), constant(0.4))
    assert share == 1 - (2 + 640 // AGAIN) / 640
    assert mean < 0.402


def test_a_slower_team_is_left_alone() -> None:
    mean, share = played(Choice(), 1000, constant(0.5), constant(0.6))
    assert mean < 0.51
    assert 0 < share < 0.1


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 1.0])
def test_a_busy_machine_costs_an_eighth_at_most(share: float) -> None:
    # A region takes 0.4 ms where ours takes 0.7, and 11.7 where it has to wait.
    mean, _ = played(Choice(), 1000, constant(0.7), held_up(0.4, 11.7, share))
    assert mean <= 0.7 * 9 / 8


@pytest.mark.parametrize("first", [6.6, 0.12])
def test_threads_that_sleep_are_no_reason_to_stay_away(first: float) -> None:
    """Where nobody else has regions, the first one makes the team, which sleeps meanwhile."""
    choice = Choice()
    slow = iter([first])

    def region(rng: random.Random) -> float:
        return next(slow, 0.045 if choice.awake else 0.12) * MS

    assert played(choice, 1000, constant(0.065), region)[1] > 0.9
    slow = iter([11.7])  # something else ran
    played(choice, 3000, constant(0.065), region)
    assert played(choice, 1000, constant(0.065), region)[1] > 0.9


def test_the_team_is_taken_again_when_the_machine_is_idle() -> None:
    choice = Choice()
    played(choice, 1000, constant(0.7), held_up(0.4, 11.7, 1.0))
    played(choice, 2000, constant(0.5), constant(0.4))
    assert played(choice, 640, constant(0.5), constant(0.4))[1] > 0.98


def test_a_stopped_process_is_no_reason_to_stay_away_for_ever() -> None:
    choice = Choice()
    played(choice, 100, constant(0.5), constant(0.4))
    choice.note(3600.0, 1000, borrowed=True)
    assert played(choice, 4000, constant(0.5), constant(0.4))[1] > 0.45


def test_what_compiling_takes_is_not_what_a_call_takes() -> None:
    choice = Choice()
    for seconds in (2.0, 0.5 * MS):
        assert not choice.borrows()
        choice.note(seconds, 1000, borrowed=False)
    assert choice.own * 1000 == 0.5 * MS


def test_kinds_and_sizes_are_told_apart() -> None:
    lender = Lender(None, lambda: 2)
    assert lender.choice("loss", 1000) is lender.choice("loss", 600)
    assert lender.choice("loss", 1000) is not lender.choice("loss", 1100)
    assert lender.choice("loss", 1000) is not lender.choice("gradient", 1000)


def test_a_library_without_a_team_lends_none() -> None:
    import _ctypes

    for path in (None, "/no/such/library.so", _ctypes.__file__):
        assert Lender(path, lambda: 2).slots is None
