"""The focal loss of logits; the other options are explained in the package."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastbce._evaluate import evaluate
from fastbce._typing import Array


def focal_loss(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    metrics: bool = False,
    out: Array | None = None,
) -> Any:
    """Focal loss of logits.

    Element loss ``alpha_t (1 - p_t)^gamma bce``, with ``p_t = p y + (1 - p) (1 - y)``, ``p`` the
    sigmoid of the logit, ``alpha_t = alpha y + (1 - alpha) (1 - y)`` and ``bce`` the binary
    cross-entropy: torchvision's formula. With ``gamma=0, alpha=-1`` it is
    :func:`bce_with_logits_loss`.

    Parameters
    ----------
    logits : array_like
        Log-odds of class 1, the input of the sigmoid; any shape.
    y_true : array_like
        Labels in [0, 1], hard or soft, of the same shape.
    alpha : float, default 0.25
        What label 1 weighs, at most 1; label 0 weighs ``1 - alpha``. A negative one weighs both 1.
    gamma : float, default 2.0
        The exponent, 0 or more: how much less an element counts whose label is likely already.
    sample_weight : array_like, optional
        Finite, non-negative factors of the losses; the shape must broadcast. 0 ignores an element.
    mask : array_like of bool, optional
        True for the elements that count; the shape must broadcast.
    ignore_index : int, optional
        Label of elements that do not count.
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
    Maximum error of an element (``reduction="none"``), hard labels, `alpha` 0.25 and `gamma` 2:
    loss 3.6 ULP, gradient 4.6. The Hessian crosses 0, and is exact to 9 ULP of the sum of its
    terms. An error of u = 1 - p_t counts `gamma` times, for soft labels ``gamma |log u|`` times.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> print(f"{fastbce.focal_loss(logits, labels):.4f}")
    0.0087
    """
    more = (mask, ignore_index, None, label_smoothing, divisor, "reference", metrics)
    options = (sample_weight, reduction, check_labels, (alpha, gamma), more)
    return evaluate("focal_loss", logits, y_true, options, out)


def focal_gradient(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    out: Array | None = None,
) -> Any:
    """Gradient of the focal loss with respect to the logits.

    The analytic derivative of :func:`focal_loss`, finite for every finite logit and any `gamma`.

    Parameters
    ----------
    logits : array_like
        Log-odds of class 1, the input of the sigmoid; any shape.
    y_true : array_like
        Labels in [0, 1], hard or soft, of the same shape.
    alpha : float, default 0.25
        What label 1 weighs, at most 1; label 0 weighs ``1 - alpha``. A negative one weighs both 1.
    gamma : float, default 2.0
        The exponent, 0 or more: how much less an element counts whose label is likely already.
    sample_weight : array_like, optional
        Finite, non-negative factors of the losses; the shape must broadcast. 0 ignores an element.
    mask : array_like of bool, optional
        True for the elements that count; the shape must broadcast.
    ignore_index : int, optional
        Label of elements that do not count.
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
    Maximum error of an element (``reduction="none"``), hard labels, `alpha` 0.25 and `gamma` 2:
    loss 3.6 ULP, gradient 4.6. The Hessian crosses 0, and is exact to 9 ULP of the sum of its
    terms. An error of u = 1 - p_t counts `gamma` times, for soft labels ``gamma |log u|`` times.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> print(fastbce.focal_gradient(logits, labels).round(4))
    [-0.0006  0.0197]
    """
    more = (mask, ignore_index, None, label_smoothing, divisor, "reference", False)
    options = (sample_weight, reduction, check_labels, (alpha, gamma), more)
    return evaluate("focal_gradient", logits, y_true, options, out)


def focal_loss_gradient(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    metrics: bool = False,
    out: Array | tuple[Array | None, ...] | None = None,
) -> Any:
    """Focal loss of logits and its gradient, in one pass.

    See :func:`focal_loss` and :func:`focal_gradient`.

    Parameters
    ----------
    logits : array_like
        Log-odds of class 1, the input of the sigmoid; any shape.
    y_true : array_like
        Labels in [0, 1], hard or soft, of the same shape.
    alpha : float, default 0.25
        What label 1 weighs, at most 1; label 0 weighs ``1 - alpha``. A negative one weighs both 1.
    gamma : float, default 2.0
        The exponent, 0 or more: how much less an element counts whose label is likely already.
    sample_weight : array_like, optional
        Finite, non-negative factors of the losses; the shape must broadcast. 0 ignores an element.
    mask : array_like of bool, optional
        True for the elements that count; the shape must broadcast.
    ignore_index : int, optional
        Label of elements that do not count.
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
    Maximum error of an element (``reduction="none"``), hard labels, `alpha` 0.25 and `gamma` 2:
    loss 3.6 ULP, gradient 4.6. The Hessian crosses 0, and is exact to 9 ULP of the sum of its
    terms. An error of u = 1 - p_t counts `gamma` times, for soft labels ``gamma |log u|`` times.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> loss, gradient = fastbce.focal_loss_gradient(logits, labels)
    >>> print(f"{loss:.4f}", gradient.round(4))
    0.0087 [-0.0006  0.0197]
    """
    more = (mask, ignore_index, None, label_smoothing, divisor, "reference", metrics)
    options = (sample_weight, reduction, check_labels, (alpha, gamma), more)
    return evaluate("focal_loss_gradient", logits, y_true, options, out)


def focal_gradient_hessian(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    out: Array | tuple[Array | None, ...] | None = None,
) -> Any:
    """Gradient and diagonal Hessian of the focal loss, in one pass.

    The analytic derivatives of :func:`focal_loss`. The Hessian is negative where a label is so
    unlikely that the loss is nearly linear; boosting may want ``np.maximum(hessian, eps)``.

    Parameters
    ----------
    logits : array_like
        Log-odds of class 1, the input of the sigmoid; any shape.
    y_true : array_like
        Labels in [0, 1], hard or soft, of the same shape.
    alpha : float, default 0.25
        What label 1 weighs, at most 1; label 0 weighs ``1 - alpha``. A negative one weighs both 1.
    gamma : float, default 2.0
        The exponent, 0 or more: how much less an element counts whose label is likely already.
    sample_weight : array_like, optional
        Finite, non-negative factors of the losses; the shape must broadcast. 0 ignores an element.
    mask : array_like of bool, optional
        True for the elements that count; the shape must broadcast.
    ignore_index : int, optional
        Label of elements that do not count.
    label_smoothing : float, default 0.0
        Labels become ``y (1 - s) + s / 2``.
    reduction : {"mean", "sum", "none", "samples"}, default "mean"
        Mean or sum over all elements, each element, or means over the last axis.
    divisor : {"elements", "weights", "kept"}, optional
        What a mean divides by; by default the elements that count.
    check_labels : bool, default False
        Whether to look for labels that are NaN or outside [0, 1]; bool and integers always are.
    out : tuple, optional
        Arrays (gradient, Hessian); None in a place allocates that one.

    Returns
    -------
    gradient : ndarray
        Of the reduced loss, with respect to the logits; the shape of the input.
    hessian : ndarray
        Second derivatives of the reduced loss; they may be negative.


    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit: see :mod:`fastbce.functional`.

    Notes
    -----
    Maximum error of an element (``reduction="none"``), hard labels, `alpha` 0.25 and `gamma` 2:
    loss 3.6 ULP, gradient 4.6. The Hessian crosses 0, and is exact to 9 ULP of the sum of its
    terms. An error of u = 1 - p_t counts `gamma` times, for soft labels ``gamma |log u|`` times.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> gradient, hessian = fastbce.focal_gradient_hessian(logits, labels)
    >>> print(gradient.round(4), hessian.round(4))
    [-0.0006  0.0197] [0.0016 0.0415]
    """
    more = (mask, ignore_index, None, label_smoothing, divisor, "reference", False)
    options = (sample_weight, reduction, check_labels, (alpha, gamma), more)
    return evaluate("focal_gradient_hessian", logits, y_true, options, out)


def focal_loss_gradient_hessian(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    sample_weight: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    divisor: str | None = None,
    check_labels: bool = False,
    metrics: bool = False,
    out: Array | tuple[Array | None, ...] | None = None,
) -> Any:
    """Focal loss of logits, its gradient and diagonal Hessian, in one pass.

    See :func:`focal_loss` and :func:`focal_gradient_hessian`.

    Parameters
    ----------
    logits : array_like
        Log-odds of class 1, the input of the sigmoid; any shape.
    y_true : array_like
        Labels in [0, 1], hard or soft, of the same shape.
    alpha : float, default 0.25
        What label 1 weighs, at most 1; label 0 weighs ``1 - alpha``. A negative one weighs both 1.
    gamma : float, default 2.0
        The exponent, 0 or more: how much less an element counts whose label is likely already.
    sample_weight : array_like, optional
        Finite, non-negative factors of the losses; the shape must broadcast. 0 ignores an element.
    mask : array_like of bool, optional
        True for the elements that count; the shape must broadcast.
    ignore_index : int, optional
        Label of elements that do not count.
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
    gradient : ndarray
        Of the reduced loss, with respect to the logits; the shape of the input.
    hessian : ndarray
        Second derivatives of the reduced loss; they may be negative.
    metrics : Metrics
        Only with ``metrics=True``: a tuple (accuracy, clipped).

    Raises
    ------
    TypeError, ValueError
        For an argument that does not fit: see :mod:`fastbce.functional`.

    Notes
    -----
    Maximum error of an element (``reduction="none"``), hard labels, `alpha` 0.25 and `gamma` 2:
    loss 3.6 ULP, gradient 4.6. The Hessian crosses 0, and is exact to 9 ULP of the sum of its
    terms. An error of u = 1 - p_t counts `gamma` times, for soft labels ``gamma |log u|`` times.

    Examples
    --------
    >>> import fastbce
    >>> logits, labels = [2.0, -1.0], [1, 0]
    >>> loss, gradient, hessian = fastbce.focal_loss_gradient_hessian(logits, labels)
    >>> print(f"{loss:.4f}", gradient.round(4), hessian.round(4))
    0.0087 [-0.0006  0.0197] [0.0016 0.0415]
    """
    more = (mask, ignore_index, None, label_smoothing, divisor, "reference", metrics)
    options = (sample_weight, reduction, check_labels, (alpha, gamma), more)
    return evaluate("focal_loss_gradient_hessian", logits, y_true, options, out)
