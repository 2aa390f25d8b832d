"""`Encoders`: the encoders of all node and edge types, fitted type by type, kept as one JSON document."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from dbgnn import documents, files
from dbgnn.display import Listed
from dbgnn.documents import MalformedError, shortened
from dbgnn.encoders.document import BOUNDS, fitted_of, from_dict, function_names, to_dict
from dbgnn.encoders.encoder import Encoder, FitRows, FittedEncoder
from dbgnn.encoders.functions import Apply
from dbgnn.errors import DataError, DbgnnError, SchemaError, UnknownNameError, near_misses
from dbgnn.schema.model import Label
from dbgnn.terminal import one_line

_FORMAT, _VERSION = "dbgnn encoders", 1

#: What a document says of an encoder.
_ENTRY = {"label", "attribute", "encoder", "fitted"}


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
                entry: dict[str, Any] = {"label": label, "attribute": name, "encoder": to_dict(encoder, functions)}
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
        return cls._parse(text.encode("utf-8", "surrogatepass"), callables)

    @classmethod
    def _parse(cls, text: bytes, callables: Mapping[str, Callable[..., Any]] | None) -> Encoders:
        try:
            document = documents.parse(text, BOUNDS)
            if not isinstance(document, dict) or not {"format", "version", "encoders"} <= document.keys():
                raise MalformedError(f"says {shortened(document)}")
            if document["format"] != _FORMAT or type(document["version"]) is not int or document["version"] != _VERSION:
                raise DataError(
                    f"This dbgnn reads documents of encoders of version {_VERSION}; this one says that it is "
                    f"{shortened(document['format'])}, version {shortened(document['version'])}."
                )
            return cls._from_entries(document["encoders"], dict(callables or {}))
        except DbgnnError:
            raise
        except ValueError as error:
            raise DataError(f"This is no document of Encoders.to_json(): it {error}.") from error

    @classmethod
    def _from_entries(cls, entries: Any, callables: dict[str, Callable[..., Any]]) -> Encoders:
        _check_entries(entries)
        wanted = dict.fromkeys(name for entry in entries for name in function_names(entry["encoder"]))
        if missing := [name for name in wanted if name not in callables]:
            asked = ", ".join(f"{name!r}: …" for name in missing)
            raise UnknownNameError(
                f"The encoders call {', '.join(map(repr, missing))}, and functions are not kept in the document. Hand them in, "
                f"callables={{{asked}}}" + near_misses(missing[0], callables)
            )
        mapping: dict[Label, dict[str, Encoder]] = {}
        for number, entry in enumerate(entries):
            label, name = _label(entry["label"]), entry["attribute"]
            with _at(number, label, name):
                if name in mapping.setdefault(label, {}):
                    raise MalformedError("is there twice")
                mapping[label][name] = from_dict(entry["encoder"], callables)
        made = cls(mapping)
        for number, entry in enumerate(entries):
            label, name = _label(entry["label"]), entry["attribute"]
            if (found := entry.get("fitted")) is not None:
                with _at(number, label, name):
                    made._fitted.setdefault(label, {})[name] = fitted_of(made._declared[label][name], found)
        for label, some in made._fitted.items():
            if missing := [name for name in made._declared[label] if name not in some]:
                raise MalformedError(f"says of some encoders of {label!r} what was fitted, and not of {missing[0]!r}")
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
        """Read :meth:`from_json` from a file.

        Raises:
            UnknownNameError: A function is missing; the message names all that are.
            DataError: The file holds no such document, or one of a newer version.
            DbgnnError: The path names a folder, a FIFO or a device.
        """
        path = Path(path).expanduser()
        with files.opened(path) as file:
            text = file.read(BOUNDS.size + 1)
        try:
            return cls._parse(text, callables)
        except DataError as error:
            raise DataError(f"{str(path)!r} cannot be read. {error}") from error

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


def _check_entries(entries: Any) -> None:
    """Raise unless this is a list of what a document says of one encoder each."""
    if not isinstance(entries, list):
        raise MalformedError(f"has {shortened(entries)} for its encoders")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not {"label", "attribute", "encoder"} <= entry.keys() <= _ENTRY:
            raise MalformedError(f"says {shortened(entry)} of encoder {number}")
        if not isinstance(entry["attribute"], str):
            raise MalformedError(f"has {shortened(entry['attribute'])} for the attribute of encoder {number}")


@contextmanager
def _at(number: int, label: Label, name: str) -> Iterator[None]:
    """Have errors say which encoder they are about."""
    try:
        yield
    except (MalformedError, SchemaError) as error:
        raise DataError(
            f"The document says something of encoder {number}, {label!r} {name!r}, that cannot be: it {error}".rstrip(".") + "."
        ) from error


def holding(label: Label, name: str, fitted: FittedEncoder) -> Encoders:
    """Return the encoders that hold one fitted already."""
    made = Encoders({label: {name: fitted.encoder}})
    made._fitted[label] = {name: fitted}
    return made
