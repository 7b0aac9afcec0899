"""What counts as an array, in which layouts, where results go, and that inputs stay as they are."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cases import BY_NAME, Array, Case
from checks import (
    FAMILIES,
    REDUCTIONS,
    all_dtypes,
    assert_right,
    every_case,
    every_case_at_night,
    every_loss,
    options_for,
    same_bits,
)
from layouts import read_only, strided, unaligned

import fastbce

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# --- layouts ------------------------------------------------------------------------------------


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "fortran": np.asfortranarray,
    "strided": strided,
    "backwards": lambda a: np.ascontiguousarray(a[::-1, :, ::-1])[::-1, :, ::-1],
    "transposed": lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0),
    "read-only": read_only,
    "foreign byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": unaligned,
    "sliced rows": lambda a: np.concatenate([a, a])[: len(a)],
    "read-only fortran": lambda a: read_only(a.T).T,
}


@every_case
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mixed", [False, True], ids=["throughout", "first argument only"])
def test_layout_does_not_change_a_bit(
    case: Case, layout: str, mixed: bool, rng: np.random.Generator
) -> None:
    plain = case.draw(rng, (40, 30, 20), np.float32)
    change = LAYOUTS[layout]
    changed = tuple(a if mixed and i else change(a) for i, a in enumerate(plain))
    for reduction in REDUCTIONS if case.is_loss else ("none",):
        options = options_for(case, reduction)
        expected, results = case(*plain, **options), case(*changed, **options)
        for actual, value in zip(results, expected, strict=True):
            assert same_bits(np.asarray(actual, order="C"), value)


@every_case
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_on_the_numpy_backend(case: Case, layout: str, rng: np.random.Generator) -> None:
    changed = tuple(LAYOUTS[layout](a) for a in case.draw(rng, (4, 3, 2), np.float64))
    with fastbce.use_backend("numpy"):
        assert_right(case, changed, "numpy")


@every_case
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 1), (2, 3, 4), (2, 3, 1, 5)], ids=str)
def test_shapes(case: Case, shape: tuple[int, ...], backend: str, rng: np.random.Generator) -> None:
    assert_right(case, case.draw(rng, shape, np.float64), backend)


@every_case
def test_scalars_give_scalars(case: Case, backend: str) -> None:
    for result in case(*[0.5, 1][: case.arity]):
        assert type(result) is np.float64


@every_loss
def test_mean_of_scalars(case: Case, backend: str) -> None:
    for actual, value in zip(case(0.25, 1), case(0.25, 1, reduction="none"), strict=True):
        assert actual == pytest.approx(value, rel=1e-12)


@every_case
def test_strided_call_equals_contiguous_one_for_large_arrays(
    case: Case, rng: np.random.Generator
) -> None:
    plain = case.draw(rng, (300, 1001), np.float32)
    changed = tuple(strided(a) for a in plain)
    for actual, value in zip(case(*changed), case(*plain), strict=True):
        assert same_bits(actual, value)


# --- what counts as an array --------------------------------------------------------------------


class HasArray:
    def __init__(self, values: Array) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self.values


class HasDLPack:
    def __init__(self, values: Array) -> None:
        self.values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


class Subclass(np.ndarray[Any, np.dtype[Any]]):
    pass


WRAPPERS: dict[str, Callable[[Array], Any]] = {
    "list": lambda a: a.tolist(),
    "tuple of tuples": lambda a: tuple(map(tuple, a.tolist())),
    "__array__": HasArray,
    "__dlpack__": HasDLPack,
    "subclass": lambda a: a.view(Subclass),
    "memoryview": lambda a: a.data,
}


@every_case
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_array_likes(case: Case, wrapper: str, backend: str, rng: np.random.Generator) -> None:
    arguments = case.draw(rng, (6, 4), np.float64)
    results = case(*(WRAPPERS[wrapper](a) for a in arguments))
    for actual, value in zip(results, case(*arguments), strict=True):
        assert type(actual) in (np.ndarray, np.float64)
        assert same_bits(actual, value)


@every_case
def test_memory_mapped_input(
    case: Case, backend: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    arguments = case.draw(rng, 5000, np.float32)
    mapped = []
    for i, a in enumerate(arguments):
        np.save(tmp_path / f"{i}.npy", a)
        mapped.append(np.load(tmp_path / f"{i}.npy", mmap_mode="r"))
    for actual, value in zip(case(*mapped), case(*arguments), strict=True):
        assert same_bits(actual, value)


# --- out= ---------------------------------------------------------------------------------------


@every_case
@all_dtypes
@pytest.mark.parametrize("layout", ["plain", "fortran", "strided", "unaligned"])
def test_out(case: Case, dtype: Any, layout: str, backend: str, rng: np.random.Generator) -> None:
    arguments = case.draw(rng, (30, 40), dtype)
    options = options_for(case)
    expected = case(*arguments, **options)
    change = LAYOUTS.get(layout, np.copy)
    out = tuple(change(np.full((30, 40), 99, dtype)) for _ in case.results)
    results = case(*arguments, out=out if len(out) > 1 else out[0], **options)
    for actual, target, value in zip(results, out, expected, strict=True):
        assert actual is target
        assert same_bits(target, value)


@every_loss
@pytest.mark.parametrize("reduction", ["mean", "samples"])
def test_out_of_reductions(
    case: Case, reduction: str, backend: str, rng: np.random.Generator
) -> None:
    arguments = case.draw(rng, (30, 40), np.float32)
    expected = case(*arguments, reduction=reduction)
    out = tuple(np.empty_like(value) for value in expected if np.ndim(value))
    if not out:
        return
    results = case(*arguments, reduction=reduction, out=out)
    arrays = [value for value in results if np.ndim(value)]
    assert all(a is b for a, b in zip(arrays, out, strict=True))
    for actual, value in zip(results, expected, strict=True):
        assert same_bits(actual, value)


@every_loss
def test_none_in_out_allocates(case: Case, backend: str, rng: np.random.Generator) -> None:
    arguments = case.draw(rng, (3, 4), np.float32)
    given = np.empty((3, 4), np.float32)
    out = (*(None for _ in case.results[1:]), given)
    results = case(*arguments, reduction="none", out=out)
    assert results[-1] is given
    for actual, value in zip(results, case(*arguments, reduction="none"), strict=True):
        assert same_bits(actual, value)


@every_case_at_night
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("layout", ["plain", "fortran", "strided", "backwards"])
@pytest.mark.ci
def test_in_place(
    case: Case, position: int, layout: str, backend: str, rng: np.random.Generator
) -> None:
    plain = case.draw(rng, (60, 50, 20), np.float32)
    if position >= len(plain):
        return
    options = options_for(case)
    expected = case(*plain, **options)
    change = LAYOUTS.get(layout, np.copy)
    for place in range(len(case.results)):
        arguments = tuple(change(a) for a in plain)
        out: list[Array | None] = [None] * len(case.results)
        out[place] = arguments[position]
        results = case(*arguments, out=tuple(out), **options)
        assert results[place] is arguments[position]
        for actual, value in zip(results, expected, strict=True):
            # The NumPy backend's exp may round differently for another stride.
            if backend == "numba" or layout == "plain":
                assert same_bits(np.asarray(actual, order="C"), value)
            else:
                np.testing.assert_allclose(actual, value, rtol=1e-6)


@pytest.mark.parametrize("backwards", [False, True])
def test_in_place_over_the_weights(backwards: bool, backend: str, rng: np.random.Generator) -> None:
    case = BY_NAME["bce_with_logits_gradient"]
    arguments = case.draw(rng, 3000, np.float32)
    weight = rng.random(3000).astype(np.float32)
    (expected,) = case(*arguments, sample_weight=weight, reduction="none")
    step = -1 if backwards else 1
    target = weight[::step].copy()[::step]
    (result,) = case(*arguments, sample_weight=target, reduction="none", out=target)
    assert result is target
    assert same_bits(target, expected)


def test_zero_dimensional_out(backend: str) -> None:
    out = np.empty(())
    assert fastbce.sigmoid(0.0, out=out) is out
    assert out == 0.5


# --- inputs -------------------------------------------------------------------------------------


def _digest(*arrays: Array) -> list[str]:
    return [hashlib.sha256(a.tobytes()).hexdigest() for a in arrays]


@every_case
@pytest.mark.parametrize("layout", ["plain", "strided", "fortran"])
def test_inputs_are_not_modified(
    case: Case, layout: str, backend: str, rng: np.random.Generator
) -> None:
    change = LAYOUTS.get(layout, np.copy)
    arguments = tuple(change(a) for a in case.draw(rng, (30, 40), np.float32))
    weight = change(rng.random((30, 40)).astype(np.float32))
    before = _digest(*arguments, weight)
    for reduction in REDUCTIONS if case.is_loss else ("none",):
        options = options_for(case, reduction)
        case(*arguments, **options)
        if case in FAMILIES:
            case(*arguments, sample_weight=weight, **options)
    assert _digest(*arguments, weight) == before


@every_case
def test_results_are_new_arrays(case: Case, backend: str, rng: np.random.Generator) -> None:
    arguments = case.draw(rng, 100, np.float32)
    options = options_for(case)
    first = case(*arguments, **options)
    kept = _digest(*first)
    second = case(*case.draw(rng, 100, np.float32), **options)
    assert _digest(*first) == kept
    assert not any(np.shares_memory(a, b) for a in first for b in (*second, *arguments))


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [np.float32(0.25), np.array(0.25), np.array([0.25]), Fraction(1, 4)], ids=repr
)
def test_other_ways_to_give_one_number(value: Any) -> None:
    p, y = np.array([0.1, 0.9]), np.array([0, 1])
    assert fastbce.bce_loss(p, y, eps=value) == fastbce.bce_loss(p, y, eps=0.25)
    assert fastbce.bce_loss(p, y, label_smoothing=np.zeros(1)[0]) == fastbce.bce_loss(p, y)
    X = np.eye(2)
    given = fastbce.linear_bce_loss_gradient(X, y, p, value)
    expected = fastbce.linear_bce_loss_gradient(X, y, p, 0.25)
    assert all(same_bits(a, b) for a, b in zip(given, expected, strict=True))
    hessians = [fastbce.linear_bce_hessian(X, p, each) for each in (value, 0.25)]
    assert same_bits(*hessians)
