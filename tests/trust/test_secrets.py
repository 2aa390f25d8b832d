"""One secret, given in every way in: no error, repr, log or pickle that comes of it says the secret."""

from __future__ import annotations

import copy
import logging
import pickle
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import dbgnn
from dbgnn import Database
from dbgnn.masking import masked, secrets_of

CANARY = "Tr0ub4dor+3canary"
#: Parts of it are a secret as well: DuckDB cuts the statement in an error to the width of a line.
PARTS = (CANARY[:8], CANARY[4:12], CANARY[-8:])

#: Statements that fail, and hold the secret.
STATEMENTS = [
    "ATTACH '{folder}/none/x.duckdb' AS a (ENCRYPTION_KEY '{c}')",
    "ATTACH '{folder}/none/x.duckdb' AS a (ENCRYPTION_KEY '{c}', NOTHING 1)",
    'ATTACH \'{folder}/none/x.duckdb\' AS a (ENCRYPTION_KEY "{c}")',
    "ATTACH '{folder}/none/x.duckdb' AS a (ENCRYPTION_KEY $${c}$$)",
    "ATTACH '{folder}/none/x.duckdb' AS a (encryption_key = '{c}')",
    "ATTACH '{folder}/none/x.duckdb' AS a (ENCRYPTION_KEY '{c}') nonsense",
    "nonsense ATTACH 'x' (ENCRYPTION_KEY '{c}')",
    "SELECT 1; ATTACH '{folder}/none/x.duckdb' AS a (ENCRYPTION_KEY '{c}')",
    "ATTACH 'dbname=x host=y password={c}' AS p (TYPE nothing)",
    "ATTACH 'nothing://user:{c}@host/x' AS p",
    "CREATE SECRET s (TYPE nothing, KEY_ID 'AKIA', SECRET '{c}')",
    "CREATE SECRET s (TYPE s3, NOTHING '{c}')",
    "CREATE OR REPLACE PERSISTENT SECRET s (TYPE http, EXTRA_HTTP_HEADERS MAP {{'Authorization': 'Bearer {c}'}}, NOTHING 1)",
    "CREATE SECRET s (TYPE http, BEARER_TOKEN '{c}'",
    "CREATE /* of s3 */ SECRET s (TYPE s3, NOTHING '{c}')",
    "CREATE\n-- of s3\nSECRET s (TYPE s3, NOTHING '{c}')",
    "ATTACH 'AccountName=a;AccountKey={c};EndpointSuffix=x' AS a (TYPE nothing)",
    "SELECT nothing || 'Authorization: Bearer {c}'",
    "SELECT password('{c}')",
    "SELECT nothing WHERE api_key <> '{c}'",
    "SET s3_secret_access_key = '{c}'",
    "SET s3_secret_access_key TO '{c}'",
    "SET motherduck_token='{c}'",
    "SET threads = 'secret={c}'",
    "PRAGMA add_parquet_key('key', '{c}')",
    "SELECT * FROM read_parquet('{folder}/none.parquet', encryption_config = {{footer_key_value: '{c}'}})",
    "COPY (SELECT 1) TO '{folder}/none/x.parquet' (ENCRYPTION_CONFIG {{footer_key_value: '{c}'}})",
    "COPY (SELECT 1) TO 'nothing://user:{c}@host/x.parquet'",
    "COPY nothing FROM 'nothing://user:{c}@host/x.csv'",
    "COPY nothing FROM 'nothing://user:{c}@host/x.npy'",
    "FROM read_csv('nothing://host/x.csv?token={c}&a=1')",
    "FROM read_csv('nothing://host/x.csv?X-Amz-Signature={c}')",
    "FROM 'nothing://u:{c}@host/x.csv'",
    "CREATE PROPERTY GRAPH g VERTEX TABLES (nothing KEY (password '{c}'))",
    "MATCH (n) WHERE n.password = '{c}' RETURN n",
    # what the line of the error would cut
    "SELECT nothing, '" + "x" * 60 + "' AS a FROM (SELECT 1) WHERE password = '{c}'",
    "ATTACH '" + "x" * 70 + "/none' AS a (ENCRYPTION_KEY '{c}', READ_ONLY nonsense",
]  # fmt: skip


def everything_said(error: BaseException) -> str:
    """Return all that may be shown of an error: texts, reprs, arguments, the traceback with its causes, and a pickle."""
    parts = [str(error), repr(error), repr(error.args), "".join(traceback.format_exception(error))]
    cause: BaseException | None = error
    while cause is not None:
        parts += [str(cause), repr(cause.args)]
        cause = cause.__cause__ or cause.__context__
    # The lines of this file that a traceback quotes hold no secret: it is put into the texts while they run.
    return "\n".join([*parts, pickle.dumps(error.args).decode("latin-1")])


def assert_hidden(said: str) -> None:
    assert not [part for part in (CANARY, *PARTS) if part in said], said


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path = tmp_path_factory.mktemp("secrets") / "graph.duckdb"
    with dbgnn.connect(path) as db:
        db.execute("SET autoinstall_known_extensions = false; SET secret_directory = '/nonexistent'")
        db.execute("CREATE TABLE paper (id BIGINT PRIMARY KEY, x FLOAT, token VARCHAR); INSERT INTO paper VALUES (0, 1, 'a')")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper)")
        yield db


WAYS: dict[str, Callable[[Database, str], object]] = {
    "execute": lambda db, text: db.execute(text),
    "sql": lambda db, text: db.sql(text),
    "nodes": lambda db, text: dbgnn.query_to_heterodata(db, nodes={"p": text}, edges={}),
    "plain": lambda db, text: dbgnn.query_to_heterodata(db.connection, nodes={"p": text}, edges={}),
    "filter": lambda db, text: db.get_torch_geometric_remote_backend()[0].node_ids("paper", text),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", STATEMENTS)
def test_no_error_says_a_secret(db: Database, tmp_path: Path, way: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    statement = text.format(folder=tmp_path, c=CANARY)
    with caplog.at_level(logging.DEBUG), pytest.raises(Exception) as caught:  # noqa: PT011 - DuckDB's own, too
        WAYS[way](db, statement)
    assert_hidden(everything_said(caught.value))
    assert_hidden(caplog.text)
    assert_hidden(repr(db) + str(db) + repr(db.settings))


def test_a_bound_secret_is_in_no_error(db: Database) -> None:
    with pytest.raises(duckdb.Error) as caught:
        db.execute("SELECT $password::INTEGER", {"password": CANARY})
    assert_hidden(everything_said(caught.value))
    with pytest.raises(duckdb.Error, match="'no number'"):  # other values are named: that is what an error is for
        db.execute("SELECT $x::INTEGER", {"x": "no number"})


@pytest.mark.parametrize("name", ["threads", "http_proxy_password", "nothing_secret", "temp_directory_nothing"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_settings_are_masked_and_named(tmp_path: Path, *, name: str, wrapped: bool) -> None:
    config = {name: CANARY, "threads": "none"} if name == "http_proxy_password" else {name: CANARY}
    with duckdb.connect() as con, pytest.raises(dbgnn.DbgnnError) as caught:
        dbgnn.connect(con if wrapped else tmp_path / "x.duckdb", config=config)
    assert_hidden(everything_said(caught.value))
    assert "threads" in str(caught.value) or name in str(caught.value)


def test_a_database_says_the_names_of_settings_alone_and_is_not_pickled(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    dbgnn.connect(path).close()
    with dbgnn.connect(path, read_only=True, config={"http_proxy_password": CANARY, "preserve_insertion_order": "true"}) as db:
        assert_hidden(repr(db) + str(db) + repr(db.settings) + repr(vars(db)))
        assert "'http_proxy_password': '***'" in repr(db.settings)
        for send in (pickle.dumps, copy.deepcopy):
            with pytest.raises(dbgnn.errors.ConnectionError, match="config= has 'http_proxy_password'") as caught:
                send(db)
            assert_hidden(everything_said(caught.value))
    with (
        dbgnn.connect(path, read_only=True, config={"http_proxy": f"http://user:{CANARY}@host"}) as db,
        pytest.raises(dbgnn.errors.ConnectionError, match="config= has 'http_proxy'"),
    ):
        pickle.dumps(db)
    with dbgnn.connect(path, read_only=True, config={"preserve_insertion_order": "true"}) as db:
        pickle.loads(pickle.dumps(db)).close()


def test_a_path_with_a_password_is_shown_without(tmp_path: Path) -> None:
    with pytest.raises(dbgnn.errors.ConnectionError) as caught:
        dbgnn.connect(f"nothing://user:{CANARY}@host/x.duckdb", read_only=True)
    assert_hidden(everything_said(caught.value))


@pytest.mark.parametrize("text", STATEMENTS)
def test_what_is_secret_is_found_and_masked_alone(text: str) -> None:
    statement = text.format(folder="/folder", c=CANARY)
    assert_hidden(masked(statement))
    assert any(CANARY in secret for secret in secrets_of(statement))
    assert masked(text.format(folder="/folder", c="***")).count("***") >= 1


PLAIN = [
    "The key 'P1' of 'paper' occurs twice.",
    "There is no column 'token' (there are: id, token, year).",
    "('token', 'lemma') are columns of 'words'.",
    "DROP SECRET s",
    "con.execute(\"ATTACH 'g.duckdb' AS g (ENCRYPTION_KEY '…')\")",
    "s3://bucket/file.parquet and https://host/path?page=2 and user@host",
    "KEY (id) REFERENCES paper (id)",
    "a basic token and the bearer of it",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text
    assert secrets_of(text) <= {"…"}


def test_the_patterns_are_quick() -> None:
    """Text of a size that a query may have, made of what the patterns begin with."""
    for piece in (
        "secret ",
        "a://",
        "'",
        "token='",
        "?key",
        "secret" * 3,
        "x" * 10,
        "CREATE ",
        "$",
        "token $a$",
        " ",
        "token(",
        "key",
        "a",
    ):
        for begin in ("secret", "?"):
            start = time.perf_counter()
            secrets_of(begin + piece * (200_000 // len(piece)))
            assert time.perf_counter() - start < 5, (begin, piece)


def test_what_is_in_a_pickle_of_a_loader_is_no_secret(db: Database) -> None:
    def said(value: Any) -> str:
        return pickle.dumps(value).decode("latin-1")

    fs, _ = db.get_torch_geometric_remote_backend()
    with pytest.raises(Exception):  # noqa: B017, PT011 - DuckDB's own
        db.execute(f"ATTACH '/none/x' AS a (ENCRYPTION_KEY '{CANARY}')")
    assert_hidden(said(fs))
