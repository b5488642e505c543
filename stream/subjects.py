"""Subjects: one identifier as it came, as text that every part of stream agrees on."""

import hashlib
import re
from typing import Any

_LONGEST_ID = 500
_SURROGATE = re.compile("[\ud800-\udfff]")


def subject(space: str, kind: str, identifier: str) -> str:
    """One identifier as it came, within its space: `user:1`, or `staging/user:1` outside the default space."""
    return f"{space}/{kind}:{identifier}" if space else f"{kind}:{identifier}"


def text_id(value: Any) -> str | None:
    """An identifier as text, as Segment's senders give it: text or number. Anything else, and "", is no identifier.

    Over 500 characters (Segment's own limit for a groupId; an index entry must fit a page) a hash stands in for it.
    """
    if value is None:
        return None
    if value.__class__ is str:
        if len(value) <= _LONGEST_ID and value.isprintable():
            return value or None
        return _tame(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def content_id(source: str, value: bytes) -> str:
    """Stands in for a missing messageId: the same everywhere, for the same source and bytes."""
    digest = hashlib.blake2b(value, digest_size=16, key=source.encode()[:64])
    return f"hash-{digest.hexdigest()}"


def replaced(text: str) -> str:
    """The text with U+FFFD for each lone surrogate: no encoding of Unicode, and so no database, can hold one."""
    return _SURROGATE.sub("\ufffd", text)


def _tame(value: str) -> str:
    # NUL cannot be stored as text in PostgreSQL, a lone surrogate in no database at all.
    value = replaced(value).replace("\0", "\ufffd")
    if len(value) <= _LONGEST_ID:
        return value
    return f"sha256-{hashlib.sha256(value.encode()).hexdigest()}"
