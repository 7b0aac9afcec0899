"""What a fitted estimator says of samples: probabilities, a confusion table, profile intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from fastbce import functional
from fastbce._inputs import Array
from fastbce.inference import ConfusionTable, LogitResult, confusion_table
from fastbce.model_file import model_of

from .coordinates import parts
from .inputs import as_numpy, as_offset, read, read_both
from .profile import profile_conf_int
from .sparse import rows_of
from .survey import encode
from .weights import weights_of


class Fitted:
    """The methods of an estimator with `coef_`, `intercept_` and `classes_`.

    `offset` is what was added to the logits; an estimator that was fitted with one asks for it.
    """

    coef_: Array
    intercept_: Array
    classes_: Array
    # Whether the fit had an offset.
    _has_offset: bool = False

    @property
    def result_(self) -> LogitResult:
        """Inference on the coefficients."""
        raise NotImplementedError

    def save(self, path: Any, target: str = "y") -> None:
        """Write the model to a JSON file, as ``fastbce fit --out`` does.

        :func:`fastbce.load` reads it; the documentation of the command line has its schema.

        Parameters
        ----------
        path : path-like
            The file; ``-`` is the standard output.
        target : str, default "y"
            What the file calls that which is predicted. Columns have the names of the data frame,
            or are called ``x1``, ``x2``, ....

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If a class is neither a number, a truth value nor text, which is all that JSON has.
        OSError
            If the file cannot be written; then an old one stays as it was.
        """
        check_is_fitted(self)
        model_of(self, target).save(path)

    def decision_function(self, X: Any, offset: Any = None) -> Array:
        """Return the logit of the second class for each row of `X`."""
        check_is_fitted(self)
        X = read(self, X)
        shift = as_offset(offset, X.shape[0])
        if shift is None and self._has_offset:
            raise ValueError(
                "the model was fitted with an offset; pass offset= for these rows (zeros for none)"
            )
        coef, z = self.coef_[0].astype(np.float64), np.empty(X.shape[0])
        with np.errstate(all="ignore"):
            if sparse.issparse(X):
                z[:] = X @ coef
            else:
                # float32 rows are widened a few at a time: terms far larger than their sum cancel.
                for part in parts(X):
                    np.matmul(X[part].astype(np.float64, copy=False), coef, out=z[part])
            z += np.float64(self.intercept_[0])
            if shift is not None:
                z += shift
            return z.astype(X.dtype, copy=False)

    def predict(self, X: Any, offset: Any = None) -> Array:
        """Return the more probable class of each row of `X`."""
        z = self.decision_function(X, offset)
        return np.asarray(self.classes_[(z > 0).astype(np.intp)])

    def predict_proba(self, X: Any, offset: Any = None) -> Array:
        """Return the probabilities of both classes, one row a sample."""
        z = self.decision_function(X, offset)
        # Not 1 - p: both tails keep their accuracy.
        return np.stack([functional.sigmoid(-z), functional.sigmoid(z)], axis=1)

    def predict_log_proba(self, X: Any, offset: Any = None) -> Array:
        """Return the logarithms of the probabilities; they do not underflow."""
        z = self.decision_function(X, offset)
        columns = [
            -functional.bce_with_logits_loss(z, np.full(z.shape, label), reduction="none")
            for label in (False, True)
        ]
        return np.stack(columns, axis=1)

    def confusion_table(
        self,
        X: Any,
        y: Any,
        *,
        threshold: float = 0.5,
        sample_weight: Any = None,
        offset: Any = None,
    ) -> ConfusionTable:
        """Count the samples of each class that are predicted rightly at a threshold.

        Parameters
        ----------
        X : array_like of shape (n, d)
            Samples in rows.
        y : array_like of shape (n,)
            Their classes.
        threshold : float, default 0.5
            Probabilities above it predict the second class.
        sample_weight : array_like of shape (n,), optional
            Non-negative weights.
        offset : array_like of shape (n,), optional
            Offsets of the logits.

        Returns
        -------
        fastbce.inference.ConfusionTable
            Counts, sensitivity and specificity.

        Raises
        ------
        ValueError
            If `y` holds other classes, or shapes do not match.
        """
        p = self.predict_proba(X, offset)[:, 1]
        labels, _ = encode(as_numpy(y, "y"), self.classes_)
        classes = (self.classes_[0], self.classes_[1])
        return confusion_table(
            self.classes_[labels.astype(np.intp)],
            p,
            threshold=threshold,
            sample_weight=sample_weight,
            classes=classes,
        )

    def profile_conf_int(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        offset: Any = None,
        alpha: float = 0.05,
        names: Sequence[str] | None = None,
    ) -> Array:
        """Return confidence intervals by the (penalised) likelihood itself.

        An interval holds the values of a parameter at which the likelihood, maximised over all
        others, is less than half a quantile of chi-squared below its maximum.

        Parameters
        ----------
        X, y, sample_weight, offset : array_like
            What the model was fitted to.
        alpha : float, default 0.05
            One minus the level of confidence.
        names : sequence of str, optional
            Parameters, by their names in `result_`; by default all.

        Returns
        -------
        ndarray of shape (k, 2)
            Lower and upper bounds, infinite where the likelihood never falls so far.

        Raises
        ------
        fastbce.inference.InferenceError
            If the fit has no inference, or a bound cannot be found.
        ValueError
            If these are other samples than those of the fit, or have no likelihood: clusters,
            sampling weights.
        """
        result = self.result_
        with np.errstate(all="ignore"):
            X, y = read_both(self, X, y, reset=False)
            labels, _ = encode(y, self.classes_)
            weight = weights_of(self, X, labels, sample_weight)
            rows = rows_of(X, labels, weight, as_offset(offset, X.shape[0]))
            return profile_conf_int(rows, result, alpha, names)
