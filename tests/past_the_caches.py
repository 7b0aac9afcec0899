"""Call every function with ordinary stores and with stores past the caches, for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

import fastbce
from fastbce._engine import calls, elementwise
from fastbce._kernels import results as _stores

Array = Any
GUARD = 80  # elements before and behind a result, two lines and more
LOSSES: tuple[tuple[Any, int], ...] = (
    (fastbce.bce_gradient, 1),
    (fastbce.bce_with_logits_gradient, 1),
    (fastbce.bce_with_logits_gradient_hessian, 2),
)


@contextmanager
def shared(past: bool) -> Iterator[None]:
    """Let two threads share every call, and write past the caches or not."""
    least: dict[str, Any] = {"MIN_PER_THREAD": 0, "MIN_LIGHT_PER_THREAD": 0}
    changed: dict[str, Any] = {
        "FAR": 0,
        "SUPPORTED": True,
        "threads_for": lambda *_: 2,
        "grain_of": lambda n, unit, threads, strip: max(unit, strip),
    }
    with (
        mock.patch.multiple(elementwise, **least),
        mock.patch.multiple(calls, **changed),
        mock.patch.object(calls.Stores, "past", return_value=past),
    ):
        yield


def guarded(n: int, dtype: Any, offset: int) -> tuple[Array, Array]:
    """Return an array of `n` elements, so many behind a line's begin, and the memory around it."""
    memory = np.full(n + 4 * GUARD, 9, dtype)
    line = _stores.LINE // memory.itemsize
    start = GUARD + (-(memory.ctypes.data // memory.itemsize + GUARD)) % line + offset
    return memory[start : start + n], memory[start - GUARD : start + n + GUARD]


def results(scores: Array, soft: Array, offset: int) -> list[bytes]:
    """Return what every function writes, with the memory around, where `out` is given."""
    found: list[Array] = []
    n, dtype = scores.size, scores.dtype

    def places(count: int) -> tuple[Array, ...]:
        # The second result lies elsewhere in its line than the first.
        made = [guarded(n, dtype, offset + i) for i in range(count)]
        found.extend(memory for _, memory in made)
        return tuple(place for place, _ in made)

    fastbce.sigmoid(scores, out=places(1)[0])
    fastbce.sigmoid_backward(scores, soft, out=places(1)[0])
    for x in (scores, scores.copy()):
        found += [fastbce.sigmoid(x, out=x)]
    if dtype == np.float16:
        return [array.tobytes() for array in found]
    late = (scores > 0).astype(dtype)
    late[-1:] = 0.5  # its strip is done over
    for labels in (scores > 0, soft, late):
        for weight in (None, soft):
            for reduction in ("mean", "none"):
                options: dict[str, Any] = {"sample_weight": weight, "reduction": reduction}
                for function, count in LOSSES:
                    out = places(count)
                    function(soft, labels, out=out if count > 1 else out[0], **options)
                for both in (fastbce.bce_loss_gradient, fastbce.bce_with_logits_loss_gradient):
                    if reduction == "mean":
                        found.append(both(soft, labels, out=places(1)[0], **options)[0])
                    else:
                        both(soft, labels, out=places(2), **options)
        x = soft.copy()
        found += fastbce.bce_with_logits_loss_gradient(x, labels, out=x)
    return [np.asarray(array).tobytes() for array in found]


def check_past_the_caches(dtype: Any, n: int, offset: int) -> None:
    """Raise unless both ways to store give the same bits."""
    rng = np.random.default_rng(n)
    scores, soft = rng.normal(0, 5, n).astype(dtype), rng.random(n).astype(dtype)
    written = []
    for past in (False, True):
        with shared(past), np.errstate(all="ignore"):
            written.append(results(scores.copy(), soft, offset))
    assert written[0] == written[1]
