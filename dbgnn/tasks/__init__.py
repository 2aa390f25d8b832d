"""Tasks: training tables as a query, one row per seed: which node or link, as of when, and what is to be foretold."""

from dbgnn.tasks.entity_task import EntityTask
from dbgnn.tasks.link_task import LinkTask

__all__ = ["EntityTask", "LinkTask"]
