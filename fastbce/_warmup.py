"""Pay for the kernels before they are needed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import functional
from ._backends import active_backend, backend
from ._inputs import check_choice
from ._operations import OPERATIONS
from ._progress import is_terminal, show
from ._threads import get_num_threads, set_num_threads
from .linear import linear_bce_hessian, linear_bce_loss_gradient

# What `warmup` prepares only when it is named.
OTHERS = tuple(name for name, operation in OPERATIONS.items() if not operation.common)
# What most programs call, the steps of the classes among it: prepared before all else, means with
# labels of the scores' dtype.
FIRST = (
    "sigmoid",
    "sigmoid_backward",
    "bce_loss",
    "bce_gradient",
    "bce_with_logits_loss_gradient",
)
# Processes that compile at the same time, of some 300 MB each.
MOST_PROCESSES = 4
# Bytes of scores, and rows of a matrix, that two threads share at once.
LONG, LONG_ROWS = 3 << 20, 1 << 17
# Seconds that no kernel takes to load, and most take to compile.
COMPILED = 0.4
# Processes that go on when `warmup` has returned.
_behind: list[subprocess.Popen[bytes]] = []


class _Task(NamedTuple):
    """Calls whose kernels have most of their code in common."""

    text: str
    calls: tuple[Callable[[], Any], ...]
    is_first: bool = False


def warmup(
    *more: str, linear: bool = False, wait: bool = True, verbose: bool | None = None
) -> None:
    """Compile, or load from the cache, the kernels of the functions for float32 and float64.

    The first call of a function otherwise pays for its kernel: a second or two to compile, some
    milliseconds to load. Calls of any length with labels of the scores' own dtype, int64 and bool
    are covered, without weights, with the reductions "mean", "sum" and "none". The kernels that
    most programs use come first. As many processes as there are threads, four at most, share what
    has to be compiled; they meet in the cache on disk.

    Parameters
    ----------
    *more : str
        Names of functions that are not prepared without being named, since most programs call none
        of them: "softplus", "log_sigmoid", "logit", "sigmoid_clipped_bce" and the focal ones.
    linear : bool, default False
        Whether to prepare :func:`fastbce.linear_bce_loss_gradient` and
        :func:`fastbce.linear_bce_hessian` too, for contiguous rows without weights and
        coefficients of the dtype of `X`: some seconds for each kernel.
    wait : bool, default True
        Whether to return when all is ready. With False another process puts the kernels into the
        cache on disk while this one goes on, and a first call finds them there or compiles them
        itself.
    verbose : bool, optional
        Whether to say on the standard error what is being prepared; by default where that is a
        terminal.
    """
    for name in more:
        check_choice(name, OTHERS, "warmup takes no function")
    tasks = _tasks(more, linear=linear)
    if not wait:
        if _can_start_another():
            _behind.append(_helper(more, tasks, linear=linear))
        return
    backend("elementwise")  # imports Numba, which takes as long as to compile a kernel
    is_shown = is_terminal() if verbose is None else verbose
    say, start = (_say if is_shown else _keep_quiet), time.perf_counter()
    first = [task for task in tasks if task.is_first]
    for phase in (first, [task for task in tasks if not task.is_first]):
        _prepare(phase, partial(_helper, more, linear=linear), say)
        which = "the most used kernels are" if phase is first else "all kernels are"
        say(f"{which} ready after {time.perf_counter() - start:.1f} s", end="\n")


def _say(text: str, end: str = "") -> None:
    show(f"fastbce: {text}", end)


def _keep_quiet(text: str, end: str = "") -> None:
    pass


def _prepare(
    tasks: Sequence[_Task],
    helper: Callable[[Sequence[_Task]], subprocess.Popen[bytes]],
    say: Callable[[str], None],
) -> None:
    """Do the tasks; when one of them had to compile, share the others among processes."""
    processes = 1
    left = iter(tasks)
    for task in left:
        start = time.perf_counter()
        _do(task, say)
        if time.perf_counter() - start > COMPILED:
            processes = _most_processes()
            break
    rest = list(left)
    shares = [rest[k::processes] for k in range(processes)]
    helpers = [helper(share) for share in shares[1:] if share]
    try:
        for task in shares[0]:
            _do(task, say)
        for process in helpers:
            process.wait()
    finally:
        for process in helpers:
            process.kill()
            process.wait()
    # From the disk, or anew if a helper failed.
    for share in shares[1:]:
        for task in share:
            _do(task, say)


def _do(task: _Task, say: Callable[[str], None]) -> None:
    say(task.text)
    # Among more threads the long calls would be too short to be shared.
    before = get_num_threads()
    set_num_threads(min(before, 2))
    try:
        for call in task.calls:
            call()
    finally:
        set_num_threads(before)


def _most_processes() -> int:
    """Return how many processes may compile: one where they could not hand anything over."""
    if not _can_start_another():
        return 1
    from ._kernels.compile import on_disk

    return min(get_num_threads(), MOST_PROCESSES) if on_disk() else 1


def _can_start_another() -> bool:
    """Tell whether another process of this interpreter would have kernels to compile."""
    # A program that contains Python is no interpreter to be started.
    is_python = "python" in Path(sys.executable or "").name.lower() and not hasattr(sys, "frozen")
    return is_python and active_backend() == "numba"


def _helper(
    more: Sequence[str], tasks: Sequence[_Task], *, linear: bool
) -> subprocess.Popen[bytes]:
    """Start a process that does the tasks."""
    script = (
        f"import sys; sys.path[:] = {sys.path!r}; from fastbce import _warmup; "
        f"_warmup.help_with({[task.text for task in tasks]!r}, {tuple(more)!r}, linear={linear})"
    )
    return subprocess.Popen(  # noqa: S603 - this interpreter, with our own words
        [sys.executable, "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def help_with(texts: Sequence[str], more: Sequence[str], *, linear: bool) -> None:
    """Do the tasks of these texts: what a process of `warmup` runs."""
    wanted = set(texts)
    for task in _tasks(more, linear=linear):
        if task.text in wanted:
            _do(task, _keep_quiet)


def _tasks(more: Sequence[str], *, linear: bool) -> list[_Task]:
    wanted = {name for name in OPERATIONS if name in more or name not in OTHERS}
    return [*_elementwise_tasks(wanted), *(_linear_tasks() if linear else ())]


def _elementwise_tasks(wanted: set[str]) -> Iterator[_Task]:
    for dtype in (np.float32, np.float64):
        # Threads share the long one, if there are threads.
        lengths = (2, LONG // np.dtype(dtype).itemsize)
        samples = [np.full(n, 0.25, dtype) for n in lengths]
        for name, operation in OPERATIONS.items():
            if name not in wanted:
                continue
            function, family = getattr(functional, name), operation.family
            if not family.is_loss:
                count = len(family.arguments)
                calls = tuple([partial(function, *[x] * count) for x in samples])
                yield _Task(f"{name} {np.dtype(dtype)}", calls, name in FIRST)
                continue
            # A loss has a kernel of its own for the losses of the elements.
            reductions = ("mean", "none") if operation.returns_loss else ("mean",)
            for labels, reduction in product((dtype, np.int64, np.bool_), reductions):
                calls = tuple(
                    partial(function, x, np.zeros(x.shape, labels), reduction=reduction)
                    for x in samples
                )
                text = f"{name} {np.dtype(dtype)} {np.dtype(labels)} {reduction}"
                first = name in FIRST and labels is dtype and reduction == "mean"
                yield _Task(text, calls, first)


def _linear_tasks() -> Iterator[_Task]:
    for dtype in (np.float32, np.float64):
        coef = np.zeros(3, dtype)
        samples = [np.full((n, 3), 0.25, dtype) for n in (2, LONG_ROWS)]
        for labels in (dtype, np.int64, np.bool_):
            passes = tuple(
                partial(linear_bce_loss_gradient, X, np.zeros(len(X), labels), coef)
                for X in samples
            )
            yield _Task(f"linear_bce_loss_gradient {np.dtype(dtype)} {np.dtype(labels)}", passes)
        hessians = tuple(partial(linear_bce_hessian, X, coef) for X in samples)
        yield _Task(f"linear_bce_hessian {np.dtype(dtype)}", hessians)
