"""One system whose receivers and processors are processes of their own, on a real Kafka and a real PostgreSQL."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from stream.config import Config
from stream.places import KafkaConfig
from tests.brokers.process import free_port
from tests.end_to_end.destinations.site import Site

MAX_LAG_S = 3.0


@pytest.fixture
def site(kafka_config: Config, postgres_url: str, tmp_path: Path) -> Callable[..., Site]:
    """site(**sections): a folder with a configuration for all of the processes."""

    return lambda **sections: Site(tmp_path / "site", **(_shared(kafka_config, postgres_url) | sections))


@pytest.fixture
def port() -> int:
    """One that is free."""
    return free_port()


def _shared(config: Config, store: str) -> dict[str, Any]:
    usual = to_builtins(KafkaConfig())
    kafka = {name: value for name, value in to_builtins(config.kafka).items() if value != usual[name]}
    return {
        "log": {"url": config.log.url, "partitions": config.log.partitions},
        "kafka": {**kafka, "session_timeout_s": 6.0},
        "topics": dict(config.topics),
        "store": {"url": store},
        "gate": {"max_lag_s": MAX_LAG_S},
    }
