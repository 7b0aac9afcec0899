"""A team of threads that shares a compiled loop without the interpreter lock.

A function made by :func:`team_of` puts a job on the caller's stack: a
counter of parts given out, the arguments, and a compiled function that takes parts of the arrays
and calls a run with them until none is left: the caller from the front, workers from the end,
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
from fastbce._kernels.results import cut, part_of

IDLE, OFFERED, RUNNING, ASLEEP, WAKING, ABSENT, STOP = 0, 2, 3, 4, 5, 6, 7
SLOT = 16  # words from one slot to the next: two cache lines, which are fetched in pairs
WORKERS = 63  # slots of a team
# Words beside the first slot: the addresses of GOMP_parallel and omp_get_thread_num where the
# threads are an OpenMP runtime's, else 0.
PARALLEL, NUMBER = 1, 2
# Turns of the waiting loop before a worker goes to sleep, about 100 us.
PATIENCE = 4000

COMPILED = not config.DISABLE_JIT

_X86 = platform.machine() in ("x86_64", "AMD64")
# The instruction that tells a core it is waiting: less heat, and its twin thread goes first.
_PAUSE = "llvm.x86.sse2.pause" if _X86 else None

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


@intrinsic
def _run_region(typing_context, parallel, job):
    """Call GOMP_parallel(entry, job, 0, 0): the runtime's whole team calls the entry, and waits.

    A team of another size than the last one would end threads and start others. So those that the
    job has no use for enter it too, and leave at once.
    """

    def generate(context, builder, signature, args):
        void, i32 = ir.VoidType(), ir.IntType(32)
        entry = _entry_function(builder)
        kind = ir.FunctionType(void, [entry.type, _WORD, i32, i32]).as_pointer()
        builder.call(builder.inttoptr(args[0], kind), [entry, args[1], i32(0), i32(0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _entry_function(builder):
    """Emit ``void entry(job)``, which a thread of an OpenMP team calls."""
    module = builder.module
    name = module.get_unique_name(f"{builder.function.name}.entry")
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [_WORD]), name)
    function.linkage = "internal"
    b = ir.IRBuilder(function.append_basic_block("entry"))
    job = function.args[0]

    def word(place: int) -> Any:
        return b.load(b.inttoptr(b.add(job, _WORD(8 * place)), _WORD.as_pointer()))

    number_of = ir.FunctionType(ir.IntType(32), []).as_pointer()
    number = b.zext(b.call(b.inttoptr(word(_NUMBER), number_of), []), _WORD)
    with b.if_then(b.icmp_signed("<", number, word(_THREADS))):
        job_function = ir.FunctionType(ir.VoidType(), [_WORD, _WORD]).as_pointer()
        is_worker = b.zext(b.icmp_signed("!=", number, _WORD(0)), _WORD)
        b.call(b.inttoptr(word(_FUNCTION), job_function), [job, is_worker])
    b.ret_void()
    return function


# Words of a job, before its arguments.
_FUNCTION, _TAKEN, _FROM_END, _ENTERED, _FINISHED, _NUMBER, _THREADS = range(7)
_TOTAL, _GRAIN, _CONTROL, _ARGUMENTS = range(7, 11)


def _control(builder):
    """Emit a read of how this thread rounds, and whether subnormal numbers count as 0."""
    if not _X86:
        return _WORD(0)
    place = cgutils.alloca_once(builder, ir.IntType(32))
    _call_with(builder, "llvm.x86.sse.stmxcsr", place)
    return builder.zext(builder.load(place), _WORD)


def _set_control(builder, value):
    """Emit the opposite: a thread has the setting of its maker, another one than the caller's."""
    if _X86:
        place = cgutils.alloca_once(builder, ir.IntType(32))
        builder.store(builder.trunc(value, ir.IntType(32)), place)
        _call_with(builder, "llvm.x86.sse.ldmxcsr", place)


def _call_with(builder, intrinsic, place):
    address = cgutils.voidptr_t
    kind = ir.FunctionType(ir.VoidType(), [address])
    function = builder.module.declare_intrinsic(intrinsic, (), kind)
    builder.call(function, [builder.bitcast(place, address)])


@njit(nogil=True)
def _work_together(job: int, slots: Any, threads: int) -> None:
    if slots[PARALLEL] != 0 and threads > 1:
        _store(job + 8 * _NUMBER, slots[NUMBER])
        _store(job + 8 * _THREADS, threads)
        _run_region(slots[PARALLEL], job)
        return
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


def team_of(run: Any, decorate: Callable[..., Any] = kernel) -> Any:
    """Return ``team(arrays, options, n, grain, slots, threads)``, which shares a run among threads.

    It calls ``run(thread, first, parts, options)`` for consecutive parts of the arrays (1-D, of `n`
    elements, or absent), cut at multiples of `grain`, on at most so many threads. `thread`, below
    `threads`, is the thread's own during the call, the place of its scratch space; `first` is the
    number of the first element.
    """
    # The run is bound here because Numba does not cache code that holds a function as a value.
    share = _sharing(run)

    def team(arrays: Any, options: Any, n: Any, grain: Any, slots: Any, threads: Any) -> None:
        share(arrays, options, n, grain, slots, threads)

    # The cache on disk goes by names.
    team.__name__ = team.__qualname__ = run.__name__.removesuffix("_run") + "_team"
    return decorate(team)


def _sharing(run: Callable[..., None]) -> Callable[..., None]:
    def share(
        arrays: tuple[Any, ...],
        options: tuple[Any, ...],
        n: int,
        grain: int,
        slots: Any,
        threads: int,
    ) -> None:
        for start in range(0, n, grain):
            run(0, start, tuple([cut(a, start, start + grain) for a in arrays]), options)

    @intrinsic
    def share_compiled(typing_context, arrays, options, n, grain, slots, threads):
        run_type = typing_context.resolve_value_type(run)
        run_signature = typing_context.resolve_function_type(
            run_type, (types.int64, types.int64, arrays, options), {}
        )

        def generate(context, builder, signature, values):
            arguments = [
                *cgutils.unpack_tuple(builder, values[0]),
                *cgutils.unpack_tuple(builder, values[1]),
            ]
            job_type = ir.LiteralStructType([_WORD] * _ARGUMENTS + [a.type for a in arguments])
            function = _job_function(context, builder, run_type, run_signature, job_type)
            job = cgutils.alloca_once(builder, job_type)
            address = builder.ptrtoint(function, _WORD)
            words = (address, *[_WORD(0)] * (_TOTAL - 1), values[2], values[3], _control(builder))
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


def _job_function(context, builder, run, signature, job_type):
    """Emit ``void f(job, worker)``: take parts and call the run until the job has none left."""
    result = run.dispatcher.get_compile_result(signature)
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
    usual = _control(b)
    _set_control(b, b.load(word(_CONTROL)))
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
    arrays, options = signature.args[2:]
    taken_parts = [
        part_of(context, b, kind, value, start, length)
        for kind, value in zip(arrays, arguments, strict=False)
    ]
    values = (
        index,
        start,
        context.make_tuple(b, arrays, taken_parts),
        context.make_tuple(b, options, arguments[len(arrays) :]),
    )
    # Kernels do not raise, so the status of the call is not looked at.
    context.call_conv.call_function(b, callee, signature.return_type, signature.args, values)
    b.branch(take)
    b.position_at_end(done)
    _set_control(b, usual)
    b.atomic_rmw("add", word(_FINISHED), _WORD(1), "release")
    b.ret_void()
    return function
