"""The focal loss: what multiplies the loss of a logit, and what its derivatives gain by that.

With u = 1 - p_t, the probability that a label does not have, the loss is alpha_t u^gamma times the
plain one. u' = (1 - 2 y) p (1 - p), so with r = p (1 - p) / u, which is at most 1, all derivatives
are u^gamma times a sum of products: finite where u is 0, for any gamma.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compile import long_point, point
from .exp_log import exp_point, fma, like, log_point

# Below these exponents and the like there is only 0.
FAR = -1000.0
LEAST_32, LEAST_64 = 2.0**-126, 2.0**-1022
MOST_32, MOST_64 = 3e38, 1e308


@long_point
def power_point(x: Any, n: Any, wrong: Any, log_d: Any, gamma: Any) -> Any:
    """Return u^gamma with u = n / (1 + exp(-|x|)), by the logarithms of both.

    The exponent is found with its rounding error: of 80, which float32 rounds to 2^-18, nothing
    else would be left. Where a hard label is right, log n is -|x|.
    """
    single = isinstance(x, np.float32)
    least, most = like(x, LEAST_32 if single else LEAST_64), like(x, MOST_32 if single else MOST_64)
    size = abs(x)
    size = most if size > most else size  # gamma = 0 times infinity is NaN
    log_n = -size if wrong == 0 else log_point(least if n < least else n, n - n)
    high = log_n - log_d
    low = (log_n - high) - log_d
    t = gamma * high
    t_low = like(x, 0) if t < like(x, FAR) else fma(gamma, low, fma(gamma, high, -t))
    e, e_low = exp_point(t)
    return e + fma(e, t_low, e_low)


@long_point
def focus_point(x: Any, a: Any, b: Any, e: Any, log_d: Any, focus: Any) -> Any:
    """Return alpha_t u^gamma, and r.

    `a` and `b` are the label and one less it, `e` is exp(-|x|) and `log_d` is log(1 + e).
    """
    one = like(x, 1)
    wrong, right = (b, a) if x >= 0 else (a, b)
    n = fma(e, right, wrong)
    share = fma(a, like(x, focus[0]), b * like(x, focus[1]))
    ratio = (one if wrong == 0 else e / n) / (one + e)
    return power_point(x, n, wrong, log_d, like(x, focus[2])) * share, ratio


@point
def focal_loss_point(loss: Any, factor: Any) -> Any:
    """Return loss times factor, where no part of an infinite loss is nothing."""
    return like(loss, 0) if factor == 0 else loss * factor


@point
def focal_slope_point(slope: Any, pull: Any, side: Any, gamma: Any) -> Any:
    """Return the sum that the factor multiplies in the gradient.

    `pull` is the loss times r, and `side` is 1 - 2 y.
    """
    return fma(like(side, gamma) * side, pull, slope)


@point
def focal_curvature_point(
    curvature: Any, slope: Any, pull: Any, ratio: Any, tilt: Any, side: Any, gamma: Any
) -> Any:
    """Return the sum that the factor multiplies in the Hessian; `tilt` is 1 - 2 p."""
    turn = fma(like(side, gamma - 1) * side, ratio, tilt)
    outer = fma(like(side, 2) * slope, ratio, pull * turn)
    return fma(like(side, gamma) * side, outer, curvature)
