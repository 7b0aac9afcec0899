"""The ``"numba"`` backend: flat arrays in, kernels over blocks, results out.

The kernels take 1-D contiguous arrays. Arrays that are so already are handed over as they are;
others (strided, foreign byte order, broadcast weights, an output that is also an input, float16
but for the sigmoid functions) go through scratch space of one strip, so that nothing is ever
copied whole.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from . import _kernels as k
from ._config import get_num_threads
from ._schedule import crew, grain_of, threads_for
from ._team import APART
from ._validate import Array, overlap

# Bytes of scores that a thread must have to pay for its hand-over, 5-20 us of its time; light
# operations, a few multiplications an element, need twice as many.
MIN_PER_THREAD, MIN_LIGHT_PER_THREAD = 1 << 17, 1 << 18
# Elements a thread has in one kernel call, 3-15 ms: how long Ctrl-C waits. Shorter pieces let the
# threads wait for each other: 2^22 took 2 % longer for 5 x 10^7 elements.
PIECE = 1 << 24
# Spans that are summed on their own: 2^15 float64 partial sums at most, 256 KiB.
MAX_SPANS = 1 << 15


# A flat array, None where it is absent, or True for the first input written over.
Flat = Any


class _ArrayInterface:
    """Hand an array's memory to NumPy again, declared writable."""

    def __init__(self, array: Array) -> None:
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface
        self.owner = array


class _Operand:
    """One array of a call: its contiguous pieces, directly or through scratch space.

    An output is direct where it is `source`, the first input, in one piece: True stands for it.
    Any other output that is also an input goes through scratch space: a kernel that reads and
    writes one array under two names falls back to its scalar loop.
    """

    def __init__(
        self,
        array: Array,
        dtype: np.dtype[Any],
        output: bool,
        source: _Operand | None = None,
    ) -> None:
        self.array = array
        self.output = output
        self.dtype = dtype
        self.flat = self._contiguous() if array.dtype == dtype else None
        # Numba's conversion of float16 takes a tenth of NumPy's time, but needs it in one piece.
        half = array.dtype == np.float16 and dtype == np.float32
        self.half = self._contiguous() if half else None
        if source is not None and self.flat is not None:
            same = array.ctypes.data == source.array.ctypes.data
            self.flat = True if same and source.flat is not None else None

    def _contiguous(self) -> Flat:
        a = self.array.view(np.uint16) if self.array.dtype == np.float16 else self.array
        if not (a.flags.c_contiguous and a.flags.aligned):
            return None
        if not a.flags.writeable:
            # Numba compiles every kernel anew for read-only arrays; inputs are never written to.
            a = np.asarray(_ArrayInterface(a))
        return a.reshape(-1)

    def piece(self, start: int, stop: int) -> Flat:
        """Return elements start to stop, contiguous and in the kernel's dtype."""
        if self.flat is not None:
            return _cut(self.flat, start, stop)
        scratch = np.empty(stop - start, self.dtype)
        if self.output:
            return scratch
        if self.half is not None:
            k.convert_block(self.half[start:stop], scratch)
            return scratch
        for offset, box in _boxes(self.array, start, stop):
            np.copyto(scratch[offset : offset + box.size].reshape(box.shape), box, "unsafe")
        return scratch

    def store(self, start: int, stop: int, values: Flat) -> None:
        """Write a piece back to where it belongs."""
        if not self.output or self.flat is not None or not isinstance(values, np.ndarray):
            return
        if self.half is not None:
            k.convert_block(values, self.half[start:stop])
            return
        with np.errstate(over="ignore"):  # float16 has inf above 65504
            for offset, box in _boxes(self.array, start, stop):
                np.copyto(box, values[offset : offset + box.size].reshape(box.shape), "unsafe")


def _cut(flat: Flat, start: int, stop: int) -> Flat:
    return flat[start:stop] if isinstance(flat, np.ndarray) else flat


def _boxes(array: Array, start: int, stop: int) -> Iterator[tuple[int, Array]]:
    """Cut elements start to stop (C order) into rectangular views, each with its offset."""
    if array.ndim == 0:
        yield 0, array
        return
    if array.ndim == 1:
        yield 0, array[start:stop]
        return
    inner = math.prod(array.shape[1:])
    offset = 0
    while start < stop:
        row, column = divmod(start, inner)
        rows = (stop - start) // inner
        if column == 0 and rows:
            yield offset, array[row : row + rows]
            step = rows * inner
        else:
            step = min(inner - column, stop - start)
            for extra, box in _boxes(array[row], column, column + step):
                yield offset + extra, box
        start += step
        offset += step


def _alone(scores: Array, least: int) -> bool:
    """Tell whether the caller does all the work of plain arrays in one kernel call.

    Sharing it takes 3 us before the first element, and 10 if nothing is in the caches.
    """
    size = scores.nbytes
    if size < 2 * least:
        return True
    return scores.size <= PIECE and threads_for(size, least, get_num_threads()) == 1


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


def _operands(
    inputs: tuple[tuple[Array | None, np.dtype[Any]], ...],
    outputs: tuple[Array | None, ...],
    dtype: np.dtype[Any],
    ordered: bool,
    aliased: bool,
) -> list[_Operand | None]:
    arrays = [*(a for a, _ in inputs), *outputs]
    if not ordered and all(a is None or a.flags.fnc for a in arrays):
        # Elementwise on Fortran order throughout: the transposes are contiguous.
        inputs = tuple((None if a is None else a.T, t) for a, t in inputs)
        outputs = tuple(None if a is None else a.T for a in outputs)
    made = [None if a is None else _Operand(a, wanted, False) for a, wanted in inputs]
    for a in outputs:
        shared = aliased and a is not None and any(overlap(a, source) for source, _ in inputs)
        made.append(None if a is None else _Operand(a, dtype, True, made[0] if shared else None))
    return made


def _execute(
    team: Callable[..., None],
    inputs: tuple[tuple[Array | None, np.dtype[Any]], ...],
    outputs: tuple[Array | None, ...],
    dtype: np.dtype[Any],
    options: Callable[[int, int], tuple[Any, ...]],
    n: int,
    least: int,
    unit: int = 64,
    ordered: bool = False,
    plain: bool = False,
    aliased: bool = False,
) -> None:
    """Run a kernel over all elements, in place where the layout allows, else through scratch.

    `inputs` come with the dtype that the kernel reads; `ordered` asks for C order of the elements.
    """
    if plain:
        arrays = [a for a, _ in inputs]
        flats = tuple(None if a is None else a.ravel() for a in (*arrays, *outputs))
        _share(team, flats, options, n, dtype, unit, least)
        return
    operands = _operands(inputs, outputs, dtype, ordered, aliased)
    if all(o is None or o.flat is not None for o in operands):
        flats = tuple(None if o is None else o.flat for o in operands)
        _share(team, flats, options, n, dtype, unit, least)
        return
    slots = crew(1)
    # A piece is whole units, and a unit that is larger (long rows) is a piece.
    piece = max(k.STRIP // unit * unit, unit)
    for start in range(0, n, piece):
        stop = min(start + piece, n)
        pieces = tuple(None if o is None else o.piece(start, stop) for o in operands)
        team(pieces, options(start, 1), stop - start, piece, slots, 1)
        for operand, values in zip(operands, pieces, strict=True):
            if operand is not None:
                operand.store(start, stop, values)


def _share(
    team: Callable[..., None],
    arrays: tuple[Flat, ...],
    options: Callable[[int, int], tuple[Any, ...]],
    n: int,
    dtype: np.dtype[Any],
    unit: int,
    least: int,
) -> None:
    """Run a kernel over flat arrays, on as many threads as pay.

    ``options(start, threads)`` gives the kernel's further arguments for the piece from `start`.
    Pieces and the parts that threads take start at multiples of `unit`.
    """
    threads = threads_for(n * dtype.itemsize, least, get_num_threads())
    slots = crew(threads)
    piece = max(PIECE * threads // unit * unit, unit)
    for start in range(0, n, piece):
        stop = min(start + piece, n)
        parts = arrays if n <= piece else tuple(_cut(a, start, stop) for a in arrays)
        grain = grain_of(stop - start, unit, threads, k.STRIP)
        team(parts, options(start, threads), stop - start, grain, slots, threads)


def _as_bits(dtype: np.dtype[Any], *arrays: Array) -> tuple[tuple[Array, ...], np.dtype[Any]]:
    """Return the arrays, if all are float16 as the uint16 that the kernels take for it."""
    if all(a.dtype == np.float16 for a in arrays):
        return tuple(a.view(np.uint16) for a in arrays), np.dtype(np.uint16)
    return arrays, dtype


def _no_options(start: int, threads: int) -> tuple[Any, ...]:
    return ()


def sigmoid(
    x: Array, out: Array, dtype: np.dtype[Any], plain: bool = False, aliased: bool = False
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
        _no_options,
        x.size,
        MIN_PER_THREAD,
        plain=plain,
        aliased=aliased,
    )


def sigmoid_backward(
    dvalues: Array,
    output: Array,
    out: Array,
    dtype: np.dtype[Any],
    plain: bool = False,
    aliased: bool = False,
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
        _no_options,
        output.size,
        MIN_LIGHT_PER_THREAD,
        plain=plain,
        aliased=aliased,
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
) -> float | None:
    """See :func:`fastbce._reference.clipped`."""
    options = (bounds, scale, faults)
    scores = (y_pred, y_true, weight)
    return _reduce(_CLIPPED, options, *scores, loss, (grad,), dtype, total, samples, plain, aliased)


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
) -> float | None:
    """See :func:`fastbce._reference.logits`."""
    options = (scale, faults)
    scores = (logits, y_true, weight)
    return _reduce(
        _LOGITS, options, *scores, loss, (grad, hess), dtype, total, samples, plain, aliased
    )


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
            family.elements(x, y, None, *flat, *options)
            return None
        sums = np.zeros(-(-n // k.STRIP))
        work, lanes = _scratch.work[dtype], _scratch.lanes
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

        def sum_options(start: int, threads: int) -> tuple[Any, ...]:
            width = k.LANES + APART
            work, lanes = np.empty((threads, 2, width), dtype), np.empty((threads, width))
            return (*options, partials[start // span :], span, work, lanes)

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
        )
        # cumsum adds one after the other, where sum() may change its order with the version
        return float(partials.cumsum()[-1])
    if outputs == 1 or loss is None:
        _execute(
            family.team,
            inputs,
            (loss, *derivatives),
            dtype,
            lambda start, threads: options,
            n,
            least,
            plain=plain,
            aliased=aliased,
        )
        return None
    # The means are few beside the elements: where they cannot be written in place, copy them.
    in_place = loss.flags.c_contiguous and loss.flags.aligned and loss.dtype == dtype
    means = loss.reshape(-1) if in_place else np.empty(loss.size, dtype)

    def row_options(start: int, threads: int) -> tuple[Any, ...]:
        work = np.empty((threads, max(k.LANES, outputs) + APART), dtype)
        return (*options, means[start // outputs :], outputs, work)

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
