"""How far the work is: one line on a terminal that is written over and over."""

from __future__ import annotations

import sys

WIDTH = 79


def is_terminal() -> bool:
    """Return whether the standard error is a terminal; without a console it is None."""
    return sys.stderr is not None and sys.stderr.isatty()


def show(text: str, end: str = "") -> None:
    """Write the text over the last one."""
    if sys.stderr is not None:  # print would take the standard output instead
        print(f"\r{text:<{WIDTH}}", end=end, file=sys.stderr, flush=True)
