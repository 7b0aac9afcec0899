"""What goes to the standard error: notes, and how far the work is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from fastbce._progress import is_terminal


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say on a terminal what is being done, and how long it took."""
    live = is_terminal()
    if live:
        print(f"{text} ...", end="", file=sys.stderr, flush=True)
    start = perf_counter()
    yield
    if live:
        print(f" {perf_counter() - start:.1f} s", file=sys.stderr)


def note(text: str) -> None:
    """Say something about the work, which is no result."""
    if sys.stderr is not None:  # print would take the standard output in place of a closed one
        print(text, file=sys.stderr)
