"""Whatever happens to the cache on disk costs a recompile and one warning, nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAM = """
import warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastbce
    values = fastbce.sigmoid(np.array([0.0, 3.0, -3.0], np.float32))
from fastbce import _kernels
loaded = sum(_kernels.sigmoid_block.stats.cache_hits.values())
print(values.tobytes().hex(), loaded, [str(w.message).partition('(')[0] for w in caught])
"""
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(prelude: str = "", **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", prelude + PROGRAM],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **variables},
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        return done.stdout.strip()

    return run


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.rglob("_kernels.sigmoid_block*.nbc"))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _make_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [_truncate, _flip_a_bit, _empty])
def test_a_damaged_entry_is_compiled_again(
    damage: Callable[[Path], None], run: Run, tmp_path: Path
) -> None:
    fresh = run()
    assert run() == fresh.replace(" 0 ", " 1 ")
    (entry,) = _entries(tmp_path)
    damage(entry)
    assert run() == fresh
    assert run() == fresh.replace(" 0 ", " 1 ")


def test_an_entry_that_cannot_be_written_is_one_warning(run: Run, tmp_path: Path) -> None:
    fresh = run()
    (entry,) = _entries(tmp_path)
    _make_a_directory(entry)
    values, loaded, warned = run().split(" ", 2)
    assert (values, loaded) == tuple(fresh.split()[:2])
    assert warned == "['compiled kernels cannot be kept on disk ']"


def test_no_place_for_a_cache_is_one_warning(run: Run) -> None:
    prelude = """
from numba.core import caching
caching.CacheImpl._locator_classes = []
"""
    values, loaded, warned = run(prelude).split(" ", 2)
    assert (values, loaded) == tuple(run().split()[:2])
    assert warned == "['compiled kernels cannot be kept on disk ']"


def test_changed_sources_are_compiled_anew(run: Run, tmp_path: Path) -> None:
    fresh = run()
    prelude = """
import fastbce._cache as cache
cache._stamp = "0" * 16
"""
    assert run(prelude) == fresh
    (entry,) = _entries(tmp_path)  # the old one is gone
    assert ".0000000000000000." in entry.name


def test_many_processes_may_compile_at_once(tmp_path: Path, run: Run) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    printed = {process.communicate(timeout=300)[0].split()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    values, loaded, _ = run().split(" ", 2)
    assert printed == {values}
    assert loaded == "1"
    assert not list(tmp_path.rglob("*.tmp.*"))
