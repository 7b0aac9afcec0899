"""Tensors and calls that the tests of PyTorch's losses share; needs PyTorch."""

from __future__ import annotations

from typing import Any

import torch

from fastbce.interop import torch as interop
from fastbce.interop.torch import _ways

F = torch.nn.functional
NAMES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
N = _ways.LEAST + 5


def scores(name: str, shape: Any, dtype: Any = torch.float64, seed: int = 0) -> Any:
    """Return logits, or probabilities of them."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(shape, dtype=torch.float64, generator=generator) * 3
    return (z if "logits" in name else torch.sigmoid(z)).to(dtype)


def labels(shape: Any, dtype: Any = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(9)
    return (torch.rand(shape, generator=generator) < 0.3).to(dtype)


def weights(shape: Any, dtype: Any = torch.float64) -> Any:
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(7))


def is_ours(loss: Any) -> bool:
    return type(loss.grad_fn).__name__ == "_LossBackward"


def both(name: str, x: Any, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """Return (loss, gradient) by us and by PyTorch."""
    found = []
    for module in (interop, F):
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        loss = getattr(module, name)(leaf, *arguments, **options)
        slope = weights(loss.shape, loss.dtype) + 0.5
        found.append((loss, *torch.autograd.grad(loss, leaf, slope)))
    return found[0], found[1]
