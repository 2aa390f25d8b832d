"""What has to hold before a graph from elsewhere is written: a place to write to, free names, names that DuckDB takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dbgnn.database import Database
from dbgnn.errors import ReadOnlyError, SchemaError
from dbgnn.schema.catalog import folded
from dbgnn.schema.registry import find_graph
from dbgnn.sql import quote
from dbgnn.stores.binding import NEW_GRAPH

if TYPE_CHECKING:
    import duckdb


def check_target(db: object, what: str) -> None:
    """Raise unless ``db`` is a database that can be written to."""
    if not isinstance(db, Database):
        raise SchemaError(f"{what} writes to a Database, not {type(db).__name__}: dbgnn.connect(path or connection) makes one.")
    if db.read_only:
        raise ReadOnlyError(f"{what} has to write, but {db!s} is open read-only. Connect with read_only=False.")
    db.need_no_transaction(what)


def free_graph_name(con: duckdb.DuckDBPyConnection, name: str | None) -> str:
    """Return the name of a graph to be made; raise :class:`SchemaError` if there is such a graph."""
    name = NEW_GRAPH if name is None else name
    check_name(name, "The name of the graph")
    if (known := find_graph(con, name)) is not None:
        raise SchemaError(
            f"There is a property graph {known!r} already. Give this one another name (name=…), or DROP PROPERTY GRAPH "
            f"{quote(known)} first; its tables stay."
        )
    return name


def check_name(name: object, what: str) -> None:
    """Raise :class:`SchemaError` unless ``name`` is a text that DuckDB takes for a name."""
    if not isinstance(name, str) or not name or "\0" in name or any("\ud800" <= c <= "\udfff" for c in name):
        raise SchemaError(f"{what} is {name!r}; it must be a text, not empty, without NUL and lone surrogates.")


def check_attribute_names(at: str, names: Iterable[str]) -> None:
    """Raise :class:`SchemaError` if the attributes of a type cannot be columns of one table; ``at`` is the type in Python."""
    seen: dict[str, str] = {}
    for name in names:
        check_name(name, f"The name of an attribute of {at}")
        other = seen.setdefault(folded(name), name)
        if other != name:
            raise SchemaError(f"{at} has the attributes {other!r} and {name!r}, which are one name to DuckDB. Rename one.")
        if folded(name) == "rowid":
            raise SchemaError(f"{at} has an attribute {name!r}, which is DuckDB's word for the place of a row. Rename it.")


def free_column(wanted: str, taken: Iterable[str]) -> str:
    """Return ``wanted``, with as many ``_`` behind as it takes to be none of the columns ``taken``."""
    others = {folded(name) for name in taken}
    while wanted in others:
        wanted += "_"
    return wanted
