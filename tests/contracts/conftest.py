"""The store that a test asks for: each kind that there is, and empty."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stream.store import Store
from tests.contracts.stores import KINDS, Kind, store_of


@pytest.fixture(params=KINDS)
async def kind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kind]:
    async with store_of(request, tmp_path) as kind:
        yield kind


@pytest.fixture
async def store(kind: Kind) -> AsyncIterator[Store]:
    async with kind.open() as store:
        yield store
