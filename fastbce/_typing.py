"""Types that several parts share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Call(NamedTuple):
    """The arrays of one call, checked, as a backend gets them.

    A weight, a mask or an output that is absent is None.
    """

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    dtype: np.dtype[Any]
    """The dtype to compute in."""
    out_given: bool
    """Whether the caller gave ``out=``: memory that is in use already."""
    plain: bool = False
    """Whether a kernel can take all arrays as they are."""
    aliased: bool = False
    """Whether an output is one of the inputs."""


class Sums(NamedTuple):
    """Sums over samples of two classes, and what they hold."""

    squares: float
    """Of the squared errors of the probabilities, times the weights."""
    positives: float
    """Of the weights of the second class."""
    weights: float
    logs: float
    """Of the losses, times the weights, if they were asked for."""
    is_sound: bool
    """Whether labels are of the classes, probabilities in [0, 1], weights finite and >= 0."""
    is_even: bool
    """Whether the probabilities of both classes sum to 1."""
