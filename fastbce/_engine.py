"""The ``"numba"`` backend: flat arrays in, kernels over blocks, results out.

The kernels take 1-D contiguous arrays. Arrays that are so already are handed over as they are;
others (strided, foreign byte order, broadcast weights, an output that is also an input, float16
but for the sigmoid functions) go through scratch space of one strip, so that nothing is ever
copied whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import _kernels as k
from ._config import get_num_threads
from ._operands import Flat, cut_flat, operands
from ._schedule import crew, grain_of, threads_for
from ._stores import PLACES, SUPPORTED
from ._team import APART
from ._validate import Array

# Bytes of scores that a thread must have to pay for its hand-over, 5-20 us of its time; light
# operations, a few multiplications an element, need twice as many.
MIN_PER_THREAD, MIN_LIGHT_PER_THREAD = 1 << 17, 1 << 18
# Elements a thread has in one kernel call, 3-15 ms: how long Ctrl-C waits. Shorter pieces let the
# threads wait for each other: 2^22 took 2 % longer for 5 x 10^7 elements.
PIECE = 1 << 24
# Bytes of scores from which on several threads write given results past the caches: 24 MiB in and
# 24 MiB out are more than the 32 MiB of a third-level cache. One thread is 5-10 % slower that way.
FAR = 3 << 23
# Elements of a space: a block, the rest of a line before it, and what keeps threads apart.
SPACE = k.LANES + 2 * APART
# Spans that are summed on their own: 2^15 float64 partial sums at most, 256 KiB.
MAX_SPANS = 1 << 15


# Gives a kernel's further arguments for the piece from `start` on so many threads.
Options = Callable[[int, int, Array], tuple[Any, ...]]


def _alone(scores: Array, least: int) -> bool:
    """Tell whether the caller does all the work of plain arrays in one kernel call.

    Sharing it takes 3 us before the first element, and 10 if nothing is in the caches.
    """
    size = scores.nbytes
    if size < 2 * least:
        return True
    return scores.size <= PIECE and threads_for(size, least, get_num_threads()) == 1


def _no_spaces(dtype: Any) -> Array:
    return np.empty((0, PLACES, SPACE), dtype)


_NO_SPACES = {np.dtype(t): _no_spaces(t) for t in (np.float32, np.float64, np.uint16)}


def spaces_for(size: int, given: bool, threads: int, dtype: np.dtype[Any]) -> Array:
    """Return the spaces of the threads for results of so many bytes: see :mod:`._stores`."""
    if given and threads > 1 and size >= FAR and SUPPORTED:
        return np.empty((threads, PLACES, SPACE), dtype)
    return _NO_SPACES[dtype]


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
    plain: bool = False,
    aliased: bool = False,
    given: bool = False,
) -> None:
    """Run a kernel over all elements, in place where the layout allows, else through scratch.

    `inputs` come with the dtype that the kernel reads; `ordered` asks for C order of the elements.
    """
    if plain:
        arrays = [a for a, _ in inputs]
        flats = tuple(None if a is None else a.ravel() for a in (*arrays, *outputs))
        _share(team, flats, options, n, dtype, unit, least, given)
        return
    found = operands(inputs, outputs, dtype, ordered, aliased)
    if all(o is None or o.flat is not None for o in found):
        flats = tuple(None if o is None else o.flat for o in found)
        _share(team, flats, options, n, dtype, unit, least, given)
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


def _share(
    team: Callable[..., None],
    arrays: tuple[Flat, ...],
    options: Options,
    n: int,
    dtype: np.dtype[Any],
    unit: int,
    least: int,
    given: bool,
) -> None:
    """Run a kernel over flat arrays, on as many threads as pay.

    Pieces and the parts that threads take start at multiples of `unit`.
    """
    threads = threads_for(n * dtype.itemsize, least, get_num_threads())
    slots = crew(threads)
    spaces = spaces_for(n * dtype.itemsize, given, threads, dtype)
    piece = max(PIECE * threads // unit * unit, unit)
    for start in range(0, n, piece):
        stop = min(start + piece, n)
        parts = arrays if n <= piece else tuple(cut_flat(a, start, stop) for a in arrays)
        grain = grain_of(stop - start, unit, threads, k.STRIP)
        team(parts, options(start, threads, spaces), stop - start, grain, slots, threads)


def _as_bits(dtype: np.dtype[Any], *arrays: Array) -> tuple[tuple[Array, ...], np.dtype[Any]]:
    """Return the arrays, if all are float16 as the uint16 that the kernels take for it."""
    if all(a.dtype == np.float16 for a in arrays):
        return tuple(a.view(np.uint16) for a in arrays), np.dtype(np.uint16)
    return arrays, dtype


def _spaces_alone(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
    return (spaces,)


def sigmoid(
    x: Array,
    out: Array,
    dtype: np.dtype[Any],
    plain: bool = False,
    aliased: bool = False,
    given: bool = False,
) -> None:
    """See :func:`fastbce._reference.sigmoid`."""
    if plain and _alone(x, MIN_PER_THREAD):
        if x.ndim > 1:
            x, out = x.ravel(), out.ravel()
        k.sigmoid_block(x, out)
        return
    arrays, dtype = _as_bits(dtype, x, out)
    _execute(
        k.sigmoid_team,
        ((arrays[0], dtype),),
        (arrays[1],),
        dtype,
        _spaces_alone,
        x.size,
        MIN_PER_THREAD,
        plain=plain,
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
    """See :func:`fastbce._reference.sigmoid_backward`."""
    if plain and _alone(output, MIN_LIGHT_PER_THREAD):
        if output.ndim > 1:
            dvalues, output, out = dvalues.ravel(), output.ravel(), out.ravel()
        k.sigmoid_backward_block(dvalues, output, out)
        return
    arrays, dtype = _as_bits(dtype, dvalues, output, out)
    _execute(
        k.sigmoid_backward_team,
        ((arrays[0], dtype), (arrays[1], dtype)),
        (arrays[2],),
        dtype,
        _spaces_alone,
        output.size,
        MIN_LIGHT_PER_THREAD,
        plain=plain,
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
    """See :func:`fastbce._reference.clipped`."""
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
    """See :func:`fastbce._reference.logits`."""
    options = (scale, faults)
    scores = (logits, y_true, weight)
    flags = (total, samples, plain, aliased, given)
    return _reduce(_LOGITS, options, *scores, loss, (grad, hess), dtype, *flags)


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
    if plain and not samples and _alone(scores, least):
        x, y, flat = scores, labels, (loss, *derivatives)
        if x.ndim > 1:
            x, y = x.ravel(), y.ravel()
            flat = tuple([a if a is None else a.ravel() for a in flat])
        if not total:
            family.elements(0, 0, x, y, None, *flat, *options, _NO_SPACES[dtype])
            return None
        sums = np.zeros(-(-n // k.STRIP))
        work, lanes = _scratch.work[dtype], _scratch.lanes
        options = (*options, _NO_SPACES[dtype])
        family.sums(0, 0, x, y, None, *flat[1:], *options, sums, k.STRIP, work, lanes)
        return float(sums[0]) if n <= k.STRIP else float(sums.cumsum()[-1])

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
            loss[row] = (value or 0.0) / outputs
        return None

    native = labels.dtype.newbyteorder("=")
    inputs = (
        (scores, dtype),
        (labels, dtype if native == np.float16 else native),
        (weight, dtype),
    )
    if total:
        span = k.STRIP * -(-n // (k.STRIP * MAX_SPANS))
        partials = np.zeros(-(-n // span))

        def sum_options(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
            width = k.LANES + APART
            work, lanes = np.empty((threads, 2, width), dtype), np.empty((threads, width))
            return (*options, spaces, partials[start // span :], span, work, lanes)

        _execute(
            family.sums_team,
            inputs,
            derivatives,
            dtype,
            sum_options,
            n,
            least,
            unit=span,
            ordered=True,
            plain=plain,
            aliased=aliased,
            given=given,
        )
        # cumsum adds one after the other, where sum() may change its order with the version
        return float(partials.cumsum()[-1])
    if outputs == 1 or loss is None:
        _execute(
            family.team,
            inputs,
            (loss, *derivatives),
            dtype,
            lambda start, threads, spaces: (*options, spaces),
            n,
            least,
            plain=plain,
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
        plain=plain,
        aliased=aliased,
    )
    if not in_place:
        with np.errstate(over="ignore"):  # float16 has inf above 65504
            np.copyto(loss, means.reshape(loss.shape), "same_kind")
    return None
