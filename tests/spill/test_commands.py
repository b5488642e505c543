"""stream refused and stream spill: what Kafka takes by no means, and which receivers have events that are not there."""

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from stream import config, topics
from stream.config import IdentityConfig
from stream.log.kafka_admin import Topic, create, set_up
from stream.log.opening import kafka as brokers
from stream.log.opening import looked_at
from stream.log.refused_file import RefusedFile
from stream.message import Message
from stream.places import StoreConfig
from stream.store import Store
from tests.spill.away import TRACK

Run = Callable[..., Result]
HEADERS = (("source", b"web"), ("received", b"1.0"))
BYTES = b'{"type":"track","userId":"ada","event":"A","messageId":"m", "odd" : "' + b"x" * 2_000 + b'"}'


class Site:
    """A configuration in a folder, with a store; and what was refused there."""

    def __init__(self, folder: Path, address: str = "127.0.0.1:1", **kafka: int) -> None:
        self.prefix = f"test-{uuid.uuid4().hex[:12]}."
        names = "\n".join(f'"{name}" = "{self.prefix}{name}"' for name in topics.ALL)
        settings = "\n".join(f"{name} = {value}" for name, value in kafka.items())
        self.file = folder / "stream.toml"
        self.file.write_text(
            f'[log]\nurl = "kafka://{address}"\n[topics]\n{names}\n[kafka]\nreplication_factor = 1\n'
            f'min_insync_replicas = 1\n{settings}\n[spill]\nfolder = "spill"\n[store]\nurl = "sqlite:state.db"\n'
        )
        self.config = config.load(self.file)
        self.refused = RefusedFile(folder / "spill")
        self._url = f"sqlite:{folder / 'state.db'}"

    def keep(self, *values: bytes) -> None:
        self.refused.keep([Message(TRACK, b"ada", value, HEADERS) for value in values], 1_700_000_000.0, 1 << 30)

    def store(self, spilled: dict[str, float] | None = None) -> list[str]:
        """Makes the store; what the audit says of it."""

        async def opened() -> list[str]:
            async with Store.open(StoreConfig(self._url), IdentityConfig()) as store:
                for receiver, since in (spilled or {}).items():
                    await store.spilled.keep(receiver, since, 0.0)
                return [what for (what,) in await store.db.reading(lambda tx: tx.all("SELECT what FROM audit"))]

        return asyncio.run(opened())

    def call(self, run: Run, *words: object, **more: str) -> Result:
        return run("--config", self.file, *words, **more)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_was_refused_is_listed_with_its_size_and_how_it_begins(site: Site, run: Run) -> None:
    assert site.call(run, "refused", "list").stdout == "nothing was refused\n"
    site.keep(BYTES, b"\x1b[2J")
    lines = site.call(run, "refused", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "REFUSED", "TOPIC", "SOURCE", "BYTES", "BEGINS"]
    assert lines[1].split()[:5] == ["1", "2023-11-14T22:13:20.000Z", TRACK, "web", str(len(BYTES))]
    assert lines[2].split()[5] == "\\x1b[2J"
    found = json.loads(site.call(run, "refused", "list", "--json").stdout)
    assert [(one["id"], one["size"]) for one in found] == [(1, len(BYTES)), (2, 4)]


def test_what_is_dropped_is_gone_and_audited(site: Site, run: Run) -> None:
    site.store()
    site.keep(BYTES, BYTES, BYTES)
    assert site.call(run, "refused", "drop", 2, 9).exit_code == 1
    assert site.call(run, "refused", "drop", 2, 3).stdout == "2: dropped\n3: dropped\n"
    assert [one.id for one in site.refused.all()] == [1]
    assert site.store() == ["refused drop 2", "refused drop 3"]


def test_without_a_spill_folder_nothing_is_refused(tmp_path: Path, run: Run) -> None:
    (tmp_path / "stream.toml").write_text('[log]\nurl = "kafka://127.0.0.1:1"\n')
    result = run("--config", tmp_path / "stream.toml", "refused", "list")
    assert result.exit_code == 2
    assert "spill.folder" in result.stderr


def test_which_ones_must_be_said(site: Site, run: Run) -> None:
    assert site.call(run, "refused", "retry").exit_code == site.call(run, "refused", "retry", 1, "--all").exit_code == 2


@pytest.mark.slow
def test_a_retry_appends_the_very_bytes_once_kafka_takes_them(tmp_path: Path, run: Run, kafka: str) -> None:
    site = Site(tmp_path, kafka, max_message_bytes=1_000)
    site.store()
    site.keep(BYTES, b'{"type":"track","userId":"ada"}')

    async def made(largest: str) -> None:
        async with brokers(site.config) as there, there.admin() as admin:
            settings = {"max.message.bytes": largest}
            await create(admin, [Topic(name, 1, 1, settings) for name in site.config.topics.values()])
            await set_up(admin, site.config.topics[TRACK], settings)

    async def found() -> list[Message]:
        async with looked_at(site.config) as log:
            return [delivery.message async for delivery in log.read(TRACK)]

    asyncio.run(made("1000"))
    result = site.call(run, "refused", "retry", "--all")
    assert result.exit_code == 1
    assert result.stdout == "1: refused again\n2: appended\n"
    asyncio.run(made("100000"))
    site.file.write_text(site.file.read_text().replace("max_message_bytes = 1000", "max_message_bytes = 100000"))
    result = site.call(run, "refused", "retry", 1, "--json")
    assert json.loads(result.stdout) == [{"id": 1, "state": "appended"}]
    assert sorted(message.value or b"" for message in asyncio.run(found()))[0] == BYTES
    assert all(message.headers == HEADERS and message.key == b"ada" for message in asyncio.run(found()))
    assert site.refused.count() == 0
    assert site.store() == ["refused retry 1", "refused retry 2", "refused retry 1"]


def test_receivers_with_events_that_wait_are_listed_and_given_up_on(site: Site, run: Run) -> None:
    site.store({"abc1": 1_700_000_060.0, "abd2": 1_700_000_000.0})
    lines = site.call(run, "spill", "list").stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["RECEIVER", "SINCE"],
        ["abd2", "2023-11-14T22:13:20.000Z"],
        ["abc1", "2023-11-14T22:14:20.000Z"],
    ]
    assert site.call(run, "spill", "forget", "ab", "--yes").exit_code == 1
    assert site.call(run, "spill", "forget", "abd", input="n\n").exit_code == 1
    assert site.call(run, "spill", "forget", "abd", "--yes").stdout == "abd2: forgotten\n"
    assert json.loads(site.call(run, "spill", "list", "--json").stdout) == [
        {"receiver": "abc1", "since": 1_700_000_060.0}
    ]
    site.call(run, "spill", "forget", "abc1", "--yes")
    assert site.call(run, "spill", "list").stdout == "no events wait in a spill\n"
