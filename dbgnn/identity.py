"""Which file a path names, and whether it is the one that this process has open: by device and inode, never by name.

DuckDB goes by names: it shares one instance per path within a process, and knows nothing of a file that was replaced or deleted
while it was open. What is written then goes to a file that no path leads to.
"""

from __future__ import annotations

import os
from typing import TypeAlias

#: Device and inode of a file.
FileIdentity: TypeAlias = tuple[int, int]

#: Where Linux lists the files that a process has open.
_OPEN_FILES = "/proc/self/fd"


class _Forks:
    """How many forks lie between this process and the one that imported dbgnn."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        self.count += 1


_forks = _Forks()
os.register_at_fork(after_in_child=_forks.add)


def is_forked() -> bool:
    """Whether this process was forked from one that had imported dbgnn, and may so have inherited DuckDB's instances."""
    return _forks.count > 0


def identity_of(path: str) -> FileIdentity | None:
    """Return which file a path names now; None: none, or it is no local file."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def paths_open(identity: FileIdentity) -> set[str] | None:
    """Return the paths by which this process has a file open; None where the system does not say."""
    try:
        numbers = os.listdir(_OPEN_FILES)
    except OSError:
        return None
    found = set()
    for number in numbers:
        try:
            stat = os.fstat(int(number))
            if (stat.st_dev, stat.st_ino) == identity:
                found.add(os.readlink(f"{_OPEN_FILES}/{number}"))
        except OSError:  # closed since it was listed
            continue
    return found


def has_open(identity: FileIdentity) -> bool:
    """Whether this process has a file open; True where the system does not say."""
    found = paths_open(identity)
    return found is None or bool(found)
