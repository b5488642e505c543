"""A way to PostgreSQL that breaks where a test says so."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

_COMMIT = b"COMMIT\x00"


class Proxy:
    """Between the store and its server. `cut`: what happens to the next COMMIT, once.

    "before": it does not arrive, and the connection breaks on both sides. "silent": the same, but the server hears
    nothing of it and waits. "after": the server commits, and its answer is lost."""

    def __init__(self, host: str, port: int) -> None:
        self.cut: str | None = None
        self.cuts = 0
        self.away = False
        self._server = (host, port)
        self._writers: list[asyncio.StreamWriter] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, url: str) -> AsyncIterator[tuple["Proxy", str]]:
        """It, and the url that leads through it."""
        parts = urlsplit(url)
        proxy = cls(parts.hostname or "127.0.0.1", parts.port or 5432)
        listening = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        user = parts.netloc.rpartition("@")[0]
        try:
            yield proxy, parts._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()
        finally:
            listening.close()
            for writer in proxy._writers:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self.away:
            writer.close()
            return
        from_server, to_server = await asyncio.open_connection(*self._server)
        self._writers.append(to_server)
        back = asyncio.create_task(_pass(from_server, writer))
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if self.cut and _COMMIT in data:
                    await self._break(data, to_server, back)
                    writer.close()
                    return
                to_server.write(data)
                await to_server.drain()
        back.cancel()
        to_server.close()
        writer.close()

    async def _break(self, data: bytes, to_server: asyncio.StreamWriter, back: "asyncio.Task[None]") -> None:
        how, self.cut, self.cuts = self.cut, None, self.cuts + 1
        back.cancel()
        if how == "silent":
            return
        if how == "after":
            to_server.write(data)
            await to_server.drain()
        to_server.write_eof()  # whatever came before is carried out


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()
