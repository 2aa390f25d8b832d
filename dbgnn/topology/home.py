"""Where the index is kept: in the file, in its schema ``dbgnn``, or, of a file that is open read-only, in memory.

The index in memory is a database ``:memory:`` attached to the same DuckDB instance, so that its tables join with those of the
file, and every connection of the process sees them. It ends with the instance; each process has its own.
"""

from __future__ import annotations

import duckdb

from dbgnn.errors import SchemaError
from dbgnn.schema.catalog import OWN_SCHEMA, current_database
from dbgnn.sql import quote

#: What the name of an index in memory begins with; the name of the database that it is for follows.
_PREFIX = "dbgnn_index_of_"
#: The same of derived lists.
_LISTS_PREFIX = "dbgnn_lists_of_"


def homes(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the databases that may hold the index of the current one; what the last one says counts.

    Raises:
        SchemaError: A file has the name that the index in memory would have.
    """
    file = current_database(con)
    memory = _PREFIX + file
    query = "SELECT path FROM duckdb_databases() WHERE database_name = ?"
    found = con.execute(query, [memory]).fetchall()
    if found and found[0][0] is not None:
        raise SchemaError(f"{found[0][0]!r} is attached by the name of dbgnn's index in memory. Run DETACH {quote(memory)}.")
    return [file, memory] if found else [file]


def home_to_write(con: duckdb.DuckDBPyConnection, *, read_only: bool) -> str:
    """Return the database that the index is to be written to, and make it if it is one in memory."""
    file = current_database(con)
    if not read_only:
        return file
    memory = _PREFIX + file
    if len(homes(con)) == 1:
        con.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {quote(memory)} (READ_WRITE)")
    return memory


def lists_home(con: duckdb.DuckDBPyConnection) -> str:
    """Return the database in memory that derived lists are kept in, and make it if it is not there."""
    memory = _LISTS_PREFIX + current_database(con)
    found = con.execute("SELECT path FROM duckdb_databases() WHERE database_name = ?", [memory]).fetchall()
    if found and found[0][0] is not None:
        raise SchemaError(f"{found[0][0]!r} is attached by the name of dbgnn's lists in memory. Run DETACH {quote(memory)}.")
    if not found:
        con.execute(f"ATTACH IF NOT EXISTS ':memory:' AS {quote(memory)} (READ_WRITE)")
    # Looked at every time: another thread may have attached it just now.
    con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(memory)}.{quote(OWN_SCHEMA)}")
    return memory


def is_in_memory(con: duckdb.DuckDBPyConnection, home: str) -> bool:
    """Whether a database is the one that `home_to_write` made in memory; a file may have a name that begins as that one's."""
    return home != current_database(con)


def table_in(home: str, name: str) -> str:
    """Return the quoted full name of one of the index's tables."""
    return f"{quote(home)}.{quote(OWN_SCHEMA)}.{quote(name)}"
