"""The JSON document of `Encoders`: what it says of an encoder, and what that must be.

A document may come from anybody. It names encoders and functions out of fixed sets, never modules; its texts become names of
columns, which are quoted, and values, which are bound; whatever else it holds is an error that says where. Its conditions
are shown, not run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import pyarrow as pa

from dbgnn.arrow import DTYPES
from dbgnn.documents import Bounds, MalformedError, shortened
from dbgnn.encoders.category import CategoryEncoder, MultiHot, OneHot, Ordinal
from dbgnn.encoders.dates import LINEAR, Datetime
from dbgnn.encoders.encoder import Encoder, FittedEncoder
from dbgnn.encoders.frame import Frame
from dbgnn.encoders.functions import Apply, Text
from dbgnn.encoders.hashing import Hash
from dbgnn.encoders.numeric import Identity, Normalize, Stack
from dbgnn.encoders.quantize import Quantize
from dbgnn.errors import SchemaError, near_misses

KINDS: dict[str, type[Encoder]] = {
    kind.__name__: kind
    for kind in (Identity, Stack, Normalize, Quantize, OneHot, Ordinal, MultiHot, Datetime, Hash, Text, Apply, Frame)
}

#: The most that a document may be: some million categories.
BOUNDS = Bounds(size=256 << 20, depth=32, values=1 << 24)

#: The longest vector that an encoder makes of a row, and the most of anything that is counted.
_WIDEST, _MOST = 1_000_000, 1 << 62

_Check = Callable[[Any], bool]


# -- what types there are ------------------------------------------------------------------------------


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | str) or _is_number(value)


def _is_scalars(value: Any) -> bool:
    return isinstance(value, list) and all(_is_scalar(item) and item is not None for item in value)


def _is_number(value: Any) -> bool:
    return type(value) in {int, float} and -_MOST * 4 <= value <= _MOST * 4


def _is_numbers(value: Any, count: int | None = None) -> bool:
    return isinstance(value, list) and all(map(_is_number, value)) and count in (None, len(value))


def _is_count(most: int, least: int = 0) -> _Check:
    return lambda value: type(value) is int and least <= value <= most


def _is_counts(value: Any, count: int | None = None) -> bool:
    return isinstance(value, list) and all(map(_is_count(_MOST), value)) and count in (None, len(value))


def _is_parts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str | dict) for item in value)


#: What an option may be, whichever encoder has it. Choices among words are the encoders' to check.
_OPTIONS: dict[str, _Check] = {
    **dict.fromkeys(("column", "null", "dtype", "how", "unseen", "sep", "output", "function"), _is_text),
    **dict.fromkeys(("columns", "numerical", "categorical", "multicategorical", "timestamp", "embedding"), _is_texts),
    **dict.fromkeys(("cyclic", "scale", "signed"), _is_flag),
    "parts": _is_parts,
    "text": lambda value: isinstance(value, list) and all(isinstance(v, dict) and v.get("encoder") == "Text" for v in value),
    "fill": _is_scalar,
    "categories": _is_scalars,
    "max_categories": _is_count(_MOST),
    "batch_size": _is_count(_MOST, 1),
    "buckets": _is_count(_MOST, 1),
}


# -- declarations --------------------------------------------------------------------------------------


def to_dict(encoder: Encoder, functions: dict[str, object]) -> dict[str, Any]:
    """Return what a declaration says beyond its defaults; functions by their names, and in `functions`."""
    out: dict[str, Any] = {"encoder": type(encoder).__name__}
    for option, value in encoder.options().items():
        if option == "function":
            name = out["function"] = encoder.called  # type: ignore[attr-defined] # of Text and Apply, which have functions
            if functions.setdefault(name, value) is not value and functions[name] != value:
                raise SchemaError(f"Two functions of the encoders are called {name!r}; tell them apart with called='…'.")
        elif option != "called":
            out[option] = (
                [to_dict(v, functions) if isinstance(v, Encoder) else v for v in value] if isinstance(value, tuple) else value
            )
    return out


def from_dict(entry: Any, callables: Mapping[str, Callable[..., Any]]) -> Encoder:
    """Return the encoder of a declaration.

    Raises:
        MalformedError: It is none; the message says what it says instead.
        SchemaError: Its options do not go together.
    """
    if not isinstance(entry, dict) or not isinstance(name := entry.get("encoder"), str):
        raise MalformedError(f"has {shortened(entry)} where an encoder should be")
    if name not in KINDS:
        raise MalformedError(f"names an encoder {shortened(name)}{near_misses(shortened(name).strip(chr(39)), KINDS)}")
    kind = KINDS[name]
    known = {field.name for field in fields(kind)} - {"called"}  # type: ignore[arg-type] # every encoder is a dataclass
    options: dict[str, Any] = {}
    for option, value in entry.items():
        if option == "encoder":
            continue
        if option not in known:
            raise MalformedError(f"gives {name} the option {shortened(option)}, which it does not have")
        if not _OPTIONS[option](value):
            raise MalformedError(f"gives {name} {option}={shortened(value)}")
        options[option] = (
            tuple(from_dict(v, callables) if isinstance(v, dict) else v for v in value) if isinstance(value, list) else value
        )
    if "function" in known:
        if "function" not in options:
            raise MalformedError(f"names no function for {name}")
        options["called"] = options["function"]
        options["function"] = callables[options["called"]]
    if name == Hash.__name__ and options.get("output") == "onehot" and options.get("buckets", 0) > _WIDEST:
        raise MalformedError(f"asks for vectors of {options['buckets']:,} numbers")
    parts = options.pop("parts", ()) if kind is Stack else ()
    try:
        return kind(*parts, **options)
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedError(f"gives {name} options that do not fit: {error}") from error


def function_names(entry: Any) -> Iterator[str]:
    """Yield the names of the functions in the declaration of an encoder and of its parts."""
    if isinstance(entry, dict):
        if isinstance(entry.get("function"), str):
            yield entry["function"]
        for value in entry.values():
            yield from function_names(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from function_names(value)


# -- what was found ------------------------------------------------------------------------------------


def fitted_of(encoder: Encoder, found: Any) -> FittedEncoder:
    """Return a fitted encoder of what a document says was found.

    Raises:
        MalformedError: That is nothing that fitting the encoder finds.
    """
    if not isinstance(found, dict) or found.keys() != {"rows", "where", "state"}:
        raise MalformedError(f"says {shortened(found)} of what was fitted")
    rows, where, state = found["rows"], found["where"], found["state"]
    if not _is_count(_MOST)(rows) or not (where is None or _is_text(where)):
        raise MalformedError(f"was fitted on {shortened(rows)} rows where {shortened(where)}")
    _check_state(encoder, state)
    try:
        return FittedEncoder(encoder, state, rows, where)
    except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
        raise MalformedError(f"says that fitting found {shortened(state)}: {error}") from error


def _check_state(encoder: Encoder, state: Any) -> None:
    if not isinstance(state, dict) or not _is_state(encoder, state):
        raise MalformedError(f"says that fitting {type(encoder).__name__} found {shortened(state)}")


def _is_state(encoder: Encoder, state: dict[str, Any]) -> bool:
    """Whether an encoder of this kind can have found this."""
    names = set(state)
    match encoder:
        case Stack():
            if names != {"parts"} or not isinstance(state["parts"], list) or len(state["parts"]) != len(encoder.parts):
                return False
            for part, of in zip(encoder.parts, state["parts"], strict=True):
                _check_state(part, of)
            return True
        case Normalize():
            return names == {"shift", "scale"} and _is_scaling(state["shift"], state["scale"])
        case CategoryEncoder():
            return names == {"kind", "categories"} and _is_categories(state)
        case Datetime():
            wanted = {part for part in encoder.parts if part in LINEAR} if encoder.scale else set()
            return names == wanted and all(_is_numbers(ends, 2) for ends in state.values())
        case Text():
            return names == {"width"} and _is_count(_WIDEST)(state["width"])
        case Apply():
            return not names or (names == {"shape", "dtype"} and _is_shape(state["shape"]) and state["dtype"] in list(DTYPES))
        case Frame():
            return _is_frame(encoder, state)
        case _:
            return not names


def _is_scaling(shift: Any, scale: Any) -> bool:
    if isinstance(shift, list):
        return _is_numbers(shift) and _is_numbers(scale, len(shift)) and all(s > 0 for s in scale)
    return _is_number(shift) and _is_number(scale) and scale > 0


def _is_shape(value: Any) -> bool:
    return _is_counts(value) and len(value) <= 16 and math.prod(n for n in value if n) <= _WIDEST


def _is_categories(state: dict[str, Any]) -> bool:
    return state["kind"] in ["bool", "integer", "float", "text", "date"] and _is_scalars(state["categories"])


def _is_frame(encoder: Frame, state: dict[str, Any]) -> bool:
    columns = {
        "numerical": encoder.numerical,
        "categorical": encoder.categorical,
        "multicategorical": encoder.multicategorical,
        "timestamp": encoder.timestamp,
        "embedding": [*encoder.embedding, *(text.name for text in encoder.text)],
    }
    return state.keys() == columns.keys() and all(
        isinstance(found := state[kind], dict) and found.keys() == set(names) and all(map(_FRAME[kind], found.values()))
        for kind, names in columns.items()
    )


def _is_numerical(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and found.keys() == {"MEAN", "STD", "QUANTILES"}
        and _is_number(found["MEAN"])
        and _is_number(found["STD"])
        and _is_numbers(found["QUANTILES"], 5)
    )


def _is_counted(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and found.keys() == {"kind", "categories", "counts"}
        and _is_categories(found)
        and _is_counts(found["counts"], len(found["categories"]))
    )


def _is_times(found: Any) -> bool:
    sizes = {"YEAR_RANGE": 2, "OLDEST_TIME": 7, "NEWEST_TIME": 7, "MEDIAN_TIME": 7}
    return (
        isinstance(found, dict)
        and found.keys() == sizes.keys()
        and all(_is_numbers(found[name], size) and all(type(n) is int for n in found[name]) for name, size in sizes.items())
    )


_FRAME: dict[str, _Check] = {
    "numerical": _is_numerical,
    "categorical": _is_counted,
    "multicategorical": _is_counted,
    "timestamp": _is_times,
    "embedding": _is_count(_WIDEST),
}
