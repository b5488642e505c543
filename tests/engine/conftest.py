import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.brokers import own
from tests.embedded import Embedded

STORES = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)]


@pytest.fixture(params=STORES)
def each_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The embedded systems of the test keep their state in files, and then in databases, one for each folder."""
    with ExitStack() as stack:
        if request.param == "postgres":
            _keep_in_databases(request.getfixturevalue("postgres_server"), stack, monkeypatch)
        yield


@pytest.fixture(params=STORES if os.environ.get("EXHAUSTIVE") == "1" else STORES[:1])
def each_store_if_exhaustive(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same, of tests whose statements others make on databases, too: those only with EXHAUSTIVE=1."""
    with ExitStack() as stack:
        if request.param == "postgres":
            _keep_in_databases(request.getfixturevalue("postgres_server"), stack, monkeypatch)
        yield


def _keep_in_databases(server: str, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    databases: dict[Path, str] = {}

    def database(folder: Path) -> str:
        if folder not in databases:
            databases[folder] = stack.enter_context(own.database_at(server))
        return databases[folder]

    monkeypatch.setattr(Embedded, "store_of", staticmethod(database))
