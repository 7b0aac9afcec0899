"""Losses for scikit-learn's own loops (extra ``sklearn``).

scikit-learn's losses have a compiled part, which this replaces, and an interface around it, which
stays scikit-learn's. Both are private there: what uses them by name may change with its version.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
from sklearn._loss import loss as losses

from fastbce import functional
from fastbce._inputs import as_number
from fastbce._threads import one_thread
from fastbce._typing import Array

__all__ = ["FocalLoss", "HalfBinomialLoss"]


class HalfBinomialLoss(losses.HalfBinomialLoss):  # type: ignore[misc]
    """:class:`sklearn._loss.HalfBinomialLoss` on the kernels of this package.

    ``HistGradientBoostingClassifier(loss=HalfBinomialLoss())`` trains with it.

    Parameters
    ----------
    sample_weight : array_like, optional
        Not used, as there.

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from fastbce.interop.sklearn import HalfBinomialLoss
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> y = (X[:, 0] + rng.logistic(size=400) > 0).astype(int)
    >>> model = HistGradientBoostingClassifier(loss=HalfBinomialLoss(), max_iter=2).fit(X, y)
    >>> print(model.predict_proba(X).shape)
    (400, 2)
    """

    def __init__(self, sample_weight: Any = None) -> None:
        super().__init__(sample_weight)
        self.closs = _Kernels("bce_with_logits")


class FocalLoss(HalfBinomialLoss):
    """The focal loss for two classes, see :func:`fastbce.focal_loss`.

    ``HistGradientBoostingClassifier(loss=FocalLoss())`` trains with it, from the log-odds of the
    positive share on.

    Parameters
    ----------
    alpha, gamma : float, default 0.25 and 2.0
        What label 1 weighs, and the exponent.
    min_hessian : float, default 1e-16
        The exact Hessian is negative where a label is unlikely. Less than this is replaced by it,
        since trees divide by sums of it.

    Raises
    ------
    TypeError, ValueError
        If a parameter cannot be used.

    Examples
    --------
    >>> from sklearn.ensemble import HistGradientBoostingClassifier
    >>> from fastbce.interop.sklearn import FocalLoss
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> y = (X[:, 0] + rng.logistic(size=400) > 0).astype(int)
    >>> model = HistGradientBoostingClassifier(loss=FocalLoss(gamma=2.0), max_iter=2).fit(X, y)
    >>> print(model.predict_proba(X).shape)
    (400, 2)
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, min_hessian: float = 1e-16) -> None:
        super().__init__()
        least = as_number(min_hessian, "min_hessian")
        if not 0.0 <= least < math.inf:
            raise ValueError(f"min_hessian must be finite and not negative, got {least!r}")
        functional.focal_loss([0.0], [0], alpha=alpha, gamma=gamma)  # the errors of the others
        self.closs = _Kernels("focal", least, alpha=alpha, gamma=gamma)

    def constant_to_optimal_zero(self, y_true: Array, sample_weight: Array | None = None) -> Array:
        """Return zeros: no constant makes the loss of every perfect prediction zero."""
        return np.zeros_like(y_true)


class _Kernels:
    """The compiled part of a loss: every method writes to the arrays that it is given."""

    def __init__(self, name: str, min_hessian: float | None = None, **options: float) -> None:
        self.name, self.min_hessian, self.options = name, min_hessian, options

    def loss(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None,
        loss_out: Array,
        n_threads: int = 1,
    ) -> Array:
        arguments = (y_true, raw_prediction, sample_weight, (loss_out,), n_threads)
        return self._call("loss", *arguments)[0]

    def gradient(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None,
        gradient_out: Array,
        n_threads: int = 1,
    ) -> Array:
        arguments = (y_true, raw_prediction, sample_weight, (gradient_out,), n_threads)
        return self._call("gradient", *arguments)[0]

    def loss_gradient(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None,
        loss_out: Array,
        gradient_out: Array,
        n_threads: int = 1,
    ) -> tuple[Array, ...]:
        arguments = (y_true, raw_prediction, sample_weight, (loss_out, gradient_out), n_threads)
        return self._call("loss_gradient", *arguments)

    def gradient_hessian(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None,
        gradient_out: Array,
        hessian_out: Array,
        n_threads: int = 1,
    ) -> tuple[Array, ...]:
        arguments = (y_true, raw_prediction, sample_weight, (gradient_out, hessian_out), n_threads)
        gradient, hessian = self._call("gradient_hessian", *arguments)
        if self.min_hessian is not None:
            np.maximum(hessian, hessian.dtype.type(self.min_hessian), out=hessian)
        return gradient, hessian

    def _call(
        self,
        name: str,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None,
        outs: tuple[Array, ...],
        n_threads: int,
    ) -> tuple[Array, ...]:
        """Write a function's results to the arrays `outs`, each element its own."""
        function = getattr(functional, f"{self.name}_{name}")
        with one_thread() if n_threads == 1 else nullcontext():
            function(raw_prediction, y_true, reduction="none", out=outs, **self.options)
        if sample_weight is not None:
            # Not by the kernels, which refuse the negative weights that scikit-learn takes.
            with np.errstate(all="ignore"):
                for out in outs:
                    np.multiply(out, sample_weight, out=out, casting="same_kind")
        return outs
