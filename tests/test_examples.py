"""The examples do what they say: through the configuration, the real system, and the commands."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from stream import config
from stream.app import App
from stream.message import Message
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
