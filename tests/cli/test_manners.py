"""What every command has: its help, its exit codes, streams that are kept apart."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fastbce
from fastbce import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

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
