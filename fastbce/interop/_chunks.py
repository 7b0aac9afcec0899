"""Functions of all chunks of Dask's collections, combined in a tree.

Chunks that the workers of a cluster hold take one task a worker, which looks at what its worker has
and says what it does not have: the scheduler's time does not grow with the number of chunks. Others
take a task each. The tree depends on the number of chunks alone, and so do the bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any, TypeVar

from dask.base import compute
from dask.delayed import Delayed, delayed

from fastbce._threads import one_thread

T = TypeVar("T")
Node = tuple[int, int]  # level, and place in it

# Partial results that a node of the tree combines.
FAN_IN = 8


@dataclass
class _Share:
    """The chunks that one worker does."""

    worker: str
    keys: dict[int, list[Any]] = field(default_factory=dict)
    """Of the arrays of each chunk."""
    fetched: dict[Any, Any] = field(default_factory=dict)
    """Futures of those that other workers have: labels, if they were not made beside `X`."""


@dataclass
class Chunks:
    """The chunks of one or more collections side by side.

    Parameters
    ----------
    tasks : sequence of tuple of Delayed
        For each chunk those that make its arrays.
    futures : mapping, optional
        What a cluster computed, or computes, of the collections: its futures by their keys.
    """

    tasks: Sequence[tuple[Delayed, ...]]
    futures: Mapping[Any, Any] = field(default_factory=dict)
    _shares: list[_Share] = field(default_factory=list)

    def reduce(self, function: Callable[..., T | None], combine: Callable[[T, T], T]) -> T | None:
        """Return the combined results of ``function(*arrays)`` of all chunks but those of None."""
        if not self._shares:
            self._shares = self._held()
        found = self._of_workers(function, combine)
        missing = sorted(set(range(len(self.tasks))) - _covered(found, len(self.tasks)))
        if missing:
            self._shares = []
            task = delayed(_on_worker, pure=False)
            rest = [task(function, *self.tasks[i]) for i in missing]
            if not found:
                return _tree(rest, combine)
            found |= zip([(0, i) for i in missing], compute(*rest), strict=True)
        _grow(found, len(self.tasks), combine)
        (result,) = found.values()
        return result

    def _keys(self, i: int) -> list[Any]:
        """Return the keys of a chunk on the cluster, if it needs no more than to be fetched."""
        keys = []
        for task in self.tasks[i]:
            # Of a data frame that was persisted a task says the future's key by another name.
            key = getattr(task.dask.get(task.key), "target", task.key)
            if key not in self.futures or self.futures[key].status != "finished":
                return []
            keys.append(key)
        return keys

    def _held(self) -> list[_Share]:
        """Return the chunks that each worker holds, if all are held."""
        if not self.futures or self._client.asynchronous:
            return []
        keys = [self._keys(i) for i in range(len(self.tasks))]
        if not all(keys):
            return []
        holders = self._client.who_has([self.futures[key] for chunk in keys for key in chunk])
        shares: dict[str, _Share] = {}
        for i, chunk in enumerate(keys):
            # The first array is the largest one.
            names = holders.get(chunk[0])
            if not names:
                return []
            name = min(names, key=lambda n: (len(shares[n].keys) if n in shares else 0, n))
            share = shares.setdefault(name, _Share(name))
            share.keys[i] = chunk
            share.fetched |= {k: self.futures[k] for k in chunk if name not in holders.get(k, ())}
        return list(shares.values())

    @property
    def _client(self) -> Any:
        return next(iter(self.futures.values())).client

    def _of_workers(
        self, function: Callable[..., T | None], combine: Callable[[T, T], T]
    ) -> dict[Node, T | None]:
        """Return nodes of the tree that workers made of the chunks that they hold."""
        tasks = [
            self._client.submit(
                _of_held,
                share.keys,
                share.fetched,
                len(self.tasks),
                function,
                combine,
                pure=False,
                workers=[share.worker],
                # It may be gone; another one says that it has nothing.
                allow_other_workers=True,
            )
            for share in self._shares
        ]
        found: dict[Node, T | None] = {}
        for nodes in self._client.gather(tasks) if tasks else ():
            found |= nodes
        return found


def _of_held(
    keys: Mapping[int, Sequence[Any]],
    fetched: Mapping[Any, Any],
    count: int,
    function: Callable[..., T | None],
    combine: Callable[[T, T], T],
) -> dict[Node, T | None]:
    """Return nodes of the tree over `count` chunks, from those that this worker has."""
    from distributed import get_worker

    worker = get_worker()

    def one(i: int) -> dict[Node, T | None]:
        try:
            # One at a time: what was spilled to disk need not fit into memory together.
            chunk = [fetched[k] if k in fetched else worker.data[k] for k in keys[i]]
        except KeyError:
            return {}
        return {(0, i): _on_worker(function, *chunk)}

    nodes: dict[Node, T | None] = {}
    with ThreadPoolExecutor(worker.state.nthreads, "fastbce-chunks") as threads:
        for node in threads.map(one, keys):
            nodes |= node
    _grow(nodes, count, combine)
    return nodes


def _on_worker(function: Callable[..., T | None], *chunk: Any) -> T | None:
    """Return a function of a chunk: the other threads of the worker have chunks of their own."""
    with one_thread():
        return function(*chunk)


def _combined(combine: Callable[[T, T], T], parts: Sequence[T | None]) -> T | None:
    found = [part for part in parts if part is not None]
    return reduce(combine, found) if found else None


def _grow(nodes: dict[Node, T | None], count: int, combine: Callable[[T, T], T]) -> None:
    """Replace nodes by the one above them wherever all of those below it are there."""
    level = 0
    while count > 1:
        for group in sorted({i // FAN_IN for at, i in nodes if at == level}):
            below = [(level, i) for i in range(group * FAN_IN, min((group + 1) * FAN_IN, count))]
            if all(node in nodes for node in below):
                parts = [nodes.pop(node) for node in below]
                nodes[level + 1, group] = _combined(combine, parts)
        level, count = level + 1, -(-count // FAN_IN)


def _covered(nodes: Mapping[Node, Any], count: int) -> set[int]:
    """Return the chunks that these nodes stand for."""
    chunks: set[int] = set()
    for level, i in nodes:
        width = FAN_IN**level
        chunks.update(range(i * width, min((i + 1) * width, count)))
    return chunks


def _tree(level: list[Delayed], combine: Callable[[T, T], T]) -> T | None:
    """Return the combined results of all tasks, in the same tree, made by tasks itself."""
    join = delayed(partial(_combined, combine), pure=False)
    while len(level) > 1:
        level = [join(level[i : i + FAN_IN]) for i in range(0, len(level), FAN_IN)]
    result: T | None = level[0].compute()
    return result
