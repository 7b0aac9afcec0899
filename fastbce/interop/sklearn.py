"""A loss for scikit-learn's own loops (extra ``sklearn``).

scikit-learn's losses have a compiled part, which this replaces, and an interface around it, which
stays scikit-learn's. Both are private there: what uses them by name may change with its version.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
from sklearn._loss import loss as losses

from fastbce._threads import one_thread
from fastbce._typing import Array
from fastbce.functional import (
    bce_with_logits_gradient,
    bce_with_logits_gradient_hessian,
    bce_with_logits_loss,
    bce_with_logits_loss_gradient,
)

__all__ = ["HalfBinomialLoss"]


class HalfBinomialLoss(losses.HalfBinomialLoss):  # type: ignore[misc]
    """:class:`sklearn._loss.HalfBinomialLoss` on the kernels of this package.

    ``HistGradientBoostingClassifier(loss=HalfBinomialLoss())`` trains with it.

    Parameters
    ----------
    sample_weight : array_like, optional
        Not used, as there.
    """

    def __init__(self, sample_weight: Any = None) -> None:
        super().__init__(sample_weight)
        self.closs = _Kernels()


class _Kernels:
    """The compiled part of a loss: every method writes to the arrays that it is given."""

    def loss(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None,
        loss_out: Array,
        n_threads: int = 1,
    ) -> Array:
        arguments = (y_true, raw_prediction, sample_weight, (loss_out,), n_threads)
        return _call(bce_with_logits_loss, *arguments)[0]

    def gradient(
        self,
        y_true: Array,
        raw_prediction: Array,
        sample_weight: Array | None,
        gradient_out: Array,
        n_threads: int = 1,
    ) -> Array:
        arguments = (y_true, raw_prediction, sample_weight, (gradient_out,), n_threads)
        return _call(bce_with_logits_gradient, *arguments)[0]

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
        return _call(bce_with_logits_loss_gradient, *arguments)

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
        return _call(bce_with_logits_gradient_hessian, *arguments)


def _call(
    function: Any,
    y_true: Array,
    raw_prediction: Array,
    sample_weight: Array | None,
    outs: tuple[Array, ...],
    n_threads: int,
) -> tuple[Array, ...]:
    """Write a function's results to the arrays `outs`, each element its own."""
    # HistGradientBoosting wants float32 derivatives of float64 scores.
    direct = sample_weight is None and all(out.dtype == raw_prediction.dtype for out in outs)
    with one_thread() if n_threads == 1 else nullcontext():
        results = function(
            raw_prediction, y_true, reduction="none", out=outs if direct else (None,) * len(outs)
        )
    if not direct:
        factor = 1 if sample_weight is None else sample_weight
        with np.errstate(all="ignore"):
            for out, result in zip(outs, results if len(outs) > 1 else (results,), strict=True):
                # Not by the kernels, which refuse the negative weights that scikit-learn takes.
                np.multiply(result, factor, out=out, casting="same_kind")
    return outs
