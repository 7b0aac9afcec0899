"""PyTorch's binary cross-entropies on the CPU (extra ``torch``): one import is what changes.

The functions and classes have the signatures, values and errors of ``torch.nn.functional`` and
``torch.nn``. A call goes one of three ways:

- while ``torch.compile`` or ``torch.export`` looks on, an operator of ours, of any size;
- plain tensors on the CPU of at least 16,384 elements, a function that computes the gradient
  together with the loss: logits and labels are read once;
- everything else goes to PyTorch's own function, so that other devices, subclasses of tensors,
  modes, ``vmap``, ``torch.func`` and forward derivatives stay as they are.

What differs: labels may be bool or integers, which PyTorch refuses, and are read in place (integers
other than 0 and 1 are refused). A logit of inf or -inf with the right label costs 0 where PyTorch
has NaN. Sums are taken in float64, with the same bits for any number of threads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import Tensor, nn
from torch.nn import _reduction

from ._forms import FOCAL, LOGITS, PROBABILITIES, focal_by_torch
from ._ways import Given, as_float, is_short, loss_of

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "sigmoid_focal_loss",
]


def binary_cross_entropy(
    input: Tensor,  # noqa: A002 - PyTorch's names
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy of probabilities, as ``torch.nn.functional.binary_cross_entropy``.

    ``-(y max(log p, -100) + (1 - y) max(log(1 - p), -100))``.

    Parameters
    ----------
    input : Tensor
        Probabilities in [0, 1]; any shape.
    target : Tensor
        Labels in [0, 1], of the same shape; of the dtype of `input`, bool or integers.
    weight : Tensor, optional
        Factors of the losses; the shape must broadcast to that of `input`.
    size_average, reduce : bool, optional
        Old forms of `reduction`; PyTorch warns of them.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean divides by the number of elements, whatever the weights.

    Returns
    -------
    Tensor
        Of the dtype of `input`; a scalar, or with ``"none"`` of its shape.

    Raises
    ------
    ValueError
        If the shapes differ or the reduction is unknown.
    RuntimeError
        If a probability or label is outside [0, 1], dtypes do not match, or a weight does not
        broadcast.

    Examples
    --------
    >>> import torch
    >>> from fastbce.interop.torch import binary_cross_entropy
    >>> probabilities, labels = torch.tensor([0.9, 0.2]), torch.tensor([1.0, 0.0])
    >>> print(f"{binary_cross_entropy(probabilities, labels):.4f}")
    0.1643
    """
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    if weight is None and is_short(input, target):
        kind = _reduction.get_enum(reduction)
        return torch._C._nn.binary_cross_entropy(input, target, None, kind)
    loss = loss_of(PROBABILITIES, Given(reduction), input, target, weight)
    if loss is None:
        target = as_float(PROBABILITIES, target, input)
        loss = F.binary_cross_entropy(input, target, weight, reduction=reduction)
    return loss


def binary_cross_entropy_with_logits(
    input: Tensor,  # noqa: A002
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of logits, as the function of that name in ``torch.nn.functional``.

    ``max(z, 0) - z y + log(1 + exp(-|z|))``.

    Parameters
    ----------
    input : Tensor
        Logits; any shape.
    target : Tensor
        Labels, of the same shape; of the dtype of `input`, bool or integers. Floats are not
        checked, as PyTorch does not.
    weight : Tensor, optional
        Factors of the losses; the shape must broadcast to that of `input`.
    size_average, reduce : bool, optional
        Old forms of `reduction`; PyTorch warns of them.
    reduction : {"mean", "sum", "none"}, default "mean"
        The mean divides by the number of elements, whatever the weights.
    pos_weight : Tensor, optional
        Weights of the positive class; the shape must broadcast to that of `input`.

    Returns
    -------
    Tensor
        Of the dtype of `input`; a scalar, or with ``"none"`` of its shape.

    Raises
    ------
    ValueError
        If the shapes differ, the reduction is unknown, or an integer label is neither 0 nor 1.
    RuntimeError
        If a weight does not broadcast.

    Examples
    --------
    >>> import torch
    >>> from fastbce.interop.torch import binary_cross_entropy_with_logits
    >>> logits, labels = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0])
    >>> print(f"{binary_cross_entropy_with_logits(logits, labels):.4f}")
    0.2201
    """
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    if weight is None and pos_weight is None and is_short(input, target):
        kind = _reduction.get_enum(reduction)
        return torch.binary_cross_entropy_with_logits(input, target, None, None, kind)
    loss = loss_of(LOGITS, Given(reduction), input, target, weight, pos_weight)
    if loss is None:
        target = as_float(LOGITS, target, input)
        loss = F.binary_cross_entropy_with_logits(
            input, target, weight, reduction=reduction, pos_weight=pos_weight
        )
    return loss


def sigmoid_focal_loss(
    inputs: Tensor,
    targets: Tensor,
    alpha: float = 0.25,
    gamma: float = 2,
    reduction: str = "none",
) -> Tensor:
    """Focal loss of logits, as ``torchvision.ops.sigmoid_focal_loss``.

    ``alpha_t (1 - p_t)^gamma bce`` with ``p_t = p y + (1 - p) (1 - y)`` and
    ``alpha_t = alpha y + (1 - alpha) (1 - y)``.

    Parameters
    ----------
    inputs : Tensor
        Logits; any shape.
    targets : Tensor
        Labels, of the same shape; of the dtype of `inputs`, bool or integers.
    alpha : float, default 0.25
        What label 1 weighs, in [0, 1]; label 0 weighs ``1 - alpha``. With -1 both weigh 1.
    gamma : float, default 2
        How much less an element counts whose label is likely already.
    reduction : {"none", "mean", "sum"}, default "none"
        The mean divides by the number of elements.

    Returns
    -------
    Tensor
        Of the dtype of `inputs`; a scalar, or with ``"none"`` of its shape.

    Raises
    ------
    ValueError
        If the shapes differ, `alpha` or the reduction is not one of these, or an integer label is
        neither 0 nor 1.

    Examples
    --------
    >>> import torch
    >>> from fastbce.interop.torch import sigmoid_focal_loss
    >>> logits, labels = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0])
    >>> print(f"{sigmoid_focal_loss(logits, labels).mean():.4f}")
    0.0087
    """
    if not 0 <= alpha <= 1 and alpha != -1:
        raise ValueError(
            f"Invalid alpha value: {alpha}. alpha must be in the range [0,1] or -1 for ignore."
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(
            f"Invalid Value for arg 'reduction': '{reduction} \n"
            " Supported reduction modes: 'none', 'mean', 'sum'"
        )
    given = Given(reduction, (alpha, gamma))
    loss = loss_of(FOCAL, given, inputs, targets) if 0 <= gamma < torch.inf else None
    if loss is None:
        loss = focal_by_torch((inputs, as_float(FOCAL, targets, inputs)), given)
    return loss


class BCELoss(nn.BCELoss):
    """``torch.nn.BCELoss`` with :func:`binary_cross_entropy`.

    Examples
    --------
    >>> import torch
    >>> from fastbce.interop.torch import BCELoss
    >>> probabilities, labels = torch.tensor([0.9, 0.2]), torch.tensor([1.0, 0.0])
    >>> print(f"{BCELoss()(probabilities, labels):.4f}")
    0.1643
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """Return the loss."""
        return binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(nn.BCEWithLogitsLoss):
    """``torch.nn.BCEWithLogitsLoss`` with :func:`binary_cross_entropy_with_logits`.

    Examples
    --------
    >>> import torch
    >>> from fastbce.interop.torch import BCEWithLogitsLoss
    >>> logits, labels = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0])
    >>> print(f"{BCEWithLogitsLoss()(logits, labels):.4f}")
    0.2201
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """Return the loss."""
        return binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
