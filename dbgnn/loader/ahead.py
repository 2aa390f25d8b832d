"""`Ahead`: an iterator whose items are made in a thread of its own, before they are asked for. Knows nothing of the items."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import duckdb

from dbgnn.errors import DbgnnError

T = TypeVar("T")

#: Seconds between two interrupts while a thread is being ended. One is not enough: an interrupt that arrives just before
#: a statement starts is lost. Long enough for what a source does on its way out not to be hit as well.
_PAUSE = 0.05

#: Seconds that a consumer waits at a stretch. A Ctrl-C that comes just before Python waits for a lock is seen only after.
_TICK = 0.25

#: Seconds to wait for the thread of an iterator that was dropped without close(). The garbage collector may run where
#: locks are held that the thread waits for, so this wait must end; the thread then ends by itself.
_PATIENCE = 5.0


class Ahead(Iterator[T], Generic[T]):
    """The items of ``source``, up to ``depth`` of them made ahead in a daemon thread.

    Items come in order. What the source raises, KeyboardInterrupt and the like too, is raised by ``next()``, after the
    items before it: the same object, its traceback naming the line in the source. The iterator is then at its end.

    The thread has ended when the iterator is exhausted, has raised, or is closed: by :meth:`close`, as a context manager,
    by the garbage collector, or by the end of the interpreter. Closing also closes the source, in the thread, so an
    `Ahead` that the source draws from ends before. A source that then waits in another `Ahead` gets a GeneratorExit
    there: its ``finally`` clauses run, and it cannot take what it got so far for everything.

    Args:
        source: What to iterate over. It is iterated over, and closed if it is a generator, in the thread.
        depth: How many items may be ready, or in the making, that were not yet asked for. 0: no thread; the items are made
            when they are asked for.
        name: The thread's name.
        interrupt: Called once in the thread before it starts on the source; returns what ends an SQL statement that the
            thread is running, to be called from other threads: ``lambda: db.cursor().interrupt``.
    """

    def __init__(
        self,
        source: Iterable[T],
        depth: int,
        *,
        name: str,
        interrupt: Callable[[], Callable[[], object]] | None = None,
    ) -> None:
        self._maker: _Worker[T] | _Inline[T]
        self._finalizer: Any = None
        if depth <= 0:
            self._maker = _Inline(source)
            return
        # The thread knows the worker, not this object: whoever drops this object ends the thread.
        self._maker = worker = _Worker(source, depth, name, interrupt)
        self._finalizer = weakref.finalize(self, worker.end, _PATIENCE)
        worker.start()

    def __next__(self) -> T:
        try:
            return self._maker.take()
        except BaseException:  # the end, an error of the source, or Ctrl-C while waiting
            self.close()
            raise

    def close(self) -> None:
        """End the thread and the source, at once if it runs SQL, else when the item in the making is done.

        Closing twice is fine. A closed iterator is at its end. Raises what the source raises on being closed.
        """
        try:
            self._maker.end(math.inf)
        finally:
            self._maker = _Inline(())
            if self._finalizer is not None:
                self._finalizer.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Inline(Generic[T]):
    """Makes the items when they are asked for, in the thread that asks."""

    def __init__(self, source: Iterable[T]) -> None:
        self._iterator = iter(source)

    def take(self) -> T:
        return next(self._iterator)

    def end(self, patience: float) -> None:  # noqa: ARG002 - as `_Worker.end`
        _close(self._iterator)


@dataclass(frozen=True, slots=True)
class _End:
    """Stands behind the last item; ``error`` is what ended the source early."""

    error: BaseException | None


#: Wakes a consumer, to see whether it still has something to wait for.
_WAKE = object()


class _Worker(threading.Thread, Generic[T]):
    """The thread, and all that it shares with its consumer."""

    def __init__(
        self, source: Iterable[T], depth: int, name: str, interrupt: Callable[[], Callable[[], object]] | None
    ) -> None:
        super().__init__(target=self._work, args=(source, interrupt), name=name, daemon=True)
        # Simple queues need no lock in Python: a signal or a finalizer that comes in between finds nothing half done.
        self._ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._permits: queue.SimpleQueue[None] = queue.SimpleQueue()  # one per item that may be made
        for _ in range(depth):
            self._permits.put(None)
        self._stopped = False
        self._interrupt: Callable[[], object] = _nothing
        self._lock = threading.Lock()  # guards the next field while an interrupt is sent
        self._interruptible = False
        self._inner: _Worker[Any] | None = None  # whose item this thread waits for
        self._failure: BaseException | None = None  # what closing the source raised

    # -- in the thread ---------------------------------------------------------------------------------

    def _work(self, source: Iterable[T], interrupt: Callable[[], Callable[[], object]] | None) -> None:
        try:
            if interrupt is not None:
                self._interrupt = interrupt()
            self._make(iter(source))
        except BaseException as caught:  # noqa: BLE001 - the consumer raises it
            self._ready.put(_End(caught))  # no other name for it: its traceback holds this frame
        else:
            self._ready.put(_End(None))

    def _make(self, iterator: Iterator[T]) -> None:
        self._interruptible = True
        try:
            while True:
                self._permits.get()
                if self._stopped:
                    break
                self._ready.put(next(iterator))  # no name for the item: it would live until the next one is made
        except StopIteration:
            pass
        finally:
            with self._lock:
                self._interruptible = False
            try:
                _close(iterator)
            except BaseException as caught:  # noqa: BLE001 - raised by end()
                self._failure = caught

    # -- in the consumer's thread ----------------------------------------------------------------------

    def take(self) -> T:
        """Return the next item; raise StopIteration, the source's error, or GeneratorExit if ended by someone else."""
        here = threading.current_thread()
        outer = here if isinstance(here, _Worker) else None
        if outer is not None:
            outer._inner = self
        try:
            while not self._stopped and (outer is None or not outer._stopped):
                item = self._wait()
                if isinstance(item, _End):
                    try:
                        raise StopIteration if item.error is None else item.error
                    finally:
                        del item  # the error's traceback holds this frame
                if item is not _WAKE:
                    self._permits.put(None)
                    return item  # type: ignore[no-any-return]
            raise GeneratorExit
        finally:
            if outer is not None:
                outer._inner = None

    def _wait(self) -> Any:
        while True:
            # Whatever way the thread ends, an end lies in the queue; a thread that is in another process leaves nothing.
            alive = self.is_alive()
            try:
                return self._ready.get(alive, _TICK)
            except queue.Empty:
                if not alive:
                    raise DbgnnError(
                        f"{self.name} runs in another process, from which this one was forked. Make a new iterator in this one."
                    ) from None

    # -- in any thread ---------------------------------------------------------------------------------

    def end(self, patience: float) -> None:
        """End the thread, and wait for it at most ``patience`` seconds; raise what closing the source raised."""
        self._stopped = True
        self._permits.put(None)  # in case it waits for one
        self._ready.put(_WAKE)
        if threading.current_thread() is self:
            return  # the garbage collector runs in this thread of all; it sees that it is to stop
        deadline = time.monotonic() + patience
        while self.is_alive() and time.monotonic() < deadline:
            with self._lock, contextlib.suppress(duckdb.Error):  # a cursor that was closed needs no interrupt
                if self._interruptible:
                    self._interrupt()
            if (inner := self._inner) is not None:
                inner._ready.put(_WAKE)
            self.join(_PAUSE)
        if self._failure is not None:
            raise self._failure


def _nothing() -> None:
    pass


def _close(iterator: Iterator[Any]) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()
