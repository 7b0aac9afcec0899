"""What is installed: one version, and extras that are documented and tried."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from try_extras import TRIES

import fastbce

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = sorted(PROJECT["optional-dependencies"])


def test_one_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [fastbce.__version__]
    assert PROJECT["dynamic"] == ["version"]


def test_every_extra_is_tried() -> None:
    assert sorted(TRIES) == sorted([*EXTRAS, "core"])


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_is_documented(extra: str) -> None:
    page = (ROOT / "docs" / "getting_started.md").read_text(encoding="utf-8")
    table = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")]
    assert any(f"`{extra}`" in names for names in table)
