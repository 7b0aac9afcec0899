"""How many threads a call may use: set for the process, or found out from the environment."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ._inputs import describe
from ._limits import usable_cpus
from ._settings import settings

_one_thread: ContextVar[bool] = ContextVar("fastbce_one_thread", default=False)


def set_num_threads(n: int) -> None:
    """Set how many threads a call may use, for the whole process.

    Results do not depend on it, to the last bit.

    Parameters
    ----------
    n : int
        At least 1. More than the machine's processors is allowed, and slower.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is below 1.

    Examples
    --------
    >>> import fastbce
    >>> usual = fastbce.get_num_threads()
    >>> fastbce.set_num_threads(1)
    >>> fastbce.get_num_threads()
    1
    >>> fastbce.set_num_threads(usual)
    """
    try:
        count = operator.index(n)
    except TypeError:
        count = None
    if count is None or isinstance(n, bool):
        raise TypeError(f"set_num_threads: n must be one integer, got {describe(n)}")
    if count < 1:
        raise ValueError(f"set_num_threads: n must be at least 1, got {count}")
    settings.num_threads = count


@contextmanager
def one_thread() -> Iterator[None]:
    """Stay on the caller's thread inside a ``with`` block: others do the same beside it."""
    token = _one_thread.set(True)
    try:
        yield
    finally:
        _one_thread.reset(token)


def get_num_threads() -> int:
    """Return how many threads a call may use.

    The first of these that is given: :func:`set_num_threads`, the environment variables
    ``FASTBCE_NUM_THREADS``, ``NUMBA_NUM_THREADS`` and ``OMP_NUM_THREADS``, the processors in this
    process's affinity mask within the container's CPU quota. The variables are read once.
    threadpoolctl's limits do not reach the threads, which belong to no library that it knows.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> import fastbce
    >>> fastbce.get_num_threads() >= 1
    True
    """
    if _one_thread.get():
        return 1
    if settings.num_threads is None:
        settings.num_threads = _threads_from_environment() or usable_cpus()
    return settings.num_threads


def _threads_from_environment() -> int | None:
    for variable in ("FASTBCE_NUM_THREADS", "NUMBA_NUM_THREADS"):
        value = os.environ.get(variable)
        if value:
            try:
                count = int(value)
            except ValueError:
                count = 0
            if count < 1:
                raise ValueError(f"{variable} must be an integer of at least 1, got {value!r}")
            return count
    return _threads_of_openmp(os.environ.get("OMP_NUM_THREADS", ""))


def _threads_of_openmp(value: str) -> int | None:
    """Read OpenMP's variable: a number for each level of nesting, of which ours is the first.

    It is not ours, so what it should not hold is for OpenMP to complain of.
    """
    try:
        count = int(value.split(",", maxsplit=1)[0])
    except ValueError:
        return None
    return count if count >= 1 else None
