"""Whatever is written into the tables of schema ``dbgnn``: the right rows, or an error of ours; by every way in.

Listed edits, and random ones. ``DBGNN_INDEX_EDITS=1000 pytest tests/trust/test_index_edits.py`` makes a thousand of those.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch

import dbgnn
from dbgnn.errors import StaleIndexError
from tests.trust.index_edits import (
    BY_EVERY_WAY,
    CITES,
    COUNT,
    EDGES,
    HARMLESS,
    LISTED,
    MENDED,
    PAPERS,
    QUICK,
    WAYS,
    Sum,
    edit,
    listed,
    names,
    outcome,
    outcomes,
    written,
)


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_edit_is_an_error_of_ours_by_every_way_in_or_harmless(
    name: str, base: Path, right: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "idx.duckdb"
    shutil.copy(base, path)
    edit(path, *listed(names(base))[name])
    found = outcomes(path, *(WAYS if name in BY_EVERY_WAY else ("loader", "tensors" if "map" in name else "coo")))
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
            found.append(outcome(written, db))
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
            graph.predict(Sum(), dbgnn.NeighborLoader(graph, num_neighbors=[2], input_nodes="paper", seed=3), "paper.pred")
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
            graph.predict(Sum(), loader, "paper.pred", forward=breaks_off)
    with duckdb.connect(str(path)) as con:
        [(table,)] = con.execute("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'predicted%'").fetchall()
        con.execute(change.replace("{}", f"idx.dbgnn.{table}"))
    with pytest.warns(UserWarning, match="are dropped: they were edited"):
        assert predicted(path) == predicted(whole)


# -- edits at random ---------------------------------------------------------------------------------------


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
