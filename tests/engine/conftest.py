from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.brokers import own
from tests.embedded import Embedded


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def each_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The embedded systems of the test keep their state in files, and then in databases, one for each folder."""
    if request.param == "sqlite":
        yield
        return
    server: str = request.getfixturevalue("postgres_server")
    databases: dict[Path, str] = {}
    with ExitStack() as stack:

        def database(folder: Path) -> str:
            if folder not in databases:
                databases[folder] = stack.enter_context(own.database_at(server))
            return databases[folder]

        monkeypatch.setattr(Embedded, "store_of", staticmethod(database))
        yield
