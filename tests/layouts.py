"""Arrays with the same elements in other layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cases import Array


def unaligned(a: Array) -> Array:
    """Return a copy that begins one byte behind an aligned address."""
    raw = np.empty(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def strided(a: Array, step: int = 3) -> Array:
    """Return every `step`-th element of the last axis of a larger array."""
    wide = np.zeros((*a.shape[:-1], a.shape[-1] * step), a.dtype)
    wide[..., 1::step] = a
    return wide[..., 1::step]


def read_only(a: Array) -> Array:
    """Return a copy that cannot be written."""
    copy = a.copy()
    copy.flags.writeable = False
    return copy
