"""Who else computes these operations, each at its best. A missing one is a reason, not an error.

A peer is a function ``(operation name, data, reuse, threads) -> call``; it raises `Unavailable`
for operations it does not have, or not under this allocation policy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .operations import Call, Data


class Unavailable(Exception):  # noqa: N818 - a reason to leave a row out
    """The peer is not installed, or has no such operation."""


def scipy(name: str, d: Data, reuse: bool, threads: int) -> Call:
    """``scipy.special.expit``."""
    if name != "sigmoid":
        raise Unavailable("has the sigmoid only")
    from scipy.special import expit

    return (lambda: expit(d.z, out=d.out)) if reuse else (lambda: expit(d.z))


_NUMEXPR = {
    "sigmoid": "1 / (1 + exp(-z))",
    "sigmoid_backward": "z * p * (1 - p)",
    "bce_gradient": "-(y / where(p < lo, lo, where(p > hi, hi, p)) - (1 - y) / "
    "(1 - where(p < lo, lo, where(p > hi, hi, p)))) / n",
    "bce_with_logits_gradient": "(1 / (1 + exp(-z)) - y) / n",
}


def numexpr(name: str, d: Data, reuse: bool, threads: int) -> Call:
    """One fused expression an array result; no reductions that fuse."""
    if name not in _NUMEXPR:
        raise Unavailable("would need several expressions")
    import numexpr as ne

    ne.set_num_threads(threads)
    kind = d.z.dtype.type
    names = {"z": d.z, "p": d.p, "y": d.y, "n": kind(d.z.size)}
    names |= {"lo": kind(1e-7), "hi": kind(1 - 1e-7)}
    text = _NUMEXPR[name].replace("(1 ", "(one ").replace("1 /", "one /")
    names["one"] = kind(1)
    used = {key: value for key, value in names.items() if key in text}
    if reuse:
        return lambda: ne.evaluate(text, local_dict=used, out=d.out)
    return lambda: ne.evaluate(text, local_dict=used)


def scikit_learn(name: str, d: Data, reuse: bool, threads: int) -> Call:
    """``HalfBinomialLoss``, elementwise, without the mean that would come on top."""
    from sklearn._loss.loss import HalfBinomialLoss

    loss = HalfBinomialLoss()
    common = {"y_true": d.y, "raw_prediction": d.z, "n_threads": threads}
    if name == "bce_with_logits_loss":
        out = {"loss_out": d.out} if reuse else {}
        return lambda: loss.loss(**common, **out)
    if name == "bce_with_logits_gradient":
        out = {"gradient_out": d.out} if reuse else {}
        return lambda: loss.gradient(**common, **out)
    if name == "bce_with_logits_loss_gradient":
        out = {"loss_out": d.more, "gradient_out": d.out} if reuse else {}
        return lambda: loss.loss_gradient(**common, **out)
    if name == "bce_with_logits_gradient_hessian":
        out = {"gradient_out": d.out, "hessian_out": d.more} if reuse else {}
        return lambda: loss.gradient_hessian(**common, **out)
    raise Unavailable("no such operation")


def _torch_formulas(torch: Any, n: int) -> dict[str, tuple[Callable[..., Any], str]]:
    f = torch.nn.functional

    def gradient(z: Any, y: Any) -> Any:
        return (torch.sigmoid(z) - y) / n

    def clipped_gradient(p: Any, y: Any) -> Any:
        c = torch.clamp(p, 1e-7, 1 - 1e-7)
        return (c - y) / (c * (1 - c)) / n

    def clipped_loss(p: Any, y: Any) -> Any:
        c = torch.clamp(p, 1e-7, 1 - 1e-7)
        return -(y * torch.log(c) + (1 - y) * torch.log(1 - c)).mean()

    def hessian(z: Any, y: Any) -> Any:
        s = torch.sigmoid(z)
        return (s - y) / n, s * (1 - s) / n

    logits_loss = f.binary_cross_entropy_with_logits
    return {
        "sigmoid": (torch.sigmoid, "z"),
        "sigmoid_backward": (lambda d, s: d * s * (1 - s), "zp"),
        "bce_loss": (clipped_loss, "py"),
        "bce_loss, soft labels": (clipped_loss, "ps"),
        "bce_gradient": (clipped_gradient, "py"),
        "bce_loss_gradient": (lambda p, y: (clipped_loss(p, y), clipped_gradient(p, y)), "py"),
        "bce_with_logits_loss": (logits_loss, "zy"),
        "bce_with_logits_gradient": (gradient, "zy"),
        "bce_with_logits_loss_gradient": (
            lambda z, y: (logits_loss(z, y), gradient(z, y)),
            "zy",
        ),
        "bce_with_logits_gradient_hessian": (hessian, "zy"),
        "bce_with_logits_loss_gradient_hessian": (
            lambda z, y: (logits_loss(z, y), *hessian(z, y)),
            "zy",
        ),
        "sigmoid_bce": (
            lambda z, y: (logits_loss(z, y), torch.sigmoid(z), gradient(z, y)),
            "zy",
        ),
    }


def _torch_formula(torch: Any, name: str, n: int) -> tuple[Callable[..., Any], str]:
    try:
        return _torch_formulas(torch, n)[name]
    except KeyError:
        raise Unavailable("has no such classes") from None


def torch_eager(name: str, d: Data, reuse: bool, threads: int) -> Call:
    """PyTorch, eager: its fused operators where it has them."""
    import torch

    torch.set_num_threads(threads)
    arrays = {"z": d.z, "p": d.p, "y": d.y, "s": d.soft}
    z, p, y, soft = (torch.from_numpy(a) for a in arrays.values())
    out = torch.from_numpy(d.out)
    aten, f = torch.ops.aten, torch.nn.functional
    if name == "sigmoid":
        return (lambda: torch.sigmoid(z, out=out)) if reuse else (lambda: torch.sigmoid(z))
    if name == "sigmoid_backward":
        if reuse:
            return lambda: aten.sigmoid_backward.grad_input(z, p, grad_input=out)
        return lambda: aten.sigmoid_backward(z, p)
    one = torch.ones((), dtype=z.dtype)
    if name == "bce_loss":
        return lambda: f.binary_cross_entropy(p, y)
    if name == "bce_loss, soft labels":
        return lambda: f.binary_cross_entropy(p, soft)
    if name == "bce_gradient":
        return lambda: aten.binary_cross_entropy_backward(one, p, y, None, 1)
    if name == "bce_loss_gradient":
        return lambda: (
            f.binary_cross_entropy(p, y),
            aten.binary_cross_entropy_backward(one, p, y, None, 1),
        )
    formula, letters = _torch_formula(torch, name, d.z.size)
    tensors = dict(zip("zpys", (z, p, y, soft), strict=True))
    arguments = [tensors[letter] for letter in letters]
    return lambda: formula(*arguments)


def torch_compile(name: str, d: Data, reuse: bool, threads: int) -> Call:
    """``torch.compile`` of the formulas, for the shape at hand; large arrays only.

    Each shape compiles for seconds, and its call alone takes tens of microseconds.
    """
    if reuse or d.z.size < 10**6:
        raise Unavailable("allocates its results")
    import torch

    torch.set_num_threads(threads)
    torch._dynamo.config.cache_size_limit = 1000
    formula, letters = _torch_formula(torch, name, d.z.size)
    arrays = {"z": d.z, "p": d.p, "y": d.y, "s": d.soft}
    arguments = [torch.from_numpy(arrays[letter]) for letter in letters]
    compiled = torch.compile(formula, dynamic=False)

    def run() -> Any:
        with torch.no_grad():
            return compiled(*arguments)

    return run


def jax(name: str, d: Data, reuse: bool, threads: int) -> Call:
    """``jax.jit`` of the formulas; Optax for the loss of logits. Its threads cannot be set."""
    if reuse:
        raise Unavailable("allocates its results")
    if threads == 1 and os.cpu_count() != 1:
        raise Unavailable("uses all threads")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax as jax_module
    import jax.numpy as jnp
    import optax

    jax_module.config.update("jax_enable_x64", True)

    def loss(z: Any, y: Any) -> Any:
        return optax.sigmoid_binary_cross_entropy(z, y).mean()

    def clipped(p: Any, y: Any) -> Any:
        c = jnp.clip(p, 1e-7, 1 - 1e-7)
        return -(y * jnp.log(c) + (1 - y) * jnp.log(1 - c)).mean()

    def clipped_gradient(p: Any, y: Any) -> Any:
        c = jnp.clip(p, 1e-7, 1 - 1e-7)
        return (c - y) / (c * (1 - c)) / p.size

    formulas: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "sigmoid": (jax_module.nn.sigmoid, (d.z,)),
        "sigmoid_backward": (lambda g, s: g * s * (1 - s), (d.z, d.p)),
        "bce_loss": (clipped, (d.p, d.y)),
        "bce_loss, soft labels": (clipped, (d.p, d.soft)),
        "bce_gradient": (clipped_gradient, (d.p, d.y)),
        "bce_with_logits_loss": (loss, (d.z, d.y)),
        "bce_with_logits_gradient": (jax_module.grad(loss), (d.z, d.y)),
        "bce_with_logits_loss_gradient": (jax_module.value_and_grad(loss), (d.z, d.y)),
    }
    if name not in formulas:
        raise Unavailable("not written for it")
    formula, arrays = formulas[name]
    compiled = jax_module.jit(formula)
    arguments = [jnp.asarray(a) for a in arrays]
    return lambda: jax_module.block_until_ready(compiled(*arguments))


PEERS: dict[str, Callable[[str, Data, bool, int], Call]] = {
    "SciPy": scipy,
    "numexpr": numexpr,
    "scikit-learn": scikit_learn,
    "PyTorch": torch_eager,
    "torch.compile": torch_compile,
    "JAX": jax,
}
