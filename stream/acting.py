"""Acting: the syncs and reactors of one process, with what they act through."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from stream.batch import Surroundings
from stream.building import Built
from stream.commits import Commits
from stream.config import Config
from stream.connector import can
from stream.gate import Gate
from stream.http import Client
from stream.reactor import Outside, Reacting
from stream.runner import Runner
from stream.store import Store
from stream.syncer import Means, Syncing
from stream.walker import Walker


class Acting(Struct, frozen=True):
    """A runner for each sync and reactor, and a walker for each sync."""

    runners: list[Runner]
    walkers: list[Walker]

    @classmethod
    @asynccontextmanager
    async def open(cls, built: Built, config: Config, around: Surroundings) -> AsyncIterator["Acting"]:
        """Opens every destination, and makes one member of each sync and reactor in `built`. Raises ConfigError."""
        async with Client.open(built.limits, around.clock, around.metrics) as client:
            commits = Commits(around.store)
            gate = Gate(around, config, commits.reads)
            spaces = {"", *(source.space for source in config.sources.values())}
            outside = Outside(client, gate, commits)
            runners = [
                Runner(Reacting(one, built.lanes[one.name], around, outside), around, commits) for one in built.reactors
            ]
            walkers = []
            for sync in built.syncs:
                timeout_s = built.limits[sync.connector.name].timeout_s
                means = Means(client, gate, commits, timeout_s, spaces)
                syncing = Syncing(sync, built.lanes[sync.name], around, means)
                runners.append(Runner(syncing, around, commits))
                walkers.append(Walker(syncing, runners[-1], around))
            yield cls(runners, walkers)


def tell_destinations(store: Store, built: Built) -> None:
    """Has the store know which destinations there are, of all processes: a deletion ends at each of them."""
    store.deletions.destinations = {
        name: built.connectors[name].kinds if name in built.connectors else () for name in built.limits
    }
    store.deletions.deletable = frozenset(
        one.connector.name for one in built.syncs if one.deletes and can(one.connector, "delete_person")
    )
