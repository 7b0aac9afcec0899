# /// script
# dependencies = ["nox"]
# ///
"""What CI runs, as sessions of nox: ``nox --list`` names them, ``nox`` runs lint, types, tests.

The README's own commands need no nox; these keep what belongs together in environments of its own.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv|virtualenv"

ROOT = Path(__file__).parent
# What is computed, and the cache, which rests on Numba's own.
CORE_TESTS = (
    "tests/elementwise/test_calculate.py",
    "tests/elementwise/test_layers.py",
    "tests/elementwise/test_metamorphic.py",
    "tests/engine/test_config.py",
    "tests/kernels/test_cache.py",
)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests but the slow ones, or those that are named: ``nox -s tests -- tests/cli``."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "auto", "-m", "not slow", *session.posargs)


@nox.session(default=False)
def slow(session: nox.Session) -> None:
    """Run the tests that take minutes: every float32 number, long soaks, large arrays."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-m", "slow", *session.posargs)


@nox.session(default=False)
def oldest(session: nox.Session) -> None:
    """Run the core's tests with the oldest NumPy and Numba that pyproject.toml admits."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        needed = tomllib.load(file)["project"]["dependencies"]
    oldest = (requirement.replace(">=", "==") for requirement in needed)
    session.install("-e", ".", *oldest, "pytest", "pytest-xdist", "hypothesis")
    tests = session.posargs or CORE_TESTS
    session.run("python", "-m", "pytest", "-n", "auto", *tests)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and the layers of imports."""
    session.install("-e", ".[lint,test]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types."""
    session.install("-e", ".[lint,test]")
    session.run("mypy", *session.posargs)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the site of the documentation in docs/_build; its examples run with the tests."""
    session.install("-e", ".[docs]")
    session.run("python", "-m", "sphinx", "-W", "-b", "html", "docs", "docs/_build")


@nox.session(default=False)
def extras(session: nox.Session) -> None:
    """Build the distributions, and use the wheel with each extra: ``nox -s extras -- core fit``."""
    session.install("build")
    session.run("python", "-m", "build")
    session.run("python", "tools/try_extras.py", *session.posargs)


@nox.session(default=False)
def mutations(session: nox.Session) -> None:
    """Break the kernels one by one: the tests must notice each."""
    session.install("-e", ".[test]")
    session.run("python", "tools/mutations.py")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Compare with NumPy and the peers that are installed, on small arrays, in some minutes."""
    session.install("-e", ".[bench]")
    quick = ("--rounds", "3", "--sizes", "1000", "100000", "1000000")
    session.run("fastbce", "bench", *(session.posargs or quick))


if __name__ == "__main__":
    nox.main()
