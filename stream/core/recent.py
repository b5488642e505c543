"""The last messages of a row, so that a message which Segment delivers twice is counted once.

Facts §9: Segment's own deduplication is about 99 % and ends after a day or so. A short memory is enough for the rest:
repeats come soon after (a retried request, a retried batch). A repeat later than LIMIT other messages of the same
subject is counted again.
"""

from binascii import b2a_base64
from hashlib import blake2b

LIMIT = 64
"""More than an SDK of one person sends in a batch (browsers and phones: 20 to 30; facts §2.4)."""


def noted(recent: str, message_id: str) -> str | None:
    """`recent` with this message noted, the oldest forgotten; None if it is noted already.

    6 bytes of hash a message: about one in 10^12 is taken for a repeat and is not."""
    digest = blake2b(message_id.encode(), digest_size=6).digest()
    entry = b2a_base64(digest, newline=False).decode() + ","  # base64 has no comma: an entry is only found whole
    return None if entry in recent else (recent + entry)[-_LENGTH:]


_LENGTH = LIMIT * 9
