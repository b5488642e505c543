"""The log and the store of a stream, opened beside the processes that run on them; and the audit of who looked."""

import getpass
import os
import socket
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import click

from stream.cli.frame import Frame
from stream.errors import StoreError
from stream.log import Log
from stream.log.opening import looked_at
from stream.places import file_of, is_postgres
from stream.store import Store
from stream.subjects import subject, text_id

_KINDS = ("user", "anon", "group", "message")


@asynccontextmanager
async def remembered(frame: Frame) -> AsyncIterator[Store]:
    """The store. Raises StoreError where there is none yet: a command that looks makes no files."""
    config = frame.config
    if not is_postgres(config.store.url):
        _must_exist(file_of(config.store.url))
    async with Store.open(config.store, config.identity, create=False) as store:
        yield store


@asynccontextmanager
async def kept(frame: Frame) -> AsyncIterator[Log]:
    """The log, to read. Raises LogError where there is none yet."""
    async with looked_at(frame.config) as log:
        yield log


def who() -> str:
    """Who calls: login name and host, for the audit."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        name = f"uid-{os.getuid()}"
    return f"{name}@{socket.gethostname()}"


async def note(store: Store, what: str, subjects: Iterable[str]) -> None:
    """Leaves a line of audit for each of the people, before anything of them is shown or changed."""
    await note_each(store, [(what, one) for one in subjects])


async def note_each(store: Store, lines: Iterable[tuple[str, str]]) -> None:
    """Leaves lines of audit, each with what is done and whom it is about, before it is."""
    hashed = [(what, store.people.hash(subject)) for what, subject in lines]
    await store.requests.note_all(who(), hashed, time.time())


def named(identifier: str, space: str | None) -> str:
    """The subject that an ID on the command line names: `ada` is a userId; anon:9, user:ada, group:acme say the kind;
    staging/user:ada the space too, otherwise `space` does. Raises click.UsageError."""
    head, colon, rest = identifier.partition(":")
    within, slash, kind = head.rpartition("/")
    if not colon or kind not in _KINDS or (not within and slash):
        within, kind, rest = "", "user", identifier
    if within and space is not None and space != within:
        raise click.UsageError(f"{identifier} lies in the space {within}, and --space says {space}")
    found = text_id(rest)
    if found is None:
        raise click.UsageError("an ID is not empty: ada, user:ada, anon:9 or group:acme")
    return subject(within or space or "", kind, found)


def space_of(subject: str) -> str:
    """The space of a subject; "" is the default one."""
    return subject.partition(":")[0].rpartition("/")[0]


def _must_exist(file: Path) -> None:
    if not file.exists():
        raise StoreError(f"there is no state at {file}; `stream run` makes it")
