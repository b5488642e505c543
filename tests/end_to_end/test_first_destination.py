"""The first destination of the README: stream.toml with the `# ` of its marked block taken away, something to send to
(examples/destination.py), and `stream send examples/destination.jsonl`. Real processes, and nothing else."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.parts import Parts, toml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MARKED = re.compile(r"^#-- .+?^#-- .+?$", re.MULTILINE | re.DOTALL)
DESTINATION_PORT = "127.0.0.1:9000"
Request = tuple[str, str, Any]


def switched_on(text: str) -> str:
    """stream.toml as the README says: no `# ` at the beginning of a line of the marked block."""
    return MARKED.sub(lambda block: re.sub(r"^# ", "", block[0], flags=re.MULTILINE), text)


class Site:
    """A folder with the configuration, and what runs there."""

    def __init__(self, folder: Path, parts: Parts) -> None:
        self.folder = folder
        self.port, self.listens = _free(), _free()
        text = switched_on((ROOT / "stream.toml").read_text())
        assert DESTINATION_PORT in text
        text = text.replace(DESTINATION_PORT, f"127.0.0.1:{self.listens}")
        text = text.replace("# port = 8080", f"port = {self.port}")
        text = toml(parts.sections(tomllib.loads(text))) if parts.real else text
        (folder / "stream.toml").write_text(text)
        shutil.copy(ROOT / "examples" / "destination.jsonl", folder)

    @contextlib.contextmanager
    def destination(self) -> Iterator[None]:
        """examples/destination.py, in the background; what it prints goes to a file."""
        with (
            (self.folder / "printed").open("w") as printed,
            _process([sys.executable, ROOT / "examples" / "destination.py", str(self.listens)], self.folder, printed),
        ):
            self._until(lambda: "listening" in self.printed())
            yield

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """`stream run`, until the block is left; normal operation is silent."""
        with (self.folder / "said").open("w+") as said, (self.folder / "started").open("w") as started:
            with _process([*_STREAM, "run", "--json"], self.folder, started, said) as process:
                self._until(lambda: (self.folder / "started").read_text().strip() or process.poll() is not None)
                assert process.poll() is None, (self.folder / "said").read_text()
                yield
            assert (process.returncode, (self.folder / "said").read_text()) == (0, "")

    def stream(self, *words: str) -> Any:
        """What a command answers."""
        done = subprocess.run(
            [*_STREAM, *words, "--json"], cwd=self.folder, env=_ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def printed(self) -> str:
        return (self.folder / "printed").read_text()

    def asked(self) -> list[Request]:
        """The requests that the destination printed, in order."""
        lines = [line.split(" ", 2) for line in self.printed().splitlines()[1:]]
        return [(method, path, json.loads(body) if body else None) for method, path, body in lines]

    def settled(self, *wanted: Request) -> list[Request]:
        """What the destination was asked, once these are among it, everything is read, and no deletion is open."""

        def quiet() -> bool:
            found = self.stream("lag")
            return not found["deletions_open"] and not any(one["behind"] for one in found["processors"])

        self._until(lambda: all(one in self.asked() for one in wanted) and quiet())
        return self.asked()

    def _until(self, true: Any) -> None:
        for _ in range(600):
            if true():
                return
            time.sleep(0.1)
        raise AssertionError(f"not within a minute; the destination was asked: {self.printed()}")


@contextlib.contextmanager
def _process(words: list[Any], folder: Path, out: Any, err: Any = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, cwd=folder, env=_ENVIRONMENT, stdout=out, stderr=err)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


_STREAM = [sys.executable, "-m", "stream"]
_ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def last(asked: list[Request], method: str, path: str, email: str) -> Any:
    """What the destination was told last of somebody, at one of its paths."""
    told = [body for m, p, body in asked if (m, p) == (method, path) and (body is None or body["email"] == email)]
    return told[-1] if told else "nothing"


def test_a_membership_an_opt_out_a_profile_and_a_deletion_arrive(tmp_path: Path, parts: Parts) -> None:
    site = Site(tmp_path, parts)
    assert site.stream("check")["ok"]
    mary, barbara = "mary@example.com", "barbara@example.com"
    membership = ("POST", "/lists/spring_sale", {"email": mary, "member": True})
    opt_out = ("POST", "/consent/email", {"email": barbara, "given": False})
    profile = ("PUT", "/people/mary@example.com", {"email": mary, "plan": "pro"})
    deletion = ("DELETE", "/people/alan@example.com", None)
    with site.destination(), site.running():
        assert site.stream("send", "destination.jsonl")["events"] == 9
        asked = site.settled(membership, opt_out, profile, deletion)

        assert last(asked, "POST", "/consent/email", barbara) == opt_out[2]
        told = last(asked, "POST", "/lists/spring_sale", barbara)
        assert told in ("nothing", {"email": barbara, "member": False}), "whoever opted out is on no list"
        assert not [one for one in asked if one != deletion and "alan" in json.dumps(one)], "the deleted get nothing"

        [request] = site.stream("deletions", "list")
        receipts = site.stream("deletions", "show", request["id"])["deletion"]["receipts"]
        assert [(one["destination"], one["outcome"]) for one in receipts] == [("demo", "deleted")]

        entered = [line for line in (tmp_path / "destination.jsonl").read_text().splitlines() if "Entered" in line]
        raw = [body for _, path, body in asked if path == "/events"]
        assert sorted(raw, key=lambda body: body["messageId"]) == [json.loads(line) for line in entered]

        site.stream("send", "destination.jsonl")
        assert site.settled()[len(asked) :] == [], "what is known to be so, or was sent, is not sent again"
