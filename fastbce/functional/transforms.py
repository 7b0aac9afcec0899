"""Functions of elements without labels."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastbce._evaluate import transform
from fastbce._typing import Array


def sigmoid(x: ArrayLike, *, out: Array | None = None) -> Any:
    """Logistic sigmoid, elementwise.

    ``1 / (1 + exp(-x))``, computed from ``exp(-|x|)`` so that nothing overflows and both tails
    keep their relative accuracy, down to the subnormal numbers.

    Parameters
    ----------
    x : array_like
        Any shape.
    out : ndarray, optional
        Array for the result: the shape of `x`, any float dtype. It may be `x` itself.

    Returns
    -------
    ndarray or scalar
        The shape of `x`. A scalar for 0-dimensional input without `out`.

    Raises
    ------
    TypeError
        If `x` is not real and numeric, or `out` has no float dtype.
    ValueError
        If `out` has the wrong shape, is read-only, or overlaps `x` without being `x`.

    Notes
    -----
    Maximum error: 2.0 ULP (float32, all numbers), 1.8 ULP (float64, 10^9 of them).
    ``+inf -> 1``, ``-inf -> 0`` and ``NaN -> NaN``.

    Examples
    --------
    >>> import fastbce
    >>> print(fastbce.sigmoid([-2.0, 0.0, 2.0]).round(4))
    [0.1192 0.5    0.8808]
    """
    return transform("sigmoid", (x,), out)


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
        If an argument is not real and numeric, or `out` has no float dtype.
    ValueError
        If the shapes differ, or `out` has the wrong shape, is read-only or partly overlaps an
        input.

    Notes
    -----
    Maximum error: 2.0 ULP of ``dvalues * output * (1 - output)`` for the given `output`.

    Examples
    --------
    >>> import fastbce
    >>> output = fastbce.sigmoid([-2.0, 0.0, 2.0])
    >>> print(fastbce.sigmoid_backward([1.0, 1.0, 1.0], output).round(4))
    [0.105 0.25  0.105]
    """
    return transform("sigmoid_backward", (dvalues, output), out)


def softplus(x: ArrayLike, *, out: Array | None = None) -> Any:
    """Softplus, elementwise: a smooth ``max(x, 0)``.

    ``log(1 + exp(x))``, computed as ``max(x, 0) + log(1 + exp(-|x|))``: nothing overflows, and the
    left tail keeps its relative accuracy.

    Parameters
    ----------
    x : array_like
        Any shape.
    out : ndarray, optional
        Array for the result: the shape of `x`, any float dtype. It may be `x` itself.

    Returns
    -------
    ndarray or scalar
        The shape of `x`. A scalar for 0-dimensional input without `out`.

    Raises
    ------
    TypeError
        If `x` is not real and numeric, or `out` has no float dtype.
    ValueError
        If `out` has the wrong shape, is read-only, or overlaps `x` without being `x`.

    Notes
    -----
    Maximum error: 1.7 ULP. ``+inf -> +inf``, ``-inf -> 0`` and ``NaN -> NaN``. Its derivative is
    :func:`sigmoid`.

    Examples
    --------
    >>> import fastbce
    >>> print(fastbce.softplus([-2.0, 0.0, 2.0]).round(4))
    [0.1269 0.6931 2.1269]
    """
    return transform("softplus", (x,), out)


def log_sigmoid(x: ArrayLike, *, out: Array | None = None) -> Any:
    """Logarithm of the sigmoid, elementwise.

    ``log(1 / (1 + exp(-x)))``, which is ``-softplus(-x)``.

    Parameters
    ----------
    x : array_like
        Any shape.
    out : ndarray, optional
        Array for the result: the shape of `x`, any float dtype. It may be `x` itself.

    Returns
    -------
    ndarray or scalar
        The shape of `x`. A scalar for 0-dimensional input without `out`.

    Raises
    ------
    TypeError
        If `x` is not real and numeric, or `out` has no float dtype.
    ValueError
        If `out` has the wrong shape, is read-only, or overlaps `x` without being `x`.

    Notes
    -----
    Maximum error: 1.8 ULP. ``+inf -> 0``, ``-inf -> -inf`` and ``NaN -> NaN``.

    Examples
    --------
    >>> import fastbce
    >>> print(fastbce.log_sigmoid([-2.0, 0.0, 2.0]).round(4))
    [-2.1269 -0.6931 -0.1269]
    """
    return transform("log_sigmoid", (x,), out)


def logit(p: ArrayLike, *, out: Array | None = None) -> Any:
    """Log-odds of probabilities, elementwise: the inverse of the sigmoid.

    ``log(p / (1 - p))``, accurate near 0, near 1, and near 1/2, where it is near 0 itself.

    Parameters
    ----------
    p : array_like
        Probabilities; any shape.
    out : ndarray, optional
        Array for the result: the shape of `p`, any float dtype. It may be `p` itself.

    Returns
    -------
    ndarray or scalar
        The shape of `p`. A scalar for 0-dimensional input without `out`.

    Raises
    ------
    TypeError
        If `p` is not real and numeric, or `out` has no float dtype.
    ValueError
        If `out` has the wrong shape, is read-only, or overlaps `p` without being `p`.

    Notes
    -----
    Maximum error: 1.4 ULP. ``0 -> -inf``, ``1 -> +inf``; NaN, and what lies outside [0, 1], give
    NaN.

    Examples
    --------
    >>> import fastbce
    >>> print(fastbce.logit([0.1, 0.5, 0.9]).round(4))
    [-2.1972  0.      2.1972]
    """
    return transform("logit", (p,), out)
