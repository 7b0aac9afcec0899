"""Metrics give scikit-learn's answers, warnings and types of errors."""

from __future__ import annotations

import inspect
import subprocess
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastbce
from fastbce import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

theirs = pytest.importorskip("sklearn.metrics", reason="the metrics are compared with its own")

NAMES = metrics.__all__
LOGS = ["log_loss", "d2_log_loss_score"]
# Of both answers: scikit-learn sums in the dtype of the probabilities.
CLOSE = {np.dtype(np.float16): 2e-2, np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-12}
HARD = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 1])
PROBA = np.array([0.2, 0.9, 1.0, 0.0, 0.5, 1.0, 0.03, 0.6, 0.0, 1e-9])
WEIGHT = np.array([1, 0, 2.5, 1, 3, 0.25, 1, 1, 1, 7])


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """Compile nothing for each of many dtypes: what the kernels compute, others test."""
    with fastbce.use_backend("numpy"):
        yield


def answer(function: Callable[..., float], *args: Any, **options: Any) -> tuple[Any, list[str]]:
    """Return what a function returns, or its type of error, and the kinds of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result: Any = function(*args, **options)
        except (TypeError, ValueError) as error:
            result = error
    shown = [w.category for w in caught]
    return result, ["UserWarning" for kind in shown if issubclass(kind, UserWarning)]


def compare(name: str, *args: Any, **options: Any) -> None:
    ours, our_warnings = answer(getattr(metrics, name), *args, **options)
    expected, their_warnings = answer(getattr(theirs, name), *args, **options)
    assert our_warnings == their_warnings
    if isinstance(expected, Exception):
        # theirs of a parameter is both a TypeError and a ValueError
        assert isinstance(ours, Exception), expected
        assert isinstance(expected, type(ours)), (expected, ours)
    else:
        assert type(ours) is float, ours
        dtype = np.asarray(args[1]).dtype
        assert ours == pytest.approx(expected, rel=CLOSE.get(dtype, 1e-12), nan_ok=True)


LABELS = {
    "int64": HARD,
    "int8": HARD.astype(np.int8),
    "uint16": HARD.astype(np.uint16),
    "big-endian": HARD.astype(">i4"),
    "bool": HARD == 1,
    "float32": HARD.astype(np.float32),
    "-1 and 1": 2 * HARD - 1,
    "1 and 2": 1 + HARD,
    "3 and 7.0": 3.0 + 4 * HARD,
    "text": np.where(HARD, "spam", "ham"),
    "objects": np.where(HARD, "spam", "ham").astype(object),
    "list": HARD.tolist(),
    "list of text": np.where(HARD, "yes", "no").tolist(),
    "column": HARD[:, None],
    "indicator": np.stack([1 - HARD, HARD], axis=1),
    "every second": np.repeat(HARD, 2)[::2],
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", NAMES)
def test_labels_of_every_kind(name: str, labels: str) -> None:
    y = LABELS[labels]
    for dtype in (np.float16, np.float32, np.float64):
        p = PROBA.astype(dtype)
        if name != "brier_score_loss":
            compare(name, y, p)
        elif labels != "indicator":  # ours takes it here too
            for positive in dict.fromkeys(np.ravel(y).tolist()):
                compare(name, y, p, pos_label=positive)
            compare(name, y, p)
        compare(name, y, np.stack([1 - p, p], axis=1))


@pytest.mark.parametrize("name", NAMES)
def test_probabilities_of_every_kind(name: str) -> None:
    both = np.stack([1 - PROBA, PROBA], axis=1)
    for p in (
        PROBA[:, None],
        PROBA.tolist(),
        PROBA > 0.5,
        (PROBA > 0.5).astype(int),
        np.repeat(PROBA, 3)[::3],
        PROBA.astype(">f8"),
        both,
        np.asfortranarray(both),
        both.tolist(),
        # the sum of a row is off by less than what warns, and by more
        both + 1e-9,
        both / 2,
    ):
        compare(name, HARD, p)


def test_a_tiny_probability_of_the_first_class_keeps_its_digits() -> None:
    p = np.array([[1e-13, 1 - 1e-13], [1.0, 0.0], [0.25, 0.75]])
    exact = -(np.log(1e-13) + np.log(2.0**-52) + np.log(0.75)) / 3
    assert metrics.log_loss([0, 1, 1], p) == pytest.approx(exact, rel=1e-14)
    compare("log_loss", [0, 1, 1], p)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_weights(name: str, dtype: type) -> None:
    for p in (PROBA, PROBA.astype(np.float32), np.stack([1 - PROBA, PROBA], axis=1)):
        compare(name, HARD, p, sample_weight=WEIGHT.astype(dtype))
        compare(name, HARD, p, sample_weight=WEIGHT.tolist())


def test_weights_that_float32_cannot_hold() -> None:
    p = PROBA.astype(np.float32)
    for size in (1e-60, 1e60):
        compare("log_loss", HARD, p, sample_weight=WEIGHT * size)


@pytest.mark.parametrize("name", LOGS)
def test_declared_classes(name: str) -> None:
    for y, labels in (
        (HARD, [0, 1]),
        (HARD, np.array([1, 0])),  # both warn
        (HARD[HARD == 1], [0, 1]),
        (HARD[HARD == 0], [0, 1]),
        (HARD == 1, [False, True]),
        (np.full(3, 5), [2, 5]),
        (["a", "a"], ["a", "b"]),
        (["b", "b"], ["a", "b"]),
        (HARD, [0]),  # errors from here on
        (HARD, [1, 2]),
        (HARD, [0, 1, 2]),
        (["a", "c"], ["a", "b"]),
    ):
        compare(name, y, PROBA[: len(y)], labels=labels)


def test_a_total() -> None:
    compare("log_loss", HARD, PROBA, normalize=False)
    compare("log_loss", HARD, PROBA, normalize=False, sample_weight=WEIGHT)


def test_one_sample_has_no_d2() -> None:
    compare("d2_log_loss_score", [1], [0.25])
    compare("d2_log_loss_score", [1], [0.25], labels=[0, 1])


def test_half_or_both_classes() -> None:
    for p in (PROBA, np.stack([1 - PROBA, PROBA], axis=1)):
        for scale in (True, False, "auto"):
            compare("brier_score_loss", HARD, p, scale_by_half=scale)


@pytest.mark.parametrize("y", [[0, 0], [1, 1], [-1, -1], [3, 3], ["a", "a"]], ids=str)
def test_one_class(y: list[Any]) -> None:
    for name in NAMES:
        compare(name, y, [0.25, 0.5])
    compare("brier_score_loss", y, [0.25, 0.5], pos_label=1)
    compare("brier_score_loss", y, [0.25, 0.5], pos_label="a")


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0, 1), st.floats(1e-3, 1e3)), min_size=2, max_size=40
    ),
    st.sampled_from(["float32", "float64"]),
)
def test_any_samples(samples: list[tuple[bool, float, float]], dtype: str) -> None:
    y, p, w = (np.array(column) for column in zip(*samples, strict=True))
    for name in NAMES:
        compare(name, y, p.astype(dtype), sample_weight=w)


def test_many_samples_are_summed_without_loss(rng: np.random.Generator) -> None:
    n = 100_003
    p = rng.uniform(size=n).astype(np.float32)
    y = rng.integers(0, 2, n)
    for name in NAMES:
        expected = getattr(theirs, name)(y, p.astype(np.float64))
        with fastbce.use_backend("numba"):
            found = getattr(metrics, name)(y, p)
        assert found == pytest.approx(expected, rel=1e-12)


WRONG: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "too large": (([0, 1], [0.5, 1.5]), {}, r"y_proba\[1\] is 1.5, .* take fastbce.sigmoid"),
    "too small": (([0, 1], [[0.5, 0.5], [-0.1, 1]]), {}, r"y_proba\[1, 0\] is -0.1"),
    "NaN": (([0, 1], [np.nan, 0.5]), {}, r"y_proba\[0\] is nan"),
    "infinite": (([0, 1], [0.5, np.inf]), {}, r"y_proba\[1\] is inf"),
    "length": (([0, 1, 1], [0.5, 0.5]), {}, "y_true has 3 samples, but y_proba has 2"),
    "empty": (([], []), {}, "at least one sample"),
    "three columns": (([0, 1], np.full((2, 3), 1 / 3)), {}, r"shape \(2, 3\)"),
    "three axes": (([0, 1], np.full((2, 1, 1), 0.3)), {}, r"shape \(2, 1, 1\)"),
    "three classes": (([0, 1, 2], [0.5, 0.5, 0.5]), {}, "and, in row 2, 2"),
    "three words": ((["a", "b", "c"], [0.5, 0.5, 0.5]), {}, "'c'"),
    "soft": (([0.25, 0.75], [0.5, 0.5]), {}, "fastbce.bce_loss"),
    "NaN label": (([0, np.nan], [0.5, 0.5]), {}, "nan"),
    "bytes": (([b"a", b"b"], [0.5, 0.5]), {}, "bytes"),
    "objects": ((np.array([0, 1], object), [0.5, 0.5]), {}, r"\.astype\(int\)"),
    "None": ((np.array(["a", None]), [0.5, 0.5]), {}, "str and NoneType"),
    "scalar": ((1, [0.5, 0.5]), {}, "one label a sample"),
    "weights' length": (([0, 1], [0.5, 0.5]), {"sample_weight": [1.0]}, "has 1 samples"),
    "weights' axes": (([0, 1], [0.5, 0.5]), {"sample_weight": [[1.0], [1]]}, r"\(2, 1\)"),
    "no weight": (([0, 1], [0.5, 0.5]), {"sample_weight": [0, 0]}, "other than 0"),
    "weight NaN": (([0, 1], [0.5, 0.5]), {"sample_weight": [1, np.nan]}, "must be finite"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("name", NAMES)
def test_errors(name: str, case: str) -> None:
    args, options, text = WRONG[case]
    if name == "brier_score_loss" and isinstance(args[0], list) and "a" in args[0]:
        options = {**options, "pos_label": "a"}
    with pytest.raises((TypeError, ValueError), match=text):
        getattr(metrics, name)(*args, **options)
    # scikit-learn takes integers as objects in one of the three, and has a NaN for no samples.
    if case != "objects" and (name, case) != ("d2_log_loss_score", "empty"):
        compare(name, *args, **options)


def test_errors_where_scikit_learn_has_a_number() -> None:
    for name in NAMES:
        with pytest.raises(ValueError, match="not negative"):
            getattr(metrics, name)([0, 1], [0.5, 0.5], sample_weight=[1, -1])
    with pytest.raises(ValueError, match="pos_label=7 is not among"):
        metrics.brier_score_loss([0, 1], [0.5, 0.5], pos_label=7)
    with pytest.raises(TypeError, match=r"pass .*compressed"):
        metrics.log_loss(np.ma.array([0, 1], mask=[False, True]), [0.5, 0.5])


def test_advice_is_right() -> None:
    with pytest.raises(ValueError, match=r"labels=\[0, 1\]"):
        metrics.log_loss([1, 1], [0.5, 0.25])
    assert metrics.log_loss([1, 1], [0.5, 0.25], labels=[0, 1]) == pytest.approx(1.5 * np.log(2))
    with pytest.raises(ValueError, match="pos_label="):
        metrics.brier_score_loss(["a", "b"], [0.5, 0.25])
    assert metrics.brier_score_loss(["a", "b"], [0.5, 0.25], pos_label="b") == 0.40625


def test_flags_are_checked() -> None:
    for name, option in (("log_loss", "normalize"), ("brier_score_loss", "scale_by_half")):
        compare(name, HARD, PROBA, **{option: "no"})


def test_both_names_of_the_probabilities() -> None:
    for name in LOGS:
        function = getattr(metrics, name)
        assert function(HARD, y_pred=PROBA) == function(HARD, y_proba=PROBA)
        with pytest.raises(ValueError, match="earlier name"):
            function(HARD, PROBA, y_pred=PROBA)
        with pytest.raises(TypeError, match="y_proba is missing"):
            function(HARD)


@pytest.mark.parametrize("name", NAMES)
def test_signatures(name: str) -> None:
    ours, others = (inspect.signature(getattr(m, name)).parameters for m in (metrics, theirs))
    assert others.keys() <= ours.keys()
    for parameter in others.keys() - {"y_pred", "y_proba"}:
        assert ours[parameter].kind == others[parameter].kind
        assert ours[parameter].default == others[parameter].default


def test_data_frames() -> None:
    pd = pytest.importorskip("pandas", reason="labels and probabilities as columns")
    frame = pd.DataFrame({"y": np.where(HARD, "spam", "ham"), "p": PROBA, "w": WEIGHT})
    for y in (frame.y, frame.y.astype("category")):
        for name in LOGS:
            compare(name, y, frame.p, sample_weight=frame.w)
        compare("brier_score_loss", y, frame.p, pos_label="spam")


@pytest.mark.ci
def test_scikit_learn_is_not_needed(
    python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    script = """
import sys
sys.modules["sklearn"] = sys.modules["scipy"] = None
from fastbce.metrics import brier_score_loss, d2_log_loss_score, log_loss
print(log_loss([0, 1], [0.5, 0.5]), brier_score_loss([0, 1], [0.5, 0.5]))
"""
    assert python(script).stdout.split() == ["0.6931471805599453", "0.25"]


@pytest.mark.ci
def test_both_backends(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MANY", 1)
    for name in NAMES:
        compare(name, HARD, PROBA, sample_weight=WEIGHT)
        compare(name, HARD.tolist(), np.stack([1 - PROBA, PROBA], axis=1))
        compare(name, HARD, np.stack([PROBA, PROBA], axis=1))
        compare(name, 2 * HARD - 1, PROBA)
