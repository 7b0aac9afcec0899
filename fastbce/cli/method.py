"""How ``fastbce fit`` fits: what its options come to, and which of them do not go together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from fastbce._columns import TableError

if TYPE_CHECKING:
    import argparse

MOST_STEPS = 200
# What the estimator calls its options, and how they are given here.
OPTIONS = {
    "Leave them out, fit with penalty='firth', or": "{leave}, give --firth{without}, or",
    "Leave columns out, or": "{leave}, or",
    "set a finite C": "give --C 1{without}",
    "Set a smaller C": "Give a smaller --C{without}",
    "set a smaller C": "give a smaller --C{without}",
    "Raise max_iter": "Raise --max-iter",
    "max_iter was reached": "--max-iter was reached",
    "penalty='firth'": "--firth",
    "cov_type='cluster'": "--cluster",
    "cov_type='HC1'": "--robust hc1",
    "use 'HC0'": "give --robust hc0 in its place",
    "Use one way": "Give --cluster one column",
}


@dataclass(frozen=True)
class Method:
    """What is maximised, and which standard errors are wanted."""

    C: float
    firth: bool
    cov_type: str
    weight_kind: str
    max_iter: int
    leave: str = "Leave columns out with --drop"
    without: str = ""  # for advice: the options that neither --C nor --firth goes with

    @property
    def penalised(self) -> bool:
        """Whether there is an L2 penalty, and so no inference."""
        return isfinite(self.C)

    @property
    def plain(self) -> Method:
        """The same coefficients with the plainest standard errors."""
        return replace(self, cov_type="nonrobust", weight_kind="frequency")

    @property
    def ways_out(self) -> tuple[str, ...]:
        """The options with which there is a maximum where classes separate."""
        return (
            f"--firth{self.without} (finite estimates, with p-values)",
            f"--C 1{self.without} (a penalty, so no p-values)",
        )

    def estimator(self) -> Any:
        """Return the estimator that is to be fitted."""
        from fastbce.linear_model import LogisticRegression

        return LogisticRegression(
            C=self.C,
            penalty="firth" if self.firth else "l2",
            cov_type=self.cov_type,
            weight_kind=self.weight_kind,
            max_iter=self.max_iter,
        )

    def with_options(self, text: str) -> str:
        """Return a message of the estimator with the options of the command line."""
        for name, option in OPTIONS.items():
            text = text.replace(name, option.format(leave=self.leave, without=self.without))
        return text


def method_of(arguments: argparse.Namespace) -> Method:
    """Return what the options of a fit come to.

    Raises
    ------
    TableError
        If some do not go together.
    """
    robust, kind = arguments.robust, arguments.weight_kind
    # Beyond the plain errors and weights, which all fits have.
    asked = ["--robust"] * bool(robust) + ["--cluster"] * bool(arguments.cluster)
    beyond = asked + [f"--weight-kind {kind}"] * (kind in ("sampling", "analytic"))
    if isfinite(arguments.C):
        if arguments.firth:
            raise TableError("--firth is a penalty of its own; give either --firth or --C")
        if beyond:
            raise TableError(
                f"{beyond[0]} is for standard errors, which a fit with --C has not; leave out "
                f"either {' and '.join(beyond)} or --C"
            )
    if arguments.firth:
        if beyond:
            raise TableError(
                f"--firth has p-values and intervals of its own likelihood, so it does not go with "
                f"{' and '.join(beyond)}; leave out either"
            )
        if arguments.max_iter is not None:
            raise TableError("--firth has no --max-iter; leave that out")
    if len(asked) == 2:
        raise TableError(
            "--cluster has robust standard errors already; leave --robust out, or --cluster"
        )
    if len(arguments.cluster) > 2:
        raise TableError(
            f"--cluster takes one column or two, got {len(arguments.cluster)}: "
            f"{','.join(arguments.cluster)}"
        )
    if kind is not None and arguments.weights is None:
        raise TableError(
            "--weight-kind says what weights mean; name them with --weights, or leave it out"
        )
    if kind == "sampling" and not asked:
        raise TableError(
            "--weight-kind sampling has robust standard errors alone; add --robust, or --cluster"
        )
    cov_type = "cluster" if arguments.cluster else (robust or "nonrobust")
    return Method(
        arguments.C,
        arguments.firth,
        cov_type.upper() if robust else cov_type,
        kind or "frequency",
        arguments.max_iter or MOST_STEPS,
        "Leave columns out with --drop" if arguments.formula is None else "Leave terms out",
        f" without {' and '.join(beyond)}" if beyond else "",
    )
