"""Half floats: converted by PyTorch's threads into memory of ours, and losses rounded once."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from fastbce import _bfloat16
from fastbce._engine import memory
from fastbce._evaluate import rounded as rounded_by_numpy

# With their binary digits.
HALVES = {torch.bfloat16: 8, torch.float16: 11}
_DTYPES = {
    torch.bfloat16: _bfloat16.bfloat16,
    torch.float16: np.dtype(np.float16),
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
}


def rounded(value: float, dtype: torch.dtype) -> float:
    """Return what PyTorch takes for the nearest number of a dtype.

    It would round to float32 on the way to half floats, and refuses what is infinity in them.
    """
    if not 1e-4 < value < 6e4:  # where they all have their full number of digits
        return float(rounded_by_numpy(value, _DTYPES[dtype]))
    digits = HALVES.get(dtype)
    if digits is None:
        return value
    part, exponent = math.frexp(value)
    return math.ldexp(round(math.ldexp(part, digits)), exponent - digits)


def converted(t: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor in another float, in memory of ours: the system clears PyTorch's first."""
    bits = np.dtype(f"i{dtype.itemsize}")
    return torch.from_numpy(memory.empty(tuple(t.shape), bits)).view(dtype).copy_(t)
