"""`Encoders`: fitting type by type, the JSON document in another process, missing functions, what is shown."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch

from dbgnn import DataError, SchemaError, UnknownNameError
from dbgnn.encoders import (
    Apply,
    Datetime,
    Encoders,
    Frame,
    Hash,
    Identity,
    MultiHot,
    Normalize,
    OneHot,
    Ordinal,
    Stack,
    Text,
)
from tests.encoders.encoding import LABEL, chunk, fit, fit_all

ROOT = Path(__file__).resolve().parents[2]
RATED = ("user", "rated", "movie")


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute(
            """CREATE TABLE t AS SELECT i, 1990 + i AS year, i / 7 AS budget, 'ü' || (i % 3) AS lang, 'a|b' AS genres,
               DATE '2020-01-01' + i::INT AS day, CASE WHEN i = 3 THEN NULL ELSE i / 3 END AS gap, [i, 0.1]::FLOAT[2] AS x,
               'title' AS title, (i % 4)::DOUBLE / 3 AS f FROM range(10) AS r(i)"""
        )
        yield con


def lengths(texts: list[str]) -> torch.Tensor:
    return torch.tensor([[float(len(t))] for t in texts])


def ones(array: pa.Array) -> torch.Tensor:
    return torch.ones(len(array), 2)


def declared() -> Encoders:
    return Encoders(
        {
            LABEL: {
                "genres": MultiHot(sep="|"),
                "x": Stack(
                    "year", Normalize("budget"), OneHot("lang", unseen="other"), Text(lengths, "title"), dtype="float64"
                ),
                "gap": Normalize(how="robust", null="fill", fill=math.nan),
                "wide": Normalize("x", null="mask"),
                "day": Datetime(parts=("epoch", "month"), null="fill", fill="2020-01-01"),
                "lang": Ordinal(categories=("ü2", "ü1", "ü0")),
                "f": OneHot(),
                "hash": Hash("lang", buckets=8, output="onehot", signed=True),
                "i": Identity(),
                "title": Text(lengths, batch_size=3),
                "ones": Apply(ones, "i", called="two ones"),
            },
            RATED: {"rating": Normalize()},
        }
    )


def test_the_document_is_the_same_after_a_round_trip_and_encodes_the_same(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    encoders = declared()
    fit_all(con, encoders, where="(i < 7)")
    encoders.save(tmp_path / "encoders.json")
    again = Encoders.load(tmp_path / "encoders.json", callables={"lengths": lengths, "two ones": ones})
    assert again.to_json() == encoders.to_json() == (tmp_path / "encoders.json").read_text(encoding="utf-8")
    assert repr(again) == repr(encoders)
    assert (again.is_fitted(LABEL), again.is_fitted(RATED)) == (True, False)
    for name, fitted in encoders.fitted(LABEL).items():
        other = again.fitted(LABEL)[name]
        assert (other.columns, other.num_rows, other.where) == (fitted.columns, 7, "(i < 7)")
        assert other.state == fitted.state
        arrays = chunk(con, fitted)
        assert torch.equal(torch.nan_to_num(fitted.encode(arrays), 5), torch.nan_to_num(other.encode(arrays), 5))


def test_the_document_is_json_that_people_can_read(con: duckdb.DuckDBPyConnection) -> None:
    encoders = declared()
    fit_all(con, encoders)

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    document = json.loads(encoders.to_json(), parse_constant=refuse)
    assert (document["format"], document["version"]) == ("dbgnn encoders", 1)
    by_name = {
        (tuple(e["label"]) if isinstance(e["label"], list) else e["label"], e["attribute"]): e for e in document["encoders"]
    }
    assert by_name[LABEL, "genres"] == {
        "label": LABEL,
        "attribute": "genres",
        "encoder": {"encoder": "MultiHot", "column": "genres"},
        "fitted": {"rows": 10, "where": None, "state": {"kind": "text", "categories": ["a", "b"]}},
    }
    assert by_name[LABEL, "f"]["fitted"]["state"]["categories"] == [0.0, 1 / 3, 2 / 3, 1.0]
    assert "fitted" not in by_name[RATED, "rating"]
    assert "ü0" in encoders.to_json()


def test_the_document_works_in_another_process(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    encoders = Encoders({LABEL: {"lang": OneHot(), "budget": Normalize(), "hash": Hash("lang")}})
    fit_all(con, encoders)
    encoders.save(tmp_path / "e.json")
    code = """if True:
        import sys, json, pyarrow as pa
        from dbgnn.encoders import Encoders
        fitted = Encoders.load(sys.argv[1]).fitted("movie")
        text, number = pa.array(["ü1", "ü0"]), pa.array([0.1, 1.0])
        print(json.dumps([fitted[n].encode([a]).tolist() for n, a in (("lang", text), ("budget", number), ("hash", text))]))
    """
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "e.json")], capture_output=True, text=True, cwd=ROOT, check=True
    )
    fitted = encoders.fitted(LABEL)
    text, number = pa.array(["ü1", "ü0"]), pa.array([0.1, 1.0])
    here = [fitted[n].encode([a]).tolist() for n, a in (("lang", text), ("budget", number), ("hash", text))]
    assert json.loads(done.stdout) == here


def test_fitted_encoders_pickle(con: duckdb.DuckDBPyConnection) -> None:
    encoders = Encoders({LABEL: {"lang": OneHot(), "x": Stack("year", Normalize("budget"))}})
    fit_all(con, encoders)
    again = pickle.loads(pickle.dumps(encoders))
    fitted = again.fitted(LABEL)["lang"]
    assert fitted == encoders.fitted(LABEL)["lang"]
    assert fitted.encode([pa.array(["ü2"])]).tolist() == [[0, 0, 1]]


def test_missing_functions_are_named(con: duckdb.DuckDBPyConnection) -> None:
    encoders = declared()
    fit_all(con, encoders)
    text = encoders.to_json()
    with pytest.raises(UnknownNameError, match=r"call 'lengths', 'two ones', .* callables=\{'lengths': …, 'two ones': …\}"):
        Encoders.from_json(text)
    with pytest.raises(UnknownNameError, match=r"call 'two ones', .*did you mean 'two one'\?"):
        Encoders.from_json(text, callables={"lengths": lengths, "two one": ones})


def test_two_functions_of_one_name_cannot_be_told_apart() -> None:
    both = Encoders({"a": {"x": Apply(lambda a: a, called="f"), "y": Apply(lambda a: [a], called="f")}})
    with pytest.raises(SchemaError, match="Two functions of the encoders are called 'f'; tell them apart with called='…'"):
        both.to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no document of Encoders.to_json"),
        ("[]", "no document of Encoders.to_json"),
        ('{"format": "other", "version": 1}', "no document|reads documents of encoders of version 1"),
        ('{"format": "dbgnn encoders", "version": 2, "encoders": []}', "of version 1; this one says .*version.* 2"),
        ('{"format": "dbgnn encoders", "version": 1, "encoders": [{"label": "a"}]}', "no document of"),
        (
            (
                '{"format": "dbgnn encoders", "version": 1, "encoders": '
                '[{"label": "a", "attribute": "x", "encoder": {"encoder": "OneHat"}}]}'
            ),
            r"'OneHat'; did you mean 'OneHot'\?",
        ),
        (
            (
                '{"format": "dbgnn encoders", "version": 1, "encoders": '
                '[{"label": "a", "attribute": "x", "encoder": {"encoder": "OneHot", "no": 1}}]}'
            ),
            "gives OneHot the option 'no', which it does not have",
        ),
    ],
)
def test_other_documents_are_errors(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Encoders.from_json(text)


def test_print_shows_what_was_fitted(con: duckdb.DuckDBPyConnection) -> None:
    encoders = Encoders(
        {LABEL: {"lang": OneHot(), "x": Stack("year", Normalize("i", how="minmax"))}, RATED: {"rating": Normalize()}}
    )
    assert "'movie' lang: OneHot('lang'), not fitted" in repr(encoders)
    fit_all(con, encoders, where="(i < 7\n)")
    assert repr(encoders).splitlines() == [
        "dbgnn.Encoders(",
        "  'movie' lang: OneHot('lang'), fitted on 7 rows where (i < 7 ), 3 categories",
        "  'movie' x: Stack(Identity('year'), Normalize('i', how='minmax')), fitted on 7 rows where (i < 7 ), shift 0, scale 6",
        "  ('user', 'rated', 'movie') rating: Normalize('rating'), not fitted",
        ")",
    ]


def test_what_is_fitted_stays_so(con: duckdb.DuckDBPyConnection) -> None:
    encoders = Encoders({LABEL: {"i": Normalize(how="minmax")}})
    fit_all(con, encoders, where="(i < 5)")
    fit_all(con, encoders)
    assert encoders.fitted(LABEL)["i"].num_rows == 5


def test_an_error_leaves_the_type_unfitted(con: duckdb.DuckDBPyConnection) -> None:
    encoders = Encoders({LABEL: {"i": Normalize(), "lang": Normalize()}})
    with pytest.raises(SchemaError, match="Column 'lang'"):
        fit_all(con, encoders)
    assert not encoders.is_fitted(LABEL)
    with pytest.raises(DataError, match="The encoders of 'movie' are not fitted yet"):
        encoders.fitted(LABEL)


def test_unknown_labels_are_errors_with_near_misses(con: duckdb.DuckDBPyConnection) -> None:
    encoders = declared()
    assert LABEL in encoders
    assert list(encoders) == [LABEL, RATED]
    for call in (encoders.fitted, encoders.is_fitted):
        with pytest.raises(UnknownNameError, match=r"no encoders for 'movies'; did you mean 'movie'\?"):
            call("movies")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({3: {}}, "3 is neither a node type nor an edge type"),
        ({("a", "b"): {}}, "is neither a node type nor an edge type"),
        ({"a": OneHot()}, "must be encoders by attribute"),
        ({"a": {"x": "year"}}, "must be an encoder or a function, not 'year'"),
        ({"a": {"x": OneHot}}, r"is the class OneHot; write OneHot\(\)"),
    ],
)
def test_wrong_mappings_are_errors(con: duckdb.DuckDBPyConnection, mapping: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        fit_all(con, Encoders(mapping))


def test_fitting_reads_nothing_but_select_and_names_are_quoted(con: duckdb.DuckDBPyConnection) -> None:
    asked: list[str] = []
    encoders = declared()
    types = {row[0]: row[1] for row in con.execute("DESCRIBE t").fetchall()}

    def run(sql: str) -> pa.Table:
        asked.append(sql)
        return con.sql(sql).to_arrow_table()

    encoders.fit(run, LABEL, "FROM t -- comment", types, "(year > 0)")
    assert all(sql.startswith("SELECT ") and "(year > 0)" in sql for sql in asked)
    # one count, and a scan or two for those that learn something: none reads row by row
    assert len(asked) < 40


def test_a_frame_keeps_its_statistics(con: duckdb.DuckDBPyConnection) -> None:
    pytest.importorskip("torch_frame", reason="pytorch-frame is not installed")
    frame = Frame(numerical=["year"], categorical=["lang"], text=[Text(lengths, "title")], timestamp=["day"])
    encoders = Encoders({LABEL: {"tf": frame}})
    fit_all(con, encoders)
    again = Encoders.from_json(encoders.to_json(), {"lengths": lengths}).fitted(LABEL)["tf"]
    fitted = encoders.fitted(LABEL)["tf"]
    assert again.encode(chunk(con, fitted)) == fitted.encode(chunk(con, fitted))
    assert str(again.encoder.col_stats(again.state)) == str(frame.col_stats(fitted.state))  # type: ignore[attr-defined] # a Frame


def test_state_is_not_shared_between_fits(con: duckdb.DuckDBPyConnection) -> None:
    encoder = OneHot("lang")
    assert len(fit(con, encoder, where="(i < 2)").state["categories"]) == 2
    assert len(fit(con, encoder).state["categories"]) == 3


@pytest.mark.parametrize(
    ("column", "encoder"),
    [
        ("gap", Stack("gap", null="fill", fill=math.nan)),
        ("day", Stack(Datetime("day"), "t", dtype="float64", null="fill", fill=dt.datetime.fromisoformat("2020-01-01"))),
        ("gap", Normalize(null="fill", fill=np.float32(1))),
        ("gap", Identity(null="fill", fill=decimal.Decimal("0.5"))),
        ("t", Identity(null="fill", fill=np.datetime64("2020-01-01T00:00:01"))),
        ("tz", Identity(null="fill", fill=dt.datetime(2020, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=1))))),
        ("gap", Apply(ones, null="fill", fill=np.int64(3))),
    ],
)
def test_any_value_may_fill(con: duckdb.DuckDBPyConnection, column: str, encoder: Any) -> None:
    query = "SELECT day, t, tz, gap FROM t, (SELECT NULL::TIMESTAMP AS t, NULL::TIMESTAMPTZ AS tz)"
    declared = Encoders({LABEL: {column: encoder}})
    fit_all(con, declared, query)
    again = Encoders.from_json(declared.to_json(), {"ones": ones})
    assert again.to_json() == declared.to_json()
    before, after = declared.fitted(LABEL)[column], again.fitted(LABEL)[column]
    made = before.encode(chunk(con, before, query))
    assert torch.nan_to_num(made).equal(torch.nan_to_num(after.encode(chunk(con, after, query))))
    if column == "tz":
        assert made.tolist() == [int(dt.datetime(2020, 1, 1, 1, tzinfo=dt.UTC).timestamp()) * 10**6] * 10


def test_what_json_does_not_hold_fills_nothing() -> None:
    with pytest.raises(SchemaError, match="Identity: fill=b'x' is no number, truth value, text, date or time"):
        Identity(null="fill", fill=b"x")


def test_what_was_fitted_on_no_rows_is_fitted_again(con: duckdb.DuckDBPyConnection) -> None:
    encoders = Encoders({LABEL: {"budget": Normalize(), "lang": OneHot()}})
    fit_all(con, encoders, "FROM t WHERE false")
    assert encoders.fitted(LABEL)["lang"].encode([pa.array([], pa.string())]).shape == (0, 0)
    assert not encoders.is_fitted(LABEL)
    assert not Encoders.from_json(encoders.to_json()).is_fitted(LABEL)
    fit_all(con, encoders)
    assert encoders.is_fitted(LABEL)
    assert encoders.fitted(LABEL)["lang"].state["categories"] == ["ü0", "ü1", "ü2"]
