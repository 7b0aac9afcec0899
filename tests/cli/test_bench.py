"""The comparison runs, its result holds what the report needs, and the report says who wins."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rich", reason="fastbce bench needs rich")
pytest.importorskip("matplotlib", reason="fastbce bench needs matplotlib")

from checks import check_twins, in_ci

from fastbce.bench import model, operations, peers, report, timing
from fastbce.cli import main

# A whole run costs 20 s: it compiles the kernels of every operation.
needs_a_run = pytest.mark.ci


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """One tiny run through the command line."""
    file = tmp_path_factory.mktemp("bench") / "result.json"
    arguments = ["--quick", "--sizes", "100", "--rounds", "2", "--json", str(file)]
    with pytest.MonkeyPatch.context() as patched:
        # Rests and repetitions make two thirds of its time.
        patched.setattr(timing, "REST_SECONDS", 0)
        patched.setattr(timing, "WARM_SECONDS", 0)
        patched.setattr(timing, "SAMPLE_SECONDS", 0)
        assert main(["bench", *arguments, "--plot", str(file.parent)]) == 0
    assert len(list(file.parent.glob("*.png"))) == 4
    found = json.loads(file.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


@needs_a_run
def test_every_operation_has_its_rows(result: dict[str, list[dict[str, object]]]) -> None:
    rows = {(r["operation"], r["dtype"], r["policy"]) for r in result["rows"]}
    for operation in operations.OPERATIONS:
        for dtype in ("float32", "float64"):
            for reuse in operation.policies:
                assert (operation.name, dtype, "reuse" if reuse else "fresh") in rows


@needs_a_run
def test_the_steps_of_a_program_come_first(result: dict[str, list[dict[str, object]]]) -> None:
    names = list(dict.fromkeys(r["operation"] for r in result["rows"]))
    assert names[:3] == ["step, two classes", "step, fused class", "sigmoid"]


@needs_a_run
def test_the_limit_is_measured_where_results_are_reused(
    result: dict[str, list[dict[str, Any]]],
) -> None:
    for row in result["rows"]:
        reads_only = str(row["operation"]).startswith(("bce_loss,", "bce_with_logits_loss,"))
        if row["policy"] == "reuse" or reads_only:
            assert set(row["times"]) == {"fastbce", "NumPy", "limit"}


@needs_a_run
def test_figures_go_between_the_markers(result: dict[str, Any], tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- figures -->\nOLD TABLE\n<!-- end figures -->\nafter\n")
    report.write_page(readme, result)
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "OLD TABLE" not in text
    assert (
        len(re.findall(r"^\| sigmoid \| float32 \|.* NumPy \|.* NumPy \|", text, re.MULTILINE)) == 1
    )
    assert re.search(r"`bce_with_logits_loss_gradient`, float64, fresh: [0-9.]+x NumPy\.", text)


@needs_a_run
def test_the_summary_has_eight_rows(result: dict[str, Any], tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("".join(report.SUMMARY))
    report.write_page(readme, result)
    text = readme.read_text(encoding="utf-8")
    assert len(re.findall(r"^\| `\w+` \| float(?:32|64) \|.* x \|", text, re.MULTILINE)) == 8


@needs_a_run
def test_the_figures_and_the_losses_as_files(
    result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme, file = tmp_path / "README.md", tmp_path / "one.json"
    readme.write_text("".join(report.FIGURES))
    startup = {"cold": {"numpy": 0.1, "import": 0.02, "first": 0.5, "warmup": 3.0}}
    sigmoid = next(row for row in result["rows"] if row["operation"] == "sigmoid")
    slow = sigmoid | {
        "times": {name: {"median": t, "low": t, "high": t} for name, t in _SLOW.items()}
    }
    file.write_text(json.dumps(result | {"startup": startup, "rows": [slow]}))
    monkeypatch.setattr("sys.argv", ["report", str(readme), str(file)])
    report.main()
    assert "New process, cold: import 20 ms" in readme.read_text(encoding="utf-8")
    whole = file.with_suffix(".md").read_text(encoding="utf-8")
    assert "Somebody is faster, by more than 3%, in 1 of 1 rows: 1 at 100." in whole
    assert "- sigmoid, 100 float32, fresh results: JAX takes 500 ms" in whole
    assert "| sigmoid | 100 | float32 | fresh | 1e+03 ms" in whole


@needs_a_run
def test_the_most_that_the_memory_allows_over_numpy(result: dict[str, Any]) -> None:
    times = {"fresh": {"fastbce": 3.0, "NumPy": 12.0}, "reuse": {"fastbce": 2.0, "limit": 1.5}}
    rows: list[dict[str, Any]] = [
        {"operation": "sigmoid", "dtype": "float32", "n": 10**7, "policy": policy, "bytes": 1}
        | {"times": {n: {"median": t, "low": t, "high": t} for n, t in some.items()}}
        for policy, some in times.items()
    ]
    rows[1]["times"]["NumPy"] = rows[0]["times"]["NumPy"]
    step = rows[0] | {"operation": "step, two classes"}  # which has no twin
    whole = report.whole(result | {"rows": [*rows, step]})
    assert "| sigmoid | float32 | 6.0 | 8.0 |" in whole
    assert "| step, two classes | float32 |" not in whole


_SLOW = {"fastbce": 1.0, "NumPy": 9.0, "JAX": 0.5}


def _row(ours: float, peer: float) -> dict[str, object]:
    times = {"fastbce": {"median": ours}, "NumPy": {"median": 9.0}, "JAX": {"median": peer}}
    return {"operation": "sigmoid", "n": 10, "dtype": "float32", "policy": "fresh", "times": times}


def test_a_loss_is_said_and_a_draw_is_not() -> None:
    assert not list(report.losses({"rows": [_row(1.0, 1.5), _row(1.0, 0.99)]}))
    (sentence,) = report.losses({"rows": [_row(1.0, 0.5)]})
    assert "JAX takes 500 ms" in sentence
    assert "(0.50x)" in sentence


def test_calls_are_timed_in_turns() -> None:
    order: list[str] = []
    calls: dict[str, Callable[[], Any]] = {
        name: functools.partial(order.append, name) for name in "abc"
    }
    times = timing.interleave(calls, rounds=3)
    assert set(times) == {"a", "b", "c"}
    assert all(t.low <= t.median <= t.high and t.rounds == 3 for t in times.values())
    last = "".join(order).rindex
    assert last("a") != last("b") != last("c")


def test_a_wrong_result_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = operations.Data.make(50, np.float32)
    (operation,) = (each for each in operations.OPERATIONS if each.name == "sigmoid")
    operations.check(operation, data)
    wrong = operations.Operation(
        "sigmoid", lambda d, _: lambda: d.p + 1, operation.numpy, ("z",), ("out",)
    )
    with pytest.raises(AssertionError):
        operations.check(wrong, data)


@pytest.mark.parametrize("n", [1, *map(in_ci, (100, 100_000))])
def test_twins_touch_every_element(n: int) -> None:
    check_twins(n)


def _measured(threads: int, speed: float, bandwidth: float) -> dict[str, Any]:
    """Return rows whose times follow the model: `speed` an element, `bandwidth` bytes a second."""
    rows = []
    for n in (1, 10**5, 10**7):
        ours = model.predict(n, threads, 1e-6, speed, 8, bandwidth)
        times = {"fastbce": {"median": ours}, "limit": {"median": n * 8 / bandwidth}}
        common = {"operation": "sigmoid", "dtype": "float32", "policy": "reuse", "bytes": n * 8}
        rows.append(common | {"n": n, "times": times})
    return {"threads": threads, "rows": [*rows, rows[0] | {"times": {"fastbce": {"median": 1}}}]}


def test_the_model_predicts_what_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for threads, bandwidth in ((1, 2e10), (2, 3e10)):
        files.append(tmp_path / f"{threads}.json")
        files[-1].write_text(json.dumps(_measured(threads, 1e-10, bandwidth)))
    monkeypatch.setattr("sys.argv", ["model", *map(str, files)])
    model.main()
    first, *_, last = capsys.readouterr().out.strip().split("\n")
    assert first == "Bandwidth: 20 GB/s on 1 thread, 30 GB/s on 2."
    assert last == "| sigmoid | float32 | 0.10 | 1.00 | 1.00 | 1.0 |"


@pytest.mark.parametrize("name", peers.PEERS)
@pytest.mark.parametrize("reuse", [False, True], ids=["fresh", "reuse"])
@pytest.mark.parametrize("operation", operations.OPERATIONS, ids=lambda operation: operation.name)
def test_peers_compute_the_same(operation: operations.Operation, name: str, reuse: bool) -> None:
    data = operations.Data.make(300, np.float64)
    try:
        call = peers.PEERS[name](operation.name, data, reuse, 1)
    except peers.Unavailable:
        return
    except ImportError:
        pytest.skip(f"{name} is not installed")
    actual, expected = (np.asarray(_first(c())) for c in (call, operation.numpy(data, False)))
    if name == "scikit-learn":  # leaves the mean to its caller
        is_loss = operation.name.startswith("bce_with_logits_loss")
        actual = actual.mean() if is_loss else actual / data.z.size
    scale = float(np.max(np.abs(expected)))
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6 * scale)


def _first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result
