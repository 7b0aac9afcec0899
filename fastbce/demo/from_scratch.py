"""The plain NumPy classes that fastbce replaces, kept exactly as a from-scratch network has them.

They are the oracle of the tests, and the other side of every comparison in the demo and the
benchmarks: naive formulas, one temporary per operation, no protection against overflow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Activation_Sigmoid:
    """The logistic function, ``1 / (1 + exp(-inputs))``."""

    inputs: Array
    output: Array
    dinputs: Array

    def forward(self, inputs: Array, training: object = None) -> None:
        """Set `output`; `training` is accepted because every layer is called with it."""
        self.inputs = inputs
        self.output = 1 / (1 + np.exp(-inputs))

    def backward(self, dvalues: Array) -> None:
        """Set `dinputs` from the gradient of the loss with respect to `output`."""
        self.dinputs = dvalues * (1 - self.output) * self.output

    def predictions(self, outputs: Array) -> Array:
        """Return the class of each output: 1 above one half, else 0."""
        return (outputs > 0.5) * 1


class Loss:
    """What every loss shares: means over the samples, running sums, and regularisation."""

    trainable_layers: list[Any]
    accumulated_sum: Any
    accumulated_count: int

    def __init__(self) -> None:
        self.trainable_layers = []
        self.new_pass()

    def forward(self, y_pred: Array, y_true: Array) -> Array:
        """Return one loss per sample."""
        raise NotImplementedError

    def regularization_loss(self, layer: Any = None) -> Any:
        """Return the penalty of `layer`, or of all remembered layers."""
        penalty: Any = 0
        for each in self.trainable_layers if layer is None else [layer]:
            if each.weight_regularizer_l1 > 0:
                penalty += each.weight_regularizer_l1 * np.sum(np.abs(each.weights))
            if each.weight_regularizer_l2 > 0:
                penalty += each.weight_regularizer_l2 * np.sum(each.weights * each.weights)
            if each.bias_regularizer_l1 > 0:
                penalty += each.bias_regularizer_l1 * np.sum(np.abs(each.biases))
            if each.bias_regularizer_l2 > 0:
                penalty += each.bias_regularizer_l2 * np.sum(each.biases * each.biases)
        return penalty

    def remember_trainable_layers(self, trainable_layers: list[Any]) -> None:
        """Keep the layers that `regularization_loss` sums over."""
        self.trainable_layers = trainable_layers

    def calculate(self, output: Array, y: Array, *, include_regularization: bool = False) -> Any:
        """Return the mean loss, and the penalty with it where that is asked for."""
        sample_losses = self.forward(output, y)
        self.accumulated_sum += np.sum(sample_losses)
        self.accumulated_count += len(sample_losses)
        return self._with_penalty(np.mean(sample_losses), include_regularization)

    def calculate_accumulated(self, *, include_regularization: bool = False) -> Any:
        """Return the mean loss of everything since `new_pass`."""
        mean = self.accumulated_sum / self.accumulated_count
        return self._with_penalty(mean, include_regularization)

    def new_pass(self) -> None:
        """Forget the running sums."""
        self.accumulated_sum = 0
        self.accumulated_count = 0

    def _with_penalty(self, data_loss: Any, include_regularization: bool) -> Any:
        if not include_regularization:
            return data_loss
        return data_loss, self.regularization_loss()


class Loss_BinaryCrossentropy(Loss):
    """Binary cross-entropy of predicted probabilities, clipped away from 0 and 1."""

    dinputs: Array

    def forward(self, y_pred: Array, y_true: Array) -> Array:
        """Return the mean over the last axis of the loss of each element."""
        clipped = np.clip(y_pred, 1e-7, 1 - 1e-7)
        losses = -(y_true * np.log(clipped) + (1 - y_true) * np.log(1 - clipped))
        return np.asarray(np.mean(losses, axis=-1))

    def backward(self, dvalues: Array, y_true: Array) -> None:
        """Set `dinputs`; `dvalues` are the predicted probabilities."""
        samples = len(dvalues)
        outputs = len(dvalues[0])
        clipped = np.clip(dvalues, 1e-7, 1 - 1e-7)
        self.dinputs = -(y_true / clipped - (1 - y_true) / (1 - clipped)) / outputs / samples
