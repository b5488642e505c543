"""python -m benchmarks [NAME...]: measures, shows one table, and keeps all numbers as JSON."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import uvloop

from benchmarks import (
    backlog,
    consumed,
    delivered,
    forward,
    held,
    http,
    kafka,
    members,
    projections,
    reactors,
    table,
    walks,
)
from stream.app import tune

BENCHMARKS: dict[str, Callable[[bool], Awaitable[table.Row]]] = {
    "post": http.post,
    "half": http.half,
    "batch": http.batch,
    "nothing": projections.nothing,
    "profiles": projections.profiles,
    "publishing": projections.publishing,
    "linked": projections.linked,
    "sleeping": reactors.sleeping,
    "idle": reactors.idle,
    "forward": forward.forward,
    "forwarded": delivered.forwarded,
    "told": delivered.told,
    "held": held.held,
    "changed": http.changed,
    "backlog": backlog.backlog,
    "walk": walks.walk,
    "kafka-post": kafka.post,
    "kafka-batch": kafka.batch,
    "kafka-nothing": consumed.nothing,
    "kafka-postgres": consumed.to_postgres,
    "kafka-sqlite": consumed.to_sqlite,
    "kafka-delivered": delivered.on_servers,
    "kafka-members": members.profiles,
    "kafka-members-waiting": members.waiting,
}


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", type=click.Choice(list(BENCHMARKS)))
@click.option("--quick", is_flag=True, help="Fewer and shorter rounds: sooner, and noisier.")
@click.option(
    "--json",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(__file__).parent / "results.json",
    help="Where to keep all numbers (benchmarks/results.json).",
)
def main(names: tuple[str, ...], quick: bool, path: Path) -> None:
    """Measure, each against a baseline of the same run. Without names: everything, which takes long.

    Ratios are medians over rounds that measure both sides in turn. On a machine that does other things meanwhile, look
    at the ratios only, and measure again."""
    tune()
    rows = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for name in names or BENCHMARKS:
            click.echo(f"{name} ...", err=True)
            rows.append(runner.run(_measured(name, quick)))
    table.show(rows)
    table.save(rows, path)


async def _measured(name: str, quick: bool) -> table.Row:
    return await BENCHMARKS[name](quick)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
