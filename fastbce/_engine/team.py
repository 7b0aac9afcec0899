"""A team of threads that shares a compiled loop without the interpreter lock.

A function made by :func:`sharing`, called in compiled code, puts a job on the caller's stack: a
counter of parts given out, the arguments, and a compiled function that takes parts of the arrays
and calls the kernel with them until none is left: the caller from the front, workers from the end,
so that each finds again what its core had in its cache after the last call on the same arrays (10^6
float64 clipped gradients on two threads: 115 us instead of 135). The caller offers
the job to each idle worker, runs the same function itself, withdraws the offers that nobody took,
and waits for the workers that did. A call therefore never waits for a thread that is asleep or busy
with somebody else, and any number of callers may use the team at once.

A worker's slot is one word: a small state, or the address of a job with its lowest bits set to
OFFERED. The only transitions are compare-and-swap::

    IDLE -> offered -> RUNNING -> IDLE      a job is taken and done
            offered -> IDLE                 the caller withdraws it
    IDLE -> ASLEEP -> WAKING -> IDLE        after PATIENCE turns without a job; see workers

Hand-over takes about 1 us while a worker watches its slot, where a thread pool in Python takes
20-90 us: each of its steps waits for the interpreter lock, and a waiting thread is put to sleep.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastbce._kernels.compile import kernel

IDLE, OFFERED, RUNNING, ASLEEP, WAKING, ABSENT, STOP = 0, 2, 3, 4, 5, 6, 7
SLOT = 16  # words from one slot to the next: two cache lines, which are fetched in pairs
WORKERS = 63  # slots of a team
# Elements between the scratch spaces of two threads: two cache lines of float32. Without them two
# threads take 5-10 % longer for a sum.
APART = 32

# Turns of the waiting loop before a worker goes to sleep, about 100 us.
PATIENCE = 4000

COMPILED = not config.DISABLE_JIT

# The instruction that tells a core it is waiting: less heat, and its twin thread goes first.
_PAUSE = "llvm.x86.sse2.pause" if platform.machine() in ("x86_64", "AMD64") else None

_WORD = ir.IntType(64)


@intrinsic
def _load(typing_context, address):
    def generate(context, builder, signature, args):
        if _PAUSE:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic(_PAUSE, (), kind), [])
        pointer = builder.inttoptr(args[0], _WORD.as_pointer())
        return builder.load_atomic(pointer, ordering="acquire", align=8)

    return types.int64(types.int64), generate


@intrinsic
def _store(typing_context, address, value):
    def generate(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], _WORD.as_pointer())
        builder.store_atomic(args[1], pointer, ordering="release", align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _swap(typing_context, address, old, new):
    """Compare and swap; tell whether the word was `old` and is now `new`."""

    def generate(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], _WORD.as_pointer())
        pair = builder.cmpxchg(pointer, args[1], args[2], "acq_rel", "acquire")
        return builder.extract_value(pair, 1)

    return types.boolean(types.int64, types.int64, types.int64), generate


@intrinsic
def _run_job(typing_context, job, worker):
    """Call the function whose address is the job's first word; `worker` is 0 for the caller."""

    def generate(context, builder, signature, args):
        function = ir.FunctionType(ir.VoidType(), [_WORD, _WORD]).as_pointer()
        address = builder.load(builder.inttoptr(args[0], _WORD.as_pointer()))
        builder.call(builder.inttoptr(address, function), [args[0], args[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


# Words of a job, before its arguments.
_FUNCTION, _TAKEN, _FROM_END, _ENTERED, _FINISHED, _TOTAL, _GRAIN, _ARGUMENTS = range(8)


@njit(nogil=True)
def _work_together(job: int, slots: Any, threads: int) -> None:
    base = slots.ctypes.data
    offered = 0  # bit w: the job was offered to worker w
    count = 0
    for w in range(WORKERS):
        if count >= threads - 1:
            break
        slot = base + 8 * SLOT * w
        if _swap(slot, IDLE, job + OFFERED) or _swap(slot, WAKING, job + OFFERED):
            offered |= 1 << w
            count += 1
    _run_job(job, 0)
    for w in range(WORKERS):
        if offered >> w & 1 and _swap(base + 8 * SLOT * w, job + OFFERED, IDLE):
            count -= 1
    while _load(job + 8 * _FINISHED) <= count:  # the caller counts as one
        pass


@kernel
def serve(slots: Any, worker: int, patience: int) -> int:
    """Do the jobs offered in a worker's slot; return when it is ASLEEP or told to STOP."""
    slot = slots.ctypes.data + 8 * SLOT * worker
    turns = patience
    while True:
        state = _load(slot)
        if state == STOP:
            return STOP
        if state == WAKING:
            _swap(slot, WAKING, IDLE)
        elif state & 7 == OFFERED:
            if _swap(slot, state, RUNNING):
                _run_job(state - OFFERED, 1)
                _store(slot, IDLE)
            turns = patience
        else:
            turns -= 1
            if turns < 0 and _swap(slot, IDLE, ASLEEP):
                return ASLEEP


def cut(a: Any, start: int, stop: int) -> Any:
    """Return ``a[start:stop]``; None and True, in place of an array, stay what they are."""
    return a if a is None or a is True else a[start:stop]


def _part(context, builder, kind, value, start, length):
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
    # Not written in Python: compiled that could not return an array (see compile.OPTIONS), and an
    # absent one would have the type "array or None", for which every loop is compiled once more.
    def generate(context, builder, signature, args):
        value, start, stop = args
        return _part(context, builder, a, value, start, builder.sub(stop, start))

    return a(a, types.intp, types.intp), generate


if COMPILED:
    cut = _cut_compiled


def sharing(kernel: Callable[..., None]) -> Callable[..., None]:
    """Return ``share(arrays, options, n, grain, slots, threads)``, for use in compiled code.

    It calls ``kernel(index, start, *parts, *options)`` for consecutive parts of the arrays (1-D, of
    `n` elements, or None), cut at multiples of `grain`, on at most so many threads. `index`, below
    `threads`, is the thread's own during the call, the place of its scratch space; `start` is the
    number of the first element.

    The kernel is bound here because Numba does not cache code that holds a function as a value.
    """

    def share(
        arrays: tuple[Any, ...],
        options: tuple[Any, ...],
        n: int,
        grain: int,
        slots: Any,
        threads: int,
    ) -> None:
        for start in range(0, n, grain):
            parts = [cut(a, start, start + grain) for a in arrays]
            kernel(0, start, *parts, *options)

    @intrinsic
    def share_compiled(typing_context, arrays, options, n, grain, slots, threads):
        kernel_type = typing_context.resolve_value_type(kernel)
        kernel_signature = typing_context.resolve_function_type(
            kernel_type, (types.int64, types.int64, *arrays.types, *options.types), {}
        )

        def generate(context, builder, signature, values):
            arguments = [
                *cgutils.unpack_tuple(builder, values[0]),
                *cgutils.unpack_tuple(builder, values[1]),
            ]
            job_type = ir.LiteralStructType([_WORD] * _ARGUMENTS + [a.type for a in arguments])
            function = _job_function(
                context, builder, kernel_type, kernel_signature, job_type, arrays.types
            )
            job = cgutils.alloca_once(builder, job_type)
            address = builder.ptrtoint(function, _WORD)
            words = (address, *[_WORD(0)] * 4, values[2], values[3])
            for place, value in enumerate((*words, *arguments)):
                builder.store(value, cgutils.gep_inbounds(builder, job, 0, place))
            context.compile_internal(
                builder,
                lambda job, slots, threads: _work_together(job, slots, threads),  # noqa: PLW0108
                types.void(types.int64, slots, types.int64),
                (builder.ptrtoint(job, _WORD), values[4], values[5]),
            )
            return context.get_dummy_value()

        return types.void(arrays, options, n, grain, slots, threads), generate

    return share_compiled if COMPILED else share


def _job_function(context, builder, kernel, kernel_signature, job_type, array_types):
    """Emit ``void f(job, worker)``: take parts and call the kernel until the job has none left."""
    result = kernel.dispatcher.get_compile_result(kernel_signature)
    context.active_code_library.add_linking_library(result.library)
    module = builder.module
    callee = context.declare_function(module, result.fndesc)
    name = module.get_unique_name(f"{builder.function.name}.job")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_WORD, _WORD]), name)
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block("entry"))
    job = b.inttoptr(function.args[0], job_type.as_pointer())
    worker = function.args[1]

    def word(place: int) -> Any:
        return cgutils.gep_inbounds(b, job, 0, place)

    total, step = b.load(word(_TOTAL)), b.load(word(_GRAIN))
    parts = b.sdiv(b.add(total, b.sub(step, _WORD(1))), step)
    arguments = [b.load(word(i)) for i in range(_ARGUMENTS, len(job_type.elements))]
    is_caller = b.icmp_signed("==", worker, _WORD(0))
    front = cgutils.alloca_once_value(b, _WORD(0))
    entered = b.atomic_rmw("add", word(_ENTERED), worker, "monotonic")
    index = b.select(is_caller, _WORD(0), b.add(entered, _WORD(1)))
    take = function.append_basic_block("take")
    do = function.append_basic_block("do")
    done = function.append_basic_block("done")
    b.branch(take)
    b.position_at_end(take)
    taken = b.atomic_rmw("add", word(_TAKEN), _WORD(1), "monotonic")
    b.cbranch(b.icmp_signed("<", taken, parts), do, done)
    b.position_at_end(do)
    behind = b.atomic_rmw("add", word(_FROM_END), worker, "monotonic")
    ahead = b.load(front)
    b.store(b.add(ahead, _WORD(1)), front)
    part = b.select(is_caller, ahead, b.sub(b.sub(parts, _WORD(1)), behind))
    start = b.mul(part, step)
    end = b.add(start, step)
    stop = b.select(b.icmp_signed("<", end, total), end, total)
    length = b.sub(stop, start)
    values = [index, start]
    for kind, value in zip(array_types, arguments, strict=False):
        values.append(_part(context, b, kind, value, start, length))
    values += arguments[len(array_types) :]
    # Kernels do not raise, so the status of the call is not looked at.
    context.call_conv.call_function(
        b, callee, kernel_signature.return_type, kernel_signature.args, values
    )
    b.branch(take)
    b.position_at_end(done)
    b.atomic_rmw("add", word(_FINISHED), _WORD(1), "release")
    b.ret_void()
    return function
