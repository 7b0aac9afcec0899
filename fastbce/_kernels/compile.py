"""The decorator of the kernels: compiled once, kept on disk, and never trusted blindly.

Numba's own disk cache fails loudly where it should cost a recompile at most: no writable directory
breaks the import, a truncated file or a full disk breaks a call, a changed helper in another file
leaves stale machine code, and two processes that compile at the same time can file one signature's
code under the other's name. Here every entry is one file, named by a digest of everything that
determines its content and starting with a digest of its bytes; whatever goes wrong with it, the
kernel is compiled instead, with one warning at most.
"""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

from fastbce._interrupts import held_back

# Division is IEEE division: a test for zero before each would keep loops scalar. Arrays are not
# reference-counted, since the caller holds them: each slice would count up and down in a word that
# all threads share (logits loss and gradient of 10^7 float32 on two threads: 1.9 ms without, 2.9
# with, and 4.6 while that word travels slowly between the processors). So what is compiled cannot
# allocate, nor return an array that it did not get.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
# Nobody calls a kernel from C, and what only kernels call needs no entry for Python's arguments
# either: without those entries a seventh less is to be compiled.
_FROM_PYTHON: dict[str, Any] = {**OPTIONS, "no_cfunc_wrapper": True}
INNER: Any = {**_FROM_PYTHON, "no_cpython_wrapper": True}

# Every kernel of this process.
made: list[Any] = []

# For gc.set_threshold while a kernel is compiled.
_SELDOM = (50_000, 20, 100)
_DIGEST_SIZE = 32
_warned = False


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def source_stamp() -> str | None:
    """Return a digest of Numba's version and of the files whose code is compiled into kernels.

    They are all modules of this folder, however they are packed (sources, bytecode, in an archive),
    and the team. None where one of them cannot be read: then nothing may be kept on disk, since
    machine code of an earlier version could not be told from that of this one.
    """
    # No list by hand: a file that it lacks would leave stale code.
    names = [f"{__package__}.{found.name}" for found in pkgutil.iter_modules([_folder()])]
    if __name__ not in names:
        return None
    parts = [numba.__version__.encode()]
    for name in [*sorted(names), "fastbce._engine.team"]:
        spec = find_spec(name)
        try:
            data = spec.loader.get_data(spec.origin)  # type: ignore[union-attr]
        except (AttributeError, OSError):  # frozen into a program
            return None
        parts += [name.encode(), _digest(data)]
    return _digest(b"".join(parts)).hex()[:16]


def _folder() -> str:
    return os.fspath(Path(__file__).parent)


def _warn_once(error: Exception) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"compiled kernels cannot be kept on disk ({error}); every process compiles them "
            "anew. Set NUMBA_CACHE_DIR to a writable directory to avoid that",
            RuntimeWarning,
            stacklevel=2,
        )


class _EntryFiles(IndexDataCacheFile):
    """One file an entry, in place of an index and numbered files."""

    def __init__(self, directory: str, base: str, stamp: str) -> None:
        super().__init__(directory, base, stamp)
        self._directory, self._base, self._stamp = Path(directory), base, stamp

    def _path(self, key: Any) -> Path:
        name = _digest(repr(key).encode()).hex()[:24]
        return self._directory / f"{self._base}.{self._stamp}.{name}.nbc"

    def flush(self) -> None:
        for path in self._directory.glob(f"{self._base}.*.nbc"):
            path.unlink(missing_ok=True)

    def save(self, key: Any, data: Any) -> None:
        payload = self._dump(data)
        with self._open_for_write(os.fspath(self._path(key))) as file:
            file.write(_digest(payload) + payload)
        for path in self._directory.glob(f"{self._base}.*.nbc"):
            if not path.name.startswith(f"{self._base}.{self._stamp}."):
                path.unlink(missing_ok=True)  # of an earlier version of the sources

    def load(self, key: Any) -> Any:
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        payload = content[_DIGEST_SIZE:]
        if content[:_DIGEST_SIZE] != _digest(payload):
            return None
        return pickle.loads(payload)  # noqa: S301 - as trustworthy as the sources beside it


class _KernelCache(FunctionCache):
    """Numba's cache of one function, with failures that cost a recompile."""

    def __init__(self, function: Callable[..., Any], stamp: str) -> None:
        super().__init__(function)
        self._cache_file = _EntryFiles(self._cache_path, self._impl.filename_base, stamp)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Numba's own key has digests of the function's code and closure too. The stamp covers the
        # code, and a closure that holds a function has another digest in each process.
        return sig, codegen.magic_tuple()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001 - compiling instead is always right
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:  # noqa: BLE001 - the compiled function itself is fine
            _warn_once(error)


if hasattr(os, "register_at_fork"):
    # A fork waits for the end of a compilation: a child forked in the middle of another thread's
    # would wait for that thread's lock for ever when it compiles or loads a kernel itself.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )

_stamp = source_stamp()


def _known_stamp() -> str:
    if _stamp is None:
        raise OSError("the files of the package cannot be read")
    return _stamp


def on_disk() -> bool:
    """Tell whether kernels of these sources are on disk, without compiling or loading any."""
    if _stamp is None:
        return False
    directories = {Path(found.stats.cache_path) for found in made if found.stats.cache_path}
    return any(next(path.glob(f"*.{_stamp}.*.nbc"), None) for path in directories)


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Look for garbage less often inside a ``with`` block: a twelfth less time to compile.

    Numba makes a million objects for each kernel, few of which are garbage before the end.
    """
    with global_compiler_lock:  # or a second thread would take our thresholds for those to restore
        before = gc.get_threshold()
        gc.set_threshold(*_SELDOM)
        try:
            yield
        finally:
            gc.set_threshold(*before)


class _Part(CPUDispatcher):
    """A compiled function without an entry for Python: a call would end the process."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{self.__name__} is part of compiled kernels, and Python cannot call it")


def _part(dispatcher: Any) -> Any:
    if not numba.config.DISABLE_JIT:
        dispatcher.__class__ = _Part
    return dispatcher


def point(function: Callable[..., Any]) -> Any:
    """Compile a function of one element, which becomes part of the loops that call it."""
    return _part(numba.njit(**INNER)(function))


def long_point(function: Callable[..., Any]) -> Any:
    """Do the same for a long one, which would stay a call: with one, a loop is not packed."""
    return _part(numba.njit(forceinline=True, **INNER)(function))


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called, and keep the result on disk.

    The interpreter lock is released while it runs; see also `OPTIONS`.
    """
    return _kept(function, _FROM_PYTHON)


def inner(function: Callable[..., Any]) -> Any:
    """Do the same for a function that only kernels call."""
    return _part(_kept(function, INNER))


def _kept(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    dispatcher = numba.njit(nogil=True, **options)(function)
    if not numba.config.DISABLE_JIT:
        # What the dispatcher calls for arguments of types that it has not seen.
        dispatcher._compile_for_args = held_back()(
            _seldom_collecting()(dispatcher._compile_for_args)
        )
        try:
            dispatcher._cache = _KernelCache(function, _known_stamp())
        except (RuntimeError, OSError) as error:
            _warn_once(error)
        made.append(dispatcher)
    return dispatcher
