"""The command line, ``dbgnn``: commands in `app`, what they tell of a file in `info`, of a result in `summary`."""

from __future__ import annotations

from dbgnn.cli.app import app, main

__all__ = ["app", "main"]
