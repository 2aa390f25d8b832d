"""What `connect()` is asked for, DuckDB's settings as dbgnn changes them, and what happens where one is refused.

A configuration may be locked (``SET lock_configuration = true``), and a notebook without ipywidgets refuses DuckDB's progress
bar. What only changes speed or display is then left as it is; what a user asked for, or a result depends on, is an error.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, SupportsIndex

import duckdb

from dbgnn.errors import ResourceError
from dbgnn.masking import MASK, is_secret_name, masked, secrets_of
from dbgnn.sql import literal

#: The texts that DuckDB takes for a memory limit, for messages.
_LIMITS = "such as '4GB', '50%' or '-1' (no limit)"

AT_LEAST_ONE = ". Write an int of at least 1."

#: The setting that forbids all others; it has to come last.
LOCK = "lock_configuration"

#: What keeps a stranger's file from acting: no other file, no network, no extension, nothing of Python's, and no way back.
UNTRUSTED = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_unsigned_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
    LOCK: "true",
}

#: Settings that would open again, for some files, what `UNTRUSTED` closes.
_REOPENS = frozenset(
    {"access_mode", "allowed_configs", "allowed_directories", "allowed_paths", "allow_parser_override_extension"}
)


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """What `connect()` was asked for; enough to open the same database in another process.

    Its repr names the settings in ``config`` and not their values, which may be keys.
    """

    path: str
    read_only: bool = False
    memory_limit: str | None = None
    threads: int | None = None
    temp_directory: str | None = None
    progress: bool = True
    trusted: bool = False
    untrusted: bool = False
    config: tuple[tuple[str, str], ...] = field(default=())

    def __repr__(self) -> str:
        shown = {f.name: getattr(self, f.name) for f in fields(self)}
        shown |= {"path": masked(self.path), "config": {name: MASK for name, _ in self.config}}
        return f"DatabaseSettings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def secret(self) -> str:
        """Which of them is a key or a password, in words; empty if none is."""
        named = next((name for name, value in self.config if is_secret_name(name) or secrets_of(str(value))), None)
        if named is not None:
            return f"its config= has {named!r}"
        return "its path has a key or password" if secrets_of(self.path) else ""

    @property
    def why_read_only(self) -> str:
        """What an error says of a database that nothing can be written to, and what to do."""
        if self.untrusted:
            return "open as a stranger's, read-only. If the file is your own, connect without untrusted=True."
        return "open read-only. Connect with read_only=False."


def is_locked(con: duckdb.DuckDBPyConnection) -> bool:
    """Return whether ``SET lock_configuration = true`` was run on the instance."""
    return bool(con.execute(f"SELECT system.main.current_setting('{LOCK}')").fetchall()[0][0])


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
                if _is_set(con, name, value):
                    continue
                raise ResourceError(
                    f"{name}={value!r} cannot be set, since the configuration is locked. Leave {name} out, or run "
                    f"SET {name} = {literal(value)} before SET {LOCK} = true."
                ) from error
            raise ResourceError(f"{name}={value!r} is not a value DuckDB takes: {error}{remedy}") from error


def _is_set(con: duckdb.DuckDBPyConnection, name: str, value: str) -> bool:
    """Whether a setting has a value, however it is written."""
    query = "SELECT system.main.current_setting(?)"
    with duckdb.connect(":memory:") as other:
        try:
            other.execute(f"SET {name} = {literal(value)}")
        except duckdb.Error:
            return False
        return other.execute(query, [name]).fetchall() == con.execute(query, [name]).fetchall()


def check_untrusted(config: Mapping[str, str], *, read_only: bool | None, trusted: bool) -> None:
    """Raise :class:`ResourceError` if something that was asked for contradicts ``untrusted=True``."""
    if read_only is False:
        raise ResourceError("untrusted=True opens a file read-only, and read_only=False asks to write. Leave one of them out.")
    if trusted:
        raise ResourceError("untrusted=True and trusted=True contradict each other. Leave one of them out.")
    for name, value in config.items():
        wanted = UNTRUSTED.get(name.lower(), str(value).lower())
        if name.lower() in _REOPENS or str(value).lower() != wanted:
            raise ResourceError(f"untrusted=True sets {name} by itself. Leave {name} out of config=, or untrusted=True.")


def config_of(settings: DatabaseSettings) -> dict[str, Any]:
    """Return the settings to open a database with, all but the lock."""
    config: dict[str, Any] = dict(settings.config)
    if settings.untrusted:
        config |= UNTRUSTED
        if settings.temp_directory is not None:  # which cannot be set where there is no access to files
            config["temp_directory"] = settings.temp_directory
    return without_lock(config)


def without_lock(config: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings to open a database with; `lock_last` sets the lock once all others are set."""
    return {name: value for name, value in config.items() if name.lower() != LOCK}


def lock_last(con: duckdb.DuckDBPyConnection, config: Mapping[str, str]) -> None:
    """Lock the configuration if that was asked for."""
    for name, value in config.items():
        if name.lower() == LOCK and not is_locked(con):  # as it is where this process has the file open already
            con.execute(f"SET {LOCK} = {literal(str(value))}")


def apply(connection: duckdb.DuckDBPyConnection, settings: DatabaseSettings, *, owned: bool) -> None:
    """Set what `connect()` was asked for, on a connection of our own with what our methods need, and last the lock."""
    if settings.memory_limit is not None:
        require(connection, f". Write text {_LIMITS}, or bytes as an int.", memory_limit=settings.memory_limit)
    if settings.threads is not None:
        require(connection, AT_LEAST_ONE, threads=str(settings.threads))
    if settings.temp_directory is not None and not settings.untrusted:
        require(connection, "", temp_directory=settings.temp_directory)
    if owned:
        given = {name.lower() for name, _ in settings.config}
        # Our methods stand between the user and DuckDB, which by itself looks for data frames one frame up only.
        if "python_scan_all_frames" not in given:
            prefer(connection, python_scan_all_frames="true")
        if (
            settings.progress and "enable_progress_bar" not in given
        ):  # DuckDB counts, COPY shows it. Shown by DuckDB itself, it would be there twice.
            prefer(connection, enable_progress_bar_print="false", enable_progress_bar="true")
        if not settings.untrusted:
            lock_last(connection, dict(settings.config))
    else:
        require(connection, "", **{name: str(value) for name, value in without_lock(dict(settings.config)).items()})
        lock_last(connection, dict(settings.config))


def bytes_of(memory_limit: str | SupportsIndex | None) -> str | None:
    """Return a memory limit as DuckDB takes it; a bare number means bytes to us and nothing to DuckDB."""
    if memory_limit is None or isinstance(memory_limit, str):
        return memory_limit
    if isinstance(memory_limit, bool) or not hasattr(memory_limit, "__index__"):
        raise ResourceError(f"memory_limit={memory_limit!r} must be an int of bytes or text {_LIMITS}.")
    return f"{operator.index(memory_limit)}B"


def threads_of(threads: SupportsIndex | None) -> int | None:
    """Return a number of threads as an int; DuckDB would round 2.5 to 3."""
    if threads is None:
        return None
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise ResourceError(f"threads={threads!r} must be an int of at least 1.")
    return operator.index(threads)
