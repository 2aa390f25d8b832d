"""DuckDB's settings as dbgnn changes them, and what happens where one is refused.

A configuration may be locked (``SET lock_configuration = true``), and a notebook without ipywidgets refuses DuckDB's progress
bar. What only changes speed or display is then left as it is; what a user asked for, or a result depends on, is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from dbgnn.errors import ResourceError
from dbgnn.sql import literal

#: The setting that forbids all others; it has to come last.
LOCK = "lock_configuration"


def is_locked(con: duckdb.DuckDBPyConnection) -> bool:
    """Return whether ``SET lock_configuration = true`` was run on the instance."""
    return bool(con.execute(f"SELECT current_setting('{LOCK}')").fetchall()[0][0])


def prefer(con: duckdb.DuckDBPyConnection, **settings: str) -> None:
    """Change settings that only matter for speed or display, where that is allowed."""
    for name, value in settings.items():
        try:
            con.execute(f"SET {name} = {literal(value)}")
        except duckdb.InvalidInputException:  # locked, or ipywidgets is missing
            continue


def require(con: duckdb.DuckDBPyConnection, remedy: str, /, **settings: str) -> None:
    """Change settings that the user asked for.

    Args:
        con: The connection.
        remedy: What to write instead of a value that DuckDB does not take; the end of the message.
        settings: Values by name.

    Raises:
        ResourceError: DuckDB does not take the value, or the configuration is locked.
    """
    for name, value in settings.items():
        try:
            con.execute(f"SET {name} = {literal(value)}")
        except duckdb.Error as error:
            if f'"{name}"' in str(error) and is_locked(con):
                raise ResourceError(
                    f"{name}={value!r} cannot be set, since the configuration is locked. Leave {name} out, or run "
                    f"SET {name} = {literal(value)} before SET {LOCK} = true."
                ) from error
            raise ResourceError(f"{name}={value!r} is not a value DuckDB takes: {error}{remedy}") from error


def without_lock(config: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings to open a database with; `lock_last` sets the lock once all others are set."""
    return {name: value for name, value in config.items() if name.lower() != LOCK}


def lock_last(con: duckdb.DuckDBPyConnection, config: Mapping[str, str]) -> None:
    """Lock the configuration if that was asked for."""
    for name, value in config.items():
        if name.lower() == LOCK:
            con.execute(f"SET {LOCK} = {literal(str(value))}")
