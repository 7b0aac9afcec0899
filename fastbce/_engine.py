"""The ``"numba"`` backend: flat arrays in, kernels over blocks, results out.

The kernels take 1-D contiguous arrays. Arrays that are so already are handed over as they are;
others (strided, float16, foreign byte order, broadcast weights, an output that is also an input)
go through scratch space of one strip, so that nothing is ever copied whole.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from . import _kernels as k
from ._config import get_num_threads
from ._schedule import crew, grain_of
from ._validate import Array

# Elements a thread must have to pay for its hand-over.
MIN_PER_THREAD = 1 << 14
# Calls below this are one kernel call on the caller's thread.
SMALL = 2 * MIN_PER_THREAD
# Elements a thread has in one kernel call, 1-4 ms: how long Ctrl-C waits.
PIECE = 1 << 22
# Spans that are summed on their own: 2^15 float64 partial sums at most, 256 KiB.
MAX_SPANS = 1 << 15


class _ArrayInterface:
    """Hand an array's memory to NumPy again, declared writable."""

    def __init__(self, array: Array) -> None:
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface
        self.owner = array


class _Operand:
    """One array of a call: its contiguous pieces, directly or through scratch space."""

    def __init__(self, array: Array, dtype: np.dtype[Any], output: bool, direct: bool) -> None:
        self.array = array
        self.output = output
        self.dtype = dtype
        self.flat = self._contiguous() if direct else None

    def _contiguous(self) -> Array | None:
        a = self.array
        if not (a.flags.c_contiguous and a.flags.aligned and a.dtype == self.dtype):
            return None
        if not a.flags.writeable:
            # Numba compiles every kernel anew for read-only arrays; inputs are never written to.
            a = np.asarray(_ArrayInterface(a))
        return a.reshape(-1)

    def piece(self, start: int, stop: int) -> Array:
        """Return elements start to stop, contiguous and in the kernel's dtype."""
        if self.flat is not None:
            return self.flat[start:stop]
        scratch = np.empty(stop - start, self.dtype)
        if not self.output:
            for offset, box in _boxes(self.array, start, stop):
                np.copyto(scratch[offset : offset + box.size].reshape(box.shape), box, "unsafe")
        return scratch

    def store(self, start: int, stop: int, values: Array) -> None:
        """Write a piece back to where it belongs."""
        if self.output and self.flat is None:
            with np.errstate(over="ignore"):  # float16 has inf above 65504
                for offset, box in _boxes(self.array, start, stop):
                    np.copyto(box, values[offset : offset + box.size].reshape(box.shape), "unsafe")


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
    if not ordered and all(
        a is None or (a.flags.f_contiguous and not a.flags.c_contiguous) for a in arrays
    ):
        # Elementwise on Fortran order throughout: the transposes are contiguous.
        inputs = tuple((None if a is None else a.T, t) for a, t in inputs)
        outputs = tuple(None if a is None else a.T for a in outputs)
    made: list[_Operand | None] = []
    for array, wanted in inputs:
        made.append(None if array is None else _Operand(array, wanted, False, True))
    for array in outputs:
        # Kernels reading and writing one array would fall back to their scalar loop.
        made.append(None if array is None else _Operand(array, dtype, True, not aliased))
    return made


def _execute(
    team: Callable[..., None],
    operands: list[_Operand | None],
    options: Callable[[int, int], tuple[Any, ...]],
    n: int,
    unit: int = 64,
) -> None:
    """Run a kernel over all elements, piece by piece, on as many threads as pay.

    ``options(start, threads)`` gives the kernel's further arguments for the piece from `start`.
    Pieces and the parts that threads take start at multiples of `unit`.
    """
    direct = all(o is None or o.flat is not None for o in operands)
    threads = max(1, min(get_num_threads(), n // MIN_PER_THREAD)) if direct else 1
    slots = crew(threads)
    piece = PIECE * threads if direct else k.STRIP
    # A piece is whole units, and a unit that is larger (long rows) is a piece.
    piece = max(piece // unit * unit, unit)
    for start in range(0, n, piece):
        stop = min(start + piece, n)
        pieces = tuple(None if o is None else o.piece(start, stop) for o in operands)
        grain = grain_of(stop - start, unit, threads, k.STRIP // 4, 4 * k.STRIP)
        team(pieces, options(start, threads), stop - start, grain, slots, threads)
        for operand, values in zip(operands, pieces, strict=True):
            if operand is not None and values is not None:
                operand.store(start, stop, values)


def _no_options(start: int, threads: int) -> tuple[Any, ...]:
    return ()


def sigmoid(
    x: Array, out: Array, dtype: np.dtype[Any], plain: bool = False, aliased: bool = False
) -> None:
    """See :func:`fastbce._reference.sigmoid`."""
    if plain and x.size < SMALL:
        k.sigmoid_block(x.ravel(), out.ravel())
        return
    operands = _operands(((x, dtype),), (out,), dtype, False, aliased)
    _execute(k.sigmoid_team, operands, _no_options, x.size)


def sigmoid_backward(
    dvalues: Array,
    output: Array,
    out: Array,
    dtype: np.dtype[Any],
    plain: bool = False,
    aliased: bool = False,
) -> None:
    """See :func:`fastbce._reference.sigmoid_backward`."""
    if plain and output.size < SMALL:
        k.sigmoid_backward_block(dvalues.ravel(), output.ravel(), out.ravel())
        return
    inputs = ((dvalues, dtype), (output, dtype))
    operands = _operands(inputs, (out,), dtype, False, aliased)
    _execute(k.sigmoid_backward_team, operands, _no_options, output.size)


def clipped(
    y_pred: Array,
    y_true: Array,
    weight: Array | None,
    bounds: tuple[Any, Any],
    scale: float,
    loss: Array | None,
    grad: Array | None,
    dtype: np.dtype[Any],
    total: bool = False,
    samples: bool = False,
    plain: bool = False,
    aliased: bool = False,
) -> float | None:
    """See :func:`fastbce._reference.clipped`."""
    options = (bounds, dtype.type(scale))
    arrays = (y_pred, y_true, weight, loss, grad)
    return _reduce(_CLIPPED, options, arrays, dtype, total, samples, plain, aliased)


def logits(
    logits: Array,
    y_true: Array,
    weight: Array | None,
    scale: float,
    loss: Array | None,
    grad: Array | None,
    hess: Array | None,
    dtype: np.dtype[Any],
    total: bool = False,
    samples: bool = False,
    plain: bool = False,
    aliased: bool = False,
) -> float | None:
    """See :func:`fastbce._reference.logits`."""
    options = (dtype.type(scale),)
    arrays = (logits, y_true, weight, loss, grad, hess)
    return _reduce(_LOGITS, options, arrays, dtype, total, samples, plain, aliased)


def _reduce(
    family: _Family,
    options: tuple[Any, ...],
    arrays: tuple[Array | None, ...],
    dtype: np.dtype[Any],
    total: bool,
    samples: bool,
    plain: bool,
    aliased: bool,
) -> float | None:
    """Run one loss family: each element, their sum, or the means over the last axis."""
    scores, labels, weight, loss, *derivatives = arrays
    assert scores is not None and labels is not None
    n = scores.size
    if labels.dtype == np.bool_:
        # Bool has the layout of uint8: one compiled kernel serves both.
        labels = labels.view(np.uint8)
    if plain and n < SMALL and not samples:
        flat = [None if a is None else a.ravel() for a in derivatives]
        if not total:
            values = None if loss is None else loss.ravel()
            family.elements(scores.ravel(), labels.ravel(), None, values, *flat, *options)
            return None
        sums = np.zeros(-(-n // k.STRIP))
        scratch = (_scratch.work[dtype], _scratch.lanes)
        family.sums(
            0, 0, scores.ravel(), labels.ravel(), None, *flat, *options, sums, k.STRIP, *scratch
        )
        return float(sums[0]) if n <= k.STRIP else float(sums.cumsum()[-1])

    outputs = scores.shape[-1] if samples and loss is not None else 1
    if samples and loss is not None and outputs >= k.STRIP:
        # Rows longer than a strip are summed one by one, each by all threads.
        for row in np.ndindex(loss.shape):
            scores_row, labels_row, weight_row, *rest = (
                None if a is None else a[row] for a in (scores, labels, weight, *derivatives)
            )
            parts = (scores_row, labels_row, weight_row, None, *rest)
            value = _reduce(family, options, parts, dtype, True, False, plain, aliased)
            loss[row] = 0.0 if value is None else value / outputs
        return None

    native = labels.dtype.newbyteorder("=")
    inputs = (
        (scores, dtype),
        (labels, dtype if native == np.float16 else native),
        (weight, dtype),
    )
    targets = tuple(derivatives)
    if total:
        operands = _operands(inputs, targets, dtype, True, aliased)
        span = k.STRIP * -(-n // (k.STRIP * MAX_SPANS))
        partials = np.zeros(-(-n // span))

        def sum_options(start: int, threads: int) -> tuple[Any, ...]:
            work, lanes = np.empty((threads, 2, k.LANES), dtype), np.empty((threads, k.LANES))
            return (*options, partials[start // span :], span, work, lanes)

        _execute(family.sums_team, operands, sum_options, n, span)
        # cumsum adds one after the other, where sum() may change its order with the version
        return float(partials.cumsum()[-1])
    if outputs == 1:
        operands = _operands(inputs, (loss, *targets), dtype, False, aliased)
        _execute(family.team, operands, lambda start, threads: options, n)
        return None

    assert loss is not None
    operands = _operands(inputs, targets, dtype, True, aliased)
    # The means are few beside the elements: where they cannot be written in place, copy them.
    in_place = loss.flags.c_contiguous and loss.flags.aligned and loss.dtype == dtype
    means = loss.reshape(-1) if in_place else np.empty(loss.size, dtype)

    def row_options(start: int, threads: int) -> tuple[Any, ...]:
        work = np.empty((threads, max(k.LANES, outputs)), dtype)
        return (*options, means[start // outputs :], outputs, work)

    _execute(family.rows_team, operands, row_options, n, outputs)
    if not in_place:
        with np.errstate(over="ignore"):  # float16 has inf above 65504
            np.copyto(loss, means.reshape(loss.shape), "same_kind")
    return None
