"""What all paths share: how many at once, bodies in, messages into the log, and what is counted."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Final

import structlog
from aiohttp import web

from stream import headers, topics
from stream.config import ReceiverConfig
from stream.core.envelope import Limits
from stream.errors import LogError
from stream.log import Log
from stream.message import Message
from stream.receiver import body
from stream.receiver.answer import Refused, refusal
from stream.telemetry import Metrics

Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger()
_ALARM_EVERY_S: Final = 60.0


class Intake:
    """The way in: to a request that is admitted, until it is durable."""

    def __init__(self, config: ReceiverConfig, log: Log, clock: Callable[[], float], metrics: Metrics) -> None:
        self._config, self._log, self._metrics = config, log, metrics
        self.clock = clock
        self.limits = Limits(config.max_batch_events, config.max_depth)
        self._in_flight = 0
        self._alarms: dict[str, float] = {}
        metrics.in_flight.set_function(lambda: self._in_flight)
        # Finding a metric by its labels costs more than counting.
        self._requests = cache(metrics.requests.labels)
        self._received = cache(metrics.received.labels)

    async def answer(self, request: web.Request, path: str, respond: Respond) -> web.StreamResponse:
        """What `respond` answers, or why it refuses; 503 at once where too many requests are in flight."""
        if self._in_flight >= self._config.max_in_flight:
            return self._counted(path, refusal(_BUSY))
        self._in_flight += 1
        response: web.StreamResponse
        try:
            response = await respond(request)
        except Refused as refused:
            response = refusal(refused)
            if refused.close:
                await _hang_up(request, response)
        finally:
            self._in_flight -= 1
        return self._counted(path, response)

    async def body(self, request: web.Request) -> body.Body:
        """The request's body. Raises Refused: too large, too slow, broken off."""
        return await body.read(request, self._config.max_body_bytes, self._config.body_timeout_s)

    async def keep(self, messages: list[Message], source: str) -> None:
        """Returns once all of it is durable. Raises Refused if the log cannot take it now."""
        now = asyncio.get_running_loop().time
        began = now()
        try:
            await self._log.append(messages)
        except LogError as error:
            self._alarm("append_refused", reason=type(error).__name__)
            raise Refused(503, "the log cannot take this now: try again", after=5) from error
        self._metrics.append_seconds.observe(now() - began)
        self._count(messages, source)

    def bad_signature(self, source: str) -> Refused:
        """A signature (or secret header) is missing or wrong, or the source has no place here."""
        self._metrics.bad_signatures.labels(source).inc()
        self._alarm("signature_refused", source=source)
        return self._refused(self._config.on_bad_signature, "the signature is missing or wrong")

    def unknown_write_key(self) -> Refused:
        """No source has this write key."""
        self._metrics.unknown_write_keys.inc()
        self._alarm("write_key_refused")
        return self._refused(self._config.on_unknown_write_key, "the write key is missing or unknown")

    def _counted(self, path: str, response: web.StreamResponse) -> web.StreamResponse:
        self._requests(path, response.status).inc()
        return response

    def _refused(self, setting: str, message: str) -> Refused:
        return Refused(401, message) if setting == "reject" else Refused(503, message, after=60)

    def _count(self, messages: list[Message], source: str) -> None:
        if len(messages) == 1 and messages[0].topic != topics.INVALID:
            self._received(source, messages[0].topic).inc()
            return
        for topic, number in Counter(message.topic for message in messages).items():
            self._received(source, topic).inc(number)
        invalid = (message for message in messages if message.topic == topics.INVALID)
        for reason, number in Counter(dict(message.headers)[headers.REASON] for message in invalid).items():
            self._metrics.invalid.labels(reason.decode()).inc(number)

    def _alarm(self, event: str, **about: str) -> None:
        # An attack, or a wrong secret, is a thousand of these a second: one line a minute, the counters have the rest.
        name, now = f"{event} {about}", self.clock()
        if now - self._alarms.get(name, 0.0) >= _ALARM_EVERY_S:
            self._alarms[name] = now
            _log.warning(event, **about)


async def _hang_up(request: web.Request, response: web.Response) -> None:
    # aiohttp would go on reading what is left of the body for 10 s.
    await response.prepare(request)
    await response.write_eof()
    request.protocol.force_close()


_BUSY: Final = Refused(503, "too many requests in flight: try again")
