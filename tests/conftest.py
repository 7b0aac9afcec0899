"""Fixtures that several test files share, and how hypothesis searches."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cases import BACKENDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastbce
from fastbce import _settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

settings.register_profile(
    "default",
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    # The backend fixture is the same for every example.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Each process takes a file, then the next one. The first two need other kernels than each other, or
# both processes compile the same linear pass (14 s of processor time); so do most files of the
# estimator and of the functions. The loops on disk are read when all is compiled, and short files
# are last: with a long one there, the other process had nothing to do for half a minute.
ORDER = (
    "linear_model/test_after_fit.py",
    "elementwise/test_accuracy.py",
    "linear_model/",
    "elementwise/",
    "project/",
    "kernels/",
    "interop/",
    "engine/",
)


def pytest_configure(config: pytest.Config) -> None:
    """Let each process of ``-n`` take one file after the other: modules share what they made."""
    if config.getoption("dist", None) == "load":
        config.option.dist, config.option.loadscopereorder = "loadfile", False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files in `ORDER`, then the others."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(here).as_posix() if item.path.is_relative_to(here) else ""
        return next((i for i, name in enumerate(ORDER) if path.startswith(name)), len(ORDER))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Keep what was collected out of every later garbage collection: a tenth of a run's time."""
    # In its first test hypothesis looks for what refers to its generator of numbers, and with
    # Python 3.14 does not find it once that is frozen.
    given(st.none())(lambda _: None)()
    gc.collect()
    gc.freeze()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on each backend."""
    name: str = request.param
    with fastbce.use_backend(name):
        yield name


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20250101)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads; restored at the end."""
    before = fastbce.get_num_threads()
    yield fastbce.set_num_threads
    fastbce.set_num_threads(before)


@pytest.fixture
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the process's backend and thread count, and what the environment says of them."""
    for name in _settings.Settings.__slots__:
        monkeypatch.setattr(_settings.settings, name, None)
    monkeypatch.delenv("FASTBCE_BACKEND", raising=False)
    for library in ("FASTBCE", "NUMBA", "OMP"):
        monkeypatch.delenv(f"{library}_NUM_THREADS", raising=False)


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PyTorch's tensors of any size go our way."""
    from fastbce.interop.torch import _ways

    monkeypatch.setattr(_ways, "LEAST", 0)


@pytest.fixture(scope="session")
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script in a fresh interpreter; by default it must succeed."""

    def run(
        script: str, *options: str, check: bool = True, timeout: float = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        root = str(Path(fastbce.__file__).parents[1])
        path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, *options, "-c", script],
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run
