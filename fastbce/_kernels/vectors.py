"""Short vectors of fixed length for compiled code: the lanes are written, not hoped for.

LLVM packs a loop over elements, but not a sum (that would change its order), and it leaves the
short rows of a matrix to a scalar remainder. A value of type ``Vector`` holds 64 bytes: 16 lanes of
float32 or 8 of float64, in one register or several, as the machine has them; the order of every sum
is the same on all of them.

``load[k](a, i, one)`` reads k elements, widened to the type of `one`, and leaves the other lanes 0;
``add[k](a, i, v)`` adds the first k lanes to elements of an array, widened to its type.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

BYTES = 64
WIDTHS = (16, 8, 4, 2, 1)


class Vector(types.Type):
    """The type of a vector of floats."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.lanes = BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        element = manager[kind.dtype].get_value_type()
        super().__init__(manager, kind, ir.VectorType(element, kind.lanes))


def _mask(places: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)


def _resize(builder: Any, value: Any, lanes: int) -> Any:
    """Emit the first lanes, or the vector with zeros behind it."""
    count = value.type.count
    if count == lanes:
        return value
    zero = ir.Constant(value.type, None)
    places = [min(i, count) for i in range(lanes)]
    return builder.shuffle_vector(value, zero, _mask(places))


def _element_pointer(context: Any, builder: Any, kind: Any, array: Any, i: Any, width: int) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    element = context.get_data_type(kind.dtype)
    pointer = builder.gep(data, [i])
    return builder.bitcast(pointer, ir.VectorType(element, width).as_pointer())


def _loaded(context: Any, builder: Any, kind: Any, array: Any, i: Any, width: int) -> Any:
    pointer = _element_pointer(context, builder, kind, array, i, width)
    element = context.get_data_type(kind.dtype)
    return builder.load(pointer, align=kind.dtype.bitwidth // 8, typ=ir.VectorType(element, width))


def _widened(context: Any, builder: Any, value: Any, source: Any, target: Any) -> Any:
    if source == target:
        return value
    element = context.get_data_type(target)
    return builder.fpext(value, ir.VectorType(element, value.type.count))


def _load_of(width: int) -> Any:
    @intrinsic
    def load_vector(typing_context, array, i, one):
        kind = Vector(one)

        def generate(context, builder, signature, args):
            value = _loaded(context, builder, array, args[0], args[1], width)
            value = _widened(context, builder, value, array.dtype, one)
            return _resize(builder, value, kind.lanes)

        return kind(array, types.intp, one), generate

    return load_vector


def _add_of(width: int) -> Any:
    @intrinsic
    def add_vector(typing_context, array, i, vector):
        def generate(context, builder, signature, args):
            old = _loaded(context, builder, array, args[0], args[1], width)
            value = _resize(builder, args[2], width)
            value = _widened(context, builder, value, vector.dtype, array.dtype)
            pointer = _element_pointer(context, builder, array, args[0], args[1], width)
            builder.store(builder.fadd(old, value), pointer, align=array.dtype.bitwidth // 8)
            return context.get_dummy_value()

        return types.void(array, types.intp, vector), generate

    return add_vector


load = {width: _load_of(width) for width in WIDTHS}
add = {width: _add_of(width) for width in WIDTHS}


@intrinsic
def splat(typing_context, value):
    """Return a vector with the value in every lane."""
    kind = Vector(value)

    def generate(context, builder, signature, args):
        vector_type = context.get_value_type(kind)
        first = builder.insert_element(
            ir.Constant(vector_type, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0)
        )
        return builder.shuffle_vector(first, first, _mask([0] * kind.lanes))

    return kind(value), generate


@intrinsic
def vector_fma(typing_context, a, b, c):
    """Return ``a * b + c``, rounded once."""

    def generate(context, builder, signature, args):
        kind = args[0].type
        name = f"llvm.fma.v{kind.count}f{a.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), name
        )
        return builder.call(function, args)

    return a(a, a, a), generate


@intrinsic
def minus(typing_context, a, b):
    """Return ``a - b``."""

    def generate(context, builder, signature, args):
        return builder.fsub(*args)

    return a(a, a), generate


@intrinsic
def sums(typing_context, a, b, c, d):
    """Return the sums of the lanes of four vectors; each is halved until one is left."""

    def generate(context, builder, signature, args):
        lanes = a.lanes
        low, high, quarter = range(lanes // 2), range(lanes // 2, lanes), lanes // 4

        def halves(first: Any, second: Any, lower: list[int], upper: list[int]) -> Any:
            return builder.fadd(
                builder.shuffle_vector(first, second, _mask(lower)),
                builder.shuffle_vector(first, second, _mask(upper)),
            )

        def pair(first: Any, second: Any) -> Any:
            return halves(
                first,
                second,
                [*low, *(lanes + i for i in low)],
                [*high, *(lanes + i for i in high)],
            )

        groups = range(0, 2 * lanes, lanes // 2)
        total = halves(
            pair(args[0], args[1]),
            pair(args[2], args[3]),
            [g + i for g in groups for i in range(quarter)],
            [g + i for g in groups for i in range(quarter, 2 * quarter)],
        )
        step = quarter // 2
        while step:
            total = builder.fadd(
                total, builder.shuffle_vector(total, total, _mask([i ^ step for i in range(lanes)]))
            )
            step //= 2
        places = [ir.Constant(ir.IntType(32), quarter * k) for k in range(4)]
        values = [builder.extract_element(total, place) for place in places]
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(a.dtype, 4)(a, b, c, d), generate
