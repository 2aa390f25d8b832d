"""`Session`: what the user has under way on the connection of one thread. Knows no statement of its own."""

from __future__ import annotations

import re
import threading
import weakref

from dbgnn.result import Result

#: What begins a transaction, and what ends one.
_WORDS = {"BEGIN": True, "START": True, "COMMIT": False, "END": False, "ROLLBACK": False, "ABORT": False}

#: What may put a name before those of DuckDB's own: a macro or a type, wherever it stands in the text, or another search path.
_DEFINES = tuple(
    (re.compile(rf"\b{verb}\b", re.IGNORECASE), re.compile(rf"\b({what})\b", re.IGNORECASE))
    for verb, what in (("create", "macro|function|type"), ("set", "search_path|schema"))
)
_REDEFINES = frozenset("ATTACH CALL COPY DETACH EXECUTE IMPORT LOAD PRAGMA USE".split())

#: What ends a definition, or makes it everybody's.
_ENDS = frozenset("ABORT COMMIT END ROLLBACK".split())

#: Statements that resolve no function, by which a macro can be got rid of.
_HARMLESS = frozenset("ABORT COMMIT DETACH DROP ROLLBACK USE".split())

#: The first word of a statement, behind white space and comments.
_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*([A-Za-z]+)", re.DOTALL)


def first_word(query: str) -> str:
    """Return the first word of a statement in upper case; ``""`` where there is none."""
    found = _FIRST_WORD.match(query)
    return found[1].upper() if found else ""


def calls_nothing(query: str) -> bool:
    """Whether a statement resolves no function, such as the one that drops a macro."""
    return first_word(query) in _HARMLESS and ";" not in query.rstrip().rstrip(";")


def _defines(query: str) -> bool:
    """Whether a text has a verb of `_DEFINES` and behind it one of its objects; two searches, each once through the text."""
    begun = ((verb.search(query), what) for verb, what in _DEFINES)
    return any(found is not None and what.search(query, found.end()) is not None for found, what in begun)


class Session(threading.local):
    """What one thread has under way; every thread that looks has its own.

    Attributes:
        begun: Whether a transaction is open, as far as the statements that were seen tell; None: they do not.
        has_used: Whether another database may be in use since (``USE``, ``SET search_path``).
        has_attached: Whether a name may be that of another file since.
        used: The databases that the thread has used, by name.
        judged: The number of definitions when the macros that the thread sees were last looked at.
        judged_at: That number, and the state of the file then, or behind the statement of the user's that was run next.
    """

    def __init__(self) -> None:
        self.begun: bool | None = False
        self.has_used = self.has_attached = False
        self.used: dict[str, object] = {}
        self.judged = -1
        self.judged_at: object = None
        self._has_defined = False
        self._result: weakref.ref[Result] | None = None

    def saw(self, query: str) -> None:
        """Note a statement that was run."""
        word = first_word(query)
        self.begun = _WORDS.get(word, self.begun)
        self.has_used = self.has_used or word in {"USE", "SET"}
        self.has_attached = self.has_attached or word in {"ATTACH", "DETACH"}

    def may_have_defined(self, query: str, *, all_seen: bool) -> bool:
        """Whether a statement that was run may have changed which functions names stand for.

        Args:
            query: The statement.
            all_seen: Whether every other statement of its transaction was seen.
        """
        word = first_word(query)
        if word in _ENDS:
            found, self._has_defined = self._has_defined or not all_seen, False
            return found
        found = word in _REDEFINES or _defines(query)
        self._has_defined = self._has_defined or found
        return found

    def failed(self) -> None:
        """Note that a statement failed: it may have ended a transaction, or not."""
        if self.begun:
            self.begun = None

    def hands_out(self, result: Result) -> None:
        """Note the result that the user may be reading from now on."""
        self._result = weakref.ref(result)

    def end_result(self, what: str) -> bool:
        """Note on that result that ``what`` ends it; return whether somebody holds it, and has not read it whole."""
        last = None if self._result is None else self._result()
        if last is None:
            return False
        last.end(what)
        return not last.is_read
