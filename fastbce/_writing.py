"""Files that are written whole or not at all, and never in place of what is no ordinary file."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["check_writable", "is_standard_output", "write_whole"]

STANDARD_OUTPUT = "-"


def is_standard_output(path: Path | None) -> bool:
    """Return whether a file is the standard output: ``-``, or a name of it such as /dev/stdout."""
    if path is None or str(path) == STANDARD_OUTPUT:
        return path is not None
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError, AttributeError):
        return False


def check_writable(name: str, path: Path, inputs: Iterable[Path] = ()) -> None:
    """Raise where a file cannot be written, before there is anything to write.

    Parameters
    ----------
    name : str
        The option that names it, for the error.
    path : Path
        The file, or ``-``.
    inputs : iterable of Path
        What it must not be.

    Raises
    ------
    OSError
        With a text that names the option and the reason.
    """
    if str(path) == STANDARD_OUTPUT:
        return
    for other in inputs:
        if path.exists() and other.exists() and path.samefile(other):
            raise OSError(f"{name} {path} is {other}, which is read; name another file")
    if path.is_dir():
        raise OSError(f"{name} {path} is a directory; name a file in it")
    target = Path(os.path.realpath(path))
    if path.exists():
        if not os.access(path, os.W_OK):
            raise OSError(f"{name} {path} cannot be written: permission denied")
        if _in_place(path):
            return
    if not target.parent.is_dir():
        raise OSError(f"{name} {path}: there is no such directory")
    try:
        handle, made = tempfile.mkstemp(prefix=".fastbce", dir=target.parent)
    except OSError as error:
        raise OSError(f"{name} {path} cannot be written: {error.strerror}") from None
    os.close(handle)
    Path(made).unlink()


def _in_place(path: Path) -> bool:
    """Return whether something is written into rather than replaced: a pipe, a device, a link."""
    found = path.stat()
    # The other name of a hard link would keep the old content.
    return not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or is_standard_output(path)


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file under a temporary name beside it, and rename it when it is complete.

    What a symbolic link points to is written, pipes and devices are written into, and ``-`` is the
    standard output.
    """
    path = Path(path)
    if is_standard_output(path):
        sys.stdout.flush()
        write(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    exists = path.exists()
    if exists and _in_place(path):
        try:
            with path.open("wb") as file:
                write(file)
        except OSError as error:
            raise type(error)(error.errno, error.strerror, str(path)) from None
        return
    path = Path(os.path.realpath(path))
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        # mkstemp makes a private file; give it the permissions of the old or of an ordinary one.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(stat.S_IMODE(path.stat().st_mode) if exists else 0o666 & ~mask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
