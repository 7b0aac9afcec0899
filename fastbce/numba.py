"""Functions of one element for loops of your own that Numba compiles.

Call them in ``@njit`` functions, parallel ones too. They become part of the loop and are packed
by the compiler, which a call of :func:`math.exp` prevents. Each takes float32 or float64, to be
computed and returned in, or an integer or a bool, which stand for float64. Labels and options may
be of any of these types, whatever the first argument is. There are no checks.

Names, arguments and what is computed stay as they are as long as the first number of the version
does; last digits may get better. Numba's own cache does not notice what a function calls: see
:data:`stamp`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ._kernels.clipped import clip_point, denominator_point, numerator_point, soft_loss_point
from ._kernels.compile import OPTIONS, source_stamp
from ._kernels.exp_log import exp_point, fma, like
from ._kernels.log_odds import log1p_exp_point, log_sigmoid_point, logit_point, softplus_point
from ._kernels.logits import shares_point, wrong_side_point
from ._kernels.sigmoid import sigmoid_point

__all__ = [
    "bce",
    "bce_gradient",
    "bce_with_logits",
    "bce_with_logits_gradient",
    "bce_with_logits_hessian",
    "log_sigmoid",
    "logit",
    "sigmoid",
    "softplus",
    "stamp",
]

#: Changes with what these functions are compiled to; None where that cannot be known. With
#: ``cache=True`` a function of yours keeps the code of the version that it was compiled with,
#: unless the stamp is part of the folder: ``numba.config.CACHE_DIR = f"cache/{stamp}"`` before the
#: function is defined.
stamp: str | None = source_stamp()

LEAST_32, MOST_32 = 2.0**-126, 1 - 2.0**-24
LEAST_64, MOST_64 = 2.0**-1022, 1 - 2.0**-53


# With entries for calls from Python and C, which the kernels' own need not have.
point = njit(**OPTIONS)


@point
def _number(x: Any) -> Any:
    if isinstance(x, np.float32):
        return x
    else:
        return np.float64(x)


@point
def _clipped(p: Any, eps: Any) -> Any:
    """Clip to eps and 1 - eps, kept off 0 and 1, where the loss would be infinite."""
    if isinstance(p, np.float32):
        least, most = like(p, LEAST_32), like(p, MOST_32)
    else:
        least, most = like(p, LEAST_64), like(p, MOST_64)
    low, high = like(p, eps), like(p, 1.0 - eps)
    return clip_point(p, (max(low, least), min(high, most)))


@point
def sigmoid(x: Any) -> Any:
    """Return ``1 / (1 + exp(-x))``; at most 2.0 ULP off.

    Examples
    --------
    >>> from numba import njit
    >>> from fastbce.numba import sigmoid
    >>> @njit
    ... def total(x):
    ...     result = 0.0
    ...     for value in x:
    ...         result += sigmoid(value)
    ...     return result
    >>> import numpy as np
    >>> print(total(np.zeros(4)))
    2.0
    """
    return sigmoid_point(_number(x))


@point
def log_sigmoid(x: Any) -> Any:
    """Return ``-log(1 + exp(-x))``; at most 1.8 ULP off.

    Examples
    --------
    >>> from fastbce.numba import log_sigmoid
    >>> print(f"{log_sigmoid(0.0):.4f}")
    -0.6931
    """
    return log_sigmoid_point(_number(x))


@point
def softplus(x: Any) -> Any:
    """Return ``log(1 + exp(x))``; at most 1.7 ULP off.

    Examples
    --------
    >>> from fastbce.numba import softplus
    >>> print(f"{softplus(0.0):.4f}")
    0.6931
    """
    return softplus_point(_number(x))


@point
def logit(p: Any) -> Any:
    """Return ``log(p / (1 - p))``, NaN outside [0, 1]; at most 1.4 ULP off.

    Examples
    --------
    >>> from fastbce.numba import logit
    >>> print(f"{logit(0.75):.4f}")
    1.0986
    """
    return logit_point(_number(p))


@point
def bce(p: Any, y: Any, eps: Any = 1e-7) -> Any:
    """Return ``-(y log(c) + (1 - y) log(1 - c))`` with ``c = clip(p, eps, 1 - eps)``.

    At most 2.2 ULP off.

    Examples
    --------
    >>> from fastbce.numba import bce
    >>> print(f"{bce(0.9, 1):.4f}")
    0.1054
    """
    c = _clipped(_number(p), eps)
    t = like(c, y)
    return soft_loss_point(c, t, like(c, 1) - t, None)


@point
def bce_gradient(p: Any, y: Any, eps: Any = 1e-7) -> Any:
    """Return the derivative of :func:`bce` with respect to `c`: ``(c - y) / (c (1 - c))``.

    Examples
    --------
    >>> from fastbce.numba import bce_gradient
    >>> print(f"{bce_gradient(0.9, 1):.4f}")
    -1.1111
    """
    c = _clipped(_number(p), eps)
    t = like(c, y)
    return numerator_point(c, t, like(c, 1) - t, None, None) / denominator_point(c, None)


@point
def bce_with_logits(z: Any, y: Any) -> Any:
    """Return ``max(z, 0) - z y + log(1 + exp(-|z|))``; at most 2.1 ULP off.

    Examples
    --------
    >>> from fastbce.numba import bce_with_logits
    >>> print(f"{bce_with_logits(2.0, 1):.4f}")
    0.1269
    """
    x = _number(z)
    t = like(x, y)
    return wrong_side_point(x, x >= 0, t, like(x, 1) - t) + log1p_exp_point(x)


@point
def bce_with_logits_gradient(z: Any, y: Any) -> Any:
    """Return the derivative of :func:`bce_with_logits`: ``sigmoid(z) - y``, nothing cancels.

    At most 1.71 ULP off for labels of 0 and 1.

    Examples
    --------
    >>> from fastbce.numba import bce_with_logits_gradient
    >>> print(f"{bce_with_logits_gradient(2.0, 1):.4f}")
    -0.1192
    """
    x = _number(z)
    t = like(x, y)
    e, _ = exp_point(-abs(x))
    right, left, _ = shares_point(x >= 0, e, like(x, 1) + e)
    return fma(-t, left, (like(x, 1) - t) * right)


@point
def bce_with_logits_hessian(z: Any) -> Any:
    """Return the second derivative, ``sigmoid(z) (1 - sigmoid(z))``; at most 2.5 ULP off.

    Examples
    --------
    >>> from fastbce.numba import bce_with_logits_hessian
    >>> print(f"{bce_with_logits_hessian(2.0):.4f}")
    0.1050
    """
    x = _number(z)
    e, _ = exp_point(-abs(x))
    _, _, small = shares_point(x >= 0, e, like(x, 1) + e)
    return fma(-small, small, small)
