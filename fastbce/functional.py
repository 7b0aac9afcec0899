"""The public functions: validate, allocate or take ``out=``, call the backend, reduce.

Common to all of them: arrays of any shape, strides and byte order, read-only or not, and anything
that NumPy or DLPack turns into one. The result's dtype follows the predictions, logits or inputs:
float32 -> float32, float64 -> float64, float16 -> float16 (computed in float32, rounded once),
bool and integers -> float64. Labels may have any of these dtypes and are read without a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ._backends import BROKEN, active_backend, fall_back_to_numpy
from ._inputs import (
    Array,
    as_array,
    as_given,
    as_number,
    check_flag,
    check_out,
    check_reduction,
    check_same_shape,
    check_weight,
    clip_bounds,
    float_dtypes,
    is_plain,
    is_plain_out,
    overlaps,
    raise_first_bad_label,
    refuse_later_options,
)
from ._interrupts import held_back
from ._reference import elementwise as _reference

__all__ = [
    "bce_gradient",
    "bce_loss",
    "bce_loss_gradient",
    "bce_with_logits_gradient",
    "bce_with_logits_gradient_hessian",
    "bce_with_logits_loss",
    "bce_with_logits_loss_gradient",
    "bce_with_logits_loss_gradient_hessian",
    "sigmoid",
    "sigmoid_backward",
]

_engine: ModuleType | None = None


def _backend() -> ModuleType:
    """Return the module that computes; Numba is imported at the first call that needs it."""
    global _engine
    if active_backend() == "numpy":
        return _reference
    if _engine is None:
        try:
            with held_back():
                from ._engine import elementwise as engine
        except BROKEN as error:
            fall_back_to_numpy(error)
            return _reference
        _engine = engine
    return _engine


def sigmoid(x: ArrayLike, *, out: Array | None = None) -> Any:
    """Logistic sigmoid, elementwise.

    ``1 / (1 + exp(-x))``, computed from ``exp(-|x|)`` so that nothing overflows and both tails
    keep their relative accuracy, down to the subnormal numbers.

    Parameters
    ----------
    x : array_like
        Any shape.
    out : ndarray, optional
        Array for the result: the shape of `x` and the result's dtype. It may be `x` itself.

    Returns
    -------
    ndarray or scalar
        The shape of `x`. A scalar for 0-dimensional input without `out`.

    Raises
    ------
    TypeError
        If `x` is not real and numeric, or `out` has the wrong dtype.
    ValueError
        If `out` has the wrong shape, is read-only, or overlaps `x` without being `x`.

    Notes
    -----
    Maximum error: 2.0 ULP (float32, all numbers), 1.8 ULP (float64, 10^9 of them).
    ``+inf -> 1``, ``-inf -> 0`` and ``NaN -> NaN``.
    """
    if is_plain(x):
        shape, dtype = x.shape, x.dtype
        if out is None or is_plain_out(out, shape, dtype, (x,)):
            target = np.empty(shape, dtype) if out is None else out
            _backend().sigmoid(x, target, dtype, True, False, out is not None)
            return target
    x = as_array(x, "x")
    compute, result = float_dtypes(x)
    (target,), aliased, _ = _targets(out, (x.shape,), result, (x,))
    _backend().sigmoid(x, target, compute, False, aliased, out is not None)
    return as_given(out, [target])[0]


def _targets(
    out: Any,
    shapes: tuple[tuple[int, ...], ...],
    dtype: np.dtype[Any],
    inputs: tuple[Array | None, ...],
    plain: bool = False,
) -> tuple[list[Array], bool, bool]:
    """Return the arrays to write, whether one is an input, and whether all are plain."""
    if plain:
        # The same without what plain arrays do not need: 0.7 us of a call of 1,000 elements.
        if out is None:
            return [np.empty(shape, dtype) for shape in shapes], False, True
        outs = out if type(out) is tuple else (out,)
        if len(outs) == len(shapes) and _are_plain_outs(outs, shapes, dtype, inputs):
            return [*outs], False, True
    if out is None:
        return [_allocate(shape, dtype, inputs[0]) for shape in shapes], False, False
    given = check_out(out, shapes, dtype)
    aliased = overlaps(given, inputs)
    return (
        [
            _allocate(shape, dtype, inputs[0]) if array is None else array
            for array, shape in zip(given, shapes, strict=True)
        ],
        aliased,
        False,
    )


def _are_plain_outs(
    outs: tuple[Any, ...],
    shapes: tuple[tuple[int, ...], ...],
    dtype: np.dtype[Any],
    inputs: Sequence[Any],
) -> bool:
    if len(outs) == 1:
        return is_plain_out(outs[0], shapes[0], dtype, inputs)
    apart = [*inputs]
    for out, shape in zip(outs, shapes, strict=True):
        if not is_plain_out(out, shape, dtype, apart):
            return False
        apart.append(out)
    return True


def _allocate(shape: tuple[int, ...], dtype: np.dtype[Any], like: Array | None) -> Array:
    """Allocate a result, in Fortran order for Fortran-ordered input."""
    fortran = like is not None and like.flags.fnc and like.shape == shape
    return np.empty(shape, dtype, "F" if fortran else "C")


def sigmoid_backward(dvalues: ArrayLike, output: ArrayLike, *, out: Array | None = None) -> Any:
    """Gradient of the sigmoid with respect to its input.

    ``dvalues * output * (1 - output)``.

    Parameters
    ----------
    dvalues : array_like
        Gradient with respect to the sigmoid's output; any shape.
    output : array_like
        The sigmoid's output, of the same shape; the result's dtype follows it.
    out : ndarray, optional
        Array for the result; it may be `dvalues` or `output` itself.

    Returns
    -------
    ndarray or scalar
        The shape of `output`.

    Raises
    ------
    TypeError
        If an argument is not real and numeric, or `out` has the wrong dtype.
    ValueError
        If the shapes differ, or `out` has the wrong shape, is read-only or partly overlaps an
        input.

    Notes
    -----
    Maximum error: 2.0 ULP of ``dvalues * output * (1 - output)`` for the given `output`.
    """
    if is_plain(output):
        shape, dtype = output.shape, output.dtype
        if is_plain_out(dvalues, shape, dtype) and (
            out is None or is_plain_out(out, shape, dtype, (dvalues, output))
        ):
            target = np.empty(shape, dtype) if out is None else out
            given = out is not None
            _backend().sigmoid_backward(dvalues, output, target, dtype, True, False, given)
            return target
    d, s = as_array(dvalues, "dvalues"), as_array(output, "output")
    check_same_shape(s, "output", d, "dvalues")
    compute, result = float_dtypes(s)
    (target,), aliased, _ = _targets(out, (s.shape,), result, (s, d))
    _backend().sigmoid_backward(d, s, target, compute, False, aliased, out is not None)
    return as_given(out, [target])[0]


def _evaluate(
    family: str,
    scores: Any,
    y_true: Any,
    want_loss: bool,
    derivatives: int,
    sample_weight: Any,
    pos_weight: Any,
    label_smoothing: Any,
    reduction: str,
    check_labels: Any,
    out: Any,
    eps: float | None = None,
) -> Any:
    """Validate, allocate, call the backend, reduce: the one path of all loss functions."""
    plain = (
        sample_weight is None
        and is_plain(scores)
        and is_plain(y_true, labels=True)
        and scores.shape == y_true.shape
    )
    weight: Array | None = None
    if plain:
        x, y = scores, y_true
        compute = result = x.dtype
    else:
        name = "y_pred" if family == "clipped" else "logits"
        x, y = as_array(scores, name), as_array(y_true, "y_true")
        check_same_shape(x, name, y, "y_true")
        weight = check_weight(sample_weight, x.shape)
        compute, result = float_dtypes(x)
    check_reduction(reduction, x)
    if pos_weight is not None or type(label_smoothing) is not float or label_smoothing != 0.0:
        refuse_later_options(pos_weight, label_smoothing)
    if check_labels is not False and check_labels is not True:
        check_flag(check_labels, "check_labels")
    bounds = None
    if family == "clipped":
        bounds = clip_bounds(eps if type(eps) is float else as_number(eps, "eps"), compute)
    total = want_loss and (reduction == "mean" or reduction == "sum")
    samples = reduction == "samples"
    shapes = (x.shape,) * derivatives
    if want_loss and not total:
        shapes = (x.shape[:-1] if samples else x.shape, *shapes)
    inputs = (x, y) if weight is None else (x, y, weight)
    arrays, aliased, plain = _targets(out, shapes, result, inputs, plain)
    loss = arrays[0] if want_loss and not total else None
    grad = arrays[-derivatives] if derivatives else None

    count = x.size if reduction == "mean" else x.shape[-1] if samples else 1
    value = 0.0
    if x.size:
        faults = np.zeros(1, np.int64) if check_labels else None
        flags = (faults, total, samples, plain, aliased, out is not None)
        backend = _backend()
        if family == "clipped":
            value = backend.clipped(x, y, weight, bounds, 1.0 / count, loss, grad, compute, *flags)
        else:
            hess = arrays[-1] if derivatives == 2 else None
            value = backend.logits(x, y, weight, 1.0 / count, loss, grad, hess, compute, *flags)
        if faults is not None and faults[0]:
            raise_first_bad_label(y)
    elif samples and loss is not None:
        loss.fill(np.nan)
    results: list[Any] = arrays
    if not plain or (out is None and loss is not None):
        results = as_given(out, arrays)
    if total:
        mean = value / count if count else np.nan
        results = [_scalar(mean if reduction == "mean" else value, result), *results]
    return results[0] if len(results) == 1 else tuple(results)


def _scalar(value: float, dtype: np.dtype[Any]) -> Any:
    # To ignore what happens on the way costs 0.5 us: only where something may happen.
    if dtype.itemsize == 8 or (dtype.itemsize == 4 and 1e-37 < value < 3e38):
        return dtype.type(value)
    with np.errstate(all="ignore"):
        return dtype.type(value)


_SHARED_DOCS = {
    "y_pred": """y_pred : array_like
        Predicted probabilities of class 1; any shape. Values are clipped to
        ``[eps, 1 - eps]``; the gradient is not zeroed where the clip is active.""",
    "logits": """logits : array_like
        Log-odds of class 1, the input of the sigmoid; any shape.""",
    "common": """y_true : array_like
        Labels in [0, 1], hard or soft, of the same shape and of any bool, integer or float dtype.
    sample_weight : array_like, optional
        Finite, non-negative factors of the elements' losses; any shape that broadcasts to that
        of the predictions.
    pos_weight, label_smoothing : optional
        Reserved: any value but the default raises NotImplementedError.""",
    "eps": """eps : float, default 1e-7
        Clip bound, strictly between 0 and 0.5. The bounds are ``eps`` and ``1 - eps`` rounded to
        the dtype computed in, kept off 0 and 1.""",
    "reduction": """reduction : {"mean", "sum", "none", "samples"}, default "mean"
        What is differentiated and returned: the mean over all elements, their sum, each element,
        or the mean over the last axis. Weights do not change the divisor.""",
    "check_labels": """check_labels : bool, default False
        Whether to look, in the same pass, for labels that are NaN or outside [0, 1].""",
    "raises": """Raises
    ------
    TypeError
        If an argument is not real and numeric, or `out` has the wrong dtype.
    ValueError
        If shapes differ ((n,) against (n, 1) included), a weight is negative or not finite, the
        reduction is unknown, `eps` is out of range, or `out` has the wrong shape, is read-only
        or overlaps an input without being exactly that array. With `check_labels`, if a label
        is NaN or outside [0, 1]: its first index is named, and `out` holds no result.""",
    "clipped_accuracy": """loss 1.0 ULP for hard
    labels and 2.2 for soft ones, gradient 2.0 for hard labels, of the exact value at the clipped
    probability. A soft label's gradient is exact to 2 ULP of ``1 / (c (1 - c))``.""",
    "logits_accuracy": """loss 1.8 ULP for hard
    labels and 2.1 for soft ones, gradient 1.71 for hard labels, Hessian 2.5. A soft label's
    gradient is exact to 1 ULP of 1, since its two terms may cancel.""",
    "sums": """Sums are taken in an order that depends on the number of elements alone: the same
    bits for any number of threads and any memory layout.""",
}

_F = TypeVar("_F", bound=Callable[..., Any])


def _documented(function: _F) -> _F:
    """Fill the parameter descriptions that the loss functions share into the docstring."""
    text = function.__doc__
    if text:  # absent under python -OO
        if "\n    Parameters" in text:  # Python 3.13 takes the indentation off itself
            text = text.replace("\n    ", "\n")
        shared = {name: words.replace("\n    ", "\n") for name, words in _SHARED_DOCS.items()}
        function.__doc__ = text.format(**shared)
    return function


@_documented
def bce_loss(
    y_pred: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    eps: float = 1e-7,
    reduction: str = "mean",
    check_labels: bool = False,
    out: Array | None = None,
) -> Any:
    """Binary cross-entropy of predicted probabilities.

    Element loss ``-(y log c + (1 - y) log(1 - c))`` with ``c = clip(y_pred, eps, 1 - eps)``.

    Parameters
    ----------
    {y_pred}
    {common}
    {eps}
    {reduction}
    {check_labels}
    out : ndarray, optional
        Array for the losses: only with ``reduction="none"`` or ``"samples"``.

    Returns
    -------
    loss : scalar or ndarray
        A scalar of the result's dtype for "mean" and "sum".

    {raises}

    Notes
    -----
    Maximum error of an element (``reduction="none"``): {clipped_accuracy}
    {sums}
    """
    return _evaluate(
        "clipped",
        y_pred,
        y_true,
        True,
        0,
        sample_weight,
        pos_weight,
        label_smoothing,
        reduction,
        check_labels,
        out,
        eps,
    )


@_documented
def bce_gradient(
    y_pred: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    eps: float = 1e-7,
    reduction: str = "mean",
    check_labels: bool = False,
    out: Array | None = None,
) -> Any:
    """Gradient of the binary cross-entropy with respect to the probabilities.

    Element gradient ``(c - y) / (c (1 - c))`` with ``c = clip(y_pred, eps, 1 - eps)``.

    Parameters
    ----------
    {y_pred}
    {common}
    {eps}
    {reduction}
    {check_labels}
    out : ndarray, optional
        Array for the gradient; it may be an input, to work in place.

    Returns
    -------
    gradient : ndarray
        Of the reduced loss, with respect to the probabilities; the shape of the input.

    {raises}

    Notes
    -----
    Maximum error of an element (``reduction="none"``): {clipped_accuracy}
    """
    return _evaluate(
        "clipped",
        y_pred,
        y_true,
        False,
        1,
        sample_weight,
        pos_weight,
        label_smoothing,
        reduction,
        check_labels,
        out,
        eps,
    )


@_documented
def bce_loss_gradient(
    y_pred: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    eps: float = 1e-7,
    reduction: str = "mean",
    check_labels: bool = False,
    out: Array | tuple[Array | None, ...] | None = None,
) -> Any:
    """Binary cross-entropy of probabilities and its gradient, in one pass.

    See :func:`bce_loss` and :func:`bce_gradient`.

    Parameters
    ----------
    {y_pred}
    {common}
    {eps}
    {reduction}
    {check_labels}
    out : ndarray or tuple, optional
        Array for the gradient; a tuple (loss, gradient) where the losses are an array too.

    Returns
    -------
    loss : scalar or ndarray
        A scalar of the result's dtype for "mean" and "sum".
    gradient : ndarray
        Of the reduced loss, with respect to the probabilities; the shape of the input.

    {raises}

    Notes
    -----
    Maximum error of an element (``reduction="none"``): {clipped_accuracy}
    {sums}
    """
    return _evaluate(
        "clipped",
        y_pred,
        y_true,
        True,
        1,
        sample_weight,
        pos_weight,
        label_smoothing,
        reduction,
        check_labels,
        out,
        eps,
    )


@_documented
def bce_with_logits_loss(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    check_labels: bool = False,
    out: Array | None = None,
) -> Any:
    """Binary cross-entropy of logits.

    Element loss ``max(z, 0) - z y + log(1 + exp(-|z|))``: softplus of the logit against the label.

    Parameters
    ----------
    {logits}
    {common}
    {reduction}
    {check_labels}
    out : ndarray, optional
        Array for the losses: only with ``reduction="none"`` or ``"samples"``.

    Returns
    -------
    loss : scalar or ndarray
        A scalar of the result's dtype for "mean" and "sum".

    {raises}

    Notes
    -----
    Maximum error of an element (``reduction="none"``): {logits_accuracy}
    {sums}
    """
    return _evaluate(
        "logits",
        logits,
        y_true,
        True,
        0,
        sample_weight,
        pos_weight,
        label_smoothing,
        reduction,
        check_labels,
        out,
    )


@_documented
def bce_with_logits_gradient(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    check_labels: bool = False,
    out: Array | None = None,
) -> Any:
    """Gradient of the binary cross-entropy with respect to the logits.

    Element gradient ``sigmoid(z) - y``, without the cancellation: a saturated right label
    gives its tiny gradient, not 0.

    Parameters
    ----------
    {logits}
    {common}
    {reduction}
    {check_labels}
    out : ndarray, optional
        Array for the gradient; it may be an input, to work in place.

    Returns
    -------
    gradient : ndarray
        Of the reduced loss, with respect to the logits; the shape of the input.

    {raises}

    Notes
    -----
    Maximum error of an element (``reduction="none"``): {logits_accuracy}
    """
    return _evaluate(
        "logits",
        logits,
        y_true,
        False,
        1,
        sample_weight,
        pos_weight,
        label_smoothing,
        reduction,
        check_labels,
        out,
    )


@_documented
def bce_with_logits_loss_gradient(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    check_labels: bool = False,
    out: Array | tuple[Array | None, ...] | None = None,
) -> Any:
    """Binary cross-entropy of logits and its gradient, in one pass.

    See :func:`bce_with_logits_loss` and :func:`bce_with_logits_gradient`.

    Parameters
    ----------
    {logits}
    {common}
    {reduction}
    {check_labels}
    out : ndarray or tuple, optional
        Array for the gradient; a tuple (loss, gradient) where the losses are an array too.

    Returns
    -------
    loss : scalar or ndarray
        A scalar of the result's dtype for "mean" and "sum".
    gradient : ndarray
        Of the reduced loss, with respect to the logits; the shape of the input.

    {raises}

    Notes
    -----
    Maximum error of an element (``reduction="none"``): {logits_accuracy}
    {sums}
    """
    return _evaluate(
        "logits",
        logits,
        y_true,
        True,
        1,
        sample_weight,
        pos_weight,
        label_smoothing,
        reduction,
        check_labels,
        out,
    )


@_documented
def bce_with_logits_gradient_hessian(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    check_labels: bool = False,
    out: tuple[Array | None, ...] | None = None,
) -> Any:
    """Gradient and diagonal Hessian of the binary cross-entropy of logits, in one pass.

    Element gradient ``sigmoid(z) - y``, without the cancellation: a saturated right label
    gives its tiny gradient, not 0.
    Element Hessian ``sigmoid(z) (1 - sigmoid(z))``.

    Parameters
    ----------
    {logits}
    {common}
    {reduction}
    {check_labels}
    out : tuple, optional
        Arrays for (gradient, Hessian); None in a place allocates that one.

    Returns
    -------
    gradient : ndarray
        Of the reduced loss, with respect to the logits; the shape of the input.
    hessian : ndarray
        Second derivative with respect to each logit, scaled like the gradient.

    {raises}

    Notes
    -----
    Maximum error of an element (``reduction="none"``): {logits_accuracy}
    """
    return _evaluate(
        "logits",
        logits,
        y_true,
        False,
        2,
        sample_weight,
        pos_weight,
        label_smoothing,
        reduction,
        check_labels,
        out,
    )


@_documented
def bce_with_logits_loss_gradient_hessian(
    logits: ArrayLike,
    y_true: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    check_labels: bool = False,
    out: tuple[Array | None, ...] | None = None,
) -> Any:
    """Loss, gradient and diagonal Hessian of the cross-entropy of logits, in one pass.

    See :func:`bce_with_logits_loss` and :func:`bce_with_logits_gradient_hessian`.

    Parameters
    ----------
    {logits}
    {common}
    {reduction}
    {check_labels}
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

    {raises}

    Notes
    -----
    Maximum error of an element (``reduction="none"``): {logits_accuracy}
    {sums}
    """
    return _evaluate(
        "logits",
        logits,
        y_true,
        True,
        2,
        sample_weight,
        pos_weight,
        label_smoothing,
        reduction,
        check_labels,
        out,
    )
