"""``python -m dbgnn.cli``."""

from __future__ import annotations

from dbgnn.cli import main

main()
