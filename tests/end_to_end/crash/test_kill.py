"""The real thing: `stream run` under load, killed with SIGKILL at any moment, ended by SIGTERM, started twice."""

import asyncio
import signal
import subprocess
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from stream import events, topics
from stream.building import build
from stream.config import Config
from stream.snapshot import read
from tests.brokers.parts import Parts
from tests.end_to_end.crash.outcome import violations
from tests.end_to_end.crash.process import Client, command, looking, settled, stream_run
from tests.end_to_end.crash.steps import site


async def problems(config: Config, client: Client) -> list[str]:
    """What was lost, counted twice, or is still there, after everything was settled."""
    async with looking(config) as (log, store):
        found = await violations(log, store, build(config).projections, client.acknowledged)
        stored: dict[str, set[str]] = {}
        for kind in ("track", "identify", "page"):
            async for delivery in log.read(topics.RAW[kind]):
                event = events.decode(delivery.message, delivery.time)
                stored.setdefault(event.subject, set()).add(event.message_id)
        snapshot = await read(store, list(stored))
        people: Counter[str] = Counter()
        for subject, ids in stored.items():
            people[snapshot.components[subject].key] += len(ids)
        for key, amount in people.items():
            person = snapshot.person(key) if key in snapshot.components else None
            counted = 0 if person is None else sum(person.counts.values())
            if counted != (0 if key in client.deleted else amount):
                found.append(f"{key} has {counted} events counted, {amount} are in the log")
        states = {deletion.state for deletion in await store.deletions.every()}
    return found + ([f"deletions are {states}"] if client.deleted and states != {"done"} else [])


def killed(folder: Path, parts: Parts, rounds: int, seed: int) -> None:
    """Kills it once in each round, then lets it finish, and looks at everything."""
    config, random = site(folder, parts=parts), Random(seed)
    client = Client(random)
    cut_off = 0
    for number in range(rounds):
        client.more(requests=40, deletes=number % 2)
        with stream_run(folder) as (process, url):
            asyncio.run(client.post(url, until=random.randrange(1, 150), then=process.kill))
            process.kill()
            assert process.wait() == -signal.SIGKILL
        cut_off += bool(client.waiting)
    assert cut_off, "it was killed under load"
    with stream_run(folder) as (process, url):
        asyncio.run(client.post(url))
        asyncio.run(settled(config))
        process.terminate()
        assert process.wait() == 0
    assert not client.waiting
    assert (folder / "stderr").read_text() == ""
    assert asyncio.run(problems(config, client)) == []


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path, parts: Parts) -> None:
    killed(tmp_path / "site", parts, rounds=2, seed=1)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_when_the_process_is_killed_again_and_again(tmp_path: Path, parts: Parts) -> None:
    killed(tmp_path / "site", parts, rounds=12, seed=2)


def test_sigterm_under_load_loses_nothing_and_the_next_run_goes_on(tmp_path: Path, parts: Parts) -> None:
    config = site(folder := tmp_path / "site", parts=parts)
    client = Client(Random(4))
    client.more(requests=150, deletes=2)
    with stream_run(folder) as (process, url):
        asyncio.run(client.post(url, until=40, then=process.terminate))
        assert process.wait() == 0
    assert client.waiting, "it was ended under load"
    with stream_run(folder) as (process, url):
        asyncio.run(client.post(url))
        asyncio.run(settled(config))
        process.terminate()
        assert process.wait() == 0
    assert (folder / "stderr").read_text() == ""
    assert asyncio.run(problems(config, client)) == []


def test_a_second_run_on_the_same_folder_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    config = site(folder := tmp_path / "site")
    client = Client(Random(5))
    client.more(requests=5)
    with stream_run(folder) as (process, url):
        second = subprocess.run(command(folder), capture_output=True, text=True)
        assert second.returncode == 1
        assert f"{folder / 'data'} is in use: process {process.pid}" in second.stderr
        asyncio.run(client.post(url))
        asyncio.run(settled(config))
    assert asyncio.run(problems(config, client)) == []
