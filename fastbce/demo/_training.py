"""Gradient descent on one dense layer, by several implementations side by side."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import fastbce
from fastbce.demo import from_scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fastbce import Activation_Sigmoid_Loss_BinaryCrossentropy


# Longer than the threads of OpenBLAS go on spinning after a product, 26 ms: on two cores whoever
# follows would take its first epoch as if it were on one thread.
REST = 0.05
# Epochs of one network in a row, as in a program that trains no other, and how often at most.
IN_A_ROW = 5
MOST_TURNS = 20
# Enough for every path that a large batch takes, threads included.
WARM_UP_ROWS = 1 << 18


class Activation(Protocol):
    """The part of an activation that training needs."""

    output: Any
    dinputs: Any

    def forward(self, inputs: Any, training: Any = ...) -> Any:
        """Set `output`."""

    def backward(self, dvalues: Any) -> Any:
        """Set `dinputs`."""


class Loss(Protocol):
    """The part of a loss that training needs."""

    dinputs: Any

    def calculate(self, output: Any, y: Any) -> Any:
        """Return the mean loss."""

    def backward(self, dvalues: Any, y_true: Any) -> Any:
        """Set `dinputs`."""


class Head(Protocol):
    """What stands between the dense layer's output and its gradient."""

    def __call__(self, logits: NDArray[Any], y: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Return the mean loss and its gradient with respect to `logits`."""


@dataclass(frozen=True)
class SeparateHead:
    """A sigmoid followed by a loss, as the reference network has them."""

    activation: Activation
    loss: Loss

    def __call__(self, logits: NDArray[Any], y: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Return the mean loss and its gradient with respect to `logits`."""
        self.activation.forward(logits)
        loss = self.loss.calculate(self.activation.output, y)
        self.loss.backward(self.activation.output, y)
        self.activation.backward(self.loss.dinputs)
        return float(loss), self.activation.dinputs


@dataclass(frozen=True)
class FusedHead:
    """Sigmoid and loss in one class that works from the logits."""

    fused: Activation_Sigmoid_Loss_BinaryCrossentropy

    def __call__(self, logits: NDArray[Any], y: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Return the mean loss and its gradient with respect to `logits`."""
        loss = self.fused.forward(logits, y)
        self.fused.backward(self.fused.output, y)
        return float(loss), self.fused.dinputs


class Layer_Dense:
    """``inputs @ weights + biases``, starting at zero: the problem is convex."""

    def __init__(self, n_inputs: int, n_neurons: int, dtype: Any) -> None:
        self.weights = np.zeros((n_inputs, n_neurons), dtype)
        self.biases = np.zeros((1, n_neurons), dtype)

    def forward(self, inputs: NDArray[Any]) -> None:
        """Set `output`."""
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases

    def backward(self, dvalues: NDArray[Any]) -> None:
        """Set the gradients of the weights and of the biases."""
        self.dweights = self.inputs.T @ dvalues
        self.dbiases = dvalues.sum(axis=0, keepdims=True)

    def gradients_in_one_pass(self, inputs: NDArray[Any], y: NDArray[Any]) -> float:
        """Set the gradients of the mean loss and return it, reading `inputs` once.

        Only for one neuron with a sigmoid behind it.
        """
        weights, bias = self.weights[:, 0], float(self.biases[0, 0])
        loss, dweights, dbias = fastbce.linear_bce_loss_gradient(inputs, y[:, 0], weights, bias)
        self.dweights = dweights[:, None].astype(weights.dtype)
        self.dbiases = np.full_like(self.biases, dbias)
        return loss

    def descend(self, learning_rate: float) -> None:
        """Take one step against the gradients."""
        self.weights -= learning_rate * self.dweights
        self.biases -= learning_rate * self.dbiases


@dataclass
class Run:
    """One implementation's network with what it measured, epoch by epoch."""

    name: str
    head: Head | None
    """None where the whole epoch is one pass over `X`."""
    layer: Layer_Dense
    losses: list[float] = field(default_factory=list)
    head_seconds: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)

    def epoch(self, X: NDArray[Any], y: NDArray[Any], learning_rate: float) -> None:
        """Train on the whole of `X` once, timing sigmoid and loss apart from the matrices."""
        start = perf_counter()
        if self.head is None:
            loss = self.layer.gradients_in_one_pass(X, y)
        else:
            self.layer.forward(X)
            head_start = perf_counter()
            loss, dlogits = self.head(self.layer.output, y)
            self.head_seconds.append(perf_counter() - head_start)
            self.layer.backward(dlogits)
        self.layer.descend(learning_rate)
        self.epoch_seconds.append(perf_counter() - start)
        self.losses.append(loss)

    def probabilities(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return the predicted probability of each row of `X`."""
        self.layer.forward(X)
        return np.asarray(fastbce.sigmoid(self.layer.output))

    @property
    def head_median(self) -> float | None:
        """Median seconds per epoch in the sigmoid and the loss, if those are apart."""
        return median(self.head_seconds) if self.head_seconds else None

    @property
    def epoch_median(self) -> float:
        """Median seconds per whole epoch."""
        return median(self.epoch_seconds)


def reference_run(n_inputs: int, dtype: Any) -> Run:
    """Return an untrained network on the plain NumPy classes."""
    head = SeparateHead(from_scratch.Activation_Sigmoid(), from_scratch.Loss_BinaryCrossentropy())
    return Run("plain NumPy", head, Layer_Dense(n_inputs, 1, dtype))


def fastbce_run(n_inputs: int, dtype: Any) -> Run:
    """Return the same network with nothing but the import of its two classes changed."""
    head = SeparateHead(fastbce.Activation_Sigmoid(), fastbce.Loss_BinaryCrossentropy())
    return Run("fastbce", head, Layer_Dense(n_inputs, 1, dtype))


def fused_run(n_inputs: int, dtype: Any) -> Run:
    """Return the same network on the class that fuses sigmoid and loss."""
    head = FusedHead(fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy())
    return Run("fastbce, fused class", head, Layer_Dense(n_inputs, 1, dtype))


def pass_run(n_inputs: int, dtype: Any) -> Run:
    """Return the same network whose epoch is one pass: matrix products, sigmoid and loss."""
    return Run("fastbce, linear pass", None, Layer_Dense(n_inputs, 1, dtype))


def compile_kernels() -> Iterator[None]:
    """Take one step with each network of the demo, so that no timing includes a compilation.

    ``fastbce.warmup()`` would compile every kernel, most of which the demo has no use for.
    """
    for make, dtype in (
        (fastbce_run, np.float64),
        (fastbce_run, np.float32),
        (fused_run, np.float32),
        (pass_run, np.float32),
    ):
        X = np.zeros((WARM_UP_ROWS, 1), dtype)
        make(1, dtype).epoch(X, X, 0.0)
        yield


def train_together(
    runs: Sequence[Run],
    X: NDArray[Any],
    y: NDArray[Any],
    *,
    epochs: int,
    learning_rate: float,
) -> Iterator[int]:
    """Train every run on the same data, some epochs of each in turn.

    Taking turns, in an order that reverses each time, gives the machine's drift to all runs alike.
    Everybody rests first, until the threads of the one before sleep.

    Yields
    ------
    int
        The number of epochs done.
    """
    orders = itertools.cycle((tuple(runs), tuple(reversed(runs))))
    in_a_row = max(IN_A_ROW, -(-epochs // MOST_TURNS))
    for start, order in zip(range(0, epochs, in_a_row), orders, strict=False):
        turn = range(start, min(start + in_a_row, epochs))
        for run in order:
            sleep(REST)
            for _ in turn:
                run.epoch(X, y, learning_rate)
        yield from (epoch + 1 for epoch in turn)


def largest_disagreement(first: Run, second: Run) -> float:
    """Return the largest relative difference between two runs' losses over all epochs."""
    a, b = np.array(first.losses), np.array(second.losses)
    return float(np.max(np.abs(a - b) / np.abs(a)))
