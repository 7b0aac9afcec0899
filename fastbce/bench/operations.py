"""What is compared: the operations, their arrays, and plain NumPy's way of doing them.

First the whole steps of a training program, through the classes on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastbce
from fastbce._operations import OPERATIONS as TABLE
from fastbce._operations import Operation as Row
from fastbce._typing import Array
from fastbce.demo import from_scratch

Call = Callable[[], Any]


@dataclass
class Data:
    """The arrays of one comparison: logits, hard labels, probabilities, soft labels, results."""

    z: Array
    y: Array
    p: Array
    soft: Array
    out: Array
    more: Array

    @classmethod
    def make(cls, n: int, dtype: Any) -> Data:
        """Draw `n` elements."""
        rng = np.random.default_rng(0)
        kind = np.dtype(dtype).type
        z = rng.standard_normal(n, dtype=kind) * kind(3)
        # So that p lies inside the bounds of the clip, which float32 and float64 do not share.
        np.clip(z, -12, 12, out=z)
        y = (rng.random(n, dtype=np.float32) < 0.5).astype(dtype)
        soft = rng.random(n, dtype=kind)
        return cls(z, y, fastbce.sigmoid(z), soft, np.zeros_like(z), np.zeros_like(z))


@dataclass(frozen=True)
class Operation:
    """One row: who computes what from which arrays.

    `ours` and `numpy` take the data and whether results are reused; `reads` and `writes` name the
    arrays that a perfect implementation touches once.
    """

    name: str
    ours: Callable[[Data, bool], Call]
    numpy: Callable[[Data, bool], Call]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    takes_out: bool = True
    """Whether its results can be reused, if it has any that are arrays."""

    @property
    def policies(self) -> tuple[bool, ...]:
        """Whether results are reused, for each row of a comparison."""
        return (False, True) if self.writes and self.takes_out else (False,)

    def arrays(self, data: Data, names: tuple[str, ...]) -> tuple[Array, ...]:
        """Return the named arrays."""
        return tuple(getattr(data, name) for name in names)

    def bytes_moved(self, data: Data) -> int:
        """Return how many bytes must cross the memory bus at least."""
        return sum(a.nbytes for a in self.arrays(data, self.reads + self.writes))


# What of the data is passed for each kind of array.
_PASSED = {"numbers": "z", "probabilities": "p", "labels": "y"}


def _reused_sigmoid(d: Data) -> Array:
    np.negative(d.z, out=d.out)
    np.exp(d.out, out=d.out)
    np.add(d.out, 1, out=d.out)
    return np.reciprocal(d.out, out=d.out)


def _reused_sigmoid_backward(d: Data) -> Array:
    np.subtract(1, d.p, out=d.out)
    np.multiply(d.out, d.p, out=d.out)
    return np.multiply(d.out, d.z, out=d.out)


# Plain NumPy with results reused, where that is another way to write it.
_REUSED = {"sigmoid": _reused_sigmoid, "sigmoid_backward": _reused_sigmoid_backward}


def _ours(name: str, reads: tuple[str, ...], outs: int) -> Callable[[Data, bool], Call]:
    function = getattr(fastbce, name)

    def make(d: Data, reuse: bool) -> Call:
        arguments = [getattr(d, read) for read in reads]
        if not reuse or not outs:
            return lambda: function(*arguments)
        out = d.out if outs == 1 else (d.out, d.more)
        return lambda: function(*arguments, out=out)

    return make


def _two_classes(classes: Any) -> Callable[[Data, bool], Call]:
    """Return the step of a network's last layer: sigmoid, loss, and both gradients."""

    def make(d: Data, reuse: bool) -> Call:
        activation, loss = classes.Activation_Sigmoid(), classes.Loss_BinaryCrossentropy()
        z, y = d.z.reshape(-1, 1), d.y.reshape(-1, 1)

        def step() -> tuple[Any, ...]:
            activation.forward(z)
            mean = loss.calculate(activation.output, y)
            loss.backward(activation.output, y)
            activation.backward(loss.dinputs)
            return mean, activation.dinputs

        return step

    return make


def _numpy(row: Row, reads: tuple[str, ...]) -> Callable[[Data, bool], Call]:
    def make(d: Data, reuse: bool) -> Call:
        if reuse and row.name in _REUSED:
            return lambda: _REUSED[row.name](d)
        arguments = [getattr(d, read) for read in reads]
        return lambda: row.family.plain(row.results, *arguments)

    return make


def _fused_class(d: Data, reuse: bool) -> Call:
    combined = fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy()
    z, y = d.z.reshape(-1, 1), d.y.reshape(-1, 1)

    def step() -> tuple[Any, ...]:
        mean = combined.forward(z, y)
        combined.backward(combined.output, y)
        return mean, combined.dinputs

    return step


# The program's way on the other side in both rows; a perfect step reads and writes once.
STEPS = (
    Operation(
        "step, two classes",
        _two_classes(fastbce),
        _two_classes(from_scratch),
        ("z", "y"),
        ("out", "more"),
        takes_out=False,
    ),
    Operation(
        "step, fused class",
        _fused_class,
        _two_classes(from_scratch),
        ("z", "y"),
        ("out", "more"),
        takes_out=False,
    ),
)


def _operation(row: Row, labels: str = "y") -> Operation:
    passed = {**_PASSED, "labels": labels}
    reads = tuple(passed[kind] for kind in row.family.arguments.values())
    outs = len(row.results) - row.returns_loss
    name = row.name if labels == "y" else f"{row.name}, {labels} labels"
    writes = ("out", "more")[:outs]
    return Operation(name, _ours(row.name, reads, outs), _numpy(row, reads), reads, writes)


def _operations() -> Iterator[Operation]:
    for row in TABLE.values():
        yield _operation(row)
        if row.name == "bce_loss":
            yield _operation(row, "soft")


OPERATIONS = (*STEPS, *_operations())


def check(operation: Operation, data: Data) -> float:
    """Return how far our results are from those of plain NumPy in float64; raise if it is far.

    The largest error is given relative to the largest number of each result.
    """
    wide = Data(*(np.asarray(a, np.float64) for a in vars(data).values()))
    ours, exact = operation.ours(data, False)(), operation.numpy(wide, False)()
    if not isinstance(ours, tuple):
        ours = (ours,)
    exact = exact if isinstance(exact, tuple) else (exact,)
    tolerance = 1e-5 if data.z.dtype == np.float32 else 1e-10
    worst = 0.0
    for a, b in zip(ours, exact, strict=True):
        scale = np.max(np.abs(b))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)
        worst = max(worst, float(np.max(np.abs(a - b)) / scale))
    return worst
