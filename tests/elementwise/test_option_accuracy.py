"""How far off an element may be with each option: docs/accuracy.md has the same limits.

The oracle is the definition in long double, for float32 and float64 scores, at points from all over
the range. Gradients of soft and smoothed labels subtract two terms, and count relative to those.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import Array
from checks import both_dtypes, both_families, ulps
from option_oracle import elements
from worst_errors import SAMPLES

needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="long double is no wider than float64 here"
)
OPTIONS: dict[str, dict[str, Any]] = {
    "pos_weight": {"pos_weight": 2.7},
    "smoothing": {"label_smoothing": 0.1},
    "both": {"pos_weight": 2.7, "label_smoothing": 0.1},
    "zero": {"gradient": "zero"},
    "torch": {"gradient": "torch"},
}
# option -> kind -> most ULP of loss, gradient, Hessian
LIMITS: dict[str, dict[str, tuple[float, ...]]] = {
    "pos_weight": {"logits": (2.6, 2.4, 2.8), "clipped": (1.5, 2.2)},
    "smoothing": {"logits": (2.3, 3.6, 2.5), "clipped": (2.9, 2.5)},
    "both": {"logits": (3.2, 3.7, 3.1), "clipped": (2.7, 3.8)},
    "zero": {"clipped": (1.0, 2.0)},
    "torch": {"clipped": (1.2, 2.0)},
}
# To compile all of them takes a minute.
ONLY: dict[str, Any] = {"smoothing": np.float32, "both": np.float64, "zero": np.float32}


def worst(case: Any, x: Array, option: str) -> tuple[float, ...]:
    """Return the largest errors of loss, gradient and Hessian for hard labels."""
    options, found = OPTIONS[option], np.zeros(len(case.results))
    if option == "torch":
        x = np.abs(x) / (1 + np.floor(np.abs(x)))  # probabilities, PyTorch takes no others
    for label in (0, 1):
        y = np.full(x.shape, label, x.dtype)
        cast = {**options, "pos_weight": np.asarray(options.get("pos_weight", 1), x.dtype)}
        with np.errstate(all="ignore"):
            exact = elements(case, x, y, cast)
        for i, (name, actual) in enumerate(
            zip(case.results, case(x, y, reduction="none", **options), strict=True)
        ):
            if name == "gradient" and "label_smoothing" in options:
                error = units_of_terms(actual, exact["gradient"], exact["terms"])
            else:
                error = ulps(actual, exact[name])
            found[i] = max(found[i], error.max())
    return tuple(found.tolist())


def units_of_terms(actual: Array, exact: Array, terms: Array) -> Array:
    """Return the errors in units in the last place of the larger of two terms."""
    _, exponent = np.frexp(terms)
    unit = np.ldexp(np.longdouble(1), exponent - 1 - np.finfo(actual.dtype).nmant)
    with np.errstate(all="ignore"):
        error = np.abs(actual - exact) / unit
    return np.where(np.isnan(actual) & np.isnan(exact), 0, error)


@needs_long_double
@both_families
@both_dtypes
@pytest.mark.parametrize("option", LIMITS)
@pytest.mark.ci
def test_options(case: Any, dtype: Any, option: str, rng: np.random.Generator) -> None:
    if case.kind not in LIMITS[option] or ONLY.get(option, dtype) != dtype:
        return
    for name, draw in SAMPLES.items():
        if name != "adversarial":
            with np.errstate(all="ignore"):
                x = draw(rng, 20_000).astype(dtype)
            found = worst(case, x[np.isfinite(x)], option)
            for result, error, limit in zip(
                case.results, found, LIMITS[option][case.kind], strict=True
            ):
                assert error <= limit, f"{option} {result} {name}: {error:.3f} ULP"
