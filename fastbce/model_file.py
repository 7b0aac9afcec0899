"""A fitted model as a JSON file: readable, versioned, and nothing in it is executed.

``fastbce fit --out`` and :meth:`Model.save` write it; :func:`fastbce.load` reads it.
`docs/command_line.md` describes what it holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import functional
from ._columns import Advice, Column, TableError, as_known, without
from ._features import Feature, encode, frame_of, indicators, known
from ._formulas import Formula, formula_of
from ._typing import Array
from ._writing import check_writable, write_whole

if TYPE_CHECKING:
    from .inference import LogitResult

__all__ = ["Feature", "Label", "Model", "TableError", "encode", "facts", "load", "model_of"]

FORMAT = "fastbce logistic regression"
SCHEMA = 2
READABLE = (1, 2)
ADVICE = Advice("the model needs numbers there")

Label = bool | int | float | str


@dataclass(frozen=True)
class Model:
    """A logistic regression read from a file, which predicts for columns of numbers and text.

    Parameters
    ----------
    target : str
        Name of what is predicted.
    classes : tuple
        The two classes; the probability is that of the second.
    features : tuple of Feature
        What each column becomes.
    intercept : float
        The intercept.
    coef : tuple of float
        One for each column of the matrix, in the order of the features' `outputs`.
    fit : dict
        What is known of the fit: `docs/command_line.md` names the keys.
    na_values : tuple of str
        What counts as missing beside the usual spellings.
    offset : str, optional
        Name of what was added to the logits in the fit; predictions then need theirs.
    formula : fastbce._formulas.Formula, optional
        What makes the columns of the matrix of the features, if a formula does.
    """

    target: str
    classes: tuple[Label, Label]
    features: tuple[Feature, ...]
    intercept: float
    coef: tuple[float, ...]
    fit: dict[str, Any] = field(default_factory=dict)
    na_values: tuple[str, ...] = ()
    offset: str | None = None
    formula: Formula | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the coefficients."""
        if self.formula is not None:
            return self.formula.columns
        return tuple(name for feature in self.features for name in feature.outputs)

    @property
    def result_(self) -> LogitResult:
        """Inference on the coefficients, as :attr:`LogisticRegression.result_` has it.

        Raises
        ------
        fastbce.inference.InferenceError
            If the file has no covariance: the fit had a penalty.
        """
        from .inference import InferenceError, LogitResult, Profile

        if "covariance" not in self.fit:
            why = self.fit.get("no_inference") or "the fit had a penalty, or an earlier version"
            why += "" if "no_inference" in self.fit else " wrote the file"
            raise InferenceError(f"the model file has no covariance of the coefficients: {why}")
        profile = None
        if "chi2" in self.fit:
            bounds = np.array(self.fit["intervals_95"], np.float64)
            # JSON has no infinity, and a bound is never anything else without being a number.
            profile = Profile(
                np.array(self.fit["chi2"], np.float64),
                np.array(self.fit["p_values"], np.float64),
                0.05,
                np.where(np.isnan(bounds), [-np.inf, np.inf], bounds),
            )
        return LogitResult(
            names=tuple(self.fit["names"]),
            params=np.array(self.fit["estimates"], np.float64),
            covariance=np.array(self.fit["covariance"], np.float64),
            cov_type=str(self.fit["covariance_type"]),
            nobs=float(self.fit["observations"]),
            llf=float(self.fit["log_likelihood"]),
            llnull=float(self.fit["null_log_likelihood"]),
            standard_errors=np.array(self.fit["standard_errors"], np.float64),
            weight_kind=str(self.fit.get("weight_kind", "frequency")),
            clusters=tuple(map(int, self.fit.get("clusters", ()))),
            method=str(self.fit.get("method", "maximum likelihood")),
            profile=profile,
        )

    def decision_function(self, X: Any, offset: Any = None) -> Array:
        """Return the logits of rows.

        Parameters
        ----------
        X : mapping of columns, data frame, Arrow table, or array of shape (n, d)
            Columns by name, of which those of the model are used; or the matrix itself, with a
            column for each coefficient.
        offset : array_like of shape (n,), optional
            Added to the logits; needed where the fit had an offset.

        Returns
        -------
        ndarray
            NaN for rows with a missing value, offset included, a level that the fit has not seen,
            or a value for which a function of the formula has none.

        Raises
        ------
        ValueError
            If a column is missing, or holds text where the model needs numbers, if the offset is
            missing or is not a number for each row, or if the formula fails.
        ImportError
            If there is a formula, and formulaic is not installed.
        """
        if offset is None and self.offset is not None:
            raise ValueError(
                f"the model was fitted with the offset {self.offset!r}; pass offset= for these "
                "rows (zeros for none)"
            )
        matrix = X if isinstance(X, np.ndarray) else self._matrix(X)
        if matrix.ndim != 2 or matrix.shape[1] != len(self.coef):
            raise ValueError(
                f"X must have shape (n, {len(self.coef)}), a column for each of "
                f"{', '.join(self.names)}, got {matrix.shape}; or pass columns by name"
            )
        z = np.asarray(matrix @ np.array(self.coef, np.float64) + self.intercept)
        if offset is None:
            return z
        shift = np.asarray(offset, np.float64)
        if shift.shape != z.shape:
            raise ValueError(f"offset has shape {shift.shape}, but X needs {z.shape}")
        if np.isinf(shift).any():
            row = int(np.argmax(np.isinf(shift)))
            raise ValueError(f"offset contains {shift[row]} in row {row}")
        return np.asarray(z + shift)

    def predict_proba(self, X: Any, offset: Any = None) -> Array:
        """Return the probabilities of both classes, one row a sample; see `decision_function`."""
        z = self.decision_function(X, offset)
        return np.stack([functional.sigmoid(-z), functional.sigmoid(z)], axis=1)

    def predict(self, X: Any, offset: Any = None) -> Array:
        """Return the more probable class of each row.

        Raises
        ------
        ValueError
            If there is none, since a value is missing or a level was not seen in the fit.
        """
        z = self.decision_function(X, offset)
        if np.isnan(z).any():
            row = int(np.argmax(np.isnan(z)))
            raise ValueError(
                f"{np.count_nonzero(np.isnan(z))} of {len(z)} rows have a missing value or a level "
                f"that the fit has not seen, the first is row {row}; leave them out, or use "
                "predict_proba, which gives NaN there"
            )
        return np.array(self.classes)[(z > 0).astype(np.intp)]

    def _matrix(self, X: Any) -> Array:
        import pyarrow as pa

        if not isinstance(X, pa.Table):
            if isinstance(X, Mapping):
                X = pa.table(dict(X))
            else:
                X = pa.Table.from_pandas(X, preserve_index=False)
        values = {}
        for feature in self.features:
            if X.column_names.count(feature.name) != 1:
                count = X.column_names.count(feature.name) or "no"
                raise ValueError(f"X has {count} column(s) called {feature.name!r}; needed is one")
            cells = without(as_known(X.column(feature.name)), self.na_values)
            column = Column(Path("X"), feature.name, cells, ADVICE)
            values[feature.name] = encode(column, feature).values
        return self.matrix(values, len(X))

    def matrix(self, values: dict[str, Array], rows: int) -> Array:
        """Return the matrix that encoded columns make, NaN where something is missing or unknown.

        Parameters
        ----------
        values : dict
            What :func:`encode` has made of the column of each feature.
        rows : int
            Their length.
        """
        X = np.empty((rows, len(self.coef)), order="F")
        if self.formula is not None:
            usable: Array = np.ones(rows, np.bool_)
            for feature in self.features:
                usable &= known(values[feature.name], feature)
            frame = frame_of(self.features, {n: v[usable] for n, v in values.items()})
            for _, beyond in self.formula.outside(frame):
                usable[usable] = ~beyond
                frame = frame[~beyond]
            X[:] = np.nan
            if len(frame):
                made = self.formula.design(frame)
                X[usable] = np.where(np.isfinite(made), made, np.nan)
            return X
        place = 0
        for feature in self.features:
            for column in indicators(values[feature.name], feature):
                X[:, place] = column
                place += 1
        return X

    def save(self, path: str | Path) -> None:
        """Write the model to a file; ``-`` is the standard output.

        Raises
        ------
        OSError
            If the file cannot be written; then an old one stays as it was.
        """
        text = json.dumps(self.document(), indent=1, allow_nan=False) + "\n"
        path = Path(path)
        check_writable("path", path)
        write_whole(path, lambda file: file.write(text.encode()))

    def document(self) -> dict[str, Any]:
        """Return the content of the file."""
        features = []
        for feature in self.features:
            entry: dict[str, Any] = {"name": feature.name, "levels": feature.levels}
            for key in ("pooled", "without"):
                if getattr(feature, key):
                    entry[key] = list(getattr(feature, key))
            features.append(entry)
        formula = {} if self.formula is None else {"formula": self.formula.document()}
        return {
            "format": FORMAT,
            "schema": SCHEMA,
            "target": self.target,
            "classes": list(self.classes),
            "features": features,
            **formula,
            "na_values": list(self.na_values),
            "offset": self.offset,
            "intercept": self.intercept,
            "coef": list(self.coef),
            "fit": self.fit,
        }


def facts(result: LogitResult) -> dict[str, Any]:
    """Return what a fit says, in full precision, for a JSON file."""
    profile = {} if result.profile is None else {"chi2": _plain(result.profile.statistics)}
    return {
        "method": result.method,
        "names": list(result.names),
        "estimates": _plain(result.params),
        "standard_errors": _plain(result.bse),
        "z": _plain(result.zvalues),
        **profile,
        "p_values": _plain(result.pvalues),
        "intervals_95": _plain(result.conf_int()),
        "odds_ratios": _plain(result.odds_ratios),
        "odds_ratio_intervals_95": _plain(result.odds_ratios_conf_int()),
        "covariance_type": result.cov_type,
        "covariance": _plain(result.cov_params()),
        "clusters": list(result.clusters),
        "weight_kind": result.weight_kind,
        "observations": _plain(result.nobs),
        "log_likelihood": _plain(result.llf),
        "null_log_likelihood": _plain(result.llnull),
        "likelihood_ratio": _plain(result.llr),
        "likelihood_ratio_df": result.df_model,
        "likelihood_ratio_p_value": _plain(result.llr_pvalue),
        "pseudo_r_squared": _plain(result.prsquared),
        "aic": _plain(result.aic),
        "bic": _plain(result.bic),
    }


def _plain(values: Any) -> Any:
    """Return numbers as Python has them, None for what JSON has no number for."""
    values = np.asarray(values, np.float64)
    if values.ndim:
        return [_plain(value) for value in values]
    return float(values) if np.isfinite(values) else None


def model_of(estimator: Any, target: str = "y") -> Model:
    """Return the model of a fitted estimator, to save it.

    Parameters
    ----------
    estimator : fastbce.linear_model.LogisticRegression
        Its columns are taken for numbers, with the names of its data frame, or
        ``x1``, ``x2``, ....
    target : str
        Name of what it predicts.

    Returns
    -------
    Model
        With the inference, where there is one.

    Raises
    ------
    ValueError
        If a class is neither a number, a truth value nor text, which is all that JSON has.
    """
    from .inference import InferenceError

    count = estimator.coef_.shape[1]
    names = getattr(estimator, "feature_names_in_", [f"x{i + 1}" for i in range(count)])

    negative, positive = estimator.classes_.tolist()
    json_has = isinstance(negative, Label) and isinstance(positive, Label)
    if not json_has:  # dates, for example
        raise ValueError(
            f"the classes {negative!r} and {positive!r} are of a type that JSON does not have; fit "
            "with labels that are numbers, truth values or text"
        )
    known: dict[str, Any] = {"C": float(estimator.C) if np.isfinite(estimator.C) else None}
    try:
        known |= facts(estimator.result_)
    except InferenceError as error:
        known["no_inference"] = str(error)
    return Model(
        target,
        (negative, positive),
        tuple(Feature(str(name)) for name in names),
        float(estimator.intercept_[0]),
        tuple(float(value) for value in estimator.coef_[0]),
        known,
        offset="offset" if estimator._has_offset else None,
    )


def load(path: str | Path) -> Model:
    """Read a model that ``fastbce fit --out`` or its own ``save`` has written.

    Parameters
    ----------
    path : path-like
        The JSON file.

    Returns
    -------
    fastbce.model_file.Model
        It predicts for data frames, mappings of columns and arrays.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or no model of a known schema.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"{path} does not exist") from None
    except (OSError, ValueError, RecursionError) as error:
        raise TableError(f"{path} is not a model: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise TableError(f"{path} is not a model written by fastbce fit")
    if content.get("schema") not in READABLE:
        raise TableError(
            f"{path} has schema {content.get('schema')!r}; this version reads schema "
            f"{' and '.join(map(str, READABLE))}"
        )
    try:
        negative, positive = content["classes"]
        model = Model(
            str(content["target"]),
            (negative, positive),
            tuple(_feature(entry) for entry in content["features"]),
            float(content["intercept"]),
            tuple(float(value) for value in content["coef"]),
            dict(content["fit"]),
            tuple(map(str, content.get("na_values", ()))),
            None if content.get("offset") is None else str(content["offset"]),
            None if "formula" not in content else formula_of(content["formula"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(f"{path} is a damaged model: {type(error).__name__} {error}") from None
    if not all(isinstance(value, Label) for value in model.classes):
        raise TableError(f"{path} is a damaged model: its classes are {model.classes}")
    if not np.all(np.isfinite([model.intercept, *model.coef])):
        raise TableError(f"{path} is a damaged model: a coefficient is not finite")
    if len(model.coef) != len(model.names):
        raise TableError(f"{path} is a damaged model: coefficients and features do not match")
    return _with_sound_fit(path, model)


def _feature(entry: Any) -> Feature:
    levels = entry["levels"]
    return Feature(
        str(entry["name"]),
        None if levels is None else tuple(map(str, levels)),
        tuple(map(str, entry.get("pooled", ()))),
        tuple(map(str, entry.get("without", ()))),
    )


def _with_sound_fit(path: Path, model: Model) -> Model:
    """Return the model, whose covariance must have the shape of its coefficients."""
    covariance = model.fit.get("covariance")
    if isinstance(covariance, str):  # schema 1: its kind, not itself
        return replace(model, fit={k: v for k, v in model.fit.items() if k != "covariance"})
    size = len(model.fit.get("names", ()))
    if covariance is not None and (
        np.shape(covariance) != (size, size) or size - len(model.coef) not in (0, 1)
    ):
        raise TableError(f"{path} is a damaged model: covariance and coefficients do not match")
    return model
