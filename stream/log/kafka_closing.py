"""How Kafka's clients are connected, looked after and let go of, where they do it badly themselves."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any

from stream.errors import LogUnavailable
from stream.log.kafka_client import OnChange

_CONNECT_S = 10.0
_LEAVE_S = 5.0
_STOP_S = 1.0  # for what is on its way, when nobody waits for it any more


async def unbroken(connecting: Coroutine[Any, Any, None]) -> None:
    """Connects. A connection that is cancelled while it is made is never closed by the client."""
    task = asyncio.create_task(connecting)
    try:
        await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait([task], timeout=_CONNECT_S)
            task.cancel()
            await asyncio.wait([task])


async def watch_topics(client: Any, called: Sequence[str], on_change: OnChange) -> None:
    """Has `on_change` hear how many partitions these topics have, at each look."""

    def heard(cluster: Any) -> None:
        counts = {name: len(cluster.partitions_for_topic(name) or ()) for name in called}
        if not all(counts.values()) and client._topics:
            client.set_topics([])  # look at all: to ask for one that is missing may make it, of any shape
        on_change(counts)

    client.cluster.add_listener(heard)
    if not await client.force_metadata_update():
        raise LogUnavailable("Kafka: no broker says which topics there are")
    if all(client.cluster.partitions_for_topic(name) for name in called):
        client.set_topics(called)


def check_membership(consumer: Any) -> None:
    """Raises what its coordination ended with, or waits to be asked for: who fetches nothing never hears of it."""
    consumer._coordinator.check_errors()


def heed_commits(consumer: Any) -> None:
    """Takes note of how a commit ended that nobody waits for any more: the client goes on with it, and asyncio would
    complain of an error that nobody hears."""
    coordinator = consumer._coordinator
    commit = coordinator._do_commit_offsets

    def heeded(*asked: Any) -> "asyncio.Task[Any]":
        task = asyncio.create_task(commit(*asked))
        task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        return task

    coordinator._do_commit_offsets = heeded


def beyond_repair(producer: Any) -> bool:
    """Nothing can be written with it any more."""
    return producer._message_accumulator._exception is not None


async def abandon(producer: Any, error: Exception, errors: type[Exception]) -> None:
    """Stops it, and gives up what it holds: whoever waits for that gets the error."""
    accumulator = producer._message_accumulator
    queued = [batch for batches in accumulator._batches.values() for batch in batches]
    accumulator._pending_batches = _Forgiving(accumulator._pending_batches)
    accumulator.fail_all(error)
    for batch in (*queued, *accumulator._pending_batches):
        if batch._drain_waiter.done():
            batch._drain_waiter.exception()  # nobody else waits for this one, and asyncio would complain
    try:
        with contextlib.suppress(TimeoutError, errors):
            async with asyncio.timeout(_STOP_S):
                await producer.stop()
    finally:
        await producer.client.close()


class _Forgiving(set[Any]):
    """A batch that was to be repeated is not among those on their way, and the client removes it all the same."""

    def remove(self, batch: Any) -> None:
        self.discard(batch)


async def leave(consumer: Any, errors: type[Exception]) -> None:
    """Leaves its group; what the coordinator is about to answer is not waited for long."""
    if await _ended(consumer.stop(), errors):
        return
    if consumer._fetcher is not None:
        await _ended(consumer._fetcher.close(), errors)
    await consumer._client.close()


async def _ended(stopping: Coroutine[Any, Any, None], errors: type[Exception]) -> bool:
    """Whether it came to its end, within a time. It waits for tasks that it has cancelled, and where a broker is away
    that cancels it, too: so it has a task of its own."""
    task = asyncio.create_task(stopping)
    try:
        await asyncio.wait([task], timeout=_LEAVE_S)
    finally:
        task.cancel()
        await asyncio.wait([task])
    if task.cancelled() or isinstance(task.exception(), errors):
        return False
    task.result()
    return True
