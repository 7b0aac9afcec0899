"""The examples of the documentation run, those of a page one after the other.

What an example takes for granted, such as a file, is made by code in a comment that starts with
``setup``. A page is skipped where a package that it imports is not installed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastbce

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = re.compile(
    r"^```python\n(?P<shown>.*?)^```$|^<!-- setup\n(?P<setup>.*?)^-->$",
    flags=re.MULTILINE | re.DOTALL,
)


def examples(text: str) -> str:
    """Return the code of a page, at the lines where it stands."""
    lines = [""] * (text.count("\n") + 1)
    for match in EXAMPLE.finditer(text):
        code = match["shown"] or match["setup"]
        first = text.count("\n", 0, match.start()) + 1
        for number, line in enumerate(code.splitlines()):
            lines[first + number] = line
    return "\n".join(lines)


PAGES = {
    page.stem: page
    for page in sorted(ROOT.glob("docs/*.md"))
    if examples(page.read_text(encoding="utf-8")).strip()
}


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[None]:
    fastbce.set_backend(request.param)
    yield
    fastbce.set_backend("numba")


# NumPy has nothing to compile: whether an example is right shows in some milliseconds.
@pytest.mark.parametrize(
    "backend", ["numpy", pytest.param("numba", marks=pytest.mark.ci)], indirect=True
)
@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", PAGES)
def test_examples_of_a_page(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # One with long calls: examples are right with plain NumPy, and warmup compiles everything.
    monkeypatch.setattr(fastbce, "warmup", lambda **_: None)
    threads = fastbce.get_num_threads()
    code = compile(examples(PAGES[name].read_text(encoding="utf-8")), str(PAGES[name]), "exec")
    try:
        exec(code, {"__name__": "__main__"})
    except ModuleNotFoundError as error:
        if str(error.name).startswith("fastbce"):
            raise
        pytest.skip(f"needs {error.name}")
    finally:
        fastbce.set_num_threads(threads)


def test_examples_keep_their_lines() -> None:
    text = "# A\n\n<!-- setup\nx = 1\n-->\n\n```python\ny = x\n1 / 0\n```\n"
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile(examples(text), "page.md", "exec"), {})
    assert caught.traceback[-1].lineno + 1 == 9


def test_pages_have_examples() -> None:
    assert len(PAGES) >= 8
