"""Write, and be killed on the way; run by test_write_back.py and test_predict.py:
``python -m tests.writeback.killed CASE FILE …``.

A CASE is what is done, a colon, and the moment of the kill: ``move`` (all is written, nothing committed), ``settle`` (right
after the commit), or before which call of the model. Every case is a forked process; its exit code is printed.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import Any

import torch

from dbgnn import NeighborLoader, connect
from dbgnn.writeback import moving, predicted


def kill(*_: object) -> Any:
    """End this process as a crash does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Doubled(torch.nn.Module):
    """Twice the features; counts its calls, and dies before one of them."""

    def __init__(self, dies_at: int = -1) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))
        self.calls, self.dies_at = 0, dies_at

    def forward(self, batch: Any) -> torch.Tensor:
        """Return ``[nodes, 2]``."""
        if self.calls == self.dies_at:
            kill()
        self.calls += 1
        out: torch.Tensor = batch["paper"].x * self.weight
        return out


def do(case: str, file: str) -> None:
    """Do what a case says."""
    what, _, moment = case.partition(":")
    predicted.FLUSH_SECONDS = 0.0  # every mini-batch is committed
    if moment == "move":
        move = moving.move_staged
        moving.move_staged = lambda *args: kill(move(*args))
    if moment == "settle":
        moving.settle = kill  # type: ignore[assignment]
    graph = connect(file, progress=False).graph()
    if what == "write":
        graph.write_back("paper", e=torch.arange(20.0).unsqueeze(1), s=torch.arange(20))
    else:
        loader = NeighborLoader(graph, [2], input_nodes="paper", batch_size=4)
        graph.predict(Doubled(int(moment) if moment.isdigit() else -1), loader, "paper.pred")


if __name__ == "__main__":
    for case, file in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        child = os.fork()
        if child == 0:
            try:
                do(case, file)
            except BaseException:  # noqa: BLE001 - the exit code says that something else went wrong
                traceback.print_exc()
            os._exit(1)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()
