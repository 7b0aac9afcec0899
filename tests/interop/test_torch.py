"""PyTorch's losses on our kernels: PyTorch's values, derivatives and errors."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch_cases import NAMES, F, N, both, is_ours, labels, scores, weights

import fastbce
from fastbce._bfloat16 import numbers
from fastbce.interop import torch as interop
from fastbce.interop.torch import _halves, _ways

if TYPE_CHECKING:
    from collections.abc import Callable


# --- values and derivatives ----------------------------------------------------------------------


def both_of_shape(shape: tuple[int, int], name: str, reduction: str, weight: Any) -> Any:
    """Return what ours and PyTorch's function make of arrays of that shape."""
    options = {"weight": None if weight is None else weights(weight), "reduction": reduction}
    return both(name, scores(name, shape), labels(shape), **options)


@pytest.mark.parametrize("weight", [None, (4, 9001), (9001,), (4, 1)], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", NAMES)
def test_large_tensors_have_pytorchs_values(name: str, reduction: str, weight: Any) -> None:
    ours, theirs = both_of_shape((4, 9001), name, reduction, weight)
    assert is_ours(ours[0])
    assert not is_ours(theirs[0])
    for found, expected in zip(ours, theirs, strict=True):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("weight", [None, (4, 1)], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", NAMES)
def test_small_tensors_have_pytorchs_bits(name: str, reduction: str, weight: Any) -> None:
    ours, theirs = both_of_shape((4, 100), name, reduction, weight)
    assert not is_ours(ours[0])
    for found, expected in zip(ours, theirs, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_narrow_floats_are_as_exact_as_their_dtype(name: str, dtype: Any) -> None:
    x, y = scores(name, N, dtype).clamp(max=0.99), labels(N, dtype)
    ours, theirs = both(name, x, y)
    if dtype == torch.float16 and name == "binary_cross_entropy":
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        return
    leaf = x.double().requires_grad_()
    exact = getattr(F, name)(leaf, y.double())
    slope = (weights((), dtype) + 0.5).double()
    assert is_ours(ours[0])
    assert ours[0].dtype == dtype
    unit = torch.finfo(dtype).eps
    torch.testing.assert_close(ours[0].double(), exact, rtol=2 * unit, atol=0)
    gradient = torch.autograd.grad(exact, leaf, slope)[0]
    torch.testing.assert_close(
        ours[1].double(), gradient, rtol=8 * unit, atol=torch.finfo(dtype).smallest_normal
    )


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("forked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_floats_have_the_bits_of_our_functions(
    dtype: Any, forked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch converts them to float32 and back, which it must not in a forked child."""
    monkeypatch.setattr(_ways, "_is_forked", lambda: forked)
    x, soft = scores(NAMES[1], (3, 7001), dtype), scores("", (3, 7001), dtype, seed=4)
    for reduction in ("mean", "sum", "none"):
        for y, weight in ((soft, None), (soft, weights(7001, dtype)), (soft > 0.5, None)):
            leaf = x.clone().requires_grad_()
            options: dict[str, Any] = {"reduction": reduction}
            loss = interop.binary_cross_entropy_with_logits(leaf, y, weight, **options)
            slope = torch.autograd.grad(loss, leaf, torch.ones_like(loss))[0]
            if weight is not None:
                options["sample_weight"] = _ways.as_array(weight)
            arrays = (_ways.as_array(t) for t in (x, y))
            expected = fastbce.bce_with_logits_loss_gradient(*arrays, **options)
            assert is_ours(loss)
            for found, wanted in zip((loss.detach(), slope), expected, strict=True):
                same = torch.from_numpy(numbers(np.asarray(wanted), np.float32)).to(dtype)
                assert found.dtype == dtype
                assert torch.equal(found, same), (reduction, y.dtype)


@pytest.mark.parametrize(
    ("dtype", "digits"), [(torch.bfloat16, 8), (torch.float16, 11), (torch.float64, 53)], ids=str
)
def test_a_loss_is_rounded_once(dtype: Any, digits: int) -> None:
    for exponent in (-12, 0, 3, 11):
        unit = 2.0 ** (exponent + 1 - digits)
        for steps, expected in ((0.5 + 2.0**-25, 1), (0.5, 0), (1.5, 2), (0.5 - 2.0**-25, 0)):
            value = 2.0**exponent + steps * unit
            if digits < 53:
                assert _halves.rounded(value, dtype) == 2.0**exponent + expected * unit
            else:
                assert _halves.rounded(value, dtype) == value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_losses_that_their_dtype_has_not(dtype: Any) -> None:
    most = torch.finfo(dtype).max
    for value, label, expected in (
        (most, 0.0, torch.inf),
        (-most, 0.0, 0.0),
        (torch.nan, 0.0, None),
    ):
        x, y = torch.full((N,), value, dtype=dtype), torch.full((N,), label, dtype=dtype)
        loss = interop.binary_cross_entropy_with_logits(x, y, reduction="sum")
        assert loss.isnan() if expected is None else loss == expected


@pytest.mark.usefixtures("any_size")
def test_a_tensor_that_was_kept_from_a_derived_function() -> None:
    kept = []

    def square(x: Any) -> Any:
        kept.append(x)
        return (x**2).sum()

    torch.func.grad(square)(torch.linspace(-2, 2, 9))
    x, other = kept[0], torch.linspace(0, 1, 9).requires_grad_()
    for arguments in ((x, other.detach()), (other, x), (other.detach(), x)):
        ours, theirs = (m.binary_cross_entropy_with_logits(*arguments) for m in (interop, F))
        torch.testing.assert_close(ours, theirs)
        assert ours.requires_grad == theirs.requires_grad


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("name", NAMES)
def test_pytorchs_own_samples(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("expecttest", reason="PyTorch's test helpers need it")
        from torch.testing._internal.common_methods_invocations import op_db
    (info,) = (op for op in op_db if op.name == f"nn.functional.{name}")
    count = 0
    for sample in info.sample_inputs("cpu", torch.float64, requires_grad=False):
        ours, theirs = both(name, sample.input, *sample.args, **sample.kwargs)
        count += is_ours(ours[0])
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)
    assert count >= 8


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name: str, reduction: str, weighted: bool) -> None:
    function = getattr(interop, name)
    x, y = scores(name, 12).requires_grad_(), labels(12) * 0.5 + 0.25
    options = {"weight": weights(12) if weighted else None, "reduction": reduction}
    assert is_ours(function(x, y, **options))

    def call(x: Any, y: Any) -> Any:
        return function(x, y, **options)

    assert torch.autograd.gradcheck(call, (x, y))
    assert torch.autograd.gradgradcheck(call, (x, y))
    # And for the labels, which are PyTorch's own.
    assert torch.autograd.gradgradcheck(call, (x, y.clone().requires_grad_()))


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_handed_out_once_and_computed_again(name: str) -> None:
    leaf = scores(name, N, torch.float32).requires_grad_()
    loss = getattr(interop, name)(leaf, labels(N, torch.float32))
    loss.backward(retain_graph=True)
    first = leaf.grad.clone()
    loss.backward(torch.tensor(2.0), retain_graph=True)
    torch.testing.assert_close(leaf.grad, 3 * first)
    (second,) = torch.autograd.grad(loss, leaf)
    assert torch.equal(second, first)
    torch.testing.assert_close(leaf.grad, 3 * first)


@pytest.mark.parametrize("name", NAMES)
def test_memory_order_is_kept(name: str) -> None:
    x = scores(name, (2, 3, 60, 50)).to(memory_format=torch.channels_last)
    for scored in (x, x.transpose(0, 1), x[..., ::2, :]):
        y = torch.empty_like(scored).copy_(labels(scored.shape))
        for reduction in ("mean", "none"):
            ours, theirs = both(name, scored, y, reduction=reduction)
            assert [t.stride() for t in ours] == [t.stride() for t in theirs]
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14)
            assert is_ours(ours[0]) == (scored.numel() >= _ways.LEAST)


def test_a_right_label_at_an_infinite_logit_costs_nothing() -> None:
    x = torch.full((N,), torch.inf).requires_grad_()
    loss = interop.binary_cross_entropy_with_logits(x, torch.ones(N))
    assert loss.item() == 0
    assert torch.autograd.grad(loss, x)[0].eq(0).all()
    assert F.binary_cross_entropy_with_logits(x, torch.ones(N)).isnan()


@pytest.mark.parametrize("at", [0.0, 1.0, 1e-30])
def test_saturated_probabilities_are_pytorchs(at: float) -> None:
    p = scores("binary_cross_entropy", N)
    p[3] = at
    for label in (0.0, 1.0):
        ours, theirs = both("binary_cross_entropy", p, torch.full((N,), label).double())
        assert is_ours(ours[0])
        # PyTorch has 1e-12 in float32.
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_our_functions_refuse(name: str) -> None:
    for value in (-1.0, torch.inf):
        weight = torch.full((N,), value).double()
        ours, theirs = both(name, scores(name, N), labels(N), weight=weight)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", ["one", "columns", "rows", "other dtype", "negative", "strided"])
def test_pos_weight(kind: str, compiled: bool) -> None:
    name, shape = NAMES[1], (N, 3)
    pos_weight = {
        "one": torch.tensor([3.0]).double(),
        "rows": weights((N, 1)),
        "other dtype": torch.tensor([0.5, 1.0, 7.0]),
        "negative": torch.tensor([-2.0]).double(),
    }.get(kind, torch.tensor([0.5, 1.0, 7.0]).double())
    x, y = scores(name, shape), labels(shape) * 0.5 + 0.25
    if kind == "strided":
        x, y = (t.t().contiguous().t() for t in (x, y))
    for reduction in ("mean", "none"):
        options = {"pos_weight": pos_weight, "weight": weights((N, 1)), "reduction": reduction}
        if compiled:
            # Derived by the same tool as PyTorch's own, in the operator's formulas.
            operator = torch.ops.fastbce.binary_cross_entropy_with_logits.default
            leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
            arguments: tuple[Any, ...] = (
                leaf,
                y,
                options["weight"],
                pos_weight.double(),
                reduction,
                [],
                True,
            )
            loss = operator(*arguments)[0]
            ours = loss, *torch.autograd.grad(loss, leaf, weights(loss.shape) + 0.5)
            _, theirs = both(name, x, y, **{**options, "pos_weight": pos_weight.double()})
            torch.library.opcheck(operator, arguments, test_utils=("test_faketensor",))
        else:
            ours, theirs = both(name, x, y, **options)
            assert is_ours(ours[0]) == (kind in ("one", "columns"))
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.usefixtures("any_size")
def test_derivatives_with_pos_weight() -> None:
    x, y = scores(NAMES[1], (4, 3)).requires_grad_(), labels((4, 3)) * 0.5 + 0.25
    pos_weight = torch.tensor([0.5, 1.0, 7.0]).double()

    def call(x: Any) -> Any:
        loss = interop.binary_cross_entropy_with_logits(x, y, pos_weight=pos_weight)
        assert is_ours(loss) or not x.requires_grad
        return loss

    assert torch.autograd.gradcheck(call, (x,))
    assert torch.autograd.gradgradcheck(call, (x,))


# --- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, N])
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_labels_may_be_bool_or_integers(name: str, dtype: Any, n: int) -> None:
    x = scores(name, n).requires_grad_()
    with pytest.raises(RuntimeError):
        getattr(F, name)(x, labels(n, dtype))
    found = [getattr(interop, name)(x, labels(n, kind)) for kind in (dtype, torch.float64)]
    assert torch.equal(*found)


@pytest.mark.parametrize("n", [5, N])
def test_labels_of_a_mask_are_refused(n: int) -> None:
    mask = torch.zeros(n, dtype=torch.uint8)
    mask[2] = 255
    x = torch.zeros(n, requires_grad=True)
    with pytest.raises(ValueError, match=r"^target\[2\] is 255, but labels must lie in \[0, 1\]"):
        interop.binary_cross_entropy_with_logits(x, mask)
    with pytest.raises(RuntimeError, match="all elements of target should be between 0 and 1"):
        interop.binary_cross_entropy(x + 0.5, mask)


@pytest.mark.parametrize("n", [5, N])
def test_float_labels_of_logits_are_not_checked(n: int) -> None:
    name = "binary_cross_entropy_with_logits"
    ours, theirs = both(name, scores(name, n), labels(n) * 3 - 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14)


# --- the focal loss ------------------------------------------------------------------------------


def focal(z: Any, y: Any, alpha: float, gamma: float) -> Any:
    """Return the losses and the gradient of their sum by other formulas, in float64."""
    sign = 2 * y - 1
    u = torch.sigmoid(-sign * z)  # of the other label
    share = 1.0 if alpha < 0 else alpha * y + (1 - alpha) * (1 - y)
    loss = F.softplus(-sign * z)
    slope = -sign * share * u**gamma * (u + gamma * (1 - u) * loss)
    return share * u**gamma * loss, slope


@pytest.mark.parametrize("n", [5, N])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2), (-1, 0), (1, 0.5), (0.4, 3.0)])
def test_focal_loss(alpha: float, gamma: float, n: int) -> None:
    z, y = scores(NAMES[1], n), labels(n)
    losses, slope = focal(z, y, alpha, gamma)
    expected = {"none": losses, "sum": losses.sum(), "mean": losses.mean()}
    for reduction, value in expected.items():
        leaf = z.clone().requires_grad_()
        for targets in (y, y.bool()):
            options: dict[str, Any] = {"alpha": alpha, "gamma": gamma, "reduction": reduction}
            found = interop.sigmoid_focal_loss(leaf, targets, **options)
            assert is_ours(found) == (n >= _ways.LEAST)
            torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-12)
        gradient = torch.autograd.grad(found.sum(), leaf)[0]
        scaled = slope / n if reduction == "mean" else slope
        torch.testing.assert_close(gradient, scaled, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2), (-1, 0), (1, 1.5)])
def test_derivatives_of_the_focal_loss(alpha: float, gamma: float) -> None:
    x, y = scores(NAMES[1], 8).requires_grad_(), labels(8) * 0.5 + 0.25

    def call(x: Any) -> Any:
        return interop.sigmoid_focal_loss(x, y, alpha=alpha, gamma=gamma, reduction="mean")

    assert is_ours(call(x))
    assert torch.autograd.gradcheck(call, (x,))
    assert torch.autograd.gradgradcheck(call, (x,))
    operator = torch.ops.fastbce.sigmoid_focal_loss.default
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numbers = [float(alpha), float(gamma)]
        torch.library.opcheck(operator, (x, y, None, None, "none", numbers, True))
        compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), call(x))


def test_focal_loss_at_saturated_logits() -> None:
    z = torch.linspace(-200, 200, N, dtype=torch.float64).requires_grad_()
    loss = interop.sigmoid_focal_loss(z, torch.ones(N).double(), gamma=0.5, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, z)
    assert gradient.isfinite().all()


def test_focal_loss_refuses() -> None:
    x, y = torch.zeros(3), torch.zeros(3)
    with pytest.raises(ValueError, match=r"Invalid alpha value: 1\.5\. alpha must be in"):
        interop.sigmoid_focal_loss(x, y, alpha=1.5)
    with pytest.raises(ValueError, match="Invalid Value for arg 'reduction': 'median"):
        interop.sigmoid_focal_loss(x, y, reduction="median")
    with pytest.raises(ValueError, match="Target size"):
        interop.sigmoid_focal_loss(x, y[:2])
    with pytest.raises(ValueError, match=r"targets\[0\] is 255"):
        interop.sigmoid_focal_loss(x, torch.full((3,), 255, dtype=torch.uint8))


# --- errors and warnings -------------------------------------------------------------------------

BAD: dict[str, Callable[[Any, Any], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "shapes": lambda x, y: ((x, y[:, None]), {}),
    "dtypes": lambda x, y: ((x, y.float()), {}),
    "reduction": lambda x, y: ((x, y), {"reduction": "median"}),
    "weight of another size": lambda x, y: ((x, y, y[:3]), {}),
    "larger weight": lambda x, y: ((x, y, y.expand(2, *y.shape)), {}),
    "weight with a gradient": lambda x, y: ((x, y, torch.ones_like(y).requires_grad_()), {}),
    "complex": lambda x, y: ((x.to(torch.complex128), y), {}),
    "no tensor": lambda x, y: ((x, [1.0]), {}),
    "no tensors": lambda x, y: (([0.5], [1.0]), {}),
    "label of 2": lambda x, y: ((x, y + 1), {}),
    "NaN": lambda x, y: ((x * torch.nan, y), {}),
    "score of 2": lambda x, y: ((x * 0 + 2, y), {}),
}


def outcome(function: Any, arguments: Any, options: Any) -> Any:
    try:
        return function(*arguments, **options)
    except Exception as error:  # noqa: BLE001
        return type(error), str(error)


@pytest.mark.parametrize("n", [5, N])
@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", NAMES)
def test_errors_are_pytorchs(name: str, case: str, n: int) -> None:
    arguments, options = BAD[case](scores(name, n), labels(n))
    ours, theirs = (outcome(getattr(m, name), arguments, options) for m in (interop, F))
    if isinstance(theirs, torch.Tensor):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0, equal_nan=True)
    else:
        assert ours == theirs


@pytest.mark.parametrize("options", [{"size_average": False}, {"reduce": False}], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_old_forms_of_the_reduction(name: str, options: dict[str, bool]) -> None:
    found = []
    for module in (interop, F):
        with pytest.warns(UserWarning, match="size_average and reduce") as caught:
            found.append(getattr(module, name)(scores(name, N), labels(N), **options))
        assert len(caught) == 1
    torch.testing.assert_close(*found, rtol=1e-11, atol=1e-14)


def test_modules_are_pytorchs() -> None:
    weight = torch.tensor([0.5, 2.0, 1.0]).double()
    shape = (N, 3)
    for name, function in zip(("BCELoss", "BCEWithLogitsLoss"), NAMES, strict=True):
        x, y = scores(function, shape).requires_grad_(), labels(shape)
        ours = getattr(interop, name)(weight=weight, reduction="sum")
        theirs = getattr(torch.nn, name)(weight=weight, reduction="sum")
        assert isinstance(ours, type(theirs))
        assert repr(ours) == repr(theirs)
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(x, y), theirs(x, y))
    ours, theirs = (module.BCEWithLogitsLoss(pos_weight=weight) for module in (interop, torch.nn))
    torch.testing.assert_close(ours(x, y), theirs(x, y))
