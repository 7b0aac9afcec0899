"""Handlers of XLA's foreign calls, compiled by Numba: no C++ and no interpreter in a call.

XLA passes a frame whose layout is that of ``xla/ffi/api/c_api.h``, major version 0: words of 64
bits with the arguments and results as buffers. A handler claims that version when XLA asks for it
at registration, and XLA refuses it if its own is another. All runs on the thread that calls.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

from fastbce._kernels.logits import logits_run, logits_sum_run
from fastbce._kernels.reductions import LANES
from fastbce._kernels.results import APART, PLACES, SPACE
from fastbce._kernels.sigmoid import sigmoid_run

# Words of XLA_FFI_CallFrame, of XLA_FFI_Buffer, of the extension that asks for the version, and of
# the metadata and the interface that hold one; a version is two halves of a word.
EXTENSION, INTERFACE, ARGUMENTS, RESULTS = 1, 2, 9, 14
DATA, RANK, DIMENSIONS = 3, 4, 5
KIND, METADATA = 1, 3
VERSION_ASKED, VERSION = 3, 4
MINOR = 0xFFFFFFFF00000000  # the major version is 0
ASKS_FOR_VERSION = 1


def _pointer_to(element: Any) -> Any:
    @intrinsic
    def convert(typing_context, address):
        def generate(context, builder, signature, arguments):
            kind = context.get_value_type(signature.return_type)
            return builder.inttoptr(arguments[0], kind)

        return types.CPointer(element)(types.int64), generate

    return convert


_words = _pointer_to(types.int64)
_data = {
    np.dtype(np.float32): _pointer_to(types.float32),
    np.dtype(np.float64): _pointer_to(types.float64),
}


@njit(error_model="numpy")
def _version(frame):
    """Answer the question for the version, if this is one."""
    if frame[EXTENSION] == 0:
        return False
    extension = _words(frame[EXTENSION])
    if extension[KIND] & 0xFFFFFFFF != ASKS_FOR_VERSION:
        return False
    _words(extension[METADATA])[VERSION_ASKED] = _words(frame[INTERFACE])[VERSION] & MINOR
    return True


@njit(error_model="numpy")
def _size(buffer):
    n = 1
    dimensions = _words(buffer[DIMENSIONS])
    for i in range(buffer[RANK]):
        n *= dimensions[i]
    return n


def _sigmoid(array: Any, dtype: Any) -> Any:
    @njit(error_model="numpy")
    def run(arguments, results):
        spaces = np.empty((0, PLACES, SPACE + 2 * APART), dtype)
        sigmoid_run(0, 0, (array(arguments[0]), array(results[0])), (spaces,))

    return run


def _loss(array: Any, dtype: Any, *, gradient: bool) -> Any:
    """Mean losses of rows, as many as there are losses, and the gradients of these means."""
    absent = (None, None)  # weights and a mask
    # Nothing to note in, none of the rules (ignore_index, smoothing, focus, counts), no pos_weight.
    plain = (None, (None, None, None, None), None)

    @njit(error_model="numpy")
    def run(arguments, results):
        z, y, loss = array(arguments[0]), array(arguments[1]), array(results[0])
        slopes = array(results[1]) if gradient else None
        spaces = np.empty((0, PLACES, SPACE + 2 * APART), dtype)
        if loss.size == z.size:
            logits_run(0, 0, (z, y, *absent, loss, None, slopes, None), (1.0, *plain, spaces))
            return
        columns = z.size // loss.size
        work, lanes, total = np.empty((1, 2, LANES), dtype), np.empty((1, LANES)), np.empty(1)
        for row in range(loss.size):
            s, e = row * columns, (row + 1) * columns
            part = slopes[s:e] if gradient else None
            total[0] = 0.0
            logits_sum_run(
                0,
                0,
                (z[s:e], y[s:e], *absent, None, None, part, None),
                (1.0 / columns, *plain, spaces, total, columns, work, lanes),
            )
            loss[row] = total[0] / columns

    return run


_RUNS: dict[str, Callable[[Any, Any], Any]] = {
    "sigmoid": _sigmoid,
    "loss": lambda array, dtype: _loss(array, dtype, gradient=False),
    "loss_gradient": lambda array, dtype: _loss(array, dtype, gradient=True),
}


# What XLA may call must not be freed.
_compiled: list[Any] = []


@cache
def handler(name: str, dtype: np.dtype[Any]) -> Any:
    """Return the handler of an operation as a function of C; it lives as long as the process."""
    pointer = _data[dtype]

    @njit(error_model="numpy")
    def array(address):
        buffer = _words(address)
        return carray(pointer(buffer[DATA]), _size(buffer))

    run = _RUNS[name](array, dtype.type)

    @cfunc(types.int64(types.CPointer(types.int64)), error_model="numpy")
    def handle(frame):
        if not _version(frame):
            run(_words(frame[ARGUMENTS]), _words(frame[RESULTS]))
        return 0

    _compiled.append(handle)
    function: Any = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    return function(handle.address)
