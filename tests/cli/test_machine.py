"""The line above every table: what the system does not say costs a word, not an error."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, Never

import pytest

from fastbce import _machine


def _refuse(error: type[BaseException]) -> Any:
    def refuse(*arguments: Any, **options: Any) -> Never:
        raise error

    return refuse


@pytest.fixture
def no_cpuinfo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", _refuse(FileNotFoundError))


@pytest.mark.usefixtures("no_cpuinfo")
def test_a_system_with_sysctl(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"machdep.cpu.brand_string": "Some Chip\n", "hw.physicalcpu": "12\n"}

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, answers[command[-1]], "")

    monkeypatch.setattr(subprocess, "run", run)
    assert _machine.cpu_model() == "Some Chip"
    assert _machine.physical_cores() == 12


@pytest.mark.usefixtures("no_cpuinfo")
def test_a_system_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", _refuse(OSError))
    monkeypatch.setattr(_machine, "version", _refuse(PackageNotFoundError))
    assert _machine.cpu_model()
    assert _machine.physical_cores() >= 1
    assert "Numba missing" in _machine.machine_line()


def test_a_processor_of_no_known_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, suffix in (("avx2 fma", " (AVX2)"), ("fma", "")):
        text = f"model name\t: A\nflags\t\t: {flags}\n"
        monkeypatch.setattr(Path, "read_text", lambda *_, text=text, **__: text)
        assert _machine.cpu_model() == f"A{suffix}"


def test_the_generation_of_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: A\nflags\t\t: avx512f avx2\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert _machine.cpu_model() == "A (AVX-512, family 25, model 17)"
