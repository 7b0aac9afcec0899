"""How far off results may be, and how far off they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbce._bfloat16 import bfloat16, numbers, write
from fastbce._typing import Array

# (family, result) -> largest error of an element in ULP; hard labels, no reduction.
MAX_ULP = {
    ("sigmoid", "value"): (2.0, 2.0),
    ("sigmoid_backward", "value"): (2.0, 2.0),
    ("softplus", "value"): (1.7, 1.7),
    ("log_sigmoid", "value"): (1.8, 1.8),
    ("logit", "value"): (1.4, 1.4),
    ("clipped", "loss"): (1.0, 1.0),
    ("clipped", "gradient"): (2.0, 2.0),
    ("logits", "loss"): (1.8, 1.8),
    ("logits", "probabilities"): (2.0, 2.0),
    ("logits", "gradient"): (1.7, 1.71),
    ("logits", "hessian"): (2.5, 2.5),
    ("focal", "loss"): (3.6, 3.6),
    ("focal", "gradient"): (4.6, 4.6),
    # It crosses 0, where no number of ULP is enough: that of the sum of its terms is.
    ("focal", "hessian"): (np.inf, np.inf),
    # The probability is rounded on the way: tests/elementwise/test_chain.py says what follows.
    ("chain", "loss"): (np.inf, np.inf),
    ("chain", "probabilities"): (2.0, 2.0),
    ("chain", "gradient"): (np.inf, np.inf),
}
# Of float16 and bfloat16, which are computed in float32 and rounded once.
MAX_ULP_16 = 0.51


def ulps(actual: Any, exact: Any, size: Any = None) -> Array:
    """Return errors in units in the last place.

    Parameters
    ----------
    actual : ndarray
        Results, in their own dtype.
    exact : ndarray
        What they should be, in a wider one.
    size : ndarray, optional
        The number whose last place is the unit; `exact` by default.

    Returns
    -------
    ndarray
        The errors: 0 where NaN meets NaN or an infinity the same one, infinity where not.
    """
    actual, exact = np.asarray(actual), np.asarray(exact)
    least, digits = -126, 7
    if actual.dtype != bfloat16:
        info = np.finfo(actual.dtype)
        least, digits = info.minexp, info.nmant
    nearest = np.empty(exact.shape, actual.dtype)
    write(nearest, exact)
    found, nearest = numbers(actual, exact.dtype), numbers(nearest, exact.dtype)
    with np.errstate(all="ignore"):
        _, exponent = np.frexp(exact if size is None else size)
        exponent = np.maximum(exponent - 1, least) - digits
        error = np.abs(found - exact) / np.ldexp(exact.dtype.type(1), exponent)
    same = (found == nearest) & np.isinf(found)
    error = np.where(same | (np.isnan(found) & np.isnan(exact)), 0, error)
    return np.where(np.isnan(error), np.inf, error)
