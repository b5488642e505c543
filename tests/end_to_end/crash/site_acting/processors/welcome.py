"""Welcomes whoever signs up, as a user's own reactor might: it asks something, and sends twice, with an address."""

from typing import Any

from stream import Event, Reactor
from stream.connector import Change, Flow, Request
from stream.errors import Skip
from stream.processor import Processor
from stream.sending import Http

LIST = "list:welcome"


class Welcome(Reactor):
    name = "welcome"
    topics = ("track",)
    purposes = ("marketing",)

    def __init__(self, http: Http, crm: Any, url: str) -> None:
        self._http, self._crm, self._url = http, crm, url

    async def handle(self, event: Event) -> None:
        if event.event != "Signed Up":
            raise Skip("other")
        address = f"email:{event.properties['email']}"
        about: dict[str, Any] = {"about": event.subject, "purpose": "marketing", "address": address}
        await self._http.read(self._asked())
        await self._http.run(self._crm.send_event(event), **about)
        await self._http.run(self._crm.set_membership([Change(address, LIST, True)]), **about)

    def _asked(self) -> Flow[None]:
        yield Request(destination="crm", method="GET", url=self._url)


def build(app: Any, settings: dict[str, Any]) -> list[Processor]:
    return [Welcome(app.http, app.connectors["crm"], settings["url"])]
