"""Documents of encoders of somebody else's making: an error of ours that says where, or encoders that encode."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import torch

import dbgnn
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
from tests.encoders.encoding import LABEL, chunk, fit_all
from tests.trust import irregular
from tests.trust.mutations import CASES, bounded_memory, change_json, nested


def lengths(texts: list[str]) -> torch.Tensor:
    return torch.tensor([[float(len(t))] for t in texts])


def ones(*arrays: pa.Array) -> torch.Tensor:
    return torch.ones(len(arrays[0]), 2)


FUNCTIONS: dict[str, Any] = {"lengths": lengths, "ones": ones}


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute(
            """CREATE TABLE t AS SELECT i, 1990 + i AS year, i / 7 AS budget, 'ü' || (i % 3) AS lang, 'a|b' AS genres,
               DATE '2020-01-01' + i::INT AS day, CASE WHEN i = 3 THEN NULL ELSE i / 3 END AS gap, [i, 0.1]::FLOAT[2] AS x,
               'title' AS title FROM range(10) AS r(i)"""
        )
        yield con


@pytest.fixture(scope="module")
def document(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    encoders = Encoders(
        {
            LABEL: {
                "genres": MultiHot(sep="|"),
                "x": Stack("year", Normalize("budget"), OneHot("lang", unseen="other"), Text(lengths, "title")),
                "gap": Normalize(how="robust", null="fill", fill=0.5),
                "wide": Normalize("x", null="mask"),
                "day": Datetime(parts=("epoch", "month"), null="fill", fill="2020-01-01"),
                "lang": Ordinal(categories=("ü2", "ü1", "ü0")),
                "hash": Hash("lang", buckets=8, output="onehot", signed=True),
                "i": Identity(),
                "title": Text(lengths, batch_size=3),
                "ones": Apply(ones, "i"),
                "frame": Frame(
                    numerical=["year"], categorical=["lang"], multicategorical=["genres"], timestamp=["day"], embedding=["x"],
                    text=[Text(lengths, "title")],
                ),
            }
        }
    )  # fmt: skip
    pytest.importorskip("torch_frame", reason="pytorch-frame is not installed")
    fit_all(con, encoders)
    found: dict[str, Any] = json.loads(encoders.to_json())
    return found


def use(con: duckdb.DuckDBPyConnection, text: str) -> None:
    """Read a document, show it, write it, and encode with every encoder whose columns there are."""
    encoders = Encoders.from_json(text, FUNCTIONS)
    assert Encoders.from_json(encoders.to_json(), FUNCTIONS).to_json() == encoders.to_json()
    assert repr(encoders)
    columns = {row[0] for row in con.execute("DESCRIBE t").fetchall()}
    for label in encoders:
        if not encoders.is_fitted(label):
            continue
        for fitted in encoders.fitted(label).values():
            if set(fitted.columns) <= columns:
                fitted.encode(chunk(con, fitted))


def test_the_document_that_is_changed_below_is_read(con: duckdb.DuckDBPyConnection, document: dict[str, Any]) -> None:
    use(con, json.dumps(document))


def entry(encoder: dict[str, Any], state: Any = None, **more: Any) -> str:
    """A document of one encoder."""
    one: dict[str, Any] = {"label": "movie", "attribute": "x", "encoder": encoder, **more}
    if state is not None:
        one["fitted"] = {"rows": 3, "where": None, "state": state}
    return json.dumps({"format": "dbgnn encoders", "version": 1, "encoders": [one]})


ORDINAL = {"encoder": "Ordinal", "column": "lang"}
NORMALIZE = {"encoder": "Normalize", "column": "year"}

REFUSED: list[tuple[str, str]] = [
    ("[" * 100_000 + "]" * 100_000, "lists or objects in each other"),
    ('{"a":' * 100_000, "lists or objects in each other"),
    (entry({"encoder": "Stack", "parts": nested({"encoder": "Identity"}, 40)}), "lists or objects in each other"),
    (entry({"encoder": "os.system"}), r"names an encoder 'os\.system'"),
    (entry({"encoder": "Encoder"}), "names an encoder 'Encoder'"),
    (entry({"encoder": ["OneHot"]}), "where an encoder should be"),
    (entry({"encoder": "OneHot", "__class__": "x"}), "the option '__class__'"),
    (entry({"encoder": "OneHot", "called": "x"}), "the option 'called'"),
    (entry({"encoder": "OneHot", "column": 3}), "column=3"),
    (entry({"encoder": "OneHot", "max_categories": "1; DROP TABLE t"}), "max_categories='1; DROP TABLE t'"),
    (entry({"encoder": "OneHot", "categories": [["a"]]}), "categories="),
    (entry({"encoder": "Hash", "buckets": "8"}), "buckets='8'"),
    (entry({"encoder": "Hash", "column": "lang", "buckets": 10**12, "output": "onehot"}), "vectors of 1,000,000,000,000"),
    (entry({"encoder": "Hash", "column": "lang", "buckets": True}), "buckets=True"),
    (entry({"encoder": "Text", "column": "title"}), "names no function for Text"),
    (entry({"encoder": "Text", "column": "title", "function": "lengths", "batch_size": 0}), "batch_size=0"),
    (entry({"encoder": "Text", "column": "title", "function": "lengths"}, {"width": 10**12}), "found"),
    (entry({"encoder": "Frame", "text": ["title"]}), "text="),
    (entry({"encoder": "Frame", "text": [{"encoder": "OneHot"}]}), "text="),
    (entry({"encoder": "Stack", "parts": "year"}), "parts='year'"),
    (entry({"encoder": "Stack", "parts": []}), "needs columns"),
    (entry({"encoder": "Stack", "parts": ["year"]}, {"parts": []}), "found"),
    (entry({"encoder": "Datetime", "column": "day", "parts": ["epoch"]}, {"epoch": [1]}), "found"),
    (entry({"encoder": "Datetime", "column": "day", "parts": ["epoch"]}, {}), "found"),
    (entry({"encoder": "Apply", "columns": ["i"], "function": "ones"}, {"shape": [2**62, 2**62], "dtype": "float32"}), "found"),
    (entry({"encoder": "Apply", "columns": ["i"], "function": "ones"}, {"shape": [2], "dtype": "nn"}), "found"),
    (entry(NORMALIZE, {"shift": 0.5, "scale": 0}), "found"),
    (entry(NORMALIZE, {"shift": [0.5], "scale": [1, 2]}), "found"),
    (entry(NORMALIZE, {"shift": float("nan"), "scale": 1}), "found"),
    (entry(NORMALIZE, {"shift": 10**400, "scale": 1}), "found"),
    (entry(ORDINAL, {"kind": "bytes", "categories": []}), "found"),
    (entry(ORDINAL, {"kind": ["text"], "categories": []}), "found"),
    (entry(ORDINAL, {"kind": "text", "categories": [1]}), "is no value of a column of kind 'text'"),
    (entry(ORDINAL, {"kind": "text", "categories": ["a", "a"]}), "is there twice"),
    (entry(ORDINAL, {"kind": "integer", "categories": [10**30]}), "found"),
    (entry(ORDINAL, {"kind": "integer", "categories": [-1, 2**64 - 1]}), "found"),
    (entry(ORDINAL, {"kind": "text", "categories": ["a"], "more": 1}), "found"),
    (entry(ORDINAL, [1]), "found"),
    (entry(ORDINAL, more=1), "says .* of encoder 0"),
    (entry(ORDINAL, attribute=["x"]), "for the attribute of encoder 0"),
    (entry(ORDINAL, fitted={"rows": -1, "where": None, "state": {}}), "was fitted on -1 rows"),
    (entry(ORDINAL, fitted={"rows": 1, "where": 5, "state": {}}), "was fitted on 1 rows where 5"),
    (entry(ORDINAL, fitted={"rows": 1}), "of what was fitted"),
    (entry(ORDINAL, label=["a", "b"]), "neither a node type nor an edge type"),
    (entry(ORDINAL, label={"a": 1}), "neither a node type nor an edge type"),
    ('{"format": "dbgnn encoders", "version": true, "encoders": []}', "of version 1; this one"),
    ('{"format": "dbgnn encoders", "version": 1, "encoders": {}}', "for its encoders"),
    ('{"format": "dbgnn encoders", "version": 1, "encoders": [1' + "1" * 5000 + "]}", "no document of"),
    ("\ud800", "no document of"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=lambda value: ascii(value)[-50:])
def test_a_document_that_is_none_is_refused(con: duckdb.DuckDBPyConnection, text: str, message: str) -> None:
    with pytest.raises(dbgnn.DbgnnError, match=message) as error:
        use(con, text)
    assert len(str(error.value)) < 2_000


def test_an_encoder_that_is_there_twice_or_half_fitted_is_refused(document: dict[str, Any]) -> None:
    entries = document["encoders"]
    for changed, message in (
        ([*entries, entries[0]], "'movie' 'genres', that cannot be: it is there twice"),
        ([{k: v for k, v in entries[0].items() if k != "fitted"}, *entries[1:]], "and not of 'genres'"),
    ):
        with pytest.raises(dbgnn.DataError, match=message):
            Encoders.from_json(json.dumps(document | {"encoders": changed}), FUNCTIONS)


@pytest.mark.parametrize("what", [*irregular.KINDS, "text"])
def test_only_regular_files_are_loaded(tmp_path: Path, what: str) -> None:
    path = tmp_path / "encoders.json"
    if what == "text":
        path.write_bytes(b"\xff\xfe")
    else:
        irregular.make(path, what)
    with pytest.raises(dbgnn.DbgnnError, match=r"encoders\.json' cannot be (used|read)"):
        Encoders.load(path)


def test_a_condition_in_a_document_is_shown_and_not_run(con: duckdb.DuckDBPyConnection, document: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(document))
    for one in changed["encoders"]:
        one["fitted"]["where"] = "1 = 1); DROP TABLE t; --"
    use(con, json.dumps(changed))
    assert con.execute("SELECT count(*) FROM t").fetchall() == [(10,)]


def test_whatever_is_changed_is_an_error_of_ours_or_encodes(con: duckdb.DuckDBPyConnection, document: dict[str, Any]) -> None:
    outcomes = {"refused": 0, "used": 0}
    with bounded_memory():
        for case in range(CASES):
            rng = random.Random(case)
            changed = dict(document)
            for _ in range(rng.choice((1, 1, 2))):
                one = rng.randrange(len(changed["encoders"])) if isinstance(changed.get("encoders"), list) else 0
                if rng.random() < 0.9 and isinstance(changed.get("encoders"), list) and changed["encoders"]:
                    changed["encoders"] = list(changed["encoders"])
                    changed["encoders"][one] = change_json(rng, changed["encoders"][one])
                else:
                    changed = change_json(rng, changed)
                    changed = changed if isinstance(changed, dict) else {"encoders": changed}
            begun = time.monotonic()
            try:
                use(con, json.dumps(changed))
                outcomes["used"] += 1
            except dbgnn.DbgnnError:
                outcomes["refused"] += 1
            except Exception as error:
                raise AssertionError(f"change {case}") from error
            assert time.monotonic() - begun < 5, case
    assert con.execute("SELECT count(*) FROM t").fetchall() == [(10,)]
    assert min(outcomes.values()) > CASES // 50
