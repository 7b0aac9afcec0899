"""The ways of a call: whether it is one for us, and ours."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.compiler import is_compiling

from fastbce import _bfloat16, functional
from fastbce._backends import active_backend
from fastbce._evaluate import prepared

from ._halves import HALVES, converted, rounded

# Elements from which on a step of ours is faster. What it takes before the first element is as long
# as PyTorch's own, 50 us: forward and backward of 8,192 float32 logits took 56 us by ours and 60 by
# PyTorch's, 16,384 took 62 and 83 (float16: 89 and 94), and 32,768 took 75 and 128, on one thread.
LEAST = 1 << 14

_FLOATS = frozenset((torch.bfloat16, torch.float16, torch.float32, torch.float64))
_LABELS = frozenset((torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64))
_REDUCTIONS = frozenset(("mean", "sum", "none"))
_KINDS = frozenset((Tensor, nn.Parameter))

_traced = torch._C._get_tracing_state
_watched_functions = torch._C._len_torch_function_stack


# --- which way -----------------------------------------------------------------------------------


# Scores, labels, weights and weights of the positive class.
_Arrays: TypeAlias = "tuple[Tensor, Tensor, Tensor | None, Tensor | None]"


class Given(NamedTuple):
    """What else a call was given."""

    reduction: str
    numbers: tuple[float, ...] = ()
    """Of the focal loss: alpha and gamma."""


class Form(NamedTuple):
    """One of the losses."""

    loss: Callable[..., Any]
    both: Callable[..., Any]
    """The loss and its gradient."""
    by_torch: Callable[[_Arrays, Given], Tensor]
    slope: Callable[[Tensor, _Arrays, Given], Tensor]
    """The gradient times that of the loss, in PyTorch's operations: a function to derive again."""
    operator: Any
    options: dict[str, Any] = {}  # noqa: RUF012
    checks: bool = False
    """Whether PyTorch looks at probabilities and labels."""
    labels: str = "target"
    """The name of the argument."""
    halves: int = 1
    """How many times as many half floats as others pay, where they go through scratch space.

    Before the first element that takes 110 us more, and PyTorch's own function 3.5 ns for each.
    """


def is_short(x: Any, y: Any) -> bool:
    """Tell whether a call without weights is for PyTorch's operator, with nothing to be asked.

    Its function would check these tensors again: with that, and with what a call that may be ours
    has to find out, forward and backward of 1,000 elements took 5 to 8 us more than PyTorch's 50.
    Who watches operators sees this one; who watches functions, or traces, shall see the function.
    """
    return (
        type(x) in _KINDS
        and type(y) in _KINDS
        and not is_compiling()
        and not _watched_functions()
        and _traced() is None
        and x.numel() < LEAST
        and x.dtype is y.dtype
        and x.shape == y.shape
    )


def loss_of(
    form: Form,
    given: Given,
    x: Any,
    y: Any,
    weight: Any = None,
    pos_weight: Any = None,
) -> Tensor | None:
    """Return the loss by a way of ours, or None where the call is for PyTorch's function."""
    compiling = is_compiling()
    if compiling:
        if _is_transformed():
            return None
    elif type(x) not in _KINDS or not _is_eager() or x.numel() < LEAST:
        return None
    if not _fit(x, y, weight, pos_weight) or given.reduction not in _REDUCTIONS:
        return None
    arrays = (x, y, weight, pos_weight)
    grad = torch.is_grad_enabled()
    if grad and (y.requires_grad or _need_gradients(weight, pos_weight)):
        return None
    grad = grad and x.requires_grad
    found: Tensor
    if compiling:
        found = form.operator(*arrays, given.reduction, list(given.numbers), grad)[0]
        return found
    if not (_pays(form, given, *arrays) and _is_served(form, *arrays)):
        return None
    try:
        if grad:
            found = _Loss.applied(form, given, *arrays)
        else:
            found = _computed(form, given, arrays, gradient=False)[0]
    except ValueError:
        if not form.checks:
            raise
        return None  # PyTorch says in its own words which numbers it takes
    return found


def _need_gradients(weight: Tensor | None, pos_weight: Tensor | None) -> bool:
    return (weight is not None and weight.requires_grad) or (
        pos_weight is not None and pos_weight.requires_grad
    )


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
        _traced() is None
        and not _watched_functions()
        and not torch._C._len_torch_dispatch_stack()
        and not _is_transformed()
        and active_backend() == "numba"
    )


def _fit(x: Any, y: Any, *weights: Any) -> bool:
    """Tell whether the kernels take tensors of these kinds, shapes and dtypes."""
    if not (_is_plain(x) and _is_plain(y) and x.shape == y.shape and x.dtype in _FLOATS):
        return False
    if y.dtype != x.dtype and y.dtype not in _LABELS:
        return False
    for weight in weights:  # there is none in most calls, which all() would take 0.5 us longer for
        if weight is not None and not (
            _is_plain(weight) and weight.dtype == x.dtype and _broadcasts(weight, x)
        ):
            return False
    return True


def _is_plain(t: Any) -> bool:
    return type(t) in _KINDS and t.is_cpu and t.layout is torch.strided


def _broadcasts(weight: Tensor, x: Tensor) -> bool:
    """Tell whether the weight takes the shape of x, and not the two a larger one."""
    return weight.ndim <= x.ndim and all(
        w in (1, n) for w, n in zip(weight.shape[::-1], x.shape[::-1], strict=False)
    )


def _pays(form: Form, given: Given, x: Tensor, y: Tensor, *weights: Tensor | None) -> bool:
    """Tell whether a call of at least LEAST elements is faster by us."""
    if x.dtype not in HALVES or x.numel() >= form.halves * LEAST:
        return True
    return given.reduction == "none" or (weights == (None, None) and y.dtype == x.dtype)


def _is_served(form: Form, x: Tensor, y: Tensor, *weights: Tensor | None) -> bool:
    """Tell whether fastbce takes these weights, and has the results that PyTorch has."""
    if form.checks and x.dtype is torch.float16:
        return False  # whose gradients we keep finite, and PyTorch does not
    if _lies_elsewhere(x) or _lies_elsewhere(y):
        return False
    for t in weights:
        if t is not None and (_lies_elsewhere(t) or not _lie_in(t, 0, sys.float_info.max)):
            return False
    # Each place of the last axis may have a pos_weight.
    pos_weight = weights[1]
    return (
        pos_weight is None
        or pos_weight.numel() == 1
        or (x.is_contiguous() and pos_weight.numel() == pos_weight.shape[-1] == x.shape[-1])
    )


def _lies_elsewhere(t: Tensor) -> bool:
    """Tell whether the memory holds the values with the other sign, or another tensor's.

    The latter was kept from a function that ``torch.func`` called, and that has returned.
    """
    found: bool = t.is_neg() or torch._C._functorch.is_functorch_wrapped_tensor(t)
    return found


def _lie_in(t: Tensor, low: float, high: float) -> bool:
    # By NumPy: PyTorch's own would wait for ever in a forked child whose parent had used its team.
    values = as_array(t.detach())
    if values.dtype == _bfloat16.bfloat16:
        values = _bfloat16.numbers(values, np.float32)
    return not values.size or (float(values.min()) >= low and float(values.max()) <= high)


def as_float(form: Form, target: Any, input: Any) -> Any:  # noqa: A002
    """Return labels that are bool or integers in the dtype of the input, for PyTorch."""
    if not (isinstance(input, Tensor) and isinstance(target, Tensor)):
        return target
    if target.dtype not in _LABELS or not input.is_floating_point():
        return target
    if is_compiling() or not _is_plain(target) or not _is_eager():
        return target.to(input.dtype)
    if not form.checks and target.dtype is not torch.bool:
        _check_labels(form, target)
    return target.to(input.dtype)


def _check_labels(form: Form, y: Tensor) -> None:
    if not _lie_in(y, 0, 1):
        values = y.numpy()
        try:
            functional.bce_with_logits_loss(np.zeros(values.shape), values, check_labels=True)
        except ValueError as error:
            raise _named_as_here(form, error) from None


def _named_as_here(form: Form, error: ValueError) -> ValueError:
    """Return an error about labels that calls them as PyTorch does."""
    return ValueError(str(error).replace("y_true", form.labels))


# --- our own ways --------------------------------------------------------------------------------


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


def as_array(t: Tensor) -> Any:
    """Return the memory of a tensor as an array."""
    if t.dtype is torch.bfloat16:
        return t.view(torch.int16).numpy().view(_bfloat16.bfloat16)
    return t.numpy()


def _computed(
    form: Form, given: Given, arrays: _Arrays, *, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the loss and, where it is asked for, the gradient of the reduced loss."""
    x, y, weight, pos_weight = arrays
    x = x.detach()
    axes = _axes(x)
    # Threads share what is contiguous. Copies are rare, and PyTorch makes them on all threads.
    flat_x = x.permute(axes).contiguous() if axes else x
    flat_y = y.detach() if y.requires_grad else y
    flat_y = (flat_y.permute(axes) if axes else flat_y).contiguous()
    function = form.both if gradient else form.loss
    if weight is None and pos_weight is None and not (form.options or given.numbers):
        found = _reduced(function.__name__, given.reduction, flat_x, flat_y)
        if found is not None:
            loss, slope = found
            return loss, None if slope is None else _laid_out(slope, x, axes)
    options: dict[str, Any] = {**form.options, "reduction": given.reduction}
    if given.numbers:
        options["alpha"], options["gamma"] = given.numbers
    if x.dtype in HALVES and given.reduction == "none" and not _is_forked():
        # Reduced losses would be rounded twice.
        flat_x = converted(flat_x, torch.float32)
        flat_y = converted(flat_y, torch.float32) if y.dtype == x.dtype else flat_y
    if weight is not None:
        weight = weight.detach().expand_as(x)
        weight = weight.permute(axes) if axes else weight
        options["sample_weight"] = as_array(weight.contiguous())
    if pos_weight is not None:
        options["pos_weight"] = as_array(pos_weight.detach().reshape(-1))
    lent, lender = _team()
    token = lent.set(lender)
    try:
        found = function(as_array(flat_x), as_array(flat_y), **options)
    except ValueError as error:
        raise _named_as_here(form, error) from None
    finally:
        lent.reset(token)
    loss, slope = found if gradient else (found, None)
    if given.reduction == "none":
        loss = _as_tensor(loss, x, axes)
    else:
        loss = torch.scalar_tensor(loss.item(), dtype=x.dtype)
    return loss, None if slope is None else _as_tensor(slope, x, axes)


def _reduced(
    name: str, reduction: str, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor | None] | None:
    """Return what a function of ours finds for contiguous tensors, with less on the way to it.

    That is 8 us of a step. Half floats are computed in float32 by either way. Here PyTorch converts
    them, on all its threads, where a call of ours takes 100 us more and goes through scratch space
    on one. None is for what the function itself has to do.
    """
    wide_x, wide_y, half = x, y, x.dtype in HALVES
    if half and reduction != "none" and y.dtype == x.dtype and not _is_forked():
        wide_x, wide_y = converted(x, torch.float32), converted(y, torch.float32)
    elif half or reduction == "none":
        return None
    inputs = wide_x.numpy(), wide_y.numpy()
    call = prepared(name, *inputs)
    if call is None:
        return None
    size = x.numel() if reduction == "mean" else 1
    lent, lender = _team()
    token = lent.set(lender)
    try:
        found = call(*inputs, 1.0 / size)
    finally:
        lent.reset(token)
    if found is None:
        return None
    total, arrays = found
    loss = torch.scalar_tensor(rounded(total / size, x.dtype), dtype=x.dtype)
    if not arrays:
        return loss, None
    slope = torch.from_numpy(arrays[0])
    return loss, converted(slope, x.dtype) if half else slope


def _axes(x: Tensor) -> list[int]:
    """Return the axes in the order in which x lies in memory; none if that is theirs."""
    return [] if x.is_contiguous() else sorted(range(x.ndim), key=x.stride, reverse=True)


def _as_tensor(array: Any, x: Tensor, axes: list[int]) -> Tensor:
    """Return a result of ours as a tensor that lies in memory as PyTorch's would."""
    array = np.asarray(array)
    if x.dtype in HALVES:
        if array.dtype == np.float32:
            found = converted(torch.from_numpy(array), x.dtype)
        else:
            found = torch.from_numpy(array.view(np.int16)).view(x.dtype)
    else:
        found = torch.from_numpy(array)
    return _laid_out(found, x, axes)


def _laid_out(found: Tensor, x: Tensor, axes: list[int]) -> Tensor:
    """Return what was computed in the order of the axes, in that of x."""
    if not axes:
        return found
    found = found.permute(sorted(range(x.ndim), key=axes.__getitem__))
    if found.stride() != torch.empty_like(x, device="meta").stride():
        return torch.empty_like(x).copy_(found)  # some elements of x share their place
    return found


class _Loss(torch.autograd.Function):
    """The loss of plain tensors, with a gradient that is computed in the same pass."""

    @staticmethod
    def forward(ctx: Any, form: Form, given: Given, *arrays: Any) -> Tensor:
        loss, ctx.gradient = _computed(form, given, arrays, gradient=True)
        ctx.save_for_backward(*arrays)
        ctx.form, ctx.given = form, given
        return loss

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        (slope,) = slopes
        if (
            torch.is_grad_enabled()
            or is_compiling()
            or not _is_eager()
            or not torch._C._has_storage(slope)  # one of many, of is_grads_batched
        ):
            gradient = ctx.form.slope(slope, ctx.saved_tensors, ctx.given)
        else:
            # Handed over, and scaled in place: another array costs more than the kernel. Whoever
            # keeps the graph for a second pass has it computed again.
            gradient, ctx.gradient = ctx.gradient, None
            if gradient is None:
                gradient = _computed(ctx.form, ctx.given, ctx.saved_tensors, gradient=True)[1]
            if slope.ndim or slope.item() != 1:
                gradient.mul_(slope)
        return None, None, gradient, None, None, None

    @classmethod
    def applied(cls, *arguments: Any) -> Any:
        """Do what `apply` does, less what that does for ``torch.func``: 3.5 us of a step.

        Calls of its functions do not get here.
        """
        return super(torch.autograd.Function, cls).apply(*arguments)


# --- operators, for torch.compile and torch.export -----------------------------------------------

_library = torch.library.Library("fastbce", "DEF")


def define(
    name: str,
    loss: Callable[..., Any],
    both: Callable[..., Any],
    by_torch: Callable[[_Arrays, Given], Tensor],
    slope: Callable[[Tensor, _Arrays, Given], Tensor],
    **more: Any,
) -> Form:
    """Return a form with an operator: its shapes, its values and its derivative."""
    _library.define(
        f"{name}(Tensor input, Tensor target, Tensor? weight, Tensor? pos_weight, str reduction,"
        " float[] numbers, bool gradient) -> (Tensor, Tensor)",
        tags=(torch.Tag.pt2_compliant_tag,),
    )

    def fake(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        *_, reduction, _, gradient = rest
        loss = torch.empty_like(x) if reduction == "none" else x.new_empty(())
        return loss, torch.empty_like(x) if gradient else x.new_empty(0)

    def compute(*arguments: Any) -> tuple[Tensor, Tensor]:
        *tensors, reduction, numbers, gradient = arguments
        (x, y, *weights), given = tensors, Given(reduction, tuple(numbers))
        found = None
        if _is_served(form, *tensors):
            try:
                found = _computed(form, given, (x, y, *weights), gradient=gradient)
            except ValueError:
                if not form.checks:
                    raise
        if found is None:
            arrays = (x, y.to(x.dtype), *weights)
            value = form.by_torch(arrays, given)
            one = torch.ones_like(value)
            found = value, form.slope(one, arrays, given) if gradient else None
        return found[0], x.new_empty(0) if found[1] is None else found[1]

    def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, reduction, numbers, ctx.has_gradient = inputs
        ctx.given = Given(reduction, tuple(numbers))
        ctx.save_for_backward(*tensors, output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    def derive(ctx: Any, outer: Tensor | None, _: Any) -> tuple[Any, ...]:
        *tensors, gradient = ctx.saved_tensors
        found = None
        if outer is not None:
            if torch.is_grad_enabled() or not ctx.has_gradient:
                found = form.slope(outer, tuple(tensors), ctx.given)
            else:
                found = gradient * outer
        return found, *[None] * 6

    _library.impl(name, compute, "CPU")
    torch.library.register_fake(f"fastbce::{name}", fake, lib=_library)
    torch.library.register_autograd(f"fastbce::{name}", derive, setup_context=keep, lib=_library)
    form = Form(loss, both, by_torch, slope, getattr(torch.ops.fastbce, name).default, **more)
    return form
