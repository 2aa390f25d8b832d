"""What may lie where a file is expected, and would wait for ever, act, or never end."""

from __future__ import annotations

import os
from pathlib import Path

#: What `make` makes.
KINDS = ("fifo", "folder", "device")


def make(path: Path, kind: str) -> None:
    """Make something at a path that is no regular file, and no link to one."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
