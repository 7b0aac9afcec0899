"""The command line: what it prints, and how it fails."""

from __future__ import annotations

import dataclasses
import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import fastbce
from fastbce import _machine, cli
from fastbce._settings import settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path

# The package's attribute of this name is the function.
PROGRAM = importlib.import_module("fastbce.cli.main")


@pytest.fixture
def demo_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Put a demo that raises the given exception into the table of commands."""

    def install(error: BaseException) -> None:
        def run(arguments: argparse.Namespace) -> int:
            raise error

        demo, *others = PROGRAM.COMMANDS
        assert demo.name == "demo"
        monkeypatch.setattr(PROGRAM, "COMMANDS", (dataclasses.replace(demo, run=run), *others))

    return install


def one_line(text: str) -> str:
    assert text.count("\n") == 1
    assert text.endswith("\n")
    return text.rstrip("\n")


def test_info_names_machine_versions_and_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    line = one_line(capsys.readouterr().out)
    assert line.startswith(f"fastbce {fastbce.__version__}: {_machine.cpu_model()}")
    for part in ("cores", "threads", "Python", "NumPy", "Numba", "llvmlite", "backend", "kernels"):
        assert part in line


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break differently there")
def test_a_reader_that_goes_is_no_error() -> None:
    script = "import sys; from fastbce.cli import main; sys.exit(main(['info']))"
    process = subprocess.Popen(
        [sys.executable, "-c", "input()\n" + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 141


def test_kernel_state_is_one_of_three() -> None:
    assert _machine.kernel_state() in {"cached", "cold", "not available"}


def test_machine_without_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_machine, "_cpuinfo", list)
    monkeypatch.setattr(_machine, "_sysctl", lambda name: "")
    assert _machine.cpu_model()
    assert _machine.physical_cores() == os.cpu_count()


def test_module_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fastbce", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"fastbce {fastbce.__version__}\n",
        "",
    )


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(command.name in text for command in PROGRAM.COMMANDS)
    for command in PROGRAM.COMMANDS:
        with pytest.raises(SystemExit):
            cli.main([command.name, "--help"])
        assert f"example:\n  fastbce {command.name}" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["info", "extra"], ["demo", "--plot-dir"]])
def test_bad_arguments_are_one_line_and_exit_2(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--help" in one_line(captured.err)


def test_plot_dir_must_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing"
    assert cli.main(["demo", "--plot-dir", str(missing)]) == 2
    assert str(missing) in one_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("variable", "cached"),
    [("FASTBCE_BACKEND", "backend"), ("FASTBCE_NUM_THREADS", "num_threads")],
)
def test_bad_environment_is_one_line_and_exits_2(
    variable: str,
    cached: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(settings, cached, None)
    monkeypatch.setenv(variable, "nonsense")
    assert cli.main(["info"]) == 2
    line = one_line(capsys.readouterr().err)
    assert variable in line
    assert "nonsense" in line


def test_missing_extra_says_what_to_install(
    demo_that: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    demo_that(ModuleNotFoundError("no module", name="rich.console"))
    assert cli.main(["demo"]) == 2
    line = one_line(capsys.readouterr().err)
    assert line == "fastbce demo: rich is not installed: pip install 'fastbce[demo]'"


def test_broken_install_is_not_reported_as_missing_extra(
    demo_that: Callable[[BaseException], None],
) -> None:
    demo_that(ModuleNotFoundError("no module", name="fastbce.demo._gone"))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["demo"])


@pytest.mark.parametrize(
    ("error", "code"), [(PermissionError("no"), 2), (KeyboardInterrupt(), 130)]
)
def test_exit_codes(
    error: BaseException, code: int, demo_that: Callable[[BaseException], None]
) -> None:
    demo_that(error)
    assert cli.main(["demo"]) == code
