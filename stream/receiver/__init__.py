"""aiohttp: POST → envelope → append → answer. Nothing is answered 200 before it is durable."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from stream.config import Config
from stream.errors import ConfigError
from stream.log import Log
from stream.receiver.access import Access, listen_host
from stream.receiver.destination import Destination
from stream.receiver.intake import Intake
from stream.receiver.sdk import Sdk
from stream.telemetry import Metrics

__all__ = ["application", "listen_host", "listening", "probes"]

Ready = Callable[[], Awaitable[str | None]]
"""None when this process can do its work, or the reason why it cannot."""

_SHUTDOWN_S = 10.0  # how long requests in flight may take when the process stops; a body may take as long


def application(
    config: Config, log: Log, *, clock: Callable[[], float], ready: Ready, metrics: Metrics
) -> web.Application:
    """All paths of the receiver. To be served by `listening`."""
    access = Access(config)
    intake = Intake(config.receiver, log, clock, metrics)
    application = web.Application()
    application.add_routes(Destination(intake, access).routes())
    application.add_routes(Sdk(intake, access).routes())
    application.add_routes(_Probes(ready, metrics.registry).routes())
    return application


def probes(ready: Ready, metrics: Metrics) -> web.Application:
    """/health, /ready and /metrics alone, for a process without the receiver."""
    application = web.Application()
    application.add_routes(_Probes(ready, metrics.registry).routes())
    return application


@asynccontextmanager
async def listening(
    application: web.Application, host: str, port: int, *, shared: bool = False, section: str = "receiver"
) -> AsyncIterator[int]:
    """Serves while the context is open; the port that it listens on (0: any free one). On leaving, requests in flight
    are finished, within a time. `shared`: other processes may listen there, too, and the system spreads connections
    over them. Raises ConfigError, which names the section, where it cannot listen."""
    # aiohttp must not inflate bodies: it is done within the limit (body.py).
    runner = web.AppRunner(application, auto_decompress=False, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, reuse_port=shared).start()
        except OSError as error:
            raise ConfigError(f"{section}.port: cannot listen on {host}:{port}: {error.strerror}") from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class _Probes:
    """What an orchestrator and Prometheus ask."""

    def __init__(self, ready: Ready, registry: CollectorRegistry) -> None:
        self._ready, self._registry = ready, registry

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/health", self._answer_health),
            web.get("/ready", self._answer_ready),
            web.get("/metrics", self._answer_metrics),
        ]

    async def _answer_health(self, request: web.Request) -> web.Response:
        return web.Response(text="up\n")

    async def _answer_ready(self, request: web.Request) -> web.Response:
        reason = await self._ready()
        return web.Response(text="ready\n") if reason is None else web.Response(text=f"{reason}\n", status=503)

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": "text/plain; version=0.0.4"})
