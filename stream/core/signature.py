"""Is this body signed by one of these secrets? Facts: the sources of integration-trayio and of actions-webhook.

Segment's `X-Signature` is hex(HMAC-SHA1(secret, text)). The text is the body of a single event, and of a JSON array
its element 0 alone, as its bytes lie in the body. Extensible webhooks wrap each element as `{"json": …}` after signing.
"""

import hmac
from collections.abc import Sequence

from stream.core import cut


def signed_part(body: bytes, signature: str, secrets: Sequence[str]) -> bytes | None:
    """The bytes that this signature is good for, under any of the secrets: the body, its element 0, or what that wraps.
    None if for none of them. Comparison is constant-time; hex of any case."""
    for part in _parts(body):
        if any([verified(part, signature, secret) for secret in secrets]):
            return part
    return None


def verified(text: bytes, signature: str, secret: str) -> bool:
    """Whether `signature` is this text's under this secret. An empty secret verifies nothing."""
    expected = sign(text, secret).encode()
    return bool(secret) and hmac.compare_digest(expected, signature.lower().encode("utf-8", "replace"))


def sign(text: bytes, secret: str) -> str:
    """What Segment sends as X-Signature for this text."""
    return hmac.digest(secret.encode(), text, "sha1").hex()


def same(given: str, expected: str) -> bool:
    """Constant-time equality of two header values."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode("utf-8", "replace"))


def _parts(body: bytes) -> Sequence[bytes]:
    if cut.start(body) != b"[":
        return (body,)
    element = cut.first(body)
    inner = cut.unwrapped(element)
    return (element,) if inner is None else (element, inner)
