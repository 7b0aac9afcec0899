"""Waiting for another thread without the interpreter lock: two compiled functions.

A sleeping thread takes 30-60 us to wake up. A thread that has just worked therefore watches for the
next call for about that long before it sleeps, here, outside the interpreter lock.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic, overload

# Turns of the waiting loop before a thread goes to sleep: 50-100 us. Without the compiler the loop
# would hold the interpreter lock.
PATIENCE = 0 if config.DISABLE_JIT else 2000

# The instruction that tells a core it is waiting: less heat, and its twin thread goes first.
_PAUSE = "llvm.x86.sse2.pause" if platform.machine() in ("x86_64", "AMD64") else None


def _load(flags: Any, i: int) -> Any:
    return flags[i]


def _store(flags: Any, i: int, value: int) -> None:
    flags[i] = value


def _pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    flags = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.gep(flags.data, [args[1]])


@intrinsic
def _load_atomic(typing_context, flags, i):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        if _PAUSE:
            signature_of_pause = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic(_PAUSE, (), signature_of_pause), [])
        address = _pointer(context, builder, signature, args)
        return builder.load_atomic(address, ordering="acquire", align=8)

    return types.int64(flags, types.intp), generate


@intrinsic
def _store_atomic(typing_context, flags, i, value):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        address = _pointer(context, builder, signature, args)
        builder.store_atomic(args[2], address, ordering="release", align=8)
        return context.get_dummy_value()

    return types.void(flags, types.intp, types.int64), generate


@overload(_load)
def _load_overload(flags, i):  # type: ignore[no-untyped-def]
    return lambda flags, i: _load_atomic(flags, i)


@overload(_store)
def _store_overload(flags, i, value):  # type: ignore[no-untyped-def]
    return lambda flags, i, value: _store_atomic(flags, i, value)


@njit("int64(int64[::1], int64, int64, int64)", nogil=True, cache=True)
def await_flag(flags: Any, i: int, wanted: int, turns: int) -> int:
    """Wait until ``flags[i] >= wanted``, for so many turns at most; return its last value."""
    value = _load(flags, i)
    while value < wanted and turns > 0:
        value = _load(flags, i)
        turns -= 1
    return value


@njit("int64(int64[::1], int64, int64, int64, int64, int64)", nogil=True, cache=True)
def raise_and_await(
    flags: Any, mine: int, value: int, theirs: int, wanted: int, turns: int
) -> int:
    """Set ``flags[mine]`` once the interpreter lock is released, then wait as `await_flag` does."""
    _store(flags, mine, value)
    return await_flag(flags, theirs, wanted, turns)
