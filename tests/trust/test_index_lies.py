"""An index of a liar, who writes its checksums too: no memory is reached, and ``check(index=True)`` sees it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import dbgnn
from dbgnn.errors import SchemaError
from dbgnn.topology.contents import adjacency_contents, map_contents
from dbgnn.topology.home import table_in
from dbgnn.topology.stored import PartState, StoredPart
from tests.trust.index_edits import (
    PAPERS,
    WAYS,
    edit,
    listed,
    names,
    outcome,
    outcomes,
)


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
        assert re.search(r"not built yet|not believed, so the first use builds one", str(db.graph("g")))
        found = db.graph("g").topology()
        assert "that of a stranger's file is not believed" in str(db.graph("g"))
        assert all(table is None or "dbgnn_index_of_" in table for table in (v.map_table for v in found.vertices.values()))
        assert all("dbgnn_index_of_" in edge.adjacency for edge in found.edges.values())
        assert {way: outcome(WAYS[way], db) for way in ("loader", "csr", "tensors")} == {
            way: right[way] for way in ("loader", "csr", "tensors")
        }


def test_no_name_of_a_file_makes_its_index_one_of_ours(base: Path, right: dict[str, str], tmp_path: Path) -> None:
    """Such as that of a database in memory, which is believed."""
    path, other = tmp_path / "dbgnn_index_of_idx.duckdb", tmp_path / "idx.duckdb"
    shutil.copy(base, other)
    edit(other, f"UPDATE {names(base)['map of paper']} SET rid = {PAPERS - 1} - rid")
    forge(other)
    shutil.copy(other, path)
    with dbgnn.connect(path, untrusted=True, progress=False) as db:
        assert outcome(WAYS["loader"], db) == right["loader"]
        assert "dbgnn_index_of_dbgnn_index_of_idx" in str(db.graph("g").topology().vertices["paper"].map_table)
    with dbgnn.connect(other, read_only=True, progress=False) as db:
        db.execute(f"ATTACH '{path}' (READ_ONLY)")
        with pytest.raises(SchemaError, match="Run DETACH") as caught:
            db.graph("g").topology()
        db.execute(str(caught.value).rsplit("Run ", 1)[1].rstrip("."))
        db.graph("g").topology()
