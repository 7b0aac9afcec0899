"""Which backend computes, Numba's kernels or plain NumPy: chosen, loaded, replaced.

The default for the process comes from the environment and changes with :func:`set_backend`;
:func:`use_backend` overrides it for the current context only (a context variable, so concurrent
threads and tasks do not see each other's choice).
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

from ._inputs import check_choice
from ._interrupts import held_back
from ._reference import elementwise as reference_elementwise
from ._reference import linear as reference_linear
from ._reference import samples as reference_samples
from ._settings import settings

# The estimator imports these from here.
from ._threads import get_num_threads as get_num_threads  # noqa: PLC0414
from ._threads import one_thread as one_thread  # noqa: PLC0414

BACKENDS = ("numba", "numpy")
# What importing a Numba that does not work raises: OSError if LLVM's library cannot be loaded.
BROKEN = (ImportError, OSError)

_backend_override: ContextVar[str | None] = ContextVar("fastbce_backend", default=None)
_REFERENCE: dict[str, ModuleType] = {
    "elementwise": reference_elementwise,
    "linear": reference_linear,
    "samples": reference_samples,
}
# The parts of the engine that were imported: Numba is, at the first call that needs it.
_loaded: dict[str, ModuleType] = {}


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

    Examples
    --------
    >>> import fastbce
    >>> fastbce.set_backend("numpy")  # the same results, without compiled kernels
    >>> fastbce.set_backend("numba")
    """
    checked = _check_backend(name, "set_backend")
    _require(checked)
    settings.backend = checked


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

    Examples
    --------
    >>> import fastbce
    >>> with fastbce.use_backend("numpy"):
    ...     print(fastbce.sigmoid(0.0))
    0.5
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
    return _backend_override.get() or settings.backend or _initial_backend()


def _initial_backend() -> str:
    value = os.environ.get("FASTBCE_BACKEND")
    settings.backend = _check_backend(value, "FASTBCE_BACKEND") if value else "numba"
    return settings.backend


def backend(part: str) -> ModuleType:
    """Return the module that computes "elementwise" operations, "linear" passes or "samples"."""
    if active_backend() == "numpy":
        return _REFERENCE[part]
    found = _loaded.get(part)
    if found is not None:
        return found
    try:
        with held_back():
            _loaded[part] = _load(part)
    except BROKEN as error:
        _fall_back_to_numpy(error)
        return _REFERENCE[part]
    return _loaded[part]


def _load(part: str) -> ModuleType:
    if part == "elementwise":
        from ._engine import elementwise

        return elementwise
    if part == "samples":
        from ._engine import samples

        return samples
    from ._engine import linear

    # The vectors exist in compiled code alone.
    return linear if linear.COMPILED else _REFERENCE[part]


def _fall_back_to_numpy(reason: Exception) -> None:
    """Serve every later call with NumPy, and say so once."""
    settings.backend = "numpy"
    warnings.warn(
        f"Numba cannot be imported ({reason}); fastbce uses its NumPy backend: "
        "same results, several times slower",
        RuntimeWarning,
        stacklevel=_level_of_the_caller(),
    )


def _level_of_the_caller() -> int:
    """Return how many calls up the code is that called this package."""
    package = str(Path(__file__).parent)
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level
