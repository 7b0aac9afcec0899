"""What the figures were measured on: one line that belongs above every table of timings."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastbce._backends import BROKEN, active_backend
from fastbce._threads import get_num_threads


def _cpuinfo() -> list[dict[str, str]]:
    """Return one mapping per logical processor, empty where the system has no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    processors = []
    for paragraph in text.strip().split("\n\n"):
        pairs = (line.partition(":") for line in paragraph.splitlines())
        processors.append({key.strip(): value.strip() for key, _, value in pairs})
    return processors


def _sysctl(name: str) -> str:
    try:
        answer = subprocess.run(  # noqa: S603
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def cpu_model() -> str:
    """Return the processor's name; where known, its widest vector extension and its generation."""
    processors = _cpuinfo()
    if not processors:
        return _sysctl("machdep.cpu.brand_string") or platform.processor() or platform.machine()
    first = processors[0]
    name = first.get("model name", platform.machine())
    flags = set(first.get("flags", "").split())
    extensions = (("avx512f", "AVX-512"), ("avx2", "AVX2"))
    known = [extension for flag, extension in extensions if flag in flags][:1]
    if "cpu family" in first:
        # Virtual machines may name no more than the maker: two such "AMD EPYC" differed by a factor
        # of 2 in the arithmetic of float64.
        known.append(f"family {first['cpu family']}, model {first.get('model', 'unknown')}")
    return f"{name} ({', '.join(known)})" if known else name


def physical_cores() -> int:
    """Return the number of physical cores, or of logical ones where the system will not say."""
    cores = {
        (processor["physical id"], processor["core id"])
        for processor in _cpuinfo()
        if "physical id" in processor and "core id" in processor
    }
    reported = _sysctl("hw.physicalcpu") if not cores else ""
    return len(cores) or (int(reported) if reported.isdigit() else 0) or os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def kernel_state() -> str:
    """Say whether the compiled kernels are on disk already, without compiling any.

    Returns
    -------
    str
        ``"cached"`` where the first calls will read machine code, ``"cold"`` where they will
        compile, ``"not available"`` without a working Numba.
    """
    try:
        from fastbce._kernels import compile, sigmoid  # noqa: A004, F401
    except BROKEN:
        return "not available"
    return "cached" if compile.on_disk() else "cold"


def machine_line() -> str:
    """Return the processor, the threads, the versions, the backend and the kernels' state."""
    return (
        f"{cpu_model()}, {physical_cores()} cores, {get_num_threads()} threads used; "
        f"Python {platform.python_version()}, NumPy {_version('numpy')}, "
        f"Numba {_version('numba')}, llvmlite {_version('llvmlite')}; "
        f"backend {active_backend()}, kernels {kernel_state()}"
    )
