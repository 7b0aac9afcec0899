"""Whatever happens to the cache on disk costs a recompile and one warning, nothing else."""

from __future__ import annotations

import os
import py_compile
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from checks import at_night

import fastbce

PROGRAM = """
import warnings
import numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastbce
    values = fastbce.sigmoid(np.array([0.0, 3.0, -3.0], np.float32))
from fastbce._kernels.sigmoid import sigmoid_block
loaded = sum(sigmoid_block.stats.cache_hits.values())
print(values.tobytes().hex(), loaded, [str(w.message).partition('(')[0] for w in caught])
"""
ROOT = str(Path(fastbce.__file__).parents[1])
Run = Callable[..., str]


def start(cache: Path, prelude: str = "", **variables: str) -> str:
    """Run the program in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", prelude + PROGRAM],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": ROOT, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a cache that one process has filled, and what that process printed."""
    cache = tmp_path_factory.mktemp("cache")
    return cache, start(cache)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the program with a cache that is empty in the beginning."""
    return partial(start, tmp_path)


@pytest.fixture
def fresh(first: tuple[Path, str], tmp_path: Path) -> str:
    """Fill the test's cache, and return what the process that compiled printed."""
    cache, printed = first
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    return printed


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.rglob("elements.sigmoid_block*.nbc"))


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


@pytest.mark.ci
def test_a_damaged_entry_is_compiled_again(fresh: str, run: Run, tmp_path: Path) -> None:
    assert fresh.split()[1] == "0"
    (entry,) = _entries(tmp_path)
    for damage in (_truncate, _flip_a_bit, _empty):
        damage(entry)
        assert run() == fresh, damage
    assert run() == fresh.replace(" 0 ", " 1 ")


@pytest.mark.ci
def test_an_entry_that_cannot_be_written_is_one_warning(
    fresh: str, run: Run, tmp_path: Path
) -> None:
    (entry,) = _entries(tmp_path)
    _make_a_directory(entry)
    values, loaded, warned = run().split(" ", 2)
    assert (values, loaded) == tuple(fresh.split()[:2])
    assert warned == "['compiled kernels cannot be kept on disk ']"


@pytest.mark.ci
def test_no_place_for_a_cache_is_one_warning(fresh: str, run: Run) -> None:
    prelude = """
from numba.core import caching
caching.CacheImpl._locator_classes = []
"""
    values, loaded, warned = run(prelude).split(" ", 2)
    assert (values, loaded) == tuple(fresh.split()[:2])
    assert warned == "['compiled kernels cannot be kept on disk ']"


@pytest.mark.ci
def test_changed_sources_are_compiled_anew(fresh: str, run: Run, tmp_path: Path) -> None:
    prelude = """
import fastbce._kernels.compile as cache
cache._stamp = "0" * 16
"""
    assert run(prelude) == fresh
    (entry,) = _entries(tmp_path)  # the old one is gone
    assert ".0000000000000000." in entry.name


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return the directory of a copy of the package."""
    package = Path(fastbce.__file__).parent
    target = tmp_path / "installed"
    shutil.copytree(package, target / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@pytest.mark.ci
def test_an_upgrade_in_place_runs_the_new_code(copy: Path, run: Run) -> None:
    """A helper changes in a file of the same time and size; the cache is that of the old one."""
    source = copy / "fastbce" / "_kernels" / "sigmoid.py"
    path = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    before, old = source.stat(), source.read_text(encoding="utf-8")
    fresh = run(**path)
    assert fresh.split()[1] == "0"
    new = old.replace("base = one if x >= 0 else e", "base = one if x <= 0 else e")
    assert new != old
    source.write_text(new, encoding="utf-8")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = run(**path)
    values, loaded, warned = changed.split(" ", 2)
    assert values != fresh.split()[0]
    assert (loaded, warned) == ("0", "[]")
    source.write_text(old, encoding="utf-8")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(**path).split()[0] == fresh.split()[0]


def _archive(source: Path, target: Path) -> None:
    """Pack the package's sources into one archive."""
    target.unlink(missing_ok=True)
    shutil.make_archive(str(target.with_suffix("")), "zip", source)


def _bytecode(source: Path, target: Path) -> None:
    """Install the package's bytecode alone; the sources that it was made from stay where they are.

    So Numba finds a place for the cache, and it is the same for every version.
    """
    shutil.rmtree(target, ignore_errors=True)
    for path in source.rglob("*.py"):
        place = target / path.relative_to(source).with_suffix(".pyc")
        place.parent.mkdir(parents=True, exist_ok=True)
        py_compile.compile(str(path), str(place), doraise=True)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("pack", "name"), [(_archive, "packed.zip"), at_night(_bytecode, "packed")]
)
def test_however_it_is_packed_an_install_runs_its_own_code(
    pack: Callable[[Path, Path], None], name: str, copy: Path, run: Run, tmp_path: Path
) -> None:
    source, target = copy / "fastbce" / "_kernels" / "sigmoid.py", tmp_path / name
    path = {"PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"}
    pack(copy, target)
    fresh = run(**path)
    assert fresh.split(" ", 2)[1:] == ["0", "[]"]
    assert run(**path) == fresh.replace(" 0 ", " 1 ")
    old = source.read_text(encoding="utf-8")
    source.write_text(old.replace("base = one if x >= 0", "base = one if x <= 0"), encoding="utf-8")
    pack(copy, target)
    values, loaded, warned = run(**path).split(" ", 2)
    assert values != fresh.split()[0]
    assert (loaded, warned) == ("0", "[]")


@pytest.mark.ci
def test_what_cannot_be_read_is_not_kept(fresh: str, run: Run) -> None:
    """A package whose files are nowhere, as in a program of one file, compiles in each process."""
    prelude = """
import pkgutil
pkgutil.iter_modules = lambda path: []
"""
    for _ in range(2):
        values, loaded, warned = run(prelude).split(" ", 2)
        assert (values, loaded) == (fresh.split(maxsplit=1)[0], "0")
        assert warned == "['compiled kernels cannot be kept on disk ']"


def test_a_read_only_install_without_a_home(
    copy: Path, fresh: str, run: Run, tmp_path: Path
) -> None:
    """Nothing can be written beside the sources or under the home directory."""
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "home")  # cannot be made, not by root either
    prelude = f"""
import errno, tempfile
write = tempfile.TemporaryFile
def refuse(*arguments, dir=None, **options):
    if dir is not None and str(dir).startswith({str(copy)!r}):
        raise OSError(errno.EROFS, "Read-only file system", str(dir))
    return write(*arguments, dir=dir, **options)
tempfile.TemporaryFile = refuse
"""
    homeless = {"PYTHONPATH": str(copy), "HOME": nowhere, "XDG_CACHE_HOME": nowhere}
    values, _, warned = run(prelude, NUMBA_CACHE_DIR="", **homeless).split(" ", 2)
    assert values == fresh.split(maxsplit=1)[0]
    assert warned == "['compiled kernels cannot be kept on disk ']"
    assert not list(copy.rglob("*.nbc"))


@pytest.mark.ci
def test_a_cache_directory_that_cannot_be_made(
    copy: Path, fresh: str, run: Run, tmp_path: Path
) -> None:
    """Numba then keeps them beside the sources."""
    (tmp_path / "file").touch()
    directory = str(tmp_path / "file" / "cache")
    values, _, warned = run(NUMBA_CACHE_DIR=directory, PYTHONPATH=str(copy)).split(" ", 2)
    assert values == fresh.split(maxsplit=1)[0]
    assert warned == "[]"


@pytest.mark.ci
@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_full_disk_is_one_warning(run: Run, tmp_path: Path) -> None:
    prelude = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
"""
    values, loaded, warned = run(prelude).split(" ", 2)
    assert warned == "['compiled kernels cannot be kept on disk ']"
    assert run() == f"{values} {loaded} []"  # no half of an entry is taken for a whole one
    assert run() == f"{values} 1 []"


@pytest.mark.ci
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_killed_in_the_middle_of_the_first_compile(
    first: tuple[Path, str], run: Run, tmp_path: Path
) -> None:
    """Killed at the first write into the cache, and in the middle of it."""
    for moment in ("open", "write"):
        prelude = f"""
import os, pathlib, signal
import numba.core.caching as caching

class Killing:
    def __init__(self, file):
        self.file = file
    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

manager = caching.IndexDataCacheFile._open_for_write
def open_for_write(self, path):
    import contextlib
    @contextlib.contextmanager
    def opened():
        with manager(self, path) as file:
            if {moment!r} == "open":
                os.kill(os.getpid(), signal.SIGKILL)
            yield Killing(file)
    return opened()
caching.IndexDataCacheFile._open_for_write = open_for_write
"""
        with pytest.raises(subprocess.CalledProcessError) as killed:
            run(prelude)
        assert killed.value.returncode == -signal.SIGKILL
        assert not _entries(tmp_path)
    values, loaded, warned = run().split(" ", 2)
    assert values == first[1].split()[0]
    assert (loaded, warned) == ("0", "[]")


@pytest.mark.ci
@pytest.mark.parametrize("count", [4, pytest.param(16, marks=pytest.mark.slow)])
def test_many_processes_may_compile_at_once(count: int, tmp_path: Path, run: Run) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    printed = {process.communicate(timeout=300)[0].split()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * count
    values, loaded, _ = run().split(" ", 2)
    assert printed == {values}
    assert loaded == "1"
    assert not list(tmp_path.rglob("*.tmp.*"))
