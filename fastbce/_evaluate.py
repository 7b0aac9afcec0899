"""The one path of all operations: check, allocate or take ``out=``, compute, reduce."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._backends import backend
from ._bfloat16 import as_bits, scalar, write
from ._engine.memory import LEAST
from ._inputs import (
    are_plain,
    as_elements,
    as_number,
    check_flag,
    check_focus,
    check_reduction,
    check_same_shape,
    check_weight,
    clip_bounds,
    float_dtypes,
    is_plain,
    raise_first_bad_label,
    refuse_later_options,
)
from ._operations import OPERATIONS, Operation
from ._outputs import as_given, is_plain_out, targets
from ._typing import Array, Call

# The options of a loss as they were passed, in the order in which `evaluate` takes them apart. A
# tuple, since a record with names costs 0.2 us more, 4 % of a call on 1,000 elements. The last is
# the family's own: eps, or alpha and gamma.
Options = tuple[Any, Any, Any, str, Any, Any]


def transform(name: str, arguments: tuple[Any, ...], out: Any) -> Any:
    """Evaluate an operation that takes no labels; its dtype follows the last of one or two."""
    operation = OPERATIONS[name]
    first, last = arguments[0], arguments[-1]
    if is_plain(last):
        shape, dtype = last.shape, last.dtype
        if (first is last or is_plain_out(first, shape, dtype)) and (
            out is None or is_plain_out(out, shape, dtype, arguments)
        ):
            module = backend("elementwise")
            target = out
            if out is None:
                target = (np.empty if last.nbytes < LEAST else module.empty)(shape, dtype)
            call = Call(arguments, (target,), dtype, out is not None, plain=True)
            module.compute(operation, call)
            return target
    names = tuple(operation.family.arguments)
    arrays = tuple(as_elements(a, name) for a, name in zip(arguments, names, strict=True))
    compute, result = float_dtypes(arrays[-1])
    arrays = tuple([as_bits(a) for a in arrays])
    last = arrays[-1]
    for array, name in zip(arrays[:-1], names[:-1], strict=True):
        check_same_shape(last, names[-1], array, name)
    module = backend("elementwise")
    (target,), aliased, _ = targets(out, (last.shape,), result, arrays[::-1], module.empty)
    call = Call(arrays, (as_bits(target),), compute, out is not None, aliased=aliased)
    module.compute(operation, call)
    return as_given(out, [target])[0]


def evaluate(name: str, scores: Any, y_true: Any, options: Options, out: Any) -> Any:
    """Evaluate a loss, its derivatives, or both."""
    operation = OPERATIONS[name]
    sample_weight, pos_weight, label_smoothing, reduction, check_labels, own = options
    weight: Array | None = None
    plain = sample_weight is None and are_plain(scores, y_true)
    if plain:
        x, y = scores, y_true
        compute = result = x.dtype
    else:
        x, y, compute, result = _arrays(operation, scores, y_true)
        weight = check_weight(sample_weight, x.shape, as_elements)
    if type(reduction) is not str or reduction != "mean":
        check_reduction(reduction, x)
    if pos_weight is not None or type(label_smoothing) is not float or label_smoothing != 0.0:
        refuse_later_options(pos_weight, label_smoothing)
    if check_labels is not False:
        check_flag(check_labels, "check_labels")
    bounds, focus = _own_parameters(operation, own, compute)

    size = x.size
    count = size if reduction == "mean" else x.shape[-1] if reduction == "samples" else 1
    # What becomes of the elements' losses.
    losses = "sum" if reduction == "mean" else reduction
    if not operation.returns_loss:
        losses = "none"
    has_losses = operation.returns_loss and losses != "sum"
    module = backend("elementwise")
    arrays, aliased = _NO_ARRAYS
    if has_losses or operation.arrays or out is not None:
        first = (x.shape[:-1] if losses == "samples" else x.shape,) if has_losses else ()
        inputs = (x, y) if weight is None else (x, y, weight)
        empty = np.empty if x.nbytes < LEAST else module.empty
        shapes = (*first, *(x.shape,) * operation.arrays)
        arrays, aliased, plain = targets(out, shapes, result, inputs, empty, plain=plain)
    total = np.nan if losses == "sum" and reduction == "mean" else 0.0
    if size:
        written = arrays if result.kind == "f" else list(map(as_bits, arrays))
        loss, others = (written[0], written[1:]) if has_losses else (None, written)
        outputs = (loss, *operation.before, *others, *operation.after)
        bad_labels = np.zeros(1, np.int64) if check_labels else None
        call = Call((x, as_bits(y), weight), outputs, compute, out is not None, plain, aliased)
        parameters = (*bounds, 1.0 / count, bad_labels, *focus)
        total = module.compute(operation, call, parameters, losses)
        if bad_labels is not None and bad_labels[0]:
            raise_first_bad_label(y)
        if losses == "sum":
            total /= count
    elif losses == "samples":
        write(as_bits(arrays[0]), np.nan)
    results = arrays if plain and not (has_losses and out is None) else as_given(out, arrays)
    if losses == "sum":
        results = [rounded(total, result), *results]
    return results[0] if len(results) == 1 else tuple(results)


# The results of a call that has no array among them, and whether one is an input.
_NO_ARRAYS: tuple[list[Any], bool] = ([], False)


def total_of_samples(scores: Any, y_true: Any) -> tuple[float, int, np.dtype[Any]]:
    """Return the sum, size and dtype of ``bce_loss(scores, y_true, reduction="samples")``.

    The sum is not rounded to that dtype, and found without such an array.
    """
    operation = OPERATIONS["bce_loss"]
    plain = are_plain(scores, y_true)
    if plain:
        x, y = scores, y_true
        compute = result = x.dtype
    else:
        x, y, compute, result = _arrays(operation, scores, y_true)
        check_reduction("samples", x)
    outputs, size = x.shape[-1], x.size
    if not size:
        count = math.prod(x.shape[:-1])
        return (np.nan if count else 0.0), count, result
    results = (None, *operation.before, *operation.after)
    call = Call((x, as_bits(y), None), results, compute, False, plain)
    parameters = (*_bounds(1e-7, compute), 1.0, None)
    total = backend("elementwise").compute(operation, call, parameters, "sum")
    return total / outputs, size // outputs, result


def _arrays(
    operation: Operation, scores: Any, y_true: Any
) -> tuple[Array, Array, np.dtype[Any], np.dtype[Any]]:
    """Return what was passed as arrays, the dtype to compute in and that of the results."""
    x_name, y_name = operation.family.arguments
    x, y = as_elements(scores, x_name), as_elements(y_true, y_name)
    check_same_shape(x, x_name, y, y_name)
    return as_bits(x), as_bits(y), *float_dtypes(x)


def _bounds(eps: Any, dtype: np.dtype[Any]) -> tuple[Any]:
    return (clip_bounds(eps if type(eps) is float else as_number(eps, "eps"), dtype),)


def _own_parameters(operation: Operation, own: Any, dtype: np.dtype[Any]) -> Any:
    """Return what the family's kernels get first, and what they get last."""
    if operation.family.clips:
        return _bounds(own, dtype), ()
    return (), (None if own is None else check_focus(*own),)


def rounded(value: float, dtype: np.dtype[Any]) -> Any:
    """Return the value as a scalar of that dtype."""
    # To ignore what happens on the way costs 0.5 us: only where something may happen.
    if dtype.itemsize == 8 or (dtype.itemsize == 4 and 1e-37 < value < 3e38):
        return dtype.type(value)
    if dtype.kind == "V":
        return scalar(value, dtype)
    with np.errstate(all="ignore"):
        return dtype.type(value)
