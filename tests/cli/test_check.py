"""``fastbce check``: right where all is right, and wrong where anything is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from checks import in_ci

import fastbce
from fastbce import cli, functional
from fastbce._operations import OPERATIONS
from fastbce.cli import agreement, check, frameworks

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the functions that cost the most out, and compile nothing."""
    names = ("sigmoid", "bce_loss", "sigmoid_clipped_bce", "focal_loss_gradient_hessian")
    monkeypatch.setattr(agreement, "OPERATIONS", {name: OPERATIONS[name] for name in names})
    monkeypatch.setattr(agreement, "LARGE", 50_000)


def plain(results: Any) -> bool:
    """Tell whether these are arrays that can be computed with: not bits of bfloat16."""
    return all(r.dtype.names is None for r in results)


def put(monkeypatch: pytest.MonkeyPatch, name: str, change: Any) -> None:
    """Let a function do something to its results."""
    right = getattr(functional, name)
    monkeypatch.setattr(functional, name, lambda *a, **k: change(right(*a, **k)))


@pytest.mark.parametrize("backend_name", ["numpy", in_ci("numba")])
def test_all_is_right(
    few: None,
    backend_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The kernels of one function cost seconds to compile: one will do.
    only_one = {"sigmoid": OPERATIONS["sigmoid"]}
    functions = only_one if backend_name == "numba" else OPERATIONS
    monkeypatch.setattr(agreement, "OPERATIONS", functions)
    with fastbce.use_backend(backend_name):
        assert cli.main(["check", "--json", str(tmp_path / "check.json")]) == 0
    captured = capsys.readouterr()
    assert captured.err.endswith(f"wrote {tmp_path / 'check.json'}\n")
    result = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    assert (result["ok"], result["failed"]) == (True, [])
    assert {row["dtype"] for row in result["rows"]} == set(agreement.DTYPES)
    line = next(t for t in captured.out.splitlines() if t.startswith("sigmoid "))
    errors = [row["error"] for row in result["rows"] if row["operation"] == "sigmoid"]
    assert line.split()[2:6] == [f"{error:.2f}" for error in errors]
    for library in result["libraries"]:
        assert library in captured.out
    expected = {"NumPy", "SciPy"} & set(result["libraries"])
    row = next(row for row in result["rows"] if row["dtype"] == "float64")
    assert expected <= set(row["differences"])
    assert all(0 < error < 20 for error in errors)


def test_json_on_the_standard_output(few: None, capsys: pytest.CaptureFixture[str]) -> None:
    with fastbce.use_backend("numpy"):
        assert cli.main(["check", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["ok"]
    assert "within the stated errors" in captured.err


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("sigmoid", lambda s: s * s.dtype.type(1 + 1e-4) if s.dtype.names is None else s, "error"),
        (
            "sigmoid_clipped_bce",
            lambda r: (r[0], r[1] * 0.5 + 0.5, r[2]) if plain(r) else r,
            "error",
        ),
        ("bce_loss", lambda x: x + x.dtype.type(1e-2) if np.ndim(x) == 0 else x, "error"),
        ("sigmoid", lambda s: np.where(np.isnan(s), 0, s) if s.dtype.names is None else s, "inf"),
    ],
    ids=["element", "chain", "mean", "special value"],
)
def test_a_wrong_number_is_found(
    few: None,
    name: str,
    change: Any,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    put(monkeypatch, name, change)
    with fastbce.use_backend("numpy"):
        assert cli.main(["check"]) == 1
    text = capsys.readouterr().out.partition("FAILED:")[2]
    found = [line for line in text.splitlines() if line]
    assert found
    # The chain is compared with the functions that it replaces: where one is wrong, both are named.
    assert all(line.startswith((f"{name} ", "sigmoid_clipped_bce ")) for line in found)
    assert any(line.startswith(f"{name} ") for line in found)
    assert fault in text


def test_other_bits_with_one_thread_are_found(
    few: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(loss: Any) -> Any:
        one = fastbce.get_num_threads() == 1
        return np.nextafter(loss, loss.dtype.type(1)) if one and loss.dtype == np.float32 else loss

    put(monkeypatch, "bce_loss", change)
    with fastbce.use_backend("numpy"):
        assert cli.main(["check"]) == 1
    text = capsys.readouterr().out
    assert "bce_loss loss float32: other bits with one thread than with all" in text
    assert "DIFFER" in text


def test_a_library_that_means_something_else_is_found(
    few: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results: frameworks.Results = {("clipped", "loss"): lambda p, y: -np.log(np.where(y, 1 - p, p))}
    monkeypatch.setattr(check, "FRAMEWORKS", {"Other": ("numpy", lambda: results)})
    with fastbce.use_backend("numpy"):
        assert cli.main(["check"]) == 1
    assert "bce_loss loss float64: not what Other gives" in capsys.readouterr().out


def test_libraries_that_are_missing_or_broken_are_named(
    few: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> frameworks.Results:
        raise OSError("libother.so: no such file\nmore")

    makes = {"Gone": ("no-such-package", dict), "Broken": ("numpy", broken)}
    monkeypatch.setattr(check, "FRAMEWORKS", makes)
    with fastbce.use_backend("numpy"):
        assert cli.main(["check"]) == 0
    text = capsys.readouterr().out
    assert "Gone is not compared: not installed\n" in text
    assert "Broken is not compared: OSError: libother.so: no such file\n" in text


def test_a_file_that_cannot_be_written_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "measure", None)
    assert cli.main(["check", "--json", str(tmp_path / "no" / "check.json")]) == 2
    assert "--json" in capsys.readouterr().err


def test_it_needs_no_extra(python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    script = """
import sys
sys.modules.update(dict.fromkeys(["scipy", "sklearn", "pyarrow", "rich", "matplotlib"]))
import fastbce.cli.check
"""
    python(script)
