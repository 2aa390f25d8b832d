"""Whatever is written into the tables of schema ``dbgnn``: the right rows, or an error of ours; by every way in.

Listed edits, and random ones. ``DBGNN_INDEX_EDITS=1000 pytest tests/trust/test_index_edits.py`` makes a thousand of those.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch

import dbgnn
from dbgnn.errors import DbgnnError, SchemaError, StaleIndexError, UnknownNameError
from dbgnn.topology.contents import adjacency_contents, map_contents
from dbgnn.topology.home import table_in
from dbgnn.topology.stored import PartState, StoredPart

PAPERS, AUTHORS, EDGES = 60, 20, 240
CITES, WROTE = ("paper", "cites", "paper"), ("author", "wrote", "paper")


# -- the graph ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with maps of nodes (keys with gaps, rows out of order) and of edges (rows deleted), and types without."""
    path = tmp_path_factory.mktemp("base") / "idx.duckdb"
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
    return path


@pytest.fixture(scope="module")
def right(base: Path) -> dict[str, str]:
    """What every way in gives of the file as it was built."""
    with dbgnn.connect(base, read_only=True, progress=False) as db:
        return {name: way(db) for name, way in WAYS.items()}


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


class _Sum(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, batch: Any) -> Any:
        return batch["paper"].x.sum(dim=1, keepdim=True) + batch["paper"].x[:, :1] * self.weight


def _written(db: dbgnn.Database) -> str:
    """Write back, encode and predict; of what came of it, the rows."""
    graph = db.graph("g")
    graph.write_back("paper", n_id=torch.arange(PAPERS), p=torch.arange(PAPERS))
    graph.encode("paper", "onehot", dbgnn.OneHot("y"))
    loader = dbgnn.NeighborLoader(graph, num_neighbors=[2], input_nodes="paper", batch_size=25, seed=3)
    graph.predict(_Sum(), loader, "paper.pred")
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


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_edit_is_an_error_of_ours_by_every_way_in_or_harmless(
    name: str, base: Path, right: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "idx.duckdb"
    shutil.copy(base, path)
    edit(path, *listed(names(base))[name])
    found = outcomes(path, *(WAYS if name in BY_EVERY_WAY else ("loader", "coo", "tensors", "print")))
    for way, result in found.items():
        assert result in (right[way], "StaleIndexError", "SchemaError", "UnknownNameError"), way
    if name in HARMLESS:
        assert found == {way: right[way] for way in found}
    elif name != "lists: in another order":  # of which a hop makes no use
        assert found["loader"] in ("StaleIndexError", "SchemaError", "UnknownNameError")


@pytest.mark.parametrize("name", MENDED)
def test_the_remedy_mends_it(name: str, base: Path, right: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "idx.duckdb"
    shutil.copy(base, path)
    edit(path, *listed(names(base))[name])
    with dbgnn.connect(path, progress=False) as db:
        db.graph("g").build(force=True)
    ways = ("loader", "coo", "tensors", "keys", "check")
    assert outcomes(path, *ways) == {way: right[way] for way in ways}
    with duckdb.connect(str(path)) as con:
        kinds = con.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'dbgnn'").fetchall()
    assert not {"adj_9", "map_9"} & {kind for (kind,) in kinds}


def test_build_without_force_mends_too_and_says_nothing_of_parts_that_are_whole(
    base: Path, right: dict[str, str], tmp_path: Path
) -> None:
    path, before = tmp_path / "idx.duckdb", names(base)
    shutil.copy(base, path)
    edit(path, f"UPDATE {before['lists of cites']} SET dst = dst + 1")
    with dbgnn.connect(path, progress=False) as db:
        db.graph("g").build()
    assert outcomes(path, "loader") == {"loader": right["loader"]}
    now = names(path)
    assert {name for name in now if now[name] != before[name]} == {"map of cites", "lists of cites"}


def test_the_error_names_the_table_and_the_remedy(base: Path, tmp_path: Path) -> None:
    path, table = tmp_path / "idx.duckdb", names(base)["lists of cites"]
    shutil.copy(base, path)
    edit(path, f"UPDATE {table} SET dst = dst + 1")
    with (
        dbgnn.connect(path, read_only=True, progress=False) as db,
        pytest.raises(StaleIndexError, match=rf"{table.partition('.')[2]} .*graph\.build\(force=True\)"),
    ):
        db.graph("g").topology()


@pytest.mark.parametrize("what", ["map of paper", "lists of cites", "registry"])
def test_an_edit_while_the_file_is_open_is_seen_at_the_next_use(what: str, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "idx.duckdb"
    shutil.copy(base, path)
    change = {
        "map of paper": "UPDATE {} SET rid = 59 - rid",
        "lists of cites": "UPDATE {} SET eids = list_transform(eids, lambda v: 0)",
        "registry": "UPDATE dbgnn.index_parts SET num_rows = 10 -- {}",
    }[what]
    with dbgnn.connect(path, progress=False) as db:
        store, graph_store = db.get_torch_geometric_remote_backend()
        before = store["paper", "x", None]
        db.execute(change.format(names_of_open(db).get(what, "")))
        with pytest.raises(StaleIndexError, match="damaged"):
            store["paper", "x", None]
        with pytest.raises(StaleIndexError, match="damaged"):
            graph_store.get_edge_index(edge_type=CITES, layout="coo")
        db.graph("g").build(force=True)
        assert torch.equal(store["paper", "x", None], before)


def names_of_open(db: dbgnn.Database) -> dict[str, str]:
    rows = db.execute("SELECT part, map_table, adjacency FROM dbgnn.index_parts").fetchall()
    found = {f"map of {json.loads(part)}": f"dbgnn.{of_map}" for part, of_map, _ in rows if isinstance(json.loads(part), str)}
    return found | {f"lists of {json.loads(part)[1]}": f"dbgnn.{lists}" for part, _, lists in rows if lists}


# -- what is written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["map: rids reversed", "lists: exchanged", "registry: not dense", "predicted: none of ours", "written: a view"]
)
def test_nothing_is_written_by_a_wrong_index(name: str, base: Path, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.duckdb", tmp_path / "idx.duckdb"
    shutil.copy(base, whole)
    shutil.copy(base, path)
    edit(path, *listed(names(base))[name])
    found = []
    for file in (path, whole):
        with dbgnn.connect(file, progress=False) as db:
            found.append(outcome(_written, db))
    assert found[0] in ([found[1]] if name in HARMLESS else ["StaleIndexError", "SchemaError"])
    with duckdb.connect(str(path), read_only=True) as con:
        columns = {name for (name,) in con.execute("SELECT column_name FROM (DESCRIBE paper)").fetchall()}
    assert columns == {"id", "x", "y"} | ({"p", "onehot", "pred"} if name in HARMLESS else set())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {} SET id = 1000 WHERE id = (SELECT min(id) FROM {})",
        "UPDATE {} SET id = -1 WHERE id = (SELECT min(id) FROM {})",
        "INSERT INTO {} FROM {}",
        "UPDATE {} SET c0 = NULL",
        "ALTER TABLE {} RENAME c0 TO c1",
    ],
)
def test_predictions_that_were_edited_are_computed_again(change: str, base: Path, tmp_path: Path) -> None:
    path, whole = tmp_path / "idx.duckdb", tmp_path / "whole.duckdb"

    def predicted(path: Path) -> Any:
        with dbgnn.connect(path, progress=False) as db:
            graph = db.graph("g")
            graph.predict(_Sum(), dbgnn.NeighborLoader(graph, num_neighbors=[2], input_nodes="paper", seed=3), "paper.pred")
            return db.execute("SELECT id, pred FROM paper ORDER BY id ASC").fetchall()

    def breaks_off(model: Any, batch: Any) -> Any:
        if int(batch["paper"].n_id[0]) >= 40:
            raise KeyboardInterrupt
        return model(batch)

    for file in (path, whole):
        shutil.copy(base, file)
    with dbgnn.connect(path, progress=False) as db:
        graph = db.graph("g")
        loader = dbgnn.NeighborLoader(graph, num_neighbors=[2], input_nodes="paper", batch_size=20, seed=3)
        with pytest.raises(KeyboardInterrupt):
            graph.predict(_Sum(), loader, "paper.pred", forward=breaks_off)
    with duckdb.connect(str(path)) as con:
        [(table,)] = con.execute("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'predicted%'").fetchall()
        con.execute(change.replace("{}", f"idx.dbgnn.{table}"))
    with pytest.warns(UserWarning, match="are dropped: they were edited"):
        assert predicted(path) == predicted(whole)


# -- edits at random ---------------------------------------------------------------------------------------

COUNT = int(os.environ.get("DBGNN_INDEX_EDITS", "100"))


def _literal(rng: random.Random) -> str:
    some = [
        "NULL",
        "-1",
        "0",
        "1",
        "7",
        "59",
        "60",
        "1000",
        "2147483647",
        "9223372036854775807",
        "-2147483648",
        "''",
        "'[]'",
        "'x'",
    ]
    return rng.choice([*some, str(rng.randrange(PAPERS)), str(rng.randrange(EDGES))])


def _list(rng: random.Random, column: str) -> str:
    n = rng.randrange(-70, 300)
    return rng.choice(
        [
            f"list_transform({column}, lambda v: v + ({n}))",
            f"list_transform({column}, lambda v: abs(v + ({n})) % {rng.choice([7, 60, 192, 240])})",
            f"list_transform({column}, lambda v, i: CASE WHEN i = {rng.randrange(1, 4)} THEN {n} ELSE v END)",
            f"list_transform({column}, lambda v, i: CASE WHEN i = {rng.randrange(1, 4)} THEN NULL ELSE v END)",
            f"list_reverse({column})",
            f"list_sort({column}, 'DESC', 'NULLS LAST')",
            f"list_append({column}, {abs(n)})",
            f"list_prepend({abs(n)}, {column})",
            f"{column}[:{rng.randrange(3)}]",
            f"{column}[2:]",
            f"list_resize({column}, {rng.randrange(6)}, {abs(n) % 60})",
            "NULL",
            "[]",
            f"[{n}]",
            "nbrs",
            "eids",
        ]
    )


def random_edit(rng: random.Random, t: dict[str, str]) -> str:
    """One statement that changes something in schema dbgnn, or fails."""
    registry = "idx.dbgnn.index_parts"
    lists, maps = [v for k, v in t.items() if k.startswith("lists")], [v for k, v in t.items() if k.startswith("map")]
    some = rng.choice(["", "", f" WHERE hash(rowid) % {rng.choice([2, 5, 20])} = 0", f" WHERE rowid = {rng.randrange(PAPERS)}"])
    kind = rng.choice(["list", "list", "list", "dst", "map", "map", "registry", "registry", "state", "rows", "shape", "name"])
    table = rng.choice([*lists, *maps])
    if kind == "list":
        column = rng.choice(["nbrs", "eids"])
        return f"UPDATE {rng.choice(lists)} SET {column} = {_list(rng, column)}{some}"
    if kind == "dst":
        value = rng.choice([_literal(rng), "dst + 1", "dst - 1", "-dst", f"(dst * 7) % {PAPERS}"])
        return f"UPDATE {rng.choice(lists)} SET dst = {value}{some}"
    if kind == "map":
        column = rng.choice(["id", "rid"])
        value = rng.choice([_literal(rng), f"{column} + 1", f"{column} - 1", f"({column} * 7) % {PAPERS}", "id", "rid"])
        return f"UPDATE {rng.choice(maps)} SET {column} = {value}{some}"
    if kind == "registry":
        column = rng.choice(["graph", "part", "state", "num_rows", "dense", "dropped", "map_table", "adjacency"])
        tables = [f"'{name.rpartition('.')[2]}'" for name in t.values()] + [
            "'paper'",
            "'index_parts'",
            "'graphs'",
            "part",
            "state",
        ]
        return f"UPDATE {registry} SET {column} = {rng.choice([_literal(rng), *tables])}{some}"
    if kind == "state":
        at, length = rng.randrange(1, 500), rng.randrange(4)
        text = rng.choice(["", "0", "1", "9", '"', "[", "]", "{", "}", ",", "null", "true", "1e999", "\\ud800"])
        return f"UPDATE {registry} SET state = state[:{at}] || '{text}' || state[{at + 1 + length}:]{some}"
    if kind == "rows":
        of = rng.choice([table, table, registry])
        return rng.choice([f"DELETE FROM {of}{some}", f"INSERT INTO {of} FROM {of}{some}", f"TRUNCATE {of}"])
    if kind == "name":
        other = rng.choice([*lists, *maps, registry])
        return f"DROP TABLE {table}; CREATE {rng.choice(['TABLE', 'VIEW'])} {table} AS FROM {other}"
    of = rng.choice([table, registry, "idx.dbgnn.graphs"])
    column = rng.choice(["id", "rid", "dst", "nbrs", "eids", "state", "num_rows", "dense", "name"])
    return rng.choice(
        [
            f"DROP TABLE {of}",
            f"ALTER TABLE {of} ADD COLUMN more INTEGER",
            f"ALTER TABLE {of} DROP COLUMN {column}",
            f"ALTER TABLE {of} RENAME {column} TO other",
            f"ALTER TABLE {of} ALTER {column} TYPE {rng.choice(['VARCHAR', 'DOUBLE', 'UBIGINT', 'BIGINT[]', 'HUGEINT'])}",
            f"ALTER TABLE {of} RENAME TO gone",
        ]
    )


def test_random_edits_are_errors_of_ours_or_harmless(base: Path, right: dict[str, str], tmp_path: Path) -> None:
    t, path, seen = names(base), tmp_path / "idx.duckdb", dict[str, int]()
    for seed in range(COUNT):
        rng = random.Random(seed)
        shutil.copy(base, path)
        statements = _until_one_works(rng, t, path)
        for way, result in outcomes(path, *(QUICK if COUNT > 100 else ("loader", "csr"))).items():
            known = result == right[way]
            errors = ("StaleIndexError", "SchemaError", "UnknownNameError", "DataError")
            assert known or result in errors, f"seed {seed}, {way}: {statements}"
            seen["right" if known else result] = seen.get("right" if known else result, 0) + 1
    assert seen["right"] > 0 < seen["StaleIndexError"], "the edits are of both kinds"


def _until_one_works(rng: random.Random, t: dict[str, str], path: Path) -> str:
    for _ in range(50):
        statement = random_edit(rng, t)
        try:
            edit(path, *statement.split("; "))
        except duckdb.Error:
            continue
        return statement
    raise AssertionError("no edit works")


# -- a liar, who writes the checksums too --------------------------------------------------------------------


def forge(path: Path) -> None:
    """Make the checksums of a file those of its tables, as whoever reads our source can."""
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{path}' AS idx")
        rows = con.execute(
            "SELECT rowid, part, state, num_rows, dense, dropped, map_table, adjacency FROM idx.dbgnn.index_parts"
        ).fetchall()
        for rid, part, state, num_rows, dense, dropped, of_map, lists in rows:
            sums = {
                "map": map_contents(con, table_in("idx", of_map)).checksum if of_map else "",
                "adjacency": adjacency_contents(con, table_in("idx", lists)).checksum if lists else "",
            }
            read = PartState.read(json.dumps(json.loads(state) | sums))
            sealed = StoredPart(read, num_rows, dense, dropped, of_map, lists, "idx").sealed("g", part)
            con.execute("UPDATE idx.dbgnn.index_parts SET state = ? WHERE rowid = ?", [sealed.state.dump(), rid])


def liars(t: dict[str, str]) -> Iterator[str]:
    """The listed edits whose tables a checksum can be made of."""
    kinds = (
        "map: r",
        "map: two",
        "map: all",
        "map: ids",
        "map: an",
        "map: emp",
        "map of",
        "nbrs",
        "eids",
        "dst",
        "lists: re",
        "lists: ex",
    )
    return (name for name in listed(t) if name.startswith((*kinds, "map: a r")))


LIES = [
    *liars(dict.fromkeys(["map of paper", "map of cites", "lists of cites", "lists of wrote"], "idx.dbgnn.x_1")),
]

#: Lies that keep every bound and every count: only the tables can tell.
SMOOTH = {
    "map: rids reversed",
    "map: two rids exchanged",
    "map of edges: rids exchanged",
    "nbrs: within bounds",
    "nbrs: reversed",
    "lists: reversed",
    "eids: permuted",
    "eids: all 0",
    "dst: exchanged",
    "dst: shifted",
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_reaches_no_memory_and_the_full_check_sees_it(name: str, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "idx.duckdb"
    shutil.copy(base, path)
    edit(path, *listed(names(base))[name])
    forge(path)
    found = outcomes(path, "loader", "induced", "csr", "tensors")
    if name not in SMOOTH:
        assert "StaleIndexError" in found.values()
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        report = db.graph("g").check(index=True)
    (first, *_) = [f for f in report.findings if f.what == "index" and f.severity == "error"]
    assert first.table == ("paper" if name.startswith("map:") else "cites")


def test_the_full_check_names_the_first_ids(base: Path, tmp_path: Path) -> None:
    path, t = tmp_path / "idx.duckdb", names(base)
    shutil.copy(base, path)
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        assert [f for f in db.graph("g").check(index=True).findings if f.what == "index"] == []
    edit(path, f"UPDATE {t['lists of cites']} SET nbrs = list_reverse(nbrs) WHERE dst IN (7, 30, 31, 59) AND len(nbrs) > 1")
    forge(path)
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        (found,) = [f for f in db.graph("g").check(index=True).findings if f.what == "index"]
        assert found.examples == (7, 30, 31)
        assert found.count == 4
        assert "build(force=True)" in str(found)
        report = db.graph("g").check()
    assert [f for f in report.findings if f.what == "index"] == [], "only where it is asked for"


def test_the_full_check_tells_what_was_not_built(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "new.duckdb", progress=False) as db:
        db.execute("CREATE TABLE paper (id BIGINT)")
        db.execute("INSERT INTO paper VALUES (1)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id) NO PROPERTIES)")
        graph = db.graph()
        (found,) = [f for f in graph.check(index=True).findings if f.what == "index"]
        assert found.severity == "info"
        graph.build()
        db.execute("INSERT INTO paper VALUES (2)")
        (found,) = [f for f in graph.check(index=True).findings if f.what == "index"]
        assert found.severity == "error"
        assert "stale" in found.text


@pytest.mark.parametrize("name", ["map: rids reversed", "nbrs: within bounds", "nothing"])
def test_of_what_a_stranger_wrote_nothing_is_believed(name: str, base: Path, right: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "idx.duckdb"
    shutil.copy(base, path)
    edit(path, *listed(names(base)).get(name, ()))
    forge(path)
    with dbgnn.connect(path, untrusted=True, progress=False) as db:
        found = db.graph("g").topology()
        assert all(table is None or "dbgnn_index_of_" in table for table in (v.map_table for v in found.vertices.values()))
        assert all("dbgnn_index_of_" in edge.adjacency for edge in found.edges.values())
        assert {way: outcome(WAYS[way], db) for way in ("loader", "csr", "tensors")} == {
            way: right[way] for way in ("loader", "csr", "tensors")
        }


# -- the registry of graphs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {} SET definition = repeat('[', 100000)",
        "UPDATE {} SET definition = repeat('{\"a\":', 100000)",
        "UPDATE {} SET definition = 'null'",
        "UPDATE {} SET definition = '[]'",
        "UPDATE {} SET definition = '{\"version\": 1}'",
        'UPDATE {} SET definition = replace(definition, \'"key": ["id"]\', \'"key": []\')',
        'UPDATE {} SET definition = replace(definition, \'"key": ["id"]\', \'"key": [1]\')',
        'UPDATE {} SET definition = replace(definition, \'"key": ["id"]\', \'"key": "id"\')',
        'UPDATE {} SET definition = replace(definition, \'"schema": "main"\', \'"schema": "dbgnn"\')',
        'UPDATE {} SET definition = replace(definition, \'"schema": "main"\', \'"schema": "a\\u0000"\')',
        'UPDATE {} SET definition = replace(definition, \'"label": "paper"\', \'"label": {}\')',
        'UPDATE {} SET definition = replace(definition, \'"label": "paper"\', \'"label": "\\ud800"\')',
        'UPDATE {} SET definition = replace(definition, \'"source": "paper"\', \'"source": "nobody"\')',
        "UPDATE {} SET definition = replace(definition, '\"homogeneous\": false', '\"homogeneous\": 0')",
        'UPDATE {} SET definition = replace(definition, \'"name": "g"\', \'"name": "h"\')',
        "UPDATE {} SET definition = replace(definition, '\"version\": 1', '\"version\": [1]')",
    ],
)
def test_a_definition_that_is_not_ours_is_an_error_and_can_be_dropped(change: str, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "idx.duckdb"
    shutil.copy(base, path)
    edit(path, change.replace("{}", "idx.dbgnn.graphs", 1))
    with dbgnn.connect(path, progress=False) as db:
        with pytest.raises(SchemaError, match="DROP PROPERTY GRAPH g") as raised:
            db.graph("g")
        assert len(str(raised.value)) < 500
        db.execute("DROP PROPERTY GRAPH g")
        with pytest.raises(UnknownNameError):
            db.graph("g")


def test_random_definitions_are_errors_of_ours_or_work(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "idx.duckdb"
    with duckdb.connect(str(base), read_only=True) as con:
        [(text,)] = con.execute("SELECT definition FROM idx.dbgnn.graphs").fetchall()
    shutil.copy(base, path)
    works = 0
    for seed in range(COUNT):
        rng = random.Random(seed)
        at = rng.randrange(len(text))
        piece = rng.choice(
            ["", "0", '"', "[", "]", "{", "}", ",", "null", "true", ".", "\\u0000", text[rng.randrange(len(text)) :][:9]]
        )
        with duckdb.connect(str(path)) as con:
            con.execute("UPDATE idx.dbgnn.graphs SET definition = ?", [text[:at] + piece + text[at + rng.randrange(9) :]])
        works += not outcomes(path, "loader")["loader"].endswith("Error")
    assert works < COUNT


@pytest.mark.parametrize(
    ("statements", "remedy"),
    [
        (("DROP TABLE idx.dbgnn.graphs", "CREATE VIEW idx.dbgnn.graphs AS SELECT 'g' AS name, '' AS definition"), "DROP VIEW"),
        (("ALTER TABLE idx.dbgnn.graphs ADD COLUMN more INTEGER",), "DROP TABLE"),
        (("DROP TABLE idx.dbgnn.graphs", "CREATE TABLE idx.dbgnn.graphs (name INTEGER, definition BLOB)"), "DROP TABLE"),
    ],
)
def test_another_table_of_the_registrys_name_is_an_error_whose_remedy_works(
    statements: tuple[str, ...], remedy: str, base: Path, tmp_path: Path
) -> None:
    path = tmp_path / "idx.duckdb"
    shutil.copy(base, path)
    edit(path, *statements)
    with dbgnn.connect(path, progress=False) as db:
        with pytest.raises(SchemaError, match=remedy) as raised:
            db.graph("g")
        db.execute(str(raised.value).rpartition(": ")[2].rstrip("."))
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id) PROPERTIES (x))")
        assert db.graph("g").build().num_nodes("paper") == PAPERS
