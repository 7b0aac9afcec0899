"""How much memory there is."""

from __future__ import annotations

import os
from pathlib import Path


def available_memory() -> int | None:
    """Return the bytes of memory that this process may still use, or None where nobody says."""
    limits = []
    try:
        fields = Path("/proc/meminfo").read_text(encoding="ascii").split()
        limits.append(1024 * int(fields[fields.index("MemAvailable:") + 1]))
    except (OSError, ValueError):
        pass
    group = Path("/sys/fs/cgroup")
    try:
        used = int((group / "memory.current").read_text(encoding="ascii"))
        limits.append(int((group / "memory.max").read_text(encoding="ascii")) - used)
    except (OSError, ValueError):
        pass
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            limits.append(limit - pages * os.sysconf("SC_PAGE_SIZE"))
    except (ImportError, OSError, ValueError):
        pass
    return max(min(limits), 0) if limits else None


def release_memory() -> None:
    """Give back to the system what Arrow keeps for later."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
