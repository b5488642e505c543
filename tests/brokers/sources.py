"""Where this run's Kafka and PostgreSQL come from: decided at its start, and said in its first line."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tests.brokers import containers, java, postgres
from tests.brokers.kafka import Broker, alone
from tests.brokers.run import Missing, Run

KAFKA, POSTGRES = "STREAM_TEST_KAFKA", "STREAM_TEST_POSTGRES"

T = TypeVar("T")
Found = dict[str, str]
"""`address`: where it listens, or its url. `said`: what it is."""


def kafka_plan() -> str:
    """What Kafka this run will have, if a test asks. Raises Missing."""
    if os.environ.get(KAFKA):
        return f"at {os.environ[KAFKA]} ({KAFKA})"
    if containers.engine_answers():
        return f"{containers.KAFKA} in Docker"
    java.can_run()
    return f"{java.VERSION} on Java"


def server_plan() -> str:
    """What PostgreSQL this run will have, if a test asks. Raises Missing."""
    if os.environ.get(POSTGRES):
        return f"the server of {POSTGRES}"
    if containers.engine_answers():
        return f"{containers.POSTGRES} in Docker"
    return f"{postgres.version(postgres.programs())} on this machine"


def kafka(run: Run) -> Found:
    """One for all tests of the run. Raises Missing."""
    if os.environ.get(KAFKA):
        return {"address": os.environ[KAFKA], "said": f"Kafka at {os.environ[KAFKA]}"}
    return _first(run, containers.kafka, _kafka_on_java)


def server(run: Run) -> Found:
    """One for all tests of the run. Raises Missing."""
    if os.environ.get(POSTGRES):
        return {"address": os.environ[POSTGRES], "said": server_plan()}
    return _first(run, containers.postgres, _postgres_here)


def _first(run: Run, in_docker: Callable[[Run], Found], here: Callable[[Run], Found]) -> Found:
    if not containers.engine_answers():
        return here(run)
    try:
        return in_docker(run)
    except Missing as no_image:
        try:
            return here(run)
        except Missing as nothing:
            raise Missing(f"{no_image}; {nothing}") from None


def _kafka_on_java(run: Run) -> Found:
    broker: Broker = _finished(alone(run, run.new_folder("kafka")))
    return {"address": broker.bootstrap, "said": f"Apache Kafka {java.VERSION} on Java"}


def _postgres_here(run: Run) -> Found:
    folder = postgres.programs()
    own = postgres.Server(run, run.new_folder("postgres"))
    own.prepare()
    _finished(own.start())
    return {"address": own.url, "said": f"PostgreSQL {postgres.version(folder)}"}


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """In a thread with a loop of its own: an asynchronous fixture may be what asks."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
