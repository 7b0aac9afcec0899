"""``fastbce fit``: from a file to a model."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

import fastbce
from fastbce._columns import TableError
from fastbce._writing import check_writable, is_standard_output, write_whole
from fastbce.model_file import Model, facts

from .by_formula import asked_by, with_target
from .csv_text import Spelling
from .formats import read_table
from .holdout import held_out, measures
from .method import Method, method_of
from .notes import note, step
from .prepare import Data, Request, prepare
from .reading import Choices
from .report import coefficient_lines, document, say_reading, target_line
from .tables import one_line

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from fastbce._typing import Array

    from .tables import Table

# Squares of larger values overflow.
HUGE = 1e150


def spelling_of(arguments: argparse.Namespace) -> Spelling:
    """Return what the options say of a text file."""
    return Spelling(
        arguments.sep, arguments.decimal, arguments.encoding, tuple(arguments.na_values)
    )


def _check_roles(arguments: argparse.Namespace) -> None:
    """Refuse a column that is to be two things."""
    roles = [
        ("target", arguments.target),
        ("weights", arguments.weights),
        ("offset", arguments.offset),
        *(("cluster", name) for name in arguments.cluster),
    ]
    seen: dict[str, str] = {}
    for role, name in roles:
        if name is None:
            continue
        if name in seen:
            if seen[name] == role:
                raise TableError(f"--cluster names {name!r} twice")
            raise TableError(f"the {seen[name]} {name!r} cannot be the {role} as well")
        if name in (arguments.features or ()):
            raise TableError(f"the {role} {name!r} is among --features")
        if arguments.formula is not None and name in asked_by(arguments.formula).names:
            raise TableError(f"the {role} {name!r} is on the right side of the formula")
        seen[name] = role
    if arguments.target in arguments.drop:
        raise TableError(f"the target {arguments.target!r} is among --drop")


def _request(arguments: argparse.Namespace, method: Method) -> Request:
    variables, features = None, arguments.features
    grouped = list(arguments.categorical)
    if arguments.formula is not None:
        variables = asked_by(arguments.formula)
        features = list(variables.names)
        grouped += sorted(variables.grouped.difference(grouped))
    choices = Choices(
        features,
        arguments.drop,
        grouped,
        dict(arguments.reference),
        arguments.pool_rare,
    )
    return Request(
        arguments.target,
        arguments.positive,
        arguments.weights,
        arguments.offset,
        tuple(arguments.cluster),
        choices,
        arguments.missing,
        arguments.strict,
        always_maximum=method.penalised or method.firth,
        ways_out=method.ways_out,
        formula=arguments.formula,
        variables=variables,
    )


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be written before any work is done."""
    files = [("--out", arguments.out), ("--json", arguments.json)]
    given = [(option, path) for option, path in files if path is not None]
    for option, path in given:
        check_writable(option, path, [arguments.data])
    if len(given) == 2 and (
        arguments.out == arguments.json
        or all(is_standard_output(path) for _, path in given)
        or (
            arguments.out.exists()
            and arguments.json.exists()
            and arguments.out.samefile(arguments.json)
        )
    ):
        raise TableError(f"--out and --json are both {arguments.out}; name two files")
    if arguments.plot is not None:
        if not arguments.plot.is_dir():
            raise TableError(f"--plot {arguments.plot}: there is no such directory")
        check_writable("--plot", arguments.plot / "roc.png")


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
    OSError
        If a file cannot be written.
    """
    _check_outputs(arguments)
    arguments = with_target(arguments)
    method = method_of(arguments)
    _check_roles(arguments)
    request = _request(arguments, method)
    table, data = _read(arguments, request)
    say_reading(table, data)
    first = _First(arguments, method, table, data)
    with step("fitting all rows"):
        estimator, warned = _fit(data, method, table.source, data.weight)
    why = _why_no_inference(estimator, method)
    if why:
        raise TableError(f"{table.source}: {why}")
    for text in warned:
        note(text)
    model = _model(arguments, data, estimator, {"held_out": first.measured, "warnings": warned})
    _say_results(arguments, data, estimator, first)
    if arguments.plot is not None:
        from .plots import draw

        with step("drawing"):
            for path in draw(arguments.plot, model, data, first.z, first.hidden):
                note(f"wrote {path}")
    if arguments.json is not None:
        text = json.dumps(document(table, data, model), indent=1, allow_nan=False) + "\n"
        _write(arguments.json, text)
    if arguments.out is not None:
        text = json.dumps(model.document(), indent=1, allow_nan=False) + "\n"
        _write(arguments.out, text)


def _write(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))
    if not is_standard_output(path):
        note(f"wrote {path}")


def _read(arguments: argparse.Namespace, request: Request) -> tuple[Table, Data]:
    names = None
    if request.choices.features is not None:
        names = list(dict.fromkeys([*request.choices.features, *request.used]))
    with step(f"reading {arguments.data}"):
        table = read_table(arguments.data, names, spelling_of(arguments))
    with step("encoding"):
        data = prepare(table, request)
    return table, data


class _First:
    """The fit without the held-out rows, and how well it does on them."""

    def __init__(
        self, arguments: argparse.Namespace, method: Method, table: Table, data: Data
    ) -> None:
        self.measured: dict[str, float] | None = None
        self.why = ""
        self.z: Array | None = None
        self.hidden: Array | None = None
        if arguments.no_holdout:
            return
        hidden = held_out(data.y, arguments.test_size, arguments.seed)
        if hidden is None:
            self.why = "a class has too few rows to hold some of them out"
            return
        weight = (~hidden).astype(np.float64)
        if data.weight is not None:
            weight *= data.weight
        with step("fitting without the held-out rows"):
            try:
                # Standard errors are not asked for, and clusters may have no rows here.
                estimator, _ = _fit(data, method.plain, table.source, weight)
            except TableError as error:
                self.why = str(error)
                return
        why = _why_no_inference(estimator, method)
        if "separate" in why:
            self.why = "without the held-out rows the classes separate"
            return
        z = _logits(estimator, data, table.source)
        shown = None if data.weight is None else data.weight[hidden]
        self.measured = measures(z[hidden], data.y[hidden], shown)
        self.hidden, self.z = hidden, z


def _fit(data: Data, method: Method, source: Path, weight: Array | None) -> tuple[Any, list[str]]:
    """Return the fitted estimator, and what it warned of."""
    from sklearn.exceptions import ConvergenceWarning

    estimator = method.estimator()
    clusters = data.clusters if method.cov_type == "cluster" else None
    estimator._column_names = data.names
    estimator.fit_intercept = data.intercept
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        # What overflows is judged by the estimator, by what comes of it.
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            estimator.fit(data.X, data.y, weight, offset=data.offset, clusters=clusters)
        except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
            text = f"{one_line(error)}{_huge(data.X, data.names)}"
            raise TableError(f"{source}: {method.with_options(text)}") from error
    warned = [method.with_options(str(warning.message)) for warning in caught]
    if warned and method.penalised:
        raise TableError(f"{source}: {warned[0]}")
    return estimator, warned


def _why_no_inference(estimator: Any, method: Method) -> str:
    """Return why an unpenalised fit has no result, or nothing."""
    from fastbce.inference import InferenceError

    try:
        _ = estimator.result_
    except InferenceError as error:
        return "" if method.penalised else method.with_options(str(error))
    return ""


def _huge(X: Array, names: list[str]) -> str:
    """Name the column with the largest values where these may be what went wrong."""
    size = np.maximum(X.max(axis=0), -X.min(axis=0))
    largest = int(np.argmax(size))
    if size[largest] < HUGE:
        return ""
    return f"; column {names[largest]!r} holds values of up to {size[largest]:.4g} in size"


def _logits(estimator: Any, data: Data, source: Path) -> Array:
    """Return the logits, which must be finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        z = np.asarray(estimator.decision_function(data.X, data.offset))
    bad = ~np.isfinite(z)
    if bad.any():
        row = int(np.argmax(bad)) + 1
        raise TableError(f"{source}: the values in row {row} are so large that no prediction holds")
    return z


def _model(
    arguments: argparse.Namespace, data: Data, estimator: Any, said: dict[str, Any]
) -> Model:
    details: dict[str, Any] = {
        "fastbce": fastbce.__version__,
        "rows": len(data.y),
        "C": None if np.isinf(arguments.C) else arguments.C,
        "weights": arguments.weights,
        "cluster_columns": arguments.cluster,
        **said,
    }
    if np.isinf(arguments.C):
        details |= facts(estimator.result_)
    return Model(
        arguments.target,
        data.classes,
        tuple(data.features),
        float(estimator.intercept_[0]),
        tuple(float(value) for value in estimator.coef_[0]),
        details,
        tuple(arguments.na_values),
        arguments.offset,
        data.formula,
    )


def _say_results(arguments: argparse.Namespace, data: Data, estimator: Any, first: _First) -> None:
    lines = [target_line(data, arguments.target)]
    if np.isinf(arguments.C):
        lines.append(estimator.result_.summary())
    else:
        names = ["const"] * data.intercept + data.names
        values = [float(estimator.intercept_[0])] * data.intercept
        lines += coefficient_lines(names, [*values, *map(float, estimator.coef_[0])])
    if first.measured is not None:
        shown = ", ".join(f"{k} {v:.4f}" for k, v in first.measured.items() if k != "rows")
        lines.append(f"{first.measured['rows']} rows held out of a first fit: {shown}")
    elif first.why:
        note(f"not measured on held-out rows: {first.why}")
    # Where a file goes to the standard output, nothing else may.
    files = (arguments.out, arguments.json)
    say = note if any(is_standard_output(path) for path in files) else print
    say("\n".join(lines))
