"""Each operation, for pytest-benchmark: ``python -m pytest bench``.

``fastbce bench`` compares in one interleaved run; this file is for following one machine over time,
with pytest-benchmark's storage and comparison. A group holds who computes the same from the same
arrays under the same policy: results allocated by everybody (fresh) or given (reuse).
``FASTBCE_BENCH_MAX`` sets the largest size, ``FASTBCE_BENCH_PEERS=1`` adds the other libraries.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import fastbce
from fastbce._machine import machine_line
from fastbce.bench import SIZES
from fastbce.bench.operations import OPERATIONS, Data, Operation, check
from fastbce.bench.peers import PEERS, Unavailable

LARGEST = int(os.environ.get("FASTBCE_BENCH_MAX", SIZES[-1]))
WHO = ["fastbce", "NumPy", *(PEERS if os.environ.get("FASTBCE_BENCH_PEERS") else ())]


@pytest.fixture(scope="module", params=[n for n in SIZES if n <= LARGEST], ids=lambda n: f"{n:.0e}")
def n(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module", params=[np.float32, np.float64], ids=["float32", "float64"])
def data(request: pytest.FixtureRequest, n: int) -> Data:
    return Data.make(n, request.param)


@pytest.fixture(params=[1, None], ids=["1-thread", "all-threads"])
def threads(request: pytest.FixtureRequest) -> Any:
    before = fastbce.get_num_threads()
    fastbce.set_num_threads(request.param or before)
    yield fastbce.get_num_threads()
    fastbce.set_num_threads(before)


@pytest.mark.parametrize("policy", ["fresh", "reuse"])
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_operation(
    benchmark: Any, data: Data, operation: Operation, who: str, policy: str, threads: int
) -> None:
    reuse = policy == "reuse"
    if reuse not in operation.policies:
        pytest.skip("returns a scalar, or takes no out=: nothing to reuse")
    error = check(operation, data)
    call = _call(operation, data, who, reuse, threads)
    benchmark.group = f"{operation.name} {data.z.dtype} {data.z.size} {policy} {threads}"
    benchmark.extra_info.update(
        bytes=operation.bytes_moved(data), threads=threads, machine=machine_line()
    )
    if who == "fastbce":
        benchmark.extra_info["error against float64"] = error
    benchmark(call)
    if benchmark.stats:  # None with --benchmark-disable
        rate = operation.bytes_moved(data) / benchmark.stats["median"] / 1e9
        benchmark.extra_info["GB/s"] = rate


def _call(operation: Operation, data: Data, who: str, reuse: bool, threads: int) -> Any:
    if who in ("fastbce", "NumPy"):
        return (operation.ours if who == "fastbce" else operation.numpy)(data, reuse)
    try:
        return PEERS[who](operation.name, data, reuse, threads)
    except (Unavailable, ImportError) as error:
        pytest.skip(f"{who}: {error}")
