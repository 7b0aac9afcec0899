"""The comparison runs, its result holds what the report needs, and the report says who wins."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rich", reason="fastbce bench needs rich")
pytest.importorskip("matplotlib", reason="fastbce bench needs matplotlib")

from fastbce.bench import operations, report, timing, twins
from fastbce.cli import main


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """One tiny run through the command line."""
    file = tmp_path_factory.mktemp("bench") / "result.json"
    arguments = ["--quick", "--sizes", "100", "--rounds", "2", "--json", str(file)]
    assert main(["bench", *arguments, "--plot", str(file.parent)]) == 0
    assert len(list(file.parent.glob("*.png"))) == 4
    found = json.loads(file.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_every_operation_has_its_rows(result: dict[str, list[dict[str, object]]]) -> None:
    rows = {(r["operation"], r["dtype"], r["policy"]) for r in result["rows"]}
    for operation in operations.OPERATIONS:
        for dtype in ("float32", "float64"):
            for policy in ("fresh", "reuse") if operation.writes else ("fresh",):
                assert (operation.name, dtype, policy) in rows


def test_the_limit_is_measured_where_results_are_reused(
    result: dict[str, list[dict[str, Any]]],
) -> None:
    for row in result["rows"]:
        reads_only = str(row["operation"]).startswith(("bce_loss,", "bce_with_logits_loss,"))
        if row["policy"] == "reuse" or reads_only:
            assert set(row["times"]) == {"fastbce", "NumPy", "limit"}


def test_figures_go_between_the_markers(result: dict[str, object], tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- figures -->\nOLD TABLE\n<!-- end figures -->\nafter\n")
    report.write_readme(readme, [result])
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "OLD TABLE" not in text
    assert "| sigmoid | float32 | fresh |" in text


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
    operation = operations.OPERATIONS[0]
    operations.check(operation, data)
    wrong = operations.Operation(
        "sigmoid", lambda d, _: lambda: d.p + 1, operation.numpy, ("z",), ("out",)
    )
    with pytest.raises(AssertionError):
        operations.check(wrong, data)


@pytest.mark.parametrize("n", [1, 100, 100_000])
def test_twins_touch_every_element(n: int) -> None:
    x, y = np.arange(n, dtype=np.float32), np.ones(n, np.float32)
    out, more = np.zeros((2, n), np.float32)
    twins.twin((x,), (out,))()
    np.testing.assert_array_equal(out, x + x)
    twins.twin((x, y), (out,))()
    np.testing.assert_array_equal(out, x + y)
    twins.twin((x, y), (out, more))()
    np.testing.assert_array_equal(more, x + y)
    twins.twin((x, y), ())()
