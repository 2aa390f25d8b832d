"""DuckDB's own COPY through `Database.execute`: progress, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import pytest

import dbgnn
from dbgnn.ingest import own


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_after_a_while_unless_it_is_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, progress: bool
) -> None:
    monkeypatch.setattr(own, "PROGRESS_DELAY", 0.05)
    monkeypatch.setattr(own, "_LOOK", 0.02)
    with dbgnn.connect(tmp_path / "a.duckdb", progress=progress) as db:
        file = tmp_path / "rows.csv"
        db.execute(f"COPY (SELECT range AS a, random() AS b FROM range(1000000)) TO '{file}'")
        capsys.readouterr()
        db.execute("CREATE TABLE t (a BIGINT, b DOUBLE)")
        assert db.execute(f"COPY t FROM '{file}'").fetchall() == [(1_000_000,)]
        assert ("COPY t" in capsys.readouterr().err) == progress


def test_a_bad_row_within_a_transaction_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n1,2\n3,oops\n")
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        db.execute("CREATE TABLE t (a BIGINT, b BIGINT)")
        db.execute("BEGIN")
        with pytest.raises(dbgnn.CopyError, match=r"rows\.csv.*(?i:line: 3|line 3)"):
            db.execute(f"COPY t FROM '{file}' (HEADER)")
        db.execute("ROLLBACK")
        assert db.sql("SELECT count(*) FROM t").fetchall() == [(0,)]
