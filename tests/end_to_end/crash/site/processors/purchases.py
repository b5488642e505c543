"""Counts purchases, as a user's own projection might: not idempotent, dies of a missing amount, reads a second row."""

from typing import Any

from msgspec import Struct

from stream import Event
from stream.errors import Dead, Skip
from stream.processor import Projection, Table

SHOP = "group:shop"


class Purchases(Struct):
    handled: int = 0  # every call of handle that counted: a repeat in the log is one more, a repeat of ours must not be
    amount: int = 0
    messages: list[str] = []


class CountPurchases(Projection):
    name = "purchases"
    topics = ("track",)
    rows = Table("purchases", Purchases)

    def handle(self, event: Event) -> None:
        if event.event != "Bought":
            raise Skip("no_purchase")
        amount = event.properties.get("amount")
        if not isinstance(amount, int):
            raise Dead("no_amount")
        for subject in (event.subject, SHOP):
            row = self.rows.get(subject) or Purchases()
            row.handled += 1
            if event.message_id not in row.messages:
                row.messages = sorted([*row.messages, event.message_id])
                row.amount += amount
            self.rows.put(subject, row, None if subject == SHOP else "purchases")


def build(app: Any, settings: dict[str, Any]) -> list[Projection]:
    return [CountPurchases()]
