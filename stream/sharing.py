"""Sharing: who is known by an address: destinations know people by these, and one may be several people's."""

from collections.abc import Collection, Mapping

from msgspec import Struct

from stream import facts
from stream.store import Store
from stream.store.database import Transaction
from stream.store.identifiers import MOST
from stream.subjects import subject


class Sharing(Struct, frozen=True):
    """Address → the subjects that are known by it and stand for somebody. `crowded`: those of more than MOST, which
    nobody shares: it is a default that somebody fills in."""

    subjects: Mapping[str, set[str]]
    crowded: Collection[str] = ()


def plain(address: str) -> str:
    """The address as profiles write it."""
    kind, _, identifier = address.partition(":")
    return f"email:{identifier.strip().lower()}" if kind == "email" else address


async def known_by(tx: Transaction, store: Store, addresses: Collection[str], spaces: Collection[str]) -> Sharing:
    """Who shares each of these addresses. One of our own ids names its subject in every space, if there is somebody."""
    if not addresses:
        return Sharing({})
    found = await store.identifiers.subjects(tx, {plain(address) for address in addresses})
    named = {address: _named(address, spaces) for address in addresses}
    there = await store.obstacles.known(tx, set[str]().union(*named.values()), tuple(facts.TABLES))
    crowded = {address for address in addresses if len(found[plain(address)]) > MOST}
    known: dict[str, set[str]] = {}
    for address in addresses:
        every = (set() if address in crowded else found[plain(address)]) | (named[address] & there)
        known[address] = {one for one in every if store.people.stands_for_somebody(one)}
    return Sharing(known, crowded)


def _named(address: str, spaces: Collection[str]) -> set[str]:
    kind, _, identifier = address.partition(":")
    short = _OWN.get(kind)
    return {subject(space, short, identifier) for space in spaces} if short and identifier else set()


_OWN = {"user_id": "user", "anonymous_id": "anon"}
"""Kind of address → kind of the subject that it names."""
