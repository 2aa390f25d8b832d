"""What this process has used so far: memory, bytes read, processor time; and what memory the machine has."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path


def peak_rss() -> int:
    """Return the most memory this process ever had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a process that was forked starts at its parent's
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def bytes_read() -> tuple[int, int]:
    """Return the bytes read by calls, and those of them that came from the disk; zeros where the system does not count."""
    file = Path("/proc/self/io")
    if not file.exists():
        return 0, 0
    counts = dict(line.split(": ") for line in file.read_text().splitlines())
    return int(counts["rchar"]), int(counts["read_bytes"])


def cpu_seconds() -> float:
    """Return the processor time of all threads of this process."""
    used = os.times()
    return used.user + used.system


def total_memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_memory() -> int:
    """Return the bytes of memory that a new process could have without swapping."""
    file = Path("/proc/meminfo")
    if not file.exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return next(int(line.split()[1]) * 1024 for line in file.read_text().splitlines() if line.startswith("MemAvailable"))
