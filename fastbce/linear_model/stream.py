"""Samples that are read anew for each result: what a fit makes of a source of chunks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from fastbce._inputs import Array

from .coordinates import sample_size
from .samples import LEAST_THINNING, PART_COLUMNS, Memory, add, part_size
from .survey import Chunked, Header, Survey, checked, survey_of

T = TypeVar("T")


def each(chunks: Iterator[T], use: Callable[[T], None]) -> None:
    """Call `use` on each chunk, while another thread reads the next one.

    No more than one is read ahead. However this ends, the thread has ended before.
    """
    with ThreadPoolExecutor(1, "fastbce-reader") as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            use(chunk)


def _open(source: Any) -> Iterator[Any]:
    """Return a new iterator over the chunks."""
    made = source() if callable(source) else source
    if not callable(source) and isinstance(source, Iterator):
        raise TypeError(
            f"the source is a {type(source).__name__}, which can be read only once, and a fit "
            "reads the data several times; pass the function that makes it, without calling it"
        )
    if not isinstance(made, Iterable):
        raise TypeError(
            "the source must be an iterable of chunks (X, y) or (X, y, sample_weight), or a "
            f"callable that returns one, got {type(made).__name__}"
        )
    return iter(made)


def _prepared(source: Any, prepare: Callable[..., T]) -> Generator[T, None, None]:
    """Give ``prepare(header, X, y, weight)`` for each chunk that is not empty."""
    start = 0
    for number, chunk in enumerate(_open(source), 1):
        where = f"chunk {number} of the source, from row {start + 1} on"
        if not isinstance(chunk, tuple) or len(chunk) not in (2, 3):
            size = f" of {len(chunk)}" if isinstance(chunk, tuple) else ""
            raise TypeError(
                f"{where}: expected a tuple (X, y) or (X, y, sample_weight), got "
                f"{type(chunk).__name__}{size}"
            )
        try:
            arrays = checked(*chunk)
            if arrays is None:
                continue
            ready = prepare(*arrays)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        start += len(arrays[1])
        yield ready


class _Kept:
    """Every k-th row of a stream, k doubled whenever too many have come together."""

    def __init__(self) -> None:
        self.every, self.seen = 1, 0
        self.pieces: list[tuple[Header, Array, Array, Array | None]] = []

    def add(self, header: Header, X: Array, y: Array, weight: Array | None) -> None:
        """Take the rows of one more chunk that are due."""
        columns = X.shape[1]
        enough = part_size(columns) if columns <= PART_COLUMNS else sample_size(columns)
        due = slice(-self.seen % self.every, None, self.every)
        self.seen += len(X)
        self.pieces.append(
            (header, X[due].copy(), y[due].copy(), None if weight is None else weight[due].copy())
        )
        while sum(len(piece[1]) for piece in self.pieces) > 2 * enough:
            self.every *= 2
            self.pieces = [self.joined(2)]

    def joined(self, every: int = 1) -> tuple[Header, Array, Array, Array | None]:
        """Return all, or every so many-th, as one chunk."""
        header = self.pieces[0][0]
        X = np.concatenate([piece[1] for piece in self.pieces])[::every].copy()
        y = np.concatenate([piece[2] for piece in self.pieces])[::every].copy()
        weights = [piece[3] for piece in self.pieces if piece[3] is not None]
        return header, X, y, np.concatenate(weights)[::every].copy() if weights else None


def first_pass(source: Any) -> tuple[Survey, _Kept]:
    """Return the survey, and some rows to start from."""
    surveys: list[Survey] = []
    kept = _Kept()

    def look(*chunk: Any) -> bool:
        found = survey_of(*chunk)
        surveys[:] = [surveys[0] + found if surveys else found]
        kept.add(*chunk)
        return True

    for _ in _prepared(source, look):
        pass
    if not surveys:
        raise ValueError("the source gave no rows")
    return surveys[0], kept


@dataclass(frozen=True)
class Stream(Chunked):
    """Samples of a source that is read from the start for each result."""

    source: Any
    kept: _Kept

    def reduce(
        self,
        function: Callable[[Array, Array, Array | None], T],
        combine: Callable[[T, T], T] = add,
    ) -> T:
        """Return the results of all chunks, combined in their order."""
        seen = 0
        result: list[T] = []

        def use(chunk: tuple[Array, Array, Array | None]) -> None:
            nonlocal seen
            seen += len(chunk[0])
            found = function(*chunk)
            result[:] = [combine(result[0], found) if result else found]

        with closing(_prepared(self.source, self.prepare)) as chunks:
            each(chunks, use)
        if seen != self.n:
            raise ValueError(
                f"the source gave {self.n} rows when it was first read and {seen} when it was read "
                "again; a fit needs the same rows each time: pass a callable that opens the data "
                "anew"
            )
        return result[0]

    def part(self) -> Memory | None:
        """Return every k-th sample, or None where there are few anyway."""
        few = self.n < LEAST_THINNING * part_size(self.columns)
        return None if few or self.columns > PART_COLUMNS else self._kept()

    def sample(self, rows: int) -> Memory:
        """Return every k-th sample, at least so many where there are."""
        return self._kept().sample(rows)

    def _kept(self) -> Memory:
        return Memory(*self.prepare(*self.kept.joined()))
