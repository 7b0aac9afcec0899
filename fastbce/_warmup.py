"""Pay for the kernels before they are needed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from . import functional
from ._inputs import check_choice
from ._operations import OPERATIONS
from .linear import linear_bce_hessian, linear_bce_loss_gradient

Call = tuple[str, Callable[[], Any]]
# What `warmup` prepares only when it is named.
OTHERS = tuple(name for name, operation in OPERATIONS.items() if not operation.common)


def warmup(*more: str, linear: bool = False, verbose: bool | None = None) -> None:
    """Compile, or load from the cache, the kernels of the functions for float32 and float64.

    The first call of a function otherwise pays for its kernel: a fraction of a second to compile,
    less to load. Calls of any length with labels of the scores' own dtype, int64 and bool are
    covered, without weights, with the reductions "mean", "sum" and "none".

    Parameters
    ----------
    *more : str
        Names of functions that are not prepared without being named, since most programs call none
        of them: "softplus", "log_sigmoid", "logit", "focal_loss" and the other focal ones.
    linear : bool, default False
        Whether to prepare :func:`fastbce.linear_bce_loss_gradient` and
        :func:`fastbce.linear_bce_hessian` too, for contiguous rows without weights and
        coefficients of the dtype of `X`: some seconds for each kernel.
    verbose : bool, optional
        Whether to say on the standard error what is being prepared; by default where that is a
        terminal.
    """
    for name in more:
        check_choice(name, OTHERS, "warmup takes no function")
    show = sys.stderr.isatty() if verbose is None else verbose
    wanted = {name for name in OPERATIONS if name in more or name not in OTHERS}
    calls = [*_calls(wanted), *(_linear_calls() if linear else ())]
    for done, (text, call) in enumerate(calls, 1):
        if show:
            line = f"fastbce kernels {done}/{len(calls)}: {text}"
            print(f"\r{line:<79}", end="", file=sys.stderr, flush=True)
        call()
    if show:
        print(file=sys.stderr)


def _labels_of(x: Any) -> list[Any]:
    return [x, np.zeros(x.shape, np.int64), np.zeros(x.shape, np.bool_)]


def _calls(wanted: set[str]) -> Iterator[Call]:
    for dtype in (np.float32, np.float64):
        x = np.full(2, 0.25, dtype)
        shared = x.copy()
        # Short plain arrays take the short way in; others that of arrays that threads share.
        shared.flags.writeable = False
        for scores in (x, shared):
            for name, operation in OPERATIONS.items():
                if name not in wanted:
                    continue
                function, family = getattr(functional, name), operation.family
                if not family.is_loss:
                    arguments = [scores] * len(family.arguments)
                    yield f"{name} {dtype.__name__}", partial(function, *arguments)
                    continue
                # A loss has a kernel of its own for the losses of the elements.
                reductions = ("mean", "none") if operation.returns_loss else ("mean",)
                for labels in _labels_of(x):
                    for reduction in reductions:
                        call = partial(function, scores, labels, reduction=reduction)
                        yield _text(function, dtype, labels), call


def _linear_calls() -> Iterator[Call]:
    for dtype in (np.float32, np.float64):
        X, coef = np.full((2, 3), 0.25, dtype), np.zeros(3, dtype)
        for labels in _labels_of(X[:, 0].copy()):
            call = partial(linear_bce_loss_gradient, X, labels, coef)
            yield _text(linear_bce_loss_gradient, dtype, labels), call
        yield f"linear_bce_hessian {dtype.__name__}", partial(linear_bce_hessian, X, coef)


def _text(function: Any, dtype: Any, labels: Any) -> str:
    return f"{function.__name__} {dtype.__name__} {labels.dtype}"
