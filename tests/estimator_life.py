"""Lives of an estimator: random sequences of everything that can be called on one.

After each call the object equals a fresh one that was told only what counts, or the call raised a
clean error and the object is what it was before. As a script, ``estimator_life.py FIRST LAST``
lives the lives of these seeds with arrays that end where memory may not be read.
"""

from __future__ import annotations

import copy
import ctypes
import mmap
import pickle
import re
import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import fastbce
from fastbce.inference import InferenceError
from fastbce.linear_model import LogisticRegression
from fastbce.streaming import ArrayChunks

if TYPE_CHECKING:
    from collections.abc import Callable

    from cases import Array

CLEAN = (ValueError, TypeError)
CLASSES = ([0, 1], [0, 1], [-1, 1], [False, True], ["no", "yes"], [0.0, 1.0])
PARAMETERS: dict[str, tuple[list[Any], list[Any]]] = {
    # name -> valid values, invalid values
    "C": ([1.0, 0.01, 100, np.inf], [0, -1.0, np.nan, "1", True]),
    "fit_intercept": ([True, False], ["no", None, 2]),
    "solver": (["auto", "newton", "lbfgs"], ["newton-cf", None]),
    "tol": ([1e-6, 1e-9], [0, np.inf, np.nan, "1"]),
    "max_iter": ([200, 300], [0, True, 1.5, None]),
    "warm_start": ([False, True], ["no", None, 2]),
    "cov_type": (["nonrobust", "HC0"], ["HC4", None]),
    "class_weight": ([None, None, "balanced", {0: 2.0, 1: 0.5}], ["even"]),
}


def in_memory(array: Array) -> Array:
    return array


def at_the_edge(array: Array) -> Array:
    """Return a copy of a contiguous array whose last byte lies before a page without access."""
    page = mmap.PAGESIZE
    size = max(-(-array.nbytes // page) * page, page)
    buffer = mmap.mmap(-1, size + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(start + size), ctypes.c_size_t(page), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    order: Any = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    placed = np.ndarray(array.shape, array.dtype, buffer, size - array.nbytes, order=order)
    placed[...] = array
    return placed


@dataclass
class Data:
    X: Any
    y: Any
    weight: Any = None

    @property
    def columns(self) -> int:
        return int(self.X.shape[1])


@dataclass
class Life:
    """One estimator, what counts of its past, and the tools to check it."""

    rng: np.random.Generator
    place: Callable[[Array], Array] = in_memory
    model: Any = field(default_factory=LogisticRegression)
    # The calls of partial_fit and set_params since partial_fit was first called.
    batches: list[tuple[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    warned: bool = False

    def live(self, calls: int) -> None:
        steps = [self.fit, self.fit, self.fit_stream, self.partial_fit, self.partial_fit]
        steps += [self.set_params, self.set_params, self.copies, self.clone, self.bad_call]
        for _ in range(calls):
            step = steps[int(self.rng.integers(len(steps)))]
            self.said.append(step.__name__)
            step()

    # --- data -------------------------------------------------------------------------------------

    def pick(self, values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def draw(self, columns: int | None = None, classes: Any = None) -> Data:
        rng = self.rng
        n = int(rng.choice([9, 64, 333, 1024]))
        d = columns or int(rng.choice([1, 2, 2, 3, 8, 40]))
        X = rng.normal(size=(n, d)) + (rng.random() < 0.2) * 30
        z = X[:, 0] - X[:, 0].mean() + rng.logistic(size=n)
        label = (z > 0).astype(int)
        label[:2] = 0, 1
        y = np.asarray(classes if classes is not None else self.pick(CLASSES))[label]
        weight = self.pick([None, None, rng.random(n), rng.integers(0, 3, n)])
        if weight is not None:
            weight[:2] = 1
            weight = self.place(
                weight.astype(
                    self.pick(["f8", "f4", "i8"] if weight.dtype.kind == "i" else ["f8", "f4"])
                )
            )
        return Data(self.laid_out(X), y if y.dtype.kind == "U" else self.place(y), weight)

    def laid_out(self, X: Array) -> Any:
        """Return the matrix in one of many dtypes and layouts, its last element at the edge."""
        X = X.astype(self.pick(["f8", "f8", "f4", "f4", "i4", ">f8"]))
        layout = self.pick(["C", "C", "F", "rows", "columns", "reversed", "read-only"])
        if layout == "F":
            return self.place(np.asfortranarray(X))
        if layout == "rows":
            return self.place(np.repeat(X, 2, axis=0))[1::2]
        if layout == "columns":
            return self.place(np.repeat(X, 2, axis=1))[:, 1::2]
        if layout == "reversed":
            return self.place(np.ascontiguousarray(X[::-1]))[::-1]
        placed = self.place(np.ascontiguousarray(X))
        if layout == "read-only":
            placed.flags.writeable = False
        return placed

    # --- calls ------------------------------------------------------------------------------------

    def fit(self) -> None:
        data = self.draw(self.pick([None, getattr(self.model, "n_features_in_", None)]))
        self.whole(lambda model: model.fit(data.X, data.y, data.weight), data)

    def fit_stream(self) -> None:
        data = self.draw()
        rows = 1 + len(data.y) // int(self.rng.integers(1, 5))
        self.whole(
            lambda model: model.fit_stream(ArrayChunks(data.X, data.y, data.weight, rows=rows)),
            data,
        )

    def whole(self, call: Callable[[Any], Any], data: Data) -> None:
        """Fit all at once: the object equals a fresh one, or refused another model's start."""
        had = self.model.__dict__.get("coef_")
        warm = self.model.warm_start and had is not None
        other = warm and had.shape[1] != data.columns
        error = self.attempt(call)
        warned = self.warned
        if other:
            assert isinstance(error, ValueError), "a start of another number of columns"
            return
        fresh = clone(self.model)
        expected = self.outcome(call, fresh)
        assert type(error) is type(expected), (error, expected)
        if error is None:
            self.batches = []
            if warm and warned:
                # Where a solver that says so has stopped depends on where it started.
                assert self.model.coef_.shape == fresh.coef_.shape
                return
            self.assert_same(fresh, exact=not warm)

    def partial_fit(self) -> None:
        known = self.model.__dict__.get("n_features_in_")
        columns = known if self.rng.random() < 0.8 else None
        classes = self.model.__dict__.get("classes_") if self.rng.random() < 0.9 else None
        data = self.draw(columns, classes)
        first = not self.batches

        def call(model: Any) -> Any:
            return model.partial_fit(data.X, data.y, sample_weight=data.weight)

        error = self.attempt(call)
        if error is not None:
            reasons = (
                not first and data.columns != known,
                not first and not np.array_equal(np.unique(data.y), self.model.classes_),
                self.model.class_weight is not None,
                not first and self.parameters_changed(),
            )
            assert any(reasons), error
            return
        if first:
            self.batches = [("set_params", self.model.get_params())]
        self.batches.append(("partial_fit", call))
        self.assert_same(self.replayed(), exact=True)

    def parameters_changed(self) -> bool:
        return sum(name == "set_params" for name, _ in self.batches) > 1

    def replayed(self) -> Any:
        fresh = LogisticRegression()
        for name, what in self.batches:
            if name == "set_params":
                fresh.set_params(**what)
            else:
                assert self.outcome(what, fresh) is None
        return fresh

    def set_params(self) -> None:
        """Set something valid, or something that the next fit must refuse and nothing changes."""
        name = self.pick(list(PARAMETERS))
        valid, invalid = PARAMETERS[name]
        if self.rng.random() < 0.7:
            chosen = {name: self.pick(valid)}
            self.model.set_params(**chosen)
            if self.batches:
                self.batches.append(("set_params", chosen))
            return
        before = self.model.get_params()[name]
        self.model.set_params(**{name: self.pick(invalid)})
        data = self.draw()
        call = self.pick(
            [
                lambda model: model.fit(data.X, data.y, data.weight),
                lambda model: model.fit_stream(ArrayChunks(data.X, data.y)),
                lambda model: model.partial_fit(data.X, data.y),
            ]
        )
        shown = f"{name}={self.model.get_params()[name]!r}"
        assert isinstance(self.attempt(call), CLEAN), f"{shown} was taken"
        self.model.set_params(**{name: before})

    def copies(self) -> None:
        """Go on with a copy."""
        other = self.pick([copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])(
            self.model
        )
        self.assert_same(other, exact=True)
        self.model = other

    def clone(self) -> None:
        self.model = clone(self.model)
        assert not hasattr(self.model, "coef_")
        self.batches = []

    def bad_call(self) -> None:
        data = self.draw()
        n = len(data.y)
        X = np.array(data.X, float)
        nan = X.copy()
        nan[n // 2, -1] = np.nan
        infinite = X.copy()
        infinite[-1, 0] = np.inf
        negative = np.full(n, 1.0)
        negative[-1] = -1
        one = np.full(n, data.y[0])
        bad = [
            (nan, data.y, None),
            (infinite, data.y, None),
            (X, data.y, negative),
            (X, data.y, negative * np.nan),
            (X, data.y, np.zeros(n)),
            (X, data.y, np.ones(n + 1)),
            (X, data.y[:-1], None),
            (X[:, 0], data.y, None),
            (X, np.arange(n) % 3, None),
            (X[:0], data.y[:0], None),
            (X[:, :0], data.y, None),
            (np.full(X.shape, "high"), data.y, None),
        ]
        arguments = self.pick(bad)
        calls = [
            lambda model: model.fit(*arguments),
            lambda model: model.partial_fit(*arguments[:2], sample_weight=arguments[2]),
            lambda model: model.fit_stream(lambda: iter([arguments])),
            lambda model: model.fit(X, one),
            lambda model: model.predict(X[:, [0] * (data.columns + 1 + self.model_columns())]),
        ]
        error = self.attempt(self.pick(calls))
        assert isinstance(error, CLEAN), f"a bad call was taken: {[np.shape(a) for a in arguments]}"
        assert not re.search(r"np\.(int|float|bool|True|False)", str(error)), error

    def model_columns(self) -> int:
        return int(self.model.__dict__.get("n_features_in_", 0))

    # --- checks -----------------------------------------------------------------------------------

    def outcome(self, call: Callable[[Any], Any], model: Any) -> Exception | None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("error")
            warnings.simplefilter("always", ConvergenceWarning)
            warnings.filterwarnings("ignore", "partial_fit starts anew")
            try:
                call(model)
            except CLEAN as error:
                return error
        self.warned = bool(caught)
        return None

    def attempt(self, call: Callable[[Any], Any]) -> Exception | None:
        """Call; after an error the object must be what it was."""
        before = state(self.model)
        error = self.outcome(call, self.model)
        if error is not None:
            assert_equal(state(self.model), before, exact=True)
        return error

    def assert_same(self, other: Any, *, exact: bool) -> None:
        assert_equal(state(self.model), state(other), exact=exact)


def state(model: Any) -> dict[str, Any]:
    """Return all that can be seen of an estimator."""
    seen = {name: copy.deepcopy(v) for name, v in vars(model).items() if not name.startswith("_")}
    try:
        result = model.result_
    except InferenceError as error:
        seen["reason"] = str(error)
    else:
        for name in ("params", "bse", "llf", "llnull", "nobs", "names", "covariance"):
            seen[f"result {name}"] = copy.deepcopy(getattr(result, name))
    if hasattr(model, "coef_"):
        X = np.linspace(-2, 2, 3 * model.coef_.shape[1]).reshape(3, -1)
        seen["probabilities"] = model.predict_proba(X)
    return seen


def assert_equal(one: dict[str, Any], other: dict[str, Any], *, exact: bool) -> None:
    """Compare states, to the last bit or as far as another start of the solver allows."""
    assert one.keys() == other.keys(), one.keys() ^ other.keys()
    for name, value in one.items():
        if name == "n_iter_" and not exact:
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not exact:
            np.testing.assert_allclose(value, other[name], rtol=1e-3, atol=1e-4, err_msg=name)
        elif isinstance(value, np.ndarray):
            assert value.dtype == other[name].dtype, name
            np.testing.assert_array_equal(value, other[name], err_msg=name)
        elif isinstance(value, float) and not exact:
            np.testing.assert_allclose(value, other[name], rtol=1e-6, err_msg=name)
        else:
            both_nan = value != value and other[name] != other[name]
            assert both_nan or value == other[name], f"{name}: {value!r}, {other[name]!r}"


def live(seed: int, *, place: Callable[[Array], Array] = in_memory, calls: int = 25) -> None:
    """Live one life; an error says which."""
    life = Life(np.random.default_rng([7, seed]), place)
    try:
        life.live(calls)
    except Exception as error:
        raise AssertionError(
            f"life {seed} after {len(life.said)} calls, {life.said[-6:]}, {life.model}: "
            f"{type(error).__name__}: {error}"
        ) from error


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:3])
    with fastbce.use_backend(sys.argv[3] if len(sys.argv) > 3 else "numba"):
        for number in range(first, last):
            print(number, flush=True)
            live(number, place=at_the_edge)
