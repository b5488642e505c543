"""What the log takes by no means: messages that are too large for it, kept with their bytes until somebody decides."""

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from stream.errors import LogUnavailable
from stream.log.refused_file import RefusedFile
from stream.message import Message
from stream.telemetry import Metrics

logger = structlog.get_logger()

_ALARM_EVERY_S = 60.0
_DAY_S = 86_400.0


class Refused:
    """What a receiver does with them: keeps them, and says so."""

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        self._file = RefusedFile(folder)
        self._metrics = metrics
        self._alarmed = -math.inf

    async def keep(self, messages: Sequence[Message], now: float, max_bytes: float = math.inf) -> None:
        """Returns once they are durable. Raises LogFull where more than `max_bytes` are kept already, LogUnavailable
        where the disk is full."""
        await asyncio.to_thread(self._file.keep, messages, now, max_bytes)
        for message in messages:
            self._metrics.refused.labels(message.topic).inc()
        if now - self._alarmed >= _ALARM_EVERY_S:  # one line a minute, the counter has the rest
            self._alarmed = now
            largest = max(len(message.value or b"") for message in messages)
            logger.error("message_refused", topic=messages[0].topic, bytes=largest, file=str(self._file.path))

    async def look(self, now: float, keep_days: float) -> None:
        """Counts them, and lets go what is too old to be kept: as the log does."""
        with suppress(LogUnavailable):  # another look will do
            gone = await asyncio.to_thread(self._file.purge, now - keep_days * _DAY_S)
            if gone:
                logger.error("refused_expired", messages=gone, days=keep_days)
            self._metrics.refused_kept.set(await asyncio.to_thread(self._file.count))
