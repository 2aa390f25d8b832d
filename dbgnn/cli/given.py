"""What is given on the command line, read: labels and texts (``paper=year > 2015``), and the COPY of some files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from dbgnn.sql import literal, quote, quote_all

#: The readers of DuckDB by the endings of names.
_READERS = {
    "csv": ("csv", "tsv", "txt"),
    "parquet": ("parquet", "pq"),
    "json": ("json", "jsonl", "ndjson"),
    "npy": ("npy",),
}


def assignments(option: str, given: Sequence[str] | None) -> dict[Any, str]:
    """Return ``TYPE=TEXT`` pairs as a dict; a type of three names between commas is an edge type."""
    found: dict[Any, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        parts = tuple(part.strip() for part in name.split(","))
        if not equals or not all(parts) or len(parts) not in (1, 3):
            raise typer.BadParameter(
                f"{text!r} is not of the form TYPE=TEXT, where TYPE is a name or SRC,REL,DST", param_hint=option
            )
        label = parts[0] if len(parts) == 1 else parts
        if label in found:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        found[label] = value
    return found


def labelled(option: str, given: Sequence[str] | None) -> dict[Any, str]:
    """Return :func:`assignments` whose types are all node types, or for ``--edges`` all edge types."""
    found, edges = assignments(option, given), option == "--edges"
    for label in found:
        if isinstance(label, tuple) is not edges:
            form = "SRC,REL,DST=SQL" if edges else "TYPE=SQL"
            raise typer.BadParameter(f"the type {label!r} is none for {form}", param_hint=option)
    return found


def columns_of(given: Sequence[str] | None) -> dict[Any, list[str]] | None:
    """Return the columns to take by type; None: those that a loader takes."""
    found = {
        label: [c.strip() for c in text.split(",") if c.strip()] for label, text in assignments("--columns", given).items()
    }
    return found or None


def copy_statements(
    table: str,
    files: Sequence[str],
    *,
    columns: str | None,
    by_column: bool,
    header: bool | None,
    delimiter: str | None,
    form: str | None,
    create: bool,
) -> list[str]:
    """Return the statements that load the files; each answers with the number of its rows.

    npy files are columns of one statement. Of other files each is read by one of its own.
    """
    name = ".".join(map(quote, table.split(".")))
    kinds = {form.lower() if form else _kind(file) for file in files}
    csv = {
        "header": None if header is None else str(header).lower(),
        "delim": None if delimiter is None else literal(delimiter),
    }
    options = {key: value for key, value in csv.items() if value is not None}
    if create:
        if len(kinds) > 1 or not kinds <= {"csv", "parquet", "json"} or columns or by_column:
            raise typer.BadParameter(
                "--create reads all columns of CSV, Parquet or JSON files, of one kind", param_hint="--create"
            )
        if len(files) > 1:
            options["union_by_name"] = "true"  # else columns that the first file does not have would be left out
        given = ", ".join([f"[{', '.join(map(literal, files))}]", *(f"{key} = {value}" for key, value in options.items())])
        return [f"CREATE TABLE {name} AS FROM read_{kinds.pop()}({given})"]
    form = form or next((kind for kind in ("parquet", "json") if kinds == {kind}), None)  # COPY knows fewer endings
    named = f" ({quote_all(c.strip() for c in columns.split(','))})" if columns else ""
    told = ", ".join(
        [*([f"FORMAT {quote(form.lower())}"] if form else []), *(f"{key} {value}" for key, value in options.items())]
    )
    tail = f" ({told})" if told else ""
    if by_column or "npy" in kinds:
        listed = ", ".join(map(literal, files))
        return [f"COPY {name}{named} FROM ({listed}){' BY COLUMN' * by_column}{tail}"]
    return [f"COPY {name}{named} FROM {literal(file)}{tail}" for file in files]


def _kind(file: str) -> str:
    ending = file.lower().removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    return next((kind for kind, endings in _READERS.items() if ending in endings), ending)
