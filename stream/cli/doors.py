"""What a receiver takes at each of its paths, in words: the receiver's own rules, told to whoever starts it."""

from collections.abc import Iterator

from stream.config import Config
from stream.receiver.access import Access, Asked

_TAKES: dict[Asked, str] = {
    "anything": "unsigned requests: no secret is set, so this machine only",
    "signature": "signed requests only",
    "header": "only requests with its required header",
    "signature and header": "only signed requests with its required header",
    "nothing": "closed: no secret is set for it",
}


def taken(config: Config) -> dict[str, str]:
    """What each destination path, and /v1, takes."""
    access = Access(config)
    return {path: _TAKES[asked] for path, asked in access.asked().items()} | {"/v1": access.keyed()}


def lines(config: Config, url: str) -> Iterator[str]:
    """The same for the eye, with the whole addresses."""
    for path, takes in taken(config).items():
        title = {"/segment": "Segment posts to", "/v1": "SDKs post to"}.get(path, "")
        yield f"{title:<17} {url}{path}"
        yield f"{'':<17} {takes}"


def is_open(config: Config) -> bool:
    """Does /segment take whatever comes?"""
    return Access(config).asked()["/segment"] == "anything"
