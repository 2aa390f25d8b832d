"""From a staged relation ``(id, c0, c1, …)`` to where its rows belong: columns of a type's own table, or a side table.

What is staged may be an Arrow table or a table of the database; it is moved within a transaction of the caller. Ids stay what
they are, and so does what loaders fetch, unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeVar

import duckdb

from dbgnn import schema
from dbgnn.errors import DataError, RequestError
from dbgnn.schema import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.schema.key_values import carried, key_rows, shown_key
from dbgnn.schema.keys import compared, same
from dbgnn.sql import quote, quote_all
from dbgnn.stores import tables
from dbgnn.writeback.writable import check_writable
from dbgnn.writeback.write_target import Target, moves_its_row

_Element = TypeVar("_Element", VertexTable, EdgeTable)


def move_staged(
    target: Target, con: duckdb.DuckDBPyConnection, staged: str, kinds: Mapping[str, str]
) -> tuple[int, PropertyGraph]:
    """Write what is staged, in the caller's transaction; then, after its commit, call `settle`.

    Args:
        target: Where it goes.
        con: The connection that has the transaction.
        staged: The relation ``(id, c0, c1, …)``, as SQL names it; ids are in range.
        kinds: The columns in that order, with their SQL types.

    Returns:
        The number of rows, and the graph's definition after the commit.

    Raises:
        RequestError: An id comes twice.
        DataError: A row has a value already, under ``on_conflict="error"``; or parallel edges for a side table.
        StaleIndexError: Rows were moved or changed at the last moment.
    """
    target.verify(con)
    check_writable(target, con, kinds)
    (count, distinct) = con.execute(f"SELECT count(*), count(DISTINCT id) FROM {staged}").fetchall()[0]
    if count != distinct:
        (twice, times) = con.execute(
            f"SELECT id, count(*) FROM {staged} GROUP BY id HAVING count(*) > 1 ORDER BY id ASC LIMIT 1"
        ).fetchall()[0]
        raise RequestError(
            f"The {count:,} ids of {target.source.label!r} name {distinct:,} rows: id {twice} comes {times} times. Give each "
            "row once."
        )
    if target.into is not None:
        _move_aside(target, con, staged, kinds)
        return count, target.graph.definition
    _move_into(target, con, staged, kinds)
    if target.serve:
        schema.unmark_written(con, target.source.table, kinds)
        return count, _listing(target, con, kinds)
    schema.mark_written(con, target.source.table, [name for name in kinds if name not in target.source.columns])
    return count, schema.current(con, target.graph.definition)


def settle(target: Target, definition: PropertyGraph, kinds: Mapping[str, str]) -> None:
    """Serve the definition that `move_staged` returned, and bring the index up to date with rows that were moved."""
    target.graph.definition = definition
    if target.moves_rows(kinds):
        target.graph.build(progress=False)


def _by_rowid(target: Target, staged: str, kinds: Mapping[str, str]) -> str:
    """Return a query of ``(rid, c0, c1, …)``."""
    columns = "".join(f", s.c{i}" for i in range(len(kinds)))
    if target.source.map_table is None:
        return f"SELECT s.id AS rid{columns} FROM {staged} AS s"
    return f"SELECT m.rid{columns} FROM {staged} AS s JOIN {target.source.map_table} AS m ON m.id = s.id"


def _move_into(target: Target, con: duckdb.DuckDBPyConnection, staged: str, kinds: Mapping[str, str]) -> None:
    table, written = target.source.table, _by_rowid(target, staged, kinds)
    new = [name for name in kinds if name not in target.source.columns]
    _check_conflict(target, con, table, f"({written}) AS w JOIN {table.sql} AS t ON t.rowid = w.rid", set(kinds) - set(new))
    if tables.bound_by(con, table) is None and any(map(moves_its_row, kinds.values())):
        _remake(target, con, written, kinds, new)
        return
    for name in new:
        con.execute(f"ALTER TABLE {table.sql} ADD COLUMN {quote(name)} {kinds[name]}")
    con.execute(f"UPDATE {table.sql} AS t SET {_assignments(kinds)} FROM ({written}) AS w WHERE t.rowid = w.rid")


def _remake(target: Target, con: duckdb.DuckDBPyConnection, written: str, kinds: Mapping[str, str], new: list[str]) -> None:
    """Make the table again in the order of its rows, with the values beside them: only those are sorted, not whole rows."""
    table = target.source.table
    kept = [f"NULL::{kind}" if name in new else f"t.{quote(name)}" for name, kind in kinds.items()]
    columns = ", ".join(f"c{i}" for i in range(len(kinds)))
    replaced = ", ".join(f"v.c{i} AS {quote(name)}" for i, name in enumerate(kinds) if name not in new)
    added = "".join(f", v.c{i} AS {quote(name)}" for i, name in enumerate(kinds) if name in new)
    tables.remake(
        con,
        table,
        f"""SELECT t.*{f" REPLACE ({replaced})" if replaced else ""}{added}
        FROM {table.sql} AS t POSITIONAL JOIN (
          SELECT {columns} FROM (
            {written}
            UNION ALL
            SELECT t.rowid AS rid, {", ".join(kept)} FROM {table.sql} AS t ANTI JOIN ({written}) AS w ON w.rid = t.rowid
          ) ORDER BY rid ASC
        ) AS v""",
    )


def _move_aside(target: Target, con: duckdb.DuckDBPyConnection, staged: str, kinds: Mapping[str, str]) -> None:
    source, keys = target.source, target.source.keys
    types = target.key_types(con)
    side = target.find_side(con)
    if side is None:
        assert target.into is not None
        side = target.into
        columns = [f"{quote(k)} {kind}" for k, kind in zip(keys, types, strict=True)]
        columns += [f"{quote(name)} {kind}" for name, kind in kinds.items()]
        con.execute(f"CREATE TABLE {side.sql} ({', '.join(columns)}, PRIMARY KEY ({quote_all(keys)}))")
        schema.mark_written(con, side, kinds, whole=True)
    known = schema.columns(con, side)
    if new := [name for name in kinds if name not in known]:
        for name in new:
            con.execute(f"ALTER TABLE {side.sql} ADD COLUMN {quote(name)} {kinds[name]}")
        schema.mark_written(con, side, new)
    # Names of our own: a key may be called c0.
    named = ", ".join(f"t.{quote(k)} AS k{i}" for i, k in enumerate(keys))
    values = "".join(f", w.c{i}" for i in range(len(kinds)))
    by_key = (
        f"SELECT {named}{values} FROM ({_by_rowid(target, staged, kinds)}) AS w JOIN {source.table.sql} AS t ON t.rowid = w.rid"
    )
    if isinstance(source.element, EdgeTable):
        _check_parallel(target, con, by_key, kinds)
    on = same(((f"t.{quote(k)}", f"w.k{i}") for i, k in enumerate(keys)), types)
    _check_conflict(target, con, side, f"({by_key}) AS w JOIN {side.sql} AS t ON {on}", set(kinds) & set(known))
    con.execute(f"UPDATE {side.sql} AS t SET {_assignments(kinds)} FROM ({by_key}) AS w WHERE {on}")
    con.execute(
        f"INSERT INTO {side.sql} ({quote_all([*keys, *kinds])}) SELECT * FROM ({by_key}) AS w ANTI JOIN {side.sql} AS t ON {on}"
    )


def _check_conflict(target: Target, con: duckdb.DuckDBPyConnection, table: TableName, joined: str, names: set[str]) -> None:
    """Raise under ``on_conflict="error"`` if one of the rows ``t`` of a join has a value already."""
    if target.on_conflict == "update" or not names:
        return
    some = " OR ".join(f"t.{quote(name)} IS NOT NULL" for name in sorted(names))
    types = target.key_types(con)
    named = [(f"t.{quote(name)}", kind) for name, kind in zip(target.source.keys, types, strict=True)]
    keys = ", ".join(carried(key, kind) for key, kind in named)
    order = ", ".join(f"{compared(key, kind)} ASC NULLS LAST" for key, kind in named)
    query = f"SELECT {keys}, count(*) OVER () AS n FROM {joined} WHERE {some} ORDER BY {order} LIMIT 1"
    if found := key_rows(con, query, types):
        *key, count = found[0]
        raise DataError(
            f"{count:,} of the rows of table {str(table)!r} have a value in {', '.join(sorted(names))} already; the first "
            f"has {shown_key(target.source.keys, key)}. Leave them out, or write with on_conflict='update'."
        )


def _check_parallel(target: Target, con: duckdb.DuckDBPyConnection, by_key: str, kinds: Mapping[str, str]) -> None:
    types = target.key_types(con)
    keys = ", ".join(carried(f"min(k{i})", kind) for i, kind in enumerate(types))
    groups = ", ".join(compared(f"k{i}", kind) for i, kind in enumerate(types))
    query = f"SELECT {keys}, count(*) AS n FROM ({by_key}) GROUP BY {groups} HAVING count(*) > 1 LIMIT 1"
    if found := key_rows(con, query, types):
        *key, count = found[0]
        bound = tables.bound_by(con, target.source.table) is not None and any(map(moves_its_row, kinds.values()))
        single = ", and write numbers, not arrays: a column for each" if bound else ""
        raise DataError(
            f"{count:,} parallel edges of {target.source.label!r} have {shown_key(target.source.keys, key)}: table "
            f"{str(target.into)!r} could not hold a row for each. Leave into out{single}."
        )


def _listing(target: Target, con: duckdb.DuckDBPyConnection, names: Collection[str]) -> PropertyGraph:
    """Return this graph's definition, in which a type that lists its PROPERTIES lists these columns; save it as that."""
    current, label = schema.current(con, target.graph.definition), target.source.label
    element = current.vertex(label) if isinstance(label, str) else current.edge(label)
    if element.properties is None or not (new := [n for n in names if n not in element.properties]):
        return current  # what foreign keys give has them already

    listed_now = (*element.properties, *new)

    def listing(elements: tuple[_Element, ...]) -> tuple[_Element, ...]:
        return tuple(replace(each, properties=listed_now) if each == element else each for each in elements)

    listed = replace(current, vertices=listing(current.vertices), edges=listing(current.edges))
    if listed.name in schema.graph_names(con):
        schema.save(con, listed)
    return listed


def _assignments(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{quote(name)} = w.c{i}" for i, name in enumerate(kinds))
