"""Losses for JAX on a CPU, in place of optax's (extra ``jax``).

They can be differentiated in both directions and any number of times, compiled and vectorised by
``jax.grad``, ``jax.jvp``, ``jax.jit`` and ``jax.vmap``. XLA calls the kernels by its foreign
function interface, on the thread that it computes on. Where it refuses that, and with the "numpy"
backend, it calls the functions of this package; on other devices it has formulas.
"""

from __future__ import annotations

import math
import warnings
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from fastbce import functional
from fastbce._backends import active_backend

__all__ = ["bce_with_logits_loss", "sigmoid", "sigmoid_binary_cross_entropy"]


def sigmoid(x: Any) -> Any:
    """Return ``1 / (1 + exp(-x))``, as :func:`jax.nn.sigmoid`.

    Parameters
    ----------
    x : array_like
        Numbers of any shape; float16 and bfloat16 are computed in float32.

    Returns
    -------
    jax.Array
        Of the shape and dtype of `x`, integers as JAX's default float.

    Notes
    -----
    Maximum error 2.0 ULP. XLA takes subnormal numbers for 0.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from fastbce.interop.jax import sigmoid
    >>> print([f"{value:.4f}" for value in sigmoid(jnp.array([0.0, 2.0]))])
    ['0.5000', '0.8808']
    """
    (x,), dtype = _floats(x)
    return _sigmoid(x).astype(dtype)


def sigmoid_binary_cross_entropy(logits: Any, labels: Any) -> Any:
    """Return the binary cross-entropy of each logit, as optax's function of this name.

    Parameters
    ----------
    logits, labels : array_like
        Logits, and labels in [0, 1], which broadcast to one shape.

    Returns
    -------
    jax.Array
        The losses, of the dtype of the logits.

    Notes
    -----
    Maximum error of a loss 2.1 ULP. Where only the mean is needed, :func:`bce_with_logits_loss`
    takes less time, since neither losses nor gradients are written twice.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from fastbce.interop.jax import sigmoid_binary_cross_entropy
    >>> losses = sigmoid_binary_cross_entropy(jnp.array([2.0, -1.0]), jnp.array([1, 0]))
    >>> print([f"{loss:.4f}" for loss in losses])
    ['0.1269', '0.3133']
    """
    (z, y), dtype = _floats(logits, labels)
    return _losses(z, y).astype(dtype)


def bce_with_logits_loss(logits: Any, labels: Any) -> Any:
    """Return the mean binary cross-entropy; loss and gradient are one pass over the logits.

    Parameters
    ----------
    logits, labels : array_like
        Logits, and labels in [0, 1], which broadcast to one shape.

    Returns
    -------
    jax.Array
        The mean loss, of the dtype of the logits; summed in float64.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from fastbce.interop.jax import bce_with_logits_loss
    >>> logits, labels = jnp.array([2.0, -1.0]), jnp.array([1, 0])
    >>> loss, gradient = jax.value_and_grad(bce_with_logits_loss)(logits, labels)
    >>> print(f"{loss:.4f}", gradient.round(4))
    0.2201 [-0.0596  0.1345]
    """
    (z, y), dtype = _floats(logits, labels)
    return _mean(z, y).astype(dtype)


def _floats(first: Any, *others: Any) -> tuple[tuple[Any, ...], Any]:
    """Return arrays of one shape and of the dtype to compute in, and that of the results."""
    first = jnp.asarray(first)
    dtype = first.dtype if jnp.issubdtype(first.dtype, jnp.floating) else jnp.result_type(float)
    compute = dtype if dtype.itemsize >= 4 else jnp.float32
    arrays = jnp.broadcast_arrays(first, *map(jnp.asarray, others)) if others else [first]
    return tuple(a.astype(compute) for a in arrays), dtype


# --- calls ---------------------------------------------------------------------------------------


@cache
def _registered(name: str, dtype: np.dtype[Any]) -> str | None:
    """Return the name under which XLA knows a kernel; None where it refuses it."""
    from ._xla import handler

    target = f"fastbce_{name}_{dtype.name}"
    capsule = jax.ffi.pycapsule(handler(name, dtype))
    try:
        # Before XLA has started, it would take any handler, and end the start over one of another
        # version.
        jax.local_devices(backend="cpu")
    except RuntimeError:  # no CPU here: nothing will be called
        return None
    try:
        jax.ffi.register_ffi_target(target, capsule, platform="cpu")
    except RuntimeError as error:
        text = f"XLA does not take compiled functions ({error}); JAX calls Python instead"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return None
    return target


def _call(name: str, shapes: Any, inner: int, elsewhere: Any, *arrays: Any) -> Any:
    """Call a kernel where the arrays are on a CPU, and a function of JAX's elsewhere.

    Losses are means over so many inner axes; those before them are of :func:`jax.vmap`.
    """
    cpu: Any
    target = None
    if active_backend() == "numba":
        target = _registered(name, np.dtype(arrays[0].dtype))
    if target is None:
        # With a callback the interpreter takes part: 120 us a call instead of 7.
        cpu = partial(
            jax.pure_callback, partial(_callback, name, inner), shapes, vmap_method="broadcast_all"
        )
    else:
        cpu = jax.ffi.ffi_call(target, shapes, vmap_method="broadcast_all")
    return jax.lax.platform_dependent(*arrays, cpu=cpu, default=elsewhere)


def _callback(name: str, inner: int, *values: Any) -> Any:
    """Do what the handler of that name does."""
    arrays = [np.asarray(value) for value in values]
    shape = arrays[0].shape
    outer = len(shape) - inner
    rows = [a.reshape(*shape[:outer], math.prod(shape[outer:])) for a in arrays]
    if name == "sigmoid":
        return functional.sigmoid(arrays[0])
    if name == "loss":
        return np.asarray(functional.bce_with_logits_loss(*rows, reduction="samples"))
    loss, slope = functional.bce_with_logits_loss_gradient(*rows, reduction="samples")
    return np.asarray(loss), slope.reshape(shape)


def _like(z: Any, shape: tuple[int, ...]) -> Any:
    return jax.ShapeDtypeStruct(shape, z.dtype)


def _formula(z: Any, y: Any) -> Any:
    return jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z)))


# --- operations and their derivatives ------------------------------------------------------------
# Rules of tangents serve both directions, since JAX transposes them. Those of the slopes, which
# second derivatives need, are formulas of the sigmoid, which has one of itself.


@jax.custom_jvp
@jax.jit
def _sigmoid(x: Any) -> Any:
    return _call("sigmoid", _like(x, x.shape), x.ndim, jax.nn.sigmoid, x)


@_sigmoid.defjvp
def _sigmoid_rule(primals: Any, tangents: Any) -> Any:
    s = _sigmoid(*primals)
    return s, s * (1 - s) * tangents[0]


def _loss(z: Any, y: Any, inner: int) -> Any:
    """Return the losses, as means over so many inner axes: none of them, or all."""
    shape = z.shape[: z.ndim - inner]
    return _call("loss", _like(z, shape), inner, lambda z, y: _mean_of(_formula(z, y), inner), z, y)


def _loss_slope(z: Any, y: Any, inner: int) -> Any:
    """Return the losses and their gradient."""

    def elsewhere(z: Any, y: Any) -> Any:
        slope = jax.nn.sigmoid(z) - y
        return _mean_of(_formula(z, y), inner), slope / slope.size if inner else slope

    shapes = _like(z, z.shape[: z.ndim - inner]), _like(z, z.shape)
    return _call("loss_gradient", shapes, inner, elsewhere, z, y)


def _mean_of(values: Any, inner: int) -> Any:
    return values.mean() if inner else values


def _with_derivatives(*, mean: bool) -> Any:
    """Return the losses, or their mean, as a function of logits and labels that JAX can derive."""

    def inner(z: Any) -> int:
        return int(z.ndim) if mean else 0

    def reduced(tangent: Any) -> Any:
        return tangent.sum() if mean else tangent

    @jax.custom_jvp
    @jax.jit
    def with_slope(z: Any, y: Any) -> Any:
        return _loss_slope(z, y, inner(z))

    @jax.custom_jvp
    @jax.jit
    def loss(z: Any, y: Any) -> Any:
        return _loss(z, y, inner(z))

    def along(z: Any, y: Any, slope: Any, tangents: Any) -> Any:
        """Return the tangent of the losses; what does not change costs nothing."""
        dz, dy = tangents
        found = jnp.zeros(z.shape[: z.ndim - inner(z)], z.dtype)
        if type(dz) is not SymbolicZero:
            found = found + reduced(slope * dz)
        if type(dy) is not SymbolicZero:
            found = found - reduced(z * dy) / (z.size if mean else 1)
        return found

    def loss_rule(primals: Any, tangents: Any) -> Any:
        z, y = primals
        value, slope = with_slope(z, y)
        return value, along(z, y, slope, tangents)

    def slope_rule(primals: Any, tangents: Any) -> Any:
        z, y = primals
        value, slope = with_slope(z, y)
        dz, dy = tangents
        change = jnp.zeros_like(z)
        if type(dz) is not SymbolicZero:
            s = _sigmoid(z)
            change = change + s * (1 - s) * dz
        if type(dy) is not SymbolicZero:
            change = change - dy
        return (value, slope), (along(z, y, slope, tangents), change / (z.size if mean else 1))

    loss.defjvp(loss_rule, symbolic_zeros=True)
    with_slope.defjvp(slope_rule, symbolic_zeros=True)
    return loss


_losses = _with_derivatives(mean=False)
_mean = _with_derivatives(mean=True)
