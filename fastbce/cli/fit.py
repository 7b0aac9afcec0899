"""``fastbce fit`` and ``fastbce predict``: from a file to a model, and from a model to a file."""

from __future__ import annotations

import csv
import math
import sys
import warnings
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

import fastbce
from fastbce.cli.model_file import Model, load_model, write_whole
from fastbce.cli.plots import calibration, draw
from fastbce.cli.tables import (
    Feature,
    Label,
    Table,
    TableError,
    design,
    learn_features,
    one_line,
    read_table,
    target_of,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from fastbce._typing import Array

ROWS_AT_ONCE = 1 << 16
SHOWN_LEVELS = 5
# Squares of larger values overflow.
HUGE = 1e150


@contextmanager
def _step(text: str) -> Iterator[None]:
    """Say on a terminal what is being done, and how long it took."""
    live = sys.stderr.isatty()
    if live:
        print(f"{text} ...", end="", file=sys.stderr, flush=True)
    start = perf_counter()
    yield
    if live:
        print(f" {perf_counter() - start:.1f} s", file=sys.stderr)


def _held_out(n: int, share: float, seed: int) -> Array:
    """Return which rows are held out."""
    chosen = np.zeros(n, np.bool_)
    chosen[np.random.default_rng(seed).permutation(n)[: round(share * n)]] = True
    return chosen


def measures(z: Array, y: Array) -> dict[str, float]:
    """Return log-loss, AUC, accuracy and calibration error of logits."""
    from sklearn.metrics import roc_auc_score

    p = fastbce.sigmoid(z)
    predicted, observed, count = calibration(p, y)
    return {
        "rows": len(y),
        "log-loss": float(fastbce.bce_with_logits_loss(z, y)),
        "AUC": float(roc_auc_score(y, z)),
        "accuracy": float(np.mean((z > 0) == (y > 0))),
        "calibration error": float(np.sum(count * np.abs(predicted - observed)) / len(y)),
    }


def _read_design(arguments: argparse.Namespace) -> tuple[Array, Array, list[Feature], Any]:
    """Return matrix, labels, features and classes, without the rows where something is missing."""
    data, target = arguments.data, arguments.target
    wanted = None if arguments.features is None else [*arguments.features, target]
    if arguments.features is not None and target in arguments.features:
        raise TableError(f"the target {target!r} is among --features")
    with _step(f"reading {data}"):
        table = read_table(data, wanted)
    labels, known, classes = target_of(table, target, arguments.positive)
    names = arguments.features
    if not names:
        names = [name for name in table.columns if name not in (target, *table.index)]
        _say_what_is_left_out(table, target)
    for name in arguments.categorical:
        if name not in names:
            raise TableError(f"--categorical {name} is not among the features")
    if not names:
        raise TableError(f"{data} has no column beside the target")
    features = learn_features(table, names, arguments.categorical)
    with _step("encoding"):
        X, complete = design(table, features, fitting=True)
    keep = complete & known
    missing = int(np.count_nonzero(~keep))
    if missing:
        if arguments.missing == "error":
            row = int(np.argmin(keep)) + 1
            raise TableError(
                f"{data}: values are missing in {missing} rows, the first is row {row}"
            )
        if missing == table.rows:
            raise TableError(f"{data}: each row has a missing value; name fewer --features")
        X, labels = X[keep], labels[keep]
        print(f"{missing} of {table.rows} rows dropped, because a value is missing")
    ones = int(labels.sum())
    if ones in (0, len(labels)):
        raise TableError(f"{data}: in the rows without missing values the target has one value")
    with np.errstate(over="ignore"):
        spread = np.ptp(X, axis=0)
    outputs = [name for feature in features for name in feature.outputs]
    if np.any(spread == 0):
        name = outputs[int(np.argmin(spread))]
        raise TableError(f"{data}: column {name!r} is constant in the rows that can be used")
    print(
        f"{len(labels)} rows, {X.shape[1]} columns; target {target!r}: {classes[1]!r} is 1 "
        f"({ones} rows), {classes[0]!r} is 0 ({len(labels) - ones} rows)"
    )
    _say_which_are_groups(features)
    return X, labels, features, classes


def _say_what_is_left_out(table: Table, target: str) -> None:
    for name in table.index:
        if name != target:
            kind = f"{name!r} is an index of pandas" if name.strip() else "a column without a name"
            print(f"{kind}: it names the rows, and is left out")


def _say_which_are_groups(features: list[Feature]) -> None:
    for feature in features:
        if feature.levels is not None:
            shown = ", ".join(repr(level) for level in feature.levels[:SHOWN_LEVELS])
            more = ", ..." if len(feature.levels) > SHOWN_LEVELS else ""
            count = len(feature.levels)
            print(f"{feature.name!r} names {count} groups, compared with the first: {shown}{more}")


def _check_out(path: Path | None) -> None:
    """Refuse a file that cannot be written before any work is done."""
    if path is not None and path.is_dir():
        raise TableError(f"--out {path} is a directory; name a file in it")
    if path is not None and not path.parent.is_dir():
        raise TableError(f"--out {path}: there is no such directory")


def _missing_text(data: Path, complete: Array) -> str:
    missing, row = np.count_nonzero(~complete), int(np.argmin(complete)) + 1
    return f"{data}: values are missing in {missing} of the rows, the first is row {row}"


def run_fit(arguments: argparse.Namespace) -> None:
    """Fit a model to a file, print what it says, and write what was asked for.

    Parameters
    ----------
    arguments : argparse.Namespace
        As ``fastbce fit`` parses them.

    Raises
    ------
    TableError
        If the data cannot be used.
    """
    _check_out(arguments.out)
    if arguments.plot is not None and not arguments.plot.is_dir():
        raise TableError(f"--plot {arguments.plot}: there is no such directory")
    X, y, features, classes = _read_design(arguments)
    names = [name for feature in features for name in feature.outputs]
    hidden = _held_out(len(y), arguments.test_size, arguments.seed)
    if len(np.unique(y[hidden])) < 2 or len(np.unique(y[~hidden])) < 2:
        raise TableError(
            f"{arguments.data}: too few rows to hold some of each class out; change --test-size"
        )
    with _step("fitting without the held-out rows"):
        z = _logits(_fit(X, y, names, arguments, (~hidden).astype(np.float64)), X, arguments.data)
    found = measures(z[hidden], y[hidden])
    with _step("fitting all rows"):
        model = _fit(X, y, names, arguments, None)
    result = model.result_ if np.isinf(arguments.C) else None
    intercept, coef = float(model.intercept_[0]), model.coef_[0]
    details: dict[str, Any] = {
        "fastbce": fastbce.__version__,
        "rows": len(y),
        "C": None if np.isinf(arguments.C) else arguments.C,
        "names": ["const", *names],
        "held out": found,
    }
    if result is None:
        _print_coefficients(["const", *names], [intercept, *coef])
    else:
        print(result.summary())
        details["standard errors"] = [float(v) for v in result.bse]
        details["p-values"] = [float(v) for v in result.pvalues]
        details["covariance"] = result.cov_type
    shown = ", ".join(f"{k} {v:.4f}" for k, v in found.items() if k != "rows")
    print(f"{found['rows']} rows held out of a first fit: {shown}")
    if arguments.plot is not None:
        with _step("drawing"):
            for path in draw(arguments.plot, z[hidden], y[hidden], names, coef, result, X):
                print(f"wrote {path}")
    if arguments.out is not None:
        values = tuple(float(value) for value in coef)
        Model(arguments.target, classes, tuple(features), intercept, values, details).save(
            arguments.out
        )
        print(f"wrote {arguments.out}")


def _fit(
    X: Array, y: Array, names: list[str], arguments: argparse.Namespace, weight: Array | None
) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    from fastbce.inference import InferenceError
    from fastbce.linear_model import LogisticRegression

    model = LogisticRegression(C=arguments.C, cov_type="HC0" if arguments.robust else "nonrobust")
    model._column_names = names
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        # What overflows is judged by the estimator, by what comes of it.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            model.fit(X, y, weight)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            raise TableError(f"{arguments.data}: {one_line(error)}{_huge(X, names)}") from error
    if np.isinf(arguments.C) and weight is None:
        try:
            _ = model.result_
        except InferenceError as error:
            text = str(error).replace("set a finite C", "give --C 1")
            raise TableError(f"{arguments.data}: {text}") from None
    elif caught and np.isfinite(arguments.C):
        raise TableError(str(caught[0].message))
    return model


def _huge(X: Array, names: list[str]) -> str:
    """Name the column with the largest values where these may be what went wrong."""
    size = np.maximum(X.max(axis=0), -X.min(axis=0))
    largest = int(np.argmax(size))
    if size[largest] < HUGE:
        return ""
    return f"; column {names[largest]!r} holds values of up to {size[largest]:.4g} in size"


def _logits(model: Any, X: Array, source: Path, rows: Array | None = None) -> Array:
    """Return the logits of some rows, which must be finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        z = np.asarray(model.decision_function(X))
    bad = ~np.isfinite(z) if rows is None else ~np.isfinite(z) & rows
    if bad.any():
        row = int(np.argmax(bad)) + 1
        raise TableError(f"{source}: the values in row {row} are so large that no prediction holds")
    return z


def _print_coefficients(names: list[str], values: list[float]) -> None:
    width = max(len(name) for name in names)
    print("coefficients (a penalty pulls them towards 0, so there are no p-values; see --C)")
    for name, value in zip(names, values, strict=True):
        print(f"{name.ljust(width)}  {value:12.6g}")


def run_predict(arguments: argparse.Namespace) -> None:
    """Write the probability and the class of each row of a file.

    Parameters
    ----------
    arguments : argparse.Namespace
        As ``fastbce predict`` parses them.

    Raises
    ------
    TableError
        If the model or the data cannot be used.
    """
    _check_out(arguments.out)
    model = load_model(arguments.model)
    with _step(f"reading {arguments.data}"):
        table = read_table(arguments.data, [feature.name for feature in model.features])
    X, complete = design(table, model.features)
    missing = int(np.count_nonzero(~complete))
    if missing and arguments.missing == "error":
        raise TableError(_missing_text(arguments.data, complete))
    z = _logits(model, X, arguments.data, complete)
    z[~complete] = np.nan
    if arguments.out is None:
        _check_encoding(model.classes)
        _write_predictions(sys.stdout, model, z)
        return

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            _write_predictions(file, model, z)

    write_whole(arguments.out, write)
    blank = f", {missing} of them blank, because a value is missing" if missing else ""
    print(f"wrote {len(z)} predictions to {arguments.out}{blank}")


def _check_encoding(classes: tuple[Label, Label]) -> None:
    """Refuse to write other names than the classes have."""
    encoding = sys.stdout.encoding or "utf-8"
    for value in classes:
        try:
            str(value).encode(encoding)
        except UnicodeEncodeError:
            raise TableError(
                f"the standard output is {encoding}, which cannot write the class {value!r}; name "
                "a file with --out, or set PYTHONIOENCODING=utf-8"
            ) from None


def _write_predictions(file: Any, model: Model, z: Array) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["probability", "prediction"])
    for start in range(0, len(z), ROWS_AT_ONCE):
        part = z[start : start + ROWS_AT_ONCE]
        p = fastbce.sigmoid(part)
        writer.writerows(
            ("", "") if math.isnan(logit) else (repr(float(value)), model.classes[int(logit > 0)])
            for logit, value in zip(part, p, strict=True)
        )
