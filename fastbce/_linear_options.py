"""Options of the linear pass, the same for both backends."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._typing import Array


class Gram(NamedTuple):
    """Which Gram matrix is wanted beside loss and gradient, and in which type it is summed."""

    of: str  # "hessian" or "squared residuals"
    dtype: np.dtype[Any]


class Frame(NamedTuple):
    """Centers that are taken off the columns, and factors that scale the Gram matrix."""

    center: Array
    factor: Array
