"""The arrays of a call as the kernels take them: flat and contiguous, whole or piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbce._bfloat16 import bfloat16, numbers, write
from fastbce._kernels.float16 import convert_block
from fastbce._outputs import overlap
from fastbce._typing import Array, Call

# Kernels write these dtypes whatever they compute in.
WRITTEN = frozenset((np.dtype(np.float32), np.dtype(np.float64)))
# Which integers stand for the bits of a float that Numba does not have.
BITS = {np.dtype(np.float16): np.dtype(np.uint16), bfloat16: np.dtype(np.int16)}
# A flat array, None where it is absent, or True for the first input written over.
Flat = Any


class ArrayInterface:
    """Hand an array's memory to NumPy again, declared writable."""

    def __init__(self, array: Array) -> None:
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface
        self.owner = array


class Operand:
    """One array of a call: its contiguous pieces, directly or through scratch space.

    An output is direct where it is `source`, the first input, in one piece: True stands for it.
    Any other output that is also an input goes through scratch space: a kernel that reads and
    writes one array under two names falls back to its scalar loop.
    """

    def __init__(
        self,
        array: Array,
        dtype: np.dtype[Any],
        source: Operand | None = None,
        *,
        output: bool = False,
    ) -> None:
        self.array = array
        self.output = output
        self.dtype = dtype
        self.flat = self._contiguous() if array.dtype == dtype else None
        # Numba's conversion of short floats takes a tenth of NumPy's time, but needs one piece.
        half = array.dtype in BITS and dtype in WRITTEN
        self.half = self._contiguous() if half else None
        if source is not None and self.flat is not None:
            same = array.ctypes.data == source.array.ctypes.data
            self.flat = True if same and source.flat is not None else None

    def _contiguous(self) -> Flat:
        a = self.array
        a = a.view(BITS[a.dtype]) if a.dtype in BITS else a
        if not (a.flags.c_contiguous and a.flags.aligned):
            return None
        if not a.flags.writeable:
            # Numba compiles every kernel anew for read-only arrays; inputs are never written to.
            a = np.asarray(ArrayInterface(a))
        return a.reshape(-1)

    def piece(self, start: int, stop: int) -> Flat:
        """Return elements start to stop, contiguous and in the kernel's dtype."""
        if self.flat is not None:
            return cut_flat(self.flat, start, stop)
        scratch = np.empty(stop - start, self.dtype)
        if self.output:
            return scratch
        if self.half is not None:
            convert_block(self.half[start:stop], scratch)
            return scratch
        with np.errstate(all="ignore"):  # weights may have a wider range than the kernel's dtype
            for offset, box in _boxes(self.array, start, stop):
                values = numbers(box, self.dtype) if box.dtype == bfloat16 else box
                np.copyto(scratch[offset : offset + box.size].reshape(box.shape), values, "unsafe")
        return scratch

    def store(self, start: int, stop: int, values: Flat) -> None:
        """Write a piece back to where it belongs."""
        if not self.output or self.flat is not None or not isinstance(values, np.ndarray):
            return
        if self.half is not None:
            convert_block(values, self.half[start:stop])
            return
        for offset, box in _boxes(self.array, start, stop):
            write(box, values[offset : offset + box.size].reshape(box.shape))


def mismatch(*arrays: Flat) -> RuntimeError:
    """Return the error for arrays of one call that differ: kernels take their sizes on trust."""
    shapes = [a.shape for a in arrays if isinstance(a, np.ndarray)]
    return RuntimeError(f"the arrays of one call differ, nothing was computed: shapes {shapes}")


def as_bits_of_halves(call: Call) -> Call:
    """Return the call with bits, which kernels take, if all arrays are of one half float."""
    inputs, outputs = call.inputs, call.outputs
    half = inputs[0].dtype
    if half not in BITS or any(a.dtype != half for a in (*inputs, *outputs)):
        return call
    return call._replace(
        inputs=tuple(a.view(BITS[half]) for a in inputs),
        outputs=tuple(a.view(BITS[half]) for a in outputs),
        dtype=BITS[half],
    )


def cut_flat(flat: Flat, start: int, stop: int) -> Flat:
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


def _written(array: Array, call: Call) -> np.dtype[Any]:
    """Return the dtype in which a kernel writes an output."""
    return array.dtype if array.dtype in WRITTEN else call.dtype


def operands(call: Call, *, takes_labels: bool, ordered: bool, mixes: bool) -> list[Operand | None]:
    """Return the arrays of a call, inputs and outputs, as a kernel can take them."""
    inputs, outputs = call.inputs, call.outputs
    if len({a.size for a in (*inputs, *outputs) if a is not None}) != 1:
        raise mismatch(*inputs, *outputs)
    reads = [call.dtype] * len(inputs)
    if takes_labels:
        native = inputs[1].dtype.newbyteorder("=")
        reads[1] = call.dtype if native in BITS else native
        reads[3] = np.dtype(np.uint8)  # of the mask
    if mixes and inputs[2] is not None:
        reads[2] = inputs[2].dtype if inputs[2].dtype in WRITTEN else np.dtype(np.float64)
    if not ordered and all(a is None or a.flags.fnc for a in (*inputs, *outputs)):
        # Elementwise on Fortran order throughout: the transposes are contiguous.
        inputs = tuple(None if a is None else a.T for a in inputs)
        outputs = tuple(None if a is None else a.T for a in outputs)
    made = [
        None if a is None else Operand(a, wanted) for a, wanted in zip(inputs, reads, strict=True)
    ]
    for a in outputs:
        shared = call.aliased and a is not None and any(overlap(a, source) for source in inputs)
        source = made[0] if shared else None
        made.append(None if a is None else Operand(a, _written(a, call), source, output=True))
    return made
