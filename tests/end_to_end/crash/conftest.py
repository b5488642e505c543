from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.crash.cuts import in_memory


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """Where the cut processes live."""
    with in_memory(tmp_path) as folder:
        yield folder
