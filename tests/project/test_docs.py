"""Every file, folder and heading that the documentation names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *DOCS.glob("**/*.md")]
    if "_build" not in page.relative_to(ROOT).parts
)
# Where a path may start; a page names its neighbours and the modules of the package in short.
PACKAGE, TESTS = ROOT / "fastbce", ROOT / "tests"
SUFFIXES = (".cff", ".md", ".py", ".toml", ".yaml", ".yml")
LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
# A block of code, with its language, or a few words of code in a line.
CODE = re.compile(r"^```([^\n]*)\n(.*?)^```$|`([^`\n]+)`", flags=re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", flags=re.DOTALL)
WORD = re.compile(r"[\w./-]+")
# "`name` in `file`", as docs/decisions.md says where something is.
PLACE = re.compile(r"`(\w+)`\s+in\s+`([\w/]+\.py)`")


def links(text: str) -> set[str]:
    """Return the targets of links that are not addresses."""
    return {target for target in LINK.findall(CODE.sub("", text)) if "://" not in target}


def paths(text: str) -> set[str]:
    """Return the words in code that are files of ours, or folders, which end in a slash.

    Examples in Python and for containers have the reader's own, and NAME stands for any name.
    Sphinx sees to what its directives name, which are in braces.
    """
    found = set()
    for language, block, quoted in CODE.findall(COMMENT.sub("", text)):
        skipped = language in ("python", "dockerfile") or language.startswith("{")
        words = [] if skipped else WORD.findall(block + quoted)
        found |= {w for w in words if w.endswith(SUFFIXES) or (w.endswith("/") and w.strip("/."))}
    return {word for word in found if "NAME" not in word}


def located(name: str, page: Path) -> Path | None:
    """Return the file or folder that the page can mean by this name."""
    places = [start / name for start in (page.parent, ROOT, PACKAGE, TESTS)]
    if "/" not in name:
        # A file by its name alone, in a list that says in which folder it is.
        places += TESTS.rglob(name)
    return next((place for place in places if place.exists()), None)


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, and of one that it includes."""
    text = page.read_text(encoding="utf-8")
    for included in re.findall(r"^```\{include\} (\S+)$", text, flags=re.MULTILINE):
        text += (page.parent / included).read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        file = page.parent / target if target else page
        assert file.exists(), link
        assert not anchor or anchor in headings(file), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_paths_are_there(page: Path) -> None:
    named = paths(page.read_text(encoding="utf-8"))
    assert not [name for name in sorted(named) if located(name, page) is None]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_names_are_in_their_files(page: Path) -> None:
    for name, path in PLACE.findall(page.read_text(encoding="utf-8")):
        file = located(path, page)
        assert file is not None, path
        assert re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")), f"{name} in {path}"


def test_what_is_not_there_is_found(tmp_path: Path) -> None:
    """The tests above can fail."""
    text = "`tests/no.py`, `no/`, `x[0](y)`, [a page](no.md)\n```sh\npython tools/no.py -x\n```\n"
    assert paths(text) == {"tests/no.py", "no/", "tools/no.py"}
    assert links(text) == {"no.md"}
    assert not any(located(name, tmp_path / "page.md") for name in paths(text) | links(text))


def test_pages_name_something() -> None:
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    assert len(texts) >= 10
    assert len(set().union(*(paths(text) for text in texts))) >= 40
    assert sum(len(PLACE.findall(text)) for text in texts) >= 10


def test_the_text_for_language_models_names_pages() -> None:
    """The site has it beside the pages, as HTML."""
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# fastbce\n\n> ")
    targets = LINK.findall(text)
    assert len(targets) >= 15
    for target in targets:
        assert target.endswith(".html")
        assert (DOCS / target).with_suffix(".md").exists(), target
