"""npy files of somebody else's making: an error of ours, or the rows that NumPy reads; never code, memory or a wait."""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dbgnn
from tests.trust import irregular
from tests.trust.mutations import CASES, bounded_memory, change_bytes

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def db() -> Iterator[dbgnn.Database]:
    with dbgnn.connect(progress=False) as db:
        yield db


def npy(header: str, data: bytes = b"", version: int = 1, length: int | None = None) -> bytes:
    """An npy file with any text for a header, and any length for its length."""
    text = header.encode("latin1") + b"\n"
    return b"".join(
        [
            b"\x93NUMPY",
            bytes([version, 0]),
            (len(text) if length is None else length).to_bytes(2 * version, "little"),
            text,
            data,
        ]
    )


def header(descr: str, shape: str, order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def load(db: dbgnn.Database, path: Path, sql_type: str) -> list[Any]:
    """COPY a file into a fresh table; return its values, or raise an error of ours and leave no row."""
    db.execute(f"CREATE OR REPLACE TABLE t (a {sql_type})")
    try:
        db.execute(f"COPY t FROM '{path}'")
    except dbgnn.DbgnnError:
        assert db.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
        raise
    value = "epoch_us(a)" if sql_type == "TIMESTAMP" else "a"  # Python's own calendar ends
    return [row[0] for row in db.execute(f"SELECT {value} FROM t ORDER BY rowid ASC").fetchall()]


REFUSED: list[tuple[bytes, str]] = [
    (npy(header("'|O'", "(1,)"), bytes(8)), "never unpickled"),
    (npy(header("'O8'", "(1,)"), bytes(8)), "never unpickled"),
    (npy(header("[('a', '<i8')]", "(1,)"), bytes(8)), "holds records"),
    (npy(header("[('a', [('b', [('c', '|O')])])]", "(1,)"), bytes(8)), "holds records"),
    (npy(header("'<i8,<i8'", "(1,)"), bytes(16)), "damaged npy header"),
    (npy(header("'(1000000,)<i8'", "(1,)"), bytes(16)), "damaged npy header"),
    (npy(header("'|V8'", "(1,)"), bytes(8)), "holds records"),
    (npy(header("'|S0'", "(4611686018427387904,)")), "take no bytes"),
    (npy(header("'<i8'", "(-1,)"), bytes(8)), "damaged npy header"),
    (npy(header("'<i8'", "(-1, -1)"), bytes(8)), "damaged npy header"),
    (npy(header("'<i8'", "(4611686018427387904, 4)"), bytes(8)), "cut short"),
    (npy(header("'<i8'", "(0, 4611686018427387904, 4611686018427387904)"), b""), "."),
    (npy(header("'<i8'", "(" + "1, " * 70 + ")"), bytes(8)), "."),
    (npy(header("'<i8'", "(1.0,)"), bytes(8)), "damaged npy header"),
    (npy(header("'<i8'", "(True,)"), bytes(8)), "damaged npy header"),
    (npy(header("'<i8'", "(9" + "9" * 39 + ",)"), bytes(8)), "cut short"),
    (npy(header("'<i8'", "(9" + "9" * 5000 + ",)"), bytes(8)), "damaged npy header"),
    (npy(header("'<i8'", "(1,)", order="__import__('os').abort()"), bytes(8)), "damaged npy header"),
    (npy(header("'<i8'", "(1,)", order="2"), bytes(8)), "damaged npy header"),
    (npy(header("'<i8'", "([].append(1),)"), bytes(8)), "damaged npy header"),
    (npy(header("'<i8'", "(1*10**10**10,)"), bytes(8)), "damaged npy header"),
    (npy("(" * 3000 + ")" * 3000, bytes(8)), "damaged npy header"),
    (npy("[" * 3000 + "]" * 3000, bytes(8)), "damaged npy header"),
    (npy("-" * 9000 + "1", bytes(8)), "damaged npy header"),
    (npy("{" * 20 + "}" * 20, bytes(8)), "damaged npy header"),
    (npy("{'descr': '<i8'}", bytes(8)), "damaged npy header"),
    (npy(header("'<i8'", "(1,)") + " " * 20_000, bytes(8)), "10,000 are the most"),
    (npy(header("'<i8'", "(1,)"), bytes(8), version=2, length=2**32 - 1), "10,000 are the most"),
    (npy(header("'<i8'", "(1,)"), bytes(8), version=2, length=9_000), "cut short"),
    (npy(header("'<i8'", "(1,)"), bytes(16)), "goes on behind its rows"),
    (npy(header("'<i8'", "(1,)"), bytes(8))[:6] + b"\x09" + npy("", b"")[7:], "format version"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=lambda value: repr(value)[-60:])
def test_what_is_no_array_of_rows_is_refused(db: dbgnn.Database, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(dbgnn.CopyError, match=message):
        load(db, tmp_path / "a.npy", "BIGINT")


@pytest.mark.parametrize(
    "text",
    [
        "{'shape': (2,), 'fortran_order': False, 'descr': '<i8'}",  # the keys in another order
        "{'descr': '<i8', 'fortran_order': False, 'shape': (2L,), }",  # Python 2
        '{"descr": "int64",\n"fortran_order": True,\t"shape": (2,)}',
        "  {'descr': '<i8', 'fortran_order': False, 'shape': (2,), }  ",
    ],
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_of_other_programs_are_read(db: dbgnn.Database, tmp_path: Path, text: str, version: int) -> None:
    data = npy(text, np.array([3, 4]).tobytes(), version=min(version, 2))
    (tmp_path / "a.npy").write_bytes(data[:6] + bytes([version]) + data[7:])
    assert load(db, tmp_path / "a.npy", "BIGINT") == [3, 4]


@pytest.mark.parametrize("what", irregular.KINDS)
def test_only_regular_files_are_read(db: dbgnn.Database, tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.npy"
    irregular.make(path, what)
    with pytest.raises(dbgnn.CopyError, match=r"cannot be read: it is .*not a regular file"):
        load(db, path, "BIGINT")


def test_a_link_to_a_file_is_read(db: dbgnn.Database, tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.array([5]))
    (tmp_path / "a.npy").symlink_to(tmp_path / "b.npy")
    assert load(db, tmp_path / "a.npy", "BIGINT") == [5]


def test_a_header_takes_no_more_memory_than_a_header_needs(db: dbgnn.Database, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy(header("'<i8'", "(1,)"), version=2, length=1 << 31))
    os.truncate(path, 3 << 30)  # without blocks on the disk
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(dbgnn.CopyError, match="10,000 are the most"):
        load(db, path, "BIGINT")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


#: Arrays, and the columns that they go into.
ARRAYS: list[tuple[Array, str]] = [
    (np.arange(40), "BIGINT"),
    (np.arange(60, dtype="<f4").reshape(20, 3), "FLOAT[3]"),
    (np.asfortranarray(np.arange(60, dtype=">f8").reshape(20, 3)), "DOUBLE[3]"),
    (np.arange(40) % 2 == 0, "BOOLEAN"),
    (np.array(["a", "bé", "😀", ""] * 9), "VARCHAR"),
    (np.array([b"a", b"\xff"] * 20), "BLOB"),
    (np.arange(40).astype("M8[us]"), "TIMESTAMP"),
    (np.arange(40, dtype=np.uint8), "UTINYINT"),
]


def test_whatever_is_changed_is_an_error_of_ours_or_what_numpy_reads(db: dbgnn.Database, tmp_path: Path) -> None:
    outcomes = {"refused": 0, "read": 0}
    path = tmp_path / "a.npy"
    originals = []
    for array, sql_type in ARRAYS:
        np.save(path, array)
        originals.append((path.read_bytes(), sql_type))
    with bounded_memory():
        for case in range(CASES):
            rng = random.Random(case)
            data, sql_type = rng.choice(originals)
            path.write_bytes(change_bytes(rng, data))
            begun = time.monotonic()
            try:
                found = load(db, path, sql_type)
                outcomes["read"] += 1
            except dbgnn.DbgnnError:
                outcomes["refused"] += 1
            except Exception as error:
                raise AssertionError(f"change {case}") from error
            else:
                assert same(found, np.load(path, allow_pickle=False)), case
            assert time.monotonic() - begun < 5, case
    assert min(outcomes.values()) > CASES // 50


def same(found: list[Any], array: Array) -> bool:
    """Whether DuckDB holds what NumPy reads, any byte but 0 for a truth value."""
    if array.dtype == bool:
        array = array.view(np.uint8) != 0
    wanted = array.tolist()
    if array.dtype.kind == "M":
        wanted = [None if np.isnat(t) else int(t.astype("M8[us]").astype(np.int64)) for t in array]
    return repr(found) == repr([tuple(row) if isinstance(row, list) else row for row in wanted])
