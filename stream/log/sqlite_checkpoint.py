"""Moves what is committed from the write-ahead file into the database file, beside the writer: so it stays small."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from stream.log.sqlite_file import writable

_DUE_BYTES = 4 * 1024 * 1024  # written since the last one
_RESET_BYTES = 32 * 1024 * 1024  # of the write-ahead file: begin it anew, which needs the writer to pause
_TRUNCATE_BYTES = 128 * 1024 * 1024  # give the room back; below, overwriting is faster than growing it again
_BUSY_MS = 100  # how long a slow reader in another process may keep the paused writer waiting


class Checkpoints:
    """A thread that checkpoints. The writer holds `pause` while it writes, and tells how much it `wrote`.

    A PASSIVE checkpoint stops nobody, but under steady writing it never gets to the end, and the file grows without
    one (measured: 400 MB in 5 s). So above a size, a PASSIVE one is followed by one with the writer paused, for the
    little that came meanwhile."""

    def __init__(self, path: Path) -> None:
        self.pause = threading.Lock()
        self.failures = 0
        self._path = path
        self._wal = path.with_name(path.name + "-wal")
        self._written = 0
        self._bound = _RESET_BYTES
        self._due = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log-checkpoints", daemon=True)
        self._thread.start()

    def wrote(self, size: int) -> None:
        """Called by the writer after each commit."""
        self._written += size
        if self._written >= _DUE_BYTES:
            self._written = 0
            self._due.set()

    def close(self) -> None:
        """Ends the thread, after the checkpoint that is running."""
        self._closing = True
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while self._due.wait() and not self._closing:
            self._due.clear()
            try:
                self._checkpoint()
            except (sqlite3.Error, OSError):
                # Nothing is lost: all of it is in the write-ahead file, and the next one tries again. If the disk is
                # full and stays so, it is the appends that are refused.
                self.failures += 1

    def _checkpoint(self) -> None:
        with closing(writable(self._path)) as connection:
            connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            size = self._wal.stat().st_size
            if size < self._bound:
                return
            mode = "TRUNCATE" if size >= _TRUNCATE_BYTES else "RESTART"
            with self.pause:
                busy, _, _ = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            # Kept back by a reader of another process: pausing the writer again before it has grown would cost and gain
            # nothing.
            self._bound = 2 * size if busy else _RESET_BYTES
