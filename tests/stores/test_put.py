"""Writing features: what is put comes back, ids stay, and a write that fails leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dbgnn
from dbgnn.stores.tables import one
from tests.stores.conftest import WROTE, Open, Stores

CITES = ("paper", "cites", "paper")


def test_an_empty_database_starts_empty(stores: Stores) -> None:
    fs, gs = stores
    assert fs.get_all_tensor_attrs() == []
    assert gs.get_all_edge_attrs() == []


@pytest.mark.parametrize("group", ["paper", "Ab c\"d'; DROP", "ключ", "select", "", None], ids=repr)
def test_put_and_get_alone_define_a_graph(db: dbgnn.Database, group: str | None) -> None:
    fs, gs = db.get_torch_geometric_remote_backend()
    x = torch.randn(5, 3)
    fs[group, "x", None] = x
    fs[group, 'odd " name', None] = x[:, 0]
    edge_type = None if group is None else (group, "to", group)
    edges = torch.tensor([[0, 1, 1], [4, 2, 2]])
    gs.put_edge_index(edges, edge_type, "coo")
    for one_fs, one_gs in ((fs, gs), db.get_torch_geometric_remote_backend()):
        assert torch.equal(one_fs[group, "x", torch.tensor([4, 4, 0])], x[[4, 4, 0]])
        assert torch.equal(one_fs[group, 'odd " name', None], x[:, 0])
        assert torch.equal(torch.stack(one_gs.get_edge_index(edge_type, "coo")), edges)
        assert [a.group_name for a in one_fs.get_all_tensor_attrs()] == [group, group]


def test_an_attribute_may_have_no_name_or_be_called_id(stores: Stores) -> None:
    fs, _ = stores
    fs[None, None, None] = torch.arange(3)
    assert fs[None, None, None].tolist() == [0, 1, 2]
    assert [a.attr_name for a in fs.get_all_tensor_attrs()] == [None]


def test_an_attribute_called_id(stores: Stores) -> None:
    fs, _ = stores
    fs["p", "id", None] = torch.tensor([7, 8])
    assert fs["p", "id", None].tolist() == [7, 8]


def test_types_whose_names_differ_by_case(stores: Stores) -> None:
    fs, _ = stores
    fs["Paper", "x", None], fs["paper", "x", None] = torch.zeros(2), torch.ones(3)
    assert fs["Paper", "x", None].tolist() == [0, 0]
    assert fs["paper", "x", None].tolist() == [1, 1, 1]
    with pytest.raises(dbgnn.SchemaError, match="takes it for 'X'"):
        fs["paper", "X", None] = torch.ones(3)


def test_what_is_put_is_copied(stores: Stores) -> None:
    fs, _ = stores
    x = torch.zeros(3)
    fs["p", "x", None] = x
    x += 1
    got = fs["p", "x", None]
    got += 5
    assert fs["p", "x", None].tolist() == [0, 0, 0]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), array=st.booleans(), constrained=st.booleans())
def test_writing_rows_is_numpys(db: dbgnn.Database, data: st.DataObject, array: bool, constrained: bool) -> None:
    shape = (6, 2) if array else (6,)
    db.execute("DROP PROPERTY GRAPH IF EXISTS g")
    db.execute("DROP TABLE IF EXISTS t")
    db.execute(
        f"CREATE TABLE t (k VARCHAR {'PRIMARY KEY' if constrained else ''}, x INTEGER{'[2]' if array else ''}, other BIGINT)"
    )
    db.execute(
        f"INSERT INTO t SELECT chr(97 + (i * 5 % 6)::INT), {'[0, 0]' if array else '0'}, i * 5 % 6 FROM range(6) AS r(i)"
    )
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (t KEY (k))")
    fs, _ = db.get_torch_geometric_remote_backend()
    want = np.zeros(shape, np.int32)
    for step in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.one_of(st.none(), st.lists(st.integers(0, 5), min_size=0, max_size=8)))
        count = 6 if index is None else len(index)
        values = np.arange(count * (2 if array else 1), dtype=np.int32).reshape(count, *shape[1:]) + 100 * (step + 1)
        want[slice(None) if index is None else np.array(index, dtype=int)] = values
        assert fs.update_tensor(values, "t", "x", index)
        assert np.array_equal(fs["t", "x", None].numpy(), want)
        assert fs["t", "other", None].tolist() == list(range(6))
    new = torch.randn(6, 3)
    fs["t", "new", None] = new
    assert torch.equal(fs["t", "new", None], new)
    assert np.array_equal(fs["t", "x", None].numpy(), want)


def test_edge_attributes_line_up_with_the_edges_put(stores: Stores) -> None:
    fs, gs = stores
    fs["paper", "x", None] = torch.zeros(4)
    edges = torch.tensor([[3, 0, 3, 1], [1, 2, 1, 1]])
    gs.put_edge_index(edges, CITES, "coo")
    weight, scalar = torch.arange(8.0).view(4, 2), torch.arange(4)
    fs[CITES, "w", None], fs[CITES, "s", None] = weight, scalar
    fs[CITES, "w", torch.tensor([2])] = torch.tensor([[-1.0, -2.0]])
    weight[2] = torch.tensor([-1.0, -2.0])
    assert torch.equal(fs[CITES, "w", None], weight)
    assert torch.equal(fs[CITES, "s", [3, 1]], scalar[[3, 1]])
    assert torch.equal(torch.stack(gs.get_edge_index(CITES, "coo")), edges)


def test_edge_attributes_of_a_table_with_gaps(scholars_db: dbgnn.Database) -> None:
    scholars_db.execute("DELETE FROM wrote WHERE weight = 1.5")
    fs, gs = scholars_db.get_torch_geometric_remote_backend()
    before = gs.get_edge_index(WROTE, "coo")
    fs[WROTE, "w", None] = torch.tensor([[1.0], [2.0], [3.0]])
    fs[WROTE, "w", [1]] = torch.tensor([[9.0]])
    assert fs[WROTE, "w", None].tolist() == [[1], [9], [3]]
    assert fs[WROTE, "weight", None].tolist() == [0.5, 2.5, 3.5]
    assert [t.tolist() for t in gs.get_edge_index(WROTE, "coo")] == [t.tolist() for t in before]


def test_arrays_of_bound_edge_tables_are_refused_and_scalars_are_not(db: dbgnn.Database) -> None:
    db.execute("CREATE TABLE n (id BIGINT)")
    db.execute("INSERT INTO n VALUES (0), (1)")
    db.execute("CREATE TABLE e (s BIGINT NOT NULL, d BIGINT)")
    db.execute("INSERT INTO e VALUES (0, 1), (1, 0)")
    db.execute(
        "CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) "
        "EDGE TABLES (e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"
    )
    fs, _ = db.get_torch_geometric_remote_backend()
    edge_type = ("n", "e", "n")
    fs[edge_type, "w", None] = torch.tensor([5, 6])
    assert fs[edge_type, "w", None].tolist() == [5, 6]
    with pytest.raises(dbgnn.DataError, match=r"table 'e' cannot be written.*NOT NULL"):
        fs[edge_type, "v", None] = torch.zeros(2, 2)
    assert [a.attr_name for a in fs.edge_tensor_attrs()] == ["w"]


def test_arrays_of_a_table_that_a_foreign_key_holds(db: dbgnn.Database) -> None:
    db.execute("CREATE TABLE n (id BIGINT PRIMARY KEY, x FLOAT[2])")
    db.execute("INSERT INTO n VALUES (5, [1, 2])")
    db.execute("CREATE TABLE e (s BIGINT REFERENCES n (id), d BIGINT REFERENCES n (id))")
    db.execute("INSERT INTO e VALUES (5, 5)")
    fs, _ = db.get_torch_geometric_remote_backend()
    with pytest.raises(dbgnn.DataError, match="foreign key"):
        fs["n", "x", None] = torch.zeros(1, 2)
    assert fs["n", "x", None].tolist() == [[1, 2]]


def test_a_whole_column_may_change_its_dtype_and_shape(stores: Stores) -> None:
    fs, _ = stores
    fs["p", "x", None] = torch.zeros(3, 4)
    fs["p", "y", None] = torch.arange(3)
    fs["p", "x", None] = torch.ones(3, dtype=torch.int8)
    assert fs["p", "x", None].tolist() == [1, 1, 1]
    assert fs["p", "x", None].dtype == torch.int8
    with pytest.raises(dbgnn.SchemaError, match=r"int8 \[\] a row, the values are torch.float32 \[\]"):
        fs["p", "x", [0]] = torch.ones(1)


@pytest.mark.parametrize(
    ("group", "attr", "value", "index", "message"),
    [
        ("paper", "x", torch.zeros(3, 2), None, "3 values for the 4 rows of 'paper'"),
        ("paper", "x", torch.zeros(1, 2), [0, 1], "1 values for the 2 ids"),
        ("paper", "x", torch.zeros(1, 2), [4], "Id 4 of 'paper'"),
        ("paper", "new", torch.zeros(1), [0], "1 of its 4 rows were given. Put the whole tensor"),
        ("paper", "new", torch.zeros(4), [0, 0, 1, 2], "name every row once"),
        ("fresh", "new", torch.zeros(2), [1], "name every row once"),
        ("paper", "id", torch.zeros(4), None, "is a key of 'paper'"),
        ("paper", "title", torch.zeros(4), None, "type VARCHAR; a tensor of torch.float32 does not go there"),
        ("paper", "new", torch.zeros(4).to(torch.complex64), None, "no DuckDB column type"),
        ("unrelated", "x", torch.zeros(4), None, "table 'unrelated' that is not part of graph"),
        (("a", "b", "c"), "x", torch.zeros(4), None, "no edge type"),
        (3, "x", torch.zeros(4), None, "not 3"),
        (None, "x", torch.zeros(4), None, "homogeneous"),
    ],
)
def test_a_put_that_does_not_fit_changes_nothing(
    scholars_db: dbgnn.Database, group: Any, attr: str, value: torch.Tensor, index: Any, message: str
) -> None:
    scholars_db.execute("CREATE TABLE unrelated (id BIGINT)")
    fs, _ = scholars_db.get_torch_geometric_remote_backend()
    before = (
        str(fs.graph).rpartition("\n\n")[0],  # without the line on the index, which is built on the way
        fs["paper", "x", None].tolist(),
        one(scholars_db.connection, "SELECT count(*) FROM duckdb_tables()"),
    )
    with pytest.raises(dbgnn.DbgnnError, match=message):
        fs.put_tensor(value, group, attr, index)
    after = (
        str(fs.graph).rpartition("\n\n")[0],  # without the line on the index, which is built on the way
        fs["paper", "x", None].tolist(),
        one(scholars_db.connection, "SELECT count(*) FROM duckdb_tables()"),
    )
    assert before == after


def test_a_new_column_may_be_put_by_any_order_of_all_rows(scholars: Stores) -> None:
    fs, _ = scholars
    fs["paper", "new", torch.tensor([3, 0, 2, 1])] = torch.tensor([30, 0, 20, 10])
    assert fs["paper", "new", None].tolist() == [0, 10, 20, 30]
    fs["other", "new", [1, 0]] = torch.tensor([10, 0])
    assert fs["other", "new", None].tolist() == [0, 10]


def test_one_row_by_its_integer(scholars: Stores) -> None:
    fs, _ = scholars
    fs["paper", "x", 1] = torch.tensor([8.0, 9.0])
    fs["paper", "year", 1] = torch.tensor(1999, dtype=torch.int16)
    assert fs["paper", "x", 1].tolist() == [8, 9]
    assert fs["paper", "year", None].tolist() == [2001, 1999, 2003, 2007]


def test_removing(scholars: Stores) -> None:
    fs, _ = scholars
    assert fs.remove_tensor("paper", "x", None)
    assert not fs.remove_tensor("paper", "x", None)
    assert not fs.remove_tensor("nope", "x", None)
    del fs["paper", "year"]
    assert [a.attr_name for a in fs.get_all_tensor_attrs() if a.group_name == "paper"] == ["half"]
    with pytest.raises(dbgnn.RequestError, match="must be None"):
        fs.remove_tensor("paper", "half", [0])
    with pytest.raises(dbgnn.SchemaError, match="is a key"):
        fs.remove_tensor("paper", "id", None)


def test_a_selection_and_a_list_of_properties_follow(db: dbgnn.Database) -> None:
    db.execute("CREATE TABLE p AS SELECT range AS id, range AS a, range AS b FROM range(2)")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (p KEY (id) PROPERTIES (a))")
    fs, _ = db.get_torch_geometric_remote_backend(columns={"p": ["a"]})
    fs["p", "c", None] = torch.zeros(2)
    assert [a.attr_name for a in fs.get_all_tensor_attrs()] == ["a", "c"]
    again, _ = db.get_torch_geometric_remote_backend()
    assert [a.attr_name for a in again.get_all_tensor_attrs()] == ["a", "c"]
    assert fs.remove_tensor("p", "c", None)
    assert db.get_torch_geometric_remote_backend()[0].get_all_tensor_attrs()[0].attr_name == "a"


def test_arrays_are_stored_uncompressed_and_settings_come_back(db: dbgnn.Database) -> None:
    fs, _ = db.get_torch_geometric_remote_backend()
    before = db.sql("SELECT current_setting('force_compression')").fetchall()
    fs["p", "x", None] = torch.rand(5_000, 16)
    fs["p", "z", None] = torch.rand(5_000, 4)
    query = "SELECT DISTINCT compression FROM pragma_storage_info('p') WHERE segment_type = 'FLOAT'"
    assert db.sql(query).fetchall() == [("Uncompressed",)]
    assert db.sql("SELECT current_setting('force_compression')").fetchall() == before


def test_a_write_in_another_process_of_the_graph_is_seen(db: dbgnn.Database) -> None:
    a, _ = db.get_torch_geometric_remote_backend()
    a["p", "x", None] = torch.zeros(2)
    b, _ = db.get_torch_geometric_remote_backend()
    b["p", "y", None] = torch.ones(2)
    assert a["p", "y", None].tolist() == [1, 1]


def test_a_file_put_and_opened_again_is_not_stale(open_db: Open) -> None:
    db = open_db()
    fs, gs = db.get_torch_geometric_remote_backend()
    fs["p", "x", None] = torch.arange(6.0).view(3, 2)
    gs.put_edge_index(torch.tensor([[0, 1], [2, 2]]), ("p", "to", "p"), "coo")
    fs[("p", "to", "p"), "w", None] = torch.ones(2, 2)
    fs["p", "x", [1]] = torch.zeros(1, 2)
    db.close()
    fs, gs = open_db(read_only=True).get_torch_geometric_remote_backend()
    assert fs["p", "x", None].tolist() == [[0, 1], [0, 0], [4, 5]]
    assert gs.csc()[0]["p", "to", "p"].tolist() == [0, 1]


def test_dropped_edges_stay_dropped(db: dbgnn.Database) -> None:
    db.execute("CREATE TABLE v AS SELECT range AS id FROM range(5)")
    db.execute("CREATE TABLE e AS FROM (VALUES (0, 1), (1, 9), (2, 3)) AS t (s, d)")
    db.execute(
        "CREATE PROPERTY GRAPH g VERTEX TABLES (v KEY (id)) "
        "EDGE TABLES (e SOURCE KEY (s) REFERENCES v (id) DESTINATION KEY (d) REFERENCES v (id))"
    )
    fs, gs = db.get_torch_geometric_remote_backend(db.graph("g").build(dangling="drop"))
    edge_type = ("v", "e", "v")
    fs["v", "x", None] = torch.ones(5, 2)
    fs["fresh", "x", None] = torch.ones(5, 2)
    fs[edge_type, "w", None] = torch.tensor([1.0, 2.0])
    fs[edge_type, "z", None] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert fs[edge_type, "w", None].tolist() == [1, 2]
    assert fs[edge_type, "z", None].tolist() == [[1, 2], [3, 4]]
    assert [t.tolist() for t in gs.get_edge_index(edge_type, "coo")] == [[0, 2], [1, 3]]
    assert db.sql("SELECT s, d, w FROM e ORDER BY rowid").fetchall() == [(0, 1, 1.0), (1, 9, None), (2, 3, 2.0)]


def test_a_database_in_memory() -> None:
    with dbgnn.connect() as db:
        fs, gs = db.get_torch_geometric_remote_backend()
        fs["p", "x", None] = torch.arange(10.0).view(5, 2)
        gs.put_edge_index(torch.tensor([[0, 1], [1, 2]]), ("p", "to", "p"), "coo")
        fs["p", "x", [1]] = torch.zeros(1, 2)
        assert fs["p", "x", [1, 2]].tolist() == [[0, 0], [4, 5]]
        assert gs.csc()[2]["p", "to", "p"].tolist() == [0, 1]


def test_a_write_that_fails_half_way_is_undone(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    fs, gs = stores
    fs["p", "x", None] = torch.zeros(3)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dbgnn.stores.features.schema.save", fail)
    writes: list[Callable[[], object]] = [
        lambda: fs.put_tensor(torch.zeros(2), "new", "x", None),
        lambda: gs.put_edge_index(torch.tensor([[0], [5]]), ("p", "to", "new"), "coo"),
    ]
    for write in writes:
        with pytest.raises(KeyboardInterrupt):
            write()
    monkeypatch.undo()
    tables = fs.graph.db.arrow("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'")
    assert tables["table_name"].to_pylist() == ["p"]
    assert fs["p", "x", None].tolist() == [0, 0, 0]
    fs["new", "x", None] = torch.ones(2)
    assert fs["new", "x", None].tolist() == [1, 1]
