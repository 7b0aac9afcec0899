"""The ``"numba"`` backend: flat arrays in, kernels over blocks, results out.

The kernels take 1-D contiguous arrays. Arrays that are so already are handed over as they are;
others (strided, foreign byte order, broadcast weights, an output that is also an input, float16
but for the sigmoid functions) go through scratch space of one strip, so that nothing is ever
copied whole.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from fastbce._backends import get_num_threads
from fastbce._inputs import Array
from fastbce._kernels import elementwise as k
from fastbce._kernels.results import PLACES, SUPPORTED

from .operands import Flat, as_bits, cut_flat, mismatch, operands
from .team import APART
from .workers import crew, grain_of, threads_for

# Bytes of scores that a thread must have to pay for its hand-over, 3-10 us of its time; light
# operations, a few multiplications an element, need more.
MIN_PER_THREAD, MIN_LIGHT_PER_THREAD = 3 << 15, 5 << 15
# Elements a thread has in one kernel call, 3-15 ms: how long Ctrl-C waits. Shorter pieces let the
# threads wait for each other: 2^22 took 2 % longer for 5 x 10^7 elements.
PIECE = 1 << 24
# Bytes of scores from which on several threads may write given results past the caches: 16 MiB in
# and 16 MiB out fill the 32 MiB of a third-level cache (5 x 10^6 float32 logits gradients and
# Hessians on two threads: 1.34 ms instead of 1.71).
FAR = 1 << 24
# The way of such results that was slower of late is tried again every so many calls.
AGAIN = 16
# Spans that are summed on their own: 2^15 float64 partial sums at most, 256 KiB.
MAX_SPANS = 1 << 15


# Gives a kernel's further arguments for the piece from `start` on so many threads.
Options = Callable[[int, int, Array], tuple[Any, ...]]


def _threads(size: int, least: int) -> int:
    """Return how many threads share a call on scores of so many bytes.

    To share it takes 1.3 us before the first element, and 10 if nothing is in the caches.
    """
    return 1 if size < 2 * least else threads_for(size, least, get_num_threads())


def _spaces(threads: int, dtype: Any) -> Array:
    """Return the spaces of the threads: see :mod:`fastbce._kernels.results`."""
    # Room for the rest of a line before a block, and between threads.
    return np.empty((threads, PLACES, k.SPACE + 2 * APART), dtype)


_NO_SPACES = {np.dtype(t): _spaces(0, t) for t in (np.float32, np.float64, np.uint16)}


class _Ways:
    """Whether a kernel's large given results go past the caches: as was faster of late.

    Which is, changes with what else uses the memory: 10^7 float32 sigmoids on two threads of a
    shared machine took 1.53 ms the ordinary way and 1.40 past the caches, and 0.94 and 1.26 at
    another time. The results are the same.
    """

    def __init__(self) -> None:
        self.seconds = [math.inf, math.inf]  # an element, the ordinary way and past the caches
        self.calls = 0

    def past(self) -> bool:
        """Choose for the next call."""
        self.calls += 1
        if self.calls <= 2:
            return self.calls == 2
        faster = self.seconds[1] < self.seconds[0]
        return faster != (self.calls % AGAIN == 0)

    def note(self, past: bool, seconds: float) -> None:
        """Take in what a call took; one that was held up by something else counts half."""
        before = self.seconds[past]
        self.seconds[past] = seconds if seconds < before else (before + seconds) / 2


_ways: dict[tuple[Any, ...], _Ways] = {}


class _Family(NamedTuple):
    """The kernels of one loss: each element, sums, means of rows."""

    elements: Callable[..., None]
    sums: Callable[..., None]
    team: Callable[..., None]
    sums_team: Callable[..., None]
    rows_team: Callable[..., None]


_CLIPPED = _Family(
    k.clipped_run, k.clipped_sum_run, k.clipped_team, k.clipped_sum_team, k.clipped_rows_team
)
_LOGITS = _Family(
    k.logits_run, k.logits_sum_run, k.logits_team, k.logits_sum_team, k.logits_rows_team
)


class _Scratch(threading.local):
    """Each thread's lanes, kept between calls: allocating them costs a small call 0.4 us."""

    def __init__(self) -> None:
        self.lanes = np.empty((1, k.LANES))
        self.work = {np.dtype(t): np.empty((1, 2, k.LANES), t) for t in (np.float32, np.float64)}


_scratch = _Scratch()


def _execute(
    team: Callable[..., None],
    inputs: tuple[tuple[Array | None, np.dtype[Any]], ...],
    outputs: tuple[Array | None, ...],
    dtype: np.dtype[Any],
    options: Options,
    n: int,
    least: int,
    unit: int = 64,
    ordered: bool = False,
    aliased: bool = False,
    given: bool = False,
) -> None:
    """Run a kernel over all elements, in place where the layout allows, else through scratch.

    `inputs` come with the dtype that the kernel reads; `ordered` asks for C order of the elements.
    """
    found = operands(inputs, outputs, dtype, ordered, aliased)
    if all(o is None or o.flat is not None for o in found):
        flats = tuple(None if o is None else o.flat for o in found)
        threads = _threads(n * dtype.itemsize, least)
        share(team, flats, options, n, dtype, threads, given, unit)
        return
    slots = crew(1)
    # A piece is whole units, and a unit that is larger (long rows) is a piece.
    piece = max(k.STRIP // unit * unit, unit)
    for start in range(0, n, piece):
        stop = min(start + piece, n)
        pieces = tuple(None if o is None else o.piece(start, stop) for o in found)
        team(pieces, options(start, 1, _NO_SPACES[dtype]), stop - start, piece, slots, 1)
        for operand, values in zip(found, pieces, strict=True):
            if operand is not None:
                operand.store(start, stop, values)


def share(
    team: Callable[..., None],
    arrays: tuple[Flat, ...],
    options: Options,
    n: int,
    dtype: np.dtype[Any],
    threads: int,
    given: bool,
    unit: int = 64,
) -> None:
    """Run a kernel over flat arrays on so many threads.

    Pieces and the parts that threads take start at multiples of `unit`.
    """
    if given and threads > 1 and n * dtype.itemsize >= FAR and SUPPORTED:
        kinds = tuple([None if a is None or a is True else a.dtype for a in arrays])
        ways = _ways.setdefault((team, *kinds), _Ways())
        past = ways.past()
        start = perf_counter()
        _run(team, arrays, options, n, dtype, threads, past, unit)
        ways.note(past, (perf_counter() - start) / n)
    else:
        _run(team, arrays, options, n, dtype, threads, False, unit)


def _run(
    team: Callable[..., None],
    arrays: tuple[Flat, ...],
    options: Options,
    n: int,
    dtype: np.dtype[Any],
    threads: int,
    past: bool,
    unit: int,
) -> None:
    if any(isinstance(a, np.ndarray) and a.size != n for a in arrays):
        raise mismatch(*arrays)
    slots = crew(threads)
    spaces = _spaces(threads, dtype) if past else _NO_SPACES[dtype]
    if n <= PIECE:  # without the loop: 0.4 us less
        grain = grain_of(n, unit, threads, k.STRIP)
        team(arrays, options(0, threads, spaces), n, grain, slots, threads)
        return
    piece = max(PIECE * threads // unit * unit, unit)
    for start in range(0, n, piece):
        stop = min(start + piece, n)
        parts = tuple(cut_flat(a, start, stop) for a in arrays)
        grain = grain_of(stop - start, unit, threads, k.STRIP)
        team(parts, options(start, threads, spaces), stop - start, grain, slots, threads)


def _spaces_alone(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
    return (spaces,)


def _element_options(options: tuple[Any, ...]) -> Options:
    return lambda start, threads, spaces: (*options, spaces)


def _sum_options(
    options: tuple[Any, ...], n: int, dtype: np.dtype[Any]
) -> tuple[Array, int, Options]:
    """Return the places of partial sums, how many elements one covers, and the kernel's options."""
    span = k.STRIP * -(-n // (k.STRIP * MAX_SPANS))
    partials = np.zeros(-(-n // span))

    def spans(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
        width = k.LANES + APART
        work, lanes = np.empty((threads, 2, width), dtype), np.empty((threads, width))
        return (*options, spaces, partials[start // span :], span, work, lanes)

    return partials, span, spans


def _add_up(partials: Array) -> float:
    """Add partial sums one after the other, where sum() may change its order with the version."""
    if len(partials) == 1:
        return float(partials[0])
    with np.errstate(all="ignore"):
        return float(partials.cumsum()[-1])


def sigmoid(
    x: Array,
    out: Array,
    dtype: np.dtype[Any],
    plain: bool = False,
    aliased: bool = False,
    given: bool = False,
) -> None:
    """See :func:`fastbce._reference.elementwise.sigmoid`."""
    if plain:
        if x.ndim > 1:
            x, out = x.ravel(), out.ravel()
        if len(out) != len(x):
            raise mismatch(x, out)
        threads = _threads(x.nbytes, MIN_PER_THREAD)
        if threads == 1 and x.size <= PIECE:
            k.sigmoid_block(x, out)
        else:
            share(k.sigmoid_team, (x, out), _spaces_alone, x.size, dtype, threads, given)
        return
    arrays, dtype = as_bits(dtype, x, out)
    _execute(
        k.sigmoid_team,
        ((arrays[0], dtype),),
        (arrays[1],),
        dtype,
        _spaces_alone,
        x.size,
        MIN_PER_THREAD,
        aliased=aliased,
        given=given,
    )


def sigmoid_backward(
    dvalues: Array,
    output: Array,
    out: Array,
    dtype: np.dtype[Any],
    plain: bool = False,
    aliased: bool = False,
    given: bool = False,
) -> None:
    """See :func:`fastbce._reference.elementwise.sigmoid_backward`."""
    if plain:
        if output.ndim > 1:
            dvalues, output, out = dvalues.ravel(), output.ravel(), out.ravel()
        if not len(dvalues) == len(output) == len(out):
            raise mismatch(dvalues, output, out)
        threads = _threads(output.nbytes, MIN_LIGHT_PER_THREAD)
        if threads == 1 and output.size <= PIECE:
            k.sigmoid_backward_block(dvalues, output, out)
        else:
            flats, n = (dvalues, output, out), output.size
            share(k.sigmoid_backward_team, flats, _spaces_alone, n, dtype, threads, given)
        return
    arrays, dtype = as_bits(dtype, dvalues, output, out)
    _execute(
        k.sigmoid_backward_team,
        ((arrays[0], dtype), (arrays[1], dtype)),
        (arrays[2],),
        dtype,
        _spaces_alone,
        output.size,
        MIN_LIGHT_PER_THREAD,
        aliased=aliased,
        given=given,
    )


def clipped(
    y_pred: Array,
    y_true: Array,
    weight: Array | None,
    bounds: tuple[Any, Any],
    scale: float,
    loss: Array | None,
    grad: Array | None,
    dtype: np.dtype[Any],
    faults: Array | None = None,
    total: bool = False,
    samples: bool = False,
    plain: bool = False,
    aliased: bool = False,
    given: bool = False,
) -> float | None:
    """See :func:`fastbce._reference.elementwise.clipped`."""
    options = (bounds, scale, faults)
    scores = (y_pred, y_true, weight)
    flags = (total, samples, plain, aliased, given)
    return _reduce(_CLIPPED, options, *scores, loss, (grad,), dtype, *flags)


def logits(
    logits: Array,
    y_true: Array,
    weight: Array | None,
    scale: float,
    loss: Array | None,
    grad: Array | None,
    hess: Array | None,
    dtype: np.dtype[Any],
    faults: Array | None = None,
    total: bool = False,
    samples: bool = False,
    plain: bool = False,
    aliased: bool = False,
    given: bool = False,
) -> float | None:
    """See :func:`fastbce._reference.elementwise.logits`."""
    options = (scale, faults)
    scores = (logits, y_true, weight)
    flags = (total, samples, plain, aliased, given)
    return _reduce(_LOGITS, options, *scores, loss, (grad, hess), dtype, *flags)


def _reduce_plain(
    family: _Family,
    options: tuple[Any, ...],
    x: Array,
    y: Array,
    results: tuple[Array | None, ...],
    dtype: np.dtype[Any],
    least: int,
    total: bool,
    given: bool,
) -> float | None:
    """Run one loss family on plain arrays: each element, or their sum."""
    n = x.size
    threads = _threads(x.nbytes, least)
    if x.ndim > 1:
        x, y = x.ravel(), y.ravel()
        results = tuple([a if a is None else a.ravel() for a in results])
    for a in results:  # y apart, and by len(): a third of the time
        if a is not None and len(a) != n:
            raise mismatch(x, y, *results)
    if len(y) != n:
        raise mismatch(x, y)
    if threads > 1 or n > PIECE:
        if not total:
            each = _element_options(options)
            share(family.team, (x, y, None, *results), each, n, dtype, threads, given)
            return None
        partials, span, spans = _sum_options(options, n, dtype)
        arrays = (x, y, None, *results[1:])
        share(family.sums_team, arrays, spans, n, dtype, threads, given, span)
        return _add_up(partials)
    options = (*options, _NO_SPACES[dtype])
    if not total:
        family.elements(0, 0, x, y, None, *results, *options)
        return None
    sums = np.zeros(-(-n // k.STRIP))
    work, lanes = _scratch.work[dtype], _scratch.lanes
    family.sums(0, 0, x, y, None, *results[1:], *options, sums, k.STRIP, work, lanes)
    return _add_up(sums)


def _reduce(
    family: _Family,
    options: tuple[Any, ...],
    scores: Array,
    labels: Array,
    weight: Array | None,
    loss: Array | None,
    derivatives: tuple[Array | None, ...],
    dtype: np.dtype[Any],
    total: bool,
    samples: bool,
    plain: bool,
    aliased: bool,
    given: bool,
) -> float | None:
    """Run one loss family: each element, their sum, or the means over the last axis."""
    n = scores.size
    if labels.dtype.char == "?":
        # Bool has the layout of uint8: one compiled kernel serves both.
        labels = labels.view(np.uint8)
    light = family is _CLIPPED and loss is None and not total
    least = MIN_LIGHT_PER_THREAD if light else MIN_PER_THREAD
    if plain and not samples:
        results = (loss, *derivatives)
        return _reduce_plain(family, options, scores, labels, results, dtype, least, total, given)

    outputs = scores.shape[-1] if samples and loss is not None else 1
    if loss is not None and outputs >= k.STRIP:
        # Rows longer than a strip are summed one by one, each by all threads.
        for row in np.ndindex(loss.shape):
            value = _reduce(
                family,
                options,
                scores[row],
                labels[row],
                None if weight is None else weight[row],
                None,
                tuple(None if a is None else a[row] for a in derivatives),
                dtype,
                total=True,
                samples=False,
                plain=plain,
                aliased=aliased,
                given=given,
            )
            with np.errstate(all="ignore"):  # a mean may be out of the range of the losses' dtype
                loss[row] = (value or 0.0) / outputs
        return None

    native = labels.dtype.newbyteorder("=")
    wanted = dtype if native == np.float16 else native
    inputs = ((scores, dtype), (labels, wanted), (weight, dtype))
    if total:
        partials, span, spans = _sum_options(options, n, dtype)
        _execute(
            family.sums_team,
            inputs,
            derivatives,
            dtype,
            spans,
            n,
            least,
            unit=span,
            ordered=True,
            aliased=aliased,
            given=given,
        )
        return _add_up(partials)
    if outputs == 1 or loss is None:
        _execute(
            family.team,
            inputs,
            (loss, *derivatives),
            dtype,
            _element_options(options),
            n,
            least,
            aliased=aliased,
            given=given,
        )
        return None
    # The means are few beside the elements: where they cannot be written in place, copy them.
    in_place = loss.flags.c_contiguous and loss.flags.aligned and loss.dtype == dtype
    means = loss.reshape(-1) if in_place else np.empty(loss.size, dtype)

    def row_options(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
        work = np.empty((threads, max(k.LANES, outputs) + APART), dtype)
        return (*options, spaces, means[start // outputs :], outputs, work)

    _execute(
        family.rows_team,
        inputs,
        derivatives,
        dtype,
        row_options,
        n,
        least,
        unit=outputs,
        ordered=True,
        aliased=aliased,
    )
    if not in_place:
        with np.errstate(all="ignore"):  # float16 has inf above 65504
            np.copyto(loss, means.reshape(loss.shape), "same_kind")
    return None
