"""What is measured over HTTP, in a process of its own: the whole system, its receiver alone, and what they are measured
against.

    python -m benchmarks.served KIND FOLDER [URL [LOG STORE]]    prints the port, and serves until SIGTERM; URL: of a
destination, or HOST:PORT of a broker; LOG and STORE: their urls, where they are not files in the folder
"""

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from aiohttp import web
from aiokafka import AIOKafkaProducer
from msgspec import Raw, Struct

from benchmarks.load import ANSWER
from benchmarks.traffic import SECRET
from stream.app import App, tune
from stream.config import Config, PurposeConfig, ReceiverConfig
from stream.places import LogConfig, StoreConfig
from stream.receiver import listening


def config(folder: Path, secrets: tuple[str, ...] = (SECRET,), **more: Any) -> Config:
    """The default configuration with a secret, and its files in this folder."""
    files = placed(f"sqlite:{folder / 'log.db'}", f"sqlite:{folder / 'state.db'}")
    return Config(receiver=ReceiverConfig(host="127.0.0.1", port=0, secrets=secrets), **files | more)


def placed(log: str, store: str) -> dict[str, Any]:
    """Where messages and state are kept."""
    return {"log": LogConfig(url=log), "store": StoreConfig(url=store)}


@contextlib.asynccontextmanager
async def serving(
    kind: str, folder: Path | None = None, url: str = "", places: Sequence[str] = ()
) -> AsyncIterator[int]:
    """The port of a server in a process of its own: this file, run."""
    with tempfile.TemporaryDirectory() as temporary:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.served", kind, str(folder or temporary), url, *places),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            yield int(await process.stdout.readline())
        finally:
            process.terminate()
            await process.wait()


def forwarding(url: str) -> dict[str, Any]:
    """Every event is forwarded there, 64 at a time."""
    copy = {"url": url, "allow_private": True, "concurrency": 64}
    return {"processors": {**Config().processors, "forward": {"copy": copy}}}


def syncing(url: str) -> dict[str, Any]:
    """Memberships are told there, to whoever allows it."""
    membership = {"url": url, "body": {"email": "$.id", "list": "$.name", "member": "$.value"}}
    lists = {"connector": "webhook", "kinds": ["email"], "allow_private": True, "set_membership": membership}
    return {
        "processors": {**Config().processors, "audiences": {"destinations": ["lists"]}},
        "purposes": {"marketing": PurposeConfig(channels=("email",), unknown="allow")},
        "connectors": {"lists": lists},
    }


async def _nothing(request: web.Request) -> web.Response:
    """Reads the body and answers."""
    await request.read()
    return web.Response(body=ANSWER, content_type="application/json")


class _Route(Struct, rename="camel", gc=False):
    type: str
    user_id: str | None = None
    anonymous_id: str | None = None
    message_id: str | None = None


async def _cut(request: web.Request) -> web.Response:
    """Cuts a batch, reads of each event what it is routed by, and answers."""
    routed = []
    for raw in _CUT.decode(await request.read()):
        route = _ROUTE.decode(raw)
        key = route.user_id or route.anonymous_id or route.message_id or ""
        routed.append((f"segment.{route.type}", key.encode(), bytes(raw)))
    return web.Response(body=ANSWER, content_type="application/json")


async def _sent(request: web.Request) -> web.Response:
    """Reads what an event is routed by, and waits until Kafka has it."""
    raw = await request.read()
    await request.app[_PRODUCER].send_and_wait(*_routed(raw))
    return web.Response(body=ANSWER, content_type="application/json")


async def _sending(request: web.Request) -> web.Response:
    """Cuts a batch, sends each event, and waits until Kafka has them all."""
    producer = request.app[_PRODUCER]
    sent = [await producer.send(*_routed(bytes(raw))) for raw in _CUT.decode(await request.read())]
    await asyncio.gather(*sent)
    return web.Response(body=ANSWER, content_type="application/json")


def _routed(raw: bytes) -> tuple[str, bytes, bytes]:
    route = _ROUTE.decode(raw)
    return f"segment.{route.type}", raw, (route.user_id or route.anonymous_id or route.message_id or "").encode()


@contextlib.asynccontextmanager
async def _producing(broker: str, answer: Any) -> AsyncIterator[int]:
    # A waiting send fails after the timeout, and with smaller batches most of them wait.
    settings = {"acks": "all", "max_batch_size": 256 * 1024, "request_timeout_ms": 60_000}
    async with AIOKafkaProducer(bootstrap_servers=broker, **settings) as producer:
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application[_PRODUCER] = producer
        application.router.add_post("/segment", answer)
        async with listening(application, "127.0.0.1", 0) as port:
            yield port


@contextlib.asynccontextmanager
async def _plain(answer: Any) -> AsyncIterator[int]:
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_post("/segment", answer)
    async with listening(application, "127.0.0.1", 0) as port:
        yield port


@contextlib.asynccontextmanager
async def _stream(folder: Path, **more: Any) -> AsyncIterator[int]:
    listens: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    async with App.open(config(folder, **more)) as app:
        running = asyncio.create_task(app.run(listens.set_result))
        await asyncio.wait((running, listens), return_when=asyncio.FIRST_COMPLETED)
        yield int(str(listens.result()).rpartition(":")[2])
        running.cancel()
        await asyncio.wait((running,))


async def _main(kind: str, folder: Path, url: str = "", *places: str) -> None:
    elsewhere = placed(*places) if places else {}
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    kinds = {
        "nothing": lambda: _plain(_nothing),
        "cut": lambda: _plain(_cut),
        "receiver": lambda: _stream(folder, processors={}),
        "unsigned": lambda: _stream(folder, secrets=(), processors={}),
        "whole": lambda: _stream(folder),
        "forwarding": lambda: _stream(folder, **forwarding(url), **elsewhere),
        "syncing": lambda: _stream(folder, **syncing(url), **elsewhere),
        "kafka": lambda: _stream(folder, secrets=(), processors={}, log=LogConfig(url=f"kafka://{url}")),
        "kafka-signed": lambda: _stream(folder, processors={}, log=LogConfig(url=f"kafka://{url}")),
        "sent": lambda: _producing(url, _sent),
        "sending": lambda: _producing(url, _sending),
    }
    async with kinds[kind]() as port:
        print(port, flush=True)
        await end.wait()


_PRODUCER = web.AppKey("producer", AIOKafkaProducer)
_CUT = msgspec.json.Decoder(list[Raw])
_ROUTE = msgspec.json.Decoder(_Route)

if __name__ == "__main__":
    tune()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
