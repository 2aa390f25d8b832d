"""DuckDB settings that a write needs for a while: one lock, so that no two writes restore each other's values."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import duckdb

from dbgnn.errors import ResourceError
from dbgnn.sql import literal


class _Lock:
    """The lock, in the one place where a forked child can be given another."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.held = threading.RLock()


_lock = _Lock()
# A thread of the parent that holds the lock does not exist in the child, and would never let go of it.
os.register_at_fork(after_in_child=_lock.renew)


@contextmanager
def write_settings(con: duckdb.DuckDBPyConnection, *, uncompressed: bool) -> Iterator[None]:
    """Have rows kept in the order they are written in while the block runs, and arrays stored as they are, if asked.

    The settings are those of the whole DuckDB instance, so one such block of the process runs at a time; the values
    before are put back whatever happens. Where ``SET lock_configuration`` forbids the change, arrays are
    compressed as DuckDB sees fit, which only makes random reads slower.

    Args:
        con: A connection to the instance; a cursor of it is used, which an aborted transaction of ``con`` does not stop.
        uncompressed: Whether to set ``force_compression = 'uncompressed'``.

    Raises:
        ResourceError: ``preserve_insertion_order`` is false, and the configuration is locked.
    """
    wanted = {"preserve_insertion_order": "true"} | ({"force_compression": "uncompressed"} if uncompressed else {})
    with _lock.held, con.cursor() as control:
        before: dict[str, str] = {}
        try:
            for name, value in wanted.items():
                [(old,)] = control.execute("SELECT current_setting(?)", [name]).fetchall()
                if str(old).lower() != value:
                    before[name] = str(old).lower()  # noted first: Ctrl-C may come right behind the SET
                    _set(control, name, value)
            yield
        finally:
            for name, value in before.items():
                with suppress(duckdb.InvalidInputException):  # locked since, and it stays so
                    control.execute(f"SET {name} = {literal(value)}")


def _set(control: duckdb.DuckDBPyConnection, name: str, value: str) -> None:
    try:
        control.execute(f"SET {name} = {literal(value)}")
    except duckdb.InvalidInputException as error:
        if "locked" not in str(error):
            raise
        if name == "preserve_insertion_order":
            raise ResourceError(
                "Rows would not keep their order: the setting preserve_insertion_order is false and the configuration is "
                "locked. Run SET preserve_insertion_order = true before SET lock_configuration = true."
            ) from error
