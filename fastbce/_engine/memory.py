"""Memory for large results, used again once nobody holds a result in it any more.

The system clears every page of fresh memory when it is first written, and that takes two to three
times as long as a kernel. So a large result lies in a block that is kept, and its base is a loan of
that block: whatever is made of the result (views, buffers, tensors) holds the result, and with it
the loan. A block whose loan has ended is free. Nothing runs when a loan ends, so that no
interrupt is lost there, and nothing is locked: callers on other threads, a signal's handler or a
forked child find a list of blocks in one state or another, and all of them are right.
"""

from __future__ import annotations

import math
import os
import weakref
from typing import Any

import numpy as np

from fastbce._limits import usable_memory
from fastbce._settings import settings
from fastbce._typing import Array

# Bytes from which on a result lies in a block, which costs it 1.5 us more than np.empty.
LEAST = 1 << 18
# At most so many blocks are kept, and no more than this part of the memory.
BLOCKS, SHARE = 16, 16
# Blocks begin with a page. Loads from an address that was just written, in the lower 12 bits alone,
# wait: float64 sigmoids took 20 % longer where results began 48 bytes further in a page than the
# input, as NumPy's large arrays do behind 16 bytes of the allocator's.
PAGE = 1 << 12

_Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class _Memory(_Bytes):
    """The memory of a block.

    A new array looks for its base behind arrays of its own class: not behind a loan whose base is
    of another class than both.
    """


class _Loan(_Bytes):
    """A block's memory while results lie in it."""

    # Whoever follows bases to their end stops here, at an array that keeps the loan.
    base = None


class _Block:
    """Memory and the loan of it that was made last; free if that has ended."""

    __slots__ = ("loan", "memory", "size")

    def __init__(self, size: int) -> None:
        memory = np.empty(size + PAGE, np.uint8)
        start = -memory.ctypes.data % PAGE
        self.memory = memory[start : start + size].view(_Memory)
        self.size = size
        self.loan: weakref.ref[_Loan]


# In the order in which they were lent. Changed by single calls of its methods alone.
_blocks: list[_Block] = []

if hasattr(os, "register_at_fork"):
    # A child that wrote to its parent's pages would copy them first.
    os.register_at_fork(after_in_child=_blocks.clear)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any], order: Any = "C") -> Array:
    """Return an array as ``np.empty`` does, a large one in a block."""
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype, order)
    most = settings.most_kept
    if most is None:
        most = settings.most_kept = _may_keep()
    # Sizes that are alike share blocks: in steps of an eighth of a power of two.
    step = 1 << (size.bit_length() - 4)
    size = -(-size // step) * step
    if size > most:
        return np.empty(shape, dtype, order)
    block = _free_block(size)
    if block is None:
        try:
            block = _Block(size)
        except MemoryError:
            _blocks.clear()
            return np.empty(shape, dtype, order)
    loan = block.memory.view(_Loan)
    block.loan = weakref.ref(loan)
    _blocks.append(block)
    if len(_blocks) > BLOCKS or sum([b.size for b in _blocks]) > most:
        _forget(most)
    return np.ndarray(shape, dtype, loan, 0, None, order)


def _free_block(size: int) -> _Block | None:
    """Take a free block off the list: the one lent last, which the caches may still have."""
    for block in reversed(_blocks):
        if block.size == size and block.loan() is None:
            try:
                _blocks.remove(block)
            except ValueError:  # another thread has it
                continue
            # Only now is it nobody else's: another thread may have lent it in between.
            if block.loan() is None:
                return block
            _blocks.append(block)
    return None


def _forget(most: int) -> None:
    """Keep the blocks lent last; the memory of others ends with the results in it."""
    while len(_blocks) > BLOCKS or sum([b.size for b in _blocks]) > most:
        del _blocks[:1]


def _may_keep() -> int:
    value = os.environ.get("FASTBCE_POOL") or "1"
    if value not in ("0", "1"):
        raise ValueError(f"FASTBCE_POOL must be 0 or 1, got {value!r}")
    return usable_memory() // SHARE if value == "1" else 0


def release_memory() -> int:
    """Give the memory that is kept for large results back to the system.

    Results of 256 KiB and more lie in memory that is used again once no array, view or buffer
    refers to the result any more: fresh memory costs more time than the computation. At most 16
    pieces of memory are kept, and no more than a sixteenth of what the process may use. With the
    environment variable ``FASTBCE_POOL=0`` none is kept.

    Results that are alive stay as they are. Such results do not own their memory (``base`` is not
    None), so that ``ndarray.resize`` refuses them, as it refuses views; ``np.resize`` does not.

    Returns
    -------
    int
        The bytes given back at once. What belongs to results that are alive follows with them.

    Examples
    --------
    >>> import fastbce
    >>> fastbce.release_memory() >= 0
    True
    """
    blocks = _blocks.copy()
    _blocks.clear()
    return sum(block.size for block in blocks if block.loan() is None)
