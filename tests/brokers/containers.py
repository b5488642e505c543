"""Kafka and PostgreSQL in Docker, by testcontainers."""

import functools
import shutil
import subprocess
import warnings
from typing import TYPE_CHECKING

from tests.brokers.process import free_port
from tests.brokers.run import Missing, Run

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

KAFKA = "apache/kafka:4.3.1"
POSTGRES = "postgres:17"
_PATIENCE_S = 3  # an engine that takes longer to say its version is not there
_START_S = 90


@functools.cache
def engine_answers() -> bool:
    """Is there a Docker engine, and does it answer soon?"""
    if not shutil.which("docker"):
        return False
    try:
        told = subprocess.run(["docker", "version"], capture_output=True, timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return told.returncode == 0


def kafka(run: Run) -> dict[str, str]:
    """Raises Missing."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    port = free_port()  # chosen before the start: Kafka tells its clients
    container = DockerContainer(KAFKA).with_bind_ports(9092, port).with_envs(**_environment(port))
    _started(run, container.waiting_for(LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(_START_S)))
    return {"address": f"127.0.0.1:{port}", "said": f"{KAFKA} in Docker"}


def postgres(run: Run) -> dict[str, str]:
    """Raises Missing."""
    with warnings.catch_warnings(action="ignore"):
        from testcontainers.community.postgres import PostgresContainer

    container = PostgresContainer(POSTGRES, driver=None)
    _started(run, container.with_command("postgres -c fsync=off -c max_connections=200"))
    return {"address": container.get_connection_url(), "said": f"{POSTGRES} in Docker"}


def _started(run: Run, container: "DockerContainer") -> None:
    from docker.errors import DockerException
    from testcontainers.core.config import testcontainers_config

    # The container ends with the run; testcontainers' own reaper would end it with the worker that starts it.
    testcontainers_config.ryuk_disabled = True
    try:
        container.start()
    except (DockerException, TimeoutError, OSError) as error:
        container.stop()
        raise Missing(f"Docker cannot start {container.image}: {error}") from None
    run.note_container(container.get_container_id())


def _environment(port: int) -> dict[str, str]:
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_NUM_PARTITIONS": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_LOG_INDEX_SIZE_MAX_BYTES": "65536",
        "KAFKA_LOG_MESSAGE_TIMESTAMP_AFTER_MAX_MS": str(2**63 - 1),
        "KAFKA_HEAP_OPTS": "-Xms64m -Xmx384m",
    }
