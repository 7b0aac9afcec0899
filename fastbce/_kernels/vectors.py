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

from llvmlite import binding, ir
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


def _add_in_place(
    context: Any, builder: Any, array: tuple[Any, Any], i: Any, vector: tuple[Any, Any], width: int
) -> None:
    """Emit the addition of the first lanes of a vector to elements; both with their types."""
    (kind, memory), (vector_kind, value) = array, vector
    old = _loaded(context, builder, kind, memory, i, width)
    value = _resize(builder, value, width)
    value = _widened(context, builder, value, vector_kind.dtype, kind.dtype)
    pointer = _element_pointer(context, builder, kind, memory, i, width)
    builder.store(builder.fadd(old, value), pointer, align=kind.dtype.bitwidth // 8)


def _add_of(width: int) -> Any:
    @intrinsic
    def add_vector(typing_context, array, i, vector):
        def generate(context, builder, signature, args):
            _add_in_place(context, builder, (array, args[0]), args[1], (vector, args[2]), width)
            return context.get_dummy_value()

        return types.void(array, types.intp, vector), generate

    return add_vector


load = {width: _load_of(width) for width in WIDTHS}
add = {width: _add_of(width) for width in WIDTHS}


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    vector_type = ir.VectorType(value.type, lanes)
    undefined = ir.Constant(vector_type, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, _mask([0] * lanes))


@intrinsic
def splat(typing_context, value):
    """Return a vector with the value in every lane."""
    kind = Vector(value)

    def generate(context, builder, signature, args):
        return _splat(builder, args[0], kind.lanes)

    return kind(value), generate


@intrinsic
def vector_fma(typing_context, a, b, c):
    """Return ``a * b + c``, rounded once."""

    def generate(context, builder, signature, args):
        return _fma(builder, *args, a.dtype)

    return a(a, a, a), generate


def _fma(builder: Any, a: Any, b: Any, c: Any, dtype: Any) -> Any:
    name = f"llvm.fma.v{a.type.count}f{dtype.bitwidth}"
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


@intrinsic
def minus(typing_context, a, b):
    """Return ``a - b``."""

    def generate(context, builder, signature, args):
        return builder.fsub(*args)

    return a(a, a), generate


def _halved(builder: Any, vectors: list[Any]) -> Any:
    """Emit a vector that begins with the sums of the lanes of each vector, as often as fit.

    Each vector's lanes are halved until one is left, the upper half added to the lower one.
    """
    lanes = part = vectors[0].type.count

    def folded(first: Any, second: Any, starts: list[int]) -> Any:
        # The vectors' parts begin at `starts`, in the numbering of both one after the other.
        half = part // 2
        lower = [start + i for start in starts for i in range(half)]
        return builder.fadd(
            builder.shuffle_vector(first, second, _mask(lower)),
            builder.shuffle_vector(first, second, _mask([i + half for i in lower])),
        )

    while len(vectors) > 1:
        starts = list(range(0, 2 * lanes, part))
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [folded(first, second, starts) for first, second in pairs]
        part //= 2
    (total,) = vectors
    while part > 1:
        total = folded(total, total, list(range(0, lanes, part)) * 2)
        part //= 2
    return total


@intrinsic
def sums(typing_context, a, b, c, d):
    """Return the sums of the lanes of four vectors; each is halved until one is left."""

    def generate(context, builder, signature, args):
        total = _halved(builder, list(args))
        values = [builder.extract_element(total, ir.Constant(ir.IntType(32), k)) for k in range(4)]
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(a.dtype, 4)(a, b, c, d), generate


@intrinsic
def store_sums(typing_context, array, i, first, second, start):
    """Write the sums of the lanes of twice four vectors, each plus `start`, to eight elements."""

    def generate(context, builder, signature, args):
        vectors = [builder.extract_value(four, k) for four in args[2:4] for k in range(4)]
        total = _resize(builder, _halved(builder, vectors), 8)
        total = builder.fadd(total, _splat(builder, args[4], 8))
        pointer = _element_pointer(context, builder, array, args[0], args[1], 8)
        builder.store(total, pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, first, second, start), generate


@intrinsic
def prefetch(typing_context, x, i, ahead):
    """Ask for the line of the element `ahead` of element i, which may lie behind the array's end.

    Nothing is asked for where `ahead` is None.
    """

    def generate(context, builder, signature, args):
        if ahead is not types.none:
            place = builder.add(args[1], args[2])
            place = builder.gep(context.make_array(x)(context, builder, args[0]).data, [place])
            place = builder.bitcast(place, ir.IntType(8).as_pointer())
            number = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [place.type, *[number] * 3])
            function = builder.module.declare_intrinsic("llvm.prefetch", (place.type,), kind)
            read, second_level, data = number(0), number(2), number(1)
            builder.call(function, [place, read, second_level, data])
        return context.get_dummy_value()

    return types.void(x, types.intp, ahead), generate


# --- tiles of a matrix product -------------------------------------------------------------------

# Columns of a tile, which is one vector wide: its sums stay in registers. 8 sums keep the units for
# multiply-adds busy on AVX-512; elsewhere a vector takes two registers of 16, or four of 32.
TILE_COLUMNS = 8 if binding.get_host_cpu_features().get("avx512f", False) else 4


@intrinsic
def tile_zero(typing_context, one):
    """Return the sums of a tile before anything was added."""
    kind = types.UniTuple(Vector(one), TILE_COLUMNS)

    def generate(context, builder, signature, args):
        return ir.Constant(context.get_value_type(kind), None)

    return kind(one), generate


@intrinsic
def tile_step(typing_context, rows, i, factors, j, tile):
    """Return a tile plus the products of the vector at ``rows[i]`` and the factors from `j` on."""
    kind = tile.dtype

    def generate(context, builder, signature, args):
        vector = _loaded(context, builder, rows, args[0], args[1], kind.lanes)
        result = args[4]
        for column in range(TILE_COLUMNS):
            place = builder.add(args[3], ir.Constant(args[3].type, column))
            pointer = builder.gep(
                context.make_array(factors)(context, builder, args[2]).data, [place]
            )
            factor = _splat(builder, builder.load(pointer), kind.lanes)
            total = _fma(builder, vector, factor, builder.extract_value(result, column), kind.dtype)
            result = builder.insert_value(result, total, column)
        return result

    return tile(rows, types.intp, factors, types.intp, tile), generate


@intrinsic
def tile_add(typing_context, matrix, place, stride, tile):
    """Add a tile to a matrix whose rows are `stride` elements, from an element on."""
    lanes = tile.dtype.lanes

    def generate(context, builder, signature, args):
        place = args[1]
        for column in range(TILE_COLUMNS):
            total = builder.extract_value(args[3], column)
            _add_in_place(context, builder, (matrix, args[0]), place, (tile.dtype, total), lanes)
            place = builder.add(place, args[2])
        return context.get_dummy_value()

    return types.void(matrix, types.intp, types.intp, tile), generate
