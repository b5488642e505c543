"""compose.yaml, brought up from a copy of the checkout: what an operator types, and what the containers answer."""

import json
import secrets
import shlex
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

RECEIVERS = ("receiver-a", "receiver-b")
FAMILIES = ("profiles", "audiences", "consent", "deletion", "forward")
PATIENCE_S = 600.0  # for whatever is to happen; what happens ends the wait


def missing() -> str | None:
    """Why no container engine can be used here; None: one answers."""
    for words in (["docker", "compose", "version"], ["docker", "info"]):
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        except FileNotFoundError:
            return "there is no docker command"
        if done.returncode != 0:
            return f"`{' '.join(words)}` says: {done.stderr.strip() or done.stdout.strip()}"
    return None


class Compose:
    """The system of a folder's compose.yaml, under a name and on ports of its own."""

    def __init__(self, folder: Path) -> None:
        """`folder` has an .env with the secrets already."""
        self.folder = folder
        self._logged: dict[str, None] = {}
        self.ports = {receiver: _free_port() for receiver in RECEIVERS}
        more = {
            "RECEIVER_A_PORT": self.ports["receiver-a"],
            "RECEIVER_B_PORT": self.ports["receiver-b"],
            "STREAM_IMAGE": "segment-stream:tested",
            "COMPOSE_PROJECT_NAME": f"segment-stream-test-{secrets.token_hex(3)}",
            "COMPOSE_PROFILES": "forward",
        }
        with (folder / ".env").open("a") as env:
            env.writelines(f"{name}={value}\n" for name, value in more.items())
        lines = (folder / ".env").read_text().splitlines()
        self.secret = dict(line.split("=", 1) for line in lines)["SEGMENT_SECRET"]

    def typed(self, command: str, check: bool = True) -> str:
        """What a shell prints for a command of the documentation."""
        if {"up", "rm", "down"} & set(command.split()):
            self._keep_logs()
        done = subprocess.run(
            command, shell=True, cwd=self.folder, capture_output=True, text=True, check=False, timeout=900
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, *words: str, check: bool = True) -> str:
        """What `docker compose WORDS` prints."""
        return self.typed(f"docker compose --ansi never {shlex.join(words)}", check)

    def said(self) -> list[dict[str, Any]]:
        """All that our processes have logged, those of containers that were replaced since among them."""
        self._keep_logs()
        return [json.loads(line[line.index("{") :]) for line in self._logged if '{"' in line]

    def _keep_logs(self) -> None:
        logs = self.run("logs", "--no-color", "--timestamps", *RECEIVERS, *FAMILIES, check=False)
        self._logged |= dict.fromkeys(logs.splitlines())

    def stream(self, *words: str, of: str = "profiles") -> str:
        """What a command prints, in the container of a service."""
        return self.run("exec", "-T", of, "stream", *words)

    def sql(self, query: str) -> list[list[str]]:
        """The rows of a query, as an analyst would ask it."""
        psql = ("psql", "--username=stream", "--dbname=stream", "--no-align", "--tuples-only", "--field-separator=\t")
        return [
            line.split("\t") for line in self.run("exec", "-T", "postgres", *psql, f"--command={query}").splitlines()
        ]

    def states(self) -> dict[str, dict[str, Any]]:
        """What the engine says of each container, those that ended included."""
        lines = self.run("ps", "--all", "--format", "json").splitlines()
        return {one["Service"]: one for one in map(json.loads, lines)}

    def get(self, receiver: str, path: str) -> tuple[int, str]:
        """What a receiver answers; status 0: nobody does."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[receiver]}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, receiver: str, name: str) -> float:
        """The sum of a receiver's metric over its labels."""
        lines = self.get(receiver, "/metrics")[1].splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)

    def killed_within(self, service: str) -> None:
        """SIGKILL from inside: for the engine that is a crash, and not somebody's wish that it be stopped."""
        self.run("exec", "-T", service, "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)", check=False)

    def restarts(self, service: str) -> int:
        """How often the engine started it again by itself."""
        [container] = self.run("ps", "--all", "--quiet", service).split()
        shown = subprocess.run(
            ["docker", "inspect", "--format", "{{.RestartCount}}", container],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(shown.stdout)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Returns once the condition holds."""
        given_up = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > given_up:
                states = {service: (one["State"], one["Health"]) for service, one in self.states().items()}
                logs = self.run("logs", "--tail", "30", "--no-color", *RECEIVERS, *FAMILIES, check=False)
                raise AssertionError(f"{what}: not within {PATIENCE_S:.0f} s\n{states}\n{logs}")
            time.sleep(0.5)

    def healthy(self, *services: str) -> None:
        """Returns once these are."""
        self.until(lambda: all(self.states()[one]["Health"] == "healthy" for one in services), f"{services} healthy")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
