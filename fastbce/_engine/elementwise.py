"""The elementwise operations on kernels: which kernel, with which further arguments."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numpy as np

from fastbce._kernels import elementwise as k
from fastbce._operations import Operation
from fastbce._typing import Array, Call

from .calls import NO_SPACES, Kernel, execute, is_short, plain_arrays
from .team import APART

# Bytes of scores that a thread must have to pay for its hand-over, 3-10 us of its time; light
# operations, a few multiplications per element, need more.
MIN_PER_THREAD, MIN_LIGHT_PER_THREAD = 3 << 15, 5 << 15
# Spans that are summed on their own: 2^15 float64 partial sums at most, 256 KiB.
MAX_SPANS = 1 << 15


class _Kernels(NamedTuple):
    """The kernels of one family: each element, sums, means of rows."""

    elements: Kernel
    sums: Any = None
    rows: Any = None


_KERNELS = {
    "sigmoid": _Kernels(Kernel(k.sigmoid_run, k.sigmoid_team)),
    "sigmoid_backward": _Kernels(Kernel(k.sigmoid_backward_run, k.sigmoid_backward_team)),
    "clipped": _Kernels(
        Kernel(k.clipped_run, k.clipped_team, True, False),
        Kernel(k.clipped_sum_run, k.clipped_sum_team, True, True),
        Kernel(k.clipped_rows_run, k.clipped_rows_team, True, True),
    ),
    "logits": _Kernels(
        Kernel(k.logits_run, k.logits_team, True, False),
        Kernel(k.logits_sum_run, k.logits_sum_team, True, True),
        Kernel(k.logits_rows_run, k.logits_rows_team, True, True),
    ),
}


class _Scratch(threading.local):
    """Each thread's lanes, kept between calls: allocating them costs a small call 0.4 us."""

    def __init__(self) -> None:
        self.lanes = np.empty((1, k.LANES))
        self.work = {np.dtype(t): np.empty((1, 2, k.LANES), t) for t in (np.float32, np.float64)}


_scratch = _Scratch()


def compute(
    operation: Operation, call: Call, parameters: tuple[Any, ...] = (), losses: str = "none"
) -> float | None:
    """See :func:`fastbce._reference.elementwise.compute`."""
    kernels = _KERNELS[operation.family.name]
    least = MIN_LIGHT_PER_THREAD if operation.light else MIN_PER_THREAD
    if losses == "sum":
        return _sum(kernels.sums, call, parameters, least)
    if losses == "samples" and call.inputs[0].shape[-1] > 1:
        _row_means(kernels, call, parameters, least)
        return None
    if not call.plain and not operation.family.is_loss:
        call = _as_bits(call)
    if is_short(call, least):
        kernels.elements.run(0, 0, *plain_arrays(call), *parameters, NO_SPACES[call.dtype])
        return None
    execute(kernels.elements, lambda start, threads, spaces: (*parameters, spaces), call, least)
    return None


def _as_bits(call: Call) -> Call:
    """Return the call, with uint16 for float16 if all arrays are of that: so kernels take it."""
    inputs, outputs = call.inputs, call.outputs
    if any(a.dtype != np.float16 for a in (*inputs, *outputs)):
        return call
    return call._replace(
        inputs=tuple(a.view(np.uint16) for a in inputs),
        outputs=tuple(a.view(np.uint16) for a in outputs),
        dtype=np.dtype(np.uint16),
    )


def _sum(kernel: Kernel, call: Call, parameters: tuple[Any, ...], least: int) -> float:
    """Return the sum of the losses; its order depends on their number alone."""
    n, dtype = call.inputs[0].size, call.dtype
    span = k.STRIP * -(-n // (k.STRIP * MAX_SPANS))
    partials = np.zeros(-(-n // span))
    if is_short(call, least):
        sums = (partials, span, _scratch.work[dtype], _scratch.lanes)
        kernel.run(0, 0, *plain_arrays(call), *parameters, NO_SPACES[dtype], *sums)
    else:
        _share_sum(kernel, call, parameters, least, span, partials)
    # cumsum adds one after the other, where sum() may change its order with the version.
    return float(partials[0] if n <= span else partials.cumsum()[-1])


def _share_sum(
    kernel: Kernel,
    call: Call,
    parameters: tuple[Any, ...],
    least: int,
    span: int,
    partials: Array,
) -> None:
    dtype, width = call.dtype, k.LANES + APART

    def options(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
        work, lanes = np.empty((threads, 2, width), dtype), np.empty((threads, width))
        return (*parameters, spaces, partials[start // span :], span, work, lanes)

    execute(kernel, options, call, least, span)


def _row_means(kernels: _Kernels, call: Call, parameters: tuple[Any, ...], least: int) -> None:
    """Write the means of the losses over the last axis."""
    scores, loss, dtype = call.inputs[0], call.outputs[0], call.dtype
    outputs = scores.shape[-1]
    if outputs >= k.STRIP:
        # Rows longer than a strip are summed one by one, each by all threads.
        for row in np.ndindex(loss.shape):
            inputs, results = ([None if a is None else a[row] for a in g] for g in call[:2])
            part = call._replace(inputs=tuple(inputs), outputs=(None, *results[1:]))
            loss[row] = _sum(kernels.sums, part, parameters, least) / outputs
        return
    # The means are few beside the elements: where they cannot be written in place, copy them.
    in_place = loss.flags.c_contiguous and loss.flags.aligned and loss.dtype == dtype
    means = loss.reshape(-1) if in_place else np.empty(loss.size, dtype)

    def options(start: int, threads: int, spaces: Array) -> tuple[Any, ...]:
        work = np.empty((threads, max(k.LANES, outputs) + APART), dtype)
        return (*parameters, spaces, means[start // outputs :], outputs, work)

    part = call._replace(outputs=(None, *call.outputs[1:]), out_given=False)
    execute(kernels.rows, options, part, least, outputs)
    if not in_place:
        with np.errstate(over="ignore"):  # float16 has inf above 65504
            np.copyto(loss, means.reshape(loss.shape), "same_kind")
