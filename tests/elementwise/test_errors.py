"""What is refused, with which exception and which words, and that nothing is written before."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cases import BY_NAME, CASES, LOSSES, Array, Case
from checks import each_case, each_loss, same_bits

import fastbce

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("backend")

N = 6


def arguments_of(case: Case, dtype: Any = np.float32) -> tuple[Array, ...]:
    return case.draw(np.random.default_rng(0), N, dtype)


def outputs_of(case: Case, dtype: Any = np.float32) -> tuple[Array, ...]:
    return tuple(np.full(N, 99, dtype) for _ in case.results)


def elementwise(case: Case) -> dict[str, Any]:
    return {"reduction": "none"} if case.is_loss else {}


def refuse(
    error: type[BaseException],
    fragments: list[str],
    function: Callable[..., Any],
    *arguments: Any,
    **options: Any,
) -> None:
    """Call the function: it must raise exactly this, with these words."""
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    assert caught.type is error
    for fragment in fragments:
        assert fragment in str(caught.value)


# --- types --------------------------------------------------------------------------------------


class HostileArray:
    """`__array__` fails in its own way."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise RuntimeError("not today")


class LyingArray:
    """`__array__` returns something else than an array."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return "an array"


class HostileDLPack:
    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("on another device")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


BAD_INPUTS: dict[str, tuple[Any, list[str]]] = {
    "complex": (np.ones(N, np.complex64), ["dtype complex64", "real part"]),
    "object": (np.array([1, None, 2, 3, 4, 5], object), ["dtype object", "dtype=np.float64"]),
    "text": (np.array(["1"] * N), ["dtype <U1", "astype"]),
    "bytes": (np.array([b"1"] * N), ["dtype |S1"]),
    "dates": (np.zeros(N, "M8[s]"), ["dtype datetime64[s]"]),
    "durations": (np.zeros(N, "m8[s]"), ["dtype timedelta64[s]"]),
    "records": (np.zeros(N, [("a", "f4")]), ["dtype", "'a'"]),
    "masked": (np.ma.masked_equal(np.ones(N), 1), ["masked array", "compressed()"]),
    "ragged": ([[1, 2], [3]], ["cannot turn list", "rectangular"]),
    "None": (None, ["dtype object", "got None of type NoneType"]),
    "string": ("0.5", ["dtype <U3"]),
    "dictionary": ({"a": 1}, ["dtype object"]),
    "hostile __array__": (HostileArray(), ["cannot turn HostileArray", "not today"]),
    "lying __array__": (LyingArray(), ["cannot turn LyingArray"]),
    "hostile __dlpack__": (HostileDLPack(), ["cannot turn HostileDLPack", "on another device"]),
}
if np.dtype(np.longdouble) != np.float64:
    BAD_INPUTS["long double"] = (np.ones(N, np.longdouble), ["dtype", "float64"])


@each_case
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("bad", BAD_INPUTS)
def test_inputs_that_are_not_real_numbers(case: Case, position: int, bad: str) -> None:
    if position >= case.arity:
        return
    value, fragments = BAD_INPUTS[bad]
    arguments: list[Any] = list(arguments_of(case))
    arguments[position] = value
    out = outputs_of(case)
    name = case.argument_names[position]
    refuse(TypeError, [name, *fragments], case, *arguments, out=out, **elementwise(case))
    assert all(np.all(array == 99) for array in out)


@each_loss
def test_weights_that_are_not_real_numbers(case: Case) -> None:
    for value, fragments in BAD_INPUTS.values():
        if value is not None:
            words = ["sample_weight", *fragments]
            refuse(TypeError, words, case, *arguments_of(case), sample_weight=value)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_input_that_runs_out_of_memory_is_not_a_type_error(error: type[BaseException]) -> None:
    class Failing:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            raise error

    with pytest.raises(error):
        fastbce.sigmoid(Failing())


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [c for c in CASES if c.arity == 2], ids=lambda case: case.name)
@pytest.mark.parametrize(
    ("shapes", "fragments"),
    [
        (((4,), (4, 1)), ["(4,)", "(4, 1)", ".reshape("]),
        (((4, 1), (4,)), ["(4,)", "(4, 1)", ".reshape("]),
        (((4,), (5,)), ["(4,)", "(5,)", "same shape"]),
        (((2, 3), (3, 2)), ["(2, 3)", "(3, 2)", ".reshape("]),
        (((4,), ()), ["(4,)", "()", "same shape"]),
        (((4,), (1,)), ["(4,)", "(1,)", "same shape"]),
        (((0,), (0, 1)), ["(0,)", "(0, 1)"]),
    ],
    ids=str,
)
def test_shapes_are_never_broadcast(
    case: Case, shapes: tuple[tuple[int, ...], ...], fragments: list[str]
) -> None:
    first, second = (np.ones(shape, np.float32) for shape in shapes)
    refuse(ValueError, [*case.argument_names, *fragments], case, first, second)


def test_the_hint_for_shapes_works() -> None:
    y_pred, y_true = np.full(4, 0.5), np.ones((4, 1))
    with pytest.raises(ValueError, match="reshape") as caught:
        fastbce.bce_loss(y_pred, y_true)
    hint = re.search(r"y_true\.reshape\(y_pred\.shape\)", str(caught.value))
    assert hint
    repaired = eval(hint[0], {"y_true": y_true, "y_pred": y_pred})
    assert fastbce.bce_loss(y_pred, repaired) == pytest.approx(np.log(2))


# --- options ------------------------------------------------------------------------------------


@each_loss
@pytest.mark.parametrize(
    ("weight", "fragments"),
    [
        (-1, ["not negative", "-1"]),
        ([1, 2, np.nan, 1, 1, 1], ["finite", "nan"]),
        ([1, 2, np.inf, 1, 1, 1], ["finite", "inf"]),
        (np.ones(5), ["(5,)", "(6,)", "broadcast"]),
        (np.ones((6, 1)), ["(6, 1)", "(6,)", "broadcast"]),
    ],
    ids=["negative", "nan", "infinite", "length", "axes"],
)
def test_weights(case: Case, weight: Any, fragments: list[str]) -> None:
    out = outputs_of(case)
    options = {"sample_weight": weight, "reduction": "none", "out": out}
    refuse(ValueError, ["sample_weight", *fragments], case, *arguments_of(case), **options)
    assert all(np.all(array == 99) for array in out)


def test_a_weight_for_each_row_has_its_own_hint() -> None:
    y = np.full((5, 3), 0.5)
    refuse(
        ValueError,
        ["sample_weight[:, None]"],
        fastbce.bce_loss,
        y,
        y,
        sample_weight=np.ones(5),
    )


@each_loss
@pytest.mark.parametrize("reduction", ["average", "MEAN", "", None, 1])
def test_unknown_reduction(case: Case, reduction: Any) -> None:
    words = ["reduction", repr(reduction), "'none', 'mean', 'sum'"]
    refuse(ValueError, words, case, *arguments_of(case), reduction=reduction)


@each_loss
@pytest.mark.parametrize(
    ("reduction", "words"),
    [
        (["mean"], "['mean'] of type list"),
        (np.ones(2), "ndarray of shape (2,)"),
        (np.array("mean"), "ndarray of shape ()"),
        (np.int64(1), "reduction 1 of type int64"),
        (np.str_("average"), "reduction 'average';"),
    ],
    ids=str,
)
def test_reduction_that_is_no_name(case: Case, reduction: Any, words: str) -> None:
    refuse(ValueError, ["unknown reduction", words], case, *arguments_of(case), reduction=reduction)


@each_loss
@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("no", "'no' of type str"),
        (None, "None"),
        (1, "1 of type int"),
        (np.ones(2, bool), "ndarray of shape (2,)"),
        (np.nan, "nan of type float"),
    ],
    ids=str,
)
def test_check_labels_that_is_no_flag(case: Case, flag: Any, words: str) -> None:
    words_of_all = ["check_labels must be True or False", words]
    refuse(TypeError, words_of_all, case, *arguments_of(case), check_labels=flag)
    case(np.full(3, 0.5), np.ones(3), check_labels=np.True_)


@each_loss
def test_means_of_rows_need_an_axis(case: Case) -> None:
    refuse(ValueError, ["samples", "0-d"], case, 0.5, 1, reduction="samples")


@pytest.mark.parametrize("case", [c for c in LOSSES if c.kind == "clipped"], ids=lambda c: c.name)
@pytest.mark.parametrize("eps", [0, 0.5, -1e-7, 1, np.nan, np.inf])
def test_eps_out_of_range(case: Case, eps: float) -> None:
    words = ["eps", "0.5", repr(float(eps))]
    refuse(ValueError, words, case, *arguments_of(case), eps=eps)


# What is no number, and what a message says of it.
NO_NUMBERS: tuple[tuple[Any, str], ...] = (
    (None, "None of type NoneType"),
    ("small", "'small' of type str"),
    ("1e-7", "'1e-7' of type str"),
    (b"1e-7", "of type bytes"),
    (np.array("1e-7"), "ndarray of shape ()"),
    ([1e-7, 1e-7], "[1e-07, 1e-07] of type list"),
    (1j, "1j of type complex"),
    (np.complex64(1j), "1j of type complex64"),
    (np.array([1e-7, 1e-7]), "ndarray of shape (2,)"),
    (np.zeros((3, 0)), "ndarray of shape (3, 0)"),
    (np.ma.masked, "MaskedConstant of shape ()"),
    (HostileArray(), "of type HostileArray"),
    (10**400, "of type int"),
)


@pytest.mark.parametrize(("value", "words"), NO_NUMBERS, ids=lambda each: str(each)[:20])
def test_options_that_are_no_number(value: Any, words: str) -> None:
    case, X = BY_NAME["bce_loss"], np.ones((2, 2))
    for name in ("eps", "label_smoothing"):
        refuse(TypeError, [f"{name} must be one number", words], case, [0.5], [1], **{name: value})
    for function in (
        partial(fastbce.linear_bce_loss_gradient, X, [0, 1], [1, 1]),
        partial(fastbce.linear_bce_hessian, X, [1, 1]),
    ):
        refuse(TypeError, ["intercept must be one number", words], function, value)


def test_the_hint_for_an_offset_of_each_row_works(rng: np.random.Generator) -> None:
    X, y, offset = rng.normal(size=(9, 2)), rng.random(9), rng.normal(size=9)
    coef = np.array([0.3, -2.0])
    words = ["intercept", "shape (9,)", "one more column of X, with the coefficient 1"]
    refuse(TypeError, words, fastbce.linear_bce_loss_gradient, X, y, coef, offset)
    loss, slope, _ = fastbce.linear_bce_loss_gradient(
        np.column_stack([X, offset]), y, np.append(coef, 1)
    )
    z = X @ coef + offset
    assert loss == pytest.approx(fastbce.bce_with_logits_loss(z, y))
    np.testing.assert_allclose(slope[:2], fastbce.bce_with_logits_gradient(z, y) @ X)


@each_case
def test_options_are_by_keyword_only(case: Case) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        case(*arguments_of(case), None)


# --- out= ---------------------------------------------------------------------------------------


def _out(shape: tuple[int, ...] = (N,), dtype: Any = np.float32, writable: bool = True) -> Array:
    array = np.full(shape, 99, dtype)
    array.flags.writeable = writable
    return array


BAD_OUTPUTS: dict[str, tuple[Callable[[], Any], type[Exception], list[str]]] = {
    "length": (lambda: _out((5,)), ValueError, ["shape (5,)", "shape (6,)"]),
    "axes": (lambda: _out((N, 1)), ValueError, ["shape (6, 1)", "shape (6,)"]),
    "integer": (lambda: _out(dtype=np.int32), TypeError, ["dtype int32", "dtype float32"]),
    "byte order": (lambda: _out(dtype=">f4"), TypeError, ["dtype >f4", "dtype float32"]),
    "read-only": (lambda: _out(writable=False), ValueError, ["read-only", "writable"]),
    "list": (lambda: [0.0] * N, TypeError, ["NumPy array", "list"]),
    "one place": (
        lambda: np.lib.stride_tricks.as_strided(_out((1,)), (N,), (0,)),
        ValueError,
        ["one place"],
    ),
}


@each_case
@pytest.mark.parametrize("bad", BAD_OUTPUTS)
def test_outputs(case: Case, bad: str) -> None:
    make, error, fragments = BAD_OUTPUTS[bad]
    for place in range(len(case.results)):
        out: list[Any] = list(outputs_of(case))
        out[place] = make()
        options = {"out": tuple(out), **elementwise(case)}
        refuse(error, ["out=", *fragments], case, *arguments_of(case), **options)
        assert all(np.all(np.asarray(array) == 99) for array in out if array is not out[place])
        assert isinstance(out[place], list) or np.all(out[place] == 99)


@each_case
@pytest.mark.parametrize("extra", [-1, 1])
def test_number_of_outputs(case: Case, extra: int) -> None:
    count = len(case.results)
    out = tuple(_out() for _ in range(count + extra))
    words = ["out=", f"{count + extra} array(s)", f"{count} array result(s)"]
    refuse(ValueError, words, case, *arguments_of(case), out=out, **elementwise(case))


def test_no_output_to_take() -> None:
    refuse(ValueError, ["out=", "no array"], fastbce.bce_loss, [0.5], [1], out=np.empty(1))


@each_case
@pytest.mark.parametrize("position", [0, 1])
def test_partial_overlap_with_an_input(case: Case, position: int) -> None:
    arguments = list(arguments_of(case))
    if position >= len(arguments):
        return
    memory = np.concatenate([arguments[position], np.zeros(N, np.float32)])
    for view in (memory[1 : N + 1], memory[: 2 * N : 2], memory[N - 1 :: -1]):
        before = memory.copy()
        arguments[position] = memory[:N]
        out: list[Array | None] = [None] * len(case.results)
        out[-1] = view
        options = {"out": tuple(out), **elementwise(case)}
        refuse(ValueError, ["out= overlaps an input"], case, *arguments, **options)
        assert same_bits(memory, before)


@pytest.mark.parametrize("case", [c for c in CASES if len(c.results) > 1], ids=lambda c: c.name)
def test_outputs_that_share_memory(case: Case) -> None:
    memory = np.full(2 * N, 99, np.float32)
    for second in (memory[:N], memory[N - 1 : -1]):
        out = [_out() for _ in case.results]
        out[0], out[1] = memory[:N], second
        options = {"out": tuple(out), **elementwise(case)}
        refuse(ValueError, ["out= share memory"], case, *arguments_of(case), **options)
        assert np.all(memory == 99)


@each_loss
def test_overlap_with_the_weights(case: Case) -> None:
    memory = np.full(2 * N, 0.5, np.float32)
    out: list[Array | None] = [None] * len(case.results)
    out[0] = memory[1 : N + 1]
    options = {"sample_weight": memory[:N], "out": tuple(out), "reduction": "none"}
    refuse(ValueError, ["out= overlaps an input"], case, *arguments_of(case), **options)
    assert np.all(memory == 0.5)


def test_out_in_the_bytes_of_labels_of_another_size() -> None:
    memory = np.zeros(4 * N, np.uint8)
    labels, out = memory[:N], memory.view(np.float32)
    function, logits = fastbce.bce_with_logits_gradient, np.ones(N, np.float32)
    refuse(ValueError, ["out= overlaps an input"], function, logits, labels, out=out)
    assert not memory.any()


def test_an_overlap_that_takes_minutes_to_find_is_refused() -> None:
    memory, shape = np.zeros(8_000_000, np.float32), (39, 38, 58, 47, 40)
    strides = (54662, 10379, 27104, 28272, 57665), (41127, 14749, 7403, 51028, 42891)
    x, out = (
        np.lib.stride_tricks.as_strided(memory[i:], shape, [4 * s for s in some])
        for i, some in zip((0, 5), strides, strict=True)
    )
    with pytest.raises(ValueError, match="out= overlaps an input"):
        fastbce.sigmoid(x, out=out)


def test_neighbours_in_memory_do_not_overlap() -> None:
    """Columns of one array lie between each other without sharing an element."""
    both = np.zeros((N, 2), np.float32)
    both[:, 0] = 1
    fastbce.sigmoid(both[:, 0], out=both[:, 1])
    np.testing.assert_allclose(both[:, 1], 1 / (1 + np.exp(-1)), rtol=1e-6)
    assert np.all(both[:, 0] == 1)


# --- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [np.array("numpy"), np.ones(2), ["numpy"], np.int64(3)], ids=str)
def test_backend_that_is_no_name(name: Any) -> None:
    words = ["set_backend: unknown backend", f"of type {type(name).__name__}", "'numba', 'numpy'"]
    if isinstance(name, np.ndarray):
        words[1] = f"ndarray of shape {name.shape}"
    refuse(ValueError, words, fastbce.set_backend, name)


@pytest.mark.parametrize("name", ["NUMPY", "cupy", "", None, 3])
def test_unknown_backend(name: Any) -> None:
    refuse(ValueError, ["set_backend", repr(name)], fastbce.set_backend, name)
    context = fastbce.use_backend(name)
    refuse(ValueError, ["use_backend", "'numba', 'numpy'"], context.__enter__)


@pytest.mark.parametrize("count", [0, -1])
def test_too_few_threads(count: int) -> None:
    refuse(ValueError, ["at least 1", str(count)], fastbce.set_num_threads, count)


@pytest.mark.parametrize("count", [np.ones(2, int), np.ones(1, int), np.ones(1)], ids=repr)
def test_threads_that_are_an_array(count: Any) -> None:
    words = ["n must be one integer", f"ndarray of shape {count.shape}"]
    refuse(TypeError, words, fastbce.set_num_threads, count)


@pytest.mark.parametrize("count", [1.0, "2", None, True, np.nan, np.float64(2), np.True_])
def test_threads_that_are_no_integer(count: Any) -> None:
    refuse(TypeError, ["integer", type(count).__name__], fastbce.set_num_threads, count)


def test_every_function_works_after_a_refusal() -> None:
    case = BY_NAME["bce_loss"]
    arguments = arguments_of(case)
    (before,) = case(*arguments)
    with pytest.raises(ValueError, match="reduction"):
        case(*arguments, reduction="average")
    (after,) = case(*arguments)
    assert same_bits(before, after)
