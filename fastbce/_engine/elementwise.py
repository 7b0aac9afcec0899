"""The elementwise operations on kernels: which kernel, with which further arguments."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from operator import add
from typing import Any, NamedTuple

import numpy as np

from fastbce._bfloat16 import write
from fastbce._kernels.reductions import LANES, STRIP
from fastbce._kernels.results import APART
from fastbce._operations import Family, Operation
from fastbce._threads import get_num_threads
from fastbce._typing import Array, Call

from .calls import ALONE, NO_SPACES, PIECE, Kernel, entry_of, execute, plain_arrays
from .memory import empty as empty  # noqa: PLC0414 - makes the results of this backend
from .operands import WRITTEN, as_bits_of_halves, mismatch
from .team import team_of

# Bytes of scores that a thread must have to pay for its hand-over, 3-10 us of its time; light
# operations, a few multiplications per element, need more, and heavy ones less: 10^5 float64 focal
# losses one after the other took 600 us each on one thread, because so few bytes were no long call.
MIN_PER_THREAD, MIN_LIGHT_PER_THREAD, MIN_HEAVY_PER_THREAD = 3 << 15, 5 << 15, 3 << 13
# Bytes of scores that are a short call: less than what two threads must have.
SHORT = 2 * MIN_PER_THREAD
# Partial sums that Python adds up sooner than NumPy, which takes 2 us before the first.
FEW = 32
# Spans that are summed on their own: 2^15 float64 partial sums at most, 256 KiB.
MAX_SPANS = 1 << 15


class _Kernels(NamedTuple):
    """The kernels of one family."""

    elements: Kernel
    sums: Any = None
    """Of losses: for the sum of each span."""
    rows: Any = None
    """Of losses: for the means of rows."""
    block: Any = None
    """Of others: the bare loop."""


_kernels: dict[Family, _Kernels] = {}


def _kernels_of(family: Family) -> _Kernels:
    """Find the kernels of a family by their names."""
    if family.kin is not None:
        _kernels[family] = _kernels.get(family.kin) or _kernels_of(family.kin)
        return _kernels[family]
    module, labels = import_module(f"fastbce._kernels.{family.file}"), family.is_loss

    def kernel(kind: str) -> Kernel:
        run = getattr(module, f"{family.name}{kind}_run")
        return Kernel(run, team_of(run), takes_labels=labels, ordered=bool(kind))

    if labels:
        found = _Kernels(kernel(""), kernel("_sum"), kernel("_rows"))
    else:
        found = _Kernels(kernel(""), block=getattr(module, f"{family.name}_block"))
    _kernels[family] = found
    return found


class _Scratch(threading.local):
    """Each thread's last options of a run that sums: one span, whose sum nobody reads, and lanes.

    They are kept between calls: to make them anew costs a small call 0.6 us.
    """

    def __init__(self) -> None:
        partials, lanes = np.zeros(1), np.empty((1, LANES))
        self.of = {
            dtype: (NO_SPACES[dtype], partials, PIECE, np.empty((1, 2, LANES), dtype), lanes)
            for dtype in (np.dtype(np.float32), np.dtype(np.float64))
        }


_scratch = _Scratch()


def prepare(
    operation: Operation,
    dtype: np.dtype[Any],
    labels: np.dtype[Any],
    parameters: Callable[..., tuple[Any, ...]],
    losses: str,
) -> Callable[..., Any]:
    """Return ``call(scores, labels, scale, given=None)`` for plain calls of a loss in these dtypes.

    It computes what `compute` does with that scale and the further `parameters`, which take where
    bad labels are noted, but finds out nothing anew: 2 us less for a short call, 5 for a longer
    one. It makes the arrays that are not given, and returns the sum of the losses, None where that
    is no result, and the arrays; nothing at all if a label that is no float is bad.
    """
    kernels = _kernels.get(operation.family) or _kernels_of(operation.family)
    sums, each = losses == "sum", operation.returns_loss and losses == "none"
    count, after = operation.arrays + each, operation.after
    # What comes before the first array that is written, and between it and the others.
    before = (None, None) if each else (None, None, None, *operation.before)
    between = operation.before if each else ()
    spaces = (NO_SPACES[dtype],)
    looks, as_bytes, unseen = labels.kind != "f", labels.kind == "b", parameters()

    def call(x: Array, y: Array, scale: float, given: Any = None) -> Any:
        options: tuple[Any, ...] = (scale, *unseen)
        if looks:
            bad = np.zeros(1, np.int64)
            options = (scale, *parameters(bad))
            y = y.view(np.uint8) if as_bytes else y
        if x.nbytes >= SHORT:
            found = long(x, y, options, given)
        else:
            shape = x.shape
            if len(shape) > 1:
                x, y = x.ravel(), y.ravel()
            if len(x) != len(y):
                raise mismatch(x, y)
            options += _scratch.of[dtype] if sums else spaces
            if count == 1:  # a loop of one turn costs 0.2 us
                result = np.empty(shape, dtype) if given is None else given[0]
                flat = (x, y, *before, result.ravel(), *between, *after)
                found = run(0, 0, flat, options), (result,)
            else:
                results = given or ()
                if count and not results:
                    results = tuple([np.empty(shape, dtype) for _ in range(count)])
                flats = [a.ravel() for a in results] if count else ()
                flat = (x, y, *before, *flats[:1], *between, *flats[1:], *after)
                found = run(0, 0, flat, options), results
        return None if looks and bad[0] else found

    def long(x: Array, y: Array, options: tuple[Any, ...], given: Any) -> Any:
        results = given or tuple([empty(x.shape, dtype) for _ in range(count)])
        outputs = (*before[2:], *results[:1], *between, *results[1:], *after)
        record = Call((x, y, None, None), outputs, dtype, given is not None, plain=True)
        return compute(operation, record, options, losses), results

    x, last = np.empty(0, dtype), _scratch.of[dtype] if sums else spaces
    y = np.empty(0, np.uint8 if as_bytes else labels)
    further = parameters(np.zeros(1, np.int64)) if looks else unseen
    kernel = kernels.sums if sums else kernels.elements
    arrays = (x,) * count
    flat = (x, y, *before, *arrays[:1], *between, *arrays[1:], *after)
    run = entry_of(kernel.run, 0, 0, flat, (1.0, *further, *last))
    return call


def prepare_transform(operation: Operation, dtype: np.dtype[Any]) -> Callable[..., Any]:
    """Return ``call(*inputs, output)`` for short plain calls of an operation without labels."""
    kernels = _kernels.get(operation.family) or _kernels_of(operation.family)
    x = np.empty(0, dtype)
    block = entry_of(kernels.block, *(x,) * len(operation.family.arguments), x)

    # Not one function of any number of arrays: loops over two or three of them take 0.3 us.
    def one(x: Array, out: Array) -> None:
        if x.ndim > 1:
            x, out = x.ravel(), out.ravel()
        if len(x) != len(out):
            raise mismatch(x, out)
        block(x, out)

    def two(first: Array, x: Array, out: Array) -> None:
        if x.ndim > 1:
            first, x, out = first.ravel(), x.ravel(), out.ravel()
        if len(first) != len(x) or len(x) != len(out):
            raise mismatch(first, x, out)
        block(first, x, out)

    return one if len(operation.family.arguments) == 1 else two


def compute(
    operation: Operation, call: Call, parameters: tuple[Any, ...] = (), losses: str = "none"
) -> float | None:
    """See :func:`fastbce._reference.elementwise.compute`."""
    kernels = _kernels.get(operation.family) or _kernels_of(operation.family)
    if parameters and parameters[-1] is not None:
        kernels, parameters = _by_columns(kernels, call, parameters)
    least = MIN_LIGHT_PER_THREAD if operation.light else MIN_PER_THREAD
    least = MIN_HEAVY_PER_THREAD if operation.family.heavy else least
    inputs, outputs, dtype, _, plain, _ = call
    if losses == "samples" and inputs[0].shape[-1] == 1 and inputs[0].ndim > 1:
        losses = "none"  # the mean of one is itself
    if plain and losses != "samples" and _is_for_one(inputs[0], least):
        # At once: 1 us less than the way of all other calls, and 2.5 where the arrays push that out
        # of the cache (10^5 float32 gradients of a sigmoid: 17.6 us instead of 20.2).
        arrays = plain_arrays(*inputs, *outputs)
        if kernels.block is not None:
            kernels.block(*arrays)
            return None
        first = _from(0, parameters)
        if losses == "none":
            kernels.elements.run(0, 0, arrays, (*first, NO_SPACES[dtype]))
            return None
        total: float = kernels.sums.run(0, 0, arrays, (*first, *_scratch.of[dtype]))
        return total
    if losses == "sum":
        return _sum(kernels.sums, call, parameters, least)
    if losses == "samples":
        _row_means(kernels, call, parameters, least)
        return None
    if not plain and not operation.family.is_loss:
        call = as_bits_of_halves(call)

    def options(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
        return (*_from(start, parameters), spaces)

    execute(kernels.elements, options, call, least)
    return None


def _is_for_one(scores: Array, least: int) -> bool:
    """Tell whether a plain call is one thread's, in one piece."""
    return scores.nbytes < 2 * least or (scores.size <= ALONE and get_num_threads() == 1)


def _by_columns(
    kernels: _Kernels, call: Call, parameters: tuple[Any, ...]
) -> tuple[_Kernels, tuple[Any, ...]]:
    """Return kernels and parameters for a number for each column, the last parameter.

    It goes on behind its end, so that what follows any element's number lies in one piece.
    """
    row = np.asarray(parameters[-1], call.dtype)
    if len(row) > 1:
        # The numbers of the elements say in which column they are.
        kernels = kernels._replace(elements=kernels.elements._replace(ordered=True))
    return kernels, (*parameters[:-1], np.resize(row, 2 * len(row) + LANES))


def _from(start: int, parameters: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the parameters for a piece that starts with that element."""
    if not parameters or parameters[-1] is None:
        return parameters
    row = parameters[-1]
    columns = (len(row) - LANES) // 2
    column = start % columns
    return (*parameters[:-1], row[column : column + columns + LANES])


def _added_up(partials: Array) -> float:
    """Add partial sums one after the other, where sum() may change its order with the version."""
    if len(partials) <= FEW:
        total: float = reduce(add, partials.tolist())
        return total
    with np.errstate(all="ignore"):
        return float(partials.cumsum()[-1])


def _sum(kernel: Kernel, call: Call, parameters: tuple[Any, ...], least: int) -> float:
    """Return the sum of the losses; its order depends on their number alone."""
    n, dtype, width = call.inputs[0].size, call.dtype, LANES + APART
    span = STRIP * -(-n // (STRIP * MAX_SPANS))
    partials = np.zeros(-(-n // span))

    def options(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
        work, lanes = np.empty((threads, 2, width), dtype), np.empty((threads, width))
        first = _from(start, parameters)
        return (*first, spaces, partials[start // span :], span, work, lanes)

    execute(kernel, options, call, least, span)
    return _added_up(partials)


def _row_means(kernels: _Kernels, call: Call, parameters: tuple[Any, ...], least: int) -> None:
    """Write the means of the losses over the last axis."""
    scores, loss, dtype = call.inputs[0], call.outputs[0], call.dtype
    outputs = scores.shape[-1]
    if outputs >= STRIP:
        # Rows longer than a strip are summed one by one, each by all threads.
        for row in np.ndindex(loss.shape):
            inputs, results = ([None if a is None else a[row] for a in g] for g in call[:2])
            part = call._replace(inputs=tuple(inputs), outputs=(None, *results[1:]))
            total = _sum(kernels.sums, part, parameters, least)
            write(loss[(*row, ...)], total / outputs)
        return
    # The means are few beside the elements: where they cannot be written in place, copy them.
    written = loss.dtype if loss.dtype in WRITTEN else dtype
    in_place = loss.flags.c_contiguous and loss.flags.aligned and loss.dtype == written
    means = loss.reshape(-1) if in_place else np.empty(loss.size, written)

    def options(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
        work = np.empty((threads, max(LANES, outputs) + APART), dtype)
        rows = max(LANES // outputs, 1)
        first = _from(start, parameters)
        return (*first, spaces, means[start // outputs :], outputs, rows, work)

    part = call._replace(outputs=(None, *call.outputs[1:]))
    execute(kernels.rows, options, part, least, outputs, streams=False)
    if not in_place:
        write(loss, means.reshape(loss.shape))
