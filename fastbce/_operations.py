"""The table of operations: one row for each elementwise function.

From it follow which kernels the engine looks for, what :func:`fastbce.warmup` prepares, what the
benchmark compares, and which cases the tests check.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ._typing import Array


@dataclass(frozen=True, eq=False)
class Family:
    """Operations that share their kernels and their formulas."""

    name: str
    """Of its function in the reference, and the first part of its kernels' names."""
    file: str
    """The file in ``_kernels/`` that they are in."""
    arguments: dict[str, str]
    """The names of the arrays that it takes, and what they hold."""
    results: tuple[str, ...]
    """The results in the order in which backends take them."""
    plain: Callable[..., tuple[Any, ...]]
    """Some of its results as one would write them in NumPy: what the benchmark compares with."""
    is_loss: bool = False
    """Whether it takes labels, weights and a reduction."""
    clips: bool = False
    """Whether it takes ``eps``."""
    chain: bool = False
    """Whether what it clips are the sigmoids of its scores."""
    kin: Family | None = None
    """The family whose kernels it runs, with further parameters."""
    heavy: bool = False
    """Whether an element takes several times as long as those of most others."""

    @property
    def takes_probabilities(self) -> bool:
        """Whether its scores lie in [0, 1]."""
        return self.clips and not self.chain


@dataclass(frozen=True, eq=False)
class Operation:
    """One public function."""

    name: str
    family: Family
    results: tuple[str, ...]
    """What it returns, in order."""
    light: bool = False
    """Whether it takes only a few multiplications per element."""
    common: bool = True
    """Whether :func:`fastbce.warmup` prepares it without being told to."""

    @cached_property
    def returns_loss(self) -> bool:
        """Whether the first of its results is a loss."""
        return self.results[0] == "loss"

    @cached_property
    def arrays(self) -> int:
        """How many of its results are arrays always: all but the loss."""
        return len(self.results) - self.returns_loss

    @cached_property
    def before(self) -> tuple[None, ...]:
        """A None for each result between the loss and these arrays in its family's order."""
        first = self.results[-self.arrays] if self.arrays else self.family.results[1]
        return (None,) * (self.family.results.index(first) - 1)

    @cached_property
    def after(self) -> tuple[None, ...]:
        """A None for each result after them."""
        return (None,) * (len(self.family.results) - 1 - len(self.before) - self.arrays)


# --- in plain NumPy: naive formulas of the mean loss, with the default options --------------------


def _plain_sigmoid(results: tuple[str, ...], x: Array) -> tuple[Any, ...]:
    return (1 / (1 + np.exp(-x)),)


def _plain_sigmoid_backward(
    results: tuple[str, ...], dvalues: Array, output: Array
) -> tuple[Any, ...]:
    return (dvalues * output * (1 - output),)


def _plain_softplus(results: tuple[str, ...], x: Array) -> tuple[Any, ...]:
    return (np.logaddexp(0, x),)


def _plain_log_sigmoid(results: tuple[str, ...], x: Array) -> tuple[Any, ...]:
    return (-np.logaddexp(0, -x),)


def _plain_logit(results: tuple[str, ...], p: Array) -> tuple[Any, ...]:
    return (np.log(p / (1 - p)),)


def _plain_clipped(results: tuple[str, ...], p: Array, y: Array) -> tuple[Any, ...]:
    c = np.clip(p, 1e-7, 1 - 1e-7)
    found: list[Any] = []
    if "loss" in results:
        found.append(np.mean(-(y * np.log(c) + (1 - y) * np.log(1 - c))))
    if "gradient" in results:
        found.append(-(y / c - (1 - y) / (1 - c)) / y.size)
    return tuple(found)


def _plain_chain(results: tuple[str, ...], z: Array, y: Array) -> tuple[Any, ...]:
    p = 1 / (1 + np.exp(-z))
    loss, slope = _plain_clipped(("loss", "gradient"), p, y)
    return loss, p, slope * p * (1 - p)


def _plain_logits(results: tuple[str, ...], z: Array, y: Array) -> tuple[Any, ...]:
    found: list[Any] = []
    if "loss" in results:
        found.append(np.mean(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))))
    if len(results) > len(found):
        s = 1 / (1 + np.exp(-z))
        every = {"probabilities": s, "gradient": (s - y) / y.size, "hessian": s * (1 - s) / y.size}
        found += [array for name, array in every.items() if name in results]
    return tuple(found)


def _plain_focal(results: tuple[str, ...], z: Array, y: Array) -> tuple[Any, ...]:
    p = 1 / (1 + np.exp(-z))
    ce = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
    u, sign = p * (1 - y) + (1 - p) * y, 1 - 2 * y
    weight, r = (0.25 * y + 0.75 * (1 - y)) * u**2, p * (1 - p) / u
    slope = p - y
    turn = sign * r * (2 * slope + ce * (sign * r + 1 - 2 * p))
    every = {
        "loss": lambda: np.mean(weight * ce),
        "gradient": lambda: weight * (slope + 2 * sign * ce * r) / y.size,
        "hessian": lambda: weight * (p * (1 - p) + 2 * turn) / y.size,
    }
    return tuple(every[name]() for name in results)


# --- the table -----------------------------------------------------------------------------------

_SIGMOID = Family("sigmoid", "sigmoid", {"x": "numbers"}, ("value",), _plain_sigmoid)
_SIGMOID_BACKWARD = Family(
    "sigmoid_backward",
    "sigmoid",
    {"dvalues": "numbers", "output": "probabilities"},
    ("value",),
    _plain_sigmoid_backward,
)
_SOFTPLUS = Family("softplus", "log_odds", {"x": "numbers"}, ("value",), _plain_softplus)
_LOG_SIGMOID = Family("log_sigmoid", "log_odds", {"x": "numbers"}, ("value",), _plain_log_sigmoid)
_LOGIT = Family("logit", "log_odds", {"p": "probabilities"}, ("value",), _plain_logit)
_CLIPPED = Family(
    "clipped",
    "clipped",
    {"y_pred": "probabilities", "y_true": "labels"},
    ("loss", "probabilities", "gradient"),
    _plain_clipped,
    is_loss=True,
    clips=True,
)
_CHAIN = Family(
    "chain",
    "clipped",
    {"logits": "numbers", "y_true": "labels"},
    _CLIPPED.results,
    _plain_chain,
    is_loss=True,
    clips=True,
    chain=True,
    kin=_CLIPPED,
)
_LOGITS = Family(
    "logits",
    "logits",
    {"logits": "numbers", "y_true": "labels"},
    ("loss", "probabilities", "gradient", "hessian"),
    _plain_logits,
    is_loss=True,
)
_FOCAL = Family(
    "focal",
    "logits",
    {"logits": "numbers", "y_true": "labels"},
    _LOGITS.results,
    _plain_focal,
    is_loss=True,
    kin=_LOGITS,
    heavy=True,
)
OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("sigmoid", _SIGMOID, ("value",)),
        Operation("sigmoid_backward", _SIGMOID_BACKWARD, ("value",), light=True),
        Operation("softplus", _SOFTPLUS, ("value",), common=False),
        Operation("log_sigmoid", _LOG_SIGMOID, ("value",), common=False),
        Operation("logit", _LOGIT, ("value",), common=False),
        Operation("bce_loss", _CLIPPED, ("loss",)),
        Operation("bce_gradient", _CLIPPED, ("gradient",), light=True),
        Operation("bce_loss_gradient", _CLIPPED, ("loss", "gradient")),
        Operation("bce_with_logits_loss", _LOGITS, ("loss",)),
        Operation("bce_with_logits_gradient", _LOGITS, ("gradient",)),
        Operation("bce_with_logits_loss_gradient", _LOGITS, ("loss", "gradient")),
        Operation("bce_with_logits_gradient_hessian", _LOGITS, ("gradient", "hessian")),
        Operation(
            "bce_with_logits_loss_gradient_hessian", _LOGITS, ("loss", "gradient", "hessian")
        ),
        Operation("sigmoid_bce", _LOGITS, ("loss", "probabilities", "gradient")),
        Operation(
            "sigmoid_clipped_bce", _CHAIN, ("loss", "probabilities", "gradient"), common=False
        ),
        Operation("focal_loss", _FOCAL, ("loss",), common=False),
        Operation("focal_gradient", _FOCAL, ("gradient",), common=False),
        Operation("focal_loss_gradient", _FOCAL, ("loss", "gradient"), common=False),
        Operation("focal_gradient_hessian", _FOCAL, ("gradient", "hessian"), common=False),
        Operation(
            "focal_loss_gradient_hessian", _FOCAL, ("loss", "gradient", "hessian"), common=False
        ),
    )
}
