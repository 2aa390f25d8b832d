"""`Session`: what the user has under way on the connection of one thread. Knows no statement of its own."""

from __future__ import annotations

import re
import threading
import weakref
from typing import TYPE_CHECKING

from dbgnn.result import Result

if TYPE_CHECKING:
    from dbgnn.database import Database

#: What begins a transaction, and what ends one.
_WORDS = {"BEGIN": True, "START": True, "COMMIT": False, "END": False, "ROLLBACK": False, "ABORT": False}

#: The first word of a statement, behind white space and comments.
_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*([A-Za-z]+)", re.DOTALL)


class Session(threading.local):
    """What one thread has under way; every thread that looks has its own.

    Attributes:
        begun: Whether a transaction is open, as far as the statements that were seen tell; None: they do not.
        has_used: Whether another database may be in use since (``USE``, ``SET search_path``).
        has_attached: Whether a name may be that of another file since.
        used: The databases that the thread has used, by name.
    """

    def __init__(self) -> None:
        self.begun: bool | None = False
        self.has_used = self.has_attached = False
        self.used: dict[str, Database] = {}
        self._result: weakref.ref[Result] | None = None

    def saw(self, query: str) -> None:
        """Note a statement that was run."""
        found = _FIRST_WORD.match(query)
        word = found[1].upper() if found else ""
        self.begun = _WORDS.get(word, self.begun)
        self.has_used = self.has_used or word in {"USE", "SET"}
        self.has_attached = self.has_attached or word in {"ATTACH", "DETACH"}

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
