"""Ctrl-C at the wrong moment: held back until nothing is left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[None]:
    """Deliver Ctrl-C after a ``with`` block and not inside it.

    An import of Numba or a compilation that ends half-way leaves it broken: later calls fail with
    errors of its own, or end the process.
    """
    came: list[int] = []
    try:
        # Python runs handlers on the main thread alone.
        main = threading.current_thread() is threading.main_thread()
        previous = signal.getsignal(signal.SIGINT) if main else None
        if previous is not None:
            signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    except ValueError:  # not in the main interpreter
        previous = None
    try:
        yield
    finally:
        if previous is not None:
            signal.signal(signal.SIGINT, previous)
            if came:
                signal.raise_signal(signal.SIGINT)
