"""PyTorch's losses on our kernels: PyTorch's values, derivatives, errors and transformations."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.autograd import forward_ad

import fastbce
from fastbce._engine import calls
from fastbce._engine.lender import Choice, Lender, lent
from fastbce._engine.team import team_of
from fastbce._kernels.compile import point
from fastbce.interop import torch as interop
from fastbce.interop.torch import _ways

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    Python = Callable[..., subprocess.CompletedProcess[str]]

F = torch.nn.functional
NAMES = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
N = _ways.LEAST + 5


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take tensors of any size our way."""
    monkeypatch.setattr(_ways, "LEAST", 0)


def scores(name: str, shape: Any, dtype: Any = torch.float64, seed: int = 0) -> Any:
    """Return logits, or probabilities of them."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(shape, dtype=torch.float64, generator=generator) * 3
    return (z if "logits" in name else torch.sigmoid(z)).to(dtype)


def labels(shape: Any, dtype: Any = torch.float64) -> Any:
    generator = torch.Generator().manual_seed(9)
    return (torch.rand(shape, generator=generator) < 0.3).to(dtype)


def weights(shape: Any, dtype: Any = torch.float64) -> Any:
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(7))


def is_ours(loss: Any) -> bool:
    return type(loss.grad_fn).__name__ == "_LossBackward"


def both(name: str, x: Any, *arguments: Any, **options: Any) -> tuple[Any, Any]:
    """Return (loss, gradient) by us and by PyTorch."""
    found = []
    for module in (interop, F):
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        loss = getattr(module, name)(leaf, *arguments, **options)
        slope = weights(loss.shape, loss.dtype) + 0.5
        found.append((loss, *torch.autograd.grad(loss, leaf, slope)))
    return found[0], found[1]


# --- values and derivatives ----------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, (4, 5001), (5001,), (4, 1)], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", NAMES)
def test_large_tensors_have_pytorchs_values(name: str, reduction: str, weight: Any) -> None:
    shape = (4, 5001)
    options = {"weight": None if weight is None else weights(weight), "reduction": reduction}
    ours, theirs = both(name, scores(name, shape), labels(shape), **options)
    assert is_ours(ours[0])
    assert not is_ours(theirs[0])
    for found, expected in zip(ours, theirs, strict=True):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_narrow_floats_are_as_exact_as_their_dtype(name: str, dtype: Any) -> None:
    x, y = scores(name, N, dtype).clamp(max=0.99), labels(N, dtype)
    ours, _ = both(name, x, y)
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
            arguments = (leaf, y, options["weight"], pos_weight.double(), reduction, True)
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
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_labels_may_be_bool_or_integers(name: str, dtype: Any, n: int) -> None:
    x = scores(name, n, torch.float32)
    with pytest.raises(RuntimeError):
        getattr(F, name)(x, labels(n, dtype))
    found = [getattr(interop, name)(x, labels(n, kind)) for kind in (dtype, torch.float32)]
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
            torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-12)
        gradient = torch.autograd.grad(found.sum(), leaf)[0]
        scaled = slope / n if reduction == "mean" else slope
        torch.testing.assert_close(gradient, scaled, rtol=1e-9, atol=1e-12)


def test_focal_loss_refuses() -> None:
    x, y = torch.zeros(3), torch.zeros(3)
    with pytest.raises(ValueError, match=r"Invalid alpha value: 1\.5\. alpha must be in"):
        interop.sigmoid_focal_loss(x, y, alpha=1.5)
    with pytest.raises(ValueError, match="Invalid Value for arg 'reduction': 'median"):
        interop.sigmoid_focal_loss(x, y, reduction="median")
    with pytest.raises(ValueError, match="Target size"):
        interop.sigmoid_focal_loss(x, y[:2])
    with pytest.raises(ValueError, match=r"target\[0\] is 255"):
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
    weight = torch.tensor([0.5, 2.0, 1.0])
    shape = (N, 3)
    for name, function in zip(("BCELoss", "BCEWithLogitsLoss"), NAMES, strict=True):
        x, y = scores(function, shape, torch.float32), labels(shape, torch.float32)
        ours = getattr(interop, name)(weight=weight, reduction="sum")
        theirs = getattr(torch.nn, name)(weight=weight, reduction="sum")
        assert isinstance(ours, type(theirs))
        assert repr(ours) == repr(theirs)
        ours.load_state_dict(theirs.state_dict())
        torch.testing.assert_close(ours(x, y), theirs(x, y))
    ours, theirs = (module.BCEWithLogitsLoss(pos_weight=weight) for module in (interop, torch.nn))
    torch.testing.assert_close(ours(x, y), theirs(x, y))


# --- what PyTorch does with functions ------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_transformations_are_pytorchs(name: str) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    x, y = scores(name, (2, N)), labels((2, N))

    def forward_derivative(function: Any) -> Any:
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, y)
            return forward_ad.unpack_dual(function(dual, y)).tangent

    def batched_derivatives(function: Any) -> Any:
        leaf = x.clone().requires_grad_()
        loss = function(leaf, y)
        slopes = torch.tensor([1.0, 3.0]).double()
        return torch.autograd.grad(loss, leaf, slopes, is_grads_batched=True)[0]

    def traced(function: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.trace(function, (x, y))(x * 0.5, y)

    ways: dict[str, Callable[[Any], Any]] = {
        "vmap": lambda f: torch.func.vmap(f)(x, y),
        "grad": lambda f: torch.func.grad(f)(x, y),
        "hessian": lambda f: torch.func.hessian(f)(x[0, :3], y[0, :3]),
        "jvp": lambda f: torch.func.jvp(lambda a: f(a, y), (x,), (y,)),
        "forward derivative": forward_derivative,
        "batched derivatives": batched_derivatives,
        "jit.trace": traced,
        "make_fx": lambda f: make_fx(lambda a, b: f(a, b))(x, y)(x * 0.5, y),
    }
    for way, run in ways.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.* is deprecated")
            ours, theirs = run(getattr(interop, name)), run(getattr(F, name))
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14, msg=way)


@pytest.mark.parametrize("name", NAMES)
def test_other_tensors_are_pytorchs(name: str) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    class Marked(torch.Tensor):  # type: ignore[name-defined,misc,unused-ignore]
        pass

    function = getattr(interop, name)
    x, y = scores(name, N), labels(N)
    assert function(x.to("meta"), y.to("meta")).device.type == "meta"
    assert type(function(x.as_subclass(Marked), y)) is Marked
    with FakeTensorMode() as mode:
        assert function(mode.from_tensor(x), mode.from_tensor(y)).shape == ()
    parameter = torch.nn.Parameter(x)
    assert is_ours(function(parameter, y))
    negated = torch.complex(x * 0, -x).conj().imag  # with the bit of a negative view
    assert negated.is_neg()
    assert torch.equal(function(negated, y), getattr(F, name)(negated, y))


def test_autocast() -> None:
    x, y = scores(NAMES[1], N, torch.bfloat16), labels(N, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for scored in (x, x.float()):
            found = [m.binary_cross_entropy_with_logits(scored, y) for m in (interop, F)]
            torch.testing.assert_close(*found)


def test_without_numba_pytorch_computes() -> None:
    x, y = scores(NAMES[1], N).requires_grad_(), labels(N)
    with fastbce.use_backend("numpy"):
        assert not is_ours(interop.binary_cross_entropy_with_logits(x, y))


# --- torch.compile -------------------------------------------------------------------------------


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name: str, reduction: str) -> None:
    operator = getattr(torch.ops.fastbce, name).default
    x, y = scores(name, (5, 4)), labels((5, 4))
    y_t, weight_t = y.t(), weights((4, 1)).expand(4, 5)
    samples = [
        (x.requires_grad_(), y, None, None, reduction, True),
        (x.detach(), y.bool(), None, None, reduction, False),
        (x.t().detach().requires_grad_(), y_t, weight_t, None, reduction, True),
    ]
    for sample in samples:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.library.opcheck(operator, sample)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NAMES)
def test_compiled_in_one_graph_for_all_sizes(name: str, backend: str) -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    torch._dynamo.reset()
    counter = CompileCounterWithBackend(backend)

    def step(module: Any, x: Any, y: Any, weight: Any) -> Any:
        return getattr(module, name)(x * 0.5, y, weight) * 2

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(
            lambda *a: step(interop, *a), backend=counter, fullgraph=True, dynamic=True
        )
        for n in (16, 33, N):
            for weight in (None,) if n > 16 else (None, weights((16, 1))):
                x, y = scores(name, (n, 3)), labels((n, 3))
                ours, theirs = (x.clone().requires_grad_() for _ in range(2))
                found = compiled(ours, y, weight)
                expected = step(F, theirs, y, weight)
                found.backward()
                expected.backward()
                torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)
                torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-11, atol=1e-14)
    assert counter.frame_count == 2  # without and with weights
    (target,) = {
        str(node.target) for node in counter.graphs[0].graph.nodes if "fastbce" in str(node.target)
    }
    assert target == f"fastbce.{name}.default"


@pytest.mark.parametrize("name", NAMES)
def test_the_operator_takes_what_kernels_do_not(name: str) -> None:
    operator = getattr(torch.ops.fastbce, name).default
    x, y = scores(name, 50), labels(50)
    x[0] = 0.0
    leaf = x.clone().requires_grad_()
    for weight in (None, torch.full((50,), -2.0).double()):
        loss, gradient = operator(x, y, weight, None, "mean", True)
        expected = getattr(F, name)(leaf, y, weight)
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-11, atol=0)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, leaf)[0])
    derived = operator(leaf, y, None, None, "mean", True)[0]
    (first,) = torch.autograd.grad(derived, leaf, create_graph=True)
    (expected,) = torch.autograd.grad(getattr(F, name)(leaf, y), leaf, create_graph=True)
    ours, theirs = (torch.autograd.grad(g.sum(), leaf)[0] for g in (first, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14)


# --- threads -------------------------------------------------------------------------------------


@pytest.fixture
def pytorch_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def lender() -> Lender:
    found: Lender = _ways._team()[1]
    if found.slots is None:
        pytest.skip("PyTorch has no OpenMP here that can be found")
    return found


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bool]]:
    """Note the threads of each call that may be shared, and whether they are PyTorch's."""
    found: list[tuple[int, bool]] = []
    original = calls._run

    def run(kernel: Any, options: Any, arrays: Any, threads: int, *rest: Any) -> None:
        found.append((threads, rest[-1] is not None))
        original(kernel, options, arrays, threads, *rest)

    monkeypatch.setattr(calls, "_run", run)
    monkeypatch.setattr(Choice, "borrows", lambda self: True)
    return found


@pytest.mark.parametrize("count", [2, 3, 16])
def test_pytorchs_team_gives_the_same_bits(
    count: int,
    lender: Lender,
    shared: list[tuple[int, bool]],
    pytorch_threads: Callable[[int], None],
    threads: Callable[[int], None],
) -> None:
    name = NAMES[1]
    x, y = scores(name, 10**6, torch.float32), labels(10**6, torch.float32)
    threads(1)
    expected = fastbce.bce_with_logits_loss_gradient(x.numpy(), y.numpy())
    pytorch_threads(count)
    torch.relu(x)
    for most in (2, 16):
        threads(most)
        for _ in range(3):
            leaf = x.clone().requires_grad_()
            loss = interop.binary_cross_entropy_with_logits(leaf, y)
            loss.backward()
            assert shared[-1] == (min(count, most), True)
            assert loss.item() == expected[0]
            assert np.array_equal(leaf.grad.numpy(), expected[1])


def test_threads_that_a_job_has_no_use_for_leave_it(
    lender: Lender, pytorch_threads: Callable[[int], None]
) -> None:
    """Each thread has scratch space of its own, of which there is enough for those asked for."""
    numbered = point(lambda thread, first, parts, options: _fill(parts[0], thread))
    team = team_of(numbered, decorate=point)
    out = np.zeros(4_000_000, np.int64)
    pytorch_threads(16)
    torch.relu(torch.zeros(10**6))
    found = set()
    for _ in range(5):
        out[:] = -1
        team((out,), (), out.size, 1000, lender.slots, 2)
        found |= set(np.unique(out).tolist())
    assert found <= {0, 1}


@point
def _fill(part: Any, number: int) -> None:
    part[:] = number


def test_pytorchs_limit_of_threads_holds(
    lender: Lender,
    shared: list[tuple[int, bool]],
    pytorch_threads: Callable[[int], None],
    threads: Callable[[int], None],
) -> None:
    x, y = torch.zeros(10**6), torch.zeros(10**6)
    threads(4)
    for count, theirs in ((1, False), (2, True)):
        pytorch_threads(count)
        interop.binary_cross_entropy_with_logits(x, y)
        assert shared[-1] == (count, theirs)
    fastbce.bce_with_logits_loss(x.numpy(), y.numpy())
    assert shared[-1] == (4, False)  # the limit and the team are the adapter's alone
    assert lent.get() is None


def test_a_forked_child_uses_its_own_threads(python: Python) -> None:
    script = """
import os, sys, warnings
import torch
from fastbce._engine.lender import Choice
from fastbce.interop import torch as interop
from fastbce.interop.torch import _ways

Choice.borrows = lambda self: True
torch.set_num_threads(2)
x, y = torch.linspace(-3, 3, 200_000), torch.zeros(200_000)
for _ in range(3):
    z = torch.relu(x)
    expected = interop.binary_cross_entropy_with_logits(z, y)
warnings.simplefilter("ignore")
child = os.fork()
if not child:
    assert _ways._team()[1].slots is None
    found = interop.binary_cross_entropy_with_logits(z, y)
    os._exit(0 if found == expected else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

class Losses(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return interop.binary_cross_entropy_with_logits(torch.relu(x), y)

loader = torch.utils.data.DataLoader(Losses(), num_workers=2, multiprocessing_context="fork")
assert [loss.item() for loss in loader] == [expected.item()] * 4
print("the same")
"""
    assert python(script).stdout == "the same\n"


def test_a_child_of_a_process_that_knew_pytorch_alone(python: Python) -> None:
    script = """
import multiprocessing, warnings
import torch

def child(z, y):
    from fastbce._engine.lender import Choice
    from fastbce.interop import torch as interop

    Choice.borrows = lambda self: True
    interop.binary_cross_entropy_with_logits(z, y)

torch.set_num_threads(2)
z, y = torch.relu(torch.linspace(-3, 3, 200_000)), torch.zeros(200_000)
warnings.simplefilter("ignore")
process = multiprocessing.get_context("fork").Process(target=child, args=(z, y))
process.start()
process.join(60)
process.kill()
print(process.exitcode)
"""
    assert python(script).stdout == "0\n"
