"""The arguments of ``fastbce fit`` and ``fastbce predict``."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

DATA = "CSV or other text, Parquet, Arrow, .npy, .npz or .xlsx file; - for the standard input"

ROBUST = ("hc0", "hc1", "hc2", "hc3")


def with_kind_of_robust(argv: Sequence[str]) -> list[str]:
    """Return the arguments with a kind for each ``--robust`` that is a flag.

    argparse would take what follows it, a file's name perhaps, for the kind.
    """
    found = list(argv)
    for place, text in enumerate(found):
        if text == "--":
            break
        # As argparse does, take what is cut short as long as it can be nothing else.
        flag = len(text) > len("--r") and "--robust".startswith(text)
        # What is like a kind is left to argparse, which says which there are.
        if flag and not re.fullmatch(r"hc\d", "".join(found[place + 1 : place + 2]).lower()):
            found[place] = f"--robust={ROBUST[0]}"
    return found


def list_of_names(text: str) -> list[str]:
    """Return names that commas separate."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ValueError(text)
    return names


def positive_number(text: str) -> float:
    """Return a number above 0."""
    value = float(text)
    if not value > 0:
        raise ValueError(text)
    return value


def share(text: str) -> float:
    """Return a number between 0 and 1."""
    value = float(text)
    if not 0 < value < 1:
        raise ValueError(text)
    return value


def whole_number(text: str) -> int:
    """Return a whole number from 0 on."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def count(text: str) -> int:
    """Return a whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def rounds(text: str) -> int:
    """Return a whole number from 2 on: of one measurement nobody knows how far it is off."""
    value = int(text)
    if value < 2:
        raise ValueError(text)
    return value


def _values(text: str) -> list[str]:
    return [value.strip() for value in text.split(",") if value.strip()]


def _level(text: str) -> tuple[str, str]:
    name, sign, level = text.partition("=")
    if not (name and sign and level):
        raise ValueError(text)
    return name, level


def _separator(text: str) -> str:
    known = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "blank": " "}
    sep = known.get(text, text)
    if len(sep) != 1 or not sep.isascii() or sep in '\r\n"\0':
        raise ValueError(text)
    return sep


def _encoding(text: str) -> str:
    try:
        return codecs.lookup(text).name
    except LookupError:
        raise ValueError(text) from None


# What argparse calls them in its errors.
list_of_names.__name__ = "list of names"
positive_number.__name__ = "positive number"
whole_number.__name__ = "whole number from 0 on"
count.__name__ = "whole number from 1 on"
rounds.__name__ = "whole number from 2 on"
share.__name__ = "number between 0 and 1"
_level.__name__ = "COL=LEVEL"
_separator.__name__ = "separator (one ASCII character, or tab)"
_encoding.__name__ = "encoding that Python knows"


def _text_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is to be known of a text file."""
    group = parser.add_argument_group("text files", "guessed, and said, where not given")
    add = group.add_argument
    add("--sep", type=_separator, metavar="CHAR", help="what separates columns, such as ';' or tab")
    add("--decimal", choices=(".", ","), help="the decimal sign of numbers")
    add("--encoding", type=_encoding, metavar="NAME", help="such as utf-8 or windows-1252")
    add(
        "--na-values",
        type=_values,
        default=[],
        metavar="A,B,...",
        help="what counts as missing beside empty cells, NA, N/A, NaN, null and None",
    )


def fit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fastbce fit``."""
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help=DATA)
    add("--target", metavar="COL", help="column of two values to predict")
    add(
        "--formula",
        metavar="TEXT",
        help="target and columns as a formula, such as 'died ~ C(ward) * age + bs(bmi, df=4)'",
    )
    add("--positive", metavar="VALUE", help="the value to call 1 (default: the larger one)")
    _column_arguments(parser)
    _text_arguments(parser)
    add = parser.add_argument_group("the fit").add_argument
    add(
        "--C",
        type=positive_number,
        default=float("inf"),
        metavar="C",
        help="inverse strength of an L2 penalty (default: inf, none)",
    )
    add("--firth", action="store_true", help="Firth's method, where classes separate or are rare")
    add("--max-iter", type=count, metavar="N", help="most steps (default: 200)")
    add(
        "--robust",
        nargs="?",
        const="hc0",
        type=str.lower,
        choices=ROBUST,
        help="standard errors that hold if the model is wrong (default of the kind: hc0)",
    )
    add(
        "--cluster",
        type=list_of_names,
        default=[],
        metavar="A[,B]",
        help="standard errors for rows in clusters: the column that names them, or two",
    )
    add(
        "--test-size",
        type=share,
        default=0.25,
        metavar="SHARE",
        help="share of each class held out to measure the fit (default: 0.25)",
    )
    add("--no-holdout", action="store_true", help="fit once, with all rows, and measure nothing")
    add("--seed", type=whole_number, default=0, help="decides which rows are held out (default: 0)")
    add = parser.add_argument_group("results (- is the standard output)").add_argument
    add("--out", type=Path, metavar="FILE", help="write the model there, as JSON")
    add("--json", type=Path, metavar="FILE", help="write all that is known there, as JSON")
    add("--plot", type=Path, metavar="DIR", help="write ROC, calibration and odds ratios there")


def _column_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("columns").add_argument
    add("--features", type=list_of_names, metavar="A,B,...", help="columns to use (default: all)")
    add("--drop", type=list_of_names, default=[], metavar="A,B,...", help="columns not to use")
    add("--weights", metavar="COL", help="how much each row counts")
    add(
        "--weight-kind",
        choices=("frequency", "sampling", "analytic"),
        help="what weights are: numbers of rows (the default), one over the probability of being "
        "sampled (with --robust or --cluster), or precisions",
    )
    add("--offset", metavar="COL", help="what is added to the log-odds, with the coefficient 1")
    add(
        "--categorical",
        type=list_of_names,
        default=[],
        metavar="A,B,...",
        help="columns of numbers that name groups",
    )
    add(
        "--reference",
        type=_level,
        action="append",
        default=[],
        metavar="COL=LEVEL",
        help="the level that others are compared with (default: the first); may be repeated",
    )
    add(
        "--pool-rare",
        type=whole_number,
        default=0,
        metavar="N",
        help="make one level of those with fewer rows",
    )
    add("--missing", choices=("drop", "error"), default="drop", help="rows with missing values")
    add("--strict", action="store_true", help="an error in place of each note that leaves out")


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``fastbce predict``."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="file written by fastbce fit --out")
    add("data", type=Path, metavar="DATA", help=DATA)
    add("--out", type=Path, metavar="FILE", help="CSV to write (default: the standard output)")
    add("--id", type=list_of_names, default=[], metavar="A,B,...", help="columns to copy in front")
    add(
        "--threshold",
        type=share,
        default=0.5,
        metavar="P",
        help="least probability of the second class to be predicted (default: 0.5)",
    )
    add("--linear", action="store_true", help="add the linear predictor, the log-odds")
    add("--interval", type=share, metavar="LEVEL", help="add an interval, such as 0.95")
    add("--offset", metavar="COL", help="the offset of each row, for a model that has one")
    add(
        "--missing",
        choices=("blank", "error"),
        default="blank",
        help="rows with missing values (default: blank predictions)",
    )
    add(
        "--unknown",
        choices=("blank", "error"),
        default="blank",
        help="rows with a level that the fit has not seen (default: blank predictions)",
    )
    _text_arguments(parser)
