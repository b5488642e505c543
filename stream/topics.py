"""The names of all topics."""

TYPES = ("track", "identify", "page", "screen", "group", "alias", "delete")

RAW = {kind: f"segment.{kind}" for kind in TYPES}
"""Segment's message type → its raw topic: the bytes as received, keyed by person."""

INVALID = "segment.invalid"
"""What could not be understood, as received, with the header `reason`."""

PERSON_CHANGED = "person.changed"
"""Look at this person again: key = person, value = which facets changed. No traits."""

PERSON_PROFILE = "person.profile"
"""The whole person, compactable: null when erased. Only where `[publish] profile = true`."""

ALL = (*RAW.values(), INVALID, PERSON_CHANGED, PERSON_PROFILE)


def wanted(profile: bool) -> list[str]:
    """All; person.profile only where `profile` is published."""
    return [topic for topic in ALL if topic != PERSON_PROFILE or profile]
