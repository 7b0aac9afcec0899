"""What is compared: the operations, their arrays, and plain NumPy's way of doing them.

First the whole steps of a training program, through the classes on either side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastbce
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


def _numpy_sigmoid(d: Data, reuse: bool) -> Call:
    def reused() -> Array:
        np.negative(d.z, out=d.out)
        np.exp(d.out, out=d.out)
        np.add(d.out, 1, out=d.out)
        return np.reciprocal(d.out, out=d.out)

    return reused if reuse else lambda: 1 / (1 + np.exp(-d.z))


def _numpy_sigmoid_backward(d: Data, reuse: bool) -> Call:
    def reused() -> Array:
        np.subtract(1, d.p, out=d.out)
        np.multiply(d.out, d.p, out=d.out)
        return np.multiply(d.out, d.z, out=d.out)

    return reused if reuse else lambda: d.z * d.p * (1 - d.p)


def _numpy_loss(labels: str) -> Callable[[Data, bool], Call]:
    def make(d: Data, reuse: bool) -> Call:
        y = getattr(d, labels)

        def run() -> Any:
            c = np.clip(d.p, 1e-7, 1 - 1e-7)
            return np.mean(-(y * np.log(c) + (1 - y) * np.log(1 - c)))

        return run

    return make


def _numpy_gradient(d: Data, reuse: bool) -> Call:
    def run() -> Array:
        c = np.clip(d.p, 1e-7, 1 - 1e-7)
        return np.asarray(-(d.y / c - (1 - d.y) / (1 - c)) / d.y.size)

    return run


def _numpy_logits_loss(d: Data) -> Any:
    return np.mean(np.maximum(d.z, 0) - d.z * d.y + np.log1p(np.exp(-np.abs(d.z))))


def _numpy_logits(results: str) -> Callable[[Data, bool], Call]:
    def make(d: Data, reuse: bool) -> Call:
        def run() -> tuple[Any, ...]:
            found: list[Any] = [_numpy_logits_loss(d)] if "l" in results else []
            if "g" in results:
                s = 1 / (1 + np.exp(-d.z))
                found.append((s - d.y) / d.y.size)
                if "h" in results:
                    found.append(s * (1 - s) / d.y.size)
            return tuple(found)

        return run

    return make


def _ours(
    function: Callable[..., Any], first: str, second: str, outs: int
) -> Callable[[Data, bool], Call]:
    def make(d: Data, reuse: bool) -> Call:
        arguments = [getattr(d, name) for name in (first, second) if name]
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


def _fused_class(d: Data, reuse: bool) -> Call:
    combined = fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy()
    z, y = d.z.reshape(-1, 1), d.y.reshape(-1, 1)

    def step() -> tuple[Any, ...]:
        mean = combined.forward(z, y)
        combined.backward(combined.output, y)
        return mean, combined.dinputs

    return step


def _numpy_sigmoid_bce(d: Data, reuse: bool) -> Call:
    def run() -> tuple[Any, ...]:
        s = 1 / (1 + np.exp(-d.z))
        return _numpy_logits_loss(d), s, (s - d.y) / d.y.size

    return run


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

OPERATIONS = (
    *STEPS,
    Operation("sigmoid", _ours(fastbce.sigmoid, "z", "", 1), _numpy_sigmoid, ("z",), ("out",)),
    Operation(
        "sigmoid_backward",
        _ours(fastbce.sigmoid_backward, "z", "p", 1),
        _numpy_sigmoid_backward,
        ("z", "p"),
        ("out",),
    ),
    Operation("bce_loss", _ours(fastbce.bce_loss, "p", "y", 0), _numpy_loss("y"), ("p", "y"), ()),
    Operation(
        "bce_loss, soft labels",
        _ours(fastbce.bce_loss, "p", "soft", 0),
        _numpy_loss("soft"),
        ("p", "soft"),
        (),
    ),
    Operation(
        "bce_gradient",
        _ours(fastbce.bce_gradient, "p", "y", 1),
        _numpy_gradient,
        ("p", "y"),
        ("out",),
    ),
    Operation(
        "bce_loss_gradient",
        _ours(fastbce.bce_loss_gradient, "p", "y", 1),
        lambda d, reuse: lambda: (_numpy_loss("y")(d, reuse)(), _numpy_gradient(d, reuse)()),
        ("p", "y"),
        ("out",),
    ),
    Operation(
        "bce_with_logits_loss",
        _ours(fastbce.bce_with_logits_loss, "z", "y", 0),
        _numpy_logits("l"),
        ("z", "y"),
        (),
    ),
    Operation(
        "bce_with_logits_gradient",
        _ours(fastbce.bce_with_logits_gradient, "z", "y", 1),
        _numpy_logits("g"),
        ("z", "y"),
        ("out",),
    ),
    Operation(
        "bce_with_logits_loss_gradient",
        _ours(fastbce.bce_with_logits_loss_gradient, "z", "y", 1),
        _numpy_logits("lg"),
        ("z", "y"),
        ("out",),
    ),
    Operation(
        "bce_with_logits_gradient_hessian",
        _ours(fastbce.bce_with_logits_gradient_hessian, "z", "y", 2),
        _numpy_logits("gh"),
        ("z", "y"),
        ("out", "more"),
    ),
    Operation(
        "bce_with_logits_loss_gradient_hessian",
        _ours(fastbce.bce_with_logits_loss_gradient_hessian, "z", "y", 2),
        _numpy_logits("lgh"),
        ("z", "y"),
        ("out", "more"),
    ),
    Operation(
        "sigmoid_bce",
        _ours(fastbce.sigmoid_bce, "z", "y", 2),
        _numpy_sigmoid_bce,
        ("z", "y"),
        ("out", "more"),
    ),
)


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
