"""One run of the tests: what it starts beside Python is shared by its workers, and does not outlive it."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

# PostgreSQL leaves a piece of shared memory behind when it is killed, and none when it is told to quit at once.
_GUARD = """
trap '' INT TERM HUP
read -r _
cd "$0/processes" && for pid in *; do kill -QUIT "$pid" && kill -CONT "$pid"; done 2>/dev/null
sleep 0.3
for pid in *; do kill -KILL "$pid"; done 2>/dev/null
cd ../containers && for id in *; do test -e "$id" && docker rm -fv "$id"; done >/dev/null 2>&1
cd / && rm -rf "$0"
"""


class Missing(Exception):
    """What a test needs is not on this machine; the text says how to have it."""


class Run:
    """A folder that goes away with the run, however that ends, and with it every process that was noted there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes, self._containers = folder / "processes", folder / "containers"

    @classmethod
    @contextlib.contextmanager
    def begun(cls) -> Iterator["Run"]:
        """The run of the process that was started first. A guard of its own waits for the end of this one: an end by
        SIGKILL closes its pipe, too."""
        folder = Path(tempfile.mkdtemp(prefix="stream-"))
        folder.chmod(0o755)  # PostgreSQL, where root runs the tests, is another user
        for notes in ("processes", "containers"):
            (folder / notes).mkdir()
        guard = subprocess.Popen(["sh", "-c", _GUARD, folder], stdin=subprocess.PIPE, start_new_session=True)
        try:
            yield cls(folder)
        finally:
            guard.communicate()

    def note(self, pid: int) -> None:
        """This process is to end with the run."""
        (self._processes / str(pid)).touch()

    def forget(self, pid: int) -> None:
        """This process has ended, and its number may be another's."""
        (self._processes / str(pid)).unlink(missing_ok=True)

    def note_container(self, container: str) -> None:
        """This container is to be removed with the run."""
        (self._containers / container).touch()

    def new_folder(self, name: str) -> Path:
        """An empty folder with a short path, as a socket in it may need."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def once(self, name: str, start: Callable[[], dict[str, str]]) -> dict[str, str]:
        """What `start` returned in the first worker that asked; the others wait for it. What was Missing stays so."""
        answer = self.folder / f"{name}.json"
        with open(self.folder / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not answer.exists():
                try:
                    answer.write_text(json.dumps(start()))
                except Missing as missing:
                    answer.write_text(json.dumps({"missing": str(missing)}))
        found: dict[str, str] = json.loads(answer.read_text())
        if "missing" in found:
            raise Missing(found["missing"])
        return found

    def started(self, name: str) -> dict[str, str]:
        """What `once` has started, for the report at the end; empty if no test asked."""
        answer = self.folder / f"{name}.json"
        return json.loads(answer.read_text()) if answer.exists() else {}


def cache() -> Path:
    """Where downloads are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segment-stream"


def replaced(new: Path, place: Path) -> None:
    """Moves a finished download to its place, unless another run was faster."""
    try:
        new.rename(place)
    except OSError:
        shutil.rmtree(new)
        if not place.exists():
            raise
