"""`OpenDatabase`: what every part of dbgnn knows of a database that is open.

Its cursors, what the user has under way on it, which of its definitions is meant, and what must hold before we read or write.
What a statement of the user's means, and the graphs that come of it, stand above, in `database.py`.
"""

from __future__ import annotations

import threading
from typing import Self

import duckdb

from dbgnn import schema
from dbgnn.configuration import DatabaseSettings
from dbgnn.cursors import Cursors
from dbgnn.errors import ConnectionError, SchemaError
from dbgnn.opening import opened_as
from dbgnn.result import end_what_is_read, is_being_read
from dbgnn.schema import PropertyGraph
from dbgnn.sql import quote
from dbgnn.translated import keyboard_interrupts, translated


class OpenDatabase(Cursors):
    """A DuckDB database that is open; the base of `Database`, which users have."""

    @classmethod
    def around(cls, connection: duckdb.DuckDBPyConnection, *, progress: bool = True, trusted: bool = False) -> Self:
        """Return the database that a connection uses, under the settings that the connection has.

        Raises:
            ConnectionError: The connection is closed, or is being read by somebody.
        """
        path, read_only = opened_as(connection)
        return cls(DatabaseSettings(path=path, read_only=read_only, progress=progress, trusted=trusted), connection=connection)

    # -- what is under way -----------------------------------------------------------------------------

    def need_catalog(self, con: duckdb.DuckDBPyConnection) -> None:
        """Raise :class:`SchemaError` if a connection uses another database now than the one that was opened."""
        self.judge(con)
        (used,) = con.execute("SELECT system.main.current_database()").fetchall()[0]
        if used != self._catalog:
            raise SchemaError(
                f"The connection now uses database {used!r}, but graphs of {self!s} live in {self._catalog!r}: "
                f"run USE {quote(self._catalog)} first, or take the one in use: dbgnn.connect(db.connection)."
            )

    @keyboard_interrupts()
    def in_transaction(self) -> bool:
        """Whether this thread has begun a transaction."""
        if threading.get_ident() != self._thread and getattr(self._cursors, "statements", None) is None:
            return False  # this thread has run no statement of the user's
        session, con = self._session, self.statements()
        if self._sees_all and session.begun is not None:
            return session.begun
        end_what_is_read(con, "To ask whether a transaction is open")
        try:
            session.begun = schema.in_transaction(con)
        except duckdb.TransactionException:  # it was aborted, and is open until ROLLBACK
            session.begun = True
        return session.begun

    @property
    def _sees_all(self) -> bool:
        """Whether every statement on the user's connection goes through :meth:`execute` and :meth:`sql`."""
        return self._owns and not self._is_lent

    def need_no_transaction(self, what: str) -> None:
        """Raise :class:`ConnectionError` if this thread has begun a transaction, of which ``what`` would be no part."""
        self._need_same_catalog()
        if self.in_transaction():
            raise ConnectionError(f"{what} is a transaction of its own, and one is open: COMMIT or ROLLBACK it first.")

    def need_committed(self, what: str) -> None:
        """Raise :class:`ConnectionError` if this thread has begun a transaction, whose changes ``what`` would not see."""
        self._need_same_catalog()
        if not self.read_only and self.in_transaction():
            raise ConnectionError(
                f"{what} reads what is committed, and would not see what the open transaction changed: COMMIT or ROLLBACK it "
                "first."
            )

    @keyboard_interrupts()
    def idle_statements(self, what: str) -> duckdb.DuckDBPyConnection:
        """Return where the user's statements run, for one of ours.

        A result of `execute` that is being read there is ended: what is left of it can no longer be fetched, which is an error
        where it is tried.

        Raises:
            ConnectionError: A result was being read that was made on the connection itself; it is ended now.
        """
        con = self.statements()
        if not is_being_read(con):
            self.judge(con)
            return con
        # Of a result that nobody holds, such as that of execute(…).fetchone()[0], nothing is lost, unless it was made on the
        # connection itself, of whose results we do not know who holds them.
        if self._session.end_result(what) or self._sees_all:
            con.complete()
        end_what_is_read(con, what)
        self.judge(con)
        return con

    @keyboard_interrupts()
    def _need_same_catalog(self) -> None:
        """Raise :class:`ConnectionError` if another file was attached under the name of this database."""
        if self.in_memory and not self._sees_all:
            self._judged = None  # what was made there leaves no trace
        if self.in_memory or (self._sees_all and not self._session.has_attached):
            return
        query = "SELECT path FROM system.main.duckdb_databases() WHERE database_name = ?"
        found = self.cursor().execute(query, [self._catalog]).fetchall()
        if found != [(self.settings.path,)]:
            now = f"is that of {found[0][0]!r}" if found else "is detached"
            raise ConnectionError(
                f"{self!s} was attached as {self._catalog!r}, and that name {now} by now. ATTACH the file again under that "
                "name, or connect again."
            )

    # -- which definition is meant -------------------------------------------------------------------------

    def which_graph(self, name: str | None) -> tuple[Self, PropertyGraph]:
        """Return the definition of a property graph and the database that has it; see :meth:`Database.graph`.

        Raises:
            UnknownNameError, SchemaError: There is none of this name, or not one alone.
            ConnectionError: The open transaction has another definition of it than what is committed.
        """
        with translated(self):
            db = self.home_of(name)
            begun = db.in_transaction()
            found = schema.load(db.idle_statements("db.graph()") if begun else db.cursor(), name)
            if begun and not _is_committed(db, found):
                raise ConnectionError(
                    f"Property graph {found.name!r} is not committed as the open transaction has it, and stores and loaders "
                    "read what is committed: COMMIT or ROLLBACK it first."
                )
            return db, found

    def home_of(self, name: str | None) -> Self:
        """Return the database that has a graph: this one, or, after ``USE``, the one whose tables SQL sees.

        Raises:
            SchemaError: Both have one.
        """
        con = self.statements()
        if is_being_read(con):
            if self._sees_all and not self._session.has_used:
                return self
            end_what_is_read(con, "To ask which database is in use")
        (used,) = con.execute("SELECT system.main.current_database()").fetchall()[0]
        self._need_same_catalog()
        if used == self._catalog:
            return self
        self.judge(con)
        if not schema.has_graph(con, name):
            return self
        if schema.has_graph(self.cursor(), name):
            raise SchemaError(
                f"The connection now uses database {used!r}, and both it and {self!s} have such a property graph. Run USE "
                f"{quote(self._catalog)} first for that of {self.settings.path!r}, or take the other: "
                "dbgnn.connect(db.connection)."
            )
        found = self._session.used.get(used)
        if not isinstance(found, type(self)) or found.closed:
            found = self.around(con, progress=self.settings.progress, trusted=self.settings.trusted)
            self._session.used[used] = found
            found._session.has_attached = True
            self._others.add(found)
        return found


def _is_committed(db: OpenDatabase, graph: PropertyGraph) -> bool:
    """Whether another connection finds the same graph."""
    try:
        return schema.load(db.cursor(), graph.name) == graph
    except SchemaError:
        return False
