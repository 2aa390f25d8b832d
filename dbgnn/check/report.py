"""What a check found, as data and as text: `Finding`, `CheckReport`. Knows no database."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dbgnn.display import Shown
from dbgnn.schema.key_values import shown_value
from dbgnn.schema.model import EdgeType, shown_type
from dbgnn.terminal import one_line

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

#: ``error``: building the index or loading fails. ``warning``: training works, and is probably not what was meant.
#: ``info``: what the data is like.
Severity = Literal["error", "warning", "info"]

_STYLES: Mapping[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "dim"}

#: Names of columns that hold labels: how their values are distributed is shown value by value.
LABELS = frozenset(["class", "label", "labels", "target", "y"])

#: How many names or flags of a column that is no label are shown one by one.
_NAMED = 5

#: Columns of the table of degrees: key of `Finding.detail`, heading.
_DEGREES = (
    ("zero", "none"),
    ("min", "min"),
    ("median", "median"),
    ("mean", "mean"),
    ("p90", "90 %"),
    ("p99", "99 %"),
    ("max", "max"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found, of one node or edge type.

    Attributes:
        severity: ``"error"`` (building or loading fails), ``"warning"`` or ``"info"``.
        what: Its kind, such as ``"dangling"``, ``"duplicate keys"``, ``"NaN"``, ``"degrees"``.
        label: The node type, or the edge type.
        table: The table.
        column: The column, or several separated by commas; None where it is about whole rows.
        count: How many rows it is about.
        total: Of how many.
        text: One sentence.
        examples: Keys of the first rows (at most three): a value, or a tuple of a composite key or of an edge's two ends.
        remedy: What to do about it; "" where nothing has to be done.
        detail: Figures by name: the quantiles of degrees, rows per class, rows per length of a list; of dangling edges, how
            many have each of the examples.
    """

    severity: Severity
    what: str
    label: str | EdgeType
    table: str
    column: str | None
    count: int
    total: int
    text: str
    examples: tuple[Any, ...] = ()
    remedy: str = ""
    detail: Mapping[str, float] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Where it was found, such as ``paper.x`` or ``user-rated-movie``."""
        name = shown_type(self.label)
        return name if self.column is None else f"{name}.{one_line(self.column)}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as what JSON can hold; values that JSON has no type for become text."""
        return {
            "severity": self.severity,
            "what": self.what,
            "label": self.label if isinstance(self.label, str) else list(self.label),
            "table": self.table,
            "column": self.column,
            "count": self.count,
            "total": self.total,
            "text": self.text,
            "examples": [_plain(example) for example in self.examples],
            "remedy": self.remedy,
            "detail": dict(self.detail),
        }

    def __str__(self) -> str:
        shown = f"; the first: {', '.join(map(self._example, self.examples))}" if self.examples else ""
        return one_line(f"{self.where}: {self.text}{shown}.{f' {self.remedy}' if self.remedy else ''}")

    def _example(self, value: object) -> str:
        shown = shown_value(value)
        count = self.detail.get(shown) if self.what == "dangling" else None
        return shown if count is None else f"{shown} ({_number(int(count), 'edge')})"


@dataclass(frozen=True, slots=True, repr=False)
class CheckReport(Shown):
    """What :meth:`Graph.check` found. ``print(report)`` shows all of it, ``rich.print(report)`` in colours.

    Attributes:
        graph: The name of the graph.
        num_rows: Rows of every node and edge type that could be read.
        findings: Errors first, then warnings, then what is worth knowing.
    """

    graph: str
    num_rows: Mapping[str | EdgeType, int]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there are no errors, so that the index can be built and every row be loaded."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What makes building the index or loading fail."""
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is probably not meant."""
        return tuple(f for f in self.findings if f.severity == "warning")

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The errors, then the warnings."""
        return (*self.errors, *self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold."""
        return {
            "graph": self.graph,
            "ok": self.ok,
            "nodes": {label: n for label, n in self.num_rows.items() if isinstance(label, str)},
            "edges": [{"type": list(label), "rows": n} for label, n in self.num_rows.items() if not isinstance(label, str)],
            "findings": [f.to_dict() for f in self.findings],
        }

    def __str__(self) -> str:
        from rich.console import Console  # noqa: PLC0415 - only where a report is shown

        console = Console(file=io.StringIO(), width=160, color_system=None, legacy_windows=False)
        console.print(self, soft_wrap=True, markup=False, highlight=False)
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in text.splitlines())

    def __repr__(self) -> str:
        told = [_number(len(self.errors), "error"), _number(len(self.warnings), "warning")]
        return f"dbgnn.CheckReport({self.graph!r}: {', '.join(told)}; print() shows all)"

    def __rich__(self) -> Group:
        from rich.console import Group  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        parts: list[RenderableType] = [Text(self._title(), style="bold")]
        told = [f for f in self.findings if f.what not in ("degrees", "classes")]
        parts += [Text.assemble((f"  {f.severity:<7} ", _STYLES[f.severity]), str(f)) for f in told]
        degrees = [f for f in self.findings if f.what == "degrees"]
        classes = [f for f in self.findings if f.what == "classes"]
        labels = [f for f in classes if str(f.column).lower() in LABELS]
        others = [f for f in classes if f not in labels]
        named = [f for f in others if _is_short(f.detail)]
        few = [f for f in others if f not in named]
        shown = ((_degree_table, degrees), (_class_table, [*labels, *named]), (_few_table, few))
        return Group(*parts, *(table(found) for table, found in shown if found))

    def _title(self) -> str:
        nodes = sum(n for label, n in self.num_rows.items() if isinstance(label, str))
        edges = sum(self.num_rows.values()) - nodes
        told = [_number(len(self.errors), "error"), _number(len(self.warnings), "warning")]
        return f"Property graph {self.graph!r}: {nodes:,} nodes, {edges:,} edges: {', '.join(told)}"


def _degree_table(found: Sequence[Finding]) -> Table:
    from rich.text import Text  # noqa: PLC0415 - names are no markup

    table = _table("degrees", "nodes")
    for _, heading in _DEGREES:
        table.add_column(heading, justify="right")
    for f in found:
        cells = [f"{f.detail[key]:,.2f}" if key == "mean" else f"{f.detail[key]:,}" for key, _ in _DEGREES]
        table.add_row(Text(f.where), f"{f.total:,}", *cells)
    return table


def _class_table(found: Sequence[Finding]) -> Table:
    from rich.text import Text  # noqa: PLC0415 - values are no markup

    table = _table("values", "rows")
    table.add_column("share", justify="right")
    for f in found:
        for value, count in f.detail.items():
            table.add_row(Text(f"{f.where} = {one_line(value)}"), f"{count:,}", f"{count / f.count:.1%}")
        if rest := f.count - int(sum(f.detail.values())):
            table.add_row(Text(f"{f.where}: all others"), f"{rest:,}", f"{rest / f.count:.1%}")
    return table


def _is_short(values: Mapping[str, float]) -> bool:
    """Whether values of a column that is no label are worth a line each: a few names or flags, no months and hours."""
    return len(values) <= _NAMED and not all(value.lstrip("-").isdecimal() for value in values)


def _few_table(found: Sequence[Finding]) -> Table:
    """Return a line per column that has few values and is no label, such as months and hours."""
    from rich.text import Text  # noqa: PLC0415 - values are no markup

    table = _table("few values", "rows")
    table.add_column("")
    for f in found:
        table.add_row(Text(f.where), f"{f.count:,}", Text(one_line(f.text)))
    return table


def _table(what: str, number: str) -> Table:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(what, overflow="fold")
    table.add_column(number, justify="right")
    return table


def _number(count: int, noun: str) -> str:
    return f"{f'{count:,}' if count else 'no'} {noun}{'s' * (count != 1)}"


def _plain(value: object) -> object:
    """Return a key as JSON holds it."""
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
