"""The linear pass: every layout and dtype against plain formulas in float64."""

from __future__ import annotations

import platform
import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checks import at_night, in_ci, same_bits
from layouts import read_only, unaligned
from linear_pass import TOLERANCE, assert_near, check, draw

import fastbce
from fastbce import linear

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cases import Array

numba_only = pytest.mark.skipif(
    linear.linear_backend().__name__ != "fastbce._engine.linear", reason="looks at compiled kernels"
)

SHAPES = [(1, 1), (3, 130), (37, 33), (5_000, 15), (700, 47), (20, 0)]


@pytest.mark.parametrize(
    ("order", "dtype"), [*product("CF", ["f8"]), ("C", "f4"), in_ci("F", "f4")]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_values(
    shape: tuple[int, int], dtype: str, order: Any, backend: str, rng: np.random.Generator
) -> None:
    X, y, coef = draw(rng, shape, dtype)
    check(np.asarray(X, order=order), y, coef, kind=dtype)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.ci
def test_float64_coefficients_make_float64_arithmetic(
    order: Any, backend: str, rng: np.random.Generator
) -> None:
    X, y, coef = draw(rng, (3_000, 21), "f4")
    check(np.asarray(X, order=order), y, coef.astype(np.float64), kind="f8")


def test_a_list_of_coefficients_follows_x(backend: str, rng: np.random.Generator) -> None:
    X, y, coef = draw(rng, (30, 3), "f4")
    assert fastbce.linear_bce_loss_gradient(X, y, coef.tolist())[1].dtype == np.float32


@pytest.mark.parametrize(
    ("code", "weighted"),
    [
        ("?", False),
        ("q", True),
        # Each combination of dtypes takes seconds to compile.
        *(in_ci(code, False) for code in "Bqd"),
        *(in_ci(code, True) for code in "?f"),
        *(at_night(code, False) for code in "bief"),
        *(at_night(code, True) for code in "bBied"),
    ],
)
def test_labels_and_weights(
    code: str, weighted: bool, backend: str, rng: np.random.Generator
) -> None:
    X, y, coef = draw(rng, (2_000, 9))
    weight = rng.exponential(size=2_000) if weighted else None
    check(X, y.astype(code), coef, weight)


def test_soft_labels(backend: str, rng: np.random.Generator) -> None:
    X, _, coef = draw(rng, (2_000, 9))
    check(X, rng.random(2_000), coef)


def views(X: Array, path: Path) -> dict[str, Array]:
    """Return arrays with the elements of X, in other layouts."""
    n, d = X.shape
    wide = np.full((2 * n, 3 * d), np.nan, X.dtype)
    wide[::2, :d] = X
    spread = np.full((n, 2 * d), np.nan, X.dtype)
    spread[:, ::2] = X
    tall = np.full((n + 5, d), np.nan, X.dtype, order="F")
    tall[5:] = X
    np.save(path / "X.npy", X)
    return {
        "rows apart": wide[::2, :d],
        "columns apart": spread[:, ::2],
        "part of columns": tall[5:],
        "backwards": X[::-1].copy()[::-1],
        "columns backwards": X[:, ::-1].copy()[:, ::-1],
        "read-only": read_only(X),
        "memory-mapped": np.load(path / "X.npy", mmap_mode="r"),
        "foreign byte order": X.astype(X.dtype.newbyteorder()),
        "unaligned": unaligned(X),
    }


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.ci
def test_layouts(dtype: str, backend: str, rng: np.random.Generator, tmp_path: Path) -> None:
    X, y, coef = draw(rng, (10_000, 33), dtype)
    before = X.copy()
    for name, view in views(X, tmp_path).items():
        np.testing.assert_array_equal(view, X, err_msg=name)
        check(view, y, coef, kind=dtype)
    assert same_bits(X, before)
    loss = fastbce.linear_bce_loss_gradient(X, y, coef)[0]
    spread_y, spread_w = np.zeros((2, 2 * len(y)))
    spread_y[::2] = y
    spread_w[::2] = 1
    strided = fastbce.linear_bce_loss_gradient(X, spread_y[::2], coef, sample_weight=spread_w[::2])
    assert strided[0] == pytest.approx(loss, rel=TOLERANCE[dtype])


@pytest.mark.parametrize(("dtype", "result"), [("f2", "f4"), ("i4", "f8"), ("?", "f8")])
def test_other_dtypes_of_x(dtype: str, result: str, backend: str, rng: np.random.Generator) -> None:
    X = rng.integers(0, 2, (300, 5)).astype(dtype)
    y, coef = rng.integers(0, 2, 300), rng.normal(size=5).astype(result)
    check(X, y, coef, kind=result)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(40_001, 5), (9_000, 33), (257, 1_000)])
def test_same_bits_for_any_number_of_threads(
    shape: tuple[int, int], order: Any, threads: Callable[[int], None], rng: np.random.Generator
) -> None:
    X, y, coef = draw(rng, shape, "f4")
    X = np.asarray(X, order=order)
    weight = rng.random(len(y))
    results = []
    for count in (1, 2, 3, 8):
        threads(count)
        loss, grad, slope = fastbce.linear_bce_loss_gradient(X, y, coef, sample_weight=weight)
        few = X[:, :40]
        results.append([loss, grad, slope, fastbce.linear_bce_hessian(few, coef[:40])])
    for result in results[1:]:
        assert all(same_bits(a, b) for a, b in zip(result, results[0], strict=True))


def test_a_row_does_not_depend_on_its_place(rng: np.random.Generator) -> None:
    X, _, coef = draw(rng, (1, 21), "f4")
    y = np.ones(1)
    single = fastbce.linear_bce_loss_gradient(X, y, coef)[0]
    for n in (2, 3, 4, 5, 64):
        repeated = fastbce.linear_bce_loss_gradient(np.repeat(X, n, 0), np.ones(n), coef)[0]
        assert repeated == pytest.approx(single, rel=1e-15)


@numba_only
@pytest.mark.parametrize(("columns", "dtype"), [(21, "f4"), (64, "f8"), (65, "f4")])
def test_a_logit_has_the_same_bits_wherever_its_row_stands(
    columns: int, dtype: str, rng: np.random.Generator
) -> None:
    """Eight short rows are summed at a time, or four, the last of them with rows read again."""
    from numba import njit

    from fastbce._kernels.linear import linear_logits_block

    logits = njit(error_model="numpy", _nrt=False)(  # type: ignore[call-overload]
        linear_logits_block.py_func
    )
    X, _, coef = draw(rng, (23, columns), dtype)
    one, flat, together = coef[0], X.reshape(-1), np.empty(23, dtype)
    logits(flat, columns, 0, None, None, coef, one, together)
    alone = np.empty_like(together)
    for i in range(23):
        logits(flat[i * columns :], columns, 0, None, None, coef, one, alone[i : i + 1])
    assert same_bits(together, alone)
    assert_near(together, X @ coef + one, TOLERANCE[dtype])


@numba_only
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_losses_of_many_blocks(
    dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More blocks are added up in a lane than its product of 1 + exp(-|z|) has room for."""
    from fastbce._engine import linear as engine

    monkeypatch.setattr(engine, "MAX_SPANS", 1)
    monkeypatch.setattr(engine, "MAX_ROWS", 16)
    X, _, coef = draw(rng, (80_007, 2), dtype)
    X[:40_000] *= 0.001  # exp(-|z|) is near 1: its product overflows without logarithms between
    y = (X @ coef > 0).astype(int)
    check(X, y, coef, kind=dtype)


def test_callers_at_once(rng: np.random.Generator) -> None:
    X, y, coef = draw(rng, (30_000, 20), "f4")
    expected = fastbce.linear_bce_loss_gradient(X, y, coef)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(fastbce.linear_bce_loss_gradient, X, y, coef) for _ in range(20)]
        for job in jobs:
            result = job.result()
            assert all(same_bits(a, b) for a, b in zip(result, expected, strict=True))


def test_repeated_samples_are_weights(backend: str, rng: np.random.Generator) -> None:
    X, y, coef = draw(rng, (500, 6))
    count = rng.integers(0, 4, 500)
    weighted = fastbce.linear_bce_loss_gradient(X, y, coef, sample_weight=count)
    repeated = fastbce.linear_bce_loss_gradient(np.repeat(X, count, 0), np.repeat(y, count), coef)
    share = count.sum() / 500
    assert weighted[0] == pytest.approx(repeated[0] * share, rel=1e-13)
    assert_near(weighted[1], repeated[1] * share, 1e-12)


def test_gradient_and_hessian_are_derivatives(backend: str, rng: np.random.Generator) -> None:
    X, y, coef = draw(rng, (400, 3))
    step = 1e-5

    def gradient(theta: Array) -> Array:
        _, grad, slope = fastbce.linear_bce_loss_gradient(X, y, theta[1:], theta[0])
        return np.array([slope, *grad])

    theta = np.array([0.3, *coef])
    units = step * np.eye(4)
    losses = [
        [fastbce.linear_bce_loss_gradient(X, y, t[1:], t[0])[0] for t in (theta + u, theta - u)]
        for u in units
    ]
    assert_near(gradient(theta), [(a - b) / (2 * step) for a, b in losses], 1e-8)
    columns = [(gradient(theta + u) - gradient(theta - u)) / (2 * step) for u in units]
    assert_near(fastbce.linear_bce_hessian(X, theta[1:], theta[0]), np.array(columns), 1e-8)


def test_extreme_logits(backend: str) -> None:
    X = np.array([[1e3], [-1e3], [1e38]], np.float32)
    right = fastbce.linear_bce_loss_gradient(X, np.array([1, 0, 1]), np.ones(1, np.float32))
    assert right[0] == 0
    assert right[1][0] == 0
    wrong = fastbce.linear_bce_loss_gradient(X[:2], np.array([0, 1]), np.ones(1, np.float32))
    assert wrong[0] == 1e3
    assert wrong[1][0] == 1e3


def test_nan_spreads_and_nothing_else_does(backend: str, rng: np.random.Generator) -> None:
    X, y, coef = draw(rng, (50, 4))
    X[7, 2] = np.nan
    loss, grad, slope = fastbce.linear_bce_loss_gradient(X, y, coef)
    assert np.isnan(loss)
    assert np.isnan(slope)
    assert np.isnan(grad).all()
    weighted = fastbce.linear_bce_loss_gradient(np.delete(X, 7, 0), np.delete(y, 7), coef)
    assert np.isfinite(weighted[0])


def test_out(backend: str, rng: np.random.Generator) -> None:
    X, y, coef = draw(rng, (50, 4), "f4")
    out = np.empty(4, np.float32)
    expected = fastbce.linear_bce_loss_gradient(X, y, coef)
    result = fastbce.linear_bce_loss_gradient(X, y, coef, out=out)
    assert result[1] is out
    assert same_bits(out, expected[1])
    fastbce.linear_bce_loss_gradient(X, y, coef, out=coef)
    assert same_bits(coef, out)


def test_nothing_as_long_as_x_is_allocated(rng: np.random.Generator) -> None:
    X, y, coef = draw(rng, (400_000, 4), "f4")
    for A in (X, np.asfortranarray(X)):
        fastbce.linear_bce_loss_gradient(A, y, coef)
        tracemalloc.start()
        fastbce.linear_bce_loss_gradient(A, y, coef)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 400_000


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"X": np.ones(4)}, ValueError, "reshape"),
        ({"X": np.ones((0, 2)), "y_true": np.ones(0)}, ValueError, "no sample"),
        ({"X": np.ones((4, 2), complex)}, TypeError, "complex"),
        ({"y_true": np.ones((4, 1))}, ValueError, "y_true.ravel"),
        ({"y_true": np.ones(3)}, ValueError, r"\(3,\)"),
        ({"coef": np.ones((2, 1))}, ValueError, "coef.ravel"),
        ({"coef": np.ones(3)}, ValueError, r"\(2,\)"),
        ({"sample_weight": np.ones(3)}, ValueError, "broadcast"),
        ({"sample_weight": -np.ones(4)}, ValueError, "negative"),
        ({"out": np.ones(3)}, ValueError, "out="),
        ({"out": np.ones(2, np.int64)}, TypeError, "dtype"),
    ],
)
def test_errors(change: dict[str, Any], kind: type[Exception], text: str) -> None:
    arguments: dict[str, Any] = {"X": np.ones((4, 2)), "y_true": np.ones(4), "coef": np.ones(2)}
    with pytest.raises(kind, match=text):
        fastbce.linear_bce_loss_gradient(**arguments | change)


def test_other_forms_of_out(rng: np.random.Generator) -> None:
    X, y, coef = draw(rng, (50, 3), "f8")
    expected = fastbce.linear_bce_loss_gradient(X, y, coef)[1]
    target = np.zeros(3)
    for out in (target, (target,), target.view(np.memmap)):
        target[:] = 0
        given = out[0] if isinstance(out, tuple) else out
        assert fastbce.linear_bce_loss_gradient(X, y, coef, out=out)[1] is given  # type: ignore[arg-type]
        assert same_bits(target, expected)
    none: Any = (None,)
    assert same_bits(fastbce.linear_bce_loss_gradient(X, y, coef, out=none)[1], expected)


def test_out_may_not_overlap_x() -> None:
    X = np.ones((4, 2))
    with pytest.raises(ValueError, match="overlaps"):
        fastbce.linear_bce_loss_gradient(X, np.ones(4), np.ones(2), out=X[1])


def test_without_compiled_code_numpy_computes(
    python: Callable[..., Any], rng: np.random.Generator
) -> None:
    script = """
import numpy as np, fastbce
print(fastbce.linear_bce_loss_gradient(np.ones((3, 1)), [0, 1, 1], [0.0])[0])
"""
    done = python(script, NUMBA_DISABLE_JIT="1", FASTBCE_BACKEND="numba")
    assert float(done.stdout) == pytest.approx(np.log(2))


@numba_only
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 assembly")
@pytest.mark.parametrize(
    ("name", "centered", "dtype"),
    [
        ("linear_logits_block", True, "f4"),
        ("linear_gradient_block", False, "f8"),
        ("gram_block", False, "f4"),
        in_ci("linear_logits_block", False, "f8"),
        in_ci("linear_gradient_block", True, "f4"),
        in_ci("linear_logits_block by column", True, "f8"),
        in_ci("linear_gradient_block by column", True, "f4"),
        in_ci("gram_block", False, "f8"),
        at_night("linear_logits_block", False, "f4"),
        at_night("linear_logits_block", True, "f8"),
        at_night("linear_logits_block by column", True, "f4"),
        at_night("linear_gradient_block", True, "f8"),
        at_night("linear_gradient_block", False, "f4"),
        at_night("linear_gradient_block by column", True, "f8"),
    ],
)
def test_kernels_are_packed(name: str, centered: bool, dtype: str) -> None:
    from numba import njit

    from fastbce._kernels import gram, linear

    kernels = {**vars(gram), **vars(linear)}
    function = njit(error_model="numpy", _nrt=False)(  # type: ignore[call-overload]
        kernels[name.removesuffix(" by column")].py_func
    )
    x, one = np.ones(64, dtype), np.dtype(dtype).type(1)
    frame = np.ones((2, 32), dtype) if centered else None
    arguments = {
        "linear_logits_block": (x, 32, 64, None, frame, x[:32], one, x[:2].copy()),
        "linear_gradient_block": (x, 32, 64, None, frame, x[:2], np.zeros(32)),
        "linear_logits_block by column": (x, 32, 0, True, frame, x[:2], one, x[:32].copy()),
        "linear_gradient_block by column": (x, 32, 0, True, frame, x[:32], np.zeros(2)),
        "gram_block": (x, x.copy(), 2, 32, np.zeros(32 * 32)),
    }[name]
    function(*arguments)
    (assembly,) = function.inspect_asm().values()
    fused = re.findall(r"vfmadd\w+p[sd]\s.*%([yz])mm", assembly)
    assert len(fused) >= 4
    # The next block comes into the second-level cache meanwhile.
    assert ("prefetcht1" in assembly) == (name in ("linear_logits_block", "linear_gradient_block"))
    # A call for each few rows took as long as their arithmetic, and so did reference counts.
    called = set(re.findall(r"\$(_ZN7fastbce\w+)", assembly))
    assert not {symbol for symbol in called if name.partition(" ")[0] not in symbol}
    assert "NRT_decref" not in assembly
