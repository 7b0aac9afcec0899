"""Functions for loops of users' own: the values of the arrays' functions, in packed loops."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from assembly import LIBM, PACKED, SCALAR, innermost_loops
from checks import in_ci

import fastbce

numba = pytest.importorskip("numba", reason="the functions are for its loops")
if numba.config.DISABLE_JIT:
    pytest.skip("loops are compiled", allow_module_level=True)

from fastbce import numba as ours  # noqa: E402, RUF100

if TYPE_CHECKING:
    from collections.abc import Callable

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30, -1e-30, 5e-324, -100.0, 17.0]


def scores(rng: np.random.Generator, dtype: Any) -> Any:
    return np.concatenate([SPECIAL, rng.normal(size=500) * 20, rng.normal(size=499)]).astype(dtype)


def probabilities(rng: np.random.Generator, dtype: Any) -> Any:
    edges = [0.0, 1.0, np.nan, 1e-9, 1 - 1e-9, 0.5, -0.5, 1.5]
    return np.concatenate([edges, rng.uniform(size=503)]).astype(dtype)


def none(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arrays: function(*arrays, reduction="none")


def hessian(z: Any) -> Any:
    return fastbce.bce_with_logits_gradient_hessian(z, np.zeros_like(z), reduction="none")[1]


# Each function's own name: what the arrays' functions make of the same, and of what kind it is.
FEW = ("sigmoid", "bce_with_logits_gradient")
FUNCTIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "sigmoid": (fastbce.sigmoid, "z"),
    "log_sigmoid": (fastbce.log_sigmoid, "z"),
    "softplus": (fastbce.softplus, "z"),
    "logit": (fastbce.logit, "p"),
    "bce": (none(fastbce.bce_loss), "py"),
    "bce_gradient": (none(fastbce.bce_gradient), "py"),
    "bce_with_logits": (none(fastbce.bce_with_logits_loss), "zy"),
    "bce_with_logits_gradient": (none(fastbce.bce_with_logits_gradient), "zy"),
    "bce_with_logits_hessian": (hessian, "z"),
}


def loops(name: str) -> tuple[Any, Any]:
    """Return a user's loop, and one with threads."""
    function = getattr(ours, name)
    if len(FUNCTIONS[name][1]) == 1:

        def loop(x: Any, out: Any) -> None:
            for i in range(x.size):
                out[i] = function(x[i])

        def shared(x: Any, out: Any) -> None:
            for i in numba.prange(x.size):
                out[i] = 2 * function(x[i])

        return numba.njit(loop), numba.njit(parallel=True)(shared)

    def loop_of_two(x: Any, y: Any, out: Any) -> None:
        for i in range(x.size):
            out[i] = function(x[i], y[i])

    def shared_of_two(x: Any, y: Any, out: Any) -> None:
        for i in numba.prange(x.size):
            out[i] = 2 * function(x[i], y[i])

    return numba.njit(loop_of_two), numba.njit(parallel=True)(shared_of_two)


def test_every_function_is_tested() -> None:
    assert {*FUNCTIONS, "stamp"} == set(ours.__all__)


@pytest.mark.parametrize("name", [*FEW, *(in_ci(name) for name in FUNCTIONS if name not in FEW)])
def test_loops(name: str, rng: np.random.Generator) -> None:
    """In the loops of users: the same bits, vector registers, and nothing of libm."""
    arrays_function, kind = FUNCTIONS[name]
    loop, _ = loops(name)
    for dtype in (np.float32, np.float64):
        x = (scores if kind[0] == "z" else probabilities)(rng, dtype)
        labels = [rng.integers(0, 2, x.size).astype(dtype), rng.uniform(size=x.size).astype(dtype)]
        for y in labels if len(kind) == 2 else [None]:
            arguments = (x,) if y is None else (x, y)
            out = np.empty_like(x)
            loop(*arguments, out)
            with np.errstate(all="ignore"):
                expected = arrays_function(*arguments)
            if name == "bce":  # two logarithms, where the arrays' has one for hard labels
                np.testing.assert_allclose(out, expected, rtol=4 * float(np.finfo(dtype).eps))
            else:
                np.testing.assert_array_equal(out, expected)
    for assembly in loop.inspect_asm().values():
        found = [found for found in innermost_loops(assembly) if found.count(PACKED)]
        assert any(not found.count(SCALAR) for found in found), "no packed loop"
        code = [line for line in assembly.splitlines() if not line.lstrip().startswith(".asci")]
        assert not [line for line in code if LIBM.search(line)]


@pytest.mark.parametrize("name", FEW)
def test_loops_with_threads(name: str, rng: np.random.Generator) -> None:
    arrays_function, kind = FUNCTIONS[name]
    _, shared = loops(name)
    x = scores(rng, np.float32)
    arguments = (x,) if len(kind) == 1 else (x, rng.uniform(size=x.size).astype(np.float32))
    out = np.empty_like(x)
    shared(*arguments, out)
    np.testing.assert_array_equal(out, 2 * arrays_function(*arguments))


def test_types() -> None:
    """Numbers that are no floats stand for float64, and labels follow the first argument."""
    z, y = np.float32(0.5), np.int8(1)
    for value, dtype in ((z, np.float32), (0.5, np.float64), (2, np.float64), (True, np.float64)):
        # What a compiled function returns to Python has lost its type: let it fill an array.
        kind = numba.typeof(value)
        signature = numba.njit(lambda z, y: ours.bce_with_logits(z, y))
        signature.compile((kind, numba.typeof(y)))
        (overload,) = signature.overloads.values()
        assert overload.signature.return_type == numba.from_dtype(np.dtype(dtype))
        expected = fastbce.bce_with_logits_loss(np.array([value], dtype), np.array([y]))
        assert signature(value, y) == expected


@pytest.mark.ci
def test_the_clip_bound_is_kept_off_the_ends() -> None:
    for dtype in (np.float32, np.float64):
        for p, y in ((0.0, 1), (1.0, 0)):
            assert ours.bce(dtype(p), y, 1e-3) == pytest.approx(-np.log(1e-3), rel=1e-4)
            for eps in (1e-18, 0.0):
                expected = fastbce.bce_loss(np.array([p], dtype), [y], eps=max(eps, 5e-324))
                assert ours.bce(dtype(p), y, eps) == pytest.approx(expected, rel=1e-6)


@pytest.mark.ci
def test_a_new_version_is_another_stamp(
    tmp_path: Path, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """A function that is kept on disk lies in the folder that the stamp names."""
    script = tmp_path / "mine.py"
    script.write_text(
        f"""
import numba
import fastbce.numba
numba.config.CACHE_DIR = r"{tmp_path}/" + fastbce.numba.stamp

@numba.njit(cache=True)
def mine(x):
    return fastbce.numba.sigmoid(x)

print(mine(0.0))
""",
        encoding="utf-8",
    )
    run = f"import runpy; runpy.run_path(r'{script}', run_name='__main__')"
    assert python(run).stdout.split() == ["0.5"]
    assert isinstance(ours.stamp, str)
    assert list((tmp_path / ours.stamp).rglob("*.nbi"))
