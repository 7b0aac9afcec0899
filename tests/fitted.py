"""Fits as several test files make them: three ways, and what each of them says."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastbce.inference import InferenceError, LogitResult
from fastbce.linear_model import LogisticRegression
from fastbce.streaming import ArrayChunks

if TYPE_CHECKING:
    from cases import Array

WAYS = ("fit", "fit_stream", "dask")
CHUNK = 128


@dataclass(frozen=True)
class Outcome:
    """A fit: its model, its result or why there is none, and the warnings' texts."""

    model: Any
    result: LogitResult | None
    reason: str
    warned: tuple[str, ...]

    @property
    def right(self) -> LogitResult:
        """The result of a fit about which there is nothing to say."""
        assert not self.warned, self.warned[0]
        assert self.result is not None, self.reason
        return self.result

    @property
    def refusal(self) -> str:
        """The reason of a fit that has no result, which a warning gave too."""
        assert self.result is None, "there is a result"
        assert self.warned, f"refused without a warning: {self.reason}"
        return self.reason


def fitted(X: Any, y: Array, weight: Any = None, *, way: str = "fit", **options: Any) -> Outcome:
    """Fit by maximum likelihood, unless told otherwise.

    Only ConvergenceWarning is a thing that a fit may say; any other warning is an error.
    """
    options = {"C": np.inf, **options}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("always", ConvergenceWarning)
        if way == "fit":
            model = LogisticRegression(**options).fit(X, y, weight)
        elif way == "fit_stream":
            chunks = ArrayChunks(X, y, weight, rows=CHUNK)
            model = LogisticRegression(**options).fit_stream(chunks)
        else:
            model = _fit_with_dask(X, y, weight, options)
        try:
            result, reason = model.result_, ""
        except InferenceError as error:
            result, reason = None, str(error)
    return Outcome(model, result, reason, tuple(str(one.message) for one in caught))


def _fit_with_dask(X: Any, y: Array, weight: Any, options: dict[str, Any]) -> Any:
    import dask
    import dask.array

    from fastbce.interop.dask import LogisticRegression as OnDask

    make: Any = dask.array.from_array
    parts = [
        None if array is None else make(array, chunks=(CHUNK, -1)[: array.ndim])
        for array in (X, y, weight)
    ]
    with dask.config.set(scheduler="synchronous"):
        return OnDask(**options).fit(*parts)


def separating(reason: str) -> set[str]:
    """Return the columns that a message says separate the classes."""
    found = re.search(r"Columns that separate: (.*?)\. ", reason + " ")
    assert found, f"no columns that separate are named: {reason}"
    return set(found[1].split(", "))


def named(reason: str, names: Any) -> set[str]:
    """Return which of the names occur in a message as words."""
    return {name for name in names if re.search(rf"(?<![\w=]){re.escape(name)}(?![\w=])", reason)}


def logits(X: Array, params: Array, *, intercept: bool = True) -> Array:
    """Return the logits in longdouble."""
    wide = X.astype(np.longdouble)
    theta = params.astype(np.longdouble)
    return np.asarray(wide @ theta[1:] + theta[0] if intercept else wide @ theta)
