"""mask, ignore_index, pos_weight, label_smoothing, divisor and gradient, alone and together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cases import BY_NAME, LOSSES, Array, Case
from checks import FAMILIES, REDUCTIONS, at_night, every_loss, in_ci, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from option_oracle import expected

import fastbce

if TYPE_CHECKING:
    from collections.abc import Callable

NAN, INF = np.nan, np.inf
SHAPE = (40, 13)
CLIPPED, LOGITS = FAMILIES
both_families = pytest.mark.parametrize("case", FAMILIES, ids=lambda case: case.kind)
usefixtures = pytest.mark.usefixtures("backend")


def draw(case: Case, dtype: Any, labels: str, shape: Any = SHAPE) -> tuple[Array, Array]:
    """Draw scores and labels; -1 among integers stands for what is not known."""
    rng = np.random.default_rng(11)
    x, y = case.draw(rng, shape, dtype, soft=labels == "soft")
    if labels == "soft":
        return x, y
    y = y.astype(np.int64)
    if labels == "unknown":
        y[rng.random(shape) < 0.3] = -1
    return x, y


def assert_near(
    case: Case, results: tuple[Any, ...], exact: dict[str, Array], dtype: Any, what: str
) -> None:
    """Compare within 6 units of the result, or of the terms that a gradient is made of."""
    # Arithmetic is float32 for float16, whose own unit is larger.
    unit, tiny = float(np.finfo(dtype).eps), 32 * float(np.finfo(dtype).smallest_subnormal)
    for name, actual in zip(case.results, results, strict=True):
        value = exact[name]
        assert (np.shape(actual), np.asarray(actual).dtype) == (value.shape, dtype), (what, name)
        size = np.maximum(np.abs(value), exact["terms"] if name == "gradient" else 0)
        with np.errstate(all="ignore"):
            error = np.abs(np.asarray(actual).astype(np.longdouble) - value)
        good = np.isinf(actual) & (np.abs(value) > np.finfo(dtype).max)  # a weight can do that
        good |= (error <= 6 * unit * size + tiny) | (np.isnan(actual) & np.isnan(value))
        assert good.all(), f"{what} {name}: {np.asarray(actual)[~good][:3]}, not {value[~good][:3]}"


def assert_as_defined(
    case: Case, x: Array, y: Array, options: dict[str, Any], reductions: tuple[str, ...]
) -> None:
    for reduction in reductions:
        results = case(x, y, reduction=reduction, **options)
        exact = expected(case, x, y, options, reduction)
        assert_near(case, results, exact, x.dtype, f"{case.name} {reduction} {sorted(options)}")


rng = np.random.default_rng(3)
MASK = rng.random(SHAPE) < 0.6
WEIGHT = rng.random(SHAPE) * (rng.random(SHAPE) < 0.8)
ROW = rng.random(13) * 4
# Each compiles kernels of its own, a few seconds: those of the others run in plain Python too, in
# the process that the tests of the interpreted kernels start.
COMPILED = ("ignore", "smooth", "all")
SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "mask": ("soft", {"mask": MASK}),
    "ignore": ("unknown", {"ignore_index": -1}),
    "pos": ("soft", {"pos_weight": 3.5}),
    "row": ("hard", {"pos_weight": ROW}),
    "smooth": ("hard", {"label_smoothing": 0.1}),
    "smooth row": ("soft", {"label_smoothing": 0.2, "pos_weight": ROW[None]}),
    "all": (
        "unknown",
        {
            "mask": MASK,
            "ignore_index": -1,
            "sample_weight": WEIGHT,
            "pos_weight": ROW,
            "label_smoothing": 0.3,
        },
    ),
    "weights": ("hard", {"sample_weight": WEIGHT, "mask": MASK, "divisor": "weights"}),
    "elements": ("hard", {"mask": MASK[:, :1], "divisor": "elements"}),
}


@usefixtures
@both_families
@pytest.mark.parametrize(
    "name",
    [
        "all",
        *(at_night(name) if name == "smooth" else in_ci(name) for name in SETS if name != "all"),
    ],
)
def test_options_are_what_they_are_defined_as(case: Case, name: str, backend: str) -> None:
    labels, options = SETS[name]
    if backend == "numba" and name not in COMPILED:
        return
    x, y = draw(case, np.float32, labels)
    assert_as_defined(case, x, y, options, REDUCTIONS)


@usefixtures
@both_families
@pytest.mark.parametrize("dtype", [np.float16, at_night(np.float64)])
@pytest.mark.ci
def test_all_options_in_other_dtypes(case: Case, dtype: Any) -> None:
    labels, options = SETS["all"]
    x, y = draw(case, dtype, labels)
    assert_as_defined(case, x, y, options, REDUCTIONS)


@usefixtures
@pytest.mark.parametrize(
    ("labels", "rule"),
    [
        in_ci("hard", "zero"),
        in_ci("soft", "torch"),
        at_night("hard", "torch"),
        at_night("soft", "zero"),
    ],
)
def test_gradient_rules(rule: str, labels: str) -> None:
    x, y = draw(CLIPPED, np.float32, labels)
    y = y.astype(np.float32)
    x.flat[:12] = [0, 1, -0.0, 1e-7, 1 - 6e-8, 1e-45, 1e-40, 1e-30, 1e-20, 3e-8, 5e-44, 0.5]
    x = x.clip(0, 1) if rule == "torch" else x
    assert_as_defined(CLIPPED, x, y, {"gradient": rule}, REDUCTIONS)


@pytest.mark.ci
def test_gradient_rules_with_everything_else(backend: str) -> None:
    labels, options = SETS["all"]
    for rule in ("zero", "torch"):
        for dtype in (np.float16, np.float64) if backend == "numpy" else (np.float16,):
            x, y = draw(CLIPPED, dtype, labels)
            x.flat[:4] = [0, 1, 1e-7, 0.5]
            options = {**options, "gradient": rule}
            assert_as_defined(CLIPPED, x, y, options, ("none", "mean"))


@usefixtures
def test_torch_rule_by_its_formula() -> None:
    p = np.array([0.0, 1.0, 0.0, 1.0, 1e-13, 1 - 1e-13, 1e-50, 5e-324])
    y = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    loss, gradient = fastbce.bce_loss_gradient(p, y, gradient="torch", reduction="none")
    with np.errstate(all="ignore"):
        logs = (np.maximum(np.log(p), -100), np.maximum(np.log1p(-p), -100))
    np.testing.assert_allclose(loss, -(y * logs[0] + (1 - y) * logs[1]), rtol=1e-14)
    np.testing.assert_allclose(gradient, (p - y) / np.maximum(p * (1 - p), 1e-12), rtol=1e-14)
    assert loss[0] == loss[1] == 100
    assert abs(gradient[0]) == 1e12


@usefixtures
def test_zero_rule_keeps_what_was_not_clipped() -> None:
    p = np.array([0.0, 1e-7, 0.5, 1 - 1e-7, 1.0, 1.5, -1.0, NAN])
    (gradient,) = BY_NAME["bce_gradient"](p, np.ones(8), gradient="zero", reduction="none")
    np.testing.assert_array_equal(
        gradient == 0, [True, False, False, False, True, True, True, False]
    )
    assert np.isnan(gradient[-1])


# --- what is ignored ----------------------------------------------------------------------------

HOW: dict[str, Callable[[Array], dict[str, Any]]] = {
    "mask": lambda kept: {"mask": kept},
    "weight": lambda kept: {"sample_weight": kept.astype(np.float64)},
}


@usefixtures
@both_families
@pytest.mark.parametrize("how", [*HOW, at_night("ignore_index")])
@pytest.mark.parametrize("score", [NAN, INF, -INF, 1e30])
@pytest.mark.ci
def test_what_is_ignored_adds_nothing(case: Case, how: str, score: float) -> None:
    x, y = draw(case, np.float32, "hard", (70, 5))
    kept = np.random.default_rng(0).random(x.shape) < 0.7
    y = y.astype(np.float32)
    for label in (NAN, INF, 0.5, 7.0) if how != "ignore_index" else (7.0,):
        noisy, odd = np.where(kept, x, np.float32(score)), np.where(kept, y, np.float32(label))
        options = HOW[how](kept) if how in HOW else {"ignore_index": 7}
        quiet = odd if how == "ignore_index" else np.where(kept, y, np.float32(0))
        for reduction in ("none", "mean"):
            results = case(noisy, odd, reduction=reduction, **options)
            clean = case(np.where(kept, x, np.float32(0.5)), quiet, reduction=reduction, **options)
            for name, a, b in zip(case.results, results, clean, strict=True):
                assert same_bits(a, np.asarray(b)), (name, reduction)
                if name != "loss":
                    assert not np.asarray(a)[~kept].any()


@every_loss
def test_every_function_takes_every_option(case: Case) -> None:
    labels, options = SETS["all"]
    x, y = draw(case, np.float32, labels)
    with fastbce.use_backend("numpy"):
        assert_as_defined(case, x, y, options, ("none", "mean"))


@usefixtures
@both_families
@pytest.mark.ci
def test_all_ignored(case: Case) -> None:
    x, y = draw(case, np.float32, "hard")
    y = y.astype(np.float32)
    for reduction, loss in (("mean", NAN), ("sum", 0.0), ("none", 0.0), ("samples", NAN)):
        for options in ({"mask": False}, {"mask": False, "divisor": "weights"}):
            found = case(x, y, reduction=reduction, **options)
            np.testing.assert_array_equal(found[0], np.full(np.shape(found[0]), loss))
            assert not any(np.any(array) for array in found[1:])
        elements = case(x, y, reduction=reduction, mask=False, divisor="elements")
        assert not np.any(elements[0])


@usefixtures
def test_probabilities_are_those_of_all_elements() -> None:
    x, y = draw(LOGITS, np.float32, "hard")
    _, probabilities, gradient = fastbce.sigmoid_bce(x, y, mask=MASK)
    assert same_bits(probabilities, fastbce.sigmoid(x))
    assert not gradient[~MASK].any()


@usefixtures
@pytest.mark.ci
def test_labels_that_count_are_looked_at_and_others_are_not() -> None:
    z, y = np.zeros(6, np.float32), np.array([0, 1, 255, 1, 0, 255])
    kept = y < 2
    calls: list[dict[str, Any]] = [
        {"mask": kept},
        {"ignore_index": 255},
        {"sample_weight": kept * 1.0},
    ]
    for options in calls:
        fastbce.bce_with_logits_loss(z, y, **options)
        fastbce.bce_loss(np.where(kept, z, 3), y, check_labels=True, **options)
    calls = [{"mask": ~kept}, {"ignore_index": 1}, {"sample_weight": 1.0}]
    for options in calls:
        with pytest.raises(ValueError, match=r"y_true\[2\] is 255"):
            fastbce.bce_with_logits_loss(z, y, **options)
    with pytest.raises(ValueError, match=r"pass ignore_index=-1"):
        fastbce.bce_with_logits_loss(z, np.array([0, 1, -1, 0, 1, 1]))


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", in_ci(">i4"), "u8", "f2", "f4", ">f8"])
def test_ignore_index_of_every_label_dtype(dtype: str, backend: str) -> None:
    if backend == "numba" and dtype not in ("?", ">i4"):
        return
    y = np.array([0, 1, 1, 0, 1]).astype(dtype)
    z = np.linspace(-1, 1, 5)
    labels: tuple[Any, ...] = (0, 1, True, np.int64(1), 1.0)
    for label in labels:
        keep = y != label
        wanted = fastbce.bce_with_logits_loss(z[keep], y[keep])
        assert fastbce.bce_with_logits_loss(z, y, ignore_index=label) == pytest.approx(wanted)
    for label in (-1, 255, -100, 10**30, 2):  # not among them
        assert fastbce.bce_with_logits_loss(z, y, ignore_index=label) == pytest.approx(
            fastbce.bce_with_logits_loss(z, y)
        )


# --- where elements are, and in which layout ----------------------------------------------------


@usefixtures
@both_families
@pytest.mark.ci
def test_columns_keep_their_weight_in_every_layout_and_length(case: Case) -> None:
    """Rows longer than a strip, many rows, Fortran order, strides: all by the definition."""
    for shape in ((3, 20_000), (9000, 7), (300, 100), (40_001,), (1,)):
        x, y = draw(case, np.float32, "hard", shape)
        options = {"pos_weight": np.linspace(0.5, 4, shape[-1])}
        reductions = ("none", "samples") if len(shape) > 1 else ("none",)
        assert_as_defined(case, x, y, options, reductions)
        whole = case(x, y, reduction="sum", **options)
        for a, b in (
            (np.asfortranarray(x), y),
            (np.repeat(x, 2, -1)[..., ::2], np.asfortranarray(y)),
        ):
            for one, other in zip(whole, case(a, b, reduction="sum", **options), strict=True):
                assert same_bits(one, other)


@both_families
def test_the_same_bits_on_any_number_of_threads(case: Case, threads: Callable[[int], None]) -> None:
    labels, options = SETS["all"]
    x, y = draw(case, np.float32, labels, (30_000, 13))
    options = {
        **options,
        "mask": np.tile(MASK, (750, 1)),
        "sample_weight": np.tile(WEIGHT, (750, 1)),
    }
    threads(1)
    first = case(x, y, **options)
    threads(3)
    for a, b in zip(first, case(x, y, **options), strict=True):
        assert same_bits(a, b)


@usefixtures
@both_families
@pytest.mark.ci
def test_in_place_and_out(case: Case) -> None:
    labels, options = SETS["all"]
    x, y = draw(case, np.float32, labels)
    results = case(x, y, reduction="none", **options)
    outs = tuple(np.full(SHAPE, 7, np.float32) for _ in results)
    assert case(x, y, reduction="none", out=outs, **options)[0] is outs[0]
    assert all(map(same_bits, outs, results))
    own = x.copy()
    found = case(
        own, y, reduction="none", out=(None, own, *(None,) * (len(results) - 2)), **options
    )
    assert found[1] is own
    assert all(map(same_bits, found, results))


@usefixtures
@given(
    st.sampled_from(LOSSES),
    st.sampled_from([(), (0,), (1,), (7,), (3, 0), (0, 3), (1, 3), (4, 1), (2, 3, 4)]),
    st.sets(
        st.sampled_from(["mask", "ignore_index", "weight", "pos", "smooth", "divisor", "rule"])
    ),
    st.sampled_from(REDUCTIONS),
)
@settings(max_examples=150)
def test_any_options_of_any_shape(
    case: Case, shape: tuple[int, ...], names: set[str], reduction: str
) -> None:
    if fastbce._backends.active_backend() == "numba" or (reduction == "samples" and not shape):
        return  # each combination would be compiled
    x, y = draw(case, np.float64, "hard", shape)
    generator = np.random.default_rng(len(names))
    every: dict[str, Any] = {
        "mask": {"mask": np.asarray(generator.random(shape[-1:]) < 0.5)},
        "ignore_index": {"ignore_index": 1},
        "weight": {"sample_weight": np.asarray(generator.random(shape).round())},
        "pos": {"pos_weight": generator.random(shape[-1:])},
        "smooth": {"label_smoothing": 0.4},
        "divisor": {"divisor": "weights"},
        "rule": {"gradient": "zero"} if case.kind == "clipped" else {},
    }
    options: dict[str, Any] = {}
    for name in sorted(names):
        options.update(every[name])
    assert_as_defined(case, x, y, options, (reduction,))


# --- what is refused ----------------------------------------------------------------------------


@usefixtures
@every_loss
@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mask": np.ones(6, int)}, TypeError, ["mask must be bool", "int64", "mask != 0"]),
        ({"mask": np.ones(5, bool)}, ValueError, ["mask has shape (5,)", "(6,)"]),
        ({"mask": np.ma.masked_equal(np.ones(6, bool), 1)}, TypeError, ["mask", "masked array"]),
        ({"ignore_index": "x"}, TypeError, ["ignore_index must be a whole number", "'x'"]),
        ({"ignore_index": 0.5}, TypeError, ["ignore_index must be a whole number", "0.5"]),
        ({"ignore_index": NAN}, TypeError, ["ignore_index must be a whole number", "nan"]),
        ({"pos_weight": -1.0}, ValueError, ["pos_weight must be finite", "-1.0"]),
        ({"pos_weight": NAN}, ValueError, ["pos_weight must be finite", "nan"]),
        ({"pos_weight": np.full(6, 1e39)}, ValueError, ["pos_weight must be finite", "1e+39"]),
        ({"pos_weight": np.ones(5)}, ValueError, ["pos_weight has shape (5,)", "sample_weight="]),
        ({"pos_weight": "balanced"}, TypeError, ["pos_weight has dtype"]),
        ({"label_smoothing": -0.1}, ValueError, ["label_smoothing must lie in [0, 1]", "-0.1"]),
        ({"label_smoothing": NAN}, ValueError, ["label_smoothing must lie in [0, 1]", "nan"]),
        ({"label_smoothing": np.full(3, 0.1)}, TypeError, ["label_smoothing", "y_true * (1 - s)"]),
        ({"divisor": "mean"}, ValueError, ["unknown divisor 'mean'", "'kept'"]),
    ],
    ids=str,
)
def test_refused(
    case: Case, options: dict[str, Any], error: type[Exception], words: list[str]
) -> None:
    x, y = draw(case, np.float32, "hard", 6)
    outs = tuple(np.full(6, 99, np.float32) for _ in case.results)
    with pytest.raises(error) as caught:
        case(x, y, reduction="none", out=outs, **options)
    assert caught.type is error
    assert all(word in str(caught.value) for word in words)
    assert all(np.all(out == 99) for out in outs)


@usefixtures
def test_refused_rules() -> None:
    call = partial(fastbce.bce_loss, [0.5], [1])
    rules: tuple[Any, ...] = ("Zero", None, 3)
    for rule in rules:
        with pytest.raises(ValueError, match="unknown gradient"):
            call(gradient=rule)
    with pytest.raises(TypeError):
        fastbce.bce_with_logits_loss([0.5], [1], gradient="zero")  # type: ignore[call-arg]
