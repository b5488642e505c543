"""A server's process, in the hands of a test."""

import asyncio
import contextlib
import random
import socket
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from signal import Signals

import psutil

from tests.brokers.run import Run

_RUNNING: set[subprocess.Popen[bytes]] = set()  # who starts one for the whole run does not keep it
_START_S = 60.0  # several times what it takes: the machine may be busy


class Process:
    """Started, signalled and waited for by hand. All signals reach its children, too."""

    def __init__(self, run: Run, command: Sequence[str], output: Path, user: str | None = None) -> None:
        self._run, self._command, self._output, self._user = run, command, output, user
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self._running is None, "it runs already"
        with open(self._output, "ab") as output:
            self._running = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests
                user=self._user,
                cwd=self._output.parent,
            )
        _RUNNING.add(self._running)
        self._run.note(self._running.pid)

    async def ready(self, answers: Callable[[], Awaitable[bool]]) -> None:
        """Until it answers; an early end is an error with what it said."""
        async with asyncio.timeout(_START_S):
            while not await answers():
                if self._running is None or self._running.poll() is not None:
                    raise AssertionError(f"it ended at its start:\n{self.said()[-4_000:]}")
                await asyncio.sleep(0.05)

    def signal(self, number: Signals) -> None:
        if self._running is None:
            return
        first = psutil.Process(self._running.pid)
        for process in [first, *first.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    async def end(self, number: Signals, main_only: bool = False) -> None:
        """Sends the signal, and waits for the end."""
        if self._running is None:
            return
        if main_only:
            self._running.send_signal(number)
        else:
            self.signal(number)
        async with asyncio.timeout(_START_S):
            while self._running.poll() is None:
                await asyncio.sleep(0.02)
        _RUNNING.discard(self._running)
        self._run.forget(self._running.pid)
        self._running = None

    def said(self) -> str:
        """All that it wrote."""
        return self._output.read_text(errors="replace")


def free_port() -> int:
    """A port that nobody has now. Not one that the system gives to outgoing connections: while a server is stopped, one
    of those could be given its port, and could even reach itself there."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def accepts(port: int) -> bool:
    """Does somebody accept connections there?"""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
