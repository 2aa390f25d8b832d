"""Encoders: what columns that are no tensors, or not the right ones, become. Declared, fitted by SQL, kept as JSON."""

from __future__ import annotations

from dbgnn.encoders.category import MultiHot, OneHot, Ordinal
from dbgnn.encoders.collection import Encoders
from dbgnn.encoders.dates import Datetime
from dbgnn.encoders.encoder import Encoder, FittedEncoder
from dbgnn.encoders.frame import Frame
from dbgnn.encoders.functions import Apply, Text
from dbgnn.encoders.hashing import Hash
from dbgnn.encoders.numeric import Identity, Normalize, Stack
from dbgnn.encoders.quantize import Quantize

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
    "Quantize",
    "Stack",
    "Text",
]
