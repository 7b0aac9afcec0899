"""Losses of predicted probabilities; their options are explained in the package."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastbce._evaluate import evaluate
from fastbce._typing import Array


def bce_loss(
    y_pred: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    eps: float = 1e-7,
    gradient: str = "reference",
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    metrics: bool = False,
    out: Array | None = None,
) -> Any:
    """Binary cross-entropy of predicted probabilities.

    Element loss ``-(y log c + (1 - y) log(1 - c))`` with ``c = clip(y_pred, eps, 1 - eps)``.

    Parameters
    ----------
    y_pred : array_like
        Predicted probabilities of class 1; any shape. Clipped to ``[eps, 1 - eps]``.
    y_true : array_like
        Labels in [0, 1], hard or soft, of the same shape.
    sample_weight : array_like, optional
        Finite, non-negative factors of the losses; the shape must broadcast. 0 ignores an element.
    mask : array_like of bool, optional
        True for the elements that count; the shape must broadcast.
    ignore_index : int, optional
        Label of elements that do not count.
    pos_weight : float or array_like, optional
        Factor of the losses of label 1; one number, or one for each place of the last axis.
    label_smoothing : float, default 0.0
        Labels become ``y (1 - s) + s / 2``.
    eps : float, default 1e-7
        Clip bound.
    gradient : {"reference", "zero", "torch"}, default "reference"
        Which rule: the gradient at the clipped probability, 0 where it was clipped, or PyTorch's
        limits in place of a clip.
    reduction : {"mean", "sum", "none", "samples"}, default "mean"
        Mean or sum over all elements, each element, or means over the last axis.
    divisor : {"elements", "weights", "kept"}, optional
        What a mean divides by; by default the elements that count.
    check_labels : bool, default False
        Whether to look for labels and probabilities that are NaN or outside [0, 1]; labels that
        are bool or integers always are.
    metrics : bool, default False
        Whether to return accuracy and the number of clipped probabilities too.
    out : ndarray, optional
        Array for the losses: only with ``reduction="none"`` or ``"samples"``.

    Returns
    -------
    loss : scalar or ndarray
        A scalar of the result's dtype for "mean" and "sum".
    metrics : Metrics
        Only with ``metrics=True``: a tuple (accuracy, clipped).

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit: see :mod:`fastbce.functional`.

    Notes
    -----
    Maximum error of an element (``reduction="none"``): loss 1.0 ULP for hard labels and 2.2 for
    soft ones, gradient 2.0 for hard labels, of the exact value at the clipped probability. A soft
    label's gradient is exact to 2 ULP of ``1 / (c (1 - c))``. docs/accuracy.md has the
    errors with each option.

    Examples
    --------
    >>> import fastbce
    >>> probabilities, labels = [0.9, 0.2], [1, 0]
    >>> print(f"{fastbce.bce_loss(probabilities, labels):.4f}")
    0.1643
    """
    more = (mask, ignore_index, pos_weight, label_smoothing, divisor, gradient, metrics)
    options = (sample_weight, reduction, check_labels, eps, more)
    return evaluate("bce_loss", y_pred, y_true, options, out)


def bce_gradient(
    y_pred: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    eps: float = 1e-7,
    gradient: str = "reference",
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    out: Array | None = None,
) -> Any:
    """Gradient of the binary cross-entropy with respect to the probabilities.

    Element gradient ``(c - y) / (c (1 - c))`` with ``c = clip(y_pred, eps, 1 - eps)``.

    Parameters
    ----------
    y_pred : array_like
        Predicted probabilities of class 1; any shape. Clipped to ``[eps, 1 - eps]``.
    y_true : array_like
        Labels in [0, 1], hard or soft, of the same shape.
    sample_weight : array_like, optional
        Finite, non-negative factors of the losses; the shape must broadcast. 0 ignores an element.
    mask : array_like of bool, optional
        True for the elements that count; the shape must broadcast.
    ignore_index : int, optional
        Label of elements that do not count.
    pos_weight : float or array_like, optional
        Factor of the losses of label 1; one number, or one for each place of the last axis.
    label_smoothing : float, default 0.0
        Labels become ``y (1 - s) + s / 2``.
    eps : float, default 1e-7
        Clip bound.
    gradient : {"reference", "zero", "torch"}, default "reference"
        Which rule: the gradient at the clipped probability, 0 where it was clipped, or PyTorch's
        limits in place of a clip.
    reduction : {"mean", "sum", "none", "samples"}, default "mean"
        Mean or sum over all elements, each element, or means over the last axis.
    divisor : {"elements", "weights", "kept"}, optional
        What a mean divides by; by default the elements that count.
    check_labels : bool, default False
        Whether to look for labels and probabilities that are NaN or outside [0, 1]; labels that
        are bool or integers always are.
    out : ndarray, optional
        Array for the gradient; it may be an input, to work in place.

    Returns
    -------
    gradient : ndarray
        Of the reduced loss, with respect to the probabilities; the shape of the input.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit: see :mod:`fastbce.functional`.

    Notes
    -----
    Maximum error of an element (``reduction="none"``): loss 1.0 ULP for hard labels and 2.2 for
    soft ones, gradient 2.0 for hard labels, of the exact value at the clipped probability. A soft
    label's gradient is exact to 2 ULP of ``1 / (c (1 - c))``. docs/accuracy.md has the
    errors with each option.

    Examples
    --------
    >>> import fastbce
    >>> probabilities, labels = [0.9, 0.2], [1, 0]
    >>> print(fastbce.bce_gradient(probabilities, labels).round(4))
    [-0.5556  0.625 ]
    """
    more = (mask, ignore_index, pos_weight, label_smoothing, divisor, gradient, False)
    options = (sample_weight, reduction, check_labels, eps, more)
    return evaluate("bce_gradient", y_pred, y_true, options, out)


def bce_loss_gradient(
    y_pred: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    eps: float = 1e-7,
    gradient: str = "reference",
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    metrics: bool = False,
    out: Array | tuple[Array | None, ...] | None = None,
) -> Any:
    """Binary cross-entropy of probabilities and its gradient, in one pass.

    See :func:`bce_loss` and :func:`bce_gradient`.

    Parameters
    ----------
    y_pred : array_like
        Predicted probabilities of class 1; any shape. Clipped to ``[eps, 1 - eps]``.
    y_true : array_like
        Labels in [0, 1], hard or soft, of the same shape.
    sample_weight : array_like, optional
        Finite, non-negative factors of the losses; the shape must broadcast. 0 ignores an element.
    mask : array_like of bool, optional
        True for the elements that count; the shape must broadcast.
    ignore_index : int, optional
        Label of elements that do not count.
    pos_weight : float or array_like, optional
        Factor of the losses of label 1; one number, or one for each place of the last axis.
    label_smoothing : float, default 0.0
        Labels become ``y (1 - s) + s / 2``.
    eps : float, default 1e-7
        Clip bound.
    gradient : {"reference", "zero", "torch"}, default "reference"
        Which rule: the gradient at the clipped probability, 0 where it was clipped, or PyTorch's
        limits in place of a clip.
    reduction : {"mean", "sum", "none", "samples"}, default "mean"
        Mean or sum over all elements, each element, or means over the last axis.
    divisor : {"elements", "weights", "kept"}, optional
        What a mean divides by; by default the elements that count.
    check_labels : bool, default False
        Whether to look for labels and probabilities that are NaN or outside [0, 1]; labels that
        are bool or integers always are.
    metrics : bool, default False
        Whether to return accuracy and the number of clipped probabilities too.
    out : ndarray or tuple, optional
        Array for the gradient; a tuple (loss, gradient) where the losses are an array too.

    Returns
    -------
    loss : scalar or ndarray
        A scalar of the result's dtype for "mean" and "sum".
    gradient : ndarray
        Of the reduced loss, with respect to the probabilities; the shape of the input.
    metrics : Metrics
        Only with ``metrics=True``: a tuple (accuracy, clipped).

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit: see :mod:`fastbce.functional`.

    Notes
    -----
    Maximum error of an element (``reduction="none"``): loss 1.0 ULP for hard labels and 2.2 for
    soft ones, gradient 2.0 for hard labels, of the exact value at the clipped probability. A soft
    label's gradient is exact to 2 ULP of ``1 / (c (1 - c))``. docs/accuracy.md has the
    errors with each option.

    Examples
    --------
    >>> import fastbce
    >>> probabilities, labels = [0.9, 0.2], [1, 0]
    >>> loss, gradient = fastbce.bce_loss_gradient(probabilities, labels)
    >>> print(f"{loss:.4f}", gradient.round(4))
    0.1643 [-0.5556  0.625 ]
    """
    more = (mask, ignore_index, pos_weight, label_smoothing, divisor, gradient, metrics)
    options = (sample_weight, reduction, check_labels, eps, more)
    return evaluate("bce_loss_gradient", y_pred, y_true, options, out)


def sigmoid_clipped_bce(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    eps: float = 1e-7,
    gradient: str = "reference",
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    metrics: bool = False,
    out: tuple[Array | None, ...] | None = None,
) -> Any:
    """Sigmoid, clipped binary cross-entropy and its gradient through the sigmoid, in one pass.

    The numbers of a network that has the sigmoid and the clipped loss as two layers, to the last
    bit: with ``p = sigmoid(logits)`` those of ``bce_loss(p, y_true)`` and
    ``sigmoid_backward(bce_gradient(p, y_true), p)``. :func:`sigmoid_bce` has neither the clip nor
    its error where the sigmoid saturates.

    Parameters
    ----------
    logits : array_like
        Log-odds of class 1, the input of the sigmoid; any shape.
    y_true : array_like
        Labels in [0, 1], hard or soft, of the same shape.
    sample_weight : array_like, optional
        Finite, non-negative factors of the losses; the shape must broadcast. 0 ignores an element.
    mask : array_like of bool, optional
        True for the elements that count; the shape must broadcast.
    ignore_index : int, optional
        Label of elements that do not count.
    pos_weight : float or array_like, optional
        Factor of the losses of label 1; one number, or one for each place of the last axis.
    label_smoothing : float, default 0.0
        Labels become ``y (1 - s) + s / 2``.
    eps : float, default 1e-7
        Clip bound of the probabilities.
    gradient : {"reference", "zero", "torch"}, default "reference"
        Which rule: the gradient at the clipped probability, 0 where it was clipped, or PyTorch's
        limits in place of a clip.
    reduction : {"mean", "sum", "none", "samples"}, default "mean"
        Mean or sum over all elements, each element, or means over the last axis.
    divisor : {"elements", "weights", "kept"}, optional
        What a mean divides by; by default the elements that count.
    check_labels : bool, default False
        Whether to look for labels that are NaN or outside [0, 1]; bool and integers always are.
    metrics : bool, default False
        Whether to return accuracy and the number of clipped probabilities too.
    out : tuple, optional
        Arrays for the results that are arrays, in the order returned; None in a place allocates
        that one.

    Returns
    -------
    loss : scalar or ndarray
        A scalar of the result's dtype for "mean" and "sum".
    probabilities : ndarray
        ``sigmoid(logits)``, before the clip.
    gradient : ndarray
        Of the reduced loss, with respect to the logits; the shape of the input.
    metrics : Metrics
        Only with ``metrics=True``: a tuple (accuracy, clipped).

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit: see :mod:`fastbce.functional`.

    Notes
    -----
    Maximum error of an element (``reduction="none"``): probabilities 2.0 ULP; of the exact value at
    the probability so rounded, hard labels, loss 1.0 ULP and gradient 3.5. For float16 the
    probability is not rounded in between.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> loss, probabilities, gradient = fastbce.sigmoid_clipped_bce(logits, labels)
    >>> print(f"{loss:.4f}", probabilities.round(4), gradient.round(4))
    0.2201 [0.8808 0.2689] [-0.0596  0.1345]
    """
    more = (mask, ignore_index, pos_weight, label_smoothing, divisor, gradient, metrics)
    options = (sample_weight, reduction, check_labels, eps, more)
    return evaluate("sigmoid_clipped_bce", logits, y_true, options, out)
