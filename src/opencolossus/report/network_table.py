"""The network of a cluster in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from opencolossus.plan.network import NetworkReport
from opencolossus.specs.units import BANDWIDTH, DURATION, POWER, SIZE, show


def show_network(console: Console, found: NetworkReport) -> None:
    """Print what the network is made of, then what collectives get out of it."""
    console.print(f"[bold]{escape(found.cluster)}[/]: {escape(found.fabric)}")
    console.print(
        f"{found.ports:,} ports of {found.servers:,} servers, {_tiers(found)}; "
        f"{found.switch_links:,} links between switches; "
        f"{show(found.switch_power, POWER, 3)} for switches; "
        f"{show(found.bisection, BANDWIDTH, 3)} from one half to the other."
    )
    console.print()
    console.print(_sizes(found))
    console.print()
    console.print(_reach(found))


def _tiers(found: NetworkReport) -> str:
    names = [
        f"{count:,} {name}"
        for count, name in (
            (found.leaves, "leaves"),
            (found.spines, "spines"),
            (found.cores, "cores"),
        )
        if count
    ]
    return f"{found.tiers} tier{'s'[: found.tiers > 1]} of switches ({', '.join(names)})"


def _sizes(found: NetworkReport) -> Table:
    table = Table(
        title=f"All-reduce between all {found.servers:,} servers",
        caption="flows through this network; the step law, which knows no places, beside them",
        title_justify="left",
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in ("on each GPU", "time", "step law"):
        table.add_column(name, justify="right")
    table.add_column("algorithm")
    for row in found.all_reduce:
        table.add_row(
            show(row.size, SIZE, 3),
            show(row.seconds, DURATION, 3),
            show(row.law, DURATION, 3),
            row.algorithm,
        )
    return table


def _reach(found: NetworkReport) -> Table:
    table = Table(
        title="What the slowest pair of ports gets in a ring over all servers",
        caption="in order: neighbours in the ring are neighbours in the racks, as launchers "
        "with a topology place them",
        title_justify="left",
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("of a port", justify="right")
    table.add_column("placement")
    table.add_column("routing")
    table.add_column("")
    for row in found.reach:
        hurt = f"{row.dead_cables} of {found.leaf_cables} cables above one leaf dead"
        table.add_row(
            f"{row.slowest:.1%}", row.placement, row.routing, hurt if row.dead_cables else ""
        )
    return table
