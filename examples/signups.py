"""Tells a channel when someone signs up. In stream.toml: [processors.signups], [connectors.chat] with send_event"""

from stream import Reactor


class Signups(Reactor):
    name = "signups"
    topics = ("track",)

    def __init__(self, http, chat):
        self.http, self.chat = http, chat

    async def handle(self, event):
        if event.event == "Signed Up":
            await self.http.run(self.chat.send_event(event), about=event.subject, purpose="internal")


def build(app, settings):
    return [Signups(app.http, app.connectors["chat"])]
