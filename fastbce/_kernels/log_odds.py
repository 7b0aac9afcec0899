"""Softplus, the logarithm of the sigmoid, and the logit."""

from __future__ import annotations

from typing import Any

import numpy as np

from .compile import point
from .elements import loops_of
from .exp_log import exp_point, like, log_point, log_ratio_point

LN2 = 0.6931471805599453


@point
def log1p_exp_point(x: Any) -> Any:
    """Return log(1 + exp(-|x|)); the rounding error of 1 + e keeps an e that 1 + e would lose."""
    e, _ = exp_point(-abs(x))
    d = like(x, 1) + e
    return log_point(d, e - (d - like(x, 1)))


@point
def softplus_point(x: Any) -> Any:
    """Return log(1 + exp(x))."""
    return (x if x > 0 else like(x, 0)) + log1p_exp_point(x)


@point
def log_sigmoid_point(x: Any) -> Any:
    """Return log(1 / (1 + exp(-x))); 0 at +inf, where minus the softplus would be -0."""
    return (x if x < 0 else like(x, 0)) - log1p_exp_point(x)


@point
def logit_point(p: Any) -> Any:
    """Return log(p / (1 - p)), with one division.

    The smaller of p and 1 - p goes over the other, with the rounding error of 1 - p, so that near
    p = 1/2, where the odds are near 1, no digit is lost. The logarithm takes normal numbers alone:
    small p are multiplied by 2^k before.
    """
    one, zero = like(p, 1), like(p, 0)
    low = p <= like(p, 0.5)
    s, t = (p, one - p) if low else (one - p, p)
    t_low = (one - t) - s
    if isinstance(p, np.float32):
        small, factor, shift = s < like(p, 2.0**-100), like(p, 2.0**32), like(p, 32 * LN2)
    else:
        small, factor, shift = s < 2.0**-900, 2.0**200, 200 * LN2
    value = log_ratio_point(s * factor if small else s, t, t_low) - (shift if small else zero)
    value = like(p, -np.inf) if s == 0 else value
    value = value if s >= 0 else like(p, np.nan)
    return value if low else -value


softplus_block, softplus_run = loops_of("softplus", softplus_point)
log_sigmoid_block, log_sigmoid_run = loops_of("log_sigmoid", log_sigmoid_point)
logit_block, logit_run = loops_of("logit", logit_point)
