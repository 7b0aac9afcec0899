"""Rows that are held out of a first fit, and how well it does on them."""

from __future__ import annotations

import numpy as np

import fastbce
from fastbce._typing import Array

BINS = 10


def held_out(y: Array, share: float, seed: int) -> Array | None:
    """Return which rows are held out, a share of each class; None where one is too small."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(y), np.bool_)
    for label in (0, 1):
        rows = np.flatnonzero(y == label)
        count = round(share * len(rows))
        if not 0 < count < len(rows):
            return None
        chosen[rng.permutation(rows)[:count]] = True
    return chosen


def measures(z: Array, y: Array, weight: Array | None = None) -> dict[str, float]:
    """Return log-loss, AUC, accuracy and calibration error of logits."""
    p = fastbce.sigmoid(z)
    mass = np.ones(len(y)) if weight is None else weight
    predicted, observed, count = calibration(p, y, mass)
    return {
        "rows": len(y),
        "log-loss": float(fastbce.bce_with_logits_loss(z, y, sample_weight=weight) / mass.mean()),
        "AUC": area_under_roc(z, y, mass),
        "accuracy": float(np.average((z > 0) == (y > 0), weights=mass)),
        "calibration error": float(np.sum(count * np.abs(predicted - observed)) / mass.sum()),
    }


def area_under_roc(z: Array, y: Array, mass: Array) -> float:
    """Return how often a row of class 1 has a larger logit than one of class 0, half for ties.

    scikit-learn's function takes 160 MB for 1,250,000 rows, this one 60.
    """
    zeros, ones = y == 0, y > 0
    low = z[zeros]
    order = np.argsort(low)
    low = low[order]
    below = np.concatenate([[0.0], np.cumsum(mass[zeros][order])])
    half = below[np.searchsorted(low, z[ones])] / 2
    half += below[np.searchsorted(low, z[ones], side="right")] / 2
    return float(half @ mass[ones] / (below[-1] * mass[ones].sum()))


def calibration(p: Array, y: Array, mass: Array) -> tuple[Array, Array, Array]:
    """Return mean probability, share of ones and weight in bins with equal numbers of rows."""
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), BINS) if part.size]
    parts = [part for part in parts if mass[part].sum() > 0]
    predicted = np.array([np.average(p[part], weights=mass[part]) for part in parts])
    observed = np.array([np.average(y[part], weights=mass[part]) for part in parts])
    return predicted, observed, np.array([mass[part].sum() for part in parts])
