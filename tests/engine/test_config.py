"""Which backend computes and on how many threads: functions, environment, a missing Numba."""

from __future__ import annotations

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from checks import at_night, in_ci

import fastbce
from fastbce import _backends, _limits, _threads
from fastbce._settings import settings

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Python = Callable[..., subprocess.CompletedProcess[str]]


# --- backends -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_settings")
def test_numba_is_the_default() -> None:
    assert _backends.active_backend() == "numba"


@pytest.mark.usefixtures("fresh_settings")
@pytest.mark.parametrize("name", ["numba", "numpy"])
def test_backend_of_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTBCE_BACKEND", name)
    assert _backends.active_backend() == name


@pytest.mark.usefixtures("fresh_settings")
def test_unknown_backend_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTBCE_BACKEND", "cupy")
    with pytest.raises(ValueError, match=r"FASTBCE_BACKEND: unknown backend 'cupy'.*'numpy'"):
        fastbce.sigmoid(0.0)


@pytest.mark.usefixtures("fresh_settings")
def test_set_backend_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTBCE_BACKEND", "numba")
    fastbce.set_backend("numpy")
    assert _backends.active_backend() == "numpy"


@pytest.mark.usefixtures("fresh_settings")
def test_set_backend_holds_in_every_thread() -> None:
    fastbce.set_backend("numpy")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(_backends.active_backend).result() == "numpy"


@pytest.mark.usefixtures("fresh_settings")
def test_use_backend_nests_and_restores() -> None:
    fastbce.set_backend("numpy")
    with fastbce.use_backend("numba"):
        assert _backends.active_backend() == "numba"
        with fastbce.use_backend("numpy"):
            assert _backends.active_backend() == "numpy"
        assert _backends.active_backend() == "numba"
    assert _backends.active_backend() == "numpy"


@pytest.mark.usefixtures("fresh_settings")
def test_use_backend_restores_after_an_exception() -> None:
    with pytest.raises(KeyError), fastbce.use_backend("numpy"):
        raise KeyError
    assert _backends.active_backend() == "numba"


@pytest.mark.usefixtures("fresh_settings")
def test_use_backend_is_of_one_thread() -> None:
    inside, checked = threading.Event(), threading.Event()
    seen = []

    def other() -> None:
        inside.wait(10)
        seen.append(_backends.active_backend())
        with fastbce.use_backend("numba"):
            checked.set()

    thread = threading.Thread(target=other)
    thread.start()
    with fastbce.use_backend("numpy"):
        inside.set()
        assert checked.wait(10)
        assert _backends.active_backend() == "numpy"
    thread.join()
    assert seen == ["numba"]


def test_the_chosen_backend_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastbce._engine import elementwise as _engine
    from fastbce._reference import elementwise as _reference

    called = []
    for module in (_engine, _reference):
        original = module.compute

        def spy(*arguments: object, module: object = module, original: object = original) -> None:
            called.append(module)
            original(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(module, "compute", spy)
    for name in ("numba", "numpy"):
        with fastbce.use_backend(name):
            fastbce.sigmoid(np.zeros((3, 3)).T)  # a short plain call would go past `compute`
    assert called == [_engine, _reference]


def test_the_numpy_backend_never_imports_numba(python: Python) -> None:
    script = """
import sys, fastbce
fastbce.sigmoid([0.0])
fastbce.bce_loss([0.5], [1])
fastbce.Loss_BinaryCrossentropy().calculate([[0.5]], [[1]])
assert "numba" not in sys.modules
"""
    python(script, FASTBCE_BACKEND="numpy")


BLOCK = """
import sys, warnings

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {blocked!r}:
            raise {error}("blocked " + name)

sys.meta_path.insert(0, Blocker())
import numpy as np
import fastbce
"""


@pytest.mark.parametrize(
    ("blocked", "error"),
    [
        ("numba", "ImportError"),
        in_ci("llvmlite", "OSError"),
        *map(at_night, ("numba", "llvmlite"), ("OSError", "ImportError")),
    ],
)
def test_without_numba_numpy_serves_and_says_so_once(
    blocked: str, error: str, python: Python
) -> None:
    script = (
        BLOCK.format(blocked=blocked, error=error)
        + f"""
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(3):
        assert fastbce.sigmoid(0.0) == 0.5
        assert abs(fastbce.bce_loss([0.5, 0.5], [1, 0]) - np.log(2)) < 1e-15
        fastbce.Activation_Sigmoid().forward([1.0])
    fastbce.warmup()
(warning,) = caught
assert warning.category is RuntimeWarning
assert "blocked {blocked}" in str(warning.message) and "NumPy backend" in str(warning.message)
with fastbce.use_backend("numpy"):
    assert fastbce.sigmoid(0.0) == 0.5
for choose in (fastbce.set_backend, lambda name: fastbce.use_backend(name).__enter__()):
    try:
        choose("numba")
    except ImportError as error:
        assert "set_backend('numpy')" in str(error)
    else:
        raise AssertionError("numba was accepted")
assert fastbce.sigmoid(0.0) == 0.5
"""
    )
    python(script, FASTBCE_BACKEND="")


@pytest.mark.parametrize(
    "call",
    [
        "sigmoid(0.0)",
        "bce_loss([0.5], [1])",
        "linear_bce_hessian([[0.5]], [1])",
        "Activation_Sigmoid().forward([0.5])",
    ],
)
def test_the_warning_points_at_the_caller(call: str, python: Python) -> None:
    script = BLOCK.format(blocked="numba", error="ImportError") + f"fastbce.{call}  # this line\n"
    done = python(script, FASTBCE_BACKEND="")
    line = script.count("\n")
    assert done.stderr.startswith(f"<string>:{line}: RuntimeWarning: Numba cannot be imported")


# --- threads ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_settings")
def test_threads_from_first_to_last_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked_again() -> int:
        monkeypatch.setattr(settings, "num_threads", None)
        return fastbce.get_num_threads()

    monkeypatch.setattr(_threads, "usable_cpus", lambda: 5)
    assert asked_again() == 5
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert asked_again() == 4
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    assert asked_again() == 3
    monkeypatch.setenv("FASTBCE_NUM_THREADS", "2")
    assert asked_again() == 2
    fastbce.set_num_threads(7)
    assert fastbce.get_num_threads() == 7


@pytest.mark.usefixtures("fresh_settings")
@pytest.mark.parametrize("variable", ["FASTBCE_NUM_THREADS", "NUMBA_NUM_THREADS"])
@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_bad_thread_count_of_the_environment(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f"{variable} must be an integer.*'{value}'"):
        fastbce.get_num_threads()


@pytest.mark.usefixtures("fresh_settings")
@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("3", 3),
        (" 3 , 2", 3),
        ("64", 64),
        *((bad, 5) for bad in ("", "0", "-1", "two", "1.5", ",")),
    ],
)
def test_what_openmp_is_told(value: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "usable_cpus", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert fastbce.get_num_threads() == count


def test_numpy_integers_are_thread_counts(threads: Callable[[object], None]) -> None:
    threads(np.int64(2))
    assert fastbce.get_num_threads() == 2
    assert type(fastbce.get_num_threads()) is int


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100\n"}, None),
        ({"cpu.max": ""}, None),
        ({"cpu.max": "100000 0\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "300000\n"}, None),
    ],
    ids=str,
)
def test_quota_of_a_container(files: dict[str, str], quota: int | None, tmp_path: Path) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    assert _limits.cgroup_quota(tmp_path) == quota


@pytest.mark.parametrize(
    ("mask", "quota", "count"), [({0, 1, 2}, None, 3), ({0, 1, 2}, 2, 2), ({4}, 8, 1)], ids=str
)
def test_usable_processors(
    mask: set[int], quota: int | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: mask, raising=False)
    monkeypatch.setattr(_limits, "cgroup_quota", lambda: quota)
    assert _limits.usable_cpus() == count


@pytest.mark.parametrize("reported", [6, None])
def test_usable_processors_without_an_affinity_mask(
    reported: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: reported)
    monkeypatch.setattr(_limits, "cgroup_quota", lambda: None)
    assert _limits.usable_cpus() == (reported or 1)


# --- warm-up ------------------------------------------------------------------------------------


@pytest.mark.parametrize("few", [in_ci(True), pytest.param(False, marks=pytest.mark.slow)])
def test_after_warmup_no_call_compiles(few: bool, python: Python) -> None:
    script = f"""
few = {few}
import numpy as np, fastbce
from fastbce import _warmup
if few:  # all take two minutes
    names = "sigmoid", "bce_loss_gradient", "bce_with_logits_loss"
    _warmup.OPERATIONS = {{name: _warmup.OPERATIONS[name] for name in names}}
fastbce.set_num_threads(2)
fastbce.warmup(verbose=True)
from fastbce._kernels.compile import made
# The workers' own loop is compiled when the first of them starts.
count = lambda: sum(len(k.signatures) for k in made if k.__name__ != "serve")
before = count()
for dtype in (np.float32, np.float64):
    for n in (100, 1_300_000):
        x = np.full(n, 0.25, dtype)
        for name in _warmup.OPERATIONS:
            if name in _warmup.OTHERS:
                continue
            function = getattr(fastbce, name)
            if name == "sigmoid":
                function(x)
            elif name == "sigmoid_backward":
                function(x, x)
            else:
                for labels in (x, x.astype(np.int64), x > 1):
                    function(x, labels)
assert count() == before > 0
"""
    done = python(script, FASTBCE_BACKEND="", timeout=600)
    assert "fastbce: bce_loss_gradient float32 bool" in done.stderr
    assert re.search(r"the most used kernels are ready after [0-9.]+ s", done.stderr)


@pytest.mark.slow
def test_after_warmup_no_linear_call_compiles(python: Python) -> None:
    script = """
import sys, numpy as np, fastbce
fastbce.set_num_threads(2)
fastbce.warmup()
assert "fastbce._engine.linear" not in sys.modules, "the plain warm-up is to stay cheap"
fastbce.warmup(linear=True)
from fastbce._kernels.compile import made
# The workers' own loop is compiled when the first of them starts.
count = lambda: sum(len(k.signatures) for k in made if k.__name__ != "serve")
before = count()
for dtype in (np.float32, np.float64):
    for n in (1000, 500_000):
        X = np.full((n, 5), 0.25, dtype)
        coef = np.zeros(5, dtype)
        for labels in (X[:, 0].copy(), np.zeros(n, np.int64), np.zeros(n, np.bool_)):
            fastbce.linear_bce_loss_gradient(X, labels, coef)
        fastbce.linear_bce_hessian(X, coef)
assert count() == before > 0
"""
    python(script, FASTBCE_BACKEND="")
