"""Keys, passwords and tokens do not leave: in texts that are shown they stand as ``***``.

What is a secret is told by the name before a value (``ENCRYPTION_KEY 'x'``, ``password=x``), by its place in a URL
(``s3://key:secret@bucket``, ``?token=x``), and by the statement: every text of a ``CREATE SECRET``. Bound values are never
part of a text. Errors go through here where they are made (`errors.py`), and DuckDB's own where they pass `translated.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

#: What stands in the place of a secret.
MASK = "***"
#: What our own messages write where a key belongs.
PLACEHOLDER = "…"

#: Secrets shorter than this are masked where they stand in quotes, not wherever their letters are.
_SHORTEST = 4

_WORDS = (
    r"secret|token|passw(?:or)?d|passphrase|pwd|credentials?|authorization|signature|encryption_key|access_?key|account_?key|"
    r"shared_?key|private_?key|api_?key|key_id|key_value|connection_string"
)
_NAME = re.compile(rf"\w*(?:{_WORDS})", re.IGNORECASE)

#: A text in SQL, also one that the end of a message cuts off.
_TEXT = r"""(?:[eE]?'(?:[^']|'')*(?:'|$)|\$(?P<tag>\w{0,40})\$.{0,4000}?\$(?P=tag)\$|"(?:[^"]|"")*")"""

#: White space, so much that it takes no time to see that more of it leads nowhere.
_GAP = r"\s{0,8}"

#: A name, quoted or not, what stands between, and the value.
_NAMED = re.compile(
    rf"""(?P<before>\b\w*(?:{_WORDS})\b(?:["']?{_GAP}(?::=|=>|==?|!=|<>|:)|{_GAP}TO\b|\s|(?=\()){_GAP}(?:MAP)?{_GAP}[(\[{{]?{_GAP})"""
    rf"""(?P<secret>{_TEXT})""",
    re.IGNORECASE | re.DOTALL,
)
#: The like without quotes, in the text of a connection or behind a ``?``; and what stands before the ``@`` of a URL.
_BARE = re.compile(
    r"""(?P<before>\b\w*(?:password|passwd|pwd|secret|token|accountkey|accesskey|signature)=|\b(?-i:Bearer)[ ](?=\S{8}))"""
    r"""(?P<secret>[^\s;'"]+)""",
    re.IGNORECASE,
)
_IN_QUERY = re.compile(
    r"""(?P<before>[?&][\w.-]{0,64}(?:token|sig|signature|key|secret|password|credential|auth)[\w.-]{0,64}=)(?P<secret>[^&\s'"]+)""",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"""(?P<before>\b[a-z][a-z0-9+.-]{0,30}:/{1,2})(?P<secret>[^\s/@'"?#]+)(?=@)""", re.IGNORECASE)
_PATTERNS = (_NAMED, _BARE, _IN_QUERY, _IN_URL)

#: What is quick to see where no pattern can match.
_MAY_HOLD = re.compile(rf"{_WORDS}|Bearer|:/|[?&]\w*(?:sig|key|auth)", re.IGNORECASE)

#: Statements all of whose texts are secret.
_BETWEEN = r"(?:\s|/\*[^*]{0,200}\*/|--[^\n]{0,200}\n){1,40}"
_SECRET_STATEMENT = re.compile(
    rf"\bCREATE{_BETWEEN}(?:\w+{_BETWEEN}){{0,5}}SECRET\b|\badd_parquet_key\s{{0,8}}\(", re.IGNORECASE
)
_ANY_TEXT = re.compile(_TEXT, re.DOTALL)

#: Where DuckDB shows the statement, cut to the width of a line: a secret may be cut as well.
_EXCERPT = re.compile(r"\n+LINE \d+:.*", re.DOTALL)


def is_secret_name(name: str) -> bool:
    """Whether the value of a setting or parameter of this name is a secret."""
    return _NAME.fullmatch(name) is not None


def masked(text: str, secrets: Iterable[str] = (), quoted: Iterable[str] = ()) -> str:
    """Return a text with ``***`` in the place of secrets.

    Args:
        text: What is to be shown.
        secrets: Texts that are secret wherever they stand, beside those that `text` itself says to be.
        quoted: Texts that are secret where they stand in quotes.
    """
    secrets = {*secrets, *_texts_of_secret_statement(text)}
    for secret in sorted(secrets, key=len, reverse=True):
        for form in _forms(secret) if len(secret) >= _SHORTEST else ():
            text = text.replace(form, MASK)
    for secret in (*(s for s in secrets if len(s) < _SHORTEST), *quoted):
        for form in _forms(secret):
            text = re.sub(rf"(['\"]){re.escape(form)}\1", rf"\1{MASK}\1", text)
    if _MAY_HOLD.search(text) is not None:
        for pattern in _PATTERNS:
            text = pattern.sub(_mask, text)
    return text


def _forms(secret: str) -> set[str]:
    """Return how a text may be written: as it is, in SQL, in a ``repr()``."""
    return {secret, secret.replace("'", "''"), repr(secret)[1:-1]}


def _mask(found: re.Match[str]) -> str:
    if _unquoted(found["secret"]) == PLACEHOLDER:
        return found[0]
    quoted = found["secret"][:1] in {"'", '"', "$", "e", "E"} and found["secret"][-1:] in {"'", '"', "$"}
    return found["before"] + (f"'{MASK}'" if quoted else MASK)


def secrets_of(statement: str) -> frozenset[str]:
    """Return the texts in a statement that are secret, without their quotes."""
    found = [match["secret"] for pattern in _PATTERNS for match in pattern.finditer(statement)]
    return frozenset(text for text in map(_unquoted, found) if text) | _texts_of_secret_statement(statement)


def _texts_of_secret_statement(text: str) -> frozenset[str]:
    start = _SECRET_STATEMENT.search(text)
    found = [match[0] for match in _ANY_TEXT.finditer(text, start.end())] if start is not None else []
    return frozenset(text for text in map(_unquoted, found) if text)


def _unquoted(text: str) -> str:
    if text[:1] == "$":
        return text.strip("$") if text[:2] == "$$" else text[text.index("$", 1) + 1 : text.rindex("$", 0, -1)]
    text = text[1:] if text[:2].lower() == "e'" else text
    for quote in ("'", '"'):
        if text[:1] == quote:
            return text[1:].removesuffix(quote).replace(quote * 2, quote)
    return text


def mask_error(
    error: BaseException | None, secrets: frozenset[str] = frozenset(), quoted: frozenset[str] = frozenset()
) -> None:
    """Mask the texts of an error and of its causes, DuckDB's as well, which quote statements as they are; see `masked`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        args = tuple(_shown(part, secrets, quoted) if isinstance(part, str) else part for part in error.args)
        if args != error.args:
            error.args = args
        error = error.__cause__ or error.__context__


def _shown(text: str, secrets: frozenset[str], quoted: frozenset[str]) -> str:
    return masked(_EXCERPT.sub("", text) if secrets else text, secrets, quoted)


@contextmanager
def hidden_in_errors(statement: object = "", values: object = None) -> Iterator[None]:
    """Mask what is secret in a statement, and in values bound to it, in the errors that are raised within.

    Args:
        statement: The SQL that runs within.
        values: What is bound to it: of a mapping, the values whose names are those of secrets.
    """
    try:
        yield
    except BaseException as error:
        secrets = secrets_of(statement) if isinstance(statement, str) else frozenset()
        mask_error(error, secrets | _secret_values(values if isinstance(values, Mapping) else {}))
        raise


@contextmanager
def hidden_settings(config: Mapping[str, object]) -> Iterator[None]:
    """Mask the values of settings in the errors that are raised within: secrets wherever they stand, others in quotes."""
    try:
        yield
    except BaseException as error:
        secrets = _secret_values(config)
        mask_error(error, secrets, frozenset(map(str, config.values())) - secrets - {""})
        raise


def _secret_values(values: Mapping[str, object]) -> frozenset[str]:
    return frozenset(str(value) for name, value in values.items() if is_secret_name(str(name)) and value not in ("", None))
