"""The loops of a function of one number, made from its point."""

from __future__ import annotations

from typing import Any

from .compile import kernel
from .float16 import element, number
from .results import cut, fence, flush, into, stage, step_of


def loops_of(name: str, formula: Any) -> tuple[Any, Any]:
    """Return the block and the run of a function of one number."""

    def elements_block(x: Any, out: Any) -> None:
        result = into(out, x)
        for i in range(x.size):
            result[i] = element(result[i], formula(number(x[i])))

    block = _named(elements_block, f"{name}_block")

    def elements_run(thread: Any, first: Any, arrays: Any, options: Any) -> None:
        x, out = arrays
        (spaces,) = options
        step = step_of(spaces, x.size)
        for s in range(0, x.size, step):
            e = min(s + step, x.size)
            block(cut(x, s, e), stage(out, spaces, thread, 0, s, e))
            flush(out, spaces, thread, 0, s, e, 0, x.size)
        fence(spaces)

    return block, _named(elements_run, f"{name}_run")


def _named(function: Any, name: str) -> Any:
    """Compile a function under a name of its own: the cache on disk goes by names."""
    function.__name__ = function.__qualname__ = name
    return kernel(function)
