"""Keeps the plan of everybody in a CRM. In stream.toml: [processors.crm], [connectors.crm], [purposes.marketing]"""

from stream import Sync, Want


class Crm(Sync):
    name = "crm"
    purpose = "marketing"

    def __init__(self, connector):
        self.connector = connector

    def wanted(self, person):
        email, plan = person.address(["email"]), person.traits.get("plan")
        if email is None or plan is None:
            return []
        return [Want(email, "upsert_profile", "profile", {"plan": plan})]


def build(app, settings):
    return [Crm(app.connectors["crm"])]
