"""The contract PyG has with a feature store, and what ours adds: names, NULL, keys, selection, pickling."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch_geometric.data import TensorAttr
from torch_geometric.data.feature_store import AttrView, _FieldStatus

import dbgnn
from dbgnn.stores import DuckDBTensorAttr
from dbgnn.stores.gather import gather
from tests.stores.conftest import WROTE, Open, Stores

# -- reading ---------------------------------------------------------------------------------------------


def test_rows_are_in_the_order_of_the_keys(scholars: Stores) -> None:
    fs, _ = scholars
    assert fs["paper", "x", None].tolist() == [[1, 1.5], [2, 2.5], [3, 3.5], [7, 7.5]]
    assert fs["paper", "year", torch.tensor([3, 0, 3])].tolist() == [2007, 2001, 2007]
    assert fs["author", "age", None].tolist() == [20, 40, 30]


def test_edge_attributes_are_in_table_order(scholars: Stores) -> None:
    fs, _ = scholars
    assert fs[WROTE, "weight", None].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert fs[WROTE, "pages", [3, 0, 3]].tolist() == [[7, 8], [1, 2], [7, 8]]


def test_one_integer_is_one_row_without_a_dimension(scholars: Stores) -> None:
    fs, _ = scholars
    assert fs["paper", "x", 1].tolist() == [2, 2.5]
    assert fs["paper", "year", 1].shape == ()


def test_a_numpy_index_works_in_every_spelling(scholars: Stores) -> None:
    fs, _ = scholars
    index = np.array([2, 0])
    for got in (
        fs.get_tensor("paper", "year", index),
        fs.get_tensor(TensorAttr("paper", "year", index)),
        fs.get_tensor(group_name="paper", attr_name="year", index=index),
        fs["paper"].year[index],
        fs.view("paper")["year"][index],
        fs.multi_get_tensor([TensorAttr("paper", "year", index)])[0],
    ):
        assert got.tolist() == [2003, 2001]
    assert isinstance(fs.get_tensor("paper", "year", index, convert_type=True), np.ndarray)


def test_unset_is_not_none(scholars: Stores) -> None:
    fs, _ = scholars
    with pytest.raises(ValueError, match="not fully specified"):
        fs.get_tensor("paper", "x")
    assert isinstance(fs["paper", "x"], AttrView)
    assert fs["paper", "x"]().shape == (4, 2)
    assert fs["paper", "x"][:].shape == (4, 2)


def test_attrs_compare_by_value() -> None:
    a, b = (DuckDBTensorAttr("p", "x", np.array([1, 2])) for _ in range(2))
    assert a == b
    assert a != DuckDBTensorAttr("p", "x", np.array([1, 3]))
    assert a != DuckDBTensorAttr("p", "x")
    assert a.is_fully_specified()
    assert a != "p"


def test_listed_attributes_are_fresh_and_without_an_index(scholars: Stores) -> None:
    fs, _ = scholars
    for attr in fs.get_all_tensor_attrs():
        assert attr.index is _FieldStatus.UNSET
        attr.index = torch.tensor([0])
    assert not any(attr.is_set("index") for attr in fs.get_all_tensor_attrs())
    names = [(a.group_name, a.attr_name) for a in fs.get_all_tensor_attrs()]
    assert names == [
        *[("paper", n) for n in ("x", "year", "half")],
        ("author", "age"),
        ("venue", "n_id"),
        (WROTE, "weight"),
        (WROTE, "pages"),
    ]


def test_a_type_without_tensors_serves_its_ids(scholars: Stores) -> None:
    fs, _ = scholars
    assert fs["venue", "n_id", None].tolist() == [0]
    assert fs["venue", "n_id", [0, 0]].tolist() == [0, 0]
    assert fs.get_tensor_size("venue", "n_id") == (1,)


def test_several_attributes_of_several_types_in_one_call(scholars: Stores) -> None:
    fs, _ = scholars
    papers, authors = torch.tensor([3, 1, 1]), torch.tensor([2])
    attrs = [
        TensorAttr("paper", "x", papers),
        TensorAttr("author", "age", authors),
        TensorAttr("paper", "year", papers.clone()),
        TensorAttr("paper", "year", torch.tensor([0])),
        TensorAttr("paper", "x", papers),
        TensorAttr("venue", "n_id", None),
    ]
    x, age, year, other, again, venue = fs.multi_get_tensor(attrs)
    assert x.tolist() == again.tolist() == [[7, 7.5], [2, 2.5], [2, 2.5]]
    assert x.data_ptr() != again.data_ptr()
    assert [age.tolist(), year.tolist(), other.tolist(), venue.tolist()] == [[30], [2007, 2002, 2002], [2001], [0]]


def test_one_statement_per_type_and_index(scholars: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    fs, _ = scholars
    calls: list[list[str]] = []

    def counted(*args: Any) -> list[torch.Tensor]:
        calls.append([column.name for column in args[2]])
        return gather(*args)

    monkeypatch.setattr("dbgnn.stores.feature_store.gather", counted)
    index = torch.tensor([1])
    fs.multi_get_tensor(
        [TensorAttr("paper", "x", index), TensorAttr("author", "age", index), TensorAttr("paper", "year", index)]
    )
    assert calls == [["x", "year"], ["age"]]


def test_sizes(scholars: Stores) -> None:
    fs, _ = scholars
    assert fs.get_tensor_size("paper", "x") == (4, 2)
    assert fs.get_tensor_size("paper", "x", torch.tensor([0, 0])) == (2, 2)
    assert fs.get_tensor_size(WROTE, "pages") == (4, 2)
    assert fs.get_tensor_size("paper", "nope") is None
    assert fs.get_tensor_size("nope", "x") is None


@pytest.mark.parametrize(
    ("group", "attr", "message"),
    [
        ("papr", "x", "no node type 'papr'; did you mean 'paper'"),
        ("paper", "yaer", "no attribute 'yaer'; did you mean 'year'"),
        (("author", "write", "paper"), "weight", "no edge type"),
        (None, "x", "homogeneous"),
        (3, "x", "no node type 3"),
        ("paper", None, "no attribute '<none>'"),
        ("paper", 3, "by a string"),
    ],
)
def test_unknown_names_are_key_errors_with_near_misses(scholars: Stores, group: Any, attr: Any, message: str) -> None:
    fs, _ = scholars
    with pytest.raises(KeyError, match=message) as caught:
        fs.get_tensor(group, attr, None)
    assert isinstance(caught.value, dbgnn.UnknownNameError)


def test_ids_out_of_range_name_group_value_and_count(scholars: Stores) -> None:
    fs, _ = scholars
    with pytest.raises(IndexError, match=r"Id 4 of 'paper' is out of range \(too large\): N = 4"):
        fs.get_tensor("paper", "x", torch.tensor([0, 4]))
    with pytest.raises(dbgnn.RequestError, match="Id -1 of"):
        fs.get_tensor(WROTE, "weight", -1)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("title", "VARCHAR, which is no tensor: text"),
        ("big", "HUGEINT, which is no tensor: .*graph.encode.'paper', 'big_x', dbgnn.Identity.'big'"),
    ],
)
def test_columns_that_are_no_tensors_say_what_to_do(scholars: Stores, column: str, message: str) -> None:
    fs, _ = scholars
    with pytest.raises(dbgnn.SchemaError, match=message):
        fs.get_tensor("paper", column, None)


TYPES = [
    ("BOOLEAN", "true", torch.bool, True),
    ("TINYINT", "-3", torch.int8, -3),
    ("SMALLINT", "-3", torch.int16, -3),
    ("INTEGER", "-3", torch.int32, -3),
    ("BIGINT", "-3", torch.int64, -3),
    ("UTINYINT", "255", torch.uint8, 255),
    ("USMALLINT", "65535", torch.uint16, 65535),
    ("UINTEGER", "4294967295", torch.uint32, 4294967295),
    ("UBIGINT", "18446744073709551615", torch.uint64, 18446744073709551615),
    ("FLOAT", "0.5", torch.float32, 0.5),
    ("DOUBLE", "0.1", torch.float64, 0.1),
    ("DATE", "'1970-02-01'", torch.int64, 31),
    ("TIMESTAMP", "'1970-01-01 00:00:01'", torch.int64, 1_000_000),
    ("ENUM ('x', 'y', 'z')", "'z'", torch.int64, 2),
    ("BOOLEAN[3]", "[true, false, true]", torch.bool, [True, False, True]),
    ("FLOAT[2][3]", "[[1, 2], [3, 4], [5, 6]]", torch.float32, [[1, 2], [3, 4], [5, 6]]),
    ("USMALLINT[1][2][2]", "[[[1], [2]], [[3], [4]]]", torch.uint16, [[[1], [2]], [[3], [4]]]),
]


@pytest.mark.parametrize(("sql", "value", "dtype", "want"), TYPES, ids=[t[0] for t in TYPES])
def test_every_type_has_its_twin(db: dbgnn.Database, sql: str, value: str, dtype: torch.dtype, want: object) -> None:
    db.execute(f"CREATE TABLE t (id BIGINT, c {sql})")
    db.execute(f"INSERT INTO t SELECT i, {value} FROM range(3) AS r(i)")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (t KEY (id))")
    fs, _ = db.get_torch_geometric_remote_backend()
    for index in (None, torch.tensor([2, 0, 0])):
        got = fs["t", "c", index]
        assert got.dtype == dtype
        assert got.tolist() == [want] * 3


@pytest.mark.parametrize(
    "sql", ["HUGEINT", "UHUGEINT", "DECIMAL(9,2)", "VARCHAR", "UUID", "BLOB", "FLOAT[]", "TIME", "STRUCT(a INT)"]
)
def test_other_types_say_why_not(db: dbgnn.Database, sql: str) -> None:
    db.execute(f"CREATE TABLE t (id BIGINT, c {sql})")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (t KEY (id))")
    fs, _ = db.get_torch_geometric_remote_backend()
    assert [a.attr_name for a in fs.get_all_tensor_attrs()] == ["n_id"]
    with pytest.raises(dbgnn.SchemaError, match=r"Column 'c' of table 't' has type .*, which is no tensor"):
        fs.get_tensor("t", "c", None)


# -- NULL ------------------------------------------------------------------------------------------------


def test_null_names_table_column_and_first_key(scholars: Stores) -> None:
    fs, _ = scholars
    with pytest.raises(
        dbgnn.DataError, match=r"'half' of table 'paper' is NULL.* in 2 of the 3 rows.*key \(id\) = .*70.*\(id 3\)"
    ):
        fs.get_tensor("paper", "half", torch.tensor([0, 3, 3]))
    assert fs["paper", "half", [0, 1]].tolist() == pytest.approx([0.1, 0.2])  # rows without NULL are served


def test_a_fill_value_stands_for_null(scholars: Stores) -> None:
    fs, _ = scholars
    assert fs.fill("paper", "half", -1) is fs
    assert fs["paper", "half", None].tolist() == pytest.approx([0.1, 0.2, 0.3, -1])
    assert fs.fill("paper", "half", float("nan"))["paper", "half", [3]].isnan().all()


def test_null_inside_of_arrays(db: dbgnn.Database) -> None:
    db.execute("CREATE TABLE t (k VARCHAR, c INTEGER[2])")
    db.execute("INSERT INTO t VALUES ('a', [1, 2]), ('b', [NULL, 4]), ('c', NULL)")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (t KEY (k))")
    fs, _ = db.get_torch_geometric_remote_backend()
    with pytest.raises(dbgnn.DataError, match=r"in 2 of the 3 rows.*'b'"):
        fs.get_tensor("t", "c", None)
    assert fs.fill("t", "c", 9)["t", "c", None].tolist() == [[1, 2], [9, 4], [9, 9]]


@pytest.mark.parametrize(("attr", "value"), [("year", 0.5), ("year", float("nan")), ("year", 40_000), ("year", "x")])
def test_a_fill_value_must_fit_the_column(scholars: Stores, attr: str, value: Any) -> None:
    fs, _ = scholars
    with pytest.raises(dbgnn.SchemaError, match="cannot stand for NULL in column 'year'"):
        fs.fill("paper", attr, value)


# -- keys ------------------------------------------------------------------------------------------------


def test_keys_and_back(scholars: Stores) -> None:
    fs, _ = scholars
    assert fs.keys("paper", torch.tensor([3, 0, 3])).tolist() == [70, 10, 70]
    assert fs.keys("author", None) == ["ada", "bob", "zoe"]
    assert fs.keys("author", 2) == "zoe"
    assert fs.ids("author", ["zoe", "ada", "zoe"]).tolist() == [2, 0, 2]
    assert fs.ids("paper", np.array([70, 10])).tolist() == [3, 0]
    assert fs.ids("paper", torch.tensor([20])).tolist() == [1]
    assert fs.ids("paper", pa.array([20])).tolist() == [1]
    assert fs.ids("paper", []).tolist() == []
    assert fs.keys(WROTE, [0, 1]) == [("zoe", 10), ("ada", 70)]


def test_keys_keep_their_python_types(db: dbgnn.Database) -> None:
    key = uuid.UUID(int=7)
    db.execute("CREATE TABLE u (k UUID)")
    db.execute("INSERT INTO u VALUES (?)", [key])
    db.execute("CREATE TABLE c (a INTEGER, b DATE)")
    db.execute("INSERT INTO c VALUES (1, '2020-01-02'), (1, '2020-01-01')")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (u KEY (k), c KEY (a, b))")
    fs, _ = db.get_torch_geometric_remote_backend()
    assert fs.keys("u") == [key]
    assert fs.ids("u", [key, str(key)]).tolist() == [0, 0]
    keys = fs.keys("c")
    assert [str(b) for _, b in keys] == ["2020-01-01", "2020-01-02"]
    assert fs.ids("c", keys[::-1]).tolist() == [1, 0]
    assert fs.ids("c", pa.table({"a": [1], "b": ["2020-01-02"]})).tolist() == [1]


@pytest.mark.parametrize(
    ("group", "keys", "message"),
    [
        ("paper", [10, 11, 12], "2 of the 3 keys do not exist in 'paper'.*the first is 11"),
        ("paper", [10.5], "BIGINT .*not double"),
        ("paper", ["ten"], "not of the key's type"),
        ("paper", [1, "a"], "not of one type"),
        ("author", [None], "do not exist"),
        (WROTE, [1], "for node types"),
    ],
)
def test_keys_that_do_not_exist(scholars: Stores, group: Any, keys: list[Any], message: str) -> None:
    fs, _ = scholars
    with pytest.raises(dbgnn.RequestError, match=message):
        fs.ids(group, keys)


def test_composite_keys_must_be_tuples_of_the_right_length(db: dbgnn.Database) -> None:
    db.execute("CREATE TABLE c (a INTEGER, b INTEGER)")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (c KEY (a, b))")
    fs, _ = db.get_torch_geometric_remote_backend()
    for keys in ([1], [(1, 2, 3)], pa.array([1])):
        with pytest.raises(dbgnn.RequestError, match="2"):
            fs.ids("c", keys)
    assert fs.ids("c", []).tolist() == []


def test_ids_by_a_condition(scholars: Stores) -> None:
    fs, _ = scholars
    got = fs.node_ids("paper", "split = 'train' AND year < 2003 OR id = 70")
    assert got.tolist() == [0, 3]
    assert got.dtype == torch.int64
    assert fs.node_ids("author", "name LIKE 'x%'").tolist() == []


@pytest.mark.parametrize("where", ["1; DROP TABLE paper", "EXISTS (FROM author)", "yaer > 1", "split = ", "id = 'ten'"])
def test_conditions_that_are_none(scholars: Stores, where: str) -> None:
    fs, _ = scholars
    with pytest.raises(dbgnn.SqlError):
        fs.node_ids("paper", where)


# -- selection and homogeneous graphs --------------------------------------------------------------------


def test_a_selection_says_what_is_listed_not_what_is_reachable(scholars_db: dbgnn.Database) -> None:
    fs, _ = scholars_db.get_torch_geometric_remote_backend(columns={"paper": ["year"], "author": [], WROTE: ["weight"]})
    listed = [(a.group_name, a.attr_name) for a in fs.get_all_tensor_attrs()]
    assert listed == [("paper", "year"), ("author", "n_id"), ("venue", "n_id"), (WROTE, "weight")]
    assert fs["paper", "x", None].shape == (4, 2)
    assert fs["paper", "id", [3]].tolist() == [70]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"papr": ["x"]}, "did you mean 'paper'"),
        ({"paper": ["yaer"]}, "did you mean 'year'"),
        ({"paper": ["title"]}, "which is no tensor"),
        ({"paper": "x"}, "not the string"),
    ],
)
def test_a_selection_is_checked(scholars_db: dbgnn.Database, columns: Any, message: str) -> None:
    with pytest.raises(dbgnn.SchemaError, match=message):
        scholars_db.get_torch_geometric_remote_backend(columns=columns)


def test_a_graph_of_one_type_can_be_served_without_names(db: dbgnn.Database) -> None:
    db.execute("CREATE TABLE n AS SELECT range AS id, range * 2.0::FLOAT AS x FROM range(3)")
    db.execute("CREATE TABLE e AS SELECT * FROM (VALUES (0, 1, 10), (2, 1, 20)) AS v(s, d, w)")
    db.execute(
        "CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) "
        "EDGE TABLES (e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"
    )
    fs, gs = db.get_torch_geometric_remote_backend(homogeneous=True)
    assert [(a.group_name, a.attr_name) for a in fs.get_all_tensor_attrs()] == [(None, "x"), (("n", "e", "n"), "w")]
    assert fs[None, "x", [2]].tolist() == [4]
    assert fs["n", "x", [2]].tolist() == [4]
    (attr,) = fs.edge_tensor_attrs()
    attr.index = torch.tensor([1, 0])
    assert fs.get_tensor(attr).tolist() == [20, 10]
    row, colptr, perm = gs.csc()
    assert (row.tolist(), colptr.tolist(), perm.tolist()) == ([0, 2], [0, 0, 2, 2], [0, 1])
    assert gs.get_all_edge_attrs()[0].edge_type is None


def test_a_graph_of_many_types_cannot(scholars_db: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.SchemaError, match="homogeneous=True needs one vertex table"):
        scholars_db.get_torch_geometric_remote_backend(homogeneous=True)


# -- processes -------------------------------------------------------------------------------------------


def test_stores_survive_pickling(scholars_db: dbgnn.Database, open_db: Open) -> None:
    fs, _ = scholars_db.get_torch_geometric_remote_backend()
    fs.graph.build()
    scholars_db.close()
    db = open_db(read_only=True)
    fs, gs = db.get_torch_geometric_remote_backend(columns={"paper": ["year"]})
    fs.fill("paper", "half", 0)
    fs2, gs2 = pickle.loads(pickle.dumps((fs, gs)))
    assert fs2.get_all_tensor_attrs() == fs.get_all_tensor_attrs()
    assert fs2["paper", "half", [3]].tolist() == [0]
    assert [t.tolist() for t in gs2.csc([WROTE])[0].values()] == [t.tolist() for t in gs.csc([WROTE])[0].values()]
    assert fs2.graph is gs2.graph


def test_a_read_only_database_is_not_written(scholars_db: dbgnn.Database, open_db: Open) -> None:
    scholars_db.get_torch_geometric_remote_backend()[0].graph.build()
    scholars_db.close()
    fs, gs = open_db(read_only=True).get_torch_geometric_remote_backend()
    writes: list[Callable[[], object]] = [
        lambda: fs.put_tensor(torch.zeros(4), "paper", "z", None),
        lambda: fs.remove_tensor("paper", "x", None),
        lambda: gs.put_edge_index(torch.zeros(2, 1, dtype=torch.long), WROTE, "coo"),
        lambda: gs.remove_edge_index(WROTE, "coo"),
    ]
    for write in writes:
        with pytest.raises(dbgnn.ReadOnlyError, match="read_only=False"):
            write()
    assert fs["paper", "x", [0]].tolist() == [[1, 1.5]]


def test_a_repr_says_what_is_served(scholars: Stores) -> None:
    fs, gs = scholars
    assert "DuckDBFeatureStore(graph 'scholars' of database" in repr(fs)
    assert "'wrote'" in repr(gs)
