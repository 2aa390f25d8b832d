"""Which of a node's edges a hop takes: one file per mode, one entry in `MODES`.

A mode says what decides its sample (`Mode.identity`), so that packs, `repr` and `loader.explain()` need not know it, and
writes the steps of the statement of a hop, from a node's adjacency list to the positions in it that are taken.
"""

from dbgnn.sampling.modes.labor import Labor
from dbgnn.sampling.modes.last import Last
from dbgnn.sampling.modes.mode import Counters, Eligible, FinishedInMemory, Mode, Step
from dbgnn.sampling.modes.uniform import Uniform
from dbgnn.sampling.modes.weighted import Weighted

#: Every mode, by the name that it is known by.
MODES: dict[str, type[Mode]] = {"uniform": Uniform, "last": Last, "labor": Labor, "weighted": Weighted}

#: What is sampled where nothing else is asked for.
UNIFORM = Uniform()

__all__ = [
    "MODES",
    "UNIFORM",
    "Counters",
    "Eligible",
    "FinishedInMemory",
    "Labor",
    "Last",
    "Mode",
    "Step",
    "Uniform",
    "Weighted",
]
