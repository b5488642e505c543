"""Sharing: who is known by an address: destinations know people by these, and one may be several people's."""

from collections.abc import Collection, Mapping

from stream import facts
from stream.store import Store
from stream.store.database import Transaction
from stream.store.identifiers import MOST
from stream.subjects import subject

OWN = {"user_id": "user", "anonymous_id": "anon"}
"""Kind of address → kind of the subject that it names, in every space."""


def plain(address: str) -> str:
    """The address as profiles write it."""
    kind, _, identifier = address.partition(":")
    return f"email:{identifier.strip().lower()}" if kind == "email" else address


async def known_by(
    tx: Transaction, store: Store, addresses: Collection[str], spaces: Collection[str]
) -> Mapping[str, set[str]]:
    """Address → the subjects that are known by it and stand for somebody. Nobody shares an address of more than MOST:
    that is a default which somebody fills in."""
    found = await store.identifiers.subjects(tx, {plain(address) for address in addresses})
    named = {address: _named(address, spaces) for address in addresses}
    there = await store.obstacles.known(tx, set[str]().union(*named.values()), tuple(facts.TABLES))
    known: dict[str, set[str]] = {}
    for address in addresses:
        sharing = found[plain(address)]
        every = (sharing if len(sharing) <= MOST else set()) | (named[address] & there)
        known[address] = {one for one in every if store.people.stands_for_somebody(one)}
    return known


def _named(address: str, spaces: Collection[str]) -> set[str]:
    kind, _, identifier = address.partition(":")
    short = OWN.get(kind)
    return {subject(space, short, identifier) for space in spaces} if short and identifier else set()
