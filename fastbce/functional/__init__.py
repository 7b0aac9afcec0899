"""The public functions of elements: signature, documentation, one line of code.

Common to all of them: arrays of any shape, strides and byte order, read-only or not, and anything
that NumPy or DLPack turns into one. The result's dtype follows the predictions, logits or inputs:
float32 -> float32, float64 -> float64, float16 -> float16 (computed in float32, rounded once),
bool and integers -> float64. Labels may have any of these dtypes and are read without a copy.

``out=`` takes arrays for the results. They may be float16, float32 or float64 whatever the scores
are: a result is computed in the dtype of the scores and rounded once, in the same pass. So gradient
boosting gets float32 gradients of float64 scores; a wider array gets the same numbers.

Options of the losses
---------------------
sample_weight : array_like, optional
    Finite, non-negative factors of the elements' losses; any shape that broadcasts to that of the
    predictions. An element of weight 0 is ignored as one outside the mask is.
mask : array_like of bool, optional
    True for the elements that count; any shape that broadcasts. The others' losses and derivatives
    are exactly 0, whatever their scores and labels hold, NaN and infinity included.
ignore_index : int, optional
    The label of elements that do not count either.
pos_weight : float or array_like, optional
    Finite, non-negative factor of what label 1 costs: one number, or one for each place of the last
    axis. A label y counts ``1 + (pos_weight - 1) y`` times.
label_smoothing : float in [0, 1], default 0.0
    Labels become ``y (1 - s) + s / 2``, before `pos_weight` counts.
eps : float, default 1e-7
    Clip bound, strictly between 0 and 0.5. Predicted probabilities are clipped to ``eps`` and
    ``1 - eps`` rounded to the dtype computed in, kept off 0 and 1; the gradient is not zeroed where
    the clip is active. For float16 it is at least 2^-15, since larger gradients would be infinite.
gradient : {"reference", "zero", "torch"}, default "reference"
    Rule for clipped probabilities: "zero" zeroes the gradient where the clip is active; "torch" has
    PyTorch's limits in place of `eps`, logarithms of at least -100 and a denominator
    ``max(p (1 - p), 1e-12)`` (for float16 2^-15).
reduction : {"mean", "sum", "none", "samples"}, default "mean"
    What is differentiated and returned: the mean over all elements, their sum, each element, or
    the mean over the last axis.
divisor : {"elements", "weights", "kept"}, optional
    What a mean divides by: the number of elements, the sum of the sample weights of those that mask
    and `ignore_index` leave, or their number. By default "kept" where one of the two is given, and
    "elements" otherwise: weights do not change the divisor. Where it is 0 the mean is NaN and its
    gradient 0.
check_labels : bool, default False
    Whether to look, in the same pass, for labels that are NaN or outside [0, 1], and for
    probabilities that are: 3.0 is a logit by mistake. Labels that are bool or integers are looked
    at always.
metrics : bool, default False
    Whether to return, after everything else, a tuple ``Metrics(accuracy, clipped)`` that is counted
    in the same pass: the share of the elements whose score is on their label's side (a probability
    above 1/2, or a logit above 0, where the label is above 1/2; NaN is on neither), and the number
    of probabilities that were clipped (0 for logits). What is ignored is not counted; sample
    weights other than 0 do not matter.

Errors of the losses
--------------------
TypeError
    If an argument is not real and numeric, or `out` has no float dtype.
ValueError
    If shapes differ ((n,) against (n, 1) included), a weight is negative or not finite, a name is
    unknown, `eps` or `label_smoothing` is out of range, or `out` has the wrong shape, is read-only
    or overlaps an input without being exactly that array. If a label or probability that is looked
    at is NaN or outside [0, 1]: its first index is named, and `out` holds no result.

Sums are taken in an order that depends on the number of elements alone: the same bits for any
number of threads and any memory layout.
"""

from __future__ import annotations

from .focal import (
    focal_gradient,
    focal_gradient_hessian,
    focal_loss,
    focal_loss_gradient,
    focal_loss_gradient_hessian,
)
from .logits import (
    bce_with_logits_gradient,
    bce_with_logits_gradient_hessian,
    bce_with_logits_loss,
    bce_with_logits_loss_gradient,
    bce_with_logits_loss_gradient_hessian,
    sigmoid_bce,
)
from .probabilities import bce_gradient, bce_loss, bce_loss_gradient, sigmoid_clipped_bce
from .transforms import log_sigmoid, logit, sigmoid, sigmoid_backward, softplus

__all__ = [
    "bce_gradient",
    "bce_loss",
    "bce_loss_gradient",
    "bce_with_logits_gradient",
    "bce_with_logits_gradient_hessian",
    "bce_with_logits_loss",
    "bce_with_logits_loss_gradient",
    "bce_with_logits_loss_gradient_hessian",
    "focal_gradient",
    "focal_gradient_hessian",
    "focal_loss",
    "focal_loss_gradient",
    "focal_loss_gradient_hessian",
    "log_sigmoid",
    "logit",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_bce",
    "sigmoid_clipped_bce",
    "softplus",
]
