"""The one path of all operations: check, allocate or take ``out=``, compute, reduce."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ._backends import backend
from ._bfloat16 import as_bits, bfloat16, numbers, scalar, write
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
    raise_first_bad_probability,
)
from ._operations import OPERATIONS, Operation
from ._options import (
    FLOOR,
    FLOOR_16,
    NOTHING_GIVEN,
    Given,
    are_default,
    check_options,
    divide,
)
from ._outputs import as_given, is_plain_out, plain_outs, targets
from ._typing import Array, Call

# The options of a loss as they were passed, in the order in which `evaluate` takes them apart, the
# rarer ones in a tuple of their own. A tuple, since a record with names costs 0.2 us more, 4 % of a
# call on 1,000 elements. The fourth is the family's own: eps, or alpha and gamma.
Options = tuple[Any, str, Any, Any, tuple[Any, ...]]


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
            if last.nbytes < module.SHORT:
                target = np.empty(shape, dtype) if out is None else out
                _transform_for(operation, dtype)(*arguments, target)
                return target
            target = module.empty(shape, dtype) if out is None else out
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
    sample_weight, reduction, check_labels, own, more = options
    plain = are_plain(scores, y_true)
    if (
        plain
        and sample_weight is None
        and check_labels is False
        and type(reduction) is str
        and (reduction == "mean" or reduction == "sum" or reduction == "none")
        and are_default(more)
    ):
        each = operation.returns_loss and reduction == "none"
        losses = "sum" if operation.returns_loss and not each else "none"
        call, given = _prepared(operation, own, scores, y_true, losses), None
        if out is not None:
            shapes = (scores.shape,) * (operation.arrays + each)
            given = plain_outs(out, shapes, scores.dtype, (scores, y_true))
        if call is not None and (out is None or given is not None):
            count = scores.size if reduction == "mean" else 1
            found = call(scores, y_true, 1.0 / count, given)
            if found is not None:
                total, arrays = found
                if total is None:
                    return arrays[0] if len(arrays) == 1 else arrays
                value = rounded(total / count, scores.dtype)
                return (value, *arrays) if arrays else value
    return _evaluate(operation, scores, y_true, options, out, plain=plain)


def _evaluate(
    operation: Operation, scores: Any, y_true: Any, options: Options, out: Any, *, plain: bool
) -> Any:
    """Evaluate any call of a loss."""
    sample_weight, reduction, check_labels, own, more = options
    if plain:
        x, y = scores, y_true
        compute = result = x.dtype
    else:
        x, y, compute, result = _arrays(operation, scores, y_true)
    weight = check_weight(sample_weight, x.shape, as_elements)
    plain = plain and (weight is None or (are_plain(x, weight) and weight.dtype == compute))
    if type(reduction) is not str or reduction != "mean":
        check_reduction(reduction, x)
    if check_labels is not False:
        check_flag(check_labels, "check_labels")
    given = NOTHING_GIVEN if are_default(more) else check_options(more, x, y, compute)
    rules = _rules(operation, own, given, compute, result)

    size = x.size
    count: Any = size if reduction == "mean" else x.shape[-1] if reduction == "samples" else 1
    rows: Array | None = None
    if given is not NOTHING_GIVEN:
        count, weight, rows = divide(given, reduction, count, y, weight)
        plain = plain and weight is None and given.mask is None
    # What becomes of the elements' losses.
    losses = "sum" if reduction == "mean" else reduction
    if not operation.returns_loss:
        losses = "none"
    has_losses = operation.returns_loss and losses != "sum"
    arrays, aliased = _NO_ARRAYS
    if has_losses or operation.arrays or out is not None:
        first = (x.shape[:-1] if losses == "samples" else x.shape,) if has_losses else ()
        inputs: tuple[Array | None, ...] = (x, y, weight, given.mask)
        inputs = inputs[: 2 if weight is None else 3] if plain else inputs
        empty = np.empty if x.nbytes < LEAST else backend("elementwise").empty
        shapes = (*first, *(x.shape,) * operation.arrays)
        arrays, aliased, plain = targets(out, shapes, result, inputs, empty, plain=plain)
    total = 0.0
    if size:
        written = arrays if result.kind == "f" else list(map(as_bits, arrays))
        loss, others = (written[0], written[1:]) if has_losses else (None, written)
        outputs = (loss, *operation.before, *others, *operation.after)
        inputs = (x, as_bits(y), weight, None if given.mask is None else as_bits(given.mask))
        call = Call(inputs, outputs, compute, out is not None, plain, aliased)
        # Nothing counts where the divisor is 0: its mean is NaN and its gradient 0.
        scale = 1.0 / count if count else 0.0
        total = _run(operation, call, rules, scale, losses, given, check_labels)
    elif losses == "samples":
        write(as_bits(arrays[0]), np.nan)
    if rows is not None and has_losses:
        write(as_bits(arrays[0]), np.nan, rows)
    results = arrays if plain and not (has_losses and out is None) else as_given(out, arrays)
    if losses == "sum":
        results = [rounded(total / count if count else np.nan, result), *results]
    if given.counts is not None:
        results = [*results, given.metrics()]
    return results[0] if len(results) == 1 else tuple(results)


def prepared(name: str, scores: Array, y_true: Array) -> Callable[..., Any] | None:
    """Return ``call(scores, y_true, scale)`` for a loss without options; None if not plain.

    It returns the sum of the losses, or None, and the arrays of the other results; nothing where a
    label that is no float lies outside [0, 1].
    """
    if not are_plain(scores, y_true):
        return None
    operation = OPERATIONS[name]
    losses = "sum" if operation.returns_loss else "none"
    return _prepared(operation, None, scores, y_true, losses)


def _prepared(
    operation: Operation, own: Any, x: Array, y: Array, losses: str
) -> Callable[..., Any] | None:
    """Return what computes a call on plain arrays without options; None for other calls.

    To find out the same for every call took more than half the time of one element.
    """
    if x.nbytes and (own is None or type(own) is float) and backend("elementwise").SHORT:
        return _prepared_for(operation, own, x.dtype, y.dtype, losses)
    return None


@lru_cache(maxsize=256)
def _prepared_for(
    operation: Operation,
    own: float | None,
    dtype: np.dtype[Any],
    labels: np.dtype[Any],
    losses: str,
) -> Callable[..., Any]:
    parameters = partial(_parameters, _rules(operation, own, NOTHING_GIVEN, dtype, dtype))
    prepare: Callable[..., Callable[..., Any]] = backend("elementwise").prepare
    return prepare(operation, dtype, labels, parameters, losses)


@lru_cache(maxsize=64)
def _transform_for(operation: Operation, dtype: np.dtype[Any]) -> Callable[..., Any]:
    prepare: Callable[..., Callable[..., Any]] = backend("elementwise").prepare_transform
    return prepare(operation, dtype)


_F4, _F8 = np.dtype(np.float32), np.dtype(np.float64)
# The results of a call that has no array among them, and whether one is an input.
_NO_ARRAYS: tuple[list[Any], bool] = ([], False)


def total_of_samples(
    scores: Any, y_true: Any, check_labels: Any
) -> tuple[float, int, np.dtype[Any]]:
    """Return the sum, size and dtype of ``bce_loss(scores, y_true, reduction="samples")``.

    The sum is not rounded to that dtype, and found without such an array.
    """
    operation = OPERATIONS["bce_loss"]
    plain = are_plain(scores, y_true)
    if plain and check_labels is False:
        call = _prepared(operation, 1e-7, scores, y_true, "sum")
        found = None if call is None else call(scores, y_true, 1.0)
        if found is not None:
            outputs = scores.shape[-1]
            return found[0] / outputs, scores.size // outputs, scores.dtype
    check_flag(check_labels, "check_labels")
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
    record = Call((x, as_bits(y), None, None), results, compute, False, plain)
    rules = _rules(operation, 1e-7, NOTHING_GIVEN, compute, result)
    total = _run(operation, record, rules, 1.0, "sum", NOTHING_GIVEN, check_labels)
    return total / outputs, size // outputs, result


def _run(
    operation: Operation,
    call: Call,
    rules: tuple[Any, Any],
    scale: float,
    losses: str,
    given: Given,
    check_labels: Any,
) -> Any:
    """Compute; raise for labels and probabilities that are none. Returns the sum of the losses."""
    if call.aliased and check_labels:
        # Results will be written over what is to be looked at.
        _raise_first_bad(operation, call, given, scores=True)
        check_labels = False
    # Labels that are no floats are always looked at: a mask of 0 and 255 is no rare mistake.
    looks = check_labels or call.inputs[1].dtype.kind in "iu"
    bad_labels = np.zeros(1, np.int64) if looks else None
    looks_at_scores = check_labels and operation.family.takes_probabilities
    bad_scores = np.zeros(1, np.int64) if looks_at_scores else None
    parameters = (scale, *_parameters(rules, bad_labels, bad_scores, given.positive))
    total = backend("elementwise").compute(operation, call, parameters, losses)
    if (bad_labels is not None and bad_labels[0]) or (bad_scores is not None and bad_scores[0]):
        _raise_first_bad(operation, call, given, scores=bad_scores is not None)
    return total


def _parameters(
    rules: tuple[Any, Any],
    bad_labels: Array | None = None,
    bad_scores: Array | None = None,
    positive: Array | None = None,
) -> tuple[Any, ...]:
    """Return what the kernels and formulas of a loss take after arrays and scale."""
    bounds, more = rules
    if bounds is None:
        return (bad_labels, more, positive)
    return (bounds, bad_labels, bad_scores, more, positive)


def _raise_first_bad(operation: Operation, call: Call, given: Given, *, scores: bool) -> None:
    """Raise for the first bad label, or for the first bad probability if that is looked at."""
    x, y = (_readable(a) for a in call.inputs[:2])
    weight = None if call.inputs[2] is None else _readable(call.inputs[2])
    kept = given.kept(y)
    if weight is not None:
        kept = weight != 0 if kept is None else kept & (weight != 0)
    raise_first_bad_label(y, kept)
    if scores and operation.family.takes_probabilities:
        raise_first_bad_probability(x, next(iter(operation.family.arguments)), kept)


def _arrays(
    operation: Operation, scores: Any, y_true: Any
) -> tuple[Array, Array, np.dtype[Any], np.dtype[Any]]:
    """Return what was passed as arrays, the dtype to compute in and that of the results."""
    x_name, y_name = operation.family.arguments
    x, y = as_elements(scores, x_name), as_elements(y_true, y_name)
    check_same_shape(x, x_name, y, y_name)
    return as_bits(x), as_bits(y), *float_dtypes(x)


def _readable(array: Array) -> Array:
    """Return an array that NumPy can compare with numbers."""
    return numbers(array, np.float32) if array.dtype == bfloat16 else array


def _rules(
    operation: Operation, own: Any, given: Given, dtype: np.dtype[Any], result: np.dtype[Any]
) -> tuple[Any, Any]:
    """Return the bounds, if the family clips, and what else the kernels go by.

    That is the ignored label and the smoothing; then whether the gradient is 0 beyond the bounds,
    its least denominator, and whether scores are logits, or what makes the loss a focal one; and
    where to count.
    """
    rules = (given.ignore, given.smoothing)
    if not operation.family.clips:
        return None, (*rules, None if own is None else check_focus(*own), given.counts)
    bounds = clip_bounds(own if type(own) is float else as_number(own, "eps"), dtype, result)
    flat, floor = True if given.gradient == "zero" else None, None
    if given.gradient == "torch":
        bounds, floor = (dtype.type(0), dtype.type(1)), FLOOR_16 if result == np.float16 else FLOOR
    chain = True if operation.family.chain else None
    return bounds, (*rules, flat, floor, chain, given.counts)


def rounded(value: float, dtype: np.dtype[Any]) -> Any:
    """Return the value as a scalar of that dtype."""
    # To ignore what happens on the way costs 0.5 us: only where something may happen.
    if dtype is _F8:
        return np.float64(value)
    if dtype is _F4 and 1e-37 < value < 3e38:
        return np.float32(value)
    if dtype.kind == "V":
        return scalar(value, dtype)
    with np.errstate(all="ignore"):
        return dtype.type(value)
