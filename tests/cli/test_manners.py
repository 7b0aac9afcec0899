"""What every command has: its help, its exit codes, streams that are kept apart."""

from __future__ import annotations

import importlib
import io
import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fastbce
from fastbce import _warmup, cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = importlib.import_module("fastbce.cli.main")
ROOT = Path(__file__).resolve().parents[2]


def commands_in_docs() -> Iterator[tuple[str, str]]:
    """Yield each command line that a page shows, with the page."""
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(
            r"^```(?:sh|dockerfile)\n(.*?)^```", text, re.MULTILINE | re.DOTALL
        ):
            for line in block.splitlines():
                found = re.search(r"(?:^|-m |bin/|RUN |&& )fastbce (.*)", line)
                if found:
                    yield page.name, re.split(r" (?:\||>|&&|#)", found[1])[0]


def test_the_commands_in_the_documentation_exist() -> None:
    shown = [*commands_in_docs()]
    assert {arguments.split()[0] for _, arguments in shown} >= {"fit", "predict", "bench", "warmup"}
    for page, arguments in shown:
        if not arguments.startswith("--"):
            found = PROGRAM._build_parser().parse_args(shlex.split(arguments))
            assert found.command.name == arguments.split()[0], page


@pytest.mark.parametrize("command", PROGRAM.COMMANDS, ids=lambda command: command.name)
def test_the_example_in_the_help_is_a_command(command: PROGRAM.Command) -> None:  # type: ignore[name-defined]
    arguments = PROGRAM._build_parser().parse_args(shlex.split(command.example)[1:])
    assert arguments.command is command


def test_the_help_has_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for name, code in vars(PROGRAM).items():
        if name.startswith("EXIT_") and isinstance(code, int):
            assert re.search(rf"^  {code} +\w", text, re.MULTILINE), name


def test_warmup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls = []
    monkeypatch.setattr(fastbce, "warmup", lambda *more, **options: calls.append((more, options)))
    assert cli.main(["warmup", "focal_loss", "--linear"]) == 0
    assert calls == [(("focal_loss",), {"linear": True})]
    assert re.fullmatch(r"kernels ready after \d+\.\d s\n", capsys.readouterr().out)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_screen(written: str) -> list[str]:
    """Return the lines that are left when carriage returns have had their way."""
    lines = []
    for line in written.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


@pytest.mark.parametrize("stream", [Terminal, io.StringIO, lambda: None])
@pytest.mark.parametrize("command", ["check", "warmup"])
def test_progress_is_for_terminals(
    command: str,
    stream: Callable[[], io.StringIO | None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if command == "check":
        agreement = importlib.import_module("fastbce.cli.agreement")
        monkeypatch.setattr(agreement, "OPERATIONS", {"sigmoid": agreement.OPERATIONS["sigmoid"]})
        monkeypatch.setattr(agreement, "LARGE", 50_000)
        backend, step, left = "numpy", "checked 1/", [""]
    else:
        task = _warmup._Task("sigmoid float32", ())
        monkeypatch.setattr(_warmup, "_tasks", lambda more, linear: [task])
        backend, step = "numba", "fastbce: sigmoid float32"
        left = ["fastbce: the most used kernels are", "fastbce: all kernels are", ""]
    written = stream()
    monkeypatch.setattr(sys, "stderr", written)
    with fastbce.use_backend(backend):
        assert cli.main([command]) == 0
    monkeypatch.undo()
    assert step not in capsys.readouterr().out
    text = "" if written is None else written.getvalue()
    if isinstance(written, Terminal):
        assert step in text
        assert [line.partition(" ready")[0] for line in on_screen(text)] == left
    else:
        assert text == ""


def test_a_closed_standard_error_leaves_json_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = importlib.import_module("fastbce.cli.check")
    monkeypatch.setattr(check, "measure", lambda libraries: [])
    monkeypatch.setattr(sys, "stderr", None)
    with fastbce.use_backend("numpy"):
        assert cli.main(["check", "--json", "-"]) == 0
        assert cli.main(["check", "--json", "no/such/directory"]) == 2
    monkeypatch.undo()
    assert json.loads(capsys.readouterr().out)["ok"]


@pytest.mark.parametrize(("name", "backend"), [("nonsense", "numba"), ("softplus", "numpy")])
def test_warmup_of_what_there_is_not(
    name: str, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with fastbce.use_backend(backend):
        assert cli.main(["warmup", name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def test_bench_writes_json_alone_to_the_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich", reason="fastbce bench needs rich")
    run = importlib.import_module("fastbce.bench._run")
    monkeypatch.setattr(run, "OPERATIONS", [o for o in run.OPERATIONS if o.name == "sigmoid"])
    row = {"operation": "sigmoid", "dtype": "float32", "n": 10, "policy": "fresh", "bytes": 80}
    times = {name: {"median": 1e-6, "low": 1e-6, "high": 1e-6} for name in ("fastbce", "NumPy")}
    monkeypatch.setattr(run, "_measure", lambda *measured: row | {"times": times})
    arguments = ["--quick", "--sizes", "10", "--rounds", "2", "--json", "-"]
    assert cli.main(["bench", *arguments]) == 0
    captured = capsys.readouterr()
    assert {row["operation"] for row in json.loads(captured.out)["rows"]} == {"sigmoid"}
    assert "sigmoid" in captured.err


@pytest.mark.parametrize("arguments", [["--rounds", "1"], ["--sizes", "0"], ["--threads", "x"]])
def test_bench_refuses_what_cannot_be_measured(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["bench", *arguments])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("command", [["bench", "--json"], ["bench", "--plot"], ["check", "--json"]])
def test_what_cannot_be_written_is_refused_before_the_work(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich", reason="fastbce bench needs rich")
    file = tmp_path / "file"
    file.touch()
    assert cli.main([*command, str(file / "below")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
