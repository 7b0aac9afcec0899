"""One call: on how many threads, in which pieces, through scratch space or not, how it stores.

Kernels take 1-D contiguous arrays. Arrays that are so already are handed over as they are; others
(strided, foreign byte order, broadcast weights, an output that is also an input, float16 but for
the functions without labels) go through scratch space of one strip, so that nothing is ever copied
whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastbce._kernels.reductions import STRIP
from fastbce._kernels.results import APART, PLACES, SPACE, SUPPORTED
from fastbce._threads import get_num_threads
from fastbce._typing import Array, Call

from .lender import Lender, lent
from .operands import Flat, Operand, cut_flat, mismatch, operands
from .team import COMPILED
from .workers import crew

# Elements that one thread takes at once, without the team: it is compiled when a call is first
# shared or long, which saves a quarter of what most tests and programs compile.
ALONE = 16 * STRIP
# Elements a thread has in one kernel call, 3-15 ms: how long Ctrl-C waits. Shorter pieces let the
# threads wait for each other: 2^22 took 2 % longer for 5 x 10^7 elements.
PIECE = 1 << 24
# Bytes of scores from which on several threads may write given results past the caches: 16 MiB in
# and 16 MiB out fill the 32 MiB of a third-level cache (5 x 10^6 float32 logits gradients and
# Hessians on two threads: 1.34 ms instead of 1.71). New results, which the next call often reads
# from the caches: a step of the two classes on 10^7 elements takes 8 % less time, of both on 4.4 x
# 10^6 float32 3 to 11 % more.
FAR, FAR_IF_NEW = 1 << 24, 1 << 25
# The way of such results that was slower by recent timings is tried again every so many calls.
AGAIN = 16
# Seconds between the end of a call on one thread and the start of one that closely follows it, and
# what a thread takes, at least, for the work that pays for one that is awake. From start to start
# alone a row of long calls was none: 327,346 float32 logits losses and gradients, one after the
# other, took 281 us each on one thread, and 128 now.
SOON, EACH = 200e-6, 20e-6
# Work, in what pays for a thread that is awake, that pays for waking one.
LONG = 9

# Gives a kernel's further arguments for the piece from `start` on so many threads.
Options = Callable[[int, int, Array], tuple[Any, ...]]


class Kernel(NamedTuple):
    """A loop over arrays of any length: on one thread, and shared among several."""

    run: Callable[..., Any]
    team: Callable[..., None]
    takes_labels: bool = False
    """Whether its second array are labels, which it reads in a dtype of their own."""
    ordered: bool = False
    """Whether it needs the elements in C order."""
    mixes: bool = False
    """Whether it reads weights in a dtype of their own too."""


def execute(
    kernel: Kernel,
    options: Options,
    call: Call,
    least: int,
    unit: int = 64,
    *,
    streams: bool = True,
) -> None:
    """Run a kernel over all elements, in place where the layout allows, else through scratch.

    A thread must have `least` bytes of scores to pay for its hand-over. Pieces and the parts that
    threads take start at multiples of `unit`. With `streams`, large results may be written past the
    caches.
    """
    n, dtype = call.inputs[0].size, call.dtype
    if call.plain:
        arrays = plain_arrays(*call.inputs, *call.outputs)
    else:
        found = operands(
            call,
            takes_labels=kernel.takes_labels,
            ordered=kernel.ordered,
            mixes=kernel.mixes,
        )
        if not all(o is None or o.flat is not None for o in found):
            _run_through_scratch(kernel, options, found, n, dtype, unit)
            return
        arrays = tuple(None if o is None else o.flat for o in found)
    # To share a call takes 1.3 us before the first element, and 10 if nothing is in the caches.
    size, threads = n * dtype.itemsize, 1
    streams = streams and size >= (FAR if call.out_given else FAR_IF_NEW) and _can_stream(call)
    if size >= 2 * least and n > unit:
        lender = lent.get()
        if lender is not None:
            _share_beside(lender, kernel, options, arrays, least, unit, streams=streams)
            return
        threads = threads_for(size, least, get_num_threads())
    share(kernel, options, arrays, threads, unit, streams=streams)


def _can_stream(call: Call) -> bool:
    """Tell whether there are results, all of the dtype that is computed in, as a space is."""
    results = [a for a in call.outputs if isinstance(a, np.ndarray)]
    return len(results) > 0 and all(a.dtype == call.dtype for a in results)


def entry_of(function: Any, *arguments: Any) -> Any:
    """Return a compiled function for arguments of the types of these, and for no others.

    To find it by the types of a loss's arguments takes 0.6 us of a call of 0.85. It is called with
    these once, so that it exists.
    """
    function(*arguments)
    if not COMPILED:
        return function
    types = tuple([function.typeof_pyval(a) for a in arguments])
    return function.overloads[types].entry_point


def plain_arrays(*given: Any) -> tuple[Flat, ...]:
    """Return the arrays of a plain call, flat."""
    # The losses of one sample have no axis.
    arrays = tuple([a if a is None or a.ndim == 1 else a.ravel() for a in given])
    n = len(arrays[0])
    for a in arrays:
        if a is not None and len(a) != n:
            raise mismatch(*arrays)
    return arrays


def share(
    kernel: Kernel,
    options: Options,
    arrays: tuple[Flat, ...],
    threads: int,
    unit: int,
    *,
    streams: bool,
    slots: Any = None,
) -> None:
    """Run a kernel over flat arrays on so many threads: those of `slots`, or our workers."""
    n, dtype = arrays[0].size, arrays[0].dtype
    if streams and threads > 1 and SUPPORTED:
        kinds = tuple([None if a is None or a is True else a.dtype for a in arrays])
        stores = _stores.setdefault((kernel.team, *kinds), Stores())
        past = stores.past()
        start = perf_counter()
        spaces = _spaces(threads, dtype) if past else NO_SPACES[dtype]
        _run(kernel, options, arrays, threads, unit, spaces, slots)
        stores.note(perf_counter() - start, n, past=past)
    else:
        _run(kernel, options, arrays, threads, unit, NO_SPACES[dtype], slots)


def _share_beside(
    lender: Lender,
    kernel: Kernel,
    options: Options,
    arrays: tuple[Flat, ...],
    least: int,
    unit: int,
    *,
    streams: bool,
) -> None:
    """Run a kernel for a library that has a team of threads: on that team while it is faster."""
    n, size = arrays[0].size, arrays[0].nbytes
    most = min(get_num_threads(), lender.threads())
    threads = min(most, size // least)
    if threads < 2 or lender.slots is None:
        threads = threads_for(size, least, most)
        share(kernel, options, arrays, threads, unit, streams=streams)
        return
    choice = lender.choice(kernel.team, n)
    borrowed = choice.borrows()
    start = perf_counter()
    if not borrowed:
        threads = threads_for(size, least, most)
    slots = lender.slots if borrowed else None
    share(kernel, options, arrays, threads, unit, streams=streams, slots=slots)
    choice.note(perf_counter() - start, n, borrowed=borrowed)


def _run(
    kernel: Kernel,
    options: Options,
    arrays: tuple[Flat, ...],
    threads: int,
    unit: int,
    spaces: Array,
    slots: Any,
) -> None:
    n = arrays[0].size
    for a in arrays:
        if isinstance(a, np.ndarray) and a.size != n:
            raise mismatch(*arrays)
    if threads == 1 and n <= ALONE:
        kernel.run(0, 0, arrays, options(0, 1, spaces))
        return
    if slots is None:
        slots = crew(threads)
    if n <= PIECE:  # without the loop: 0.4 us less
        grain = grain_of(n, unit, threads, STRIP)
        kernel.team(arrays, options(0, threads, spaces), n, grain, slots, threads)
        return
    piece = max(PIECE * threads // unit * unit, unit)
    for start in range(0, n, piece):
        stop = min(start + piece, n)
        parts = tuple(cut_flat(a, start, stop) for a in arrays)
        grain = grain_of(stop - start, unit, threads, STRIP)
        kernel.team(parts, options(start, threads, spaces), stop - start, grain, slots, threads)


def _run_through_scratch(
    kernel: Kernel,
    options: Options,
    found: list[Operand | None],
    n: int,
    dtype: np.dtype[Any],
    unit: int,
) -> None:
    # A piece is whole units, and a unit that is larger (long rows) is a piece.
    piece = max(STRIP // unit * unit, unit)
    for start in range(0, n, piece):
        stop = min(start + piece, n)
        pieces = tuple(None if o is None else o.piece(start, stop) for o in found)
        kernel.run(0, 0, pieces, options(start, 1, NO_SPACES[dtype]))
        for operand, values in zip(found, pieces, strict=True):
            if operand is not None:
                operand.store(start, stop, values)


# --- ordinary or streaming stores ----------------------------------------------------------------


def _spaces(threads: int, dtype: Any) -> Array:
    """Return the spaces of the threads: see :mod:`fastbce._kernels.results`."""
    # Room for the rest of a line before a block, and between threads.
    return np.empty((threads, PLACES, SPACE + 2 * APART), dtype)


# Half floats are read as integers of their bits, two probabilities of a row as a complex number.
_READ = (np.float32, np.float64, np.uint16, np.int16, np.complex64, np.complex128)
NO_SPACES = {np.dtype(t): _spaces(0, t) for t in _READ}


class Stores:
    """Choose between ordinary and streaming stores for a kernel's large ``out=`` arrays.

    Which is faster by recent timings changes with what else uses the memory: 10^7 float32 sigmoids
    on two threads of a shared machine took 1.53 ms the ordinary way and 1.40 past the caches, and
    0.94 and 1.26 at another time. The results are the same.
    """

    def __init__(self) -> None:
        # Per element, the ordinary way and past the caches.
        self.seconds = [math.inf, math.inf]
        self.calls = 0

    def past(self) -> bool:
        """Choose for the next call."""
        self.calls += 1
        if self.calls <= 2:
            return self.calls == 2
        faster = self.seconds[1] < self.seconds[0]
        return faster != (self.calls % AGAIN == 0)

    def note(self, seconds: float, n: int, *, past: bool) -> None:
        """Take in what a call took; one that was held up by something else counts half."""
        before, now = self.seconds[past], seconds / n
        self.seconds[past] = now if now < before else (before + now) / 2


_stores: dict[tuple[Any, ...], Stores] = {}


# --- threads and parts ---------------------------------------------------------------------------


class _Pace:
    """The row of calls that the last one belongs to, each soon after the one before."""

    def __init__(self) -> None:
        self.last_end = -math.inf
        """When the last call ends, or rather, when it would on one thread."""
        self.work = 0.0


pace = _Pace()


def threads_for(work: int, least: int, most: int) -> int:
    """Return how many threads pay, `most` or fewer, if each must have `least` of the work.

    A worker that sleeps joins 35-50 us later, and waking it costs the caller about 50 in all;
    without a call it goes to sleep after about 100. So a call is shared if it is long, or if it and
    those that it closely follows are, taken together: a row that could have been shared from its
    start on is likely to go on.
    """
    threads = min(most, work // least)
    if threads < 2:
        return 1
    now = perf_counter()
    share = work / (threads * least)
    pace.work = share + (pace.work if now - pace.last_end < SOON else 0.0)
    pace.last_end = now + EACH * work / least
    return threads if pace.work >= LONG else 1


def grain_of(n: int, unit: int, threads: int, strip: int) -> int:
    """Return how many elements a thread takes at a time, in whole units.

    Four parts a thread even out what one of them loses to an interruption, and leave each core most
    of what it had in its cache after the last call on the same arrays; parts of some thousand
    elements keep the 20 ns of taking one out of sight, and none is so large that the last one
    keeps the others waiting. In long arrays larger parts are nearer to what the memory allows
    (sigmoid, 5 x 10^7 float32: 16 strips take 3 % less time than 4).
    """
    wanted = n // (4 * threads)
    if wanted > 4 * strip:
        wanted = max(4 * strip, min(wanted // 8, 16 * strip))
    elif wanted < strip // 4:
        wanted = strip // 4
    return max(wanted // unit, 1) * unit
