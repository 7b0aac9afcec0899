"""Calls drawn at random: each ends in a documented error or in the oracle's answer.

Both backends get the same call, and must refuse it with the same exception or agree in value, shape
and dtype. Inputs stay as they were, and after an error so does ``out=``. The slow run draws 10^5
calls: ``python -m pytest -m slow tests/elementwise/test_fuzz.py``.
"""

from __future__ import annotations

import decimal
import fractions
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cases import BY_NAME, CASES, Case
from checks import FAMILIES, REDUCTIONS
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from layouts import read_only, strided, unaligned

import fastbce

if TYPE_CHECKING:
    from cases import Array

DOCUMENTED = (TypeError, ValueError)
FEW = (BY_NAME["sigmoid"], BY_NAME["sigmoid_backward"], *FAMILIES)
ALL = CASES
SHAPES = ((), (0,), (1,), (17,), (300,), (3, 1), (1, 3), (3, 0), (20, 31), (2, 3, 4))
FLOATS = ("f2", "f4", "f8", ">f4", ">f8")
FEW_LABELS = ("?", "f4", "f8")
ALL_LABELS = ("?", "i1", "u1", "i2", ">u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">f8")
SPECIAL = (0.0, -0.0, 1.0, 1e-7, 0.5, -1.0, 37.0, -88.0, 104.0, -746.0, 1e-45, np.nan, np.inf)
SPECIAL_LABELS = (0.0, -0.0, 1.0, 0.5, -1.0, 2.0, 1e-45, np.nan)
TOLERANCE = {2: 4e-3, 4: 2e-5, 8: 1e-11}


class Hostile:
    """Fails in its own way."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise RuntimeError("not today")


class Liar:
    """Promises an array and gives something else."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return "nothing"


class BadCapsule:
    """Speaks DLPack badly."""

    def __dlpack__(self, **options: Any) -> Any:
        return 3

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


WEIRD = (
    None,
    "0.5",
    b"\0\0\0\0",
    [[1.0], [1.0, 2.0]],
    {"a": 1},
    {1.0, 2.0},
    1j,
    Hostile(),
    Liar(),
    BadCapsule(),
    np.array([1, None]),
    np.array(["a"]),
    np.zeros(2, "M8[s]"),
    np.zeros(2, [("a", "f4")]),
    np.zeros(2, "c8"),
    np.zeros(2, np.longdouble),
    np.ma.array([1.0, 2.0], mask=[False, True]),
    10**400,
    [fractions.Fraction(1, 3)],
    decimal.Decimal("0.3"),
    lambda: 0,
    True,
    range(3),
    memoryview(b"abc"),
    [0.5, 1, True],
)


def layout(array: Array, how: str) -> Array:
    """Return an array of the same elements, laid out differently."""
    if how == "fortran":
        return np.asfortranarray(array)
    if how == "backwards" and array.ndim:
        return array[::-1].copy()[::-1]
    if how == "strided" and array.ndim:
        return strided(array)
    if how == "read-only":
        return read_only(array)
    if how == "unaligned" and array.size:
        return unaligned(array)
    return array


layouts = st.sampled_from(
    ["plain", "plain", "fortran", "backwards", "strided", "read-only", "unaligned"]
)


@st.composite
def values(
    draw: st.DrawFn,
    shape: tuple[int, ...],
    dtypes: tuple[str, ...],
    low: float,
    high: float,
    special: tuple[float, ...] = SPECIAL,
) -> Array:
    """Draw an array of numbers between two limits, with a few special values."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    numbers = np.asarray(rng.uniform(low, high, shape))
    if dtype.kind == "f" and numbers.size and draw(st.booleans()):
        for place in range(draw(st.integers(1, 3))):
            numbers.flat[(place * 7919) % numbers.size] = draw(st.sampled_from(special))
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = numbers if dtype.kind == "f" else numbers.round()
        return layout(np.asarray(rounded.astype(dtype)), draw(layouts))


@st.composite
def outputs(draw: st.DrawFn, case: Case, shape: tuple[int, ...], first: Any) -> Any:
    """Draw what is passed as ``out=``: right or wrong."""
    dtype = first.dtype.newbyteorder("=") if isinstance(first, np.ndarray) else np.dtype("f4")

    def one() -> Any:
        kind = draw(st.sampled_from(["right"] * 6 + ["none", "input", "wrong", "shape", "list"]))
        if kind == "right":
            array = np.full(shape, 7, dtype if dtype.kind == "f" else "f8")
            how = draw(st.sampled_from(["plain", "fortran", "strided"]))
            return layout(array, how)
        others = {
            "none": None,
            "input": first,
            "wrong": np.full(shape, 7, "i4"),
            "shape": np.full((2, *shape), 7, "f4"),
            "list": [0.0],
        }
        return others[kind]

    many = tuple(one() for _ in range(draw(st.sampled_from([1, 2, 3, len(case.results)]))))
    return many[0] if len(many) == 1 and draw(st.booleans()) else many


@st.composite
def calls(
    draw: st.DrawFn, cases: tuple[Case, ...], labels: tuple[str, ...]
) -> tuple[Case, list[Any], dict[str, Any]]:
    """Draw a function, its arguments and its options."""
    case = draw(st.sampled_from(cases))
    shape = draw(st.sampled_from(SHAPES))
    low, high = (-0.1, 1.1) if case.kind in ("clipped", "sigmoid_backward", "logit") else (-30, 30)
    arguments: list[Any] = [draw(values(shape, FLOATS, low, high))]
    if case.arity == 2:
        other = shape if draw(st.integers(0, 9)) else draw(st.sampled_from(SHAPES))
        dtypes = labels if case.is_loss else FLOATS
        arguments.append(
            draw(values(other, dtypes, 0, 1, SPECIAL_LABELS if case.is_loss else SPECIAL))
        )
    if draw(st.integers(0, 7)) == 0:
        arguments[draw(st.integers(0, len(arguments) - 1))] = draw(st.sampled_from(WEIRD))
    options: dict[str, Any] = {}
    if draw(st.integers(0, 3)) == 0:
        options["out"] = draw(outputs(case, shape, arguments[0]))
    if case.is_loss:
        if draw(st.integers(0, 1)):
            options["reduction"] = draw(st.sampled_from([*REDUCTIONS, *REDUCTIONS, "all", 3]))
        if draw(st.integers(0, 3)) == 0:
            wide = draw(st.sampled_from([shape, shape[-1:], (), (5,)]))
            options["sample_weight"] = draw(
                st.one_of(values(wide, ("f4", "f8", "i4"), 0, 3), st.sampled_from(WEIRD))
            )
        if draw(st.integers(0, 7)) == 0:
            options["check_labels"] = True
        if case.kind == "clipped" and draw(st.integers(0, 3)) == 0:
            options["eps"] = draw(st.sampled_from([1e-7, 1e-3, 1e-30, 0, 0.5, np.nan, "x", None]))
    return case, arguments, options


def copied(value: Any, memo: dict[int, Any]) -> Any:
    """Copy arrays with their layout, one that is met twice once."""
    if isinstance(value, tuple):
        return tuple(copied(each, memo) for each in value)
    if type(value) is not np.ndarray:
        return value
    if id(value) not in memo:
        twin = np.empty_like(value, subok=False)
        twin[...] = value
        twin.flags.writeable = value.flags.writeable
        memo[id(value)] = twin
    return memo[id(value)]


def arrays_of(*things: Any) -> list[Array]:
    found: list[Array] = []
    for thing in things:
        if isinstance(thing, tuple):
            found += arrays_of(*thing)
        elif type(thing) is np.ndarray and thing.dtype.kind != "O":
            found.append(thing)
    return found


def attempt(backend: str, case: Case, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Call; return the results or the documented error, and check what must not have changed."""
    given_out = arrays_of(options.get("out"))
    inputs = arrays_of(*arguments, options.get("sample_weight"))
    before = [(a, a.tobytes()) for a in inputs if not any(a is o for o in given_out)]
    outs = [(a, a.tobytes()) for a in given_out]
    try:
        with fastbce.use_backend(backend):
            answer: Any = case(*arguments, **options)
    except DOCUMENTED as error:
        answer = type(error) if str(error) else None
        if "must lie in [0, 1]" not in str(error):  # labels are looked at on the way
            assert all(a.tobytes() == content for a, content in outs), "written before the error"
    assert all(a.tobytes() == content for a, content in before), "an input was changed"
    return answer


def computed_in(scores: Array) -> Any:
    """Return the machine limits of the dtype that a function of these scores computes in."""
    return np.finfo(np.float32 if scores.dtype.str[1:] in ("f2", "f4") else np.float64)


def rounding_of_a_sum(case: Case, arguments: list[Any], options: dict[str, Any]) -> float:
    """Return the absolute error of a loss's sum or mean: docs/accuracy.md, Sums."""
    reduction = options.get("reduction", "mean")
    if options.get("sample_weight") is not None or reduction not in ("mean", "sum"):
        return 0.0
    scores = np.asarray(arguments[0])
    least = 16 * float(computed_in(scores).smallest_subnormal)
    return (2e-16 if case.kind == "clipped" else least) * (scores.size if reduction == "sum" else 1)


def rounding_of_terms(case: Case, arguments: list[Any], options: dict[str, Any]) -> float:
    """Return the absolute error of a gradient of logits: 1 ULP of 1, as its terms may cancel."""
    if case.kind != "logits":
        return 0.0
    scores = np.asarray(arguments[0])
    given_weight = options.get("sample_weight")
    weight = np.abs(np.asarray(1.0 if given_weight is None else given_weight, np.float64))
    largest = float(weight[np.isfinite(weight)].max(initial=0))
    divisors = {"mean": scores.size, "samples": scores.shape[-1] if scores.ndim else 1}
    divisor = divisors.get(options.get("reduction", "mean"), 1)
    return float(computed_in(scores).eps) * largest / max(divisor, 1)


def agree(
    case: Case, arguments: list[Any], options: dict[str, Any], ours: Any, oracle: Any
) -> None:
    if isinstance(ours, type) or isinstance(oracle, type):
        assert ours is oracle
        return
    absolute = {}
    if case.is_loss:
        absolute["loss"] = rounding_of_a_sum(case, arguments, options)
        absolute["gradient"] = rounding_of_terms(case, arguments, options)
    for name, a, b in zip(case.results, ours, oracle, strict=True):
        assert (np.shape(a), a.dtype) == (np.shape(b), b.dtype)
        wide, exact = np.asarray(a, np.float64), np.asarray(b, np.float64)
        finite = np.abs(exact[np.isfinite(exact)])
        tolerance = TOLERANCE[a.dtype.itemsize]
        scale = tolerance * float(finite.max(initial=0)) + absolute.get(name, 0.0)
        np.testing.assert_allclose(wide, exact, rtol=tolerance, atol=scale, err_msg=case.name)


def check(call: tuple[Case, list[Any], dict[str, Any]]) -> None:
    case, arguments, options = call
    memo: dict[int, Any] = {}
    again = [copied(a, memo) for a in arguments]
    options_again = {name: copied(value, memo) for name, value in options.items()}
    oracle = attempt("numpy", case, again, options_again)
    agree(case, arguments, options, attempt("numba", case, arguments, options), oracle)


@given(calls(FEW, FEW_LABELS))
@settings(max_examples=600)
@pytest.mark.ci
def test_random_calls(call: tuple[Case, list[Any], dict[str, Any]]) -> None:
    check(call)


@pytest.mark.slow
@pytest.mark.parametrize("piece", range(10))
def test_a_hundred_thousand_random_calls(piece: int) -> None:
    """Ten pieces, each with draws of its own: one piece can be run again by itself."""
    ten_thousand = settings(max_examples=10_000)(given(calls(ALL, ALL_LABELS))(check))
    seed(piece)(ten_thousand)()
