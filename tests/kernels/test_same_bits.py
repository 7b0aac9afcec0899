"""The results do not depend on the width of the vector unit, nor on having fused multiply-add."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib
import numpy as np
import fastbce

rng = np.random.default_rng(0)
digest = hashlib.sha256()
for dtype in (np.float32, np.float64):
    z = rng.normal(0, 6, 70_001).astype(dtype)
    y = (rng.random(z.size) < 0.5).astype(dtype)
    p = fastbce.sigmoid(z)
    digest.update(p.tobytes())
    for result in fastbce.bce_with_logits_loss_gradient(z, y):
        digest.update(result.tobytes())
    digest.update(fastbce.bce_loss(p, y).tobytes())
    digest.update(fastbce.bce_loss(p, p, reduction="none").tobytes())
print(digest.hexdigest())
"""


def _digest(**variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return done.stdout.strip()


@pytest.mark.ci
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86-64 processors")
@pytest.mark.parametrize(
    ("name", "features"),
    [
        pytest.param("haswell", "", id="256-bit"),
        pytest.param("generic", "+sse2", id="128-bit-without-fma", marks=pytest.mark.slow),
    ],
)
def test_other_processors_compute_the_same_bits(name: str, features: str) -> None:
    assert _digest(NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features) == _digest()
