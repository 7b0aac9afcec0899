"""Each operation against plain NumPy, for pytest-benchmark: ``python -m pytest bench``.

``fastbce bench`` compares in one interleaved run and with more peers; this file is for following
one machine over time, with pytest-benchmark's storage and comparison.
``FASTBCE_BENCH_MAX`` sets the largest size.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import fastbce
from fastbce._machine import machine_line
from fastbce.bench.operations import OPERATIONS, Data, Operation, check

SIZES = [
    n
    for n in (10**3, 10**4, 10**5, 10**6, 10**7)
    if n <= int(os.environ.get("FASTBCE_BENCH_MAX", 10**7))
]


@pytest.fixture(scope="module", params=SIZES, ids=lambda n: f"{n:.0e}")
def n(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module", params=[np.float32, np.float64], ids=["float32", "float64"])
def data(request: pytest.FixtureRequest, n: int) -> Data:
    return Data.make(n, request.param)


@pytest.mark.parametrize("threads", [1, None], ids=["1-thread", "all-threads"])
@pytest.mark.parametrize("who", ["fastbce", "numpy"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_operation(
    benchmark: Any, data: Data, operation: Operation, who: str, threads: int | None
) -> None:
    if who == "numpy" and threads == 1:
        pytest.skip("NumPy is the same for any number of threads")
    before = fastbce.get_num_threads()
    fastbce.set_num_threads(threads or before)
    try:
        check(operation, data)
        benchmark.group = f"{operation.name} {data.z.dtype} {data.z.size}"
        benchmark.extra_info.update(
            bytes=operation.bytes_moved(data),
            threads=fastbce.get_num_threads(),
            machine=machine_line(),
        )
        make = operation.ours if who == "fastbce" else operation.numpy
        # Results reused on our side, NumPy's own way on the other.
        benchmark(make(data, who == "fastbce"))
        benchmark.extra_info["GB/s"] = operation.bytes_moved(data) / benchmark.stats["median"] / 1e9
    finally:
        fastbce.set_num_threads(before)
