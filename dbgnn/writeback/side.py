"""What ``into=`` names: a side table, ``table`` or ``schema.table``, written as SQL writes names."""

from __future__ import annotations

import duckdb

from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.schema import TableName
from dbgnn.schema.catalog import OWN_SCHEMA, current_database, folded
from dbgnn.schema.paths import names_of_path
from dbgnn.schema.render import shown
from dbgnn.sql import quote
from dbgnn.stores.tables import current_schema

#: Schemas in which users keep nothing.
_NOT_OF_USERS = (OWN_SCHEMA, "information_schema", "pg_catalog")


def path_of(into: object) -> tuple[str, ...]:
    """Return the names of which a path such as ``schema.table`` or ``"a.b".table`` consists.

    Raises:
        SchemaError: It is no such path.
    """
    if not isinstance(into, str) or not into:
        raise SchemaError(f"into={into!r} names no side table; it is 'table' or 'schema.table'.")
    if (parts := names_of_path(into)) is None:
        raise SchemaError(
            f"into={into!r} cannot be read as 'table' or 'schema.table'. A name that holds points or double quotes is "
            f"quoted as in SQL: into={quote(into)!r}."
        )
    return parts


def schemas(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the schemas of the current database in which a side table may be."""
    found = con.execute(
        "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database() ORDER BY schema_name ASC"
    )
    return [name for (name,) in found.fetchall() if name not in _NOT_OF_USERS]


def find_schema(con: duckdb.DuckDBPyConnection, name: str) -> str | None:
    """Return a schema as the catalog spells it, or None."""
    return next((known for known in schemas(con) if folded(known) == folded(name)), None)


def side_table(con: duckdb.DuckDBPyConnection, into: str) -> TableName:
    """Return the table that ``into`` names, which may be there or not.

    Raises:
        SchemaError: It is no name of a table, or that of one in another database.
        UnknownNameError: There is no such schema.
    """
    *above, name = path_of(into)
    if not above:
        return TableName(name, current_schema(con))
    database = current_database(con)
    if (len(above) == 2 and folded(above[0]) != folded(database)) or len(above) > 2:
        rest = ".".join(map(shown, [*above[1:], name][-2:]))
        raise SchemaError(f"into={into!r}: a side table is in the database of its graph, {database!r}; write into={rest!r}.")
    if (schema := find_schema(con, above[-1])) is not None:
        return TableName(name, schema)
    if len(above) == 1 and folded(above[0]) == folded(database):
        return TableName(name, "main")
    if folded(above[-1]) in _NOT_OF_USERS:
        raise SchemaError(f"into={into!r}: schema {above[-1]!r} is not for tables of users; name another.")
    raise UnknownNameError(
        f"into={into!r}: the database has no schema {above[-1]!r}{near_misses(above[-1], schemas(con))}. Make it first, "
        f"db.execute({f'CREATE SCHEMA {shown(above[-1])}'!r}), or if that is all the name of a table, quote it: "
        f"into={quote('.'.join([*above, name]))!r}."
    )
