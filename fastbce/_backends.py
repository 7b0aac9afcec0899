"""Settings: which backend computes, and on how many threads.

The process-wide defaults come from the environment and change with the ``set_*`` functions;
:func:`use_backend` overrides the backend for the current context only (a context variable, so
concurrent threads and tasks do not see each other's choice).
"""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from ._inputs import check_choice, describe
from ._interrupts import held_back

BACKENDS = ("numba", "numpy")
# What importing a Numba that does not work raises: OSError if LLVM's library cannot be loaded.
BROKEN = (ImportError, OSError)

_backend_override: ContextVar[str | None] = ContextVar("fastbce_backend", default=None)
_one_thread: ContextVar[bool] = ContextVar("fastbce_one_thread", default=False)
_default_backend: str | None = None
_num_threads: int | None = None


def _check_backend(name: object, source: str) -> str:
    check_choice(name, BACKENDS, f"{source}: unknown backend")
    return str(name)


def _require(name: str) -> None:
    """Raise now, not at the first call, when an explicit choice cannot be served."""
    if name == "numba":
        try:
            with held_back():
                import numba  # noqa: F401
        except BROKEN as error:
            raise ImportError(
                f"the 'numba' backend needs a working Numba ({error}); "
                "install it, or choose set_backend('numpy')"
            ) from error


def set_backend(name: str) -> None:
    """Choose the backend for the whole process.

    Parameters
    ----------
    name : {"numba", "numpy"}
        ``"numba"`` runs the compiled kernels, ``"numpy"`` the plain NumPy reference. Both have
        the same semantics. The default is ``"numba"``, or the variable ``FASTBCE_BACKEND``.

    Raises
    ------
    ValueError
        If the name is unknown.
    ImportError
        If ``"numba"`` is asked for and Numba cannot be imported.
    """
    global _default_backend
    checked = _check_backend(name, "set_backend")
    _require(checked)
    _default_backend = checked


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Choose the backend inside a ``with`` block, for the current thread or task only.

    Parameters
    ----------
    name : {"numba", "numpy"}
        As in :func:`set_backend`.

    Raises
    ------
    ValueError
        If the name is unknown.
    ImportError
        If ``"numba"`` is asked for and Numba cannot be imported.
    """
    checked = _check_backend(name, "use_backend")
    _require(checked)
    token = _backend_override.set(checked)
    try:
        yield
    finally:
        _backend_override.reset(token)


def active_backend() -> str:
    """Return the backend that the next call will use."""
    return _backend_override.get() or _default_backend or _initial_backend()


def _initial_backend() -> str:
    global _default_backend
    value = os.environ.get("FASTBCE_BACKEND")
    _default_backend = _check_backend(value, "FASTBCE_BACKEND") if value else "numba"
    return _default_backend


def fall_back_to_numpy(reason: Exception) -> None:
    """Serve every later call with NumPy, and say so once."""
    global _default_backend
    _default_backend = "numpy"
    warnings.warn(
        f"Numba cannot be imported ({reason}); fastbce uses its NumPy backend: "
        "same results, several times slower",
        RuntimeWarning,
        stacklevel=4,
    )


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
    """
    global _num_threads
    try:
        count = operator.index(n)
    except TypeError:
        count = None
    if count is None or isinstance(n, bool):
        raise TypeError(f"set_num_threads: n must be one integer, got {describe(n)}")
    if count < 1:
        raise ValueError(f"set_num_threads: n must be at least 1, got {count}")
    _num_threads = count


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
    """
    global _num_threads
    if _one_thread.get():
        return 1
    if _num_threads is None:
        _num_threads = _threads_from_environment() or usable_cpus()
    return _num_threads


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


def usable_cpus() -> int:
    """Return the processors this process may use: affinity mask, then cgroup quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, quota) if quota else count)


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Whole processors the container's quota allows, or None without a quota."""
    for quota_file, period_file in (
        ("cpu.max", None),
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
    ):
        try:
            fields = (root / quota_file).read_text().split()
            if period_file:
                fields += (root / period_file).read_text().split()
            quota, period = int(fields[0]), int(fields[1])
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0 and period > 0:
            return max(1, -(-quota // period))
    return None
