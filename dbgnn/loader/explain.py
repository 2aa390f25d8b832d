"""The text of `loader.explain()`: what was chosen, why, and how the estimates turned out. As ``EXPLAIN ANALYZE`` does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dbgnn.display import PrintedText
from dbgnn.plans.planner import Plan, binary_size
from dbgnn.schema.model import shown_type

if TYPE_CHECKING:
    from dbgnn.loader.pipeline import Pipeline
    from dbgnn.loader.stats import LoaderStats
    from dbgnn.sampling.sampler import NeighborSampler
    from dbgnn.topology import Topology

_PLANS = {
    "join": "the features of every mini-batch by one SQL join per table",
    "shared": "the distinct rows of a super-batch in memory, by one pass over each table",
    "spooled": "the rows of a super-batch by one pass over each table, written to a temporary file by mini-batch",
}


def explained_lists(sampler: NeighborSampler, topology: Topology) -> list[str]:
    """Return a line on each of the lists that were made for a sampler."""
    return [
        f"lists of {shown_type(edge_type)} in hop {', '.join(map(str, hops))}: "
        f"{lists.num_edges:,} of {topology.edges[edge_type].num_edges:,} edges, "
        f"{binary_size(lists.num_bytes)} in memory, made in {lists.seconds:.2f} s"
        for edge_type, hops, lists in sampler.derived_lists(topology)
    ]


def explain(loader: str, plan: Plan, stats: LoaderStats, pipeline: Pipeline, workers: str | None = None) -> PrintedText:
    """Return the text.

    Args:
        loader: The loader's repr.
        plan: What was chosen.
        stats: What was measured.
        pipeline: For what it holds and what the user asked for.
        workers: What became of the workers that were asked for; None: none were.
    """
    first = f", the first {', '.join(map(str, plan.first))}" if plan.first else ""
    chosen = [
        ("plan", f"{plan.plan}: {_PLANS[plan.plan]}", "plan"),
        ("super-batch", f"{plan.super_batch} mini-batches{first}; {plan.statement} in one statement per hop", "super_batch"),
        ("prefetch", f"{plan.prefetch} mini-batches" if plan.prefetch else "0: no threads", "prefetch"),
        ("hot rows", binary_size(plan.cache_bytes) if plan.cache_bytes else "none", "cache_bytes"),
    ]
    lines = [loader] if workers is None else [loader, f"  {'workers':<14}{workers}"]
    for name, text, argument in chosen:
        reason = "as asked" if getattr(pipeline.asked, argument) is not None else plan.why.get(argument, "")
        lines.append(f"  {name:<14}{text}")
        if reason:
            lines.append(f"  {'':<14}because: {reason}" if reason != "as asked" else f"  {'':<14}{argument}: as asked")
    lines += ["", f"  {'':<32}{'estimated':>14}{'actual':>14}"]
    lines += [f"  {name:<32}{estimated:>14}{actual:>14}" for name, estimated, actual in _figures(plan, stats, pipeline)]
    if not stats.num_steps:
        lines.append("  (no step was made yet)")
    return PrintedText("\n".join(lines))


def _figures(plan: Plan, stats: LoaderStats, pipeline: Pipeline) -> list[tuple[str, str, str]]:
    steps, total = stats.num_steps, stats.total

    def mean(value: float, show: Callable[[float], str]) -> str:
        return show(value / steps) if steps else "-"

    def count(value: float) -> str:
        return f"{value:,.0f}"

    hits = f"{stats.hit_rate:.1%}" if steps else "-"
    return [
        ("nodes a mini-batch", count(plan.pilot.nodes), mean(total.nodes, count)),
        ("edges a mini-batch", count(plan.pilot.edges), mean(total.edges, count)),
        ("features a mini-batch", binary_size(plan.batch_bytes), mean(total.bytes_used, binary_size)),
        ("moved for features, a mini-batch", binary_size(plan.read_bytes), "-"),
        ("read in all, a mini-batch", "-", mean(total.bytes_read, binary_size)),
        ("hot rows", binary_size(plan.cache_bytes), binary_size(pipeline.hot_bytes)),
        ("of rows, hot", "-", hits),
        ("held beside memory_limit", binary_size(plan.held_bytes), "-"),
        ("peak memory of the process", "-", binary_size(total.peak_rss) if steps else "-"),
    ]
