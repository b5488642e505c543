"""Obtains what the tests that need Kafka and PostgreSQL will start: python -m tests.brokers."""

import sys

from tests.brokers import java, sources
from tests.brokers.run import Missing


def obtained() -> int:
    """Exit code: 0 where every test can run."""
    code = 0
    # Some tests stop and kill brokers of their own: those are always on Java.
    for name, look in (
        ("Kafka", sources.kafka_plan),
        ("own Kafka", java.libraries),
        ("PostgreSQL", sources.server_plan),
    ):
        try:
            print(f"{name}: {look()}")
        except Missing as missing:
            print(f"{name}: {missing}", file=sys.stderr)
            code = 1
    return code


sys.exit(obtained())
