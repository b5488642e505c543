"""People, and what is said of them: events as Segment sends them."""

from collections.abc import Iterable
from typing import Any

from tests.end_to_end.crash.posts import Event


def who(number: int) -> str:
    """Somebody."""
    return f"p{number:03}"


def come(user: str, **more: Any) -> Event:
    """Somebody is there, with an e-mail address."""
    return {"type": "identify", "messageId": f"{user}-come", "userId": user, "traits": {"mail": f"{user}@x"}, **more}


def member(user: str, value: bool, number: int = 0, name: str = "vip", **more: Any) -> Event:
    """Segment says that somebody entered or left an audience."""
    personas = {"computation_class": "audience", "computation_key": name, "computation_id": "aud_1", "space_id": "spa"}
    return {
        "type": "identify",
        "messageId": f"{user}-{name}-{number:06}-{value}",
        "userId": user,
        "traits": {name: value},
        "context": {"personas": personas},
        **more,
    }


def bought(user: str, number: int, **more: Any) -> Event:
    """A purchase: what is forwarded."""
    name = f"{user}-bought-{number:06}"
    return {"type": "track", "messageId": name, "event": "Bought", "userId": user, "properties": {"n": number}, **more}


def opted(user: str, out: bool, number: int = 0, **more: Any) -> Event:
    """No more e-mail; or e-mail again."""
    name, event = f"{user}-opt-{number:06}", "Email Unsubscribed" if out else "Email Subscribed"
    return {"type": "track", "messageId": name, "event": event, "userId": user, "properties": {}, **more}


def numbers(events: Iterable[Any], user: str) -> list[int]:
    """Of somebody's purchases, in the order in which they came."""
    return [event["properties"]["n"] for event in events if event["userId"] == user]
