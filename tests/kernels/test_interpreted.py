"""The kernels compute the same when they are not compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "program", ["interpreted.py", "interpreted_linear.py", "interpreted_team.py"]
)
@pytest.mark.ci
def test_kernels_as_plain_python(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(Path(__file__).parents[1] / program)],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "all as exact"), done.stderr
