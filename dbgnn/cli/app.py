"""The commands of ``dbgnn``. Each opens the file, calls what Python calls, and tells the result as text or as JSON.

Nothing that needs torch is imported before a command needs it, so that ``--help``, ``info`` and ``check`` start at once.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import duckdb
import typer
from typer.core import TyperGroup

import dbgnn
from dbgnn import files
from dbgnn.cli.given import assignments, columns_of, copy_statements, labelled
from dbgnn.cli.info import describe_file, describe_text
from dbgnn.cli.row_text import json_value, line, names_apart
from dbgnn.cli.summary import summarize, summary_text
from dbgnn.database import connect
from dbgnn.errors import ConnectionError, DbgnnError
from dbgnn.schema.model import shown_type
from dbgnn.terminal import one_line, printable, printable_json


def _examples(*lines: str) -> str:
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])  # \b keeps the lines as they are


#: What click raises for wrong usage; typer brings click along under a name of its own, or needs it beside itself.
_UsageError: Any = typer.BadParameter.__base__

#: How many rows of a result `execute` holds while it prints them.
_ROWS_AT_ONCE = 10_000


class _Commands(TyperGroup):
    """Shows errors that say what to do as one red text, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # a reader such as head went away; click ends in silence
            raise
        except (DbgnnError, duckdb.Error, OSError, UnicodeError) as error:
            typer.secho(f"Error: {_indented(error)}", fg=typer.colors.RED, err=True)
            raise typer.Exit(1) from error
        except _UsageError as error:  # quotes what was typed, or what a shell made of *.duckdb
            error.message = printable(error.message)
            raise

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().make_context(*args, **kwargs)
        except _UsageError as error:
            error.message = printable(error.message)
            raise


def _indented(error: Exception) -> str:
    """Return the text of an error; its further lines are indented, so that a name with a line break in it forges none."""
    return printable(str(error)).replace("\n", "\n  ")


def _tell(text: str, *, err: bool = False) -> None:
    """Print text, whatever the names in it hold."""
    typer.echo(printable(text), err=err)


app = typer.Typer(
    name="dbgnn",
    cls=_Commands,
    help="Graphs in DuckDB files, for PyTorch Geometric.",
    epilog="dbgnn COMMAND --help shows examples. Exit codes: 0; 1 for an error, or a check that found one; 2 for wrong usage.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[str, typer.Argument(metavar="FILE.duckdb", help="The DuckDB file.")]
GraphName = Annotated[str | None, typer.Option("--graph", "-g", help="The property graph, where there are several.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bars.")]
MemoryOption = Annotated[str | None, typer.Option(help="DuckDB's buffer memory, such as 4GB.")]
Trusted = Annotated[
    bool,
    typer.Option(
        "--trusted", help="The file is your own: let macros be that have the name of a function, and extensions be loaded."
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="DuckDB's threads.")]


def _show_version(value: bool) -> None:  # noqa: FBT001 - typer hands it over so
    if value:
        _tell(f"dbgnn {dbgnn.__version__}, DuckDB {duckdb.__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    app()


@app.callback()
def _dbgnn(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
) -> None: ...


@app.command(
    epilog=_examples(
        "dbgnn info graph.duckdb",
        "dbgnn info graph.duckdb --json | jq '.graphs[].nodes'",
    )
)
def info(file: File, *, graph: GraphName = None, as_json: Json = False, trusted: Trusted = False) -> None:
    """Show graphs, types, counts, columns, and whether the index is up to date.

    The file may be a stranger's: nothing in it acts, and no other file is read or written.
    """
    with connect(file, read_only=True, untrusted=not trusted, trusted=trusted) as db:
        found = describe_file(db, graph)
    _tell(_dumps(found) if as_json else describe_text(found))


@app.command(
    epilog=_examples(
        "dbgnn check graph.duckdb",
        "dbgnn check graph.duckdb --strict --json > report.json",
    )
)
def check(
    file: File,
    *,
    graph: GraphName = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    trusted: Trusted = False,
    memory_limit: MemoryOption = None,
    threads: Threads = None,
) -> None:
    """Look for what makes training fail, or go wrong unseen. Writes nothing; exits with 1 where it found an error.

    The file may be a stranger's: nothing in it acts, and no other file is read or written.

    Dangling edges, NULL and repeated keys, edges twice, nodes without edges, NULL, NaN and infinities in features, lists
    that are no arrays; and the degrees and classes.
    """
    reader = connect(file, read_only=True, untrusted=not trusted, trusted=trusted, memory_limit=memory_limit, threads=threads)
    with reader as db:
        report = db.graph(graph).check(progress=not quiet)
    if as_json:
        _tell(_dumps(report.to_dict()))
    elif sys.stdout.isatty():
        from rich import print as rich_print  # noqa: PLC0415

        rich_print(report)
    else:
        _tell(str(report))
    if not report.ok or (strict and report.warnings):
        raise typer.Exit(1)


@app.command(
    epilog=_examples(
        "dbgnn build graph.duckdb",
        "dbgnn build graph.duckdb --graph papers --dangling drop",
    )
)
def build(
    file: File,
    *,
    graph: GraphName = None,
    dangling: Annotated[
        str | None, typer.Option(metavar="error|drop", help="What to do with edges whose node is missing. [as the last time]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build every part again, changed or not.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    memory_limit: MemoryOption = None,
    threads: Threads = None,
) -> None:
    """Build the topology index, or bring it up to date."""
    if dangling not in ("error", "drop", None):
        raise typer.BadParameter(f"{dangling!r} is neither 'error' nor 'drop'", param_hint="--dangling")
    _must_exist(file)
    started = time.perf_counter()
    with connect(file, memory_limit=memory_limit, threads=threads) as db:
        built = db.graph(graph).build(dangling=dangling, force=force, progress=not quiet)
        nodes = {label: built.num_nodes(label) for label in built.node_types}
        edges: list[dict[str, Any]] = [
            {"type": list(t), "edges": built.num_edges(t), "dropped": built.num_dropped(t)} for t in built.edge_types
        ]
    seconds = round(time.perf_counter() - started, 3)
    if as_json:
        _tell(_dumps({"graph": built.name, "nodes": nodes, "edges": edges, "seconds": seconds}))
        return
    _tell(f"The index of graph {built.name!r} is up to date ({seconds:.1f} s).")
    for label, count in nodes.items():
        _tell(f"  {shown_type(label)}: {count:,} nodes")
    for edge in edges:
        dropped = f", {edge['dropped']:,} dangling ones left out" if edge["dropped"] else ""
        _tell(f"  {shown_type(tuple(edge['type']))}: {edge['edges']:,} edges{dropped}")


@app.command(
    epilog=_examples(
        "dbgnn copy graph.duckdb paper ids.npy x.npy year.npy --by-column",
        "dbgnn copy graph.duckdb cites edge_index.npy",
        "dbgnn copy graph.duckdb movies movies.csv --create",
        "dbgnn copy graph.duckdb ratings part1.parquet part2.parquet",
    )
)
def copy(
    file: File,
    table: Annotated[str, typer.Argument(help="The table, or schema.table.")],
    files: Annotated[list[str], typer.Argument(metavar="FILES…", help="npy, CSV, Parquet or JSON files.")],
    *,
    columns: Annotated[
        str | None, typer.Option(help="The columns to fill, between commas; the others get their defaults.")
    ] = None,
    by_column: Annotated[bool, typer.Option("--by-column", help="File i fills column i, as npy files do.")] = False,
    header: Annotated[bool | None, typer.Option("--header/--no-header", help="CSV: whether there is a header.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="CSV: what stands between two values.")] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="csv, parquet, json or npy, where the name does not tell.")
    ] = None,
    create: Annotated[bool, typer.Option("--create", help="Make the table, with the columns of the files (not npy).")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    memory_limit: MemoryOption = None,
    threads: Threads = None,
) -> None:
    """Load files into a table, all of their rows or none."""
    statements = copy_statements(
        table, files, columns=columns, by_column=by_column, header=header, delimiter=delimiter, form=form, create=create
    )
    if not create:
        _must_exist(file)
    rows = 0
    with connect(file, memory_limit=memory_limit, threads=threads, progress=not quiet) as db:
        if len(statements) > 1:
            db.execute("BEGIN TRANSACTION")  # closing without COMMIT leaves nothing behind
        for statement in statements:
            rows += db.execute(statement).fetchall()[0][0]
        if len(statements) > 1:
            db.execute("COMMIT")
    _tell(_dumps({"table": table, "rows": rows}) if as_json else f"{rows:,} rows copied into {one_line(table)}.")


@app.command(
    epilog=_examples(
        'dbgnn execute graph.duckdb "SELECT year, count(*) FROM paper GROUP BY ALL ORDER BY ALL"',
        "dbgnn execute graph.duckdb - < schema.sql",
    )
)
def execute(
    file: File,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One or several statements; '-' reads them from standard input.")],
    *,
    as_json: Json = False,
    quiet: Quiet = False,
    memory_limit: MemoryOption = None,
    threads: Threads = None,
) -> None:
    r"""Run SQL: DuckDB's own, and CREATE PROPERTY GRAPH. Shows the rows of the last statement, if it has any.

    A row is a line with tabs between the values; NULL is \N, and a tab, line break or backslash in a value is \t, \n or
    \\; other characters that are not seen are \x1b or \u202e. As JSON, NaN, infinity, dates and decimals are text, BLOBs
    hexadecimal. A file that does not exist is made.
    """
    try:
        text = sys.stdin.read() if sql == "-" else sql
        text.encode()
    except UnicodeError as error:
        raise typer.BadParameter(f"the text is no UTF-8: {error}", param_hint="SQL") from error
    if file != ":memory:" and not Path(file).expanduser().exists():
        _tell(f"{one_line(file)} is a new file.", err=True)
    with connect(file, memory_limit=memory_limit, threads=threads, progress=not quiet) as db:
        result = db.execute(text)
        names = [name for name, *_ in getattr(result, "description", None) or []]  # the result of no statement at all is None
        if as_json:
            keys = names_apart(names)
            found = [dict(zip(keys, map(json_value, r), strict=True)) for r in (result.fetchall() if names else [])]
            _tell(printable_json(json.dumps(found, ensure_ascii=False, allow_nan=False)))
            return
        head = [tuple(names)]
        while names and (rows := result.fetchmany(_ROWS_AT_ONCE)):
            for cells in [*head, *rows]:
                typer.echo(line(cells))
            head = []


@app.command(
    epilog=_examples(
        'dbgnn query graph.duckdb "SELECT u, r, m FROM users u JOIN ratings r ON r.user_id = u.id',
        '    JOIN movies m ON m.id = r.movie_id WHERE r.rating >= 4" -o liked.pt',
        'dbgnn query graph.duckdb --nodes paper="SELECT id, x, y FROM paper" \\',
        '    --edges paper,cites,paper="SELECT src, dst FROM cites" -o all.pt',
        'dbgnn query graph.duckdb --where paper="year >= 2015" --columns paper=x,y -o recent.pt',
        'dbgnn query graph.duckdb --seeds paper="id = 7" --hops 2 --json',
    )
)
def query(
    file: File,
    sql: Annotated[
        str | None, typer.Argument(metavar="[SQL]", help="A pattern: a SELECT over the tables of the graph.")
    ] = None,
    *,
    graph: GraphName = None,
    nodes: Annotated[
        list[str] | None, typer.Option(metavar="TYPE=SQL", help="By type: a query of nodes, its key first.")
    ] = None,
    edges: Annotated[
        list[str] | None, typer.Option(metavar="SRC,REL,DST=SQL", help="By type: a query of edges, the two keys first.")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(metavar="TYPE=CONDITION", help="By graph: a condition on nodes or edges.")
    ] = None,
    columns: Annotated[list[str] | None, typer.Option(metavar="TYPE=COL,…", help="The columns to take of a type.")] = None,
    seeds: Annotated[list[str] | None, typer.Option(metavar="TYPE=CONDITION", help="By graph: where hops begin.")] = None,
    hops: Annotated[int, typer.Option(min=0, help="By graph: how far to go from the seeds.")] = 0,
    dangling: Annotated[str | None, typer.Option(metavar="error|drop", help="By type: edges without their nodes.")] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Add rev_… types: every edge the other way round.")] = False,
    undirected: Annotated[bool, typer.Option("--undirected", help="Edges within a type get both directions.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Save the HeteroData there (torch.save).")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    memory_limit: MemoryOption = None,
    threads: Threads = None,
) -> None:
    """Select a part of the graph as a PyG HeteroData; show what it is, and save it.

    It is selected by a pattern (SQL), by type (--nodes, --edges), or from the graph (--where, --seeds; --graph alone takes
    all of it). Read it back by torch.load("sub.pt", weights_only=False).
    """
    if output is not None and not output.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {str(output.parent)!r}", param_hint="--output")
    if output is not None and output.is_dir():
        raise typer.BadParameter(f"{str(output)!r} is a folder", param_hint="--output")
    by_type, by_graph = bool(nodes or edges), bool(where or seeds or hops)
    if (sql is not None) + by_type + by_graph > 1 or not (sql or by_type or by_graph or graph):
        raise typer.BadParameter("give one of SQL (a pattern), --nodes with --edges, --where or --seeds, or --graph alone")
    given: dict[str, Any] = {
        "columns": columns_of(columns),
        "reverse": reverse,
        "undirected": undirected,
        "progress": not quiet,
    }
    if dangling is not None:
        given["dangling"] = dangling
    if by_type:
        given |= {"nodes": labelled("--nodes", nodes), "edges": labelled("--edges", edges)}
    elif sql is None:
        given |= {"where": assignments("--where", where), "seeds": assignments("--seeds", seeds) or None, "hops": hops}
    read_only = file != ":memory:"  # for queries of nothing but other files
    with connect(file, read_only=read_only, memory_limit=memory_limit, threads=threads) as db:
        if sql is None and not by_type:
            data = db.graph(graph).to_heterodata(**given)
        else:
            from dbgnn.queries.heterodata import query_to_heterodata  # noqa: PLC0415 - imports torch

            data = query_to_heterodata(db, sql, graph=graph, **given)
    _tell_of(data, output, as_json=as_json)


def _tell_of(data: Any, output: Path | None, *, as_json: bool) -> None:
    found = summarize(data)
    if output is not None:
        import torch  # noqa: PLC0415

        with files.replaced(output) as file:  # of a file that it cannot write, torch raises RuntimeError
            torch.save(data, file)
        found["output"] = str(output)
    _tell(_dumps(found) if as_json else summary_text(found))
    if output is not None and not as_json:
        _tell(f"\nSaved to {one_line(output)}.")


def _must_exist(file: str) -> None:
    if not Path(file).expanduser().exists():
        raise ConnectionError(f"{file!r} does not exist.")


def _dumps(document: Any) -> str:
    return printable_json(json.dumps(document, indent=2, ensure_ascii=False))
