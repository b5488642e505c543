"""Posts: events as Segment sends them, and one request."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

Event = dict[str, Any]


async def post(url: str, body: bytes, signature: str) -> int:
    """The status of the answer to one request on a connection of its own. Raises OSError if there is none."""
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    head = f"POST /segment HTTP/1.1\r\nHost: test\r\nX-Signature: {signature}\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
    try:
        answer = await reader.read()
    finally:
        writer.close()
    if not answer:
        raise ConnectionResetError("closed without an answer")
    return int(answer.split(None, 2)[1])


def track(message_id: str, event: str, **more: Any) -> Event:
    return {"type": "track", "messageId": message_id, "event": event, "properties": {}, **more}


def bought(message_id: str, user: str, amount: Any) -> Event:
    return track(message_id, "Bought", userId=user, properties={"amount": amount})


def consent(message_id: str, advertising: bool, **who: Any) -> Event:
    said = {"consent": {"categoryPreferences": {"Advertising": advertising, "Analytics": False}}}
    return track(message_id, "Segment Consent Preference Updated", context=said, **who)


def identify(message_id: str, user: str, traits: dict[str, Any], **more: Any) -> Event:
    return {"type": "identify", "messageId": message_id, "userId": user, "traits": traits, **more}
