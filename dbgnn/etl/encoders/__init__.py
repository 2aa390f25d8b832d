"""Encoders: what columns that are no tensors, or not the right ones, become. Declared, fitted by SQL, kept as JSON."""

from __future__ import annotations

from dbgnn.etl.encoders.category import MultiHot, OneHot, Ordinal
from dbgnn.etl.encoders.collection import Encoders
from dbgnn.etl.encoders.dates import Datetime
from dbgnn.etl.encoders.encoder import Encoder, FittedEncoder
from dbgnn.etl.encoders.frame import Frame
from dbgnn.etl.encoders.functions import Apply, Text
from dbgnn.etl.encoders.hashing import Hash
from dbgnn.etl.encoders.numeric import Identity, Normalize, Stack

__all__ = [
    "Apply",
    "Datetime",
    "Encoder",
    "Encoders",
    "FittedEncoder",
    "Frame",
    "Hash",
    "Identity",
    "MultiHot",
    "Normalize",
    "OneHot",
    "Ordinal",
    "Stack",
    "Text",
]
