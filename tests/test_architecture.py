"""The rules of the design: who imports whom, what is public, which row each function has."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cases import BY_NAME, CASES, MAX_ULP, ORACLES

import fastbce
from fastbce import functional
from fastbce._engine import elementwise as _engine
from fastbce._reference import elementwise as _reference

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

PACKAGE = Path(fastbce.__file__).parent
TESTS = Path(__file__).parent

# file -> what it may import beside the standard library: on loading, and later inside functions
IMPORTS: dict[str, tuple[set[str], set[str]]] = {
    "__init__": ({"functional", "layers", "linear", "_backends", "_warmup"}, set()),
    "__main__": ({"cli.main"}, set()),
    "cli": ({"cli.main"}, set()),
    "cli.main": (
        {"fastbce"},
        {"cli.fit", "_backends", "_machine", "bench", "demo", "cli.tables"},
    ),
    "cli.fit": (
        {"fastbce", "cli.plots", "cli.model_file", "cli.tables", "numpy"},
        {"inference", "linear_model", "sklearn"},
    ),
    "cli.plots": ({"fastbce", "cli.model_file", "numpy"}, {"matplotlib", "sklearn"}),
    "cli.model_file": ({"_inputs", "cli.tables", "numpy"}, set()),
    "cli.tables": ({"_inputs", "numpy"}, {"pyarrow"}),
    "layers": ({"functional", "numpy"}, set()),
    "functional": (
        {"_inputs", "_backends", "_interrupts", "_reference.elementwise", "numpy"},
        {"_engine.elementwise"},
    ),
    "_warmup": ({"functional", "linear", "numpy"}, set()),
    "_inputs": ({"numpy"}, set()),
    "_backends": ({"_interrupts"}, {"numba"}),
    "_interrupts": (set(), set()),
    "_engine": (set(), set()),
    "_engine.elementwise": (
        {"_engine.workers", "_kernels.elementwise", "_engine.operands", "_kernels.results"}
        | {"_engine.team", "_backends", "_inputs", "numpy"},
        set(),
    ),
    "_engine.operands": ({"_kernels.elementwise", "_inputs", "numpy"}, set()),
    "_engine.workers": ({"_engine.team", "numpy"}, set()),
    "_kernels": (set(), set()),
    "_kernels.compile": ({"_interrupts", "numba"}, set()),
    "_engine.team": ({"_kernels.compile", "numba", "llvmlite"}, set()),
    "_kernels.elementwise": (
        {"_kernels.compile", "_kernels.results", "_engine.team", "numba", "numpy"},
        set(),
    ),
    "_kernels.results": ({"_kernels.compile", "numba", "llvmlite"}, set()),
    "_reference": (set(), set()),
    "_reference.elementwise": ({"_inputs", "numpy"}, set()),
    "linear": (
        {"_inputs", "_backends", "_interrupts", "_reference.linear", "numpy"},
        {"_engine.linear"},
    ),
    "_engine.linear": (
        {"_engine.workers", "_kernels.linear", "_engine.operands", "_engine.team"}
        | {"_kernels.vectors", "_backends", "_inputs", "numpy"},
        set(),
    ),
    "_kernels.linear": (
        {"_kernels.compile", "_kernels.elementwise", "_engine.team", "_kernels.vectors"}
        | {"numba", "numpy"},
        set(),
    ),
    "_reference.linear": ({"_inputs", "numpy"}, set()),
    "_kernels.vectors": ({"numba", "llvmlite"}, set()),
    "linear_model": (
        {"functional", "inference", "streaming", "_chunks", "_rows", "_solvers", "_inputs"}
        | {"numpy", "sklearn"},
        set(),
    ),
    "streaming": ({"_chunks", "_rows", "_inputs", "numpy"}, {"pyarrow"}),
    "_chunks": ({"_inputs", "numpy", "sklearn"}, set()),
    "inference": ({"_solvers", "_inputs", "numpy", "scipy"}, set()),
    "_solvers": ({"linear", "_rows", "_inputs", "numpy", "scipy"}, set()),
    "_rows": ({"_inputs", "numpy"}, set()),
    "_machine": ({"_backends"}, {"_kernels.compile", "_kernels.elementwise"}),
    # Each file of interop/ may import its framework, and nobody imports them.
    "interop": (set(), set()),
    "interop.dask": (
        {"linear_model", "_chunks", "_backends", "_rows", "_inputs", "dask", "numpy", "sklearn"},
        set(),
    ),
}
NOT_IN_THE_TABLE = {
    **dict.fromkeys(["set_backend", "use_backend", "warmup"], "a setting"),
    **dict.fromkeys(["get_num_threads", "set_num_threads"], "a setting"),
    **dict.fromkeys(["linear_bce_hessian", "linear_bce_loss_gradient"], "takes a matrix"),
}
MAX_LINES = 500
LONG_FILES = {
    "fastbce/functional.py": "mostly the docstrings of ten functions",
    "fastbce/_kernels/elementwise.py": "all compiled functions of the losses",
}


def imported(node: ast.AST, package: str) -> Iterator[str]:
    """Yield each imported module: of this package, its path inside it, else its first name."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name.removeprefix("fastbce.").split(".")[0]
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        if node.level:
            parts = package.split(".")
            module = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [module])])
        if module.split(".")[0] != "fastbce":
            yield module.split(".")[0]
            return
        for alias in node.names:
            full = f"{module}.{alias.name}".removeprefix("fastbce.")
            yield full if full in IMPORTS else module.removeprefix("fastbce.").split(".demo")[0]


def walk(node: ast.AST, inside: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Yield every node, and whether it runs later than the import of its file."""
    for child in ast.iter_child_nodes(node):
        checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        later = inside or isinstance(child, ast.FunctionDef)
        if not checking:
            yield child, later
            yield from walk(child, later)


FOLDERS = ("", "_engine", "_kernels", "_reference", "cli", "interop")
FILES = [path for folder in FOLDERS for path in sorted((PACKAGE / folder).glob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=[p.relative_to(PACKAGE).as_posix() for p in FILES])
def test_imports_go_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    package = ".".join(["fastbce", *parts[:-1]])
    name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
    assert name in IMPORTS, f"{name} has no row in the table of imports"
    on_loading, inside = IMPORTS[name]
    for node, later in walk(ast.parse(path.read_text(encoding="utf-8"))):
        allowed = on_loading | inside if later else on_loading
        for found in imported(node, package):
            line = getattr(node, "lineno", 0)
            assert found in allowed | sys.stdlib_module_names, f"{path} line {line}: {found}"


def test_the_table_of_imports_has_no_circle() -> None:
    order: list[str] = []
    waiting = {name: loading | later for name, (loading, later) in IMPORTS.items()}
    while waiting:
        free = [name for name, needs in waiting.items() if not needs & waiting.keys()]
        assert free, f"these import each other: {sorted(waiting)}"
        order += free
        for name in free:
            del waiting[name]
    assert (
        order.index("_kernels.elementwise")
        < order.index("_engine.elementwise")
        < order.index("functional")
    )


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
    assert set(BY_NAME) == functions - NOT_IN_THE_TABLE.keys()
    assert len(BY_NAME) == len(CASES)
    used = {(case.kind, result) for case in CASES for result in case.results}
    assert used == set(ORACLES) == set(MAX_ULP)


@pytest.mark.parametrize("name", fastbce.__all__)
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
        options = ["sample_weight", "pos_weight", "label_smoothing", "reduction"]
        options += ["check_labels", "out"]
        if row.kind == "clipped":
            options.insert(3, "eps")
    positional = [name for name in row.argument_names if name]
    assert list(parameters) == positional + options
    keyword = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert keyword == options


def test_backends_have_the_same_signatures() -> None:
    names = [
        name
        for name, function in vars(_reference).items()
        if inspect.isfunction(function) and not name.startswith("_")
    ]
    assert len(names) == len({case.kind for case in CASES})
    for name in names:
        ours = inspect.signature(getattr(_engine, name)).parameters.values()
        theirs = inspect.signature(getattr(_reference, name)).parameters.values()
        assert [(p.name, p.kind, p.default) for p in ours] == [
            (p.name, p.kind, p.default) for p in theirs
        ]


def test_kernels_are_serial_and_exact() -> None:
    source = (PACKAGE / "_kernels" / "elementwise.py").read_text(encoding="utf-8")
    code = ast.unparse(ast.parse(source)).replace(ast.get_docstring(ast.parse(source)) or "", "")
    for word in ("fastmath=True", "parallel", "prange", "np.exp(", "np.log(", "math.exp", "raise "):
        assert word not in code


def test_files_are_short() -> None:
    root = PACKAGE.parent
    for path in [*PACKAGE.rglob("*.py"), *TESTS.glob("*.py")]:
        name = path.relative_to(root if path.is_relative_to(root) else TESTS.parent).as_posix()
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if name in LONG_FILES:
            assert lines > MAX_LINES, f"{name} is short enough: take it off the list"
        else:
            assert lines <= MAX_LINES, f"{name} has {lines} lines"
