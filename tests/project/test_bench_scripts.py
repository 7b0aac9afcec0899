"""Each script in ``bench/`` runs on tiny arrays and prints its table."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cases import needs_flights

for _needed in ("sklearn", "rich", "matplotlib"):
    pytest.importorskip(_needed, reason=f"the scripts in bench/ need {_needed}")

BENCH = Path(__file__).parents[2] / "bench"
linux_only = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="resets the peak of the memory through /proc"
)


def script(name: str) -> ModuleType:
    """Import a script under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    *arguments: str,
    **constants: Any,
) -> str:
    """Run a script with other constants and return what it prints."""
    module = script(name)
    for constant, value in constants.items():
        monkeypatch.setattr(module, constant, value)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    module.main()
    return capsys.readouterr().out


def test_every_script_is_run_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    for path in BENCH.glob("*.py"):
        assert path.stem == "test_kernels" or f"def test_{path.stem}(" in here


@pytest.mark.ci
def test_metrics(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(monkeypatch, capsys, "metrics", "--samples", "40", ROUNDS=3)
    assert out.count(" x, ") == 27


@pytest.mark.ci
def test_linear(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(monkeypatch, capsys, "linear", "--rounds", "1", SHAPES=((300, 5),), PAUSE=0.0)
    assert out.count("| 300 x 5 |") == 8


@pytest.mark.ci
@linux_only
def test_classes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import fastbce

    # One row is measured on one thread, in a process of its own otherwise.
    monkeypatch.setattr(fastbce, "set_num_threads", lambda count: None)
    constants = {
        "STEP_SIZES": (100,),
        "CALL_SIZES": (1,),
        "MEMORY_STEPS": 2,
        "POOL_STEPS": 3,
        **dict.fromkeys(["FRESH_SIZE", "MEMORY_SIZE", "POOL_SIZE"], 100),
        "apart": lambda function, *arguments, **environment: function(*arguments),
    }
    out = run(monkeypatch, capsys, "classes", "--rounds", "2", **constants)
    tables = out.split("\n\n")[1:]
    assert len(tables) == 5
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert out.count("| 100 |") == 2
    assert "| step, fused class |" in out
    assert out.count("| `sigmoid` | float") == 2
    assert out.count("| two classes, 2 steps |") == 2


def test_classes_measures_each_row_in_a_process_of_its_own() -> None:
    apart = script("classes").apart
    before = os.environ.get("FASTBCE_POOL")
    assert apart(os.getpid) != os.getpid()
    assert apart(os.getenv, "FASTBCE_POOL", FASTBCE_POOL="0") == "0"
    assert os.environ.get("FASTBCE_POOL") == before


@pytest.mark.ci
def test_handover(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(monkeypatch, capsys, "handover", SIZES=(100,), ROUNDS=1, ROW_SECONDS=0.0, PAUSE=0.0)
    assert out.count("| 100 |") == 2


@pytest.mark.ci
def test_stores(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from fastbce._engine import calls

    # The script sets these; noted here, they are put back after the test.
    monkeypatch.setattr(calls, "FAR", calls.FAR)
    monkeypatch.setattr(calls.Stores, "past", calls.Stores.past)
    out = run(monkeypatch, capsys, "stores", SIZES=(1_000,), ROUNDS=1)
    assert "| sigmoid |" in out


def test_in_torch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    out = run(monkeypatch, capsys, "in_torch", SIZES=(40_000,), ROUNDS=1, CALLS=2)
    assert out.count("| 40,000 |") == 2


def test_adapters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for needed in ("jax", "optax"):
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    out = run(monkeypatch, capsys, "adapters", SIZES=(1_000,), ELEMENTS=300, ROUNDS=2)
    assert out.count(" x) |") == 3 + 4 * 2 + 2 * 3


def test_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--plot", str(tmp_path))
    out = run(monkeypatch, capsys, "network", *arguments, SIZES=(500, 1_000), STEPS=3)
    assert out.count("| 500 |") == out.count("| 1,000 |") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "network-dark.svg",
        "network-light.svg",
    ]


def test_network_compares_the_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("network")
    other = type("Other", (), dict(vars(module.from_scratch)))
    loss = module.from_scratch.Loss_BinaryCrossentropy

    class Doubled(loss):  # type: ignore[misc, valid-type]
        dinputs: Any

        def backward(self, dvalues: Any, y_true: Any) -> None:
            super().backward(dvalues, y_true)
            self.dinputs = 2 * self.dinputs

    other.Loss_BinaryCrossentropy = Doubled  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "fastbce", other)
    with pytest.raises(AssertionError, match="Not equal"):
        module.train(500)


def test_busy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"N": 1_000, "PROCESSES": 1, "ROUNDS": 1, "CALLS": 1}
    out = run(monkeypatch, capsys, "busy", **sizes)
    assert out.count("| fastbce |") == 2
    assert out.count("| NumPy |") == 2


@pytest.mark.slow
@linux_only
def test_limits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"MEMORY_SIZES": (1_000,), "COST_SIZES": (1_000,)}
    out = run(monkeypatch, capsys, "limits", **sizes)
    assert "| float64 |" in out
    assert "| bce_loss |" in out


@linux_only
@pytest.mark.ci
def test_fits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    needs_flights()
    arguments = ("--data", "flights", "--solver", "fastbce", "--repeats", "1")
    assert "| flights 327,346 x 30 | fastbce |" in run(monkeypatch, capsys, "fits", *arguments)


@pytest.mark.slow
def test_scaling(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed", reason="a cluster of processes")
    out = run(monkeypatch, capsys, "scaling", ROWS=4_000, CHUNKS=(2, 4), ROUNDS=1)
    assert "1000 workers" in out


@pytest.mark.slow
@linux_only
def test_streaming(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="a Parquet file")
    arguments = ["--gib", "0.01", "--limit", "2000", "--dir", str(tmp_path)]
    command = [sys.executable, str(BENCH / "streaming.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("of the reading speed") == 12
    assert not list(tmp_path.iterdir())


def test_public_data(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for package in ("pandas", "pyarrow", "statsmodels"):
        pytest.importorskip(package, reason=f"bench/public_data.py needs {package}")
    from sklearn.datasets import load_breast_cancer

    tumours = load_breast_cancer(as_frame=True).frame[["mean radius", "mean texture", "target"]]
    out = run(
        monkeypatch,
        capsys,
        "public_data",
        DATA_SETS=[("sklearn", "tumours", "target")],
        frame=lambda package, name: tumours,
    )
    assert "sklearn/tumours (target): equal" in out
    assert "1 of 1 go through" in out
