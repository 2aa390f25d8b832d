"""`Ahead`: order, how far ahead, errors, and that its thread ends however its consumer does."""

from __future__ import annotations

import gc
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import dbgnn
from dbgnn.loader.ahead import Ahead

ROOT = Path(__file__).resolve().parents[2]

#: A query that takes minutes, in DuckDB alone.
LONG = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = 3"


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    if set(threading.enumerate()) - before:
        gc.collect()
    assert set(threading.enumerate()) - before == set()


class Error(Exception):
    """Raised by the sources below."""


def raising(error: BaseException, after: int = 2) -> Iterator[int]:
    """Yield a few numbers, then raise."""
    yield from range(after)
    raise error


class Watched(Iterator[int]):
    """Numbers without end that says what happens to it; the test can wait for each number."""

    def __init__(self) -> None:
        self.made: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.count = 0
        self.closed_in: list[threading.Thread] = []

    def __next__(self) -> int:
        self.count += 1
        self.made.put(self.count)
        return self.count

    def close(self) -> None:
        self.closed_in.append(threading.current_thread())


def taken_within(seconds: float, act: Callable[[], object]) -> None:
    begun = time.monotonic()
    act()
    assert time.monotonic() - begun < seconds


# -- items -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 3, 1000])
def test_items_come_in_order_and_then_the_end(depth: int) -> None:
    ahead = Ahead(range(500), depth, name="t")
    assert list(ahead) == list(range(500))
    assert next(ahead, "end") == "end"
    ahead.close()
    assert next(ahead, "end") == "end"


@pytest.mark.parametrize("depth", [0, 2])
def test_none_and_exceptions_are_items_like_others(depth: int) -> None:
    items: list[Any] = [None, False, StopIteration(), Error("item")]
    assert list(Ahead(items, depth, name="t")) == items


@pytest.mark.parametrize("depth", [1, 3])
def test_it_makes_as_many_items_ahead_as_asked_and_no_more(depth: int) -> None:
    source = Watched()
    with Ahead(source, depth, name="t") as ahead:
        for n in range(1, depth + 1):
            assert source.made.get(timeout=10) == n
        assert next(ahead) == 1
        assert source.made.get(timeout=10) == depth + 1  # room for one more
        assert next(ahead) == 2
        assert source.made.get(timeout=10) == depth + 2
    assert source.count == depth + 2


def test_items_are_made_in_the_named_thread_and_without_depth_in_the_caller() -> None:
    def names() -> Iterator[tuple[str, bool]]:
        yield threading.current_thread().name, threading.current_thread().daemon

    assert list(Ahead(names(), 1, name="sampling")) == [("sampling", True)]
    assert list(Ahead(names(), 0, name="sampling")) == [(threading.current_thread().name, False)]


def test_the_thread_holds_on_to_no_item() -> None:
    class Item:
        pass

    made: list[weakref.ref[Item]] = []

    def items() -> Iterator[Item]:
        while True:
            item = [Item()]
            made.append(weakref.ref(item[0]))
            yield item.pop()

    asked, go_on = threading.Event(), threading.Event()

    def told(source: Iterator[Item]) -> Iterator[Item]:
        yield next(source)
        asked.set()
        go_on.wait(10)

    with Ahead(told(items()), 1, name="t") as ahead:
        first = next(ahead)
        assert asked.wait(10)  # the thread is about to make one more, and has not made it
        assert made[0]() is first
        del first
        assert made[0]() is None
        go_on.set()


def test_closing_lets_go_of_items_that_nobody_took() -> None:
    class Item:
        pass

    made = [Item() for _ in range(3)]
    refs = [weakref.ref(item) for item in made]
    source = iter([made.pop(0), made.pop(0), made.pop(0)])
    ahead = Ahead(source, 3, name="t")
    del source
    next(ahead)
    ahead.close()
    gc.collect()
    assert [ref() for ref in refs] == [None] * 3


# -- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 5])
@pytest.mark.parametrize(
    "error", [Error("x"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()], ids=lambda e: type(e).__name__
)
def test_an_error_comes_after_the_items_before_it_as_the_same_object(depth: int, error: BaseException) -> None:
    ahead = Ahead(raising(error), depth, name="t")
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(type(error)) as caught:
        next(ahead)
    assert caught.value is error
    assert "raise error" in traceback.format_tb(caught.tb)[-1]
    assert traceback.extract_tb(caught.tb)[-1].name == "raising"
    assert next(ahead, "end") == "end"


def test_an_error_keeps_its_cause_and_holds_no_frame_of_ours_in_a_cycle() -> None:
    def source() -> Iterator[int]:
        try:
            yield 1 // 0
        except ZeroDivisionError as error:
            raise Error("outer") from error

    gc.collect()
    gc.disable()
    try:
        ahead = Ahead(source(), 1, name="t")
        try:
            next(ahead)
        except Error as error:
            cause, alive = error.__cause__, weakref.ref(error)
        assert isinstance(cause, ZeroDivisionError)
        assert alive() is None
    finally:
        gc.enable()


def test_errors_of_iter_and_of_interrupt_surface_too() -> None:
    class Bad(Iterable[int]):
        def __iter__(self) -> Iterator[int]:
            raise Error("iter")

    with pytest.raises(Error, match="iter"):
        next(Ahead(Bad(), 1, name="t"))

    def interrupt() -> Callable[[], None]:
        raise Error("interrupt")

    with pytest.raises(Error, match="interrupt"):
        next(Ahead(range(3), 1, name="t", interrupt=interrupt))


@pytest.mark.parametrize("depth", [0, 1])
def test_what_the_source_raises_on_being_closed_is_raised_by_close(depth: int) -> None:
    def source() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            raise Error("cannot clean up")

    ahead = Ahead(source(), depth, name="t")
    next(ahead)
    with pytest.raises(Error, match="cannot clean up"):
        ahead.close()
    ahead.close()


def test_an_error_that_nobody_came_to_is_dropped() -> None:
    ahead = Ahead(raising(Error("x"), after=1), 3, name="t")
    assert next(ahead) == 0
    ahead.close()
    assert next(ahead, "end") == "end"


# -- the end of the consumer -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "with", "del", "cycle", "break", "error"])
def test_the_thread_ends_with_the_consumer_and_closes_the_source(how: str) -> None:
    source = Watched()
    threads = set(threading.enumerate())

    def consume() -> None:
        ahead = Ahead(source, 2, name="t")
        if how == "close":
            next(ahead)
            ahead.close()
            ahead.close()
        elif how == "with":
            with ahead:
                next(ahead)
        elif how == "cycle":
            ahead.itself = ahead  # type: ignore[attr-defined]
        elif how == "break":
            for _ in ahead:
                break
        elif how == "error":
            for _ in ahead:
                raise Error

    if how == "error":
        with pytest.raises(Error):
            consume()
    else:
        consume()
    if how == "cycle":
        assert set(threading.enumerate()) - threads
        gc.collect()
    assert set(threading.enumerate()) <= threads
    assert [t.name for t in source.closed_in] == ["t"]


def test_an_iterator_that_was_never_asked_ends_its_thread_too() -> None:
    for _ in range(50):
        Ahead(Watched(), 2, name="t")
    ahead = Ahead(Watched(), 1, name="t")
    ahead.close()


def test_the_garbage_collector_may_find_it_in_its_own_thread() -> None:
    collect, collected = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        yield 0
        collect.wait(10)
        gc.collect()
        collected.set()
        yield 1

    gc.disable()
    try:
        ahead = Ahead(source(), 1, name="t")
        thread = ahead._maker
        assert isinstance(thread, threading.Thread)
        assert next(ahead) == 0
        ahead.itself = ahead  # type: ignore[attr-defined]
        del ahead
        collect.set()
        assert collected.wait(10)
    finally:
        gc.enable()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("ending", ["close", "exhaust", "error", "drop"])
def test_nested_three_deep_all_end(ending: str) -> None:
    watched = Watched()
    source: Iterable[int] = watched if ending != "exhaust" else range(100)
    closed: list[str] = []

    def stage(name: str, items: Iterable[int]) -> Iterator[int]:
        try:
            for item in Ahead(items, 2, name=name):
                if ending == "error" and name == "second" and item == 10:
                    raise Error(name)
                yield item
        finally:
            closed.append(name)

    ahead = Ahead(stage("second", stage("first", source)), 2, name="outer")
    if ending == "exhaust":
        assert list(ahead) == list(range(100))
    elif ending == "error":
        with pytest.raises(Error, match="second"):
            list(ahead)
    else:
        assert [next(ahead) for _ in range(20)] == list(range(1, 21))
        if ending == "close":
            ahead.close()
    del ahead
    assert closed == ["first", "second"]
    assert ending == "exhaust" or [t.name for t in watched.closed_in] == ["first"]


def test_close_wakes_a_source_that_waits_in_another_ahead(tmp_path: Path) -> None:
    """Three deep; the innermost is in a query of minutes, the others wait for it."""
    db = dbgnn.connect(tmp_path / "g.duckdb")
    running = threading.Event()
    finished: list[str] = []

    def query() -> Iterator[int]:
        running.set()
        yield db.cursor().execute(LONG).fetchall()[0][0]

    def stage(items: Iterator[int]) -> Iterator[int]:
        yield from items
        finished.append("took what came for everything")

    def interrupt() -> Callable[[], object]:
        return db.cursor().interrupt

    first = Ahead(query(), 1, name="first", interrupt=interrupt)
    second = Ahead(stage(first), 1, name="second", interrupt=interrupt)
    third = Ahead(stage(second), 1, name="third", interrupt=interrupt)
    del first, second
    assert running.wait(10)
    taken_within(5, third.close)
    assert finished == []
    db.close()


def test_one_that_is_ended_under_its_consumer_does_not_look_exhausted() -> None:
    """As at the exit of the interpreter, which ends the inner ones first."""
    waiting, release = threading.Event(), threading.Event()

    def source() -> Iterator[int]:
        yield 0
        waiting.set()
        release.wait(10)
        yield 1

    inner = Ahead(source(), 1, name="inner", interrupt=lambda: release.set)
    finished: list[list[int]] = []

    def all_of_it() -> Iterator[int]:
        finished.append(list(inner))
        yield len(finished)

    outer = Ahead(all_of_it(), 1, name="outer")
    assert waiting.wait(10)
    inner._maker.end(10)
    with pytest.raises(GeneratorExit):
        next(outer)
    assert finished == []


def test_threads_come_and_go_by_the_hundred() -> None:
    for n in range(200):
        ahead = Ahead(Ahead(range(20), 1 + n % 3, name="inner"), n % 4, name="outer")
        for _ in range(n % 25):
            next(ahead, None)
        if n % 2:
            ahead.close()


# -- SQL ---------------------------------------------------------------------------------------------


def test_close_interrupts_a_query(tmp_path: Path) -> None:
    db = dbgnn.connect(tmp_path / "g.duckdb")
    running = threading.Event()
    raised: list[type[BaseException]] = []

    def source() -> Iterator[int]:
        running.set()
        try:
            yield db.cursor().execute(LONG).fetchall()[0][0]
        except duckdb.Error as error:
            raised.append(type(error))
            raise

    ahead = Ahead(source(), 1, name="t", interrupt=lambda: db.cursor().interrupt)
    assert running.wait(10)
    taken_within(5, ahead.close)
    assert raised == [duckdb.InterruptException]
    db.close()


def test_close_interrupts_a_query_that_starts_after_the_first_interrupt(tmp_path: Path) -> None:
    db = dbgnn.connect(tmp_path / "g.duckdb")
    interrupted = threading.Event()

    def source() -> Iterator[int]:
        assert interrupted.wait(10)  # nothing runs, so this interrupt is lost
        yield db.cursor().execute(LONG).fetchall()[0][0]

    def interrupt() -> Callable[[], None]:
        cursor = db.cursor()

        def call() -> None:
            cursor.interrupt()
            interrupted.set()

        return call

    ahead = Ahead(source(), 1, name="t", interrupt=interrupt)
    ahead_thread = ahead._maker
    assert isinstance(ahead_thread, threading.Thread)
    taken_within(5, ahead.close)
    assert not ahead_thread.is_alive()
    db.close()


def test_close_does_not_interrupt_what_the_source_does_on_being_closed(tmp_path: Path) -> None:
    db = dbgnn.connect(tmp_path / "g.duckdb")
    db.execute("CREATE TABLE leftover AS SELECT 1 AS i")

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:  # longer than the pause between two interrupts
            db.cursor().execute("CREATE OR REPLACE TABLE t AS SELECT sum(hash(range)) AS s FROM range(100000000)").fetchall()
            db.cursor().execute("DROP TABLE leftover")

    ahead = Ahead(source(), 1, name="t", interrupt=lambda: db.cursor().interrupt)
    next(ahead)
    ahead.close()
    assert db.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'leftover'").fetchall() == [(0,)]
    db.close()


def test_an_interrupt_that_is_not_ours_surfaces(tmp_path: Path) -> None:
    db = dbgnn.connect(tmp_path / "g.duckdb")
    cursors: queue.SimpleQueue[duckdb.DuckDBPyConnection] = queue.SimpleQueue()

    def source() -> Iterator[int]:
        cursors.put(db.cursor())
        yield db.cursor().execute(LONG).fetchall()[0][0]

    ahead = Ahead(source(), 1, name="t", interrupt=lambda: db.cursor().interrupt)
    cursor = cursors.get(timeout=10)
    stop = threading.Event()

    def keep_interrupting() -> None:
        while not stop.wait(0.01):
            cursor.interrupt()

    other = threading.Thread(target=keep_interrupting)
    other.start()
    with pytest.raises(duckdb.InterruptException):
        next(ahead)
    stop.set()
    other.join()
    db.close()


def test_closing_after_the_database_was_closed(tmp_path: Path) -> None:
    db = dbgnn.connect(tmp_path / "g.duckdb")
    ahead = Ahead(Watched(), 1, name="t", interrupt=lambda: db.cursor().interrupt)
    next(ahead)
    db.close()
    ahead.close()


# -- the end of the process --------------------------------------------------------------------------


#: Imports `Ahead` alone: the package around it imports torch, which takes seconds.
IMPORT = """
import os, sys, threading, types
import dbgnn

package = sys.modules["dbgnn.loader"] = types.ModuleType("dbgnn.loader")
package.__path__ = [os.path.join(dbgnn.__path__[0], "loader")]

from dbgnn.loader.ahead import Ahead
"""

#: An `Ahead` around another one that runs a query of minutes; ``begun`` when it does.
SCRIPT = f"""
{IMPORT}
db = dbgnn.connect(sys.argv[1])
begun = threading.Event()

def interrupt():
    return db.cursor().interrupt

def query():
    yield 1
    begun.set()
    yield db.cursor().execute({LONG!r}).fetchall()

def through(items):
    yield from items

ahead = Ahead(through(Ahead(query(), 1, name="inner", interrupt=interrupt)), 1, name="outer", interrupt=interrupt)
next(ahead)
begun.wait()
"""


def run(tmp_path: Path, body: str, *, interrupt: bool = False) -> tuple[int, str, str]:
    """Run the script with some lines more, and Ctrl-C once it says "waiting"; return exit code, output and errors."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT + body, str(tmp_path / "g.duckdb")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with process:
        try:
            if interrupt:
                assert process.stdout is not None
                assert process.stdout.readline() == "waiting\n"
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()
    return process.returncode, out, err


@pytest.mark.parametrize("body", ["", "sys.exit()", "ahead.itself = ahead; del ahead", "del db"])
def test_the_interpreter_exits_in_the_middle(tmp_path: Path, body: str) -> None:
    assert run(tmp_path, body) == (0, "", "")


def test_ctrl_c_while_waiting(tmp_path: Path) -> None:
    body = """
def watch():
    main = threading.main_thread().ident
    while sys._current_frames()[main].f_code.co_name != "_wait":
        pass
    print("waiting", flush=True)

threading.Thread(target=watch, name="watch").start()
try:
    next(ahead)
except KeyboardInterrupt:
    print(*{t.name for t in threading.enumerate()} - {"watch"}, flush=True)
    raise
"""
    code, out, err = run(tmp_path, body, interrupt=True)
    assert (code, out) == (-signal.SIGINT, "MainThread\n")
    assert err.count("Traceback") == 1
    assert err.rstrip().endswith("KeyboardInterrupt")


def test_a_forked_process_is_told_instead_of_waiting_for_ever() -> None:
    code = """
ahead = Ahead(iter(int, 1), 1, name="sampling")
next(ahead)
ahead._maker._ready.get()
if os.fork() == 0:
    try:
        next(ahead)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    ahead.close()
    os._exit(0)
os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT + code], capture_output=True, text=True, timeout=30, cwd=ROOT, check=True
    )
    assert done.stdout.startswith("DbgnnError sampling runs in another process")
    assert done.stderr == ""
