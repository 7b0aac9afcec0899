"""The results depend neither on the processor nor on the versions that compile for it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fastbce

if TYPE_CHECKING:
    from collections.abc import Iterator

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


# Checksums of results, float32 and float64. They are the same on x86-64 with vectors of 512, 256
# and 128 bits, on AArch64 (in an emulator), with Numba 0.61 and 0.68, with NumPy 2.0 and 2.5, and
# with Python 3.11 and 3.14.
CHECKSUMS = {
    "sigmoid": (0xC24A91DD, 0x691A01A7),
    "log_sigmoid": (0x77452D48, 0xA98D69E7),
    "softplus": (0x9CA6CE92, 0x277C5034),
    "logit": (0x716395A1, 0x07025958),
    "sigmoid_backward": (0x43E39909, 0xA0D7F6F9),
    "logits hard mean": (0xFA4ED96B, 0x7D09AC58),
    "clipped hard mean": (0xCA40348C, 0x2D098C3E),
    "logits hard none": (0x87FA12C9, 0xD0D5109C),
    "clipped hard none": (0x8E4B332A, 0xCA482221),
    "logits soft mean": (0x67D80F7E, 0xDF426FDF),
    "clipped soft mean": (0x1EF33441, 0x8D45CE75),
    "logits soft none": (0x6DAB6497, 0x0CD9E412),
    "clipped soft none": (0x95A39536, 0x3132FBD1),
    "focal": (0x58C20662, 0xD211BF7A),
    "rows": (0x6B08C62A, 0x5922C2D0),
    "columns": (0xCD4C4527, 0x28E2F076),
}


def results(dtype: Any) -> Iterator[tuple[str, Any]]:
    """Give results for numbers that arithmetic has exactly: no generator's, which may change."""
    i = np.arange(4_099)
    z = ((i * 7_919 % 4_099 - 2_049) / 64).astype(dtype)
    p = ((i * 6_007 % 4_095 + 1) / 4_096).astype(dtype)
    hard, soft = (i % 3 == 0).astype(dtype), (i % 17 / 16).astype(dtype)
    for name in ("sigmoid", "log_sigmoid", "softplus"):
        yield name, getattr(fastbce, name)(z)
    yield "logit", fastbce.logit(p)
    yield "sigmoid_backward", fastbce.sigmoid_backward(z, p)
    for labels, y in (("hard", hard), ("soft", soft)):
        for reduction in ("mean", "none"):
            what = f"{labels} {reduction}"
            yield (
                f"logits {what}",
                fastbce.bce_with_logits_loss_gradient_hessian(z, y, reduction=reduction),
            )
            yield f"clipped {what}", fastbce.bce_loss_gradient(p, y, reduction=reduction)
    yield "focal", fastbce.focal_loss_gradient(z, hard)
    X, coef = z[:4_092].reshape(-1, 33), (np.arange(33) / 64).astype(dtype)
    yield "rows", fastbce.linear_bce_loss_gradient(X, hard[: len(X)], coef)
    yield "columns", fastbce.linear_bce_loss_gradient(np.asfortranarray(X), hard[: len(X)], coef)


@pytest.mark.ci
def test_the_bits_of_every_processor_and_version() -> None:
    found: dict[str, tuple[int, ...]] = {}
    for dtype in (np.float32, np.float64):
        for name, result in results(dtype):
            parts = result if isinstance(result, tuple) else (result,)
            content = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
            found[name] = (*found.get(name, ()), zlib.crc32(content))
    assert found == CHECKSUMS
