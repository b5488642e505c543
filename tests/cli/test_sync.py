"""stream sync: dry runs beside anything, walks carried out by the running process, to a real server."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from stream.acting import Acting
from stream.app import limits
from stream.building import build
from stream.config import load
from stream.errands import Errands
from stream.worker import Worker
from tests.cli.conftest import CONFIG, NOW, Command
from tests.destination import Destination
from tests.embedded import Embedded
from tests.engine.syncs import audience, identify, opt_out

SENDING = """
[connectors.crm]
connector = "webhook"
kinds = ["email"]
allow_private = true
bearer = "t0ken-of-the-crm"
[connectors.crm.set_membership.true]
method = "PUT"
url = "http://127.0.0.1:PORT/lists/{$.name}/members/{$.id}"
[connectors.crm.set_membership.false]
method = "DELETE"
url = "http://127.0.0.1:PORT/lists/{$.name}/members/{$.id}"
[purposes.marketing]
channels = ["email"]
unknown = "allow"
"""

Carried = Callable[[Awaitable[Result]], Awaitable[Result]]


@pytest.fixture
async def destination() -> AsyncIterator[Destination]:
    """What [connectors.crm] talks to."""
    async with Destination.open() as opened:
        yield opened


@pytest.fixture
def folder(folder: Path, destination: Destination) -> Path:
    """With a sync of audiences."""
    config = CONFIG.replace("[processors.audiences]", '[processors.audiences]\ndestinations = ["crm"]')
    (folder / "stream.toml").write_text(config + SENDING.replace("PORT", str(destination.port)))
    return folder


@pytest.fixture
def carried_out(system: Embedded, folder: Path) -> Carried:
    """Runs what a running process does about syncs, until a command has its answer."""
    config = load(folder / "stream.toml")
    built = build(config)

    async def until_answered(command: Awaitable[Result]) -> Result:
        async with Acting.open(built, config, system.around) as acting, asyncio.TaskGroup() as group:
            errands = Errands(system.around, Worker(system.around, [], False, [], acting.runners), limits(config))
            tasks = [group.create_task(one.run()) for one in (*acting.runners, *acting.walkers, errands)]
            answered = await command
            for task in tasks:
                task.cancel()
        return answered

    return until_answered


async def three(system: Embedded) -> None:
    """Two on the list, of whom one opted out; and one who is not."""
    people = [identify(user, NOW, f"{user}@b.c") for user in ("ada", "bob", "eve")]
    await system.send(*people, audience("ada", NOW + 1, True), audience("bob", NOW + 1, True), opt_out("bob", NOW + 2))
    await system.settle()


async def test_a_dry_run_counts_what_would_be_sent_and_what_is_refused(
    system: Embedded, stream: Command, destination: Destination
) -> None:
    await three(system)
    found = json.loads((await stream("sync", "audiences.crm", "--dry-run", "--json")).stdout)
    assert found["amounts"] == [
        {"thing": "list:vip", "does": "give", "refused": "", "amount": 1},
        {"thing": "list:vip", "does": "give", "refused": "opted_out", "amount": 1},
    ]
    assert "opted_out" in (await stream("sync", "audiences.crm", "--dry-run")).stdout
    assert destination.seen == []


async def test_a_dry_run_of_one_person_shows_the_requests_without_their_secrets(
    system: Embedded, stream: Command, destination: Destination
) -> None:
    await three(system)
    shown = (await stream("sync", "audiences.crm", "--dry-run", "--person", "ada")).stdout
    assert "give list:vip email:ada@b.c" in shown
    assert "/lists/vip/members/ada" in shown
    asked = await stream("sync", "audiences.crm", "--dry-run", "--person", "ada", "--json")
    (one,) = json.loads(asked.stdout)
    assert one["requests"][0]["headers"]["Authorization"] == "***"
    assert "refused, opted_out" in (await stream("sync", "audiences.crm", "--dry-run", "--person", "bob")).stdout
    assert "nothing would be sent" in (await stream("sync", "audiences.crm", "--dry-run", "--person", "eve")).stdout
    assert destination.seen == []


@pytest.mark.slow
async def test_a_walk_is_carried_out_by_the_running_process(
    system: Embedded, stream: Command, carried_out: Carried, destination: Destination
) -> None:
    await three(system)
    asked = await carried_out(stream("sync", "audiences.crm", "--json"))
    walk = json.loads(asked.stdout)
    assert (asked.exit_code, walk["state"], walk["seen"]) == (0, "done", 3)
    assert destination.lists == {"vip": {"ada@b.c"}}


@pytest.mark.slow
async def test_everything_is_sent_again_with_assert(
    system: Embedded, stream: Command, carried_out: Carried, destination: Destination
) -> None:
    await three(system)
    await carried_out(stream("sync", "audiences.crm"))
    destination.lists.clear()
    again = await carried_out(stream("sync", "audiences.crm"))
    assert "3 people, 0 differed" in again.stdout
    assert destination.lists == {}
    await carried_out(stream("sync", "audiences.crm", "--assert"))
    assert destination.lists == {"vip": {"ada@b.c"}}


@pytest.mark.slow
async def test_one_person_is_looked_at_at_once(
    system: Embedded, stream: Command, carried_out: Carried, destination: Destination
) -> None:
    await three(system)
    asked = await carried_out(stream("sync", "audiences.crm", "--person", "ada", "--json"))
    (one,) = json.loads(asked.stdout)
    assert (asked.exit_code, one["state"], one["result"]) == (0, "done", "applied")
    assert destination.lists == {"vip": {"ada@b.c"}}


async def test_without_a_running_process_it_is_kept(system: Embedded, stream: Command) -> None:
    asked = await stream("sync", "audiences.crm", "--wait", "0")
    assert asked.exit_code == 1
    assert "kept" in asked.stdout


async def test_a_sync_that_is_none_is_named(system: Embedded, stream: Command) -> None:
    asked: Any = await stream("sync", "profiles")
    assert asked.exit_code == 2
    assert "there are: audiences.crm" in asked.stderr
