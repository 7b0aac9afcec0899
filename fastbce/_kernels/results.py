"""Where loops write: results and parts of them, and large results on their way past the caches.

An ordinary store first reads the line that it changes: the sigmoid of a large float32 array moves
12 bytes an element where it needs 8. A non-temporal store of a whole line does not (2 x 10^7
elements on two threads: 2.9 ms instead of 3.6). So where the caches cannot keep a result anyway, a
loop writes a block into a *space* of its thread, 1 or 2 KiB, and `flush` takes that to its place
line by line. Until `fence` other threads may not see it.

A block's place seldom begins with a line. A line that two blocks share waits in the space for the
second one (written in two ordinary halves, it made all of this slower than ordinary stores), so the
block lies in the space as far from its beginning as its place lies in the line.

`spaces` is an array of shape (threads, PLACES, elements), of no threads where results are stored in
the ordinary way: small ones, and ones in memory that was just allocated, whose pages the system
clears through the caches.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .compile import INNER, point

PLACES = 4  # results of one loop: losses, gradient, Hessian, probabilities
LINE = 64  # bytes

# Elements of a result on their way past the caches (see results): many at a time keep the loads
# waiting, a few cost more instructions. Losses, gradients and Hessians of 2 x 10^7 float64 on two
# threads: 12.4 ms with 128, 12.8 with 256, 14.0 with 512, their arithmetic 11.0, 9.0 and 8.3.
SPACE = 256
# Elements between the scratch spaces of two threads: two cache lines of float32. Without them two
# threads take 5-10 % longer for a sum.
APART = 32


# Elsewhere such stores are not ordered as `fence` wants them, and nobody has measured them.
SUPPORTED = platform.machine() in ("x86_64", "AMD64")


def into(target: Any, source: Any) -> Any:
    """Return the array to write: `target`, or `source` where the target is True."""
    return source if target is True else target


@overload(into)
def _into_overload(target, source):
    if isinstance(target, types.Boolean):
        return lambda target, source: source
    return lambda target, source: target


def cut(a: Any, start: int, stop: int) -> Any:
    """Return ``a[start:stop]``; None and True, in place of an array, stay what they are."""
    return a if a is None or a is True else a[start:stop]


def part_of(context, builder, kind, value, start, length):
    """Emit ``value[start : start + length]``; an absent array stays absent."""
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.data = builder.gep(array.data, [start])
    array.nitems = length
    array.shape = cgutils.pack_array(builder, [length])
    return array._getvalue()


@intrinsic
def _cut_compiled(typing_context, a, start, stop):
    # Not written in Python: compiled that could not return an array (see OPTIONS), and an
    # absent one would have the type "array or None", for which every loop is compiled once more.
    def generate(context, builder, signature, args):
        value, start, stop = args
        return part_of(context, builder, a, value, start, builder.sub(stop, start))

    return a(a, types.intp, types.intp), generate


@point
def step_of(spaces: Any, most: Any) -> Any:
    """Return how many elements a loop handles at a time: as many as a space holds, or `most`."""
    return SPACE if spaces.shape[0] > 0 else max(most, 1)


@point
def _shift(address: int, size: int, start: int) -> int:
    """Return how many elements of the line in which element `start` lies are before it."""
    return int((address // size + start) % (LINE // size))


def stage(target: Any, spaces: Any, index: int, place: int, start: int, stop: int) -> Any:
    """Return where a loop writes elements `start` to `stop` of a result: a space, or the place."""
    if target is None or target is True:
        return target
    if len(spaces) == 0:
        return target[start:stop]
    shift = _shift(target.ctypes.data, target.itemsize, start)
    return spaces[index, place, shift : shift + stop - start]


@intrinsic
def _stage_compiled(typing_context, target, spaces, index, place, start, stop):
    # Not written in Python for the same reason as _cut_compiled.
    def generate(context, builder, signature, args):
        if not isinstance(target, types.Array):
            return args[0]
        array = context.make_array(target)(context, builder, args[0])
        all_spaces = context.make_array(spaces)(context, builder, args[1])
        threads, places, width = cgutils.unpack_tuple(builder, all_spaces.shape, 3)
        there = builder.gep(array.data, [args[4]])
        in_line = builder.and_(
            builder.ptrtoint(there, threads.type), ir.Constant(threads.type, LINE - 1)
        )
        size = ir.Constant(threads.type, target.dtype.bitwidth // 8)
        offset = builder.add(
            builder.mul(builder.add(builder.mul(args[2], places), args[3]), width),
            builder.udiv(in_line, size),
        )
        far = builder.icmp_signed(">", threads, ir.Constant(threads.type, 0))
        # Of another dtype than the spaces, a result has none to go through.
        space = builder.bitcast(builder.gep(all_spaces.data, [offset]), there.type)
        array.data = builder.select(far, space, there)
        array.nitems = builder.sub(args[5], args[4])
        array.shape = cgutils.pack_array(builder, [array.nitems])
        return array._getvalue()

    intp = types.intp
    return target(target, spaces, intp, intp, intp, intp), generate


def _copy_line(source: Any, i: int, target: Any, j: int) -> None:
    line = LINE // target.itemsize
    target[j : j + line] = source[i : i + line]


def _copying(past: bool) -> Any:
    @intrinsic
    def copy_line(typing_context, source, i, target, j):
        def generate(context, builder, signature, args):
            element = context.get_data_type(target.dtype)
            size = target.dtype.bitwidth // 8
            line = ir.VectorType(element, LINE // size)

            def pointer(kind, array, place):
                data = context.make_array(kind)(context, builder, array).data
                return builder.bitcast(builder.gep(data, [place]), line.as_pointer())

            value = builder.load(pointer(source, args[0], args[1]), align=size, typ=line)
            place = pointer(target, args[2], args[3])
            store = builder.store(value, place, align=LINE if past else size)
            if past:
                one = ir.Constant(ir.IntType(32), 1)
                store.set_metadata("nontemporal", builder.module.add_metadata([one]))
            return context.get_dummy_value()

        return types.void(source, types.intp, target, types.intp), generate

    return copy_line


def _fence() -> None:
    pass


@intrinsic
def _fence_compiled(typing_context):
    def generate(context, builder, signature, args):
        if SUPPORTED:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse.sfence", (), kind), [])
        return context.get_dummy_value()

    return types.void(), generate


if config.DISABLE_JIT:
    _store_line = _copy_line
else:
    cut, stage, _fence = _cut_compiled, _stage_compiled, _fence_compiled
    _copy_line, _store_line = _copying(False), _copying(True)


def _flushing(size: int) -> Any:
    """Return :func:`flush` for elements of so many bytes.

    The size is a constant to the compiler, and the loop is part of the kernel's own: divisions and
    a call for each block were a third of the time of float32 gradients and Hessians in the cache.
    """
    line = LINE // size

    def flush_array(target, spaces, index, place, start, stop, first, last):
        if spaces.shape[0] == 0:
            return
        space = spaces[index, place]
        shift = _shift(target.ctypes.data, size, start)
        there = start - shift  # the element of the target whose place in the space is 0
        i = 0
        if start == first and shift > 0:
            i = min(line, shift + stop - start)
            for j in range(shift, i):
                target[there + j] = space[j]
        while there + i + line <= stop:
            _store_line(space, i, target, there + i)
            i += line
        if stop == last:
            for j in range(i, stop - there):
                target[there + j] = space[j]
        else:
            _copy_line(space, i, space, 0)

    return flush_array


def flush(
    target: Any,
    spaces: Any,
    index: int,
    place: int,
    start: int,
    stop: int,
    first: int,
    last: int,
) -> None:
    """Take elements `start` to `stop` of a result from the space to their place.

    They are one of the blocks, all but the last whole lines long, of elements `first` to `last`,
    which must be flushed one after the other.
    """
    if target is not None and target is not True:
        _flushing(target.itemsize)(target, spaces, index, place, start, stop, first, last)


_INLINED: Any = {**INNER, "forceinline": True}


@overload(flush, jit_options=_INLINED)
def _flush_overload(target, spaces, index, place, start, stop, first, last):
    if not isinstance(target, types.Array):
        return lambda target, spaces, index, place, start, stop, first, last: None
    return _flushing(target.dtype.bitwidth // 8)


@point
def fence(spaces: Any) -> None:
    """Let every thread see what was flushed so far."""
    if spaces.shape[0] > 0:
        _fence()
