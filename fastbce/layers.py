"""The reference API's classes: they keep state and leave the arithmetic to the functions.

A program written for the from-scratch reference classes runs after changing its import alone.
All attributes are plain, so objects can be deep-copied, pickled and have their arrays popped from
``__dict__``. Every call allocates its results: arrays handed out earlier never change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._evaluate import evaluate, rounded, total_of_samples
from ._inputs import check_flag
from ._options import DEFAULTS
from .functional import (
    bce_gradient,
    bce_loss,
    bce_with_logits_gradient,
    sigmoid,
    sigmoid_backward,
    sigmoid_bce,
)


class Activation_Sigmoid:
    """Sigmoid activation layer.

    Attributes
    ----------
    inputs, output : ndarray
        Set by :meth:`forward`.
    dinputs : ndarray
        Set by :meth:`backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbce
    >>> activation = fastbce.Activation_Sigmoid()
    >>> activation.forward(np.array([[0.0], [2.0]]))
    >>> activation.backward(np.ones((2, 1)))
    >>> print(activation.output.ravel().round(4), activation.dinputs.ravel().round(4))
    [0.5    0.8808] [0.25  0.105]
    """

    inputs: Any
    output: Any
    dinputs: Any

    def forward(self, inputs: ArrayLike, training: Any = None) -> None:
        """Set `output` to ``1 / (1 + exp(-inputs))``; `training` is accepted and not used."""
        self.inputs = inputs
        self.output = sigmoid(inputs)

    def backward(self, dvalues: ArrayLike) -> None:
        """Set `dinputs` to ``dvalues * output * (1 - output)``."""
        self.dinputs = sigmoid_backward(dvalues, self.output)

    def predictions(self, outputs: ArrayLike) -> Any:
        """Return 1 where the probability exceeds one half, else 0."""
        return (np.asarray(outputs) > 0.5) * 1


class Loss:
    """Base of the losses: the data loss, its running average, the layers' regularization.

    A subclass defines ``forward(output, y)``, which returns one loss a sample.

    Attributes
    ----------
    accumulated_sum : float
    accumulated_count : int
        Running totals since :meth:`new_pass`: the sum in float64, whatever the losses' dtype.
    trainable_layers : list
        Set by :meth:`remember_trainable_layers`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbce
    >>> class Squared(fastbce.Loss):
    ...     def forward(self, y_pred, y_true):
    ...         return np.mean((y_pred - y_true) ** 2, axis=-1)
    >>> print(Squared().calculate(np.array([[1.0], [3.0]]), np.array([[1.0], [1.0]])))
    2.0
    """

    trainable_layers: list[Any]
    # On the class, so that a subclass whose __init__ does not call this one's works.
    accumulated_sum: float = 0.0
    accumulated_count: int = 0

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        """Return one loss a sample; defined by the subclass."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def regularization_loss(self, layer: Any = None) -> Any:
        """Return the L1 and L2 penalties of `layer`, or of all remembered layers."""
        layers = self.trainable_layers if layer is None else [layer]
        penalty: Any = 0
        with np.errstate(all="ignore"):
            for each in layers:
                for parameter, prefix in (("weights", "weight"), ("biases", "bias")):
                    l1 = getattr(each, f"{prefix}_regularizer_l1")
                    l2 = getattr(each, f"{prefix}_regularizer_l2")
                    if l1 > 0:
                        penalty += l1 * np.sum(np.abs(getattr(each, parameter)))
                    if l2 > 0:
                        penalty += l2 * np.sum(np.square(getattr(each, parameter)))
        return penalty

    def remember_trainable_layers(self, trainable_layers: list[Any]) -> None:
        """Keep the layers whose penalties :meth:`regularization_loss` adds up."""
        self.trainable_layers = trainable_layers

    def calculate(self, output: Any, y: Any, *, include_regularization: bool = False) -> Any:
        """Return the mean loss, or (mean loss, regularization loss), and add to the totals."""
        total, count, dtype = self._total(output, y)
        # A float32 total is off by 0.3 % after 400,000 batches of 64.
        self.accumulated_sum += total
        self.accumulated_count += count
        mean = rounded(total / count if count else np.nan, dtype)
        return (mean, self.regularization_loss()) if include_regularization else mean

    def _total(self, output: Any, y: Any) -> tuple[float, int, np.dtype[Any]]:
        """Return the sum of the samples' losses, their number and their dtype."""
        losses = np.asarray(self.forward(output, y))
        with np.errstate(all="ignore"):
            total = float(np.sum(losses, dtype=np.float64))
        dtype = losses.dtype if losses.dtype.kind == "f" else np.dtype(np.float64)
        return total, losses.size, dtype

    def calculate_accumulated(self, *, include_regularization: bool = False) -> Any:
        """Return the mean loss over all samples since :meth:`new_pass`."""
        if not self.accumulated_count:
            raise ValueError("no losses accumulated: call calculate() first")
        mean = np.float64(self.accumulated_sum / self.accumulated_count)
        return (mean, self.regularization_loss()) if include_regularization else mean

    def new_pass(self) -> None:
        """Reset the running totals."""
        self.accumulated_sum = 0.0
        self.accumulated_count = 0


class Loss_BinaryCrossentropy(Loss):
    """Binary cross-entropy of predicted probabilities, clipped to ``[1e-7, 1 - 1e-7]``.

    Parameters
    ----------
    check_labels : bool, default False
        Whether to look for labels and probabilities that are NaN or outside [0, 1]. Labels that are
        bool or integers are looked at always.

    Attributes
    ----------
    dinputs : ndarray
        Set by :meth:`backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbce
    >>> loss = fastbce.Loss_BinaryCrossentropy()
    >>> probabilities, labels = np.array([[0.9], [0.2]]), np.array([[1], [0]])
    >>> print(f"{loss.calculate(probabilities, labels):.4f}")
    0.1643
    >>> loss.backward(probabilities, labels)
    >>> print(loss.dinputs.ravel().round(4))
    [-0.5556  0.625 ]
    """

    dinputs: Any
    # On the class too, for subclasses as above.
    check_labels: bool = False

    def __init__(self, *, check_labels: bool = False) -> None:
        check_flag(check_labels, "check_labels")
        self.check_labels = check_labels

    def forward(self, y_pred: ArrayLike, y_true: ArrayLike) -> Any:
        """Return the mean over the last axis of the element losses."""
        return bce_loss(y_pred, y_true, reduction="samples", check_labels=self.check_labels)

    def backward(self, dvalues: ArrayLike, y_true: ArrayLike) -> None:
        """Set `dinputs` to the gradient of the mean loss.

        `dvalues` are the predicted probabilities. One-dimensional ones count as samples of a
        single output each.
        """
        # Past bce_gradient and what it does with the options that nobody can give here: 0.3 us.
        options = (None, "mean", self.check_labels, 1e-7, DEFAULTS)
        gradient = evaluate("bce_gradient", dvalues, y_true, options, None)
        self.dinputs = _per_sample_and_output(gradient)

    def _total(self, output: Any, y: Any) -> tuple[float, int, np.dtype[Any]]:
        # Without an array of the samples' losses, where nobody has a forward of their own.
        if getattr(self.forward, "__func__", None) is not _FORWARD:
            return super()._total(output, y)
        return total_of_samples(output, y, self.check_labels)


_FORWARD = Loss_BinaryCrossentropy.forward


class Activation_Sigmoid_Loss_BinaryCrossentropy:
    """Sigmoid and binary cross-entropy in one: the gradient skips the probabilities.

    The twin of the book's combined softmax and cross-entropy class. Working from the logits,
    it needs no clipping and does not lose the gradient of saturated outputs. Logits and labels are
    read once for all results: :meth:`backward` hands out the gradient that :meth:`forward` computed
    if it gets that call's output and labels, the same objects, not changed in between.

    Parameters
    ----------
    check_labels : bool, default False
        Whether to look for labels that are NaN or outside [0, 1]. Labels that are bool or integers
        are looked at always.

    Attributes
    ----------
    inputs, output : ndarray
        Logits and probabilities, set by :meth:`forward`.
    dinputs : ndarray
        Set by :meth:`backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbce
    >>> head = fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy()
    >>> logits, labels = np.array([[2.0], [-1.0]]), np.array([[1], [0]])
    >>> print(f"{head.forward(logits, labels):.4f}")
    0.2201
    >>> head.backward(head.output, labels)
    >>> print(head.dinputs.ravel().round(4))
    [-0.0596  0.1345]
    """

    inputs: Any
    output: Any
    dinputs: Any
    # What the last forward got and gave, the gradient at the end, until backward takes it.
    _ahead: tuple[Any, Any, Any, Any]
    # On the class too, for subclasses whose __init__ does not call this one's.
    check_labels: bool = False

    def __init__(self, *, check_labels: bool = False) -> None:
        check_flag(check_labels, "check_labels")
        self.check_labels = check_labels

    def forward(self, inputs: ArrayLike, y_true: ArrayLike) -> Any:
        """Set `output` to the probabilities and return the mean loss."""
        # With the gradient, one pass takes 0.8 to 0.95 times as long as two without it: so even
        # where no backward follows.
        loss, output, gradient = sigmoid_bce(inputs, y_true, check_labels=self.check_labels)
        self.inputs, self.output = inputs, output
        self._ahead = (inputs, output, y_true, gradient)
        return loss

    def backward(self, dvalues: ArrayLike, y_true: ArrayLike) -> None:
        """Set `dinputs` to the gradient of the mean loss with respect to the inputs.

        `dvalues` are the predicted probabilities: those of the last :meth:`forward`, or others,
        for which the clipped loss and the sigmoid are differentiated one after the other.
        """
        ahead = vars(self).pop("_ahead", None)
        if dvalues is not getattr(self, "output", None):
            slope = bce_gradient(dvalues, y_true, check_labels=self.check_labels)
            gradient = sigmoid_backward(slope, dvalues)
        elif ahead and ahead[0] is self.inputs and ahead[1] is dvalues and ahead[2] is y_true:
            gradient = ahead[3]
        else:
            gradient = bce_with_logits_gradient(self.inputs, y_true, check_labels=self.check_labels)
        self.dinputs = _per_sample_and_output(gradient)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out of copies and pickles what :meth:`backward` can compute again."""
        return {name: value for name, value in vars(self).items() if name != "_ahead"}


def _per_sample_and_output(gradient: Any) -> Any:
    """Undo the mean over axes past the second: the reference divides by the first two only."""
    if gradient.ndim > 2:  # a scalar has this too; np.ndim() takes 0.1 us
        with np.errstate(all="ignore"):
            gradient *= np.prod(gradient.shape[2:])
    return gradient
