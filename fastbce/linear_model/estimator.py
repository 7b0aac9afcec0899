"""Logistic regression on the fused linear pass, for scikit-learn (extra ``sklearn``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning

from fastbce._inputs import Array
from fastbce.inference import InferenceError, LogitResult

from .checks import (
    Settings,
    all_or_nothing,
    check_parameters,
    overflow_error,
    settings_of,
    wanted_of,
)
from .coordinates import Coordinates, coordinates_of
from .firth import fit_firth
from .fitted import Fitted
from .infer import infer, null_intercept
from .inputs import as_clusters, as_offset, read_both
from .messages import warn
from .objective import HESSIAN, Objective
from .robust import Wanted
from .samples import Memory, Rows
from .solvers import NotFiniteError, Solution, solve
from .sparse import rows_of
from .stream import Stream, first_pass
from .survey import Survey, check_both, encode
from .weights import NO_WEIGHT, factors_of, weights_of

__all__ = ["LogisticRegression"]

# Of the intercept in partial_fit, where the columns of the first batch are centered.
INTERCEPT_PRECISION = 0.01


class LogisticRegression(Fitted, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Binary logistic regression that reads the data once for each step.

    Minimises ``C sum_i w_i loss_i + ||coef||^2 / 2``, the objective of scikit-learn's estimator
    with an L2 penalty; the intercept is not penalised. ``C=np.inf`` is maximum likelihood, and
    then :attr:`result_` holds standard errors and p-values. ``penalty="firth"`` maximises Firth's
    penalised likelihood, which has a maximum where classes separate.

    Parameters
    ----------
    C : float, default 1.0
        Inverse of the strength of the penalty; ``np.inf`` for none.
    fit_intercept : bool, default True
        Whether to add a constant to the logits.
    class_weight : dict, "balanced" or None, default None
        Factors of the samples' weights by their class.
    solver : {"auto", "newton", "lbfgs"}, default "auto"
        "newton" evaluates Hessians; "lbfgs" is SciPy's, with Newton steps at its end. "auto" takes
        "newton" up to 4096 columns. Scikit-learn's other names stand for "auto", with a warning.
    tol : float, default 1e-6
        The fit ends when the Newton decrement ``g^T H^-1 g`` of the mean objective is below
        ``(tol / 100)^2``: no element of its gradient, with columns in standard deviations, is then
        larger than `tol`. Neither units nor origins of the columns matter.
    max_iter : int, default 200
        Most steps of the solver.
    warm_start : bool, default False
        Whether to start from the last fit's coefficients.
    cov_type : {"nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster"}, default "nonrobust"
        Covariance of the coefficients in :attr:`result_`: the inverse Hessian, or the sandwich
        that holds when the model is wrong, or samples of a cluster depend on each other.
    weight_kind : {"frequency", "sampling", "analytic"}, default "frequency"
        What weights mean for :attr:`result_`: so many rows each; inverse probabilities of being
        sampled, which need a robust `cov_type`; or precisions, which count relative to their mean.
        Coefficients are the same.
    penalty : {"l2", None, "firth"}, default "l2"
        None is maximum likelihood, as ``C=np.inf`` is. "firth" needs neither `C` nor `tol`.
    l1_ratio : None or 0, default None
        For code that was written for scikit-learn; there is no L1 penalty.
    n_jobs : int or None, default None
        For such code too, without effect; see :func:`fastbce.set_num_threads`.
    random_state : int, RandomState or None, default None
        For such code too, without effect: nothing here is random.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The class labels; the second one is modelled.
    coef_ : ndarray of shape (1, d)
        Coefficients, float64 whatever `X` is: rounded to float32, those of a column 10^5 standard
        deviations from 0 would move logits by 6e-3.
    intercept_ : ndarray of shape (1,)
        Intercept.
    n_iter_ : ndarray of shape (1,)
        Steps taken.
    result_ : fastbce.inference.LogitResult
        Inference. Reading it raises :class:`fastbce.inference.InferenceError` with the reason
        where there is none: an L2 penalty, separated classes, dependent columns.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str
        Names of the columns, where `X` has some.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbce.linear_model import LogisticRegression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> y = (X[:, 0] + rng.logistic(size=400) > 0).astype(int)
    >>> model = LogisticRegression(C=float("inf")).fit(X, y)
    >>> print(model.coef_.round(2), model.result_.pvalues.round(3))
    [[ 1.11 -0.17]] [0.919 0.    0.144]
    """

    def __init__(
        self,
        *,
        C: float = 1.0,
        fit_intercept: bool = True,
        class_weight: Any = None,
        solver: str = "auto",
        tol: float = 1e-6,
        max_iter: int = 200,
        warm_start: bool = False,
        cov_type: str = "nonrobust",
        weight_kind: str = "frequency",
        penalty: str | None = "l2",
        l1_ratio: float | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.cov_type = cov_type
        self.weight_kind = weight_kind
        self.penalty = penalty
        self.l1_ratio = l1_ratio
        self.n_jobs = n_jobs
        self.random_state = random_state

    # What partial_fit knows of earlier batches: coordinates, Hessian, and where it was taken.
    _past: tuple[Coordinates, Array, Array]
    _result: LogitResult | str
    # Names for arrays, which have none of their own.
    _column_names: Sequence[str] = ()

    @all_or_nothing
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        clusters: Any = None,
    ) -> LogisticRegression:
        """Fit the model.

        Parameters
        ----------
        X : array_like or sparse matrix of shape (n, d)
            Samples in rows; float32 and float64 arrays are used as they are.
        y : array_like of shape (n,)
            Labels of two classes.
        sample_weight : array_like of shape (n,), optional
            Non-negative weights; `weight_kind` says what they mean.
        offset : array_like of shape (n,), optional
            Added to the logits, as a column with the coefficient 1.
        clusters : array_like of shape (n,) or (n, 2), or tuple of two arrays, optional
            For ``cov_type="cluster"``: labels of the clusters, of one way or two.

        Returns
        -------
        LogisticRegression
            This estimator.

        Raises
        ------
        ValueError
            If the data are not valid, or a parameter does not go with them.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If the solver stopped before the end that `tol` asks for, if there are no standard
            errors (see :attr:`result_`), or if nothing is known of some coefficients.
        """
        check_parameters(self)
        X, y = read_both(self, X, y, reset=True)
        labels, self.classes_ = encode(y, None)
        if sparse.issparse(X) and clusters is not None:
            raise ValueError("a sparse X has no clusters; pass X.toarray()")
        weight = weights_of(self, X, labels, sample_weight)
        rows = rows_of(X, labels, weight, as_offset(offset, X.shape[0]))
        return self._fit(rows, as_clusters(clusters, X.shape[0]))

    @all_or_nothing
    def fit_stream(self, source: Any) -> LogisticRegression:
        """Fit the model to data larger than memory.

        The loss and the gradient are those of all samples, as in :meth:`fit`: the source is read
        from the start for each of them, about ten times. While one chunk is computed on, a thread
        reads the next; no more than these two are in memory, and up to some ten thousand rows that
        the solver starts from.

        Parameters
        ----------
        source : iterable or callable
            Gives chunks ``(X, y)`` or ``(X, y, sample_weight)``, the same ones each time it is
            iterated or called: a :class:`fastbce.streaming.ParquetChunks`, a
            :class:`fastbce.streaming.ArrayChunks`, a generator function without arguments. An
            attribute `feature_names` names the columns of chunks that are arrays.

        Returns
        -------
        LogisticRegression
            This estimator.

        Raises
        ------
        TypeError
            If the source can be read only once, or gives something else than such tuples.
        ValueError
            If a chunk is not valid or not like the others, or the rows change between passes.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            As :meth:`fit` does.
        """
        check_parameters(self)
        survey, kept = first_pass(source)
        factors = self._learn(survey, getattr(source, "feature_names", None))
        return self._fit(Stream(survey, factors, source, kept))

    @all_or_nothing
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> LogisticRegression:
        """Update the model with one more batch of samples.

        What earlier batches said is kept as a quadratic: their Hessian around the coefficients
        they led to (the Laplace approximation of their likelihood and the penalty). Memory is
        O(d^2), whatever came before. The logit at the middle of the first batch has a weak penalty
        too (variance 100), because that batch may hold one class; but for that it gives what
        :meth:`fit` does.

        Parameters
        ----------
        X : array_like of shape (n, d)
            Samples in rows.
        y : array_like of shape (n,)
            Labels; a batch may hold one class alone.
        classes : array_like of shape (2,), optional
            The two labels; needed where the first batch holds one of them alone.
        sample_weight : array_like of shape (n,), optional
            Non-negative weights.

        Returns
        -------
        LogisticRegression
            This estimator.

        Raises
        ------
        ValueError
            If `fit_intercept` is not what it was, or the data are not valid.

        Warns
        -----
        UserWarning
            If the estimator was fitted by :meth:`fit` or :meth:`fit_stream`: they keep no Hessian
            of their samples, so this batch starts anew.
        sklearn.exceptions.ConvergenceWarning
            As :meth:`fit` does.
        """
        check_parameters(self)
        first = not hasattr(self, "_past")
        if first and hasattr(self, "coef_"):
            warn(
                "partial_fit starts anew: fit and fit_stream, which fitted this estimator, keep "
                "nothing of their samples that a batch could be added to",
                UserWarning,
            )
        if not first and self._past[0].intercept != bool(self.fit_intercept):
            raise ValueError(
                f"fit_intercept={self.fit_intercept} now, but earlier batches were fitted with "
                f"{self._past[0].intercept}; call partial_fit on a new estimator"
            )
        settings = settings_of(self)
        if settings.firth:
            raise ValueError("penalty='firth' needs all samples at once; call fit")
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all samples; pass a dict of weights to partial_fit"
            )
        X, y = read_both(self, X, y, reset=first)
        X = X.toarray() if sparse.issparse(X) else X
        if classes is not None:
            classes = np.unique(classes)
        elif not first:
            classes = self.classes_
        labels, self.classes_ = encode(y, classes)
        rows = Memory(X, labels, weights_of(self, X, labels, sample_weight))
        if first:
            coordinates = coordinates_of(rows, bool(self.fit_intercept), always=True)
            precision = coordinates.penalty(np.full(coordinates.size, 1.0 / settings.C))
            if self.fit_intercept:
                precision[0] = INTERCEPT_PRECISION
            precision, center = np.diag(precision), np.zeros(coordinates.size)
        else:
            coordinates, precision, center = self._past
        objective = Objective(rows, coordinates, precision, center)
        with self._overflow_explained(rows):
            solution = self._solve(objective, center.copy(), "newton")
        if not solution.converged:
            self._warn(solution)
        hessian = objective.sums(solution.theta, HESSIAN)[2]
        self._past = coordinates, precision + hessian, solution.theta
        self._has_offset = False
        self._store(coordinates.raw(solution.theta))
        self.n_iter_ = np.array([solution.iterations], np.int32)
        self._result = (
            "coefficients of partial_fit come from an approximation; use fit with C=np.inf"
        )
        return self

    @property
    def result_(self) -> LogitResult:
        """Inference on the coefficients: standard errors, p-values, :meth:`summary`."""
        if not hasattr(self, "_result"):
            raise InferenceError("the model is not fitted; call fit first")
        if isinstance(self._result, str):
            raise InferenceError(self._result)
        return self._result

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.input_tags.sparse = True
        return tags

    def _learn(self, survey: Survey, names: Sequence[str] | None = None) -> Array | None:
        """Take over what is known of samples in chunks; return the factors of the classes."""
        self.n_features_in_ = survey.header.columns
        names = survey.header.names or names
        if names is not None:
            self.feature_names_in_ = np.array(names, object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        check_both(survey.classes)
        self.classes_ = survey.classes
        if not survey.weights.any():
            raise ValueError(NO_WEIGHT)
        return None if self.class_weight is None else factors_of(self, survey.weights)

    def _fit(self, rows: Rows, clusters: Array | None = None) -> LogisticRegression:
        settings = settings_of(self)
        wanted = wanted_of(self, clusters, weighted=rows.weighted and np.isinf(settings.C))
        start = self._start(rows)
        if hasattr(self, "_past"):
            del self._past
        coordinates = coordinates_of(rows, bool(self.fit_intercept))
        penalty = np.full(coordinates.size, 1.0 / settings.C)
        if self.fit_intercept:
            penalty[0] = 0
        objective = Objective(
            rows, coordinates, coordinates.penalty(penalty), np.zeros(coordinates.size)
        )
        first = coordinates.standard(start)
        with self._overflow_explained(rows):
            if settings.firth:
                found = fit_firth(objective, first, self._parameter_names(rows.columns))
                self._result = found.result
                solution = Solution(found.theta, np.zeros(0), found.steps, True)
                why = found.result if isinstance(found.result, str) else ""
            else:
                solution = self._solve(objective, first, settings.solver)
                why = self._infer(objective, solution, settings, wanted)
        self._has_offset = rows.offset is not None
        self._store(coordinates.raw(solution.theta))
        self.n_iter_ = np.array([solution.iterations], np.int32)
        if why:
            warn(why, ConvergenceWarning)
        elif not solution.converged:
            self._warn(solution)
        return self

    def _solve(self, objective: Objective, start: Array, solver: str) -> Solution:
        solution = solve(objective, start, solver, float(self.tol), int(self.max_iter))
        if not np.all(np.isfinite(solution.gradient)):
            raise NotFiniteError
        return solution

    @contextmanager
    def _overflow_explained(self, rows: Rows) -> Iterator[None]:
        """Say which values it was where sums of squares overflow."""
        try:
            yield
        except NotFiniteError:
            names = self._names(rows.columns)
            raise overflow_error(rows, names, type(self).__name__) from None

    def _start(self, rows: Rows) -> Array:
        """Return the parameters to start from, in the user's coordinates."""
        columns = rows.columns
        if not self.warm_start or not hasattr(self, "coef_"):
            zeros: Array = np.zeros(columns + bool(self.fit_intercept))
            if self.fit_intercept and rows.offset is not None:
                # Offsets of 50 leave no curvature at an intercept of 0.
                zeros[0] = null_intercept(rows)
            return zeros
        coef = np.asarray(self.coef_, np.float64)
        if coef.shape != (1, columns):
            raise ValueError(
                f"warm_start=True, but coef_ has shape {coef.shape} and X has {columns} columns; "
                "set warm_start=False to fit other data"
            )
        start = coef[0]
        if self.fit_intercept:
            start = np.concatenate([np.asarray(self.intercept_, np.float64).reshape(1), start])
        if not np.all(np.isfinite(start)):
            raise ValueError(
                "warm_start=True, but coef_ and intercept_ hold NaN or infinity; set "
                "warm_start=False to start from 0"
            )
        return np.asarray(start)

    def _store(self, theta: Array) -> None:
        coef = theta[1:] if self.fit_intercept else theta
        self.coef_ = coef[None].copy()
        self.intercept_ = theta[:1].copy() if self.fit_intercept else np.zeros(1)

    def _warn(self, solution: Solution) -> None:
        advice = "Set a smaller C"
        if solution.reason == "max_iter was reached":
            advice = "Raise max_iter, or set a smaller C"
        warn(
            f"the fit did not converge: {solution.reason} after {solution.iterations} iterations, "
            f"before the end that tol={self.tol:g} asks for. {advice}",
            ConvergenceWarning,
        )

    def _names(self, columns: int) -> list[str]:
        if hasattr(self, "feature_names_in_"):
            return list(self.feature_names_in_)
        return list(self._column_names) or [f"x{i + 1}" for i in range(columns)]

    def _parameter_names(self, columns: int) -> list[str]:
        return ["const"] * bool(self.fit_intercept) + self._names(columns)

    def _infer(
        self, objective: Objective, solution: Solution, settings: Settings, wanted: Wanted
    ) -> str:
        """Set the result, and return what there is to warn of where there is none."""
        if np.isfinite(settings.C):
            self._result = (
                f"a penalty (C={settings.C:g}) pulls the coefficients towards 0, so their standard "
                "errors and p-values would mislead; fit with C=np.inf"
            )
            return ""
        names = self._parameter_names(objective.rows.columns)
        try:
            self._result = infer(objective, solution, names, wanted, float(self.tol))
        except InferenceError as error:
            self._result = str(error)
            return str(error) if solution.converged or "separate" in str(error) else ""
        return ""
