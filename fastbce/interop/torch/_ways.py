"""The ways of a call: whether it is one for us, and ours."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import _reduction

from fastbce import functional
from fastbce._backends import active_backend

# Elements from which on a step of ours is faster. A function with a gradient of its own costs
# PyTorch 20 us more than its own functions: 16,384 float32 logits, forward and backward, took
# 111 us by ours and 101 by PyTorch's, 32,768 took 141 and 145, and 49,152 took 157 and 201.
LEAST = 1 << 15

_FLOATS = frozenset((torch.float16, torch.float32, torch.float64))
_LABELS = frozenset((torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64))
_REDUCTIONS = frozenset(("mean", "sum", "none"))
_KINDS = frozenset((Tensor, nn.Parameter))


# --- which way -----------------------------------------------------------------------------------


class Form(NamedTuple):
    """One of the two losses."""

    loss: Callable[..., Any]
    both: Callable[..., Any]
    """The loss and its gradient."""
    by_torch: Callable[..., Tensor]
    slope: Callable[..., Tensor]
    """The gradient times that of the loss, in PyTorch's operations: a function to derive again."""
    operator: Any
    options: dict[str, Any]
    checks: bool
    """Whether PyTorch looks at probabilities and labels."""


def loss_of(
    form: Form, x: Any, y: Any, weight: Any, reduction: Any, pos_weight: Any = None
) -> Tensor | None:
    """Return the loss by a way of ours, or None where the call is for PyTorch's function."""
    compiling = torch.compiler.is_compiling()
    if compiling:
        if _is_transformed():
            return None
    elif type(x) not in _KINDS or not _is_eager() or x.numel() < LEAST:
        return None
    if not _fit(x, y, weight, pos_weight) or reduction not in _REDUCTIONS:
        return None
    arrays = (x, y, weight, pos_weight)
    grad = torch.is_grad_enabled()
    if grad and any(t is not None and t.requires_grad for t in arrays[1:]):
        return None
    grad = grad and x.requires_grad
    found: Tensor
    if compiling:
        found = form.operator(*arrays, reduction, grad)[0]
        return found
    if not _is_served(*arrays):
        return None
    try:
        if grad:
            found = _Loss.apply(form, reduction, *arrays)
        else:
            found = _computed(form, arrays, reduction, gradient=False)[0]
    except ValueError:
        if not form.checks:
            raise
        return None  # PyTorch says in its own words which numbers it takes
    return found


# The compiler asks while it traces, when what is told is so.
@torch.compiler.assume_constant_result
def _is_transformed() -> bool:
    """Tell whether ``vmap``, a function of ``torch.func`` or a forward derivative is at work."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0
    )


def _is_eager() -> bool:
    """Tell whether operations run as they are written, seen by nobody but the autograd engine."""
    return (
        torch._C._get_tracing_state() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._len_torch_function_stack() == 0
        and not _is_transformed()
        and active_backend() == "numba"
    )


def _fit(x: Any, y: Any, *weights: Any) -> bool:
    """Tell whether the kernels take tensors of these kinds, shapes and dtypes."""
    if not (_is_plain(x) and _is_plain(y) and x.shape == y.shape and x.dtype in _FLOATS):
        return False
    if y.dtype != x.dtype and y.dtype not in _LABELS:
        return False
    return all(
        weight is None or (_is_plain(weight) and weight.dtype == x.dtype and _broadcasts(weight, x))
        for weight in weights
    )


def _is_plain(t: Any) -> bool:
    return type(t) in _KINDS and t.device.type == "cpu" and t.layout is torch.strided


def _broadcasts(weight: Tensor, x: Tensor) -> bool:
    """Tell whether the weight takes the shape of x, and not the two a larger one."""
    return weight.ndim <= x.ndim and all(
        w in (1, n) for w, n in zip(weight.shape[::-1], x.shape[::-1], strict=False)
    )


def _is_served(x: Tensor, y: Tensor, weight: Tensor | None, pos_weight: Tensor | None) -> bool:
    """Tell whether fastbce takes these weights, and tensors that lie in memory in this way."""
    for t in (x, y, weight, pos_weight):
        if t is not None and t.is_neg():
            return False  # what its memory holds is of the other sign
    for t in (weight, pos_weight):
        if t is not None and not _lie_in(t, 0, sys.float_info.max):
            return False
    # Each place of the last axis may have a pos_weight.
    return (
        pos_weight is None
        or pos_weight.numel() == 1
        or (x.is_contiguous() and pos_weight.numel() == pos_weight.shape[-1] == x.shape[-1])
    )


def _lie_in(t: Tensor, low: float, high: float) -> bool:
    # By NumPy: PyTorch's own would wait for ever in a forked child whose parent had used its team.
    values = t.detach().numpy()
    return not values.size or (float(values.min()) >= low and float(values.max()) <= high)


def as_float(form: Form, target: Any, input: Any) -> Any:  # noqa: A002
    """Return labels that are bool or integers in the dtype of the input, for PyTorch."""
    if not (isinstance(input, Tensor) and isinstance(target, Tensor)):
        return target
    if target.dtype not in _LABELS or not input.is_floating_point():
        return target
    if torch.compiler.is_compiling() or not _is_plain(target) or not _is_eager():
        return target.to(input.dtype)
    if not form.checks and target.dtype is not torch.bool:
        _check_labels(target)
    return target.to(input.dtype)


def _check_labels(y: Tensor) -> None:
    if not _lie_in(y, 0, 1):
        values = y.numpy()
        try:
            functional.bce_with_logits_loss(np.zeros(values.shape), values, check_labels=True)
        except ValueError as error:
            raise _named_as_here(error) from None


def _named_as_here(error: ValueError) -> ValueError:
    """Return an error about labels that calls them as PyTorch does."""
    return ValueError(str(error).replace("y_true", "target"))


# --- our own ways --------------------------------------------------------------------------------

# Scores, labels, weights and weights of the positive class.
_Arrays = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


@cache
def _team() -> tuple[Any, Any]:
    """Return the variable that lends a team to calls, and PyTorch's team."""
    # Here, since it imports Numba.
    from fastbce._engine.lender import Lender, lent

    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    library = Path(torch.__file__).parent / "lib" / f"libtorch_cpu{suffix}"
    return lent, Lender(None if _is_forked() else os.fspath(library), torch.get_num_threads)


def _is_forked() -> bool:
    """Tell whether this process may be a child in which PyTorch's team does not exist."""
    by_multiprocessing = multiprocessing.parent_process() is not None
    return os.getpid() != _PROCESS or (
        by_multiprocessing and multiprocessing.get_start_method() == "fork"
    )


# The process that imported this.
_PROCESS = os.getpid()


def _computed(
    form: Form, arrays: _Arrays, reduction: str, *, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the loss and, where it is asked for, the gradient of the reduced loss."""
    x, y, weight, pos_weight = arrays
    x, y = x.detach(), y.detach()
    options: dict[str, Any] = {**form.options, "reduction": reduction}
    axes = _axes(x)
    # Threads share what is contiguous. Copies are rare, and PyTorch makes them on all threads.
    flat_x, flat_y = (t.permute(axes).contiguous() if axes else t.contiguous() for t in (x, y))
    if weight is not None:
        weight = weight.detach().expand_as(x)
        weight = weight.permute(axes) if axes else weight
        options["sample_weight"] = weight.contiguous().numpy()
    if pos_weight is not None:
        options["pos_weight"] = pos_weight.detach().numpy().reshape(-1)
    lent, lender = _team()
    token = lent.set(lender)
    try:
        function = form.both if gradient else form.loss
        found = function(flat_x.numpy(), flat_y.numpy(), **options)
    except ValueError as error:
        raise _named_as_here(error) from None
    finally:
        lent.reset(token)
    loss, slope = found if gradient else (found, None)
    if reduction == "none":
        loss = _as_tensor(loss, x, axes)
    else:
        loss = torch.scalar_tensor(loss.item(), dtype=x.dtype)
    return loss, None if slope is None else _as_tensor(slope, x, axes)


def _axes(x: Tensor) -> list[int]:
    """Return the axes in the order in which x lies in memory; none if that is theirs."""
    return [] if x.is_contiguous() else sorted(range(x.ndim), key=x.stride, reverse=True)


def _as_tensor(array: Any, x: Tensor, axes: list[int]) -> Tensor:
    """Return a result of ours as a tensor that lies in memory as PyTorch's would."""
    found = torch.from_numpy(np.asarray(array))
    if not axes:
        return found
    found = found.permute(sorted(range(x.ndim), key=axes.__getitem__))
    if found.stride() != torch.empty_like(x, device="meta").stride():
        return torch.empty_like(x).copy_(found)  # some elements of x share their place
    return found


class _Loss(torch.autograd.Function):
    """The loss of plain tensors, with a gradient that is computed in the same pass."""

    @staticmethod
    def forward(ctx: Any, form: Form, reduction: str, *arrays: Any) -> Tensor:
        loss, ctx.gradient = _computed(form, arrays, reduction, gradient=True)
        ctx.save_for_backward(*arrays)
        ctx.form, ctx.reduction = form, reduction
        return loss

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        (slope,) = slopes
        if (
            torch.is_grad_enabled()
            or torch.compiler.is_compiling()
            or not _is_eager()
            or not torch._C._has_storage(slope)  # one of many, of is_grads_batched
        ):
            gradient = ctx.form.slope(slope, ctx.saved_tensors, ctx.reduction)
        else:
            # Handed over, and scaled in place: another array costs more than the kernel. Whoever
            # keeps the graph for a second pass has it computed again.
            gradient, ctx.gradient = ctx.gradient, None
            if gradient is None:
                gradient = _computed(ctx.form, ctx.saved_tensors, ctx.reduction, gradient=True)[1]
            if slope.ndim or slope.item() != 1:
                gradient.mul_(slope)
        return None, None, gradient, None, None, None


def _probability_slope(slope: Tensor, arrays: _Arrays, reduction: str) -> Tensor:
    p, y, weight, _ = arrays
    if weight is not None:
        weight = weight.expand_as(p)
    derive = torch.ops.aten.binary_cross_entropy_backward.default
    found: Tensor = derive(slope, p, y.to(p.dtype), weight, _reduction.get_enum(reduction))
    return found


def _logits_slope(slope: Tensor, arrays: _Arrays, reduction: str) -> Tensor:
    x, y, weight, pos_weight = arrays
    y = y.to(x.dtype)
    if pos_weight is None:
        found = torch.sigmoid(x) - y
    else:
        found = (1 - y) - (1 + (pos_weight - 1) * y) * torch.sigmoid(-x)
    if weight is not None:
        found = found * weight
    return found * (slope / x.numel() if reduction == "mean" else slope)


# --- operators, for torch.compile and torch.export -----------------------------------------------

_library = torch.library.Library("fastbce", "DEF")


def _operator(name: str) -> Any:
    """Define an operator: its shapes, and its derivative."""
    _library.define(
        f"{name}(Tensor input, Tensor target, Tensor? weight, Tensor? pos_weight, str reduction,"
        " bool gradient) -> (Tensor, Tensor)",
        tags=(torch.Tag.pt2_compliant_tag,),
    )

    def fake(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        *_, reduction, gradient = rest
        loss = torch.empty_like(x) if reduction == "none" else x.new_empty(())
        return loss, torch.empty_like(x) if gradient else x.new_empty(0)

    def compute(*arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, reduction, gradient = arguments
        form, (x, y, weight, pos_weight) = _FORMS[name], tensors
        loss, slope = None, None
        if _is_served(*tensors):
            try:
                loss, slope = _computed(form, tuple(tensors), reduction, gradient=gradient)
            except ValueError:
                if not form.checks:
                    raise
        if loss is None:
            options = {} if pos_weight is None else {"pos_weight": pos_weight}
            loss = form.by_torch(x, y.to(x.dtype), weight, reduction=reduction, **options)
            if gradient:
                slope = form.slope(torch.ones_like(loss), tuple(tensors), reduction)
        return loss, x.new_empty(0) if slope is None else slope

    def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *arrays, ctx.reduction, ctx.has_gradient = inputs
        ctx.save_for_backward(*arrays, output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    def derive(ctx: Any, slope: Tensor | None, _: Any) -> tuple[Any, ...]:
        *arrays, gradient = ctx.saved_tensors
        found = None
        if slope is not None:
            if torch.is_grad_enabled() or not ctx.has_gradient:
                found = _FORMS[name].slope(slope, tuple(arrays), ctx.reduction)
            else:
                found = gradient * slope
        return found, None, None, None, None, None

    _library.impl(name, compute, "CPU")
    torch.library.register_fake(f"fastbce::{name}", fake, lib=_library)
    torch.library.register_autograd(f"fastbce::{name}", derive, setup_context=keep, lib=_library)
    return getattr(torch.ops.fastbce, name).default


PROBABILITIES = Form(
    functional.bce_loss,
    functional.bce_loss_gradient,
    F.binary_cross_entropy,
    _probability_slope,
    _operator("binary_cross_entropy"),
    {"gradient": "torch", "check_labels": True},
    checks=True,
)
LOGITS = Form(
    functional.bce_with_logits_loss,
    functional.bce_with_logits_loss_gradient,
    F.binary_cross_entropy_with_logits,
    _logits_slope,
    _operator("binary_cross_entropy_with_logits"),
    {},
    checks=False,
)
_FORMS = {"binary_cross_entropy": PROBABILITIES, "binary_cross_entropy_with_logits": LOGITS}
