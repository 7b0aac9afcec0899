"""The README keeps its word: its examples run, and its set-up commands can."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the heading above, and the text of, each code block in `language`."""
    found = []
    for section in re.split(r"^## ", README, flags=re.MULTILINE):
        heading = section.partition("\n")[0]
        pattern = rf"^```{language}\n(.*?)^```$"
        texts = re.findall(pattern, section, flags=re.MULTILINE | re.DOTALL)
        found += [(heading, text) for text in texts]
    return found


@pytest.mark.ci
@pytest.mark.parametrize(
    "code", [pytest.param(text, id=heading) for heading, text in blocks("python")]
)
def test_example_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


def test_every_style_has_an_example() -> None:
    headings = {heading for heading, _ in blocks("python")}
    assert {"Functions", "Classes", "Logistic regression"} <= headings


def test_two_setup_commands_of_one_line_each() -> None:
    commands = [text for _, text in blocks("sh")]
    assert len(commands) == 2
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    for command in commands:
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv ")
        (used,) = re.findall(r"\.\[(\w+)\]", command)
        assert used in extras


def test_it_is_short() -> None:
    """A screen and a half; the site has the rest."""
    assert README.count("\n") <= 150
    table = re.findall(r"<!-- summary -->\n(.*?)<!-- end summary -->", README, flags=re.DOTALL)
    assert len(re.findall(r"^\| `", table[0], flags=re.MULTILINE)) == 8


def test_figures_are_those_of_the_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws the picture")
    import picture

    from fastbce.bench import report

    result = json.loads((picture.RESULTS / "two-threads.json").read_text(encoding="utf-8"))
    assert report.summary(result) in README
    page = (ROOT / "docs" / "performance_results.md").read_text(encoding="utf-8")
    assert report.figures(result) in page
    for theme in picture.THEMES:
        picture.draw(result, theme, tmp_path / f"{theme}.svg")
        drawn = (tmp_path / f"{theme}.svg").read_text(encoding="utf-8")
        kept = (picture.RESULTS / f"speed-{theme}.svg").read_text(encoding="utf-8")
        for name in [*picture.COLOURS, *picture.PANELS.values(), "fastbce"]:
            assert f">{name}<" in drawn
            assert f">{name}<" in kept


def test_ci_finds_the_test_command() -> None:
    between = re.findall(r"<!-- test command -->\n(.*?)<!-- end -->", README, flags=re.DOTALL)
    assert len(between) == 1
    assert "pytest" in between[0]
