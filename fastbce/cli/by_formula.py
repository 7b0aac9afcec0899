"""Formulas in ``fastbce fit``: what they ask of the columns, and the matrix they make."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastbce._columns import TableError
from fastbce._features import Feature, frame_of
from fastbce._formulas import Formula, FormulaError, Variables, made, sides, variables_of
from fastbce._typing import Array

from .screen import combination, made_up


def with_target(arguments: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments with the target of the formula, and its right side as `formula`.

    Raises
    ------
    TableError
        If there is no target, or an option does not go with a formula.
    """
    if arguments.formula is None:
        if arguments.target is None:
            raise TableError("give --target COL, or --formula 'COL ~ ...'")
        return arguments
    try:
        target, right = sides(arguments.formula)
    except FormulaError as error:
        raise TableError(f"--formula: {error}") from None
    if arguments.target not in (None, target):
        raise TableError(
            f"--target {arguments.target} is not the left side of the formula, {target!r}; leave "
            "--target out"
        )
    for option, given in (("--features", arguments.features), ("--drop", arguments.drop)):
        if given:
            raise TableError(f"{option} does not go with --formula, which names its columns")
    return argparse.Namespace(**(vars(arguments) | {"target": target, "formula": right}))


def asked_by(formula: str) -> Variables:
    """Return the columns that the right side of a formula needs.

    Raises
    ------
    TableError
        If the formula cannot be used.
    """
    try:
        return variables_of(formula)
    except FormulaError as error:
        raise TableError(f"--formula: {error}") from None


def by_formula(
    source: Path,
    text: str,
    features: Sequence[Feature],
    values: dict[str, Array],
    left_out: dict[str, str],
) -> tuple[Array, Formula]:
    """Return the matrix, and the formula without the columns that those before them make up.

    Raises
    ------
    TableError
        If the formula fails.
    """
    try:
        X, formula = made(text, frame_of(features, values))
    except FormulaError as error:
        raise TableError(f"{source}: {error}") from None
    gone = made_up(X, centered=formula.intercept)
    for place, factors in gone.items():
        what = combination(factors, formula.columns) if factors else "constant"
        left_out[formula.columns[place]] = f"is {what}"
    kept = [place for place in range(X.shape[1]) if place not in gone]
    if not kept:
        raise TableError(f"{source}: no column of the formula {text!r} tells anything")
    columns = tuple(formula.columns[place] for place in kept)
    # Each column in one piece, as what is asked of columns one by one reads it.
    matrix = np.asfortranarray(X[:, kept])
    return matrix, Formula(formula.text, columns, formula.intercept, formula.transforms)
