"""Calls without options: what computes them is prepared once, and agrees with other calls."""

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
def test_the_prepared_way_gives_the_same_bits(case: Case, dtype: Any) -> None:
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
        out = tuple(np.full(shape, 9, dtype) for value in other if np.ndim(value))
        results = case(*arrays, out=out or None)
        for found, expected in zip(results, other, strict=True):
            assert same_bits(found, expected), shape
        assert all(any(a is b for b in results) for a in out)


@pytest.mark.parametrize("labels", [np.bool_, np.int64])
def test_labels_that_are_looked_at(labels: Any) -> None:
    x = np.linspace(0, 1, 70_000, dtype=np.float32)
    for n in (4, x.size):
        scores, y = x[:n], np.arange(n) % 2 > 0
        expected = fastbce.bce_with_logits_loss_gradient(scores, y.astype(np.float32))
        for _ in range(2):
            found = fastbce.bce_with_logits_loss_gradient(scores, y.astype(labels))
            assert all(map(same_bits, found, expected))
            bad = y.astype(np.uint8)
            bad[n - 1] = 2
            bad = bad.view(labels) if labels is np.bool_ else bad.astype(labels)
            given = np.full_like(scores, 9)
            with pytest.raises(ValueError, match=rf"y_true\[{n - 1}\] is 2"):
                fastbce.bce_with_logits_loss_gradient(scores, bad, out=given)


@pytest.mark.ci
def test_given_results_that_are_not_taken_as_they_are() -> None:
    x, y = np.array([0.2, 0.7, 0.4]), np.array([0.0, 1.0, 1.0])
    loss, gradient = fastbce.bce_loss_gradient(x, y)
    wide = np.zeros(6)
    for out in (x.copy(), np.zeros(3, np.float32), wide[::2], np.zeros(3).view(np.memmap)):
        scores = out if out.dtype == x.dtype and out[0] else x
        results = fastbce.bce_loss_gradient(scores, y, out=out)
        assert results[1] is out
        assert same_bits(results[0], loss)
        assert np.allclose(out, gradient, rtol=1e-7)
    empty: Any = ()
    for given in (empty, (np.zeros(3), np.zeros(3))):
        with pytest.raises(ValueError, match="out= holds"):
            fastbce.bce_loss_gradient(x, y, out=given)
    with pytest.raises(ValueError, match="no array to write"):
        fastbce.bce_loss(x, y, out=np.zeros(3))


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
            ((p[:0], y[:0]), {}),
            ((p[::2], y[::2]), {}),
            ((p, y), {"mask": y > 0}),
            ((p, y), {"check_labels": True}),
            ((p, y), {"reduction": "samples"}),
            ((p.astype(np.float16), y), {}),
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
    for losses in ("sum", "none"):
        call = _evaluate._prepared_for(OPERATIONS[name], own, F4, F4, losses)
        with pytest.raises(RuntimeError, match="the arrays of one call differ"):
            call(np.ones(8, F4), np.ones(7, F4), 1.0)


@common
def test_losses_of_elements_are_prepared_too(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    for shape in ((5,), (3, 4), (70_000,)):
        arrays = case.draw(rng, shape, F4)
        options = {"reduction": "none"} if case.is_loss else {}
        expected = case(*arrays, **options, **({"divisor": "elements"} if case.is_loss else {}))
        out = tuple(np.full(shape, 9, F4) for _ in expected)
        with monkeypatch.context() as patched:
            patched.setattr(_evaluate, "_evaluate", None)
            for found in (case(*arrays, **options), case(*arrays, **options, out=out)):
                assert len(found) == len(expected)
                assert all(map(same_bits, found, expected))
        assert all(map(same_bits, out, expected))


def test_weights_of_the_scores_kind_change_no_bit() -> None:
    rng = np.random.default_rng(8)
    z, w = rng.normal(size=(2, 70_000)).astype(F4)
    y, w = (z > 0).astype(F4), abs(w)
    locked = w.copy()
    locked.flags.writeable = False
    for n in (1, 999, z.size):
        for reduction in ("mean", "none"):
            options: Any = {"reduction": reduction, "out": None}
            found, expected = (
                fastbce.bce_with_logits_loss_gradient(
                    z[:n], y[:n], sample_weight=weight[:n], **options
                )
                for weight in (w, locked)
            )
            assert all(map(same_bits, found, expected))
        # Given results may lie in the weights' memory.
        given = w[:n].copy()
        slope = fastbce.bce_with_logits_gradient(z[:n], y[:n], sample_weight=given, out=given)
        assert slope is given
        wanted = fastbce.bce_with_logits_gradient(z[:n], y[:n], sample_weight=locked[:n])
        assert same_bits(slope, wanted)


def test_no_block_gets_arrays_of_different_sizes() -> None:
    call = engine.prepare_transform(OPERATIONS["sigmoid_backward"], F4)
    for sizes in ((8, 7, 8), (8, 8, 7), (7, 8, 8)):
        with pytest.raises(RuntimeError, match="the arrays of one call differ"):
            call(*(np.ones(n, F4) for n in sizes))
