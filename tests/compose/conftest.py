"""These tests build the image, start ten containers and kill some: `make test-compose` asks for them, nothing else."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.engine import Compose, missing
from tests.test_readme import DEPLOY, copied

HERE = Path(__file__).parent

FORWARD = """
[processors.forward.copy]
url = "http://destination:9000/events"
allow_private = true
types = ["track"]
"""
DESTINATION = """
services:
  destination:
    image: ${STREAM_IMAGE}
    entrypoint: [sh, -c]
    command: ['exec python -c "$$DESTINATION" >> /var/lib/stream/received']
    environment:
      DESTINATION: "import destination as d; d.ThreadingHTTPServer(('', 9000), d.Destination).serve_forever()"
    working_dir: /examples
    volumes: [./examples:/examples:ro, received:/var/lib/stream]
    healthcheck:
      test: [CMD, python, -c, "import socket; socket.create_connection(('127.0.0.1', 9000))"]
volumes:
  received:
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only where they are asked for."""
    if os.environ.get("COMPOSE") == "1":
        return
    ours = [item for item in items if HERE in item.path.parents]
    config.hook.pytest_deselected(items=ours)
    items[:] = [item for item in items if item not in ours]


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """What a fresh clone's compose.yaml brings up, and a destination for raw events."""
    if (why := missing()) is not None:
        pytest.exit(f"no container engine answers: {why}", returncode=1)
    folder = copied(tmp_path_factory.mktemp("clone"))
    with (folder / "deploy" / "stream.toml").open("a") as config:
        config.write(FORWARD)
    (folder / "compose.override.yaml").write_text(DESTINATION)
    [secrets, up, *_] = DEPLOY
    subprocess.run(secrets, shell=True, cwd=folder, check=True)
    system = Compose(folder)
    with contextlib.ExitStack() as stack:
        stack.callback(system.run, "down", "--volumes", "--timeout", "5", check=False)
        try:
            system.typed(up)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{system.run('logs', '--no-color', 'prepare', check=False)}") from None
        yield system
