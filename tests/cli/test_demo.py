"""The demo on few epochs and rows: its data, its verdicts, and what it leaves behind."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cases import needs_flights

for package in ("sklearn", "matplotlib", "rich"):
    pytest.importorskip(package, reason=f"the demo needs {package}")
needs_flights()

from rich.console import Console

from fastbce import cli, demo
from fastbce.demo import (
    _data,
    _report,
    _training,
    breast_cancer,
    flights,
    from_scratch,
    significance,
)

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    Flights = tuple[NDArray[np.float32], NDArray[np.float32], tuple[str, ...]]


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def all_flights() -> Flights:
    return _data.load_flights()


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def run_with_losses(name: str, losses: list[float], seconds: float = 1.0) -> _training.Run:
    run = _training.reference_run(1, np.float64)
    run.name, run.losses = name, losses
    run.head_seconds = run.epoch_seconds = [seconds] * len(losses)
    return run


def few(monkeypatch: pytest.MonkeyPatch, *, agree: bool = True) -> None:
    """Leave the work out."""
    monkeypatch.setattr(breast_cancer, "run", lambda console, plot_dir: [{"ok": True}])
    monkeypatch.setattr(flights, "run", lambda console: [{"ok": agree}])
    monkeypatch.setattr(significance, "run", lambda console, plot_dir: [])


def test_breast_cancer_predicts_malignant() -> None:
    data = _data.load_breast_cancer()
    y = np.concatenate([data.y_train, data.y_test])
    assert y.shape == (569, 1)
    assert y.sum() == 212
    # Malignant tumours are the larger ones: a target left unflipped shows here.
    radius = data.X_train[:, 0]
    malignant = data.y_train[:, 0] == 1
    assert radius[malignant].mean() > radius[~malignant].mean()
    assert data.names[0] == "mean radius"
    assert len(data.names) == data.X_train.shape[1] == 30


def test_scaler_uses_training_statistics_alone() -> None:
    scaler = _data.Scaler.of(np.array([[0.0], [2.0]]))
    np.testing.assert_array_equal(scaler(np.array([[0.0], [2.0], [5.0]])), [[-1], [1], [4]])


@pytest.mark.ci
def test_flights_are_all_there_without_leaks(all_flights: Flights) -> None:
    X, y, names = all_flights
    assert X.shape == (327_346, 33)
    assert y.shape == (327_346, 1)
    assert X.dtype == y.dtype == np.float32
    assert set(np.unique(y)) == {0, 1}
    assert y.mean(dtype=np.float64) == pytest.approx(0.2447, abs=1e-4)
    kinds = [name.split()[0] for name in names]
    assert (kinds.count("month"), kinds.count("carrier"), kinds.count("origin")) == (12, 16, 3)
    assert names[:2] == ("scheduled hour", "distance")
    np.testing.assert_array_equal(X[:, 2:].sum(axis=1), 3)
    np.testing.assert_allclose(X[:, :2].mean(axis=0, dtype=np.float64), 0, atol=1e-5)


def test_breast_cancer_run(console: Console, tmp_path: Path) -> None:
    one, every = breast_cancer.run(console, tmp_path, epochs=60)
    assert (one["ok"], every["ok"]) == (True, True)
    assert (one["variables"], every["variables"]) == (1, 30)
    text = printed(console)
    for found in (one, every):
        shown = f"held-out accuracy {found['accuracy']:.1%} of 142 tumours, log-loss "
        assert shown + f"{found['log_loss']:.4f}" in text
    for tumour in every["tumours"]:
        assert f"{tumour['probability']:.4f}" in text
    for part in ("One variable: mean radius", "All 30", "held-out accuracy", "log-loss", "agree"):
        assert part in text
    plot = tmp_path / breast_cancer.PLOT_NAME
    assert str(plot) in text
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.ci
def test_flights_run(
    console: Console, all_flights: Flights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights, "load_flights", lambda: all_flights)
    found, more = flights.run(console, epochs=4, rows=20_000)
    text = printed(console)
    assert (found["ok"], more["ok"], found["epochs"], more["rows"]) == (True, True, 4, 200_000)
    for run in (*found["runs"], *more["runs"]):
        assert f"{run['seconds']['epoch'] * 1e3:.3f} ms" in text
    for part in ("20,000 flights", "sigmoid + loss", "whole epoch", "fused class", "agree"):
        assert part in text


@pytest.mark.parametrize("make", [_training.fastbce_run, _training.fused_run])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-12)])
def test_training_follows_the_reference(make: Any, dtype: Any, tolerance: float) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(5_000, 4)).astype(dtype)
    y = (X[:, :1] + rng.normal(size=(5_000, 1)) > 0).astype(dtype)
    runs = [_training.reference_run(4, dtype), make(4, dtype)]
    epochs = _training.train_together(runs, X, y, epochs=5, learning_rate=0.5)
    assert list(epochs) == [1, 2, 3, 4, 5]
    assert _training.largest_disagreement(*runs) <= tolerance
    assert runs[1].losses[-1] < runs[1].losses[0]
    assert np.dtype(dtype) == runs[1].layer.weights.dtype


def test_disagreement_is_reported(console: Console) -> None:
    runs = [run_with_losses("theirs", [0.5, 0.4]), run_with_losses("ours", [0.5, 0.4004])]
    assert not _report.report_agreement(console, runs, 1e-6)
    assert "DISAGREE" in printed(console)
    assert "1.0e-03" in printed(console)


def test_a_loss_that_is_not_a_number_disagrees(console: Console) -> None:
    runs = [run_with_losses("theirs", [0.5]), run_with_losses("ours", [float("nan")])]
    assert not _report.report_agreement(console, runs, 1e-6)


def test_slower_is_said_plainly(console: Console) -> None:
    slower = [run_with_losses("theirs", [0.5]), run_with_losses("ours", [0.5], seconds=2.0)]
    _report.report_speed(console, slower)
    assert printed(console).count("NOT faster") == 2


def test_faster_says_nothing_of_the_kind(console: Console) -> None:
    faster = [run_with_losses("theirs", [0.5]), run_with_losses("ours", [0.5], seconds=0.5)]
    _report.report_speed(console, faster)
    assert "NOT faster" not in printed(console)
    assert "(2.0x)" in printed(console)


@pytest.mark.ci
def test_command_fails_when_the_losses_disagree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few(monkeypatch, agree=False)
    assert cli.main(["demo", "--plot-dir", str(tmp_path)]) == 1
    assert "DOES NOT AGREE" in capsys.readouterr().out


def test_json_has_the_numbers_and_the_standard_output_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few(monkeypatch)
    runs = [run_with_losses("theirs", [0.5]), run_with_losses("ours", [float("nan")])]
    found = _report.facts(runs, np.zeros((3, 2), np.float32), agreed=False)
    monkeypatch.setattr(breast_cancer, "run", lambda console, plot_dir: [found])
    assert cli.main(["demo", "--plot-dir", str(tmp_path), "--json", "-"]) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert "DOES NOT AGREE" in captured.err
    assert (result["ok"], result["flights"], result["significance"]) == (False, [{"ok": True}], [])
    (training,) = result["breast_cancer"]
    assert (training["rows"], training["variables"], training["dtype"]) == (3, 2, "float32")
    first, second = training["runs"]
    assert first["loss"] == {"first": 0.5, "last": 0.5}
    assert second["loss"]["last"] is second["largest_difference"] is None


def test_json_that_cannot_be_written_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "run_demo", None)
    arguments = ["--plot-dir", str(tmp_path), "--json", str(tmp_path / "no" / "demo.json")]
    assert cli.main(["demo", *arguments]) == 2
    assert "--json" in capsys.readouterr().err


def test_demo_opens_with_the_machine(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch)
    assert demo.run_demo(tmp_path, console=console)
    first = printed(console).splitlines()[0]
    assert "Numba" in first
    assert "kernels" in first


def test_reference_classes_follow_their_formulas() -> None:
    activation, loss = from_scratch.Activation_Sigmoid(), from_scratch.Loss_BinaryCrossentropy()
    activation.forward(np.array([[0.0, 2.0]]), True)
    np.testing.assert_allclose(activation.output, [[0.5, 1 / (1 + np.exp(-2))]])
    np.testing.assert_array_equal(activation.predictions(activation.output), [[0, 1]])
    y = np.array([[1, 0]])
    expected = -(np.log(0.5) + np.log(1 - activation.output[0, 1])) / 2
    assert loss.calculate(activation.output, y) == pytest.approx(expected, rel=1e-14)
    assert loss.calculate(activation.output, y, include_regularization=True)[1] == 0
    assert loss.accumulated_count == 2
    assert loss.calculate_accumulated() == pytest.approx(expected, rel=1e-14)
    loss.backward(activation.output, y)
    activation.backward(loss.dinputs)
    np.testing.assert_allclose(activation.dinputs, (activation.output - y) / 2, rtol=1e-12)


@pytest.mark.ci
def test_significance(
    console: Console, tmp_path: Path, all_flights: Flights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(significance, "load_flights", lambda: all_flights)
    tumours, late = significance.run(console, tmp_path, every=11)
    text = printed(console)
    for found in (tumours, late):
        assert f"p-values in {found['seconds'] * 1e3:.1f} ms" in text
        for peer in found["scikit-learn"]:
            assert f"{peer['solver']}: fit without them in {peer['seconds'] * 1e3:.1f} ms" in text
    for part in ("mean texture", "p-value", "separate completely", "carrier UA", "scikit-learn"):
        assert part in text
    assert (tmp_path / significance.PLOT_NAME).read_bytes().startswith(b"\x89PNG")
