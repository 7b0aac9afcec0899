"""Sums over samples of two classes in NumPy: the oracle and the ``"numpy"`` backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbce._typing import Array, Sums

# Samples whose numbers are in the second-level cache while they are summed.
PIECE = 1 << 13


def sums(
    p: Array, y: Array, classes: tuple[Any, Any], weight: Array | None, eps: float | None
) -> Sums:
    """Return what samples sum up to and hold; if they are not sound, the sums are of no use.

    `p` is of shape (n,), the second class's, or (n, 2). With `eps` also the losses of the
    probabilities, clipped to ``[eps, 1 - eps]``, of the true classes.
    """
    found = []
    with np.errstate(all="ignore"):
        for s in range(0, len(p), PIECE):
            part = slice(s, s + PIECE)
            w = None if weight is None else weight[part].astype(np.float64)
            found.append(_sums(p[part], y[part], classes, w, eps))
    squares, positives, weights, logs, sound, even = zip(*found, strict=True)
    return Sums(sum(squares), sum(positives), sum(weights), sum(logs), all(sound), all(even))


def _sums(p: Array, y: Array, classes: tuple[Any, Any], w: Array | None, eps: float | None) -> Sums:
    is_zero, is_one = (np.asarray(y == label) for label in classes)
    shares = p if p.ndim == 1 else p[:, 1]
    squares = np.subtract(shares, is_one, dtype=np.float64) ** 2
    is_sound = bool((p >= 0).all() and (p <= 1).all() and (is_one | is_zero).all())
    is_even, losses = True, np.zeros(len(y))
    if p.ndim == 2:
        squares += np.subtract(p[:, 0], ~is_one, dtype=np.float64) ** 2
        off = np.abs(p[:, 0] + shares - p.dtype.type(1))
        is_even = bool((off <= np.sqrt(np.finfo(p.dtype).eps)).all())
    if eps is not None:
        true = shares if p.ndim == 1 else np.where(is_one, shares, p[:, 0])
        c = np.clip(true.astype(np.float64), eps, 1 - eps)
        losses = np.where(is_one | (p.ndim == 2), -np.log(c), -np.log1p(-c))
    if w is None:
        positives, weights = float(np.count_nonzero(is_one)), float(len(y))
    else:
        is_sound = is_sound and bool((w >= 0).all() and (w < np.inf).all())
        positives, weights = float(w[is_one].sum()), float(w.sum())
        squares, losses = squares * w, losses * w
    return Sums(float(squares.sum()), positives, weights, float(losses.sum()), is_sound, is_even)
