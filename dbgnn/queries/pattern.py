"""The pattern form: one SELECT over a property graph's tables, and the distinct nodes and edges that it matches.

``SELECT u, r, m FROM users u JOIN ratings r ON … JOIN movies m ON … WHERE …``: DuckDB's own tree of the query says which
alias is which table, the graph says which table is which vertex or edge table, and the query runs once, as the user wrote
it but for ``alias.rowid`` in the place of each alias of the SELECT list. Attributes and positions are made elsewhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self, TypeAlias

import duckdb
from sqlglot import TokenType

from dbgnn.errors import UnknownNameError, near_misses
from dbgnn.queries.marker import Query, Tree
from dbgnn.queries.read_only import Params, check_query, query_errors, tree_of
from dbgnn.schema.catalog import current_database, folded
from dbgnn.schema.keys import same, vertex_key_types
from dbgnn.schema.model import EdgeTable, EdgeType, PropertyGraph, TableName, VertexTable
from dbgnn.schema.render import shown
from dbgnn.sql import quote

#: What a table is to the graph.
Role: TypeAlias = VertexTable | EdgeTable

#: What the query is called in messages.
_WHERE = "the pattern"

#: What a star may bring with it, and then is more than a star.
_STAR_CLAUSES = ("exclude_list", "replace_list", "rename_list", "qualified_exclude_list", "columns", "expr")

#: What else can stand in FROM, by DuckDB's name of it.
_CALLED = {"SUBQUERY": "a subquery", "TABLE_FUNCTION": "a table function", "EXPRESSION_LIST": "a list of VALUES"}


@dataclass(frozen=True, slots=True)
class Match:
    """What a pattern matched, in a temporary table of the connection; a context manager that drops it.

    Attributes:
        con: The connection, on which alone the queries run.
        table: The temporary table: one row per matched row, with the rowids of what is selected and the keys of edges.
        nodes: Per label, a query of one column ``rid``: the distinct rowids (BIGINT, no NULL, in no order) of the nodes
            that were selected or lie at an end of a selected edge.
        edges: Per edge type, the same of the edges that were selected.
    """

    con: duckdb.DuckDBPyConnection
    table: str
    nodes: dict[str, str] = field(default_factory=dict)
    edges: dict[EdgeType, str] = field(default_factory=dict)

    def close(self) -> None:
        """Drop the temporary table; closing twice is fine."""
        # A transaction that has failed refuses every statement, and its end takes the table away.
        with suppress(duckdb.TransactionException):
            self.con.execute(f"DROP TABLE IF EXISTS {self.table}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def match(con: duckdb.DuckDBPyConnection, definition: PropertyGraph, text: str, params: Params = None) -> Match:
    """Run a pattern once, and return queries for the nodes and edges that it matched.

    An item of the SELECT list is the alias of a table of the graph (``u``, ``u.*``, or ``*`` for all of them). Where a
    table is several things, ``r AS rated`` says which: a node type, an edge type as PyG writes it (``user__rated__movie``),
    or the middle of one. Other tables in FROM only filter. Several aliases of one type give the union of their rows; what
    an OUTER JOIN left NULL is no node and no edge.

    Args:
        con: The connection; the match lives in a temporary table of it, until :meth:`Match.close`.
        definition: The graph.
        text: One ``SELECT … FROM …``.
        params: Values bound to ``?`` and ``$name``.

    Raises:
        SqlError: The text is not one SELECT that only reads, it selects something else than nodes and edges, or it is
            ambiguous; the message shows the place.
        UnknownNameError: The SELECT list names no alias, or a role that its table does not have.
    """
    text = check_query(con, text, where=_WHERE)
    query = Query(text, tree_of(con, text, _WHERE)[0]["node"])
    _check_select(query)
    picks = _picks(query, definition, _sources(con, definition, query))
    _check_columns(con, query, picks, params)
    statement = _rewritten(query, picks)
    _check_rewritten(con, query, picks, statement)
    selected = [pick for _, found in picks for pick in found]
    columns = ", ".join(f"c{i}" for i in range(sum(len(_read(*pick)) for pick in selected)))
    name = quote(f"dbgnn_match_{uuid.uuid4().hex}")
    with query_errors(_WHERE, text):
        con.execute(f"CREATE TEMP TABLE {name} ({columns}) AS {statement}", params)
    return _queries(Match(con, f"temp.{name}"), definition, [role for _, role in selected])


# -- what is asked for -------------------------------------------------------------------------------------------


def _check_select(query: Query) -> None:
    """Check that a row of the result is a match, and nothing that was made of several."""
    node = query.node
    if node["type"] != "SELECT_NODE":
        at = query.keyword(TokenType.UNION, TokenType.EXCEPT, TokenType.INTERSECT)
        raise query.error(f"{_WHERE.capitalize()} must be one SELECT; run one pattern each, or say OR in WHERE.", at)
    if any(m["type"] == "DISTINCT_MODIFIER" for m in node["modifiers"]):
        message = "Leave DISTINCT out: every node and edge matched comes once, and parallel edges are edges of their own."
        raise query.error(message, query.keyword(TokenType.DISTINCT))
    grouped = node["group_expressions"] or node["group_sets"] or node["having"]
    if grouped or node["aggregate_handling"] != "STANDARD_HANDLING":
        at = query.keyword(TokenType.GROUP_BY, TokenType.HAVING)
        message = (
            "The pattern gives nodes and edges, not groups of them; put the groups into WHERE: u.id IN (SELECT … GROUP BY …)."
        )
        raise query.error(message, at)
    if query.span(node["select_list"][0]) is None:  # FROM t, TABLE t, VALUES …, DESCRIBE t
        raise query.error("The pattern must say which nodes and edges it gives: SELECT u, r FROM …, or SELECT * FROM ….", None)


# -- the FROM clause ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """Something in FROM: its alias and name, what it is in words, the roles it can have, and where it stands."""

    alias: str
    name: str
    what: str
    roles: tuple[Role, ...]
    part: Tree


def _sources(con: duckdb.DuckDBPyConnection, definition: PropertyGraph, query: Query) -> list[_Source]:
    """Return what the SELECT list can see of FROM."""
    ctes = {folded(entry["key"]) for entry in query.node["cte_map"]["map"]}
    find = _NameLookup(con).find
    parts: tuple[Role, ...] = (*definition.vertices, *definition.edges)
    sources = []
    for part in _named(query.node["from_table"]):
        if part["type"] != "BASE_TABLE":
            sources.append(_Source(part["alias"], part["alias"], _CALLED.get(part["type"], "no table"), (), part))
            continue
        path = part["qualified_name"]["path"]
        if len(path) == 1 and folded(path[0]) in ctes:
            table, what = None, f"the CTE {path[0]!r}"
        else:
            table, what = find(path), f"table {'.'.join(path)!r}"
        roles = [r for r in parts if r.table == table]
        sources.append(_Source(part["alias"] or path[-1], path[-1], what, tuple(roles), part))
    return sources


def _named(part: Tree) -> Iterator[Tree]:
    """Yield the parts of a FROM clause that bring names, from left to right."""
    stack = [part]
    while stack:
        part = stack.pop()
        if part["type"] == "JOIN":
            filters = part["join_type"] in {"SEMI", "ANTI"}  # these keep their right side to themselves
            stack += [part["left"]] if filters else [part["right"], part["left"]]
        elif part["type"] != "EMPTY":
            yield part


class _NameLookup:
    """Which table a name in a query leads to, by DuckDB's rules."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.database = current_database(con)
        self.schema = str(con.execute("SELECT current_schema()").fetchall()[0][0])
        # What is temporary hides tables of its name; views take part because a name in FROM may be theirs.
        self.rows = con.execute(
            """SELECT database_name = 'temp' AS hides, schema_name, table_name, true FROM duckdb_tables()
            WHERE database_name IN ('temp', current_database()) UNION ALL
            SELECT database_name = 'temp', schema_name, view_name, false FROM duckdb_views()
            WHERE database_name IN ('temp', current_database())
            ORDER BY hides DESC, schema_name <> current_schema() ASC"""
        ).fetchall()

    def find(self, path: Sequence[str]) -> TableName | None:
        """Return the table of the database that ``[[database, ]schema, ]name`` means, or None if it means anything else."""
        *above, name = map(folded, path)
        in_database = above[:1] == [folded(self.database)]
        if in_database:
            above = above[1:] or ["main"]
        schemas = above or [folded(self.schema), "main"]
        for hides, schema, found, is_table in self.rows:
            if len(above) < 2 and folded(found) == name and folded(schema) in schemas and not (hides and in_database):
                return None if hides or not is_table else TableName(found, schema)
        return None


# -- the SELECT list ---------------------------------------------------------------------------------------------

#: An item of the SELECT list, and the aliases that it stands for with the role of each.
_Pick: TypeAlias = tuple[Tree, list[tuple[str, Role]]]


def _picks(query: Query, definition: PropertyGraph, sources: Sequence[_Source]) -> list[_Pick]:
    """Return what each item of the SELECT list stands for; ``*``, for every alias with a role, which others may say."""
    items = query.node["select_list"]
    names = [_alias_of(query, item) for item in items]
    said: dict[int, tuple[str, Role]] = {}
    for i, (item, name) in enumerate(zip(items, names, strict=True)):
        if name is not None:
            source = _source_named(query, item, name, sources)
            said[i] = (source.alias, _role(query, definition, item, source))
    roles = dict(said.values())
    picks: list[_Pick] = []
    for i, item in enumerate(items):
        if i in said:
            picks.append((item, [said[i]]))
            continue
        found = [_source_named(query, item, s.alias, sources) for s in sources if s.roles]
        if not found:
            raise query.error(f"No table in FROM is a vertex or edge table of graph {definition.name!r}.", query.at(item))
        picks.append((item, [(s.alias, roles.get(s.alias) or _role(query, definition, item, s)) for s in found]))
    return picks


def _alias_of(query: Query, item: Tree) -> str | None:
    """Return the alias that an item of the SELECT list names, or None for ``*``."""
    if item["class"] == "STAR" and not any(item[clause] for clause in _STAR_CLAUSES):
        return item["relation_name"] or None
    at = query.at(item)
    if item["class"] == "COLUMN_REF" and len(item["column_names"]) == 1:
        if at is not None and query.text[at[1] :].lstrip().startswith(")"):  # what is put in its place is more than one value
            raise query.error("Write the SELECT list without parentheses: SELECT u, r FROM …", at)
        return str(item["column_names"][0])
    if item["class"] == "COLUMN_REF":
        alias = shown(item["column_names"][-2])
        message = f"{'.'.join(item['column_names'])!r} is a column, and a pattern gives nodes and edges: SELECT {alias}."
    else:
        message = "A pattern gives nodes and edges, not values: SELECT aliases of tables, such as SELECT u, r FROM users u …"
    raise query.error(f"{message} Which columns become attributes is said by columns=.", at)


def _source_named(query: Query, item: Tree, name: str, sources: Sequence[_Source]) -> _Source:
    found = [s for s in sources if folded(s.alias) == folded(name)]
    if not found:
        known = near_misses(name, [s.alias for s in sources if s.roles])
        raise query.error(f"{name!r} is no alias of a table in FROM{known}.", query.at(item), UnknownNameError)
    if len(found) > 1:
        message = f"Two tables are called {name!r} here; give this one an alias of its own."
        raise query.error(message, query.at(found[1].part))
    if found[0].roles and found[0].part["column_name_alias"]:
        raise query.error(f"Leave the columns of {name!r} their own names, by which keys are found.", query.at(found[0].part))
    return found[0]


def _role(query: Query, definition: PropertyGraph, item: Tree, source: _Source) -> Role:
    """Return which of the things that a table can be an item of the SELECT list means."""
    alias, wanted, roles = source.alias, str(item["alias"]), source.roles
    known = " or ".join(f"{shown(alias)} AS {shown(_full_name(role))}" for role in roles)
    if not roles:
        known = f"no vertex or edge table of graph {definition.name!r}{near_misses(source.name, definition.tables)}"
        raise query.error(f"{alias!r} is {source.what}, {known}. It can filter, but not be selected.", query.at(item))
    if not wanted and len(roles) == 1:
        return roles[0]
    if not wanted:
        message = f"{alias!r} is {source.what}, which is several things in the graph; say in the SELECT list {known}."
        raise query.error(message, query.at(item))
    for spelled in (str, folded):  # as it is spelled, or else in any case
        for names in (_full_name, lambda role: role.label):
            found = [role for role in roles if spelled(names(role)) == spelled(wanted)]
            if len(found) == 1:
                return found[0]
            if found:
                message = f"{alias!r} AS {wanted!r} is several things in the graph; say in the SELECT list {known}."
                raise query.error(message, query.at(item))
    message = f"{alias!r} is {source.what}, which is no {wanted!r} in the graph; say in the SELECT list {known}."
    raise query.error(message, query.at(item), UnknownNameError)


def _full_name(role: Role) -> str:
    """Return a node type, or an edge type as PyG writes it in one word."""
    return role.label if isinstance(role, VertexTable) else "__".join(role.edge_type)


# -- the statement that runs -------------------------------------------------------------------------------------


def _read(alias: str, role: Role) -> list[list[str]]:
    """Return what is read of an alias: its rowid, and of an edge the keys of its ends as well.

    With the keys at hand the ends of 20 M edges are found in 0.5 s, by the edges' rowids in 1.6 s.
    """
    keys = () if isinstance(role, VertexTable) else (*role.source_key, *role.destination_key)
    return [[alias, name] for name in (*keys, "rowid")]


def _rewritten(query: Query, picks: Sequence[_Pick]) -> str:
    """Return the text with what is read in the place of the items of the SELECT list."""
    read = [(item, [".".join(map(quote, column)) for pick in found for column in _read(*pick)]) for item, found in picks]
    return _replaced(query, [(item, ", ".join(columns)) for item, columns in read])


def _replaced(query: Query, items: Sequence[tuple[Tree, str]]) -> str:
    raw = query.text.encode()
    parts, end = [], 0
    for item, text in items:
        start, stop = query.span(item) or (end, end)
        parts += [raw[end:start], text.encode()]
        end = stop
    return b"".join([*parts, raw[end:]]).decode()


def _check_rewritten(con: duckdb.DuckDBPyConnection, query: Query, picks: Sequence[_Pick], statement: str) -> None:
    """Check by DuckDB's tree that nothing but the SELECT list was replaced, and all of it."""
    node = tree_of(con, statement, _WHERE)[0]["node"]
    read = [column for _, found in picks for pick in found for column in _read(*pick)]
    if [item.get("column_names") for item in node["select_list"]] != read or _shape(node) != _shape(query.node):
        raise query.error("The SELECT list cannot be told from the rest; write it plainly: SELECT u, r FROM …", None)


def _shape(node: Tree) -> list[object]:
    """Return what a SELECT says besides its SELECT list, without where it says so."""
    stack: list[object] = [{name: part for name, part in node.items() if name != "select_list"}]
    said: list[object] = []
    while stack:  # queries may be deep
        part = stack.pop()
        if isinstance(part, dict):
            names = [name for name in part if not name.startswith("query_location")]
            said += names
            stack += [part[name] for name in names]
        elif isinstance(part, list):
            said.append(len(part))
            stack += part
        else:
            said.append(part)
    return said


def _check_columns(con: duckdb.DuckDBPyConnection, query: Query, picks: Sequence[_Pick], params: Params) -> None:
    """Check that no alias of the SELECT list is a column as well, which is what DuckDB would read."""
    (first, _), *rest = picks
    start = (query.span(first) or (0, 0))[0]
    before = query.text.encode()[:start].rstrip().endswith(b":")  # DuckDB takes `rated: r` for `r AS rated`
    statement = _replaced(query, [(first, "NULL, *" if before else "*, NULL"), *((item, "NULL") for item, _ in rest)])
    with query_errors(_WHERE, query.text):
        names = [folded(row[0]) for row in con.execute(f"DESCRIBE {statement}", params).fetchall()]
    columns = set(names[1:] if before else names[: len(names) - len(picks)])
    for item, found in picks:
        if item["class"] == "COLUMN_REF" and folded(found[0][0]) in columns:
            alias = found[0][0]
            message = f"{alias!r} is also the name of a column in FROM; give the table an alias of its own."
            raise query.error(message, query.at(item))


def _queries(found: Match, definition: PropertyGraph, roles: Sequence[Role]) -> Match:
    """Fill in the queries; ``roles`` are those of what the match's table holds, in its order."""
    nodes: dict[str, list[str]] = {}
    edges: dict[EdgeType, list[str]] = {}
    database = quote(current_database(found.con))  # without it, a temporary table would hide another of its name
    first = 0
    for role in roles:
        if isinstance(role, VertexTable):
            nodes.setdefault(role.label, []).append(f"SELECT c{first} AS rid FROM {found.table}")
        else:
            middle, rowid = first + len(role.source_key), first + len(role.source_key) + len(role.destination_key)
            for label, at in ((role.source, first), (role.destination, middle)):
                nodes.setdefault(label, []).append(_ends(found.con, definition.vertex(label), database, found.table, at))
            edges.setdefault(role.edge_type, []).append(f"SELECT c{rowid} AS rid FROM {found.table}")
        first += len(_read("", role))
    found.nodes.update((v.label, _distinct(nodes[v.label])) for v in definition.vertices if v.label in nodes)
    found.edges.update((e.edge_type, _distinct(edges[e.edge_type])) for e in definition.edges if e.edge_type in edges)
    return found


def _distinct(rows: Sequence[str]) -> str:
    return f"SELECT DISTINCT rid FROM ({' UNION ALL '.join(rows)}) WHERE rid IS NOT NULL"


def _ends(con: duckdb.DuckDBPyConnection, vertex: VertexTable, database: str, table: str, first: int) -> str:
    """Return a query for the rowids of the nodes whose keys stand in the columns of the match's table from ``first`` on."""
    pairs = ((f"v.{quote(name)}", f"m.c{first + i}") for i, name in enumerate(vertex.key))
    on = same(pairs, vertex_key_types(con, vertex))
    return f"SELECT v.rowid AS rid FROM {vertex.rows_in(database + '.')} AS v SEMI JOIN {table} AS m ON {on}"
