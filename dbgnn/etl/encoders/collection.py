"""`Encoders`: the encoders of all node and edge types, fitted type by type, kept as one JSON document."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from dbgnn import files
from dbgnn.display import Listed
from dbgnn.errors import DataError, DbgnnError, SchemaError, UnknownNameError, near_misses
from dbgnn.etl.encoders.category import MultiHot, OneHot, Ordinal
from dbgnn.etl.encoders.dates import Datetime
from dbgnn.etl.encoders.encoder import Encoder, FitRows, FittedEncoder, Label
from dbgnn.etl.encoders.frame import Frame
from dbgnn.etl.encoders.functions import Apply, Text
from dbgnn.etl.encoders.hashing import Hash
from dbgnn.etl.encoders.numeric import Identity, Normalize, Stack
from dbgnn.terminal import one_line

_KINDS: dict[str, Callable[..., Encoder]] = {
    kind.__name__: kind for kind in (Identity, Stack, Normalize, OneHot, Ordinal, MultiHot, Datetime, Hash, Text, Apply, Frame)
}

_FORMAT, _VERSION = "dbgnn encoders", 1


class Encoders(Listed):
    """Encoders by node or edge type and attribute, with what fitting found.

    ``Encoders({"movie": {"genres": MultiHot(sep="|"), "x": Stack("year", Normalize("budget"))}})``. They are fitted at their
    first use, and used as they are from then on, so that new data is encoded as the old was. ``print(encoders)`` shows
    what was fitted, and on how many rows.

    Args:
        mapping: By node type or edge type (a triple), and by attribute: an encoder, or a function of Arrow arrays
            (:class:`Apply`). An encoder that names no column reads the one with the attribute's name.

    Raises:
        SchemaError: A label or an encoder is none.
    """

    def __init__(self, mapping: Mapping[Any, Mapping[str, Encoder | Callable[..., Any]]]) -> None:
        self._declared: dict[Label, dict[str, Encoder]] = {}
        self._fitted: dict[Label, dict[str, FittedEncoder]] = {}
        for given, attributes in mapping.items():
            label = _label(given)
            if not isinstance(attributes, Mapping):
                raise SchemaError(
                    f"encoders[{label!r}] must be encoders by attribute, {{'x': Stack('year')}}, not {attributes!r}."
                )
            self._declared[label] = {name: _encoder(label, name, encoder) for name, encoder in attributes.items()}

    def fit(
        self,
        run: Callable[[str], pa.Table],
        label: Label,
        query: str,
        types: Mapping[str, str],
        where: str | None = None,
    ) -> None:
        """Fit the encoders of one type, unless they are.

        Args:
            run: Runs a query.
            label: The node or edge type.
            query: A checked SELECT with the columns that the encoders read.
            types: The SQL type of each of its columns.
            where: A checked condition in parentheses over its columns: the rows to fit on; None: all.

        Raises:
            UnknownNameError: There are no encoders for the type, or there is no such column.
            SchemaError: A column has a type that its encoder does not take.
            DataError: The rows do not give what is needed, such as a mean, or have too many categories.
        """
        declared = self._of(label)
        if self.is_fitted(label):
            return
        rows = FitRows(run, query, types, where, label)
        count = len(rows)
        self._fitted[label] = {name: FittedEncoder.fit(encoder, rows, count) for name, encoder in declared.items()}

    def fitted(self, label: Label) -> dict[str, FittedEncoder]:
        """Return the fitted encoders of a type, by attribute.

        Raises:
            UnknownNameError: There are no encoders for the type.
            DataError: They are not fitted yet.
        """
        self._of(label)
        if label not in self._fitted:
            raise DataError(f"The encoders of {label!r} are not fitted yet; using them on data fits them.")
        return dict(self._fitted[label])

    def is_fitted(self, label: Label) -> bool:
        """Whether the encoders of a type are fitted, and on rows: after a query without any, they are fitted again."""
        self._of(label)
        return label in self._fitted and all(fitted.num_rows for fitted in self._fitted[label].values())

    def to_json(self) -> str:
        """Return declarations and what was found as one JSON document; functions are named in it, not kept.

        Raises:
            SchemaError: Two different functions have one name.
        """
        functions: dict[str, object] = {}
        entries = []
        for label, attributes in self._declared.items():
            for name, encoder in attributes.items():
                entry: dict[str, Any] = {"label": label, "attribute": name, "encoder": _to_dict(encoder, functions)}
                if (fitted := self._fitted.get(label, {}).get(name)) is not None:
                    entry["fitted"] = {"rows": fitted.num_rows, "where": fitted.where, "state": fitted.state}
                entries.append(entry)
        document = {"format": _FORMAT, "version": _VERSION, "encoders": entries}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, callables: Mapping[str, Callable[..., Any]] | None = None) -> Encoders:
        """Return the encoders of a document made by :meth:`to_json`.

        Args:
            text: The document.
            callables: The functions of :class:`Text` and :class:`Apply`, by the names in the document.

        Raises:
            UnknownNameError: A function is missing; the message names all that are.
            DataError: The text is no such document, or of a newer version.
        """
        try:
            document = json.loads(text)
            known, version = document["format"] == _FORMAT, document["version"]
            made = cls._from_entries(document["encoders"], dict(callables or {})) if known and version == _VERSION else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, DbgnnError):  # UnknownNameError is a KeyError, too
                raise
            raise DataError(f"This is no document of Encoders.to_json(): {error!r}") from error
        if made is None:
            raise DataError(f"This dbgnn reads documents of encoders of version {_VERSION}; this one says {text[:80]!r}.")
        return made

    @classmethod
    def _from_entries(cls, entries: list[dict[str, Any]], callables: dict[str, Callable[..., Any]]) -> Encoders:
        wanted = dict.fromkeys(name for entry in entries for name in _functions(entry["encoder"]))
        if missing := [name for name in wanted if name not in callables]:
            asked = ", ".join(f"{name!r}: …" for name in missing)
            raise UnknownNameError(
                f"The encoders call {', '.join(map(repr, missing))}, and functions are not kept in the document. Hand them in, "
                f"callables={{{asked}}}" + near_misses(missing[0], callables)
            )
        mapping: dict[Label, dict[str, Encoder]] = {}
        for entry in entries:
            mapping.setdefault(_label(entry["label"]), {})[entry["attribute"]] = _from_dict(entry["encoder"], callables)
        made = cls(mapping)
        for entry in entries:
            if (found := entry.get("fitted")) is not None:
                label, name = _label(entry["label"]), entry["attribute"]
                fitted = FittedEncoder(made._declared[label][name], found["state"], found["rows"], found["where"])
                made._fitted.setdefault(label, {})[name] = fitted
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_json` to a file; what was there is replaced once the new one is whole.

        Raises:
            DbgnnError: The path names a link, a folder, or anything else but a regular file.
            SchemaError: Two different functions have one name.
        """
        text = self.to_json().encode()
        with files.replaced(Path(path).expanduser()) as file:
            file.write(text)

    @classmethod
    def load(cls, path: str | os.PathLike[str], callables: Mapping[str, Callable[..., Any]] | None = None) -> Encoders:
        """Read :meth:`from_json` from a file."""
        return cls.from_json(Path(path).expanduser().read_text(encoding="utf-8"), callables)

    def _of(self, label: Label) -> dict[str, Encoder]:
        if label not in self._declared:
            raise UnknownNameError(f"There are no encoders for {label!r}" + near_misses(label, self._declared))
        return self._declared[label]

    def __contains__(self, label: object) -> bool:
        return label in self._declared

    def __iter__(self) -> Iterator[Label]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def __repr__(self) -> str:
        lines = ["dbgnn.Encoders("]
        for label, attributes in self._declared.items():
            for name, encoder in attributes.items():
                fitted = self._fitted.get(label, {}).get(name)
                said = "not fitted" if fitted is None else f"fitted on {fitted.num_rows:,} rows"
                if fitted is not None and fitted.where is not None:
                    said += f" where {' '.join(fitted.where.split())}"
                found = "" if fitted is None else encoder.found(fitted.state)
                lines.append(f"  {label!r} {name}: {encoder!r}, {', '.join(filter(None, [said, found]))}")
        return "\n".join([*map(one_line, lines), ")"])


def _label(given: Any) -> Label:
    if isinstance(given, str):
        return given
    parts = tuple(given) if isinstance(given, tuple | list) else ()
    if len(parts) == 3 and all(isinstance(part, str) for part in parts):
        return parts
    raise SchemaError(f"encoders: {given!r} is neither a node type nor an edge type (source, relation, destination).")


def _encoder(label: Label, name: str, given: object) -> Encoder:
    if isinstance(given, Encoder):
        return given.bound(name)
    if isinstance(given, type) and issubclass(given, Encoder):
        raise SchemaError(f"encoders[{label!r}][{name!r}] is the class {given.__name__}; write {given.__name__}().")
    if callable(given):
        return Apply(given).bound(name)
    raise SchemaError(f"encoders[{label!r}][{name!r}] must be an encoder or a function, not {given!r}.")


def _to_dict(encoder: Encoder, functions: dict[str, object]) -> dict[str, Any]:
    """Return what a declaration says beyond its defaults; functions by their names, and in `functions`."""
    out: dict[str, Any] = {"encoder": type(encoder).__name__}
    for option, value in encoder.options().items():
        if option == "function":
            name = out["function"] = encoder.called  # type: ignore[attr-defined] # of Text and Apply, which have functions
            if functions.setdefault(name, value) is not value and functions[name] != value:
                raise SchemaError(f"Two functions of the encoders are called {name!r}; tell them apart with called='…'.")
        elif option != "called":
            out[option] = (
                [_to_dict(v, functions) if isinstance(v, Encoder) else v for v in value] if isinstance(value, tuple) else value
            )
    return out


def _from_dict(entry: Mapping[str, Any], callables: Mapping[str, Callable[..., Any]]) -> Encoder:
    options = dict(entry)
    name = options.pop("encoder")
    if name not in _KINDS:
        raise DataError(f"The document names an encoder {name!r}" + near_misses(name, _KINDS))
    for option, value in options.items():
        if isinstance(value, list):
            options[option] = tuple(_from_dict(v, callables) if isinstance(v, dict) else v for v in value)
    if "function" in options:
        options["called"] = options["function"]
        options["function"] = callables[options["called"]]
    parts = options.pop("parts") if name == Stack.__name__ else ()
    return _KINDS[name](*parts, **options)


def _functions(entry: Any) -> Iterator[str]:
    """Yield the names of the functions in the declaration of an encoder and of its parts."""
    if isinstance(entry, dict):
        if isinstance(entry.get("function"), str):
            yield entry["function"]
        for value in entry.values():
            yield from _functions(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from _functions(value)
