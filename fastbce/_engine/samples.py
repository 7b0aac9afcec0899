"""The ``"numba"`` backend of the sums over samples of two classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbce._bfloat16 import as_bits
from fastbce._kernels import samples as k
from fastbce._kernels.reductions import LANES, STRIP
from fastbce._kernels.results import APART
from fastbce._typing import Array, Call, Sums

from .calls import Kernel, execute
from .team import team_of

# Bytes of probabilities that a thread must have to pay for its hand-over.
MIN_PER_THREAD = 3 << 15

_run = k.samples_run
_kernel = Kernel(_run, team_of(_run), takes_labels=True, ordered=True, mixes=True)


def sums(
    p: Array, y: Array, classes: tuple[Any, Any], weight: Array | None, eps: float | None
) -> Sums:
    """See :func:`fastbce._reference.samples.sums`."""
    dtype, both = np.dtype(np.float64 if p.dtype.itemsize == 8 else np.float32), None
    if p.ndim == 2:
        both = dtype.type(np.sqrt(np.finfo(p.dtype).eps))
        dtype = np.result_type(dtype, np.complex64)
        p = np.ascontiguousarray(p, both.dtype).view(dtype)[:, 0]
    y = as_bits(y)
    # Half floats are compared as what they are converted to, before the kernel.
    kind = p.real.dtype if y.dtype.itemsize == 2 and y.dtype.kind == "f" else y.dtype
    zero, one = np.array(classes).astype(kind.newbyteorder("="))
    bounds = None if eps is None else (eps, 1 - eps)
    partials = np.zeros((-(-len(p) // STRIP), k.COLUMNS))
    seen: list[Array] = []

    def options(start: int, threads: int, spaces: Array) -> tuple[object, ...]:
        seen.append(np.zeros((threads, APART), np.int64))
        lanes = np.empty((threads, k.COLUMNS, LANES + APART))
        return zero, one, both, bounds, partials[start // STRIP :], seen[-1], lanes

    call = Call((p, y, weight, None), (), dtype, out_given=False)
    execute(_kernel, options, call, MIN_PER_THREAD, STRIP)
    # One after the other: sum() may change its order with the version.
    total = partials.cumsum(axis=0)[-1].tolist()
    found = np.concatenate(seen).max(axis=0)
    return Sums(
        total[k.SQUARES],
        total[k.POSITIVES],
        float(len(p)) if weight is None else total[k.WEIGHTS],
        total[k.LOGS],
        is_sound=not found[k.WRONG],
        is_even=not found[k.UNEVEN],
    )
