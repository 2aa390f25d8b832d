"""Edges that lack an end: the error that names the first, and how many of those left out no condition explains.

An edge is left out because a condition left its end out, or because its end is in no row of the table: it dangles. To know
which, the nodes' query is read without what leaves rows out; where it has a form of which that cannot be said (a join, a
subquery, GROUP BY …), nothing is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from dbgnn.errors import DataError
from dbgnn.queries.node_keys import NodeKeys
from dbgnn.queries.query_model import EdgeQuery, NodeQuery
from dbgnn.queries.read_only import Params, names_bound, query_errors, tree_of
from dbgnn.queries.sinks import POS, Ends, carried_keys, numbered
from dbgnn.schema.catalog import folded
from dbgnn.schema.key_values import key_rows, shown_key
from dbgnn.schema.keys import same
from dbgnn.sql import quote

#: What may stand in a FROM: one relation that has all the rows.
_RELATIONS = ("BASE_TABLE", "TABLE_FUNCTION")

#: Joins that leave rows of their left side out, and do nothing else.
_FILTERING_JOINS = ("SEMI", "ANTI")


def dangling_error(
    con: duckdb.DuckDBPyConnection,
    query: EdgeQuery,
    params: Params,
    ends: Ends,
    keys: Sequence[str],
    types: Sequence[str],
    joins: Sequence[str],
) -> DataError:
    """Return the error for edges whose end is not among the nodes.

    Args:
        con: The connection.
        query: The query of the edges.
        params: The values that it wants bound.
        ends: What found the ends' positions, and counted.
        keys: The columns of both ends.
        types: Their SQL types.
        joins: The LEFT JOINs for the positions.
    """
    source, destination = ends.expressions
    [(*row, no_source)] = key_rows(
        con,
        f"SELECT {carried_keys(keys, types)}, ({source}) IS NULL AS s FROM {numbered(query.text)} {' '.join(joins)} "
        f"WHERE ({source}) IS NULL OR ({destination}) IS NULL ORDER BY q.{POS} ASC LIMIT 1",
        types,
        params,
    )
    end = query.edge_type[0 if no_source else 2]
    return DataError(
        f"{ends.dangling:,} edges {query.edge_type!r} lead from or to nodes that the node queries do not give; the first "
        f"({shown_key(keys, row)}) has no {end!r}. Leave them out by dangling='drop', which counts them in "
        "data.num_dropped, or mend the tables."
    )


def beside_conditions(query: EdgeQuery, dangling: int) -> DataError:
    """Return the error for edges that dangle where the conditions of the graph leave nodes out, and the caller none."""
    return DataError(
        f"{dangling:,} edges {query.edge_type!r} have an end that is in no row of its table, whatever the graph's conditions; "
        "graph.check() names some. Leave them out by dangling='drop', which counts them in data.num_dangling, or mend the "
        "tables."
    )


def num_dangling(
    con: duckdb.DuckDBPyConnection,
    query: EdgeQuery,
    ends: Sequence[tuple[NodeQuery, NodeKeys, Sequence[str]]],
    params: Mapping[str, object],
    *,
    total: int,
    dropped: int,
) -> int | None:
    """Return how many edges lack an end even before conditions on nodes; None where the queries do not tell.

    Args:
        con: The connection.
        query: The query of the edges.
        ends: For source and destination, the nodes' query, their keys, and the edge query's columns that refer to those.
        params: All values by name.
        total: The number of edges of the query.
        dropped: How many of them were left out.
    """
    if not dropped or not any(nodes.filtered for nodes, _, _ in ends):
        return dropped
    joins = []
    for alias, (nodes, index, own) in zip(("dbgnn_s", "dbgnn_d"), ends, strict=True):
        rows = unfiltered(con, nodes.text, index.names) if nodes.filtered else nodes.text
        if rows is None:
            return None
        on = same(((f"{alias}.{quote(k)}", f"q.{quote(c)}") for k, c in zip(index.names, own, strict=True)), index.types)
        joins.append(f"SEMI JOIN ({rows}\n) AS {alias} ON {on}")
    sql = f"SELECT count(*) FROM ({query.text}\n) AS q {' '.join(joins)}"
    used = {name: params[name] for name in names_bound(con, sql)}
    with query_errors(f"dangling edges {query.edge_type!r}", sql):
        try:
            [(whole,)] = con.execute(sql, used or None).fetchall()
        except duckdb.BinderException:  # a key is named by way of another entry of the SELECT, which is not there now
            return None
    return total - int(whole)


def unfiltered(con: duckdb.DuckDBPyConnection, text: str, keys: Sequence[str]) -> str | None:
    """Return a query of the keys of all rows that a checked query chooses from.

    WHERE, LIMIT, QUALIFY, samples, DISTINCT and semi-joins go. None where the rows are not those of one table, view or
    file, or where a key is computed: on a row that was left out, that might fail.
    """
    tree = tree_of(con, text, "")
    node = tree[0]["node"]
    if node["type"] != "SELECT_NODE" or node["cte_map"]["map"] or node["group_expressions"] or node["having"]:
        return None
    rows = node["from_table"]
    while rows["type"] == "JOIN" and rows["join_type"] in _FILTERING_JOINS:
        rows = rows["left"]
    kept = _plain_columns(node["select_list"], keys)
    if rows["type"] not in _RELATIONS or kept is None:
        return None
    rows["sample"] = None
    node |= {"from_table": rows, "select_list": kept, "modifiers": []}
    node |= dict.fromkeys(("where_clause", "sample", "qualify"))
    try:
        whole = json.dumps({"error": False, "statements": tree})
    except RecursionError:  # a computation of hundreds of terms beside the keys
        return None
    return str(con.execute("SELECT system.main.json_deserialize_sql(?::JSON)", [whole]).fetchall()[0][0])


def _plain_columns(select_list: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return the entries of a SELECT that give the keys as they are in the rows; None where there are others."""
    named = {folded(e["alias"] or e["column_names"][-1]): e for e in select_list if e["class"] == "COLUMN_REF"}
    if all(folded(key) in named for key in keys):
        return [named[folded(key)] for key in keys]
    stars = [e for e in select_list if e["class"] == "STAR" and not (e["columns"] or e["replace_list"])]
    own = {folded(e["alias"]) for e in select_list}
    return stars if stars and not own & {folded(key) for key in keys} else None
