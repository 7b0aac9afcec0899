"""Losses of logits; their options are explained in the package."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastbce._evaluate import evaluate
from fastbce._typing import Array


def bce_with_logits_loss(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    metrics: bool = False,
    out: Array | None = None,
) -> Any:
    """Binary cross-entropy of logits.

    Element loss ``max(z, 0) - z y + log(1 + exp(-|z|))``: softplus of the logit against the label.

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
    reduction : {"mean", "sum", "none", "samples"}, default "mean"
        Mean or sum over all elements, each element, or means over the last axis.
    divisor : {"elements", "weights", "kept"}, optional
        What a mean divides by; by default the elements that count.
    check_labels : bool, default False
        Whether to look for labels that are NaN or outside [0, 1]; bool and integers always are.
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
    Maximum error of an element (``reduction="none"``): loss 1.8 ULP for hard labels and 2.1 for
    soft ones, gradient 1.71 for hard labels, Hessian 2.5. A soft label's gradient is exact to 1 ULP
    of 1, since its two terms may cancel. docs/accuracy.md has the errors with each option.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> print(f"{fastbce.bce_with_logits_loss(logits, labels):.4f}")
    0.2201
    """
    more = (mask, ignore_index, pos_weight, label_smoothing, divisor, "reference", metrics)
    options = (sample_weight, reduction, check_labels, None, more)
    return evaluate("bce_with_logits_loss", logits, y_true, options, out)


def bce_with_logits_gradient(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    out: Array | None = None,
) -> Any:
    """Gradient of the binary cross-entropy with respect to the logits.

    Element gradient ``sigmoid(z) - y``, without the cancellation: a saturated right label
    gives its tiny gradient, not 0.

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
    reduction : {"mean", "sum", "none", "samples"}, default "mean"
        Mean or sum over all elements, each element, or means over the last axis.
    divisor : {"elements", "weights", "kept"}, optional
        What a mean divides by; by default the elements that count.
    check_labels : bool, default False
        Whether to look for labels that are NaN or outside [0, 1]; bool and integers always are.
    out : ndarray, optional
        Array for the gradient; it may be an input, to work in place.

    Returns
    -------
    gradient : ndarray
        Of the reduced loss, with respect to the logits; the shape of the input.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit: see :mod:`fastbce.functional`.

    Notes
    -----
    Maximum error of an element (``reduction="none"``): loss 1.8 ULP for hard labels and 2.1 for
    soft ones, gradient 1.71 for hard labels, Hessian 2.5. A soft label's gradient is exact to 1 ULP
    of 1, since its two terms may cancel. docs/accuracy.md has the errors with each option.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> print(fastbce.bce_with_logits_gradient(logits, labels).round(4))
    [-0.0596  0.1345]
    """
    more = (mask, ignore_index, pos_weight, label_smoothing, divisor, "reference", False)
    options = (sample_weight, reduction, check_labels, None, more)
    return evaluate("bce_with_logits_gradient", logits, y_true, options, out)


def bce_with_logits_loss_gradient(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    metrics: bool = False,
    out: Array | tuple[Array | None, ...] | None = None,
) -> Any:
    """Binary cross-entropy of logits and its gradient, in one pass.

    See :func:`bce_with_logits_loss` and :func:`bce_with_logits_gradient`.

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
    reduction : {"mean", "sum", "none", "samples"}, default "mean"
        Mean or sum over all elements, each element, or means over the last axis.
    divisor : {"elements", "weights", "kept"}, optional
        What a mean divides by; by default the elements that count.
    check_labels : bool, default False
        Whether to look for labels that are NaN or outside [0, 1]; bool and integers always are.
    metrics : bool, default False
        Whether to return accuracy and the number of clipped probabilities too.
    out : ndarray or tuple, optional
        Array for the gradient; a tuple (loss, gradient) where the losses are an array too.

    Returns
    -------
    loss : scalar or ndarray
        A scalar of the result's dtype for "mean" and "sum".
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
    Maximum error of an element (``reduction="none"``): loss 1.8 ULP for hard labels and 2.1 for
    soft ones, gradient 1.71 for hard labels, Hessian 2.5. A soft label's gradient is exact to 1 ULP
    of 1, since its two terms may cancel. docs/accuracy.md has the errors with each option.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> loss, gradient = fastbce.bce_with_logits_loss_gradient(logits, labels)
    >>> print(f"{loss:.4f}", gradient.round(4))
    0.2201 [-0.0596  0.1345]
    """
    more = (mask, ignore_index, pos_weight, label_smoothing, divisor, "reference", metrics)
    options = (sample_weight, reduction, check_labels, None, more)
    return evaluate("bce_with_logits_loss_gradient", logits, y_true, options, out)


def bce_with_logits_gradient_hessian(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    out: tuple[Array | None, ...] | None = None,
) -> Any:
    """Gradient and diagonal Hessian of the binary cross-entropy of logits, in one pass.

    Element gradient as in :func:`bce_with_logits_gradient`, Hessian
    ``sigmoid(z) (1 - sigmoid(z))``.

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
    reduction : {"mean", "sum", "none", "samples"}, default "mean"
        Mean or sum over all elements, each element, or means over the last axis.
    divisor : {"elements", "weights", "kept"}, optional
        What a mean divides by; by default the elements that count.
    check_labels : bool, default False
        Whether to look for labels that are NaN or outside [0, 1]; bool and integers always are.
    out : tuple, optional
        Arrays for (gradient, Hessian); None in a place allocates that one.

    Returns
    -------
    gradient : ndarray
        Of the reduced loss, with respect to the logits; the shape of the input.
    hessian : ndarray
        Second derivative with respect to each logit, scaled like the gradient.

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit: see :mod:`fastbce.functional`.

    Notes
    -----
    Maximum error of an element (``reduction="none"``): loss 1.8 ULP for hard labels and 2.1 for
    soft ones, gradient 1.71 for hard labels, Hessian 2.5. A soft label's gradient is exact to 1 ULP
    of 1, since its two terms may cancel. docs/accuracy.md has the errors with each option.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> gradient, hessian = fastbce.bce_with_logits_gradient_hessian(logits, labels)
    >>> print(gradient.round(4), hessian.round(4))
    [-0.0596  0.1345] [0.0525 0.0983]
    """
    more = (mask, ignore_index, pos_weight, label_smoothing, divisor, "reference", False)
    options = (sample_weight, reduction, check_labels, None, more)
    return evaluate("bce_with_logits_gradient_hessian", logits, y_true, options, out)


def bce_with_logits_loss_gradient_hessian(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    metrics: bool = False,
    out: tuple[Array | None, ...] | None = None,
) -> Any:
    """Loss, gradient and diagonal Hessian of the cross-entropy of logits, in one pass.

    See :func:`bce_with_logits_loss` and :func:`bce_with_logits_gradient_hessian`.

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
    reduction : {"mean", "sum", "none", "samples"}, default "mean"
        Mean or sum over all elements, each element, or means over the last axis.
    divisor : {"elements", "weights", "kept"}, optional
        What a mean divides by; by default the elements that count.
    check_labels : bool, default False
        Whether to look for labels that are NaN or outside [0, 1]; bool and integers always are.
    metrics : bool, default False
        Whether to return accuracy and the number of clipped probabilities too.
    out : tuple, optional
        Arrays for the results that are arrays, in the order returned.

    Returns
    -------
    loss : scalar or ndarray
        A scalar of the result's dtype for "mean" and "sum".
    gradient : ndarray
        Of the reduced loss, with respect to the logits; the shape of the input.
    hessian : ndarray
        Second derivative with respect to each logit, scaled like the gradient.
    metrics : Metrics
        Only with ``metrics=True``: a tuple (accuracy, clipped).

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit: see :mod:`fastbce.functional`.

    Notes
    -----
    Maximum error of an element (``reduction="none"``): loss 1.8 ULP for hard labels and 2.1 for
    soft ones, gradient 1.71 for hard labels, Hessian 2.5. A soft label's gradient is exact to 1 ULP
    of 1, since its two terms may cancel. docs/accuracy.md has the errors with each option.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> loss, gradient, hessian = fastbce.bce_with_logits_loss_gradient_hessian(logits, labels)
    >>> print(f"{loss:.4f}", gradient.round(4), hessian.round(4))
    0.2201 [-0.0596  0.1345] [0.0525 0.0983]
    """
    more = (mask, ignore_index, pos_weight, label_smoothing, divisor, "reference", metrics)
    options = (sample_weight, reduction, check_labels, None, more)
    return evaluate("bce_with_logits_loss_gradient_hessian", logits, y_true, options, out)


def sigmoid_bce(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    metrics: bool = False,
    out: tuple[Array | None, ...] | None = None,
) -> Any:
    """Sigmoid, binary cross-entropy and its gradient, in one pass: a training step's own part.

    The results of :func:`bce_with_logits_loss`, :func:`sigmoid` and
    :func:`bce_with_logits_gradient`, to the last bit.

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
        ``sigmoid(logits)``: weights and reductions do not change them.
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
    Maximum error of an element (``reduction="none"``): loss 1.8 ULP for hard labels and 2.1 for
    soft ones, probabilities 2.0, gradient 1.71 for hard labels. A soft label's gradient is exact to
    1 ULP of 1, since its two terms may cancel. docs/accuracy.md has the errors with each option.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> loss, probabilities, gradient = fastbce.sigmoid_bce(logits, labels)
    >>> print(f"{loss:.4f}", probabilities.round(4), gradient.round(4))
    0.2201 [0.8808 0.2689] [-0.0596  0.1345]
    """
    more = (mask, ignore_index, pos_weight, label_smoothing, divisor, "reference", metrics)
    options = (sample_weight, reduction, check_labels, None, more)
    return evaluate("sigmoid_bce", logits, y_true, options, out)
