"""The text of `COPY … FROM` with npy files, read from sqlglot's tokens into a :class:`CopyStatement`.

sqlglot's parser knows ``COPY``, but not ``BY COLUMN`` together with options, and logs a warning for what
it does not know; its tokenizer settles quoting and comments, and the grammar after that is short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn, TypeAlias

from sqlglot import Token, TokenType
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import SqlglotError

from dbgnn.errors import CopyError, near_misses

#: What a COPY of npy files looks like; the end of every message about its syntax.
FORM = "COPY table [(column, …)] FROM 'file.npy' | ('file.npy', …) [BY COLUMN] [(FORMAT npy, PROGRESS false)]"

#: The options in parentheses.
OPTIONS = ("FORMAT", "PROGRESS")

_QUOTED = (TokenType.STRING, TokenType.IDENTIFIER)

_SWITCH = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True)
class CopyStatement:
    """One ``COPY … FROM`` of npy files.

    Attributes:
        table: The table's name as written, unquoted: ``(table,)``, ``(schema, table)`` or ``(catalog, schema, table)``.
        columns: The columns named after the table; None: those of the table, in its order.
        files: The files, one per column (or one with both endpoints of all edges).
        progress: False where the option ``PROGRESS false`` was given.
    """

    table: tuple[str, ...]
    columns: tuple[str, ...] | None
    files: tuple[str, ...]
    progress: bool = True

    def __str__(self) -> str:
        return f"COPY {'.'.join(self.table)} FROM {', '.join(repr(f) for f in self.files)}"


def copy_tokens(query: str) -> list[Token] | None:
    """Return the tokens of ``query`` if its first keyword is COPY, else None; cheap for everything else."""
    head = query.lstrip()
    if head[:4].lower() != "copy" and not head.startswith(("--", "/*")):
        return None
    try:
        tokens = DuckDB().tokenize(query)
    except SqlglotError:  # DuckDB will say what is wrong with it
        return None
    return tokens if tokens and tokens[0].token_type == TokenType.COPY else None


def parse_copy(query: str) -> CopyStatement | None:
    """Return what a ``COPY`` of npy files asks for; None for every other statement, DuckDB's own COPY included.

    A statement is ours when a file ends in ``.npy``, or ``FORMAT npy`` or ``BY COLUMN`` is there. A ``FORMAT``
    that is not npy leaves it to DuckDB.

    Raises:
        CopyError: A COPY of npy files that does not follow :data:`FORM`, has an option that does not
            exist, or names files that are not npy beside those that are.
    """
    tokens = copy_tokens(query)
    if tokens is None or not _mentions_npy(tokens):
        return None
    reader = _Reader(tokens[1:])
    if reader.at(TokenType.L_PAREN, TokenType.FROM):  # COPY (query) TO …, COPY FROM DATABASE …
        return None
    table = reader.names(separator=TokenType.DOT)
    columns = reader.parenthesised_names() if reader.at(TokenType.L_PAREN) else None
    if not reader.take(TokenType.FROM):  # COPY table TO …
        return None
    files = reader.files()
    by_column, options = reader.tail()
    form = options.get("FORMAT", "npy" if by_column or any(map(_is_npy, files)) else "").lower()
    if form != "npy":
        if by_column:
            raise CopyError(f"COPY {'.'.join(table)}: BY COLUMN reads npy files, but FORMAT {form} was asked. Leave one out.")
        return None
    if "FORMAT" not in options and (others := [f for f in files if not _is_npy(f)]):
        raise CopyError(
            f"COPY {'.'.join(table)}: {others[0]!r} is not a .npy file, and files of one COPY are all of one kind. "
            "Say (FORMAT npy) if it is one by another name; load CSV and Parquet by a COPY of their own."
        )
    if len(table) > 3:
        raise CopyError(f"COPY {'.'.join(table)}: a table's name has at most three parts, catalog.schema.table.")
    progress = _switch("PROGRESS", options.get("PROGRESS", "true"), table)
    return CopyStatement(table, columns, files, progress)


#: Table, columns, file and options of a COPY.
PlainCopy: TypeAlias = tuple[tuple[str, ...], tuple[str, ...] | None, str, dict[str, str]]


def plain_copy(tokens: Sequence[Token]) -> PlainCopy | None:
    """Return table, columns, file and options of DuckDB's own ``COPY table FROM 'file'``; None for any other form.

    Like DuckDB, take a name in double quotes or without quotes for a file's as well.

    Args:
        tokens: What :func:`copy_tokens` returned.
    """
    reader = _Reader(tokens[1:])
    try:
        table = reader.names(separator=TokenType.DOT)
        columns = reader.parenthesised_names() if reader.at(TokenType.L_PAREN) else None
        if not reader.take(TokenType.FROM):
            return None
        (file,) = reader.files()
        _, options = reader.tail(own=False)
    except (CopyError, ValueError):  # another form, or several files
        return None
    return table, columns, file, options


def _is_npy(file: str) -> bool:
    return file.lower().endswith(".npy")


def _mentions_npy(tokens: Sequence[Token]) -> bool:
    """Whether a file ends in .npy, or the words ``FORMAT npy`` or ``BY COLUMN`` are there."""
    words = [t.text.upper() for t in tokens]
    return any(t.token_type in _QUOTED and _is_npy(t.text) for t in tokens) or not {
        (".", "NPY"),
        ("FORMAT", "NPY"),
        ("BY", "COLUMN"),
    }.isdisjoint(pairwise(words))


def _switch(option: str, value: str, table: tuple[str, ...]) -> bool:
    if value.lower() not in _SWITCH:
        raise CopyError(f"COPY {'.'.join(table)}: option {option} is true or false, not {value!r}.")
    return _SWITCH[value.lower()]


class _Reader:
    """The tokens after COPY, taken one after the other."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._next = 0

    def _peek(self) -> Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def at(self, *types: TokenType) -> bool:
        token = self._peek()
        return token is not None and token.token_type in types

    def take(self, *types: TokenType) -> Token | None:
        if not self.at(*types):
            return None
        self._next += 1
        return self._tokens[self._next - 1]

    def take_word(self, word: str) -> bool:
        token = self._peek()
        found = (
            token is not None
            and token.token_type not in (TokenType.STRING, TokenType.IDENTIFIER)
            and token.text.upper() == word
        )
        self._next += found
        return found

    def fail(self, expected: str) -> NoReturn:
        token = self._peek()
        found = "the end" if token is None else f"{token.text!r} at character {token.start}"
        raise CopyError(f"COPY of npy files: expected {expected}, found {found}. The form is {FORM}.")

    def name(self) -> str:
        """Take an identifier; keywords (``year``, ``source``, ``index``) are names here as in DuckDB."""
        token = self._peek()
        if token is None or not (
            token.token_type == TokenType.IDENTIFIER or (token.token_type != TokenType.STRING and token.text.isidentifier())
        ):
            self.fail("a name")
        self._next += 1
        return token.text

    def names(self, *, separator: TokenType) -> tuple[str, ...]:
        found = [self.name()]
        while self.take(separator):
            found.append(self.name())
        return tuple(found)

    def parenthesised_names(self) -> tuple[str, ...]:
        self.take(TokenType.L_PAREN)
        found = self.names(separator=TokenType.COMMA)
        if not self.take(TokenType.R_PAREN):
            self.fail("',' or ')' after a column")
        return found

    def _file(self) -> str:
        """Take a file name: text, or as in DuckDB (and in Kùzu's double quotes) a name, which is never a table's here."""
        if token := self.take(*_QUOTED):
            return token.text
        try:
            return ".".join(self.names(separator=TokenType.DOT))
        except CopyError:
            self.fail("a file name in quotes")

    def files(self) -> tuple[str, ...]:
        opened = self.take(TokenType.L_PAREN, TokenType.L_BRACKET)
        if not opened:
            return (self._file(),)
        found = [self._file()]
        while self.take(TokenType.COMMA):
            found.append(self._file())
        if not self.take(TokenType.R_PAREN if opened.token_type == TokenType.L_PAREN else TokenType.R_BRACKET):
            self.fail("',' or the end of the list after a file name")
        return tuple(found)

    def tail(self, *, own: bool = True) -> tuple[bool, dict[str, str]]:
        """Take what follows the files: BY COLUMN and the options, in either order, then the end.

        Args:
            own: Whether options have to be those of COPY from npy, where the format is not another.
        """
        by_column = False
        options: dict[str, str] = {}
        while self._peek() is not None:
            if self.take_word("BY"):
                if not self.take_word("COLUMN"):
                    self.fail("COLUMN after BY")
                by_column = True
            elif self.take_word("WITH"):
                if not self.at(TokenType.L_PAREN):
                    self.fail("'(' after WITH")
            elif self.take(TokenType.L_PAREN):
                self._options(options, own=own)
            else:
                break
        while self.take(TokenType.SEMICOLON):
            pass
        if self._peek() is not None:
            self.fail("the end of the statement (run statements one at a time)")
        return by_column, options

    def _options(self, options: dict[str, str], *, own: bool) -> None:
        while True:
            name = self.name().upper()
            token = None if self.at(TokenType.COMMA, TokenType.R_PAREN) else self._peek()
            self._next += token is not None
            if name in options:
                raise CopyError(f"COPY of npy files: the option {name} is given twice.")
            options[name] = token.text if token else "true"
            if not self.take(TokenType.COMMA):
                break
        if not self.take(TokenType.R_PAREN):
            self.fail("',' or ')' after an option")
        # DuckDB's options belong to DuckDB's formats: they are unknown only where the format is ours.
        if own and options.get("FORMAT", "npy").lower() == "npy":
            for name in options:
                if name not in OPTIONS:
                    raise CopyError(f"COPY of npy files has no option {name!r}{near_misses(name, OPTIONS)}.")
