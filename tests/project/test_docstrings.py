"""Public names have an example in their docstring, and it runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

import pytest

import fastbce

if TYPE_CHECKING:
    from collections.abc import Iterator

# Classes that users get and do not make, and what has its example elsewhere.
WITHOUT = {
    "ConfusionTable": "confusion_table",
    "Evidence": "of a fit",
    "Feature": "of a model file",
    "FormulaFit": "fit_formula",
    "InferenceError": "an error",
    "LogitResult": "LogisticRegression",
    "MarginalEffects": "of a fit",
    "Model": "load",
    "Objective": "objective",
    "ParquetChunks": "the page on larger data",
    "Probabilities": "the page on other programs",
    "Profile": "of a fit",
    "TableError": "an error",
    "TestResult": "of a fit",
    "encode": "the page on the command line",
    "facts": "the page on the command line",
    "load": "the page on the command line",
    "model_of": "the page on the command line",
    "warmup": "the page on troubleshooting",
}


def public() -> Iterator[tuple[str, str]]:
    """Yield each public function and class with its module."""
    seen: set[int] = set()
    for info in pkgutil.walk_packages(fastbce.__path__, "fastbce."):
        parts = info.name.split(".")
        if parts[1] in ("bench", "cli", "demo") or any(part.startswith("_") for part in parts):
            continue
        try:
            module = importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            missing = str(error.name)
            assert not missing.startswith("fastbce")
            yield info.name, f"needs {missing}"
            continue
        for name in getattr(module, "__all__", ()):
            found = getattr(module, name)
            shown = inspect.isroutine(found) or inspect.isclass(found) or hasattr(found, "py_func")
            if shown and id(found) not in seen:
                seen.add(id(found))
                yield info.name, name
    others = (name for name in fastbce.__all__ if id(getattr(fastbce, name)) not in seen)
    yield from (("fastbce", name) for name in others)


NAMES = sorted(set(public()))


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[".".join(pair) for pair in NAMES])
def test_example(module: str, name: str) -> None:
    if name.startswith("needs "):
        pytest.skip(name)
    found: Any = getattr(importlib.import_module(module), name)
    text = inspect.getdoc(getattr(found, "py_func", found)) or ""
    assert text
    parsed = doctest.DocTestParser().get_doctest(text, {}, f"{module}.{name}", None, None)
    if not parsed.examples:
        assert name in WITHOUT or not callable(found), "no example"
        return
    assert "Examples\n--------" in text
    for example in parsed.examples:
        for package in ("xgboost", "dask", "sklearn", "formulaic"):
            if f"import {package}" in example.source or f"from {package}" in example.source:
                pytest.importorskip(package, reason=f"the example needs {package}")
    usual = fastbce.get_num_threads()
    report: list[str] = []
    # Nothing to compile, and the same results.
    with fastbce.use_backend("numpy"):
        doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(
            parsed, out=report.append
        )
    assert not report, "".join(report)
    assert fastbce.get_num_threads() == usual
