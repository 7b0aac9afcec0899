"""Formulas such as ``hour + C(carrier) * bs(age, 4)`` (extra ``formula``), by formulaic.

What a formula makes of new rows depends on the rows of the fit: knots, means, levels. That is kept
as plain numbers and text, so a model file can hold it. As such a file may come from anybody, and
formulaic evaluates the Python expressions of a formula, only known functions are let through.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from ._typing import Array

__all__ = [
    "Formula",
    "FormulaError",
    "Variables",
    "formula_of",
    "kept",
    "made",
    "sides",
    "variables_of",
]

# What they know of the fit is in the states that formulaic keeps, or they know nothing. Left out
# are lag, which needs the rows before, hashed, and exp10, which is x^10 in formulaic 1.2.
CODINGS = frozenset(["Diff", "Helmert", "Poly", "Sum", "Treatment"])
CURVES = frozenset(["bs", "cc", "center", "cr", "cs", "poly", "scale", "standardize"])
FUNCTIONS = frozenset(["C", "I", "Q", "exp", "log", "log10", "log2"]) | CODINGS | CURVES
CONTRASTS = frozenset(["SAS", "custom", "diff", "helmert", "poly", "sum", "treatment"])
NODES = (
    ast.BinOp,
    ast.Compare,
    ast.Constant,
    ast.Dict,
    ast.Expression,
    ast.List,
    ast.Load,
    ast.Tuple,
    ast.UnaryOp,
    ast.cmpop,
    ast.keyword,
    ast.operator,
    ast.unaryop,
)


class FormulaError(ValueError):
    """A formula cannot be used; the text says why."""


@dataclass(frozen=True)
class Variables:
    """The columns of the data that a formula needs."""

    names: tuple[str, ...]
    grouped: frozenset[str]  # used as C(name) alone
    alone: frozenset[str]  # a term of their own, as name or C(name)


@dataclass(frozen=True)
class Formula:
    """The right side of a formula, and what it needs to make the same columns of other rows.

    Parameters
    ----------
    text : str
        The right side.
    columns : tuple of str
        The columns that have coefficients, without the intercept.
    intercept : bool
        Whether the formula has one.
    transforms : dict
        What each call of a function such as ``bs(age, 4)`` keeps of the fit: numbers, text, lists.
    """

    text: str
    columns: tuple[str, ...]
    intercept: bool = True
    transforms: dict[str, Any] = field(default_factory=dict)

    def design(self, frame: Any) -> Array:
        """Return the columns that have coefficients, for a frame without missing values.

        Raises
        ------
        FormulaError
            If that cannot be done.
        """
        matrix, spec = _evaluated(self.text, frame, _restored(self.transforms))
        names = list(spec.column_names)
        absent = [name for name in self.columns if name not in names]
        if absent:
            raise FormulaError(
                f"the formula {self.text!r} makes no column {absent[0]!r} of these data; the "
                "version of formulaic may differ from that of the fit"
            )
        return np.asarray(matrix[:, [names.index(name) for name in self.columns]])

    def outside(self, frame: Any) -> Iterator[tuple[str, Array]]:
        """Give splines with the rows that lie beyond the rows of the fit, where they end."""
        for call, state in self.transforms.items():
            if "lower_bound" not in state:
                continue
            found = ast.parse(call, mode="eval").body
            if not isinstance(found, ast.Call) or not isinstance(found.args[0], ast.Name):
                continue
            name = found.args[0].id
            if name in frame.columns and not any(k.arg == "extrapolation" for k in found.keywords):
                values = np.asarray(frame[name], np.float64)
                low, high = state["lower_bound"], state["upper_bound"]
                yield f"{call} of {low:g} to {high:g}", (values < low) | (values > high)

    def document(self) -> dict[str, Any]:
        """Return what a model file holds."""
        return {
            "text": self.text,
            "columns": list(self.columns),
            "intercept": self.intercept,
            "transforms": self.transforms,
        }


def formula_of(entry: Any) -> Formula:
    """Return the formula of a model file, which may hold known functions alone.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is damaged.
    """
    found = Formula(
        str(entry["text"]),
        tuple(map(str, entry["columns"])),
        bool(entry["intercept"]),
        dict(entry["transforms"]),
    )
    variables_of(found.text)
    return found


def sides(formula: Any) -> tuple[str, str]:
    """Return the name on the left and the text on the right.

    Raises
    ------
    FormulaError
        If there are no two sides.
    """
    if not isinstance(formula, str) or formula.count("~") != 1:
        raise FormulaError(f"a formula is a text such as 'y ~ a + b', got {formula!r}")
    target, right = (side.strip() for side in formula.split("~"))
    return target.strip("`"), right


def variables_of(text: str) -> Variables:
    """Return the columns that the right side of a formula needs.

    Raises
    ------
    FormulaError
        If it cannot be understood, or has a function whose state is not kept.
    """
    names: dict[str, None] = {}
    grouped: set[str] = set()
    otherwise: set[str] = set()
    alone: set[str] = set()
    for term in _parsed(text):
        for factor in term.factors:
            kind = factor.eval_method.value
            if kind == "literal":
                continue
            used: set[str] = {factor.expr}
            group = ""
            if kind == "python":
                used, group = _used(factor.expr)
            names |= dict.fromkeys(sorted(used))
            (grouped if group else otherwise).update(used)
            if len(term.factors) == 1 and (group or kind == "lookup"):
                alone |= used
    if not names:
        raise FormulaError(f"the formula {text!r} has no variable")
    return Variables(tuple(names), frozenset(grouped - otherwise), frozenset(alone))


def made(text: str, frame: Any) -> tuple[Array, Formula]:
    """Return the columns that a formula makes of the rows of a fit, and the formula for others.

    Parameters
    ----------
    text : str
        The right side.
    frame : pandas.DataFrame
        Numbers, and categories for text; no value is missing.

    Raises
    ------
    FormulaError
        If the formula fails, or what it knows of these rows cannot be kept.
    """
    variables_of(text)
    matrix, spec = _evaluated(text, frame, {})
    names = list(spec.column_names)
    if len(set(names)) < len(names):
        raise FormulaError(f"the formula {text!r} makes two columns of one name")
    _check_levels(text, spec, frame)
    places = [place for place, name in enumerate(names) if name != "Intercept"]
    if not places:
        raise FormulaError(f"the formula {text!r} makes no column of these data")
    _check_finite(text, names, matrix)
    return matrix[:, places], _as_plain(text, spec)


def kept(text: str, spec: Any, numbers: Collection[str]) -> tuple[Formula, dict[str, Any]]:
    """Return a formula that formulaic has fitted to any frame, and the levels of its columns.

    Parameters
    ----------
    text : str
        The right side.
    spec : formulaic.ModelSpec
        As it comes from the fit.
    numbers : collection of str
        The columns of numbers.

    Raises
    ------
    FormulaError
        If what it knows of the rows of the fit cannot be kept.
    """
    variables = variables_of(text)
    levels: dict[str, Any] = {}
    for expression, (_, state) in spec.encoder_state.items():
        if "categories" not in state:
            continue
        (name, *others), found = sorted(_used(expression)[0]), list(state["categories"])
        computed = name in numbers and name not in variables.grouped
        plain = all(isinstance(one, (str, int, np.integer)) for one in found)
        if others or computed or not plain or levels.get(name, found) != found:
            raise FormulaError(
                f"the groups of {expression!r} cannot be kept in a model file; store them as a "
                "column of text"
            )
        levels[name] = found
    for name in variables.names:
        if name not in levels and name not in numbers:
            raise FormulaError(
                f"the levels of {name!r} cannot be kept in a model file, as the formula {text!r} "
                f"has no term of them; write C({name})"
            )
    return _as_plain(text, spec), levels


def _parsed(text: str) -> Any:
    try:
        import formulaic
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'formulas need formulaic: python -m pip install "fastbce[formula]"', name="formulaic"
        ) from error
    from formulaic.errors import FormulaicError
    from formulaic.formula import StructuredFormula

    if "." in text.replace("+", " ").replace("-", " ").replace("*", " ").split():
        raise FormulaError(f"the formula {text!r} has '.'; name the columns that it stands for")
    try:
        found = formulaic.Formula(text)
    except (FormulaicError, SyntaxError, ValueError, TypeError) as error:
        said = _one_line(error)
        raise FormulaError(f"the formula {text!r} cannot be understood: {said}") from None
    if isinstance(found, StructuredFormula):
        raise FormulaError(f"the formula {text!r} has several parts; one is needed")
    return found


def _used(expression: str) -> tuple[set[str], str]:
    """Return the columns in an expression, and the one of which it makes groups alone."""
    from formulaic.utils.code import sanitize_variable_names

    aliases: dict[str, str] = {}
    tree = ast.parse(sanitize_variable_names(expression, {}, aliases), mode="eval")
    used = {aliases.get(name, name) for name in _names(tree, expression)}
    body, group = tree.body, ""
    if isinstance(body, ast.Call) and isinstance(body.func, ast.Name) and body.func.id == "C":
        first = body.args[0] if body.args else None
        if isinstance(first, ast.Name):
            group = aliases.get(first.id, first.id)
    return used, group if used == {group} else ""


def _names(node: ast.AST, expression: str) -> Iterator[str]:
    """Give the names of an expression that stand for columns; let through what is known."""
    if isinstance(node, ast.Name):
        yield node.id
        return
    if isinstance(node, ast.Attribute) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ):
        attribute = node.func if isinstance(node, ast.Call) else node
        if not _is_known_attribute(attribute):
            _refuse(ast.unparse(attribute), expression)
    elif isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            _refuse(ast.unparse(node.func), expression)
        if node.func.id == "Q":
            yield from (str(one.value) for one in node.args if isinstance(one, ast.Constant))
            return
    elif not isinstance(node, NODES):
        _refuse(ast.unparse(node), expression)
    if isinstance(node, ast.Attribute):
        return
    children = [*node.args, *node.keywords] if isinstance(node, ast.Call) else None
    for child in ast.iter_child_nodes(node) if children is None else children:
        if not (isinstance(child, ast.Name) and child.id in CODINGS):  # as in C(carrier, Sum)
            yield from _names(child, expression)


def _is_known_attribute(node: ast.AST) -> bool:
    """Return whether it is a function of NumPy for one element, or names contrasts."""
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return False
    if node.value.id == "contr":
        return node.attr in CONTRASTS
    return node.value.id == "np" and isinstance(getattr(np, node.attr, None), np.ufunc)


def _refuse(name: str, expression: str) -> NoReturn:
    known = ", ".join(sorted(FUNCTIONS))
    raise FormulaError(
        f"{name!r} in {expression!r} is refused: a model keeps nothing of the fit's rows for it. "
        f"Known are {known}, contr.* and NumPy's functions of one element, such as np.sqrt"
    )


def _evaluated(text: str, frame: Any, states: dict[Any, Any]) -> tuple[Array, Any]:
    """Return all columns of a formula, and formulaic's specification."""
    from formulaic import ModelSpec
    from formulaic.errors import FormulaicError

    spec = ModelSpec(formula=_parsed(text), output="numpy", transform_state=states)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            # Nothing of this module is in reach of a formula.
            found = spec.get_model_matrix(frame, context={}, na_action="ignore")
    except (FormulaicError, ValueError, TypeError, KeyError, NameError, SyntaxError) as error:
        raise FormulaError(f"the formula {text!r} failed: {_one_line(error)}") from None
    return np.asarray(found, np.float64), found.model_spec


def _check_levels(text: str, spec: Any, frame: Any) -> None:
    """Refuse groups that the formula makes itself: other rows would have other groups."""
    known = [
        list(frame[name].cat.categories)
        for name in frame.columns
        if getattr(frame[name].dtype, "name", "") == "category"
    ]
    for expression, (_, state) in spec.encoder_state.items():
        if "categories" in state and list(state["categories"]) not in known:
            raise FormulaError(
                f"{expression!r} in the formula {text!r} makes groups of numbers that the formula "
                "uses otherwise too, or has computed; store the groups as a column of their own"
            )


def _check_finite(text: str, names: Sequence[str], matrix: Array) -> None:
    bad = ~np.isfinite(matrix)
    if bad.any():
        place = int(np.argmax(bad.any(axis=0)))
        row = int(np.argmax(bad[:, place]))
        raise FormulaError(
            f"column {names[place]!r} of the formula {text!r} is {matrix[row, place]} in "
            f"{np.count_nonzero(bad[:, place])} of the {len(matrix)} rows that can be used"
        )


def _as_plain(text: str, spec: Any) -> Formula:
    states = {call: _plain(call, state) for call, state in spec.transform_state.items() if state}
    columns = tuple(name for name in spec.column_names if name != "Intercept")
    return Formula(text, columns, len(columns) < len(spec.column_names), states)


def _plain(call: str, state: Any) -> Any:
    """Return what a function keeps as JSON has it.

    Raises
    ------
    FormulaError
        If it is something else than numbers, text and lists of them.
    """
    if isinstance(state, Mapping):
        return {str(key): _plain(call, value) for key, value in state.items()}
    if isinstance(state, (np.ndarray, np.generic)):
        state = state.tolist()
    if isinstance(state, (list, tuple)):
        return [_plain(call, value) for value in state]
    if state is None or isinstance(state, (bool, int, str)):
        return state
    if isinstance(state, float) and np.isfinite(state):
        return state
    raise FormulaError(
        f"{call!r} cannot be kept in a model file: it remembers {type(state).__name__} {state!r}"
    )


def _restored(state: Any) -> Any:
    """Return a state as formulaic has it: columns have whole numbers for names."""
    if isinstance(state, Mapping):
        return {int(k) if k.isdecimal() else k: _restored(v) for k, v in state.items()}
    return np.asarray(state) if isinstance(state, list) else state


def _one_line(error: BaseException) -> str:
    # Formulaic marks the place of a fault by colours and brackets.
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[⧛⧚]", "", str(error)).split())
