"""`Text`, `Apply`, `Frame`: functions of the user's own, and pytorch-frame's frames."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from dbgnn import DataError, DbgnnError, SchemaError
from dbgnn.encoders import Apply, Frame, Stack, Text
from dbgnn.encoders.nulls import NullValueError
from tests.encoders.encoding import chunk, encode, fit


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("CREATE TYPE size AS ENUM ('small', 'large')")
        con.execute(
            """CREATE TABLE t AS SELECT i, 'w' || repeat('o', i::INT) AS word, CASE WHEN i = 4 THEN NULL ELSE i END AS gap,
               CASE WHEN i % 5 = 1 THEN NULL ELSE 'long' END AS note, ['large', 'small', 'small'][1 + i % 3]::size AS size,
               ['b|a', '', NULL, 'a|a|c'][1 + i % 4] AS tags, [['x'], ['x', 'y'], []][1 + i % 3] AS list,
               DATE '2020-02-28' + i::INT AS day, CASE WHEN i = 3 THEN NULL ELSE TIMESTAMP '1999-12-31 23:59:58' END AS ts,
               [i, 2 * i]::FLOAT[2] AS x, [i]::DOUBLE[1] AS y FROM range(9) AS r(i)"""
        )
        yield con


class Lengths:
    """An embedder that keeps what it was called with."""

    def __init__(self, make: Any = torch.tensor) -> None:
        self.calls: list[list[str]] = []
        self.make = make

    def __call__(self, texts: list[str]) -> Any:
        self.calls.append(texts)
        return self.make([[float(len(t)), 1.0] for t in texts])


@pytest.mark.parametrize("make", [torch.tensor, np.array, lambda v: torch.tensor(v, requires_grad=True).bfloat16()])
def test_text_calls_the_function_with_batches(con: duckdb.DuckDBPyConnection, make: Any) -> None:
    lengths = Lengths(make)
    fitted = fit(con, Text(lengths, "word", batch_size=4))
    assert lengths.calls == [["w"]]
    out = fitted.encode(chunk(con, fitted))
    assert [len(c) for c in lengths.calls[1:]] == [4, 4, 1]
    assert out.dtype == torch.float32
    assert out.tolist() == [[i + 1, 1] for i in range(9)]
    assert encode(con, fitted).equal(out)


def test_text_never_sees_an_empty_list(con: duckdb.DuckDBPyConnection) -> None:
    lengths = Lengths()
    fitted = fit(con, Text(lengths, "word"), where="(false)")
    out = fitted.encode([pa.array([], pa.string())])
    assert (out.shape, out.dtype) == ((0, 2), torch.float32)
    assert lengths.calls == [[""]]


def test_text_and_null(con: duckdb.DuckDBPyConnection) -> None:
    lengths = Lengths()
    error = fit(con, Text(lengths, "note"))
    with pytest.raises(NullValueError, match="Column 'note' is NULL in row 1"):
        error.encode(chunk(con, error))
    mask = fit(con, Text(lengths, "note", null="mask"))
    lengths.calls.clear()
    assert mask.encode(chunk(con, mask))[:3].tolist() == [[4, 1, 0], [0, 0, 1], [4, 1, 0]]
    assert lengths.calls == [["long"] * 7]
    filled = encode(con, fit(con, Text(lengths, "note", null="fill", fill="?")))
    assert filled[:3].tolist() == [[4, 1], [1, 1], [4, 1]]


def test_text_of_an_enum(con: duckdb.DuckDBPyConnection) -> None:
    assert encode(con, fit(con, Text(Lengths(), "size")))[:, 0].tolist() == [5] * 9


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda texts: torch.ones(len(texts)), r"made shape \[1\] of 1 texts, and should make \[1, d\]"),
        (lambda texts: torch.ones(1 + len(texts), 2), r"made shape \[2, 2\] of 1 texts"),
        (lambda texts: [[1.0]] * len(texts), "made a list; have it make a torch.Tensor or a NumPy array of numbers"),
        (lambda texts: np.array([["a"]] * len(texts)), "made an array of <U1"),
        (lambda texts: pytest.importorskip("scipy.sparse").csr_matrix((len(texts), 3)), r"a dense array with .toarray\(\)"),
    ],
)
def test_wrong_functions_of_text_are_errors(con: duckdb.DuckDBPyConnection, function: Any, message: str) -> None:
    with pytest.raises(DbgnnError, match=message):
        fit(con, Text(function, "word"))


def test_a_width_that_changes_is_an_error(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Text(lambda texts: torch.ones(len(texts), len(texts)), "word", batch_size=4, called="wide"))
    with pytest.raises(DataError, match="Text: wide made vectors of 4 numbers, and of 1 when it was fitted"):
        fitted.encode(chunk(con, fitted))


def test_text_refuses_other_columns_and_what_cannot_be_called(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(SchemaError, match="Column 'i' arrives as int64; Text takes text"):
        fit(con, Text(Lengths(), "i"))
    with pytest.raises(SchemaError, match="'model' is not"):
        Text("model")  # type: ignore[arg-type] # what is tested
    with pytest.raises(SchemaError, match="batch_size=0"):
        Text(Lengths(), batch_size=0)


def ratio(one: pa.Array, two: pa.Array) -> np.ndarray[Any, Any]:
    out: np.ndarray[Any, Any] = pc.divide(one.cast("double"), pc.add(two, 1)).to_numpy()
    return out


def test_apply_takes_arrays_of_several_columns(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Apply(ratio, ("i", "y0")), "SELECT *, y[1] AS y0 FROM t")
    out = encode(con, fitted, "SELECT *, y[1] AS y0 FROM t")
    assert out.dtype == torch.float64
    assert out.tolist() == [i / (i + 1) for i in range(9)]


def test_a_function_in_the_place_of_an_encoder_is_applied(con: duckdb.DuckDBPyConnection) -> None:
    def doubled(array: pa.Array) -> torch.Tensor:
        return torch.tensor(array.to_pylist(), dtype=torch.int16)[:, None].expand(-1, 2)

    fitted = fit(con, doubled, "SELECT i AS a FROM t")
    assert fitted.columns == ("a",)
    out = encode(con, fitted, "SELECT i AS a FROM t")
    assert (out.dtype, out.tolist()) == (torch.int16, [[i, i] for i in range(9)])


def test_apply_of_no_rows_has_shape_and_dtype(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Apply(lambda a: np.ones((len(a), 3, 2), np.int8), "i"))
    out = fitted.encode([pa.array([], pa.int64())])
    assert (out.shape, out.dtype) == ((0, 3, 2), torch.int8)


def test_apply_and_null(con: duckdb.DuckDBPyConnection) -> None:
    def missing(array: pa.Array) -> np.ndarray[Any, Any]:
        out: np.ndarray[Any, Any] = array.is_null().to_numpy(zero_copy_only=False)
        return out

    error = fit(con, Apply(missing, "gap"))
    with pytest.raises(NullValueError, match="Column 'gap' is NULL in row 4"):
        error.encode(chunk(con, error))
    assert encode(con, fit(con, Apply(missing, "gap", null="pass"))).tolist() == [i == 4 for i in range(9)]
    assert not encode(con, fit(con, Apply(missing, "gap", null="fill", fill=0))).any()
    with pytest.raises(SchemaError, match="null='mask' is none of 'error', 'fill', 'pass'"):
        Apply(missing, "gap", null="mask")


def test_apply_that_forgets_rows_is_an_error(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Apply(lambda _: torch.ones(1), "i", called="one"))
    with pytest.raises(DataError, match=r"Apply: one made shape \[1\] of 9 rows"):
        fitted.encode(chunk(con, fitted))


def test_functions_in_a_stack(con: duckdb.DuckDBPyConnection) -> None:
    out = encode(con, fit(con, Stack("i", Text(Lengths(), "word"), Apply(lambda a: torch.ones(len(a), 1, 2), "x"))))
    assert out[3].tolist() == [3, 4, 1, 1, 1]


FRAME = Frame(
    numerical=("i", "gap"),
    categorical=("size", "note"),
    multicategorical=("tags", "list"),
    timestamp=("day", "ts"),
    embedding=("x", "y"),
    text=(Text(Lengths(), "word"),),
)


def test_frame_makes_a_tensor_frame(con: duckdb.DuckDBPyConnection) -> None:
    tf = pytest.importorskip("torch_frame", reason="pytorch-frame is not installed")
    fitted = fit(con, FRAME)
    arrays = chunk(con, fitted)
    frame = fitted.encode(arrays)
    assert isinstance(frame, tf.TensorFrame)
    assert frame.num_rows == 9
    numbers = frame.feat_dict[tf.numerical]
    assert numbers[:, 0].tolist() == list(range(9))
    assert torch.isnan(numbers[:, 1]).tolist() == [i == 4 for i in range(9)]
    # 'small' is more frequent than 'large'
    assert frame.feat_dict[tf.categorical].tolist() == [[1 - (i % 3 > 0), -1 if i % 5 == 1 else 0] for i in range(9)]
    tags = frame.feat_dict[tf.multicategorical]
    assert [sorted(tags[i, 0].tolist()) for i in range(4)] == [[0, 1], [], [-1], [0, 2]]  # a set, as there
    assert [sorted(tags[i, 1].tolist()) for i in range(3)] == [[0], [0, 1], []]
    times = frame.feat_dict[tf.timestamp]
    assert times[1].tolist() == [[2020, 1, 28, 5, 0, 0, 0], [1999, 11, 30, 4, 23, 59, 58]]
    assert times[3, 1].tolist() == [-1] * 7
    vectors = frame.feat_dict[tf.embedding]
    assert [vectors[3, j].tolist() for j in range(3)] == [[3, 6], [3], [4, 1]]
    cuts = [fitted.encode([a[i : i + 4] for a in arrays]) for i in (0, 4, 8, 12)]
    assert fitted.concat(cuts) == frame


def test_frame_s_statistics_feed_pytorch_frame_s_models(con: duckdb.DuckDBPyConnection) -> None:
    tf = pytest.importorskip("torch_frame", reason="pytorch-frame is not installed")
    stats = importlib.import_module("torch_frame.data.stats").StatType
    fitted = fit(con, FRAME)
    encoder = fitted.encoder
    assert isinstance(encoder, Frame)
    col_stats = encoder.col_stats(fitted.state)
    assert col_stats["i"] == {stats.MEAN: 4, stats.STD: pytest.approx(np.arange(9).std()), stats.QUANTILES: [0, 2, 4, 6, 8]}
    assert col_stats["size"] == {stats.COUNT: (["small", "large"], [6, 3])}
    assert col_stats["tags"] == {stats.MULTI_COUNT: (["a", "b", "c"], [5, 3, 2])}
    assert col_stats["day"][stats.YEAR_RANGE] == [2020, 2020]
    assert col_stats["word"] == {stats.EMB_DIM: 2}
    nn = importlib.import_module("torch_frame.nn")
    frame = fitted.encode(chunk(con, fitted))
    model = nn.StypeWiseFeatureEncoder(
        out_channels=8,
        col_stats=col_stats,
        col_names_dict=frame.col_names_dict,
        stype_encoder_dict={
            tf.numerical: nn.LinearEncoder(na_strategy=tf.NAStrategy.MEAN),
            tf.categorical: nn.EmbeddingEncoder(na_strategy=tf.NAStrategy.MOST_FREQUENT),
            tf.multicategorical: nn.MultiCategoricalEmbeddingEncoder(),
            tf.timestamp: nn.TimestampEncoder(),
            tf.embedding: nn.LinearEmbeddingEncoder(),
        },
    )
    out, columns = model(frame)
    assert out.shape == (9, 11, 8)
    assert len(columns) == 11
    assert torch.isfinite(out).all()


def test_frame_and_what_it_refuses(con: duckdb.DuckDBPyConnection) -> None:
    pytest.importorskip("torch_frame", reason="pytorch-frame is not installed")
    unseen = Frame(categorical="size", multicategorical="list", unseen="missing")
    fitted = fit(con, Frame(categorical="size"), where="(i % 3 = 0)")
    with pytest.raises(DataError, match="Column 'size' holds 'small'"):
        fitted.encode(chunk(con, fitted))
    fitted = fit(con, unseen, where="(i % 3 = 0)")
    frame = fitted.encode(chunk(con, fitted))
    (codes,) = [v for k, v in frame.feat_dict.items() if str(k) == "categorical"]
    assert codes.flatten().tolist() == [0, -1, -1] * 3
    query = "SELECT [1, NULL]::FLOAT[2] AS v"
    null = fit(con, Frame(embedding="v"), query)
    with pytest.raises(NullValueError):
        null.encode(chunk(con, null, query))
    for wrong in (Frame(numerical="x"), Frame(embedding="i"), Frame(numerical="word"), Frame(timestamp="i")):
        with pytest.raises(SchemaError, match=r"olumn '(x|i|word)'"):
            fit(con, wrong)
    with pytest.raises(SchemaError, match="'i' is named twice"):
        Frame(numerical="i", categorical="i")
    with pytest.raises(SchemaError, match="Frame needs columns"):
        Frame()


def test_frame_without_pytorch_frame_says_what_to_install(
    con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str, package: str | None = None) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DbgnnError, match="pip install pytorch-frame"):
        fit(con, Frame(numerical="i"))


def test_another_dtype_than_fitted_is_an_error(con: duckdb.DuckDBPyConnection) -> None:
    fitted = fit(con, Apply(lambda a: a.to_numpy(zero_copy_only=False), "gap", null="pass"))  # NULL: floats in place of ints
    assert fitted.encode([pa.array([1, 2])]).tolist() == [1, 2]
    with pytest.raises(DataError, match=r"made rows of float64 \[\], and of int64 \[\] when it was fitted"):
        fitted.encode([pa.array([1, None])])


@pytest.mark.parametrize(
    ("make", "made"),
    [
        (lambda a: torch.ones(len(a)).to(torch.complex64), r"torch\.complex64"),
        (lambda a: torch.ones(len(a)).to_sparse(), "a sparse tensor"),
    ],
)
def test_tensors_that_have_no_arrays_are_errors(con: duckdb.DuckDBPyConnection, make: Any, made: str) -> None:
    with pytest.raises(SchemaError, match=f"Apply: f made {made}"):
        fit(con, Apply(make, "i", called="f"))


def test_arrays_of_the_other_byte_order(con: duckdb.DuckDBPyConnection) -> None:
    assert encode(con, fit(con, Apply(lambda a: a.to_numpy().astype(">f4"), "i"))).tolist() == list(range(9))


def test_text_that_becomes_infinite_is_an_error(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(DataError, match=r"Text: f made 1e\+300, which float32 cannot hold"):
        fit(con, Text(lambda t: np.full((len(t), 2), 1e300), "word", called="f"))
    fitted = fit(con, Text(lambda t: np.full((len(t), 2), np.inf), "word"))
    assert encode(con, fitted).isinf().all()


def test_frame_of_a_query_without_rows(con: duckdb.DuckDBPyConnection) -> None:
    pytest.importorskip("torch_frame", reason="pytorch-frame is not installed")
    frame = Frame(["i"], ["size"], ["tags"], ["ts"], ["x"])
    fitted = fit(con, frame, "FROM t WHERE false")
    assert len(fitted.encode(chunk(con, fitted, "FROM t WHERE false"))) == 0
    json.dumps(fitted.state, allow_nan=False)
    for empty in (Frame(["i"]), Frame(timestamp=["ts"]), Frame(categorical=["size"])):
        with pytest.raises(DataError, match=r"no row meets \(i > 99\)"):
            fit(con, empty, where="(i > 99)")


def test_frame_counts_categories_byte_by_byte(con: duckdb.DuckDBPyConnection) -> None:
    pytest.importorskip("torch_frame", reason="pytorch-frame is not installed")
    query = "SELECT unnest(['a', 'A', 'a']) COLLATE NOCASE AS v"
    state = fit(con, Frame(categorical=["v"]), query).state["categorical"]["v"]
    assert (state["categories"], state["counts"]) == (["a", "A"], [2, 1])
