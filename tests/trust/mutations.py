"""Changes to bytes and to JSON as somebody makes them who looks for a way through: seeded, each of another kind."""

from __future__ import annotations

import os
import random
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: How many changes CI tries; 10,000 take some minutes.
CASES = int(os.environ.get("DBGNN_MUTATIONS", "250"))

#: Numbers at the edges of types, sizes and signs.
EDGES = [
    0,
    1,
    -1,
    2,
    7,
    8,
    63,
    64,
    255,
    256,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    -(2**31),
    2**32,
    2**40,
    2**62,
    2**63 - 1,
    -(2**63),
]

#: Values of JSON that are rarely expected.
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", "x", "\x00",
    "\x1b[2J", "\u202e", "\ud800", "../x", "/etc/passwd", "a" * 300, [], [[]], {}, [None], {"a": None}, {"tensor": 1},
    {"tuple": []},
    {"dict": [[[], 1]]}, {"tensor": 1, "dtype": "object", "shape": [1]}, {"tensor": 1, "dtype": "int64", "shape": [2**62, 4]},
]  # fmt: skip


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Let the process take no more than 512 MB beside what it has: all files here are small."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with Path("/proc/self/statm").open() as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (512 << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def change_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return other bytes: some flipped, overwritten by a number, cut out, doubled, cut off, or added."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(out)) if out else 0
        if rng.random() < 0.4:  # where the structure is: beginning and end
            at = rng.choice((min(at, rng.randrange(400)), max(0, len(out) - 1 - rng.randrange(400))))
        match rng.randrange(8):
            case 0 | 1:
                out[at : at + 1] = bytes([rng.randrange(256)])
            case 2 | 3:
                form = rng.choice("<q <i <H >q >i".split())
                edge = rng.choice(EDGES) + rng.choice((0, 0, 1, -1, len(out), at))
                size = struct.calcsize(form)
                at -= at % rng.choice((1, size))
                out[at : at + size] = (edge % 2 ** (8 * size)).to_bytes(size, "little" if form[0] == "<" else "big")
            case 4:
                del out[at : at + rng.choice((1, 8, 64, 1000))]
            case 5:
                out[at:at] = out[at : at + rng.choice((1, 8, 64, 1000))]
            case 6:
                del out[at:]
            case _:
                out += rng.randbytes(rng.choice((1, 8, 64)))
    return bytes(out)


def change_json(rng: random.Random, value: Any) -> Any:
    """Return a document with a value in it replaced, taken out, doubled, renamed or nested."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.05:
        if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.6:
            return rng.choice((value + 1, value - 1, -value, value * 2, value + 2**32, str(value), float(value)))
        return nested(value, rng.choice((5, 100, 400))) if rng.random() < 0.03 else rng.choice(ODD)
    if isinstance(value, list):
        out = list(value)
        at = rng.randrange(len(out))
        match rng.randrange(8):
            case 0:
                del out[at]
            case 1:
                out.insert(at, out[at])
            case 2:
                out.insert(at, rng.choice(ODD))
            case _:
                out[at] = change_json(rng, out[at])
        return out
    changed = dict(value)
    key = rng.choice(list(changed))
    match rng.randrange(10):
        case 0:
            del changed[key]
        case 1:
            changed[rng.choice(("", "x", "_parent", "__class__", "edge_index", "a" * 300))] = rng.choice(ODD)
        case 2:
            changed[key + "_"] = changed.pop(key)
        case _:
            changed[key] = change_json(rng, changed[key])
    return changed


def nested(value: Any, depth: int) -> Any:
    """Return a value in so many lists."""
    for _ in range(depth):
        value = [value]
    return value
