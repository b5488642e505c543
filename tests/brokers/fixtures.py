"""What tests ask for: `kafka` and `postgres_server` are shared by the whole run, `kafka_config` and `postgres_url` are
a test's own in them, and `own_cluster` and `own_server` make servers that a test may stop, kill and freeze.

Where one is missing, a test that asks is skipped and told what would help; in CI it fails.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NoReturn

import pytest
from msgspec import structs

from stream.config import Config
from stream.places import StoreConfig
from tests.brokers import java, own, postgres, sources
from tests.brokers.kafka import Broker, cluster
from tests.brokers.parts import Parts, Real
from tests.brokers.postgres import Server
from tests.brokers.run import Missing, Run

PARTS = ("embedded", "real")

OwnCluster = Callable[..., AbstractAsyncContextManager[list[Broker]]]
"""own_cluster(count=3, properties=None, extras=None)"""
OwnServer = Callable[..., AbstractAsyncContextManager[Server]]
"""own_server(settings=None)"""

_RUN = pytest.StashKey[Run]()


def pytest_configure(config: pytest.Config) -> None:
    """Workers share the folder of the process that started them."""
    handed: dict[str, str] = getattr(config, "workerinput", {})
    if "stream_run" in handed:
        config.stash[_RUN] = Run(Path(handed["stream_run"]))
        return
    begun = contextlib.ExitStack()
    config.stash[_RUN] = begun.enter_context(Run.begun())
    config.add_cleanup(begun.close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:  # type: ignore[no-untyped-def]  # a worker of xdist, which has no types
    node.workerinput["stream_run"] = str(node.config.stash[_RUN].folder)


def pytest_report_header() -> str:
    """Which parts the tests run on, as far as they ask for them."""
    return f"stream: SQLite (embedded); Kafka: {_told(sources.kafka_plan)}; PostgreSQL: {_told(sources.server_plan)}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was really started."""
    started = [config.stash[_RUN].started(name).get("said") for name in ("kafka", "postgres")]
    if said := [name for name in started if name]:
        terminalreporter.write_line(f"stream: some tests ran on {', '.join(said)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who asks for servers of its own is slow."""
    for item in items:
        asked: list[str] = getattr(item, "fixturenames", [])
        if {"own_cluster", "own_server"} & set(asked):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def test_run(pytestconfig: pytest.Config) -> Run:
    return pytestconfig.stash[_RUN]


@pytest.fixture(scope="session")
def kafka(test_run: Run) -> str:
    """HOST:PORT of a Kafka for all tests of the run."""
    try:
        return test_run.once("kafka", lambda: sources.kafka(test_run))["address"]
    except Missing as missing:
        _without(missing)


@pytest.fixture(scope="session")
def postgres_server(test_run: Run) -> str:
    """postgresql:// of a server for all tests of the run, whose user may make databases."""
    try:
        return test_run.once("postgres", lambda: sources.server(test_run))["address"]
    except Missing as missing:
        _without(missing)


@pytest.fixture
def kafka_config(kafka: str, tmp_path: Path) -> Iterator[Config]:
    """All topics, made for this test, by names that only it uses; consumer groups, too. The store is a file."""
    with own.topics_at(kafka) as (config, names):
        store = StoreConfig(url=f"sqlite:{tmp_path / 'state.db'}")
        yield Config(log=own.log_at(kafka), kafka=config, topics=names, store=store)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty database of this test's own."""
    with own.database_at(postgres_server) as url:
        yield url


@contextlib.contextmanager
def parts_for(request: pytest.FixtureRequest, kind: str, partitions: int = own.PARTITIONS) -> Iterator[Parts]:
    """Fresh ones of that kind, for one run of a system."""
    if kind == "embedded":
        yield Parts()
        return
    kafka, server = request.getfixturevalue("kafka"), request.getfixturevalue("postgres_server")
    with own.topics_at(kafka, partitions) as (config, names), own.database_at(server) as url:
        # What a killed process had is given to the next one after this time.
        config = structs.replace(config, session_timeout_s=6.0)
        yield Parts(Real(own.log_at(kafka, partitions), config, names, StoreConfig(url=url)))


@pytest.fixture(params=PARTS)
def parts(request: pytest.FixtureRequest) -> Iterator[Parts]:
    """The same test on files, and on Kafka and PostgreSQL."""
    with parts_for(request, request.param) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def kafka_on_java() -> None:
    """A test can start brokers of its own."""
    try:
        java.libraries()
    except Missing as missing:
        _without(missing)


@pytest.fixture
def own_cluster(kafka_on_java: None, test_run: Run) -> OwnCluster:
    """Brokers that a test may stop, kill and freeze: `async with own_cluster(1, {"num.partitions": "1"}) as (one,)`."""
    return lambda *asked: cluster(test_run, test_run.new_folder("kafka"), *asked)


@pytest.fixture
def own_server(test_run: Run) -> OwnServer:
    """A PostgreSQL that a test may stop, kill and freeze: `async with own_server() as server`."""
    try:
        postgres.programs()
    except Missing as missing:
        _without(missing)
    return lambda *asked: postgres.server(test_run, test_run.new_folder("postgres"), *asked)


def _told(plan: Callable[[], str]) -> str:
    try:
        return plan()
    except Missing as missing:
        return f"none ({missing})"


def _without(missing: Missing) -> NoReturn:
    if os.environ.get("CI") == "true":
        raise pytest.fail.Exception(str(missing), pytrace=False) from None
    pytest.skip(str(missing))
