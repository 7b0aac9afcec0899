"""Every inner loop is packed: read from the assembly of freshly compiled kernels.

Numba does not show the assembly of kernels that it loads from its cache. So a process of its own
makes a few calls that reach every loop, and writes the assembly of these kernels, and of all loops
in the cache, anew from the optimised bitcode that is kept there too. Where nothing is cached that
takes a minute; pytest's cache keeps the assembly until the package or the compiler changes.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite
import numba
import pytest
from assembly import (
    COMPILE,
    INTEGER_LOOPS,
    LIBM,
    PACKED,
    PACKED_INTEGER,
    SCALAR,
    innermost_loops,
)
from numba.core.registry import cpu_target

import fastbce
from fastbce._operations import OPERATIONS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

pytestmark = [
    pytest.mark.ci,
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 assembly"
    ),
]

# What stays scalar, and why.
SCALAR_LOOPS = {"row_means_block": "adds up each row in the order of its elements"}
# Sums of products are float64 whatever the elements are, and float16 is computed in float32.
ONE_DTYPE = {("log_products_block", "float32"), ("convert_block", "float64")}


Kernels = dict[str, list[tuple[list[str], str]]]


def stamp() -> str:
    """Return a digest of all that decides on the assembly: the package, the compiler, this CPU."""
    target = cpu_target.target_context.codegen().magic_tuple()
    parts = [COMPILE, numba.__version__, llvmlite.__version__, *map(str, target)]
    sources = sorted(Path(fastbce.__file__).parent.rglob("*.py"))
    parts += [path.read_text(encoding="utf-8") for path in sources]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@pytest.fixture(scope="module")
def compiled(
    python: Callable[..., subprocess.CompletedProcess[str]], pytestconfig: pytest.Config
) -> Kernels:
    assert pytestconfig.cache is not None
    kept: tuple[str, Kernels] = pytestconfig.cache.get("fastbce/assembly", ("", {}))
    if kept[0] != stamp():
        done = python(COMPILE, FASTBCE_BACKEND="numba", timeout=600)
        kept = stamp(), json.loads(done.stdout)
        pytestconfig.cache.set("fastbce/assembly", kept)
    return kept[1]


@pytest.fixture(scope="module")
def kernels(compiled: Kernels) -> Kernels:
    return {name: found for name, found in compiled.items() if name.endswith("_block")}


def blocks(kernels: Kernels) -> list[tuple[str, list[str], str]]:
    """Return the name, argument types and assembly of each loop over elements."""
    return [
        (name, signature, assembly)
        for name, compiled in kernels.items()
        for signature, assembly in compiled
    ]


def test_every_loop_was_compiled_for_both_dtypes(kernels: Kernels) -> None:
    assert len(kernels) > 8
    for name in kernels:
        for dtype in ("float32", "float64"):
            used = any(
                dtype in argument
                for other, signature, _ in blocks(kernels)
                for argument in signature
                if other == name
            )
            assert used or (name, dtype) in ONE_DTYPE, (name, dtype)


def test_the_focal_loss_is_among_them(kernels: Kernels) -> None:
    """Its loops are those of logits with one argument more, the last: not found by their name."""
    found = {
        (re.findall(r"float\d\d", signature[0])[0], *(signature[i] != "none" for i in (6, 8, 9)))
        for signature, _ in kernels["logits_block"]
        if signature[-1] != "none"
    }
    for dtype in ("float32", "float64"):
        for results in ((True, False, False), (True, True, False), (True, True, True)):
            assert (dtype, *results) in found, (dtype, results)


def pattern_of(name: str, signature: list[str]) -> re.Pattern[str]:
    """Return what a packed loop has: arithmetic of floats, or of the bits of bfloat16 and flags."""
    of_bits = name == "convert_block" and any(kind.startswith("array(int16,") for kind in signature)
    return PACKED_INTEGER if of_bits or name in INTEGER_LOOPS else PACKED


def test_every_inner_loop_is_packed(kernels: Kernels) -> None:
    for name, signature, assembly in blocks(kernels):
        if name in SCALAR_LOOPS:
            continue
        pattern = pattern_of(name, signature)
        loops = [loop for loop in innermost_loops(assembly) if loop.count(pattern)]
        assert loops, f"{name}{signature} has no packed loop"
        # The vector body has no scalar arithmetic; remainders of vectors have nothing packed.
        assert any(not loop.count(SCALAR) for loop in loops), f"{name}{signature}"


def test_vectors_are_wide(kernels: Kernels) -> None:
    for name, signature, assembly in blocks(kernels):
        if name in SCALAR_LOOPS or pattern_of(name, signature) is PACKED_INTEGER:
            continue
        lines = [line for loop in innermost_loops(assembly) for line in loop.lines]
        widths = {match[1] for line in lines if (match := PACKED.match(line))}
        assert widths & {"y", "z"}, f"{name}{signature} uses {widths}"


def test_packed_divisions_and_fused_multiply_adds(kernels: Kernels) -> None:
    fused = re.compile(r"^\s+vfn?m(?:add|sub)\d+p[sd]")
    divided = re.compile(r"^\s+vdivp[sd]")
    expected = {"sigmoid_block": (fused, divided), "logits_block": (fused, divided)}
    for name, patterns in expected.items():
        for signature, assembly in kernels[name]:
            # Losses are logarithms: only other results of logits divide.
            losses_alone = name == "logits_block" and set(signature[7:-4]) == {"none"}
            for pattern in patterns[: 1 if losses_alone else None]:
                counts = [loop.count(pattern) for loop in innermost_loops(assembly)]
                assert any(counts), f"{name}{signature}: {pattern.pattern}"


def test_no_call_into_the_mathematics_library(kernels: Kernels) -> None:
    for name, compiled in kernels.items():
        for signature, assembly in compiled:
            code = [line for line in assembly.splitlines() if not line.lstrip().startswith(".asci")]
            calls = [line for line in code if LIBM.search(line)]
            assert not calls, f"{name}{signature}: {calls}"


def test_no_call_inside_a_packed_loop(kernels: Kernels) -> None:
    for name, signature, assembly in blocks(kernels):
        for loop in innermost_loops(assembly):
            if loop.count(PACKED):
                calls = [line for line in loop.lines if re.match(r"^\s+call", line)]
                assert not calls, f"{name}{signature}: {calls}"


def test_nothing_is_written_that_threads_share(compiled: Kernels) -> None:
    """Reference counts of arrays were: two threads took longer than one."""
    assert any(name.endswith("_run") for name in compiled)
    for name, found in compiled.items():
        for signature, assembly in found:
            assert not re.search(r"^\s+lock\b", assembly, re.MULTILINE), f"{name}{signature}"


def test_results_can_go_past_the_caches(compiled: Kernels) -> None:
    stored = re.compile(r"^\s+v?movnt(?:ps|pd|dq)\s", re.MULTILINE)
    runs = {
        name: [assembly for _, assembly in found if stored.search(assembly)]
        for name, found in compiled.items()
        if name.endswith("_run") and "rows" not in name and name != "samples_run"
    }
    families = {row.family for row in OPERATIONS.values() if row.family.kin is None}
    assert len(runs) == sum(2 if row.is_loss else 1 for row in families)
    for name, found in runs.items():
        assert found, f"{name} has no such stores"
        for assembly in found:
            assert re.search(r"^\s+sfence", assembly, re.MULTILINE), f"{name} has no fence"


def test_the_check_sees_a_scalar_loop() -> None:
    """The default error model tests each divisor, which keeps a loop scalar."""

    def divide(x, out):  # type: ignore[no-untyped-def]
        for i in range(x.size):
            out[i] = 1.0 / x[i]

    packed = {}
    for model in ("numpy", "python"):
        compiled = numba.njit("(f8[::1], f8[::1])", error_model=model)(divide)
        (assembly,) = compiled.inspect_asm().values()
        packed[model] = sum(loop.count(PACKED) for loop in innermost_loops(assembly))
    assert packed["numpy"] > 0
    assert packed["python"] == 0
