"""How much memory DuckDB may use, in bytes, from what its settings say; the planner decides by it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from dbgnn.errors import ResourceError

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase

#: How DuckDB shows a number of bytes: ``476.8 MiB``. It does not read all of that back: PiB is too large for it.
_SHOWN = re.compile(r"([\d.]+) (bytes?|[KMGTP]iB)")
_UNITS = {"byte": 1, "bytes": 1} | {f"{prefix}iB": 1024**i for i, prefix in enumerate("KMGTP", 1)}


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """The memory that DuckDB may use.

    Attributes:
        bytes: What it can use in fact: at most the memory of the machine.
        text: For people, where the setting and the machine disagree.
    """

    bytes: int
    text: str


def memory_limit(db: OpenDatabase) -> MemoryLimit:
    """Return DuckDB's ``memory_limit`` as it is set now; no limit (``-1``, ``none``) means the memory of the machine."""
    shown = str(db.cursor().execute("SELECT current_setting('memory_limit')").fetchall()[0][0])
    limit = read_bytes(shown)
    if limit <= _physical_memory():
        return MemoryLimit(limit, shown)
    machine = _usable_memory()
    if limit <= machine:
        return MemoryLimit(limit, shown)
    named = "none" if limit >= 1 << 60 else shown
    return MemoryLimit(machine, f"{named}; the machine has {machine / 1024**3:,.1f} GiB")


def read_bytes(shown: str) -> int:
    """Return the number of bytes that DuckDB shows as text.

    Raises:
        ResourceError: It is not of the form that DuckDB 2.0 uses.
    """
    if (found := _SHOWN.fullmatch(shown)) is None:
        raise ResourceError(f"DuckDB shows its memory_limit as {shown!r}, which cannot be read. SET memory_limit = '4GB'.")
    return int(float(found[1]) * _UNITS[found[2]])


def _physical_memory() -> int:
    """Return the bytes of memory that the kernel manages."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _usable_memory() -> int:
    """Return the bytes that this process may use, limits of its container included: DuckDB knows them (25 ms)."""
    with duckdb.connect(config={"threads": 1, "memory_limit": "100%"}) as con:
        return read_bytes(con.execute("SELECT current_setting('memory_limit')").fetchall()[0][0])
