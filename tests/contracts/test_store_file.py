"""The state file: what is refused, and stays as it was."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from stream.config import IdentityConfig
from stream.errors import SchemaMismatch, StoreError
from stream.store import Store
from tests.contracts.stores import TRACK, Embedded, claimed, put, values


@pytest.fixture
def kind(tmp_path):
    return Embedded(tmp_path)


async def closed(kind):
    """A store that was used and closed."""
    async with kind.open() as store:
        await store.register(["t"])


def change(path, sql):
    connection = sqlite3.connect(path)
    connection.executescript(sql)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("schema", ["0", "1", "next"])
async def test_a_file_of_another_schema_is_refused_by_name_and_left_as_it_was(kind, schema):
    await closed(kind)
    change(kind.path, f"UPDATE meta SET value = '{schema}' WHERE key = 'schema'")
    before = kind.path.read_bytes()
    with pytest.raises(SchemaMismatch, match=f"schema {schema}, this version of stream reads and writes schema 3"):
        async with kind.open():
            pass
    assert kind.path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database at all, but a text of some length" * 100, b"\0" * 8192])
async def test_a_file_that_is_no_database_is_refused_by_name_and_left_as_it_was(kind, content):
    kind.path.write_bytes(content)
    with pytest.raises(StoreError, match="state"):
        async with kind.open():
            pass
    assert kind.path.read_bytes() == content


async def test_a_truncated_file_is_refused_and_left_as_it_was(kind):
    await closed(kind)
    content = kind.path.read_bytes()[:5000]
    kind.path.write_bytes(content)
    with pytest.raises(StoreError):
        async with kind.open():
            pass
    assert kind.path.read_bytes() == content


async def test_somebody_elses_database_is_refused_and_gets_no_tables(kind):
    change(kind.path, "CREATE TABLE theirs (a)")
    before = kind.path.read_bytes()
    with pytest.raises(StoreError, match="not a state file"):
        async with kind.open():
            pass
    assert kind.path.read_bytes() == before


async def test_an_empty_file_becomes_a_store(kind):
    kind.path.touch()
    async with kind.open() as store:
        assert await store.tables() == []


async def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "state.db").mkdir()
    with pytest.raises(StoreError, match="cannot open the state file"):
        async with Embedded(tmp_path).open():
            pass


async def test_a_copy_of_the_file_is_the_same_store(kind, tmp_path):
    await closed(kind)
    (tmp_path / "copy").mkdir()
    copy = Embedded(tmp_path / "copy")
    shutil.copy(kind.path, copy.path)
    async with kind.open() as one, copy.open() as other:
        assert one.people.hash("user:1") == other.people.hash("user:1")
        assert await other.tables() == ["t"]


def columns(path):
    """Of every table: its columns, with what is said of each."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: connection.execute(f"PRAGMA table_info({table})").fetchall() for table in tables}


async def test_an_older_file_is_brought_up_to_date_with_all_that_it_holds(kind, tmp_path):
    async with kind.open() as store:
        await put(store, await claimed(store), {("t", "user:1"): "1"})
        hashed = store.people.hash("user:1")
    now = columns(kind.path)
    change(
        kind.path,
        "DROP TABLE duties; DROP TABLE spills; DROP TABLE statuses; DELETE FROM counters WHERE name = 'leases';"
        "CREATE TABLE statuses (processor TEXT PRIMARY KEY, value TEXT NOT NULL, time REAL NOT NULL);"
        "INSERT INTO statuses VALUES ('p', '{}', 1.0); UPDATE meta SET value = '2' WHERE key = 'schema'",
    )
    with pytest.raises(SchemaMismatch, match="stream check --migrate"):
        async with Store.open(f"sqlite:{kind.path}", IdentityConfig(), create=False):
            pass
    async with kind.open() as store:
        assert await values(store, ("t", "user:1")) == ["1"]
        assert store.people.hash("user:1") == hashed
        assert await store.positions.all() == {"p": {TRACK: 0}}
        assert await store.statuses.all() == {}
    assert columns(kind.path) == now
    async with Store.open(f"sqlite:{kind.path}", IdentityConfig(), create=False) as store:
        assert await values(store, ("t", "user:1")) == ["1"]
