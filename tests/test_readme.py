"""The README is run, word for word: each command of its blocks, in their order, beside what `make run` started.

It says port 8080, and that is the port here too. Where something else listens there, stream.toml names a free one, the
commands are given that port, and the test's output says which.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.end_to_end.test_first_destination import switched_on

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands(text: str) -> list[str]:
    """What is to be typed, without remarks."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]


HEAD, ACTING = README.partition("## Act on it\n")[::2]
ACTING, TAIL = ACTING.partition("\n## ")[::2]
TAIL, DEPLOYING = TAIL.partition("\n## Deploy\n")[::2]
COMMANDS = [*commands(HEAD), *commands(TAIL)]
DESTINATION, SWITCH, *ACT = commands(ACTING)
DEPLOY = commands(DEPLOYING)  # tests/compose types them
MADE = [command for command in COMMANDS if command.startswith("make ")]
BEFORE = [command for command in COMMANDS if command.endswith("stream check")]  # a port that is in use is a problem
PASTED = [command for command in COMMANDS if command not in (*MADE, *BEFORE)]
STREAM = """#!{python}
import sys

sys.path.insert(0, {root!r})

from stream.cli import main

main()
"""


class Site:
    """A copy of the project in a folder, with a port of its own, and what is typed there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.sent_to = folder, port(8080), port(9000)
        config = folder / "stream.toml"
        for usual, found, what in ((8080, self.port, "# port = {}"), (9000, self.sent_to, "127.0.0.1:{}")):
            if found != usual:
                print(f"port {usual} is taken: replaced by {found} in stream.toml and in the commands")
                taken = what.format(usual)
                assert taken in config.read_text()
                config.write_text(config.read_text().replace(taken, what.format(found).removeprefix("# ")))

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """What a shell says to it."""
        typed = command.replace(":8080", f":{self.port}")
        if self.port != 8080 and "stream send " in typed:
            typed += f" --url http://127.0.0.1:{self.port}/segment"
        done = subprocess.run(
            typed,
            shell=True,
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{typed}\n{done.stdout}{done.stderr}"
        return done

    @contextlib.contextmanager
    def destination(self) -> Iterator[Path]:
        """The first destination, listening while the block lasts; the file that its terminal is."""
        words, terminal = [*shlex.split(DESTINATION), str(self.sent_to)], self.folder / "terminal"
        with terminal.open("w") as out:
            process = subprocess.Popen(words, cwd=self.folder, env=ENVIRONMENT, stdout=out, start_new_session=True)
        try:
            self.until(f"cat {terminal}", "listening")
            yield terminal
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)

    @contextlib.contextmanager
    def running(self, command: str, last: str = " person ada") -> Iterator[list[str]]:
        """What `command` prints until it listens, and says this last; it runs while the block lasts."""
        words = shlex.split(command)
        process = subprocess.Popen(
            words, cwd=self.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout is not None
        try:
            yield list(_until_shown(process.stdout, last))
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            rest, _ = process.communicate(timeout=60)
        assert rest.strip() == "", "normal operation is silent"

    def until(self, command: str, wanted: str) -> str:
        """The output of a command that looks, once it shows this: processors are a moment behind the receiver."""
        given_up = time.monotonic() + 60
        while time.monotonic() < given_up:
            shown = subprocess.run(
                command, shell=True, cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
            ).stdout
            if wanted in shown:
                return shown
            time.sleep(0.05)
        raise AssertionError(f"{command} never showed {wanted}: {shown}")


# A user's own, without what this very test run set.
_OF_THE_CALLER = ("CI", "SLOW", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # it may be make itself
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in _OF_THE_CALLER}


def _until_shown(out: IO[str], last: str) -> Iterator[str]:
    for line in out:
        yield line
        if line.rstrip().endswith(last):
            return
    raise AssertionError("it ended before it listened")


def copied(folder: Path) -> Path:
    """The files that a clone would have, as they now are: what git knows, and what it would be told."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def port(usual: int) -> int:
    """The usual one, or one that is free."""
    for number in (usual, 0):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", number)) as found:
            return int(found.getsockname()[1])
    raise AssertionError("no port is free")


def follow(site: Site, run: str) -> None:
    """The whole README, in one go; then its example of a processor is added, as it says."""
    for command in BEFORE:
        assert f"127.0.0.1:{site.port}\n" in site.type(command).stdout
    with site.running(run) as printed:
        for command in PASTED:
            if command.endswith(" person ada"):
                shown = site.until(command, "Order Completed")
                assert "ada@example.com" in shown and "anon:laptop-1 is user:ada" in shown
            elif command.endswith(" person grace"):
                assert "spa_example/first_time_shopper  in since" in site.until(command, "list:1425")
            else:
                site.type(command)
        [title, curl, person] = [line.strip() for line in printed[-3:]]
        assert (title, person) == ("Try it:", ".venv/bin/stream person ada")
        assert json.loads(site.type(curl).stdout) == {"success": True}
        site.until(person, "identify  2")
    act(site, run)
    (site.folder / "processors").mkdir(exist_ok=True)
    shutil.copy(ROOT / "examples" / "orders.py", site.folder / "processors" / "orders.py")
    with (site.folder / "stream.toml").open("a") as config:
        config.write("[processors.orders]\n")
    with site.running(run):
        assert '"count": 1' in site.until(".venv/bin/stream person ada --json", '"orders": {')


def act(site: Site, run: str) -> None:
    """Acts on it, as the README says, and switches that off again."""
    site.type(SWITCH)
    with site.destination() as terminal, site.running(run, "data/state.db"):
        [send, person, deletion] = ACT
        site.type(send)
        [shown] = re.findall(r"```\n(.*?)```", ACTING.rpartition("among others:")[2], re.DOTALL)
        for line in shown.splitlines():
            site.until(f"cat {terminal}", line)
        site.until(person, "demo")
        site.until(deletion, "demo deleted")
        told = [line for line in terminal.read_text().splitlines() if "/lists/" in line and "barbara" in line]
        assert not told or told[-1].endswith('"member":false}')
    [off] = re.findall(r"`(mv [^`]+)`", ACTING)
    site.type(off)


def test_the_blocks_are_the_commands_that_this_test_knows() -> None:
    assert MADE == ["make run", "make test"]
    assert BEFORE and len(PASTED) >= 8
    assert [command for command in [*PASTED, *ACT] if not re.match(r"curl |\.venv/bin/stream ", command)] == []
    assert [command for command in DEPLOY if not re.match(r"printf |docker compose ", command)] == []
    assert DESTINATION == ".venv/bin/python examples/destination.py" and SWITCH.startswith("sed -i.bak ")


def test_the_command_that_switches_the_first_destination_on_does_just_that(tmp_path: Path) -> None:
    shutil.copy(ROOT / "stream.toml", tmp_path)
    subprocess.run(SWITCH, shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "stream.toml").read_text() == switched_on((ROOT / "stream.toml").read_text())
    assert (tmp_path / "stream.toml.bak").read_text() == (ROOT / "stream.toml").read_text()


def test_every_make_target_that_is_mentioned_is_one() -> None:
    for file in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"`(make [a-z]+)`|^(make [a-z]+)", (ROOT / file).read_text(), re.MULTILINE):
            done = subprocess.run(
                [*shlex.split("".join(target)), "-n"],
                cwd=ROOT,
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr


def test_make_test_runs_the_tests() -> None:
    shown = subprocess.run(
        ["make", "-n", "test"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout
    assert shown.rstrip().endswith("-m pytest")


@pytest.mark.slow
def test_with_this_interpreter_every_command_of_the_readme_does_what_it_says(tmp_path: Path) -> None:
    for name in ("stream.toml", "examples/events.jsonl", "examples/destination.jsonl", "examples/destination.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    program = tmp_path / ".venv" / "bin" / "stream"
    program.parent.mkdir(parents=True)
    program.write_text(STREAM.format(python=sys.executable, root=str(ROOT)))
    program.chmod(0o755)
    (program.parent / "python").symlink_to(sys.executable)
    follow(Site(tmp_path), ".venv/bin/stream run")


@pytest.mark.slow
def test_in_a_fresh_copy_make_run_and_every_command_of_the_readme_do_what_they_say(tmp_path: Path) -> None:
    site = Site(copied(tmp_path))
    site.type("make -s .venv/run.stamp")
    follow(site, "make run")
    again = site.type("make -n run").stdout
    assert "pip" not in again, "a second run installs nothing"
