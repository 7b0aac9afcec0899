"""Short calls without options: what computes them is prepared once, and agrees with other calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CASES, Array, Case
from checks import both_dtypes, same_bits

import fastbce
from fastbce import _evaluate
from fastbce._engine import elementwise as engine
from fastbce._kernels.reductions import STRIP
from fastbce._operations import OPERATIONS

COMMON = [case for case in CASES if OPERATIONS[case.name].common]
common = pytest.mark.parametrize("case", COMMON, ids=lambda case: case.name)
F4 = np.dtype(np.float32)


@both_dtypes
@common
def test_the_short_way_gives_the_same_bits(case: Case, dtype: Any) -> None:
    rng = np.random.default_rng(5)
    longest = engine.SHORT // np.dtype(dtype).itemsize - 1
    for shape in ((1,), (1, 1), (4, 3, 2), (STRIP + 1,), (longest,), (longest + 1, 1)):
        arrays = case.draw(rng, shape, dtype)
        if case.is_loss:
            other = case(*arrays, divisor="elements")
        else:
            locked = [a.copy() for a in arrays]
            for a in locked:
                a.flags.writeable = False
            other = case(*locked)
        for found, expected in zip(case(*arrays), other, strict=True):
            assert same_bits(found, expected), shape


@both_dtypes
@common
def test_what_is_written_is_new_every_time(case: Case, dtype: Any) -> None:
    rng = np.random.default_rng(6)
    first, second = (case.draw(rng, (5, 2), dtype) for _ in range(2))
    before = case(*first)
    kept = [np.array(result) for result in before]
    case(*second)
    assert all(same_bits(a, b) for a, b in zip(before, kept, strict=True))


def test_which_calls_are_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise LookupError("not prepared")

    monkeypatch.setattr(_evaluate, "_evaluate", fail)
    p, y = np.full(9, 0.5, F4), np.ones(9, F4)
    for loss in (fastbce.bce_loss, fastbce.bce_with_logits_loss):
        assert np.isclose(loss(p, p), loss(p.astype(float), p))
        others: list[tuple[tuple[Array, ...], dict[str, Any]]] = [
            ((p, y.astype(int)), {}),
            ((p[:0], y[:0]), {}),
            ((p[::2], y[::2]), {}),
            ((p, y), {"mask": y > 0}),
            ((p, y), {"check_labels": True}),
            ((p, y), {"reduction": "sum"}),
            ((p, y), {"sample_weight": y}),
        ]
        for arguments, options in others:
            with pytest.raises(LookupError):
                loss(*arguments, **options)
        with fastbce.use_backend("numpy"), pytest.raises(LookupError):
            loss(p, y)


def test_errors_come_every_time() -> None:
    p, y = np.full(3, 0.25, F4), np.ones(3, F4)
    fastbce.bce_loss(p, y)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"eps must lie strictly between 0 and 0\.5"):
            fastbce.bce_loss(p, y, eps=0.5)
        with pytest.raises(ValueError, match=r"y_true\[0\] is 2"):
            fastbce.bce_loss(p, np.full(3, 2))
        with pytest.raises(ValueError, match=r"y_true has shape \(3, 1\)"):
            fastbce.bce_loss(p, y[:, None])
        with pytest.raises(ValueError, match="unknown reduction"):
            fastbce.bce_loss(p, y, reduction=np.full(3, "mean"))  # type: ignore[arg-type]
    eps: Any = np.array([0.3])
    assert fastbce.bce_loss(p, y, eps=eps) == fastbce.bce_loss(p, y, eps=0.3)
    assert np.isclose(fastbce.bce_loss(p, y, eps=0.3), -np.log(0.3))


@pytest.mark.parametrize(("name", "own"), [("bce_loss", 1e-7), ("sigmoid_bce", None)])
def test_no_kernel_gets_arrays_of_different_sizes(name: str, own: float | None) -> None:
    """The functions check what the user passes; this is for a mistake of their own."""
    short = _evaluate._short_of(OPERATIONS[name], own, F4, F4)
    assert short is not None
    with pytest.raises(RuntimeError, match="the arrays of one call differ"):
        short(np.ones(8, F4), np.ones(7, F4), 1.0)


def test_no_block_gets_arrays_of_different_sizes() -> None:
    short = engine.short_transform_of(OPERATIONS["sigmoid_backward"], F4)
    for sizes in ((8, 7, 8), (8, 8, 7), (7, 8, 8)):
        with pytest.raises(RuntimeError, match="the arrays of one call differ"):
            short(*(np.ones(n, F4) for n in sizes))
