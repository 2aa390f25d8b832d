"""A small graph in a file, the ways in to it, and edits of what dbgnn keeps in it; for the tests of this folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import torch

import dbgnn
from dbgnn.errors import DbgnnError, StaleIndexError

PAPERS, AUTHORS, EDGES = 60, 20, 240
CITES, WROTE = ("paper", "cites", "paper"), ("author", "wrote", "paper")

#: How many edits are made at random.
COUNT = int(os.environ.get("DBGNN_INDEX_EDITS", "100"))


def make(path: Path) -> None:
    """Make a file with maps of nodes (keys with gaps, rows out of order) and of edges (rows deleted), and types without."""
    with dbgnn.connect(path, progress=False) as db:
        db.execute("CREATE TABLE paper (id BIGINT, x FLOAT[2], y BIGINT)")
        db.execute(
            f"INSERT INTO paper SELECT i * 10 + 5, [i, -i], i % 3 FROM range({PAPERS}) t(i) ORDER BY (i * 37) % {PAPERS} ASC"
        )
        db.execute("CREATE TABLE author (id BIGINT, x FLOAT[2])")
        db.execute(f"INSERT INTO author SELECT i, [i, i] FROM range({AUTHORS}) t(i)")
        db.execute("CREATE TABLE cites (src BIGINT, dst BIGINT, w FLOAT[1])")
        db.execute(
            f"""INSERT INTO cites SELECT (e * 7 % {PAPERS}) * 10 + 5, ((e * 13 + e // 9) % {PAPERS}) * 10 + 5, [e]
            FROM range({EDGES}) t(e)"""
        )
        db.execute("CHECKPOINT")
        db.execute("DELETE FROM cites WHERE w[1] % 5 = 2")
        db.execute("CREATE TABLE wrote (a BIGINT, p BIGINT)")
        db.execute(f"INSERT INTO wrote SELECT e * 3 % {AUTHORS}, (e * 11 % {PAPERS}) * 10 + 5 FROM range({EDGES}) t(e)")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id) PROPERTIES (x, y), author KEY (id) PROPERTIES (x))
            EDGE TABLES (
              cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id) PROPERTIES (w),
              wrote SOURCE KEY (a) REFERENCES author (id) DESTINATION KEY (p) REFERENCES paper (id))"""
        )
        db.graph("g").build()
    with duckdb.connect(str(path)) as con:
        rows = con.execute("SELECT part, map_table IS NULL, adjacency IS NULL FROM idx.dbgnn.index_parts").fetchall()
    kinds = {json.dumps("paper"): (False, True), json.dumps("author"): (True, True)}
    kinds |= {json.dumps(CITES): (False, False), json.dumps(WROTE): (True, False)}
    assert {part: (no_map, no_lists) for part, no_map, no_lists in rows} == kinds, "the edits below need these tables"


@cache
def names(path: Path) -> dict[str, str]:
    """The index tables by what they are."""
    with duckdb.connect(str(path)) as con:
        rows = con.execute("SELECT part, map_table, adjacency FROM idx.dbgnn.index_parts").fetchall()
    found: dict[str, str] = {}
    for part, of_map, lists in rows:
        label = json.loads(part)
        name = label if isinstance(label, str) else label[1]
        found |= {f"map of {name}": f"idx.dbgnn.{of_map}"} if of_map else {}
        found |= {f"lists of {name}": f"idx.dbgnn.{lists}"} if lists else {}
    return found


def edit(path: Path, *statements: str) -> None:
    """Run statements by plain DuckDB; what fails is left out."""
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{path}' AS idx")
        for statement in statements:
            con.execute(statement)


# -- the ways in -------------------------------------------------------------------------------------------


def _digest(*values: Any) -> str:
    found = hashlib.sha256()
    for value in values:
        if isinstance(value, (torch.Tensor, np.ndarray)):
            array = np.ascontiguousarray(value.numpy() if isinstance(value, torch.Tensor) else value)
            found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
        else:
            found.update(repr(value).encode())
    return found.hexdigest()


def _of_loader(**options: Any) -> Callable[[dbgnn.Database], str]:
    def way(db: dbgnn.Database) -> str:
        given: dict[str, Any] = {"num_neighbors": [2, 2], "input_nodes": "paper", "batch_size": 25, "seed": 3} | options
        parts: list[Any] = []
        for batch in dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend(), **given):
            for label in ("paper", "author"):
                assert (
                    batch[label].n_id.numel() == 0 or 0 <= int(batch[label].n_id.min()) <= int(batch[label].n_id.max()) < PAPERS
                )
                parts += [batch[label].n_id, batch[label].x]
            for t in (CITES, WROTE):
                store = batch[t]
                assert store.e_id.numel() == 0 or 0 <= int(store.e_id.min()) <= int(store.e_id.max()) < EDGES
                for row, label in ((0, t[0]), (1, t[2])):
                    ends = store.edge_index[row]
                    assert ends.numel() == 0 or 0 <= int(ends.min()) <= int(ends.max()) < batch[label].num_nodes
                parts += [store.e_id, store.edge_index]
            parts.append(batch[CITES].w)
        return _digest(*parts)

    return way


def _layout(layout: str) -> Callable[[dbgnn.Database], str]:
    def way(db: dbgnn.Database) -> str:
        graph_store = db.get_torch_geometric_remote_backend()[1]
        parts: list[Any] = []
        for t in (CITES, WROTE):
            parts += graph_store.get_edge_index(edge_type=t, layout=layout)
        return _digest(*parts)

    return way


def _tensors(db: dbgnn.Database) -> str:
    store = db.get_torch_geometric_remote_backend()[0]
    some = torch.tensor([3, 1, 59, 3])
    return _digest(
        *(store[label, "x", index] for label in ("paper", "author") for index in (None, torch.tensor([3, 1, 3]))),
        store["paper", "x", some],
        store[CITES, "w", None],
        store[CITES, "w", some],
    )


def _keys(db: dbgnn.Database) -> str:
    store = db.get_torch_geometric_remote_backend()[0]
    ids = torch.tensor([3, 1, 59])
    return _digest(store.keys("paper", ids), store.ids("paper", [35, 15]), store.node_ids("paper", "y = 1"))


def _checked(db: dbgnn.Database) -> str:
    report = db.graph("g").check(index=True)
    if any(f.what in ("index", "definition") and f.severity == "error" for f in report.findings):
        raise StaleIndexError("as the report says")
    return _digest([f.to_dict() for f in report.findings if f.what != "index"])


def _heterodata(db: dbgnn.Database) -> str:
    data = db.graph("g").to_heterodata(splits={"paper": dbgnn.HashSplit(train=0.5, test=0.5)})
    return _digest(data["paper"].x, data["paper"].train_mask, data[CITES].edge_index, data[CITES].w, data[WROTE].edge_index)


def _described(db: dbgnn.Database) -> str:
    graph = db.graph("g")
    str(graph)
    return _digest(graph.num_nodes("paper"), graph.num_edges(CITES), graph.num_dropped(CITES))


class Sum(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, batch: Any) -> Any:
        return batch["paper"].x.sum(dim=1, keepdim=True) + batch["paper"].x[:, :1] * self.weight


def written(db: dbgnn.Database) -> str:
    """Write back, encode and predict; of what came of it, the rows."""
    graph = db.graph("g")
    graph.write_back("paper", n_id=torch.arange(PAPERS), p=torch.arange(PAPERS))
    graph.encode("paper", "onehot", dbgnn.OneHot("y"))
    loader = dbgnn.NeighborLoader(graph, num_neighbors=[2], input_nodes="paper", batch_size=25, seed=3)
    graph.predict(Sum(), loader, "paper.pred")
    return _digest(db.execute("SELECT id, p, onehot, pred FROM paper ORDER BY id ASC").fetchall())


WAYS: dict[str, Callable[[dbgnn.Database], str]] = {
    "loader": _of_loader(),
    "disjoint": _of_loader(disjoint=True),
    "induced": _of_loader(subgraph_type="induced"),
    "with replacement": _of_loader(replace=True),
    "all neighbours": _of_loader(num_neighbors=[-1, 2]),
    "lists of draws": _of_loader(num_neighbors=[9]),
    "ranked": _of_loader(num_neighbors=[300]),
    "coo": _layout("coo"),
    "csc": _layout("csc"),
    "csr": _layout("csr"),
    "tensors": _tensors,
    "keys": _keys,
    "check": _checked,
    "to_heterodata": _heterodata,
    "print": _described,
}


#: Of the ways in, those that read each kind of table once.
QUICK = ("loader", "induced", "csr", "tensors", "keys", "check")


def outcome(way: Callable[[dbgnn.Database], str], db: dbgnn.Database) -> str:
    """What a way gives; of an error of ours, its name. Any other error is raised."""
    try:
        return way(db)
    except DbgnnError as error:
        return type(error).__name__


def outcomes(path: Path, *ways: str) -> dict[str, str]:
    """What ways give of a file that is opened to read; each by objects of its own."""
    with dbgnn.connect(path, read_only=True, progress=False, threads=1) as db:  # a tenth of the time, of tables this small
        return {name: outcome(WAYS[name], db) for name in ways}


# -- edits that are listed ---------------------------------------------------------------------------------


def listed(t: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Edits by name; ``t`` as `names` gives it."""
    maps, lists, registry = t["map of paper"], t["lists of cites"], "idx.dbgnn.index_parts"
    edges, other = t["map of cites"], t["lists of wrote"]
    bare = {name: table.rpartition(".")[2] for name, table in t.items()}

    def retyped(table: str, columns: str) -> tuple[str, ...]:
        return (
            f"CREATE TABLE idx.t AS SELECT {columns} FROM {table}",
            f"DROP TABLE {table}",
            f"CREATE TABLE {table} AS FROM idx.t",
        )

    def registered(assignment: str, part: object = "paper") -> str:
        return f"UPDATE {registry} SET {assignment} WHERE part = '{json.dumps(part)}'"

    found: dict[str, str | tuple[str, ...]] = {
        "map: rids reversed": f"UPDATE {maps} SET rid = {PAPERS - 1} - rid",
        "map: all the same rid": f"UPDATE {maps} SET rid = 3",
        "map: two rids exchanged": f"UPDATE {maps} SET rid = CASE rid WHEN 3 THEN 4 WHEN 4 THEN 3 ELSE rid END",
        "map: ids from 1": f"UPDATE {maps} SET id = id + 1",
        "map: an id NULL": f"UPDATE {maps} SET id = NULL WHERE id = 7",
        "map: a rid NULL": f"UPDATE {maps} SET rid = NULL WHERE id = 7",
        "map: a row twice": f"INSERT INTO {maps} FROM {maps} WHERE id = 7",
        "map: a row gone": f"DELETE FROM {maps} WHERE id = 7",
        "map: emptied": f"DELETE FROM {maps}",
        "map: dropped": f"DROP TABLE {maps}",
        "map: text": retyped(maps, "id::VARCHAR AS id, rid::VARCHAR AS rid"),
        "map: columns in another order": retyped(maps, "rid, id"),
        "map: a column more": f"ALTER TABLE {maps} ADD COLUMN more INTEGER",
        "map: a column generated": (f"DROP TABLE {maps}", f"CREATE TABLE {maps} (id BIGINT, rid BIGINT AS (id))"),
        "map: a view": (
            f"ALTER TABLE {maps} RENAME TO moved",
            f"CREATE VIEW {maps} AS SELECT id, {PAPERS - 1} - id AS rid FROM idx.dbgnn.moved",
        ),
        "map of edges: rids exchanged": f"UPDATE {edges} SET rid = CASE rid WHEN 3 THEN 4 WHEN 4 THEN 3 ELSE rid END",
        "nbrs: -1": f"UPDATE {lists} SET nbrs = list_transform(nbrs, lambda v: -1)",
        "nbrs: less 50": f"UPDATE {lists} SET nbrs = list_transform(nbrs, lambda v: v - 50)",
        "nbrs: too large": f"UPDATE {lists} SET nbrs = list_transform(nbrs, lambda v: v + 1000)",
        "nbrs: the largest integer": f"UPDATE {lists} SET nbrs = list_transform(nbrs, lambda v: 2147483647)",
        "nbrs: within bounds": f"UPDATE {lists} SET nbrs = list_transform(nbrs, lambda v: (v + 1) % {PAPERS})",
        "nbrs: NULL within": f"UPDATE {lists} SET nbrs = list_transform(nbrs, lambda v, i: CASE WHEN i > 1 THEN v END)",
        "nbrs: NULL": f"UPDATE {lists} SET nbrs = NULL",
        "nbrs: none": f"UPDATE {lists} SET nbrs = [], eids = []",
        "nbrs: reversed": f"UPDATE {lists} SET nbrs = list_reverse(nbrs)",
        "lists: reversed": f"UPDATE {lists} SET nbrs = list_reverse(nbrs), eids = list_reverse(eids)",
        "lists: exchanged": f"UPDATE {lists} SET nbrs = eids, eids = nbrs",
        "eids: -1": f"UPDATE {lists} SET eids = list_transform(eids, lambda v: -1)",
        "eids: all 0": f"UPDATE {lists} SET eids = list_transform(eids, lambda v: 0)",
        "eids: out of range": f"UPDATE {lists} SET eids = list_transform(eids, lambda v: v + 100000)",
        "eids: permuted": f"UPDATE {lists} SET eids = list_transform(eids, lambda v: (v + 1) % 192)",
        "eids: shorter": f"UPDATE {lists} SET eids = eids[:1]",
        "eids: longer": f"UPDATE {lists} SET eids = list_append(eids, 0)",
        "dst: twice": f"INSERT INTO {lists} SELECT dst, nbrs[:1], eids[:1] FROM {lists}",
        "dst: shifted": f"UPDATE {lists} SET dst = dst + 1",
        "dst: exchanged": f"UPDATE {lists} SET dst = CASE dst WHEN 3 THEN 4 WHEN 4 THEN 3 ELSE dst END",
        "dst: NULL": f"UPDATE {lists} SET dst = NULL",
        "lists: emptied": f"DELETE FROM {lists}",
        "lists: dropped": f"DROP TABLE {lists}",
        "lists: another type's": (f"DROP TABLE {lists}", f"CREATE TABLE {lists} AS FROM {other}"),
        "lists: doubles": retyped(lists, "dst, nbrs::DOUBLE[] AS nbrs, eids"),
        "lists: BIGINT": retyped(lists, "dst::BIGINT AS dst, nbrs::BIGINT[] AS nbrs, eids::BIGINT[] AS eids"),
        "lists: in another order": retyped(lists, f"* FROM (FROM {lists} ORDER BY dst DESC)" + " --"),
        "lists: a view": (f"ALTER TABLE {lists} RENAME TO moved", f"CREATE VIEW {lists} AS FROM idx.dbgnn.moved"),
        "registry: left out the map": registered("map_table = NULL"),
        "registry: two parts share lists": registered(f"adjacency = '{bare['lists of wrote']}'", CITES),
        "registry: a table of the user": registered("map_table = 'paper'"),
        "registry: the registry": registered("map_table = 'index_parts'"),
        "registry: a name in another schema": registered("map_table = 'main.paper'"),
        "registry: dense": registered("dense = true"),
        "registry: not dense": registered("dense = false", "author"),
        "registry: 60 M nodes": registered("num_rows = 60000000"),
        "registry: 10^10 rows": f"UPDATE {registry} SET num_rows = 10000000000",
        "registry: fewer edges": registered("num_rows = 10", CITES),
        "registry: fewer edges, others dropped": registered("num_rows = 10, dropped = 182", CITES),
        "registry: negative": registered("num_rows = -1"),
        "registry: NULL": f"UPDATE {registry} SET num_rows = NULL",
        "registry: state []": f"UPDATE {registry} SET state = '[]'",
        "registry: state deep": f"UPDATE {registry} SET state = repeat('[', 100000)",
        "registry: state NULL": f"UPDATE {registry} SET state = NULL",
        "registry: state cut": f"UPDATE {registry} SET state = state[:50]",
        "registry: a count is text": (
            f'UPDATE {registry} SET state = regexp_replace(state, \'"count": [0-9]+\', \'"count": "9"\')'
        ),
        "registry: another engine": f"UPDATE {registry} SET state = replace(state, 'index format 3', 'index format 2')",
        "registry: parts exchanged": (
            registered("part = 'x'"),
            registered(f"part = '{json.dumps('paper')}'", "author"),
            f"UPDATE {registry} SET part = '{json.dumps('author')}' WHERE part = 'x'",
        ),
        "registry: emptied": f"DELETE FROM {registry}",
        "registry: dropped": f"DROP TABLE {registry}",
        "registry: a part twice": (
            *retyped(registry, "*"),
            f"INSERT INTO {registry} SELECT * REPLACE (7 AS num_rows) FROM {registry}",
        ),
        "registry: a column more": f"ALTER TABLE {registry} ADD COLUMN more INTEGER",
        "registry: a column less": f"ALTER TABLE {registry} DROP COLUMN dropped",
        "registry: text": retyped(registry, "* REPLACE (num_rows::VARCHAR AS num_rows)"),
        "registry: a view": (f"ALTER TABLE {registry} RENAME TO moved", f"CREATE VIEW {registry} AS FROM idx.dbgnn.moved"),
        "names: a number too large": "CREATE TABLE idx.dbgnn.adj_999999999999999999 (a INTEGER)",
        "names: a view in the way": ("CREATE VIEW idx.dbgnn.adj_9 AS SELECT 1", "CREATE VIEW idx.dbgnn.map_9 AS SELECT 1"),
        "written: of other columns": "CREATE TABLE idx.dbgnn.written (a INTEGER)",
        "written: rows of nothing": (
            "CREATE TABLE idx.dbgnn.written (schema_name VARCHAR, table_name VARCHAR, column_name VARCHAR)",
            "INSERT INTO idx.dbgnn.written VALUES (NULL, 'paper', 'x'), ('main', NULL, 'x'), ('', '', '')",
        ),
        "written: a view": "CREATE VIEW idx.dbgnn.written AS SELECT 'a' AS schema_name, 'b' AS table_name, 'x' AS column_name",
        "predicted: none of ours": (
            "CREATE TABLE idx.dbgnn.predicted_1 (id VARCHAR, c0 INTEGER)",
            "COMMENT ON TABLE idx.dbgnn.predicted_1 IS '[1, 2]'",
            "CREATE TABLE idx.dbgnn.predicted_2 (a INTEGER)",
            "COMMENT ON TABLE idx.dbgnn.predicted_2 IS '{'",
        ),
    }
    return {name: (each,) if isinstance(each, str) else each for name, each in found.items()}


#: Listed edits that change nothing in what an index says, or take it away: what is missing is built again.
HARMLESS = {
    "map: a view",
    "map: dropped",
    "lists: BIGINT",
    "lists: a view",
    "lists: dropped",
    "registry: emptied",
    "registry: dropped",
    "registry: a view",
    "names: a number too large",
    "names: a view in the way",
    "written: rows of nothing",
    "predicted: none of ours",
}

#: Listed edits that `graph.build(force=True)` has to mend: one of every table, and of everything that may be in its way.
MENDED = [
    "map: rids reversed",
    "map: a column generated",
    "map: a view",
    "lists: doubles",
    "lists: in another order",
    "registry: a table of the user",
    "registry: state deep",
    "registry: two parts share lists",
    "registry: a part twice",
    "registry: a column more",
    "registry: a view",
    "names: a number too large",
    "names: a view in the way",
]

#: One edit of every table, for which every way in is tried. All of them verify the index in one place: others have to see it.
BY_EVERY_WAY = [
    "map: two rids exchanged",
    "lists: exchanged",
    "registry: dense",
    "registry: state deep",
    "predicted: none of ours",
]

#: Names of the listed edits, without the file they are for.
LISTED = list(listed(dict.fromkeys(["map of paper", "map of cites", "lists of cites", "lists of wrote"], "idx.dbgnn.x_1")))
