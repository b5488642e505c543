"""From what Segment really sends to `stream person --json`, through a `stream run` process: nothing of it in between is
ours to arrange. The events of segment_events.jsonl are those of Segment's documentation and public code (facts §1.9,
§1.10, §3.1, §4), the signature vectors those of facts §1.1."""

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from segment.analytics.client import Client

from stream.core.signature import sign
from tests.brokers.parts import Parts, toml
from tests.end_to_end.test_sdk_clients import NODE, must_have, run
from tests.signed import ACTIONS, BATCH, CLASSIC, OF_DELETE, OF_TRACK, TRACK

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EVENTS = [line.encode() for line in (Path(__file__).parent / "segment_events.jsonl").read_text().splitlines()]
CONFIG = """
[receiver]
host = "127.0.0.1"
port = 0
secrets = ["abc123"]
[sources.tray]
secrets = ["teehee"]
[sources.shop]
write_key = "wk"
[publish]
profile = true
"""


class Running:
    """A `stream run` process, and the commands beside it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        """A request as these bytes; it is answered 200."""
        request = urllib.request.Request(self.url + path, body, headers)
        with await asyncio.to_thread(urllib.request.urlopen, request) as response:
            assert (response.status, response.read()) == (200, b'{"success":true}')

    async def signed(self, body: bytes, headers: dict[str, str]) -> None:
        """One event, signed as Segment signs it."""
        await self.post("/segment", body, {**headers, "X-Signature": sign(body, "abc123")})

    async def stream(self, *words: str) -> Any:
        """What a command answers."""
        return json.loads(await run(*_stream(self.folder), *words, "--json"))

    async def settled(self) -> None:
        """Returns once every processor has read all that was acknowledged, and no deletion is open."""
        async with asyncio.timeout(60):
            while True:
                found = await self.stream("lag")
                if not found["deletions_open"] and not any(one["behind"] for one in found["processors"]):
                    assert [one for one in found["processors"] if one["held"] or one["stopped"]] == []
                    return

    async def person(self, identifier: str) -> Any:
        """The person, once everything is read."""
        await self.settled()
        return (await self.stream("person", identifier))["person"]


def _stream(folder: Path) -> list[str]:
    return [sys.executable, "-m", "stream", "--config", str(folder / "stream.toml")]


@pytest.fixture
async def running(tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """`stream run`, until the test is over; then it ends by itself on SIGTERM, and said nothing."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "stream.toml").write_text(CONFIG + toml(parts.sections({})))
    process = await asyncio.create_subprocess_exec(
        *_stream(tmp_path), "run", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        told = json.loads(await process.stdout.readline())
        assert told["processors"] == ["profiles", "audiences", "consent", "deletion"]
        yield Running(tmp_path, told["receiver"])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        _, said = await process.communicate()
    assert (process.returncode, said.decode()) == (0, "")


@pytest.mark.parametrize("gzip", [False, True])
async def test_segments_python_client(running: Running, gzip: bool) -> None:
    failed: list[object] = []

    def send() -> None:
        client = Client("wk", host=running.url, gzip=gzip, on_error=lambda error, _: failed.append(error))
        client.identify("p1", {"email": "Python@example.com", "plan": "größer"}, anonymous_id="p1-browser")
        client.page(anonymous_id="p1-browser", name="Home")
        for total in range(250):  # more than one batch of its default 100
            client.track("p1", "Order Completed", {"total": total, "not a number": float("nan")})
        client.screen("p1", name="Main")
        client.group("p1", "initech", {"employees": 329})
        client.alias("p0", "p1")
        consent = {"consent": {"categoryPreferences": {"Analytics": True, "Advertising": False}}}
        client.track("p1", "Segment Consent Preference Updated", {}, consent, anonymous_id="p1-browser")
        client.shutdown()

    await asyncio.to_thread(send)
    assert failed == []
    person = await running.person("p1")
    assert person["subjects"] == ["anon:p1-browser", "user:p1"]
    assert person["traits"] == {"email": "Python@example.com", "plan": "größer"}
    assert person["identifiers"]["email"] == ["python@example.com"]
    assert person["counts"] == {"identify": 1, "page": 1, "screen": 1, "group": 1, "alias": 1, "track": 251}
    assert person["events"] == {"Order Completed": 250, "Segment Consent Preference Updated": 1}
    assert person["groups"] == ["initech"]
    assert {name: one["status"] for name, one in person["consents"].items()} == {
        "Analytics": "yes",
        "Advertising": "no",
    }
    assert (await running.person("group:initech"))["traits"] == {"employees": 329}


async def test_segments_node_client(running: Running) -> None:
    must_have("npm")
    if not (NODE / "node_modules" / ".package-lock.json").exists():
        await run("npm", "ci", "--prefix", str(NODE), "--ignore-scripts", "--no-audit", "--no-fund")
    await run("node", str(NODE / "send.js"), running.url, "wk")
    person = await running.person("node-1")
    assert (person["traits"]["plan"], person["groups"]) == ("größer", ["initech"])
    assert person["counts"] == {"identify": 1, "screen": 1, "group": 1, "alias": 1, "track": 1}
    assert (await running.person("anon:node-anonymous"))["counts"] == {"page": 1}


async def test_curl_and_what_a_write_key_may_not_say(running: Running) -> None:
    must_have("curl")
    personas = '"context":{"personas":{"computation_class":"audience","computation_key":"vip","space_id":"spa"}}'
    claim = '{"type":"identify","userId":"c1","traits":{"vip":true},%s}' % personas  # noqa: UP031
    curl = ("curl", "-sS", "--fail-with-body")
    await run(*curl, f"{running.url}/v1/identify", "-u", "wk:", "-d", claim)
    await run(*curl, f"{running.url}/v1/batch", "-u", "wk:", "-d", '{"batch":[{"type":"delete","userId":"c1"}]}')
    person = await running.person("c1")
    assert (person["traits"], person["audiences"], person["deleted"]) == ({"vip": True}, {}, None)
    [invalid] = await running.stream("invalid", "list")
    assert invalid["reason"] == "unauthentic_delete"

    given = ("-H", f"X-Signature: {sign(claim.encode(), 'abc123')}", "-d", claim)
    await run(*curl, f"{running.url}/segment", *given)
    assert (await running.person("c1"))["audiences"]["spa/vip"]["member"] is True


async def test_the_documented_requests_of_every_destination_make_people_and_their_deletes_unmake_them(
    running: Running,
) -> None:
    for event in EVENTS:
        if b'"type":"delete"' not in event:
            await running.signed(event, CLASSIC)
    await running.post("/segment/tray", TRACK, {**CLASSIC, "X-Signature": OF_TRACK})
    await _the_profile_is_there(running)
    await _memberships_and_consents_are_there(running)

    for event in EVENTS:
        if b'"type":"delete"' in event:
            await running.signed(event, CLASSIC)
    await running.post("/segment", BATCH, {**ACTIONS, "X-Signature": OF_DELETE})
    await running.settled()
    for number in ("507f191e81", "5678", "019mr8mf4r"):
        found = await running.stream("person", number)
        assert (found["person"], found["rows"], found["held"]) == (None, {}, [])
        assert [one["state"] for one in found["deletions"]] == ["done"]
        assert found["deleted"] is not None
    nulls = {one["key"] for one in await _lines(running, "person.profile") if one["value"] is None}
    assert nulls == {"user:507f191e81", "user:5678", "user:019mr8mf4r"}
    await _the_profile_is_there(running)


async def test_an_extensible_batch_and_an_array_are_their_events(running: Running) -> None:
    engage = [event for event in EVENTS if b'"personas":{' in event and b"u123" in event]
    wrapped = b"[" + b",".join(b'{"json":%b}' % event for event in engage) + b"]"
    for body in (wrapped, b"[" + b",".join(engage) + b"]"):
        await running.post("/segment", body, {**ACTIONS, "X-Signature": sign(engage[0], "abc123")})
    person = await running.person("u123")
    assert person["audiences"]["spa_###/first_time_shopper"]["member"] is True
    # No messageId: the same bytes have the same one, and what is sent twice counts once.
    assert person["counts"] == {"identify": 1, "track": 1}


async def _the_profile_is_there(running: Running) -> None:
    person = await running.person("97980cfea0067")
    assert person["subjects"] == ["anon:3d316d2c-26e8-451f-91be-a0766708c81e", "user:97980cfea0067"]
    assert (person["traits"]["name"], person["traits"]["plan"]) == ("Peter Gibbons", "premium")
    assert person["counts"] == {"identify": 1, "page": 1, "screen": 1, "group": 1, "track": 1}
    assert (person["events"], person["groups"]) == ({"Registered": 1}, ["0e8c78ea9d97a7b8185e8632"])
    assert (await running.person("group:0e8c78ea9d97a7b8185e8632"))["traits"]["name"] == "Initech"
    assert (await running.person("user-id"))["events"]["my-event"] >= 1


async def _memberships_and_consents_are_there(running: Running) -> None:
    person = await running.person("u123")
    assert person["audiences"]["spa_###/first_time_shopper"]["member"] is True
    answers = {name: one["status"] for name, one in person["consents"].items()}
    assert answers == {"Advertising": "yes", "Analytics": "no", "Functional": "yes", "DataSharing": "no"}
    proof = person["consents"]["Advertising"]["proofs"][0]
    assert (proof["event"], proof["source"]) == ("Segment Consent Preference Updated", "segment")
    assert len((await running.person("test-user-01"))["audiences"]) == 1
    subscriptions = (await running.person("12aBCDeFg4hIjKlM5OPq67RS8Tu"))["subscriptions"]
    assert {name: one["status"] for name, one in subscriptions.items()} == {
        "sms:+15555550123": "subscribed",
        "whatsapp:+15555550123": "did-not-subscribe",
        "email:test@example.com": "unsubscribed",
        "list:newsletter": "unsubscribed",
    }
    assert (await running.person("019mr8mf4r"))["subscriptions"]["list:1425"]["status"] == "unsubscribed"
    assert (await running.person("507f191e81"))["counts"] == {"alias": 1}


async def _lines(running: Running, topic: str) -> list[Any]:
    found = await run(*_stream(running.folder), "tail", topic, "--limit", "1000", "--json")
    return [json.loads(line) for line in found.splitlines()]
