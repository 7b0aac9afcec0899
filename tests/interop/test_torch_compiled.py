"""PyTorch's losses under what PyTorch does with functions: transformations, compilation."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.autograd import forward_ad
from torch_cases import NAMES, F, N, is_ours, labels, scores, weights

import fastbce
from fastbce.interop import torch as interop

if TYPE_CHECKING:
    from collections.abc import Callable


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
    samples: list[tuple[Any, ...]] = [
        (x.requires_grad_(), y, None, None, reduction, [], True),
        (x.detach(), y.bool(), None, None, reduction, [], False),
        (x.t().detach().requires_grad_(), y_t, weight_t, None, reduction, [], True),
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
        loss, gradient = operator(x, y, weight, None, "mean", [], True)
        expected = getattr(F, name)(leaf, y, weight)
        torch.testing.assert_close(loss, expected.detach(), rtol=1e-11, atol=0)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, leaf)[0])
    derived = operator(leaf, y, None, None, "mean", [], True)[0]
    (first,) = torch.autograd.grad(derived, leaf, create_graph=True)
    (expected,) = torch.autograd.grad(getattr(F, name)(leaf, y), leaf, create_graph=True)
    ours, theirs = (torch.autograd.grad(g.sum(), leaf)[0] for g in (first, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14)
