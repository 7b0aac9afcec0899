"""What this process may use of the machine: its affinity mask, its container, its own limits."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# The memory where the system does not say how much it has.
UNKNOWN = 1 << 32


def usable_cpus() -> int:
    """Return the processors this process may use: affinity mask, then cgroup quota."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = cgroup_quota()
    return max(1, min(count, quota) if quota else count)


def cgroup_quota(root: Path = _CGROUP) -> int | None:
    """Return the whole processors that the container's quota allows, or None without a quota."""
    for quota_file, period_file in (
        ("cpu.max", None),
        ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
    ):
        try:
            fields = (root / quota_file).read_text().split()
            if period_file:
                fields += (root / period_file).read_text().split()
            quota, period = int(fields[0]), int(fields[1])
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0 and period > 0:
            return max(1, -(-quota // period))
    return None


def usable_memory(root: Path = _CGROUP) -> int:
    """Return the bytes that this process may use: the machine's, its container's, its limit."""
    try:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # not POSIX
        found = [UNKNOWN]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            found.append(int((root / name).read_text()))
        except (OSError, ValueError):  # "max"
            continue
    limit = address_space()
    # What is not limited says a very large number, or -1.
    return min(size for size in (*found, limit) if size is not None and size > 0)


def available_memory(root: Path = _CGROUP) -> int | None:
    """Return the bytes of memory that are still free for this process, or None if nobody says."""
    limits = []
    try:
        fields = Path("/proc/meminfo").read_text(encoding="ascii").split()
        limits.append(1024 * int(fields[fields.index("MemAvailable:") + 1]))
    except (OSError, ValueError):
        pass
    try:
        used = int((root / "memory.current").read_text(encoding="ascii"))
        limits.append(int((root / "memory.max").read_text(encoding="ascii")) - used)
    except (OSError, ValueError):
        pass
    limit = address_space()
    if limit is not None:
        try:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            limits.append(limit - pages * os.sysconf("SC_PAGE_SIZE"))
        except (OSError, ValueError):
            pass
    return max(min(limits), 0) if limits else None


def address_space() -> int | None:
    """Return the bytes of addresses that the process may have, or None without a limit."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (ImportError, AttributeError):
        return None
    return None if limit == resource.RLIM_INFINITY else limit
