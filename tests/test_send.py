"""stream send: every line is acknowledged, or named."""

import asyncio
import json
from collections import Counter
from functools import partial
from itertools import chain, repeat

import pytest
from aiohttp import test_utils, web

from stream import sender
from stream.core import signature

EVENTS = [f'{{"type": "track",  "userId": "u{n}", "event": "Ordered"}}'.encode() for n in range(25)]


class Peer:
    """An HTTP server that answers with these statuses in turn, then with 200, and keeps what it acknowledged."""

    def __init__(self, *statuses):
        self.statuses = chain(statuses, repeat(200))
        self.asked = []
        self.kept = []

    async def __aenter__(self):
        app = web.Application(client_max_size=2**30)
        app.router.add_post("/{path:.*}", self.take)
        self.server = test_utils.TestServer(app)
        await self.server.start_server()
        return self

    async def __aexit__(self, *exc):
        await self.server.close()

    async def take(self, request):
        self.asked.append(request)
        body = await request.read()
        status = next(self.statuses)
        if status == 200:
            self.kept.append((body, request.headers))
        return web.json_response({"success": status == 200}, status=status)

    @property
    def url(self):
        return str(self.server.make_url("/segment"))

    def target(self, **settings):
        return sender.Target(url=self.url, pause_s=0.001, **settings)


@pytest.fixture
def run(run, tmp_path, monkeypatch):
    """Runs a command as a person would in a folder of its own, beside the test's own server."""
    monkeypatch.chdir(tmp_path)
    return partial(asyncio.to_thread, run)


async def test_every_line_arrives_byte_for_byte_and_signed():
    tally = sender.Tally()
    async with Peer() as peer:
        await sender.send([line + b"\r\n" for line in EVENTS], peer.target(secret="s3cret"), tally)
    assert Counter(body for body, _ in peer.kept) == Counter(EVENTS)
    assert all(signature.verified(body, headers["X-Signature"], "s3cret") for body, headers in peer.kept)
    assert (tally.events, tally.requests, tally.repeats, tally.complete) == (25, 25, 0, True)


async def test_a_batch_is_an_array_of_the_lines_signed_over_its_first():
    tally = sender.Tally()
    async with Peer() as peer:
        await sender.send(EVENTS, peer.target(secret="s3cret", batch=10, concurrency=1), tally)
    bodies = [body for body, _ in peer.kept]
    assert bodies == [b"[" + b",".join(EVENTS[n : n + 10]) + b"]" for n in (0, 10, 20)]
    for (_, headers), first in zip(peer.kept, EVENTS[::10], strict=True):
        assert signature.verified(first, headers["X-Signature"], "s3cret")
    assert (tally.events, tally.requests) == (25, 3)


async def test_without_a_secret_there_is_no_signature():
    async with Peer() as peer:
        await sender.send(EVENTS[:1], peer.target(), sender.Tally())
    assert "X-Signature" not in peer.kept[0][1]


async def test_what_the_receiver_cannot_take_now_is_sent_again_until_it_does():
    tally = sender.Tally()
    async with Peer(503, 429, 502) as peer:
        await sender.send(EVENTS, peer.target(concurrency=1), tally)
    assert [body for body, _ in peer.kept] == EVENTS
    assert (tally.events, tally.repeats, tally.complete) == (25, 3, True)


async def test_it_gives_up_where_repeating_does_not_help_and_says_at_which_line():
    tally = sender.Tally()
    async with Peer(200, *[503] * 3) as peer:
        with pytest.raises(sender.GaveUp, match=r"did not take line 2 in 3 attempts, the last time: 503"):
            await sender.send(EVENTS, peer.target(concurrency=1, attempts=3), tally)
    assert tally.events == 1
    assert len(peer.asked) == 4


async def test_a_receiver_that_is_not_there_is_named():
    target = sender.Target(url=f"http://127.0.0.1:{test_utils.unused_port()}/segment", attempts=2, pause_s=0.001)
    with pytest.raises(sender.GaveUp, match="no answer"):
        await sender.send(EVENTS, target, sender.Tally())


@pytest.mark.parametrize("status", [302, 401, 403, 404])
async def test_what_would_refuse_every_line_stops_at_the_first(status):
    async with Peer(*[status] * 25) as peer:
        with pytest.raises(sender.GaveUp, match=rf"refuses with {status} .*; stopped at line 1"):
            await sender.send(EVENTS, peer.target(concurrency=1), sender.Tally())
    assert len(peer.asked) == 1


async def test_one_refused_request_is_named_and_the_others_go_on():
    tally = sender.Tally()
    async with Peer(200, 413, 200) as peer:
        await sender.send(EVENTS, peer.target(concurrency=1, batch=10), tally)
    assert tally.refused == ['lines 11 to 20: 413 {"success": false}']
    assert (tally.events, tally.complete) == (15, False)


async def test_lines_that_are_no_json_objects_are_named_and_not_sent():
    tally = sender.Tally()
    lines = [EVENTS[0], b"", b'{"type":', b"[1]", b'"text"', b"\xff", b"[" * 100_000, EVENTS[1]]
    async with Peer() as peer:
        await sender.send(lines, peer.target(concurrency=1, batch=2), tally)
    assert [body for body, _ in peer.kept] == [b"[" + EVENTS[0] + b"," + EVENTS[1] + b"]"]
    assert tally.bad == [
        "line 3: not JSON: Expecting value, column 9",
        "line 4: not a JSON object",
        "line 5: not a JSON object",
        "line 6: not JSON that can be read: UnicodeDecodeError",
        "line 7: not JSON that can be read: RecursionError",
    ]
    assert not tally.complete


async def test_progress_hears_of_every_byte_once():
    heard = []
    lines = [line + b"\n" for line in EVENTS]
    async with Peer() as peer:
        await sender.send(lines, peer.target(batch=10), sender.Tally(), heard.append)
    assert sum(heard) == sum(map(len, lines))


def test_pauses_double_up_to_five_seconds_and_last_as_long_as_the_receiver_asks():
    assert [sender.pause(0.2, attempt, 1.0, None) for attempt in range(1, 7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert sender.pause(0.2, 1, 0.0, None) == 0.1
    assert sender.pause(0.2, 1, 1.0, 7.0) == 7.0


async def test_the_command_signs_with_the_configured_secret_and_sums_up(run, tmp_path):
    (tmp_path / "stream.toml").write_text('[receiver]\nsecrets = ["new", "old"]\nrequire_header = "X-Key: k1"\n')
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(EVENTS))
    async with Peer() as peer:
        result = await run("send", "events.jsonl", "--url", peer.url, "--batch", 20, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["events"], answer["requests"], answer["bad"], answer["refused"]) == (25, 2, [], [])
    for body, headers in peer.kept:
        assert signature.verified(json_first(body), headers["X-Signature"], "new")
        assert headers["X-Key"] == "k1"


async def test_the_command_takes_the_secret_of_the_source_that_the_url_names(run, tmp_path):
    (tmp_path / "stream.toml").write_text('[receiver]\nsecrets = ["a"]\n[sources.web]\nsecrets = ["b"]\n')
    async with Peer() as peer:
        result = await run("send", "-", "--url", f"{peer.url}/web", input=EVENTS[0])
    assert result.exit_code == 0, result.output
    assert signature.verified(EVENTS[0], peer.kept[0][1]["X-Signature"], "b")
    assert "1 events in 1 requests" in result.stdout


async def test_the_command_takes_a_secret_from_the_environment(run, monkeypatch):
    monkeypatch.setenv("SEGMENT_SECRET", "s3cret")
    async with Peer() as peer:
        result = await run("send", "-", "--url", peer.url, "--secret", "${SEGMENT_SECRET}", input=EVENTS[0])
    assert result.exit_code == 0, result.output
    assert signature.verified(EVENTS[0], peer.kept[0][1]["X-Signature"], "s3cret")


async def test_the_command_names_bad_lines_and_ends_with_1(run):
    async with Peer() as peer:
        result = await run("send", "-", "--url", peer.url, input=EVENTS[0] + b"\nnot json\n" * 12)
    assert result.exit_code == 1
    assert "not sent: line 2: not JSON: Expecting value, column 1" in result.stderr
    assert "not sent: 2 more; --json names all" in result.stderr
    assert len(peer.kept) == 1


async def test_the_command_ends_with_1_and_the_count_so_far_when_it_gives_up(run):
    async with Peer(200, 401) as peer:
        result = await run("send", "-", "--url", peer.url, "--concurrency", 1, "--json", input=b"\n".join(EVENTS))
    assert result.exit_code == 1
    assert json.loads(result.stdout)["events"] == 1
    assert "stopped at line 2" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["send", "missing.jsonl"], "missing.jsonl"),
        (["send", "-", "--url", "127.0.0.1:8080/segment"], "must begin with http://"),
        (["send", "-", "--batch", "0"], "--batch"),
        (["send", "-", "--secret", "${NOT_SET_ANYWHERE}"], "needs the environment variable NOT_SET_ANYWHERE"),
        (["--config", "missing.toml", "send", "-"], "missing.toml cannot be read"),
    ],
)
async def test_wrong_use_ends_with_2_and_says_what(run, words, expected):
    result = await run(*words, input=b"")
    assert result.exit_code == 2
    assert expected in result.stderr


def json_first(body):
    return body[1 : body.index(b"}") + 1]


async def test_without_a_url_it_goes_to_the_configured_port(run, tmp_path):
    (tmp_path / "events.jsonl").write_bytes(EVENTS[0])
    async with Peer() as peer:
        for host in ("", "host = '127.0.0.1'\n"):
            text = f"[receiver]\nport = {peer.server.port}\nsecrets = ['s3cret']\n{host}"
            (tmp_path / "stream.toml").write_text(text)
            assert (await run("send", "events.jsonl")).exit_code == 0
    assert [request.path for request in peer.asked] == ["/segment", "/segment"]


async def test_without_a_url_and_without_a_port_it_asks_for_the_url(run, tmp_path):
    (tmp_path / "stream.toml").write_text("[receiver]\nport = 0\n")
    (tmp_path / "events.jsonl").write_bytes(EVENTS[0])
    result = await run("send", "events.jsonl")
    assert result.exit_code == 2 and "--url" in result.stderr
