"""Which thread does what: partition, thread pool, cancellation. No mathematics.

Each thread gets one long contiguous run of the elements and works through it piece by piece; the
caller takes the first run itself. Pieces exist so that Ctrl-C and errors stop a long call early.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

Work = Callable[[int, int], None]

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _forget_pool() -> None:
    """In a forked child the parent's threads do not exist, and its lock may be held."""
    global _lock, _pool, _pool_size
    _lock = threading.Lock()
    _pool = None
    _pool_size = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _workers(count: int) -> ThreadPoolExecutor:
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < count:
            # A smaller pool is left to finish what it was given and ends by itself.
            _pool = ThreadPoolExecutor(count, thread_name_prefix="fastbce")
            _pool_size = count
        return _pool


def partition(n: int, grain: int, parts: int) -> list[tuple[int, int]]:
    """Cut ``range(n)`` into at most `parts` runs of whole grains, as even as they come."""
    grains = -(-n // grain)
    parts = max(1, min(parts, grains))
    cuts = [min(n, grains * i // parts * grain) for i in range(parts + 1)]
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def run(work: Work, n: int, grain: int, piece: int, threads: int) -> None:
    """Call ``work(start, stop)`` over all of ``range(n)``.

    Parameters
    ----------
    work : callable
        Must be safe to call from several threads for disjoint ranges.
    n : int
        Number of elements.
    grain : int
        Threads' runs start at multiples of it.
    piece : int
        Largest range of one call; a multiple of `grain`.
    threads : int
        Most threads to use, the caller's included.

    Raises
    ------
    BaseException
        The first exception of `work`, or KeyboardInterrupt; by then no thread is working any
        more.
    """
    ranges = partition(n, grain, threads)
    cancelled = threading.Event()

    def share(start: int, stop: int) -> None:
        try:
            while start < stop and not cancelled.is_set():
                end = min(start + piece, stop)
                work(start, end)
                start = end
        except BaseException:
            cancelled.set()
            raise

    futures: list[Future[None]] = []
    try:
        if len(ranges) > 1:
            pool = _workers(len(ranges) - 1)
            futures += [pool.submit(share, *each) for each in ranges[1:]]
        share(*ranges[0])
    finally:
        if futures:
            _finish(futures, cancelled)
    for future in futures:
        future.result()


def _finish(futures: list[Future[None]], cancelled: threading.Event) -> None:
    """Wait until no thread works on the call, even if Ctrl-C comes while waiting."""
    interrupted: BaseException | None = None
    for future in futures:
        while not future.done():
            try:
                future.exception()
            except BaseException as error:
                cancelled.set()
                interrupted = error
    if interrupted is not None:
        raise interrupted
