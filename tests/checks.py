"""Comparisons that several test files share, and the marks that run a test for many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cases import BY_NAME, CASES, FLOATS, LOSSES, Case

from fastbce._reference.accuracy import ulps

if TYPE_CHECKING:
    from collections.abc import Callable

REDUCTIONS = ("none", "mean", "sum", "samples")
# One of the focal functions stands for all of them: each costs seconds to compile. The chain runs
# the clipped kernels.
EVERY = tuple(
    c for c in CASES if c.kind not in ("focal", "chain") or c.name == "focal_loss_gradient"
)
each_case = pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
each_loss = pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
# Each returns all that its family has: what differs between the functions of a family is which
# results are left out, and each combination of options costs a second to compile.
FAMILIES = (BY_NAME["bce_loss_gradient"], BY_NAME["bce_with_logits_loss_gradient_hessian"])
both_families = pytest.mark.parametrize("case", FAMILIES, ids=lambda case: case.kind)
both_dtypes = pytest.mark.parametrize("dtype", FLOATS[1:], ids=lambda dtype: dtype.__name__)
all_dtypes = pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.__name__)


def in_ci(*values: Any) -> Any:
    """Return parameters of a test that .ci/run takes and the README's command leaves out."""
    return pytest.param(*values, marks=pytest.mark.ci)


def at_night(*values: Any) -> Any:
    """Return parameters of a test that only the slow command takes."""
    return pytest.param(*values, marks=pytest.mark.slow)


def _families_and(rest: Callable[..., Any], cases: tuple[Case, ...]) -> pytest.MarkDecorator:
    few = [case if not case.is_loss or case in FAMILIES else rest(case) for case in cases]
    return pytest.mark.parametrize("case", few, ids=lambda case: case.name)


# The families stand for the other functions, each of which needs kernels of its own.
every_case = _families_and(in_ci, EVERY)
every_loss = _families_and(in_ci, LOSSES)
every_case_at_night = _families_and(at_night, EVERY)
every_loss_at_night = _families_and(at_night, LOSSES)


def assert_close(actual: Any, exact: Any, tolerance: float, what: str = "") -> None:
    """Fail where an element is off by more ULP than allowed, naming the worst one."""
    assert np.shape(actual) == np.shape(exact)
    error = ulps(actual, exact)
    if error.size and error.max() > tolerance:
        worst = np.unravel_index(int(error.argmax()), error.shape)
        raise AssertionError(
            f"{what}: {float(error.max()):.3f} ULP > {tolerance} at {worst}: "
            f"{np.asarray(actual)[worst]!r} instead of {np.asarray(exact)[worst]!r}"
        )


def same_bits(a: Any, b: Any) -> bool:
    """Tell whether two results are equal to the last bit, NaN and the sign of zero included."""
    a, b = np.asarray(a), np.asarray(b)
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def options_for(case: Case, reduction: str = "none") -> dict[str, Any]:
    return {"reduction": reduction} if case.is_loss else {}


def tolerance(case: Case, result: str, dtype: Any, backend: str, reduction: str = "none") -> float:
    """Allow for the scale's rounding, and for NumPy's own exp and log."""
    if np.dtype(dtype) == np.float16:
        return 0.51
    own = 14.0 if case.kind == "focal" else 8.0  # a square of a quotient
    allowed = case.ulp(result, dtype) if backend == "numba" else own
    return allowed if reduction in ("none", "sum") else allowed + 2.0


def assert_right(
    case: Case,
    arguments: tuple[Any, ...],
    backend: str,
    *,
    reduction: str = "none",
    weight: Any = None,
    slack: float = 0.0,
) -> None:
    """Compare a call's results with the oracle, in value, shape and dtype."""
    options = options_for(case, reduction)
    if weight is not None:
        options["sample_weight"] = weight
    results = case(*arguments, **options)
    exact = case.exact(*arguments, weight=weight, reduction=reduction)
    scores = np.asarray(arguments[-1] if case.kind == "sigmoid_backward" else arguments[0])
    wanted = scores.dtype.newbyteorder("=") if scores.dtype.kind == "f" else np.dtype(np.float64)
    assert len(results) == len(case.results)
    for name, actual, value in zip(case.results, results, exact, strict=True):
        assert actual.dtype == wanted
        limit = tolerance(case, name, wanted, backend, reduction) + slack
        assert_close(actual, value, limit, f"{case.name} {name}")


def check_twins(n: int) -> None:
    """Raise unless the benchmark's loops that only read and write touch every element."""
    from fastbce.bench import twins

    x, y = np.arange(n, dtype=np.float32), np.ones(n, np.float32)
    out, more = np.zeros((2, n), np.float32)
    twins.twin((x,), (out,))()
    np.testing.assert_array_equal(out, x + x)
    twins.twin((x, y), (out,))()
    np.testing.assert_array_equal(out, x + y)
    twins.twin((x, y), (out, more))()
    np.testing.assert_array_equal(more, x + y)
    twins.twin((x, y), ())()
