"""The sums that the metrics need: against exact ones, in every layout and dtype."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest
from checks import in_ci

from fastbce._engine import samples as compiled
from fastbce._kernels.reductions import LANES, STRIP
from fastbce._reference import samples as plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbce._typing import Array, Sums

EPS = 2.0**-23
SIZES = (1, 15, 16, 17, LANES - 1, LANES, LANES + 1, STRIP - 1, STRIP, STRIP + 1, 2 * STRIP + 700)
ZEROS = np.zeros(STRIP + 3, np.int64)
BOTH = pytest.mark.parametrize("module", [plain, compiled], ids=["numpy", "numba"])


def exact(p: Array, y: Array, w: Array | None, eps: float | None) -> tuple[float, ...]:
    """Return the four sums, each term rounded a few times and the sum of them once."""
    weights = np.ones(len(y)) if w is None else w.astype(float)
    columns = np.stack([1 - p.astype(float), p], axis=1) if p.ndim == 1 else p.astype(float)
    terms: tuple[list[float], ...] = ([], [], [], [])
    for row, label, weight in zip(columns.tolist(), y.tolist(), weights.tolist(), strict=True):
        errors = [row[1] - label] if p.ndim == 1 else [row[1] - label, row[0] - (1 - label)]
        terms[0].append(weight * math.fsum(e * e for e in errors))
        terms[1].append(weight * label)
        terms[2].append(weight)
        if eps is not None:
            # From the probability that was given: 1 - p would lose its digits.
            flipped = p.ndim == 1 and not label
            c = min(max(row[1] if flipped or label else row[0], eps), 1 - eps)
            terms[3].append(weight * -(math.log1p(-c) if flipped else math.log(c)))
    return tuple(math.fsum(column) for column in terms)


def check(module: Any, p: Array, y: Array, w: Array | None, eps: float | None) -> Sums:
    found: Sums = module.sums(p, y, (0, 1), w, eps)
    assert found[:4] == pytest.approx(exact(p, y, w, eps), rel=4e-15), len(y)
    assert found[4:] == (True, True)
    return found


def samples_of(n: int, dtype: Any, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    p = rng.uniform(size=n).astype(dtype)
    p[:: n // 3 + 1], p[n // 2 :: n // 3 + 1] = 0, 1
    return p, rng.integers(0, 2, n), rng.uniform(size=n) * (rng.uniform(size=n) > 0.2)


@BOTH
@pytest.mark.parametrize(
    ("dtype", "labels", "weights", "eps"),
    [
        (np.float64, np.int64, None, None),
        (np.float32, np.bool_, np.float64, EPS),
        in_ci(np.float64, np.int64, None, EPS),
        in_ci(np.float64, np.float32, np.float32, EPS),
        in_ci(np.float32, np.float64, None, None),
        in_ci(np.float64, np.uint8, np.float64, None),
        in_ci(np.float16, np.int8, np.int64, EPS),
    ],
)
def test_every_size(
    module: Any, dtype: Any, labels: Any, weights: Any, eps: float | None, rng: np.random.Generator
) -> None:
    for n in SIZES:
        p, y, w = samples_of(n, dtype, rng)
        given = None if weights is None else np.ceil(7 * w).astype(weights)
        check(module, p, y.astype(labels), given, eps)


@BOTH
@pytest.mark.parametrize(
    ("dtype", "weights", "eps"),
    [(np.float64, None, EPS), in_ci(np.float32, np.float32, EPS), in_ci(np.float16, None, None)],
)
def test_both_columns(
    module: Any, dtype: Any, weights: Any, eps: float | None, rng: np.random.Generator
) -> None:
    for n in SIZES:
        p, y, w = samples_of(n, dtype, rng)
        rows = np.stack([1 - p, p], axis=1)
        given = None if weights is None else w.astype(weights)
        found = check(module, rows, y, given, eps)
        for other in (np.asfortranarray(rows), np.repeat(rows, 2, axis=0)[::2]):
            assert module.sums(other, y, (0, 1), given, eps) == found


@BOTH
def test_a_column_that_a_row_spoils(module: Any) -> None:
    """The tolerance is that of the dtype: 1.5e-8 in float64."""
    for off, is_even in ((1e-8, True), (2e-8, False), (np.nan, False)):
        rows = np.full((STRIP + 3, 2), 0.5)
        rows[STRIP + 1, 0] += off
        assert module.sums(rows, ZEROS, (0, 1), None, EPS).is_even == is_even
    rows = np.full((5, 2), 0.5)
    rows[3] = [1.5, -0.5]
    assert not module.sums(rows, ZEROS[:5], (0, 1), None, EPS).is_sound


@BOTH
def test_what_is_not_sound(module: Any) -> None:
    for which, bad in (
        *((0, value) for value in (np.nan, np.inf, -np.inf, -1e-300, np.nextafter(1, 2), 2)),
        *((1, value) for value in (np.nan, -1, 2, 0.5, 1 - 2.0**-53, 5e-324)),
        *((2, value) for value in (np.nan, np.inf, -1e-300)),
    ):
        for at in (0, LANES, STRIP + 2):
            given = [np.full(STRIP + 3, 0.25), np.zeros(STRIP + 3), np.ones(STRIP + 3)]
            assert module.sums(*given[:2], (0, 1), given[2], EPS).is_sound
            given[which][at] = bad
            assert not module.sums(*given[:2], (0, 1), given[2], EPS).is_sound, (which, bad)


@BOTH
def test_what_is(module: Any) -> None:
    """Zeros of either sign, the smallest numbers, and weights of any size."""
    p = np.array([0.0, -0.0, 5e-324, 1e-310, 1 - 2.0**-53, 1, 1e-30, 0.5])
    y = np.array([0.0, 1, 1, 0, 1, 1, 0, -0.0])
    for w in (np.ones(8), np.full(8, 5e-324), np.full(8, 1e300), np.array([0, *[-0.0] * 6, 1])):
        check(module, p, y, w, EPS if w[0] else None)


@BOTH
@pytest.mark.parametrize("dtype", ["int8", in_ci("float16"), in_ci("float64"), in_ci(">i2")])
def test_other_classes(module: Any, dtype: str, rng: np.random.Generator) -> None:
    p, y, _ = samples_of(STRIP + 5, np.float64, rng)
    expected = check(module, p, y, None, None)
    labels = np.where(y, 7, -1).astype(dtype)
    assert module.sums(p, labels, (-1, 7), None, None) == expected
    assert not module.sums(p, labels, (-1, 3), None, None).is_sound
    swapped = module.sums(p, labels, (7, -1), None, None)
    assert swapped[1] + expected[1] == len(p)
    assert swapped[0] == pytest.approx(((p - (labels == -1)) ** 2).sum(), rel=1e-13)


@BOTH
def test_layouts_that_no_kernel_takes(module: Any, rng: np.random.Generator) -> None:
    p, y, w = samples_of(STRIP + 5, np.float64, rng)
    found = check(module, p, y, w, EPS)
    for a in (p, y, w):
        a.flags.writeable = False
    assert module.sums(p, y, (0, 1), w, EPS) == found
    swapped = (p.astype(">f8"), y.astype(">i8"), w.astype(">f8"))
    strided = [np.repeat(a, 3)[::3] for a in (p, y, w)]
    assert all(module.sums(a, b, (0, 1), c, EPS) == found for a, b, c in (swapped, strided))


def test_the_same_bits_on_any_number_of_threads(
    threads: Callable[[int], None], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    p, y, w = samples_of(9 * STRIP + 77, np.float64, rng)
    found = check(compiled, p, y, w, EPS)
    monkeypatch.setattr(compiled, "MIN_PER_THREAD", 64)
    shared = mock.Mock(side_effect=compiled._kernel.team)
    monkeypatch.setattr(compiled, "_kernel", compiled._kernel._replace(team=shared))
    for count in (2, 3):
        threads(count)
        assert compiled.sums(p, y, (0, 1), w, EPS) == found
        assert shared.call_args.args[-1] == count
