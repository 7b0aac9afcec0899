"""The losses: by our functions, and in PyTorch's operations."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import Tensor
from torch.nn import _reduction

from fastbce import functional

from ._ways import Given, define

# What calls hand on: scores, labels, weights, weights of the positive class.
_Arrays = Any


def _probabilities_by_torch(arrays: _Arrays, given: Given) -> Tensor:
    p, y, weight, _ = arrays
    return F.binary_cross_entropy(p, y, weight, reduction=given.reduction)


def _probabilities_slope(slope: Tensor, arrays: _Arrays, given: Given) -> Tensor:
    p, y, weight, _ = arrays
    if weight is not None:
        weight = weight.expand_as(p)
    kind = _reduction.get_enum(given.reduction)
    derive = torch.ops.aten.binary_cross_entropy_backward.default
    found: Tensor = derive(slope, p, y.to(p.dtype), weight, kind)
    return found


def _logits_by_torch(arrays: _Arrays, given: Given) -> Tensor:
    x, y, weight, pos_weight = arrays
    return F.binary_cross_entropy_with_logits(
        x, y, weight, reduction=given.reduction, pos_weight=pos_weight
    )


def _logits_slope(slope: Tensor, arrays: _Arrays, given: Given) -> Tensor:
    x, y, weight, pos_weight = arrays
    y = y.to(x.dtype)
    if pos_weight is None:
        found = torch.sigmoid(x) - y
    else:
        found = (1 - y) - (1 + (pos_weight - 1) * y) * torch.sigmoid(-x)
    if weight is not None:
        found = found * weight
    return _reduced(found, slope, given)


def _reduced(found: Tensor, slope: Tensor, given: Given) -> Tensor:
    """Return the derivatives of the elements times that of the reduced loss."""
    return found * (slope / found.numel() if given.reduction == "mean" else slope)


def focal_by_torch(arrays: _Arrays, given: Given) -> Tensor:
    """Return the focal loss by torchvision's formula."""
    x, y, *_ = arrays
    alpha, gamma = given.numbers
    p = torch.sigmoid(x)
    loss = F.binary_cross_entropy_with_logits(x, y, reduction="none")
    p_t = p * y + (1 - p) * (1 - y)
    loss = loss * ((1 - p_t) ** gamma)
    if alpha >= 0:
        loss = (alpha * y + (1 - alpha) * (1 - y)) * loss
    if given.reduction == "none":
        return loss
    return loss.mean() if given.reduction == "mean" else loss.sum()


def _focal_slope(slope: Tensor, arrays: _Arrays, given: Given) -> Tensor:
    x, y, *_ = arrays
    y = y.to(x.dtype)
    alpha, gamma = given.numbers
    p = torch.sigmoid(x)
    u = p * (1 - y) + (1 - p) * y
    found = u**gamma * (p - y)
    if gamma:
        loss = F.binary_cross_entropy_with_logits(x, y, reduction="none")
        found = found + gamma * u ** (gamma - 1) * (1 - 2 * y) * p * (1 - p) * loss
    if alpha >= 0:
        found = (alpha * y + (1 - alpha) * (1 - y)) * found
    return _reduced(found, slope, given)


PROBABILITIES = define(
    "binary_cross_entropy",
    functional.bce_loss,
    functional.bce_loss_gradient,
    _probabilities_by_torch,
    _probabilities_slope,
    options={"gradient": "torch", "check_labels": True},
    checks=True,
)
LOGITS = define(
    "binary_cross_entropy_with_logits",
    functional.bce_with_logits_loss,
    functional.bce_with_logits_loss_gradient,
    _logits_by_torch,
    _logits_slope,
    halves=4,
)
FOCAL = define(
    "sigmoid_focal_loss",
    functional.focal_loss,
    functional.focal_loss_gradient,
    focal_by_torch,
    _focal_slope,
    labels="targets",
)
