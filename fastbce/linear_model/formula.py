"""Models from formulas such as ``late ~ hour + C(carrier) * distance`` (extra ``formula``)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbce._formulas import kept, sides, variables_of
from fastbce.inference import LogitResult, TestResult
from fastbce.model_file import Feature, model_of

from .estimator import LogisticRegression

if TYPE_CHECKING:
    from fastbce._typing import Array
    from fastbce.inference import MarginalEffects

__all__ = ["FormulaFit", "fit_formula"]


@dataclass(frozen=True)
class FormulaFit:
    """A model that was fitted to a data frame by a formula.

    Parameters
    ----------
    formula : str
        As it was given.
    model : LogisticRegression
        The estimator, fitted to the columns that the formula makes.
    terms : dict of str to tuple of str
        The columns of each term of the formula.
    dropped : int
        Number of rows that were left out, because a value is missing.
    spec : formulaic.ModelSpec
        Turns a data frame into those columns, with the levels and knots of the fit.
    numbers : tuple of str
        The columns of the data that hold numbers.
    """

    formula: str
    model: LogisticRegression
    terms: dict[str, tuple[str, ...]]
    dropped: int
    spec: Any = field(repr=False)
    numbers: tuple[str, ...] = field(default=(), repr=False)

    def save(self, path: Any) -> None:
        """Write the model, formula included, to a JSON file that :func:`fastbce.load` reads.

        Parameters
        ----------
        path : path-like
            The file; ``-`` is the standard output.

        Raises
        ------
        ValueError
            If groups of the formula cannot be kept, such as those of ``C(np.floor(age))``.
        OSError
            If the file cannot be written; then an old one stays as it was.
        """
        target, right = sides(self.formula)
        formula, levels = kept(right, self.spec, self.numbers)
        features = tuple(
            Feature(name, None if name not in levels else tuple(map(str, levels[name])))
            for name in variables_of(right).names
        )
        replace(model_of(self.model, target), features=features, formula=formula).save(path)

    @property
    def result_(self) -> LogitResult:
        """Inference on the coefficients; see :attr:`LogisticRegression.result_`."""
        return self.model.result_

    def design(self, data: Any) -> Any:
        """Return the columns of the formula for a data frame, as a frame.

        Raises
        ------
        ValueError
            If a value is missing, a column is missing, or a level is not one of the fit's.
        """
        from formulaic.errors import FormulaicError

        data = _frame(data)
        try:
            with warnings.catch_warnings():
                # formulaic makes zeros of levels that it does not know.
                warnings.simplefilter("error")
                matrix = self.spec.get_model_matrix(data, na_action="raise")
        except (FormulaicError, ValueError, Warning, KeyError) as error:
            raise ValueError(
                f"the data do not fit the formula {self.formula!r}: {_one_line(error)}"
            ) from error
        return _without_intercept(matrix)

    def decision_function(self, data: Any, offset: Any = None) -> Array:
        """Return the logit of the second class for each row of a data frame."""
        return self.model.decision_function(self.design(data), offset)

    def predict_proba(self, data: Any, offset: Any = None) -> Array:
        """Return the probabilities of both classes for each row of a data frame."""
        return self.model.predict_proba(self.design(data), offset)

    def predict(self, data: Any, offset: Any = None) -> Array:
        """Return the more probable class of each row of a data frame."""
        return self.model.predict(self.design(data), offset)

    def wald_test(self, term: str) -> TestResult:
        """Test whether all coefficients of a term are 0, as those of the levels of ``C(carrier)``.

        Raises
        ------
        ValueError
            If the formula has no such term.
        """
        if term not in self.terms:
            raise ValueError(f"the formula has no term {term!r}; it has {', '.join(self.terms)}")
        return self.result_.wald_test(list(self.terms[term]))

    def marginal_effects(self, data: Any, at: str = "average", **options: Any) -> MarginalEffects:
        """Return the marginal effects of the columns; those of a term's levels are one group.

        Options are those of :meth:`fastbce.inference.LogitResult.marginal_effects`.

        Raises
        ------
        ValueError
            If the formula has interactions or curves, whose columns do not move one by one.
        """
        variables = [variable for columns in self._variables().values() for variable in columns]
        levels = {str(factor) for factor in self.spec.factor_contrasts}
        curves = [n for n, columns in self.terms.items() if len(columns) > 1 and n not in levels]
        if len(set(variables)) < len(variables) or curves:
            raise ValueError(
                "the formula has a variable in several columns (an interaction, a power, a "
                "spline), which do not move one by one; compare predictions instead"
            )
        groups = [list(columns) for columns in self.terms.values() if len(columns) > 1]
        return self.result_.marginal_effects(self.design(data), at, groups=groups, **options)

    def _variables(self) -> dict[str, set[str]]:
        """Return the columns of the data that each term needs, functions apart."""
        needed = set(map(str, self.spec.required_variables))
        return {
            str(term): needed & set(map(str, variables))
            for term, variables in self.spec.term_variables.items()
        }

    def __str__(self) -> str:
        return f"{self.formula}\n{self.result_.summary()}"


def fit_formula(
    formula: str,
    data: Any,
    *,
    sample_weight: Any = None,
    offset: Any = None,
    clusters: Any = None,
    **options: Any,
) -> FormulaFit:
    """Fit a logistic regression to the columns of a data frame by a formula.

    Parameters
    ----------
    formula : str
        What formulaic understands (Wilkinson's notation, as R and patsy have it): ``a + b``,
        ``a * b``, ``C(group)``, ``bs(age, df=4)``, ``poly(x, 2)``, ``- 1`` for no intercept. On the
        left the column of the classes, of two values of any kind, the second one being modelled.
    data : pandas.DataFrame
        The columns; rows in which a value that the formula needs is missing are left out.
    sample_weight, offset, clusters : array_like or str, optional
        As in :meth:`LogisticRegression.fit`, for all rows of `data`; or the name of a column.
    **options
        Parameters of :class:`LogisticRegression`; `C` is infinite unless it is given.

    Returns
    -------
    FormulaFit
        With `result_`, predictions for other data frames, and tests of terms.

    Raises
    ------
    ImportError
        If formulaic is not installed.
    ValueError
        If the formula cannot be understood, names a column that is not there, or has a function
        that would give something else for other rows than it gave in the fit.

    Examples
    --------
    >>> import pandas as pd
    >>> from fastbce.linear_model import fit_formula
    >>> data = pd.DataFrame({"late": [0, 0, 1, 0, 1, 1], "hour": [5, 8, 9, 12, 15, 20]})
    >>> fit = fit_formula("late ~ hour", data)
    >>> print(fit.result_.names, fit.result_.params.round(3))
    ('const', 'hour') [-4.562  0.412]
    """
    data = _frame(data)
    target, right = sides(formula)
    if target not in data.columns:
        raise ValueError(
            f"the left side of a formula is a column of the data, got {target!r}; the columns are "
            f"{', '.join(map(str, list(data.columns)[:20]))}"
        )
    variables = variables_of(right)
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    more = {
        name: values
        for name, values in (
            ("sample_weight", sample_weight),
            ("offset", offset),
            ("clusters", clusters),
        )
        if values is not None
    }
    try:
        parsed = Formula(right)
        # Rows are left out before: levels that occur in those alone are no columns.
        keep = _complete(data, {target, *variables.names})
        arrays = {name: _rows(values, name, data, keep) for name, values in more.items()}
        data = data[keep]
        # Nothing of this module is in reach of a formula.
        matrix = parsed.get_model_matrix(data, na_action="raise", context={})
    except (FormulaicError, ValueError, TypeError, KeyError, NameError, SyntaxError) as error:
        raise ValueError(f"the formula {formula!r} failed: {_one_line(error)}") from error
    spec = matrix.model_spec
    intercept = "Intercept" in matrix.columns
    frame = _without_intercept(matrix)
    if not frame.shape[1]:
        raise ValueError(f"the formula {formula!r} has no variable")
    model = LogisticRegression(**{"C": np.inf, "fit_intercept": intercept, **options})
    model.fit(frame, data[target].to_numpy(), **arrays)
    names = list(matrix.columns)
    terms = {
        str(term): tuple(names[place] for place in places)
        for term, places in spec.term_indices.items()
        if str(term) != "1"
    }
    numbers = tuple(name for name in variables.names if data[name].dtype.kind in "biuf")
    return FormulaFit(formula, model, terms, int(len(keep) - keep.sum()), spec, numbers)


def _frame(data: Any) -> Any:
    if not hasattr(data, "columns") or not hasattr(data, "iloc"):
        raise TypeError(f"data must be a data frame of pandas, got {type(data).__name__}")
    return data


def _complete(data: Any, names: set[str]) -> Array:
    """Return which rows have all values that the formula needs."""
    used = [name for name in data.columns if str(name) in names]
    keep = np.asarray(data[used].notna().all(axis=1).to_numpy(), np.bool_)
    if not keep.any():
        raise ValueError("each row has a missing value in a column of the formula")
    return keep


def _rows(values: Any, name: str, data: Any, keep: Array) -> Any:
    if isinstance(values, str):
        if values not in data.columns:
            raise ValueError(f"{name}={values!r} is no column of the data")
        values = data[values]
    if isinstance(values, tuple):
        return tuple(np.asarray(part)[keep] for part in values)
    if len(values) != len(data):
        raise ValueError(f"{name} has {len(values)} rows, the data have {len(data)}")
    return values[keep] if hasattr(values, "columns") else np.asarray(values)[keep]


def _without_intercept(matrix: Any) -> Any:
    frame = matrix.drop(columns="Intercept", errors="ignore")
    return frame.astype(np.float64)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
