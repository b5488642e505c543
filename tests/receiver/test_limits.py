"""What is too much, too slow, or more than the log can take."""

import asyncio
import gzip
import socket
import sqlite3
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web

from stream.config import Config, ReceiverConfig
from stream.errors import ConfigError
from stream.receiver import listening
from tests.disk import full_disk
from tests.receiver.conftest import Receiver, Start, until

OK = (200, {"success": True})
EVENT = b'{"type":"track","userId":"u1","messageId":"m1"}'


def limits(**limits: float) -> Config:
    return Config(receiver=ReceiverConfig(**limits))  # type: ignore[arg-type]


async def raw(receiver: Receiver, *parts: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which these parts have been sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    return reader, writer


async def test_a_default_actions_batch_of_4_mb_and_a_body_at_the_limit_are_accepted(start: Start) -> None:
    receiver = await start(limits(max_body_bytes=5_000_000))
    body = EVENT.ljust(5_000_000)
    assert await receiver.post("/segment", body) == OK
    assert await receiver.kept() == [("segment.track", body)]


async def test_a_body_over_the_limit_is_answered_413_and_not_kept(start: Start) -> None:
    receiver = await start(limits(max_body_bytes=1_000))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield EVENT.ljust(600)

    assert (await receiver.post("/segment", EVENT.ljust(1_001)))[0] == 413
    assert (await receiver.send("POST", "/segment", data=chunks())).status == 413
    assert (await receiver.post("/segment", gzip.compress(EVENT.ljust(1_001)), headers={"Content-Encoding": "gzip"}))[
        0
    ] == 413
    assert await receiver.kept() == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_body_is_kept_inflated(receiver: Receiver, encoding: str) -> None:
    body = gzip.compress(EVENT) if encoding == "gzip" else zlib.compress(EVENT)
    assert await receiver.post("/segment", body, headers={"Content-Encoding": encoding}) == OK
    assert await receiver.kept() == [("segment.track", EVENT)]


async def test_a_gzip_text_of_several_members_is_one_body(receiver: Receiver) -> None:
    body = gzip.compress(EVENT[:10]) + gzip.compress(EVENT[10:])
    assert await receiver.post("/segment", body, headers={"Content-Encoding": "gzip"}) == OK
    assert await receiver.kept() == [("segment.track", EVENT)]


@pytest.mark.slow
async def test_a_gzip_bomb_is_answered_413_and_never_inflated(start: Start) -> None:
    receiver = await start(limits(max_body_bytes=1_000_000))
    inflater = zlib.compressobj(wbits=31)
    bomb = b"".join(inflater.compress(bytes(1_000_000)) for _ in range(500)) + inflater.flush()
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    try:
        assert (await receiver.post("/segment", bomb, headers={"Content-Encoding": "gzip"}))[0] == 413
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000


async def test_a_batch_of_too_many_events_is_kept_whole_as_invalid(start: Start) -> None:
    receiver = await start(limits(max_batch_events=3))
    body = b"[" + b",".join([EVENT] * 4) + b"]"
    assert await receiver.post("/segment", body) == OK
    assert await receiver.kept() == [("segment.invalid", body)]
    assert await receiver.reasons() == ["too_many_events"]
    assert await receiver.post("/v1/batch", b'{"batch":' + body + b"}") == OK


async def test_nesting_is_allowed_up_to_the_configured_depth(start: Start) -> None:
    receiver = await start(limits(max_depth=3))
    for body in (b'{"type":"track","userId":"u","p":[[]]}', b'{"type":"track","userId":"u","p":[[[]]]}'):
        assert await receiver.post("/segment", body) == OK
    assert await receiver.reasons() == ["too_deep"]


async def test_a_slow_body_is_answered_503_and_the_connection_closed(start: Start) -> None:
    receiver = await start(limits(body_timeout_s=0.02))
    reader, writer = await raw(
        receiver, b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n", b'{"type":'
    )
    async with asyncio.timeout(5):  # aiohttp alone would wait for 10
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: " in answer and b"Connection: close" in answer
    assert await receiver.kept() == []
    writer.close()


async def test_a_content_length_that_is_too_long_keeps_nothing_when_the_sender_leaves(start: Start) -> None:
    receiver = await start()
    head = b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    _, writer = await raw(receiver, head, EVENT)
    await until(lambda: receiver.metric("stream_requests_in_flight") == 1)
    writer.transport.abort()
    await until(lambda: receiver.metric("stream_requests_in_flight") == 0)
    assert await receiver.kept() == []
    assert await receiver.post("/segment", EVENT) == OK


async def test_a_content_length_that_is_too_short_cuts_the_body_there(receiver: Receiver) -> None:
    head = b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n"
    reader, writer = await raw(receiver, head, EVENT[:20])
    answer = await reader.readuntil(b"}")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert await receiver.kept() == [("segment.invalid", EVENT[:20])]
    writer.write(EVENT[20:])
    assert (await reader.read()).startswith(b"HTTP/1.0 400 "), "the rest is no request"
    writer.close()


async def test_beyond_the_requests_in_flight_the_answer_is_503_at_once(start: Start) -> None:
    receiver = await start(limits(max_in_flight=1))
    head = b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(EVENT)
    reader, writer = await raw(receiver, head, EVENT[:10])
    await until(lambda: receiver.metric("stream_requests_in_flight") == 1)
    response = await receiver.send("POST", "/segment", data=EVENT)
    assert (response.status, int(response.headers["Retry-After"])) == (503, 1)
    writer.write(EVENT[10:])
    assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
    assert await receiver.kept() == [("segment.track", EVENT)]
    writer.close()


async def test_a_log_whose_queue_is_full_is_answered_503_and_the_next_try_succeeds(
    start: Start, tmp_path: Path
) -> None:
    receiver = await start(queue_bytes=500)
    first, second = EVENT.ljust(400), EVENT.ljust(401)
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # nothing becomes durable until it ends
        waiting = asyncio.create_task(receiver.post("/segment", first))
        await until(lambda: receiver.log.queued_bytes)
        response = await receiver.send("POST", "/segment", data=second)
        assert (response.status, "Retry-After" in response.headers) == (503, True)
        assert not waiting.done(), "what is not durable yet is not answered"
        other.execute("ROLLBACK")
    assert await waiting == OK
    assert await receiver.kept() == [("segment.track", first)]
    assert await receiver.post("/segment", second) == OK


async def test_a_disk_that_takes_nothing_is_answered_503_and_recovers_without_a_restart(receiver: Receiver) -> None:
    body = EVENT.ljust(1_000_000)
    with full_disk(room=500_000):
        response = await receiver.send("POST", "/segment", data=body)
    assert (response.status, "Retry-After" in response.headers) == (503, True)
    assert await receiver.post("/segment", body) == OK
    assert await receiver.kept() == [("segment.track", body)]


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
            async with listening(web.Application(), "127.0.0.1", port):
                pass


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [
        (b"1.1", b"keep-alive", True),
        (b"1.1", b"close", False),
        (b"1.0", b"close", False),
        (b"1.0", b"keep-alive", True),
    ],
)
async def test_a_connection_stays_open_as_its_client_asks(
    receiver: Receiver, version: bytes, connection: bytes, stays: bool
) -> None:
    head = b"POST /segment HTTP/%b\r\nHost: x\r\nConnection: %b\r\nContent-Length: %d\r\n\r\n"
    request = head % (version, connection, len(EVENT)) + EVENT
    reader, writer = await raw(receiver, request)
    answer = await reader.readuntil(b"}")
    assert answer.startswith(b"HTTP/%b 200 OK\r\n" % version)
    assert b"\r\nContent-Length: 16\r\n" in answer and b"\r\nDate: " in answer
    if stays:
        writer.write(request)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/%b 200 OK\r\n" % version)
    else:
        assert await reader.read() == b""
    writer.close()


async def test_requests_that_are_sent_without_waiting_are_answered_one_by_one(receiver: Receiver) -> None:
    request = b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(EVENT) + EVENT
    reader, writer = await raw(receiver, request * 5)
    for _ in range(5):
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
    assert len(await receiver.kept()) == 5
    writer.close()
