"""The examples do what they say: through the configuration, the real system, and the commands."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stream import config
from stream.app import App
from stream.message import Message
from tests.destination import Destination
from tests.embedded import message

EXAMPLES = Path(__file__).parent.parent / "examples"
LINES = [json.loads(line) for line in (EXAMPLES / "events.jsonl").read_text().splitlines()]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with a stream.toml that runs the example beside the built-in projections."""
    (tmp_path / "processors").mkdir()
    shutil.copy(EXAMPLES / "orders.py", tmp_path / "processors")
    (tmp_path / "stream.toml").write_text("[receiver]\nport = 0\n[processors.profiles]\n[processors.orders]\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def process(*messages: Message) -> None:
    """What `stream run` does, until every processor has read these."""
    async with App.open(config.load()) as app:
        running = asyncio.create_task(app.run())
        await app.log.append(messages)
        while any([lag.behind for lag in await app.worker.lags()]):
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def order(number: int, **properties: object) -> Message:
    return message("track", 900_000.0 + number, userId="ada", event="Order Completed", properties=properties)


def test_orders_are_counted_and_summed_and_shown_with_the_person(site, run):
    asyncio.run(process(order(1, revenue=20), order(2, revenue="2.5"), order(3)))
    found = json.loads(run("person", "ada", "--json").stdout)
    assert found["rows"] == {"orders": {"user:ada": {"count": 3, "revenue": 22.5}}}
    assert found["person"]["events"] == {"Order Completed": 3}


def test_an_order_that_is_no_number_is_held_and_after_an_edit_and_a_retry_it_counts(site, run):
    bad = order(1, revenue="a lot")
    asyncio.run(process(bad, order(2, revenue=5)))
    [held] = json.loads(run("held", "list", "--json").stdout)
    assert (held["processor"], held["reason"]) == ("orders", "bug:ValueError")
    (site / "mended.json").write_bytes((bad.value or b"").replace(b"a lot", b"40"))
    assert run("held", "edit", held["id"], "--file", "mended.json").exit_code == 0
    assert run("held", "retry", held["id"], "--wait", 0).exit_code == 1, "kept: nothing runs"

    asyncio.run(until_asked())
    found = json.loads(run("person", "ada", "--json").stdout)
    assert found["rows"] == {"orders": {"user:ada": {"count": 2, "revenue": 45.0}}}
    assert found["held"] == []


async def until_asked() -> None:
    """What `stream run` does, until it has carried out what commands asked for."""
    async with App.open(config.load()) as app:
        running = asyncio.create_task(app.run())
        while await app.around.store.requests.open():
            await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_the_events_are_a_dozen_of_five_types_with_fixed_dates_and_nobody_real():
    assert len(LINES) == 12
    assert {line["type"] for line in LINES} == {"track", "identify", "page", "screen", "group"}
    assert len({line["messageId"] for line in LINES}) == 12
    text = (EXAMPLES / "events.jsonl").read_text()
    assert text.count("@") == text.count("@example.com")
    assert all(line["timestamp"].startswith("2026-03-") for line in LINES)


def test_the_events_for_the_first_destination_are_of_people_of_their_own_with_fixed_dates():
    text = (EXAMPLES / "destination.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["type"] for line in lines} == {"identify", "track", "delete"}
    assert len({line["messageId"] for line in lines}) == len(lines)
    assert not {line["userId"] for line in lines} & {"ada", *(line.get("userId") for line in LINES)}
    assert text.count("@") == text.count("@example.com")
    assert all(line["timestamp"].startswith("2026-03-") for line in lines)


def test_the_events_make_a_person_with_everything_a_person_has(tmp_path, monkeypatch, run):
    (tmp_path / "stream.toml").write_text("[receiver]\nport = 0\n")
    monkeypatch.chdir(tmp_path)
    now = 1_790_000_000.0
    asyncio.run(process(*(message(line["type"], now, **line) for line in map(dict, LINES))))
    found = json.loads(run("person", "grace", "--json").stdout)
    person = found["person"]
    assert found["subjects"] == ["anon:grace-browser", "anon:grace-phone", "user:grace"]
    assert (person["traits"]["plan"], person["groups"]) == ("pro", ["initech"])
    assert person["audiences"]["spa_example/first_time_shopper"]["member"] is True
    assert person["computed"] == {"spa_example/total_revenue_180_days": 59.97}
    assert {name: one["status"] for name, one in person["consents"].items()} == {
        "Advertising": "no",
        "Analytics": "no",
        "Functional": "yes",
    }
    assert person["subscriptions"]["list:1425"]["status"] == "unsubscribed"


BESIDE = "".join(f"[processors.{name}]\n" for name in ("profiles", "audiences", "consent", "deletion"))


@contextlib.asynccontextmanager
async def running(folder: Path, text: str) -> AsyncIterator[App]:
    """What `stream run` does with this stream.toml, the examples beside it, once every sync and reactor has begun."""
    (folder / "processors").mkdir()
    for name in ("crm", "signups"):
        shutil.copy(EXAMPLES / f"{name}.py", folder / "processors")
    (folder / "stream.toml").write_text(f"[receiver]\nport = 0\n{BESIDE}{text}")
    async with App.open(config.load(folder / "stream.toml")) as app:
        task = asyncio.create_task(app.run())
        while not all([runner.owns_something for runner in app.worker.runners.values()]):
            await asyncio.sleep(0)
        yield app
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def read(app: App) -> None:
    """Returns once every processor has read everything."""
    while any([lag.behind for lag in await app.worker.lags()]):
        await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_the_reactor_tells_of_each_sign_up_once(tmp_path):
    async with Destination.open() as destination:
        chat = f'connector = "webhook"\nallow_private = true\nsend_event = {{ url = "{destination.url}/events", '
        text = f'[processors.signups]\n[connectors.chat]\n{chat}body = {{ text = "$.event.userId" }} }}\n'
        async with running(tmp_path, text) as app:
            signed_up = message("track", 900_000.0, userId="ada", event="Signed Up")
            await app.log.append([message("track", 900_000.0, userId="ada", event="Opened"), signed_up, signed_up])
            await app.log.append([message("track", 900_001.0, userId="eve", event="Signed Up")])
            await destination.until(lambda: len(destination.events) > 1)
            await read(app)
    assert sorted(event["text"] for event in destination.events) == ["ada", "eve"]


@pytest.mark.slow
async def test_the_sync_keeps_the_plan_of_those_who_allow_it(tmp_path):
    def identify(number: int, user: str, plan: str, allows: bool) -> Message:
        context = {"consent": {"categoryPreferences": {"Advertising": allows}}}
        traits = {"email": f"{user}@example.com", "plan": plan, "shoe": 44}
        return message("identify", 900_000.0 + number, userId=user, traits=traits, context=context)

    async with Destination.open() as destination:
        url = f'"{destination.url}/people/{{$.id}}"'
        upsert = f'{{ method = "PUT", url = {url}, body = "$.value" }}'
        crm = f'connector = "webhook"\nkinds = ["email"]\nallow_private = true\nupsert_profile = {upsert}\n'
        purpose = '[purposes.marketing]\ncategories = ["Advertising"]\n'
        async with running(tmp_path, f"[processors.crm]\n[connectors.crm]\n{crm}{purpose}") as app:
            await app.log.append([identify(1, "ada", "trial", True), identify(2, "eve", "pro", False)])
            await destination.until(lambda: destination.people)
            await app.log.append([identify(3, "ada", "pro", True)])
            await destination.until(lambda: destination.people["ada@example.com"] == {"plan": "pro"})
            await read(app)
    assert destination.people == {"ada@example.com": {"plan": "pro"}}, "and nothing of eve, who does not allow it"
