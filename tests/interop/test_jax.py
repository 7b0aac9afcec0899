"""Losses for JAX: their values, their derivatives, and the ways in which XLA gets at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fastbce

jax = pytest.importorskip("jax", reason="the losses are for JAX")

import jax.numpy as jnp  # noqa: E402, RUF100

from fastbce.interop import jax as ours  # noqa: E402, RUF100

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHAPES: list[tuple[int, ...]] = [(), (3, 50), (20_000,)]


def formula(z: Any, y: Any) -> Any:
    return jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z)))


def mean_formula(z: Any, y: Any) -> Any:
    return formula(z, y).mean()


PAIRS = [
    (ours.sigmoid_binary_cross_entropy, formula),
    (ours.bce_with_logits_loss, mean_formula),
]
EACH = pytest.mark.parametrize(("function", "expected"), PAIRS, ids=["elements", "mean"])


@pytest.fixture(params=["foreign call", "callback"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run the test with XLA's foreign calls, and where XLA refuses them."""
    jax.clear_caches()
    if request.param == "callback":
        monkeypatch.setattr(ours, "_registered", lambda name, dtype: None)
    yield request.param
    jax.clear_caches()


@pytest.fixture
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def samples(shape: tuple[int, ...], dtype: Any = np.float32) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    z = rng.normal(size=shape) * 3
    return jnp.asarray(z, dtype), jnp.asarray(rng.uniform(size=shape), dtype)


def close(found: Any, expected: Any, dtype: Any = np.float32) -> None:
    tolerance = 30 * float(np.finfo(dtype).eps)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    found, expected = (np.asarray(a, np.float64) for a in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_xla_takes_the_kernels() -> None:
    """Else everything below would pass by way of callbacks."""
    for name in ("sigmoid", "loss", "loss_gradient"):
        assert ours._registered(name, np.dtype(np.float32)) == f"fastbce_{name}_float32"
    z, y = samples((5,))
    for function in (ours.sigmoid_binary_cross_entropy, ours.bce_with_logits_loss):
        text = jax.jit(jax.value_and_grad(lambda z, y, f=function: f(z, y).sum())).lower(z, y)
        assert "fastbce_loss_gradient_float32" in text.as_text()
        assert "callback" not in text.as_text()


def test_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise RuntimeError("another version")

    monkeypatch.setattr(jax.ffi, "register_ffi_target", refuse)
    with pytest.warns(RuntimeWarning, match=r"another version.*calls Python instead"):
        assert ours._registered.__wrapped__("sigmoid", np.dtype(np.float32)) is None


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bits_of_this_package(shape: tuple[int, ...], way: str) -> None:
    z, y = samples(shape)
    zn, yn = np.asarray(z), np.asarray(y)
    assert np.array_equal(ours.sigmoid(z), fastbce.sigmoid(zn))
    losses = fastbce.bce_with_logits_loss(zn, yn, reduction="none")
    assert np.array_equal(ours.sigmoid_binary_cross_entropy(z, y), losses)
    loss, gradient = fastbce.bce_with_logits_loss_gradient(zn, yn)
    found, slope = jax.value_and_grad(ours.bce_with_logits_loss)(z, y)
    assert np.array_equal(found, loss)
    assert np.array_equal(slope, gradient)


@EACH
def test_derivatives(function: Callable[..., Any], expected: Callable[..., Any]) -> None:
    z, y = samples((3, 4))
    for change in (jax.jacrev, jax.jacfwd):
        found, theirs = (change(f, (0, 1))(z, y) for f in (function, expected))
        jax.tree.map(close, found, theirs)
    tangents = jnp.ones_like(z), y
    jax.tree.map(close, jax.jvp(function, (z, y), tangents), jax.jvp(expected, (z, y), tangents))


@EACH
def test_higher_derivatives(function: Callable[..., Any], expected: Callable[..., Any]) -> None:
    z, y = samples((4,))
    found, theirs = (
        jax.hessian(lambda z, y, f=f: f(z, y).sum(), (0, 1))(z, y) for f in (function, expected)
    )
    jax.tree.map(close, found, theirs)
    x = jnp.float32(0.7)
    third, theirs = (jax.grad(jax.grad(jax.grad(f))) for f in (function, expected))
    close(third(x, x), theirs(x, x))


def test_derivatives_of_the_sigmoid() -> None:
    x = jnp.linspace(-5, 5, 11)
    found, expected = ours.sigmoid, jax.nn.sigmoid
    for _ in range(3):
        close(jax.vmap(found)(x), jax.vmap(expected)(x))
        found, expected = jax.grad(found), jax.grad(expected)


@EACH
def test_vmap(function: Callable[..., Any], expected: Callable[..., Any], way: str) -> None:
    z, y = samples((2, 3, 40))
    for axes, arguments in (((0, None), (z, y[0])), ((2, 1), (z, jnp.moveaxis(y, 2, 1)))):
        found, theirs = (
            jax.vmap(jax.value_and_grad(lambda *a, f=f: f(*a).sum()), axes)(*arguments)
            for f in (function, expected)
        )
        jax.tree.map(close, found, theirs)
    close(jax.vmap(jax.vmap(function))(z, y), jax.vmap(jax.vmap(expected))(z, y))


@EACH
def test_jit(function: Callable[..., Any], expected: Callable[..., Any]) -> None:
    z, y = samples((50,))

    def step(f: Callable[..., Any]) -> Any:
        # The loss in the middle of other operations, in a loop.
        def body(_: int, x: Any) -> Any:
            return x - jax.grad(lambda x: (f(2 * x, y) ** 2).sum())(x)

        return jax.jit(lambda x: jax.lax.fori_loop(0, 5, body, x))

    close(step(function)(z), step(expected)(z))


@EACH
@pytest.mark.usefixtures("double")
def test_float64(function: Callable[..., Any], expected: Callable[..., Any]) -> None:
    z, y = samples((3, 30), np.float64)
    close(function(z, y), expected(z, y), np.float64)
    found, theirs = (jax.grad(lambda z, f=f: f(z, y).sum())(z) for f in (function, expected))
    close(found, theirs, np.float64)
    assert np.array_equal(ours.sigmoid(z), fastbce.sigmoid(np.asarray(z)))


@EACH
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision(
    function: Callable[..., Any], expected: Callable[..., Any], dtype: Any
) -> None:
    z, y = samples((60,), dtype)
    wide = (z.astype(np.float32), y.astype(np.float32))
    assert np.array_equal(function(z, y), function(*wide).astype(dtype))
    gradient = jax.grad(lambda z: function(z, y).sum())(z)
    assert gradient.dtype == dtype
    exact = jax.grad(lambda z: expected(z, wide[1]).sum())(wide[0])
    np.testing.assert_allclose(gradient.astype(np.float32), exact, rtol=0.01, atol=1e-4)


@EACH
def test_labels_of_other_dtypes(function: Callable[..., Any], expected: Callable[..., Any]) -> None:
    z, y = samples((9,))
    for labels in (y > 0.5, (y > 0.5).astype(np.int8), [0, 1, 0, 1, 1, 0, 1, 1, 1], 1):
        same = jnp.asarray(labels, z.dtype)
        assert np.array_equal(function(z, labels), function(z, same))
        found = jax.grad(lambda z, labels=labels: function(z, labels).sum())(z)
        assert np.array_equal(found, jax.grad(lambda z, y=same: function(z, y).sum())(z))


def test_shapes_are_broadcast_as_by_optax() -> None:
    z, y = samples((3, 4))
    close(ours.sigmoid_binary_cross_entropy(z, y[0]), formula(z, jnp.broadcast_to(y[0], z.shape)))
    with pytest.raises(ValueError, match="Incompatible shapes"):
        ours.sigmoid_binary_cross_entropy(z, y[:, :3])


def test_no_elements(way: str) -> None:
    z = jnp.zeros((0, 3))
    assert ours.sigmoid(z).shape == (0, 3)
    assert ours.sigmoid_binary_cross_entropy(z, z).shape == (0, 3)
    loss, slope = jax.value_and_grad(ours.bce_with_logits_loss)(z, z)
    assert np.isnan(loss)
    assert slope.shape == (0, 3)


def test_special_values(way: str) -> None:
    z = jnp.asarray([np.inf, -np.inf, np.nan, 1e30, -1e30, 0.0, -0.0])
    y = jnp.asarray([1.0, 0, 1, 0, 1, 0, 1])
    zn, yn = np.asarray(z), np.asarray(y)
    losses = ours.sigmoid_binary_cross_entropy(z, y)
    expected = fastbce.bce_with_logits_loss(zn, yn, reduction="none")
    assert np.array_equal(losses, expected, equal_nan=True)
    slopes = jax.grad(lambda z: ours.sigmoid_binary_cross_entropy(z, y).sum())(z)
    expected = fastbce.bce_with_logits_gradient(zn, yn, reduction="none")
    assert np.array_equal(slopes, expected, equal_nan=True)


def test_the_other_backend_is_called_back() -> None:
    z, y = samples((11,))
    jax.clear_caches()
    with fastbce.use_backend("numpy"):
        text = jax.jit(ours.bce_with_logits_loss).lower(z, y).as_text()
    jax.clear_caches()
    assert "callback" in text
    assert "fastbce_" not in text


def test_other_devices_have_formulas() -> None:
    """There is none here: what would be computed on one is looked at instead."""
    z, y = samples((11,))
    found = []

    def record(*arrays: Any, cpu: Any, default: Any) -> Any:
        found.append(default(*arrays))
        return cpu(*arrays)

    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.lax, "platform_dependent", record)
        for function, expected in PAIRS:
            found.clear()
            with jax.disable_jit():
                value = function(z, y)
                close(found[0], value)
                found.clear()
                gradient = jax.grad(lambda z, f=function: f(z, y).sum())(z)
            close(found[0][0], expected(z, y))
            close(found[0][1], gradient)
    jax.clear_caches()


def test_optax_has_the_same_answers() -> None:
    optax = pytest.importorskip("optax", reason="its loss is compared with ours")
    z, y = samples((64,))
    close(ours.sigmoid_binary_cross_entropy(z, y), optax.sigmoid_binary_cross_entropy(z, y))
