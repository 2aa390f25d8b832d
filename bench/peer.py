"""A peer in a process, and an interpreter, of its own: asked by a line, it answers by a line of JSON."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any


class Peer:
    """A script that answers every line of its input with one JSON object.

    Args:
        python: Its interpreter.
        script: Its text; it answers once with its version before the first line.
        arguments: What it is called with.
    """

    def __init__(self, python: Path, script: str, *arguments: object) -> None:
        command = [str(python), "-c", script, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.first = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):  # Kùzu prints progress between the answers
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit(f"The peer ended without an answer (exit code {self.process.wait()}).")

    def ask(self, line: str = "") -> dict[str, Any]:
        """Return the answer to a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
