"""Pack, be killed, pack again; run by test_pack.py, as ``python pack_killed.py GRAPH FOLDER KILL …``.

Every KILL makes a pack ``FOLDER/<n>``: a forked process packs until it kills itself, a second one goes on where it stopped. A
whole number says at which operation on a file of the pack to kill (before it), a number with a point after how many seconds.
Prints the exit codes of both processes, one line per KILL.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path

import torch

from dbgnn import connect
from dbgnn.packs import pack
from tests.packs.test_pack import light

#: What Python says before it touches a file; opening is one of them, so what Arrow does comes in between.
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.listdir"}


def pack_once(graph: str, folder: Path, kill: str | None) -> None:
    """Pack two shuffled epochs, and kill this process on the way."""
    pack.PART_BYTES = 8_000
    done = 0

    def count(event: str, args: tuple[object, ...]) -> None:
        nonlocal done
        if event in EVENTS and str(args[0]).startswith(str(folder)):
            if str(done) == kill:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(count)
    with connect(graph, read_only=True) as db:
        # A process that goes on must take the order that the first one drew, not its own.
        own_order = kill is not None or not (folder / "pack.json").exists()
        loader = light(db, generator=torch.Generator().manual_seed(1 if own_order else 2))
        if kill and "." in kill:
            threading.Timer(float(kill), os.kill, (os.getpid(), signal.SIGKILL)).start()
        loader.pack(folder, epochs=2)


def run(graph: str, folder: Path, kill: str | None) -> int:
    """Run `pack_once` in a process of its own and return its exit code."""
    child = os.fork()
    if child == 0:
        try:
            pack_once(graph, folder, kill)
            os._exit(0)
        finally:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    for number, kill in enumerate(sys.argv[3:]):
        folder = Path(sys.argv[2]) / str(number)
        sys.stdout.write(f"{run(sys.argv[1], folder, kill)} {run(sys.argv[1], folder, None)}\n")
