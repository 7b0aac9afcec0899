"""The table of operations: one row for each elementwise function."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, eq=False)
class Family:
    """Operations that share their kernels and their formulas."""

    name: str
    """Of its function in the reference, and the first part of its kernels' names."""
    file: str
    """The file in ``_kernels/`` that they are in."""
    arguments: tuple[str, ...]
    """The names of the arrays that it takes."""
    results: tuple[str, ...]
    """The results in the order in which backends take them."""
    is_loss: bool = False
    """Whether it takes labels, weights and a reduction."""
    clips: bool = False
    """Whether it takes ``eps``."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One public function."""

    name: str
    family: Family
    results: tuple[str, ...]
    """What it returns, in order."""
    light: bool = False
    """Whether it takes only a few multiplications per element."""

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


_SIGMOID = Family("sigmoid", "sigmoid", ("x",), ("value",))
_SIGMOID_BACKWARD = Family("sigmoid_backward", "sigmoid", ("dvalues", "output"), ("value",))
_CLIPPED = Family(
    "clipped", "clipped", ("y_pred", "y_true"), ("loss", "gradient"), is_loss=True, clips=True
)
_LOGITS = Family(
    "logits",
    "logits",
    ("logits", "y_true"),
    ("loss", "probabilities", "gradient", "hessian"),
    is_loss=True,
)

OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("sigmoid", _SIGMOID, ("value",)),
        Operation("sigmoid_backward", _SIGMOID_BACKWARD, ("value",), light=True),
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
    )
}
