"""The rules of the design: who imports whom, what is public, which row each function has."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import grimp
import pytest
from cases import BY_NAME, CASES, ORACLES

import fastbce
from fastbce import functional
from fastbce._engine import elementwise as _engine
from fastbce._operations import OPERATIONS
from fastbce._reference import elementwise as _reference
from fastbce._reference.accuracy import MAX_ULP

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbce._operations import Operation

PACKAGE = Path(fastbce.__file__).parent
TESTS = Path(__file__).parents[1]

NOT_IN_THE_TABLE = {
    **dict.fromkeys(["set_backend", "use_backend", "warmup"], "a setting"),
    **dict.fromkeys(["get_num_threads", "set_num_threads", "release_memory"], "a setting"),
    "load": "reads a file",
    **dict.fromkeys(["linear_bce_hessian", "linear_bce_loss_gradient"], "takes a matrix"),
}
MAX_LINES, MAX_PARAMETERS = 500, 8
MANY_PARAMETERS = {
    **dict.fromkeys([name for name, row in OPERATIONS.items() if row.family.is_loss], "public"),
    "__init__": "the estimator's options are public",
    "_run": "of the linear pass",
}
KERNELS = sorted(path for path in (PACKAGE / "_kernels").glob("*.py") if path.stem != "compile")


def test_imports_follow_the_contracts() -> None:
    lint = (
        "from importlinter.cli import lint_imports as lint; raise SystemExit(lint(no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", lint], cwd=TESTS.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract_of_the_core_names_every_other_package() -> None:
    graph = grimp.build_graph("fastbce", include_external_packages=True, cache_dir=None)
    imported = {name for name in graph.modules if graph.is_module_squashed(name)}
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    (core,) = (
        contract
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["name"].startswith("The core")
    )
    third = {name for name in imported if name not in sys.stdlib_module_names}
    assert third - {"numpy", "numba", "llvmlite"} == set(core["forbidden_modules"])


def test_import_costs_numpy_and_nothing_else(
    python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    script = """
import sys, numpy
before = set(sys.modules)
import fastbce
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
"""
    assert python(script).stdout.split() == ["fastbce", "numpy"]  # numpy.typing


def test_public_names() -> None:
    assert sorted(fastbce.__all__) == fastbce.__all__
    assert sorted(functional.__all__) == functional.__all__
    modules = {path.stem for path in PACKAGE.iterdir()}
    visible = {name for name in vars(fastbce) if not name.startswith("_")}
    assert visible - modules == set(fastbce.__all__)
    assert set(functional.__all__) < set(fastbce.__all__)


def test_every_public_function_has_its_row() -> None:
    functions = {name for name in fastbce.__all__ if inspect.isfunction(getattr(fastbce, name))}
    assert set(OPERATIONS) == functions - NOT_IN_THE_TABLE.keys()
    assert len(BY_NAME) == len(CASES)
    used = {(case.kind, result) for case in CASES for result in case.results}
    assert used == set(ORACLES) == set(MAX_ULP)


@pytest.mark.parametrize("row", OPERATIONS.values(), ids=lambda row: row.name)
def test_no_step_of_adding_an_operation_is_missing(row: Operation) -> None:
    family = row.family.kin or row.family
    kernels = import_module(f"fastbce._kernels.{family.file}")
    for kind in ("", "_sum", "_rows") if family.is_loss else ("",):
        assert hasattr(kernels, f"{family.name}{kind}_run"), "1. _kernels/NAME.py"
    assert family.name in _reference._FORMULAS, "2. _reference/elementwise.py"
    assert set(row.results) <= set(family.results), "3. _operations.py"
    assert row.name in functional.__all__, "4. functional/"
    for result in row.results:
        assert (row.family.name, result) in ORACLES, "5. tests/cases.py: the oracle"
        assert (row.family.name, result) in MAX_ULP, "5. _reference/accuracy.py: the limit"


@pytest.mark.parametrize("name", sorted(set(fastbce.__all__) - {"bfloat16"}))  # a dtype
def test_documentation(name: str) -> None:
    text = inspect.getdoc(getattr(fastbce, name)) or ""
    assert text
    assert not re.search(r"\{[a-z_]+\}", text), "a placeholder was left in the text"
    if name in BY_NAME:
        for section in ("Parameters", "Returns", "Raises", "Notes"):
            assert f"{section}\n---" in text
        assert re.search(r"\d ULP", text), "the accuracy is not stated"
        for parameter in inspect.signature(getattr(fastbce, name)).parameters:
            assert re.search(rf"^.*\b{parameter}\b.* : ", text, re.MULTILINE), parameter


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_options(case: object) -> None:
    row = BY_NAME[case.name]  # type: ignore[attr-defined]
    parameters = inspect.signature(row.function).parameters
    options = ["out"]
    if row.is_loss:
        options = ["sample_weight", "mask", "ignore_index", "pos_weight", "label_smoothing"]
        options += ["eps", "gradient"] if row.kind in ("clipped", "chain") else []
        options += ["reduction", "divisor", "check_labels"]
        options += ["metrics", "out"] if "loss" in row.results else ["out"]
        if row.kind == "focal":
            options.remove("pos_weight")
            options = ["alpha", "gamma", *options]
    positional = [name for name in row.argument_names if name]
    assert list(parameters) == positional + options
    keyword = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert keyword == options


def test_backends_have_the_same_signatures() -> None:
    ours, theirs = (
        inspect.signature(module.compute).parameters.values() for module in (_engine, _reference)
    )
    assert [(p.name, p.kind, p.default) for p in ours] == [
        (p.name, p.kind, p.default) for p in theirs
    ]


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_kernels_are_serial_and_exact(path: Path) -> None:
    source = ast.parse(path.read_text(encoding="utf-8"))
    code = ast.unparse(source).replace(ast.get_docstring(source) or "", "")
    for word in ("fastmath=True", "parallel", "prange", "np.exp(", "np.log(", "math.exp", "raise "):
        assert word not in code


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_runs_have_four_parameters(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.endswith("_run"):
            names = [argument.arg for argument in node.args.args]
            assert names == ["thread", "first", "arrays", "options"]


def test_functions_have_few_parameters() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and not node.decorator_list:
                count = len(node.args.args + node.args.kwonlyargs)
                allowed = count <= MAX_PARAMETERS or node.name in MANY_PARAMETERS
                assert allowed, f"{path}: {node.name} has {count}"


def test_files_are_short() -> None:
    root = PACKAGE.parent
    for path in [*PACKAGE.rglob("*.py"), *TESTS.rglob("*.py")]:
        name = path.relative_to(root if path.is_relative_to(root) else TESTS.parent).as_posix()
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MAX_LINES, f"{name} has {lines} lines"
