"""`NullValueError`: a NULL met while rows stream by; who knows the keys says which row it is."""

from __future__ import annotations

from dbgnn.errors import DataError


class NullValueError(DataError):
    """A value is NULL where none may be.

    Attributes:
        column: The column of the query.
        row: Its place in the chunk, or once it has left the stream, its position.
    """

    def __init__(self, column: str, row: int) -> None:
        super().__init__(f"Column {column!r} is NULL in row {row}.")
        self.column, self.row = column, row
