"""A broker for the tests of this folder alone, that they may end as they like, and a system on it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec import structs

from stream.places import StoreConfig
from tests.brokers import own
from tests.brokers.kafka import Broker, cluster
from tests.brokers.parts import Parts, Real
from tests.brokers.run import Run
from tests.faults.system import PARTITIONS, System

Systems = Callable[..., AbstractAsyncContextManager[System]]
"""system(broker, url of a store)"""

_SESSION_S = 3.0


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def broker(kafka_on_java: None, test_run: Run) -> AsyncIterator[Broker]:
    """Each test leaves it running."""
    async with cluster(test_run, test_run.new_folder("kafka"), 1) as (broker,):
        yield broker


@pytest.fixture
def system(tmp_path: Path) -> Systems:
    """On topics of its own."""
    return partial(_system, tmp_path)


@asynccontextmanager
async def _system(folder: Path, broker: Broker, store: str) -> AsyncIterator[System]:
    with own.topics_at(broker.bootstrap, PARTITIONS) as (config, names):
        config = structs.replace(config, session_timeout_s=_SESSION_S, append_timeout_s=1.0)
        parts = Parts(Real(own.log_at(broker.bootstrap), config, names, StoreConfig(url=store)))
        async with System.running(folder, parts) as running:
            yield running
