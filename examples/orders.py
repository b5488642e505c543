"""Counts and sums each person's orders. In stream.toml: [processors.orders]"""

from msgspec import Struct

from stream import Projection, Table


class Orders(Struct):
    count: int = 0
    revenue: float = 0.0


class CountOrders(Projection):
    name = "orders"
    topics = ("track",)
    orders = Table("orders", Orders)

    def handle(self, event):
        if event.event == "Order Completed":
            row = self.orders.get(event.subject) or Orders()
            row.count += 1
            row.revenue += float(event.properties.get("revenue") or 0)
            self.orders.put(event.subject, row)


def build(app, settings):
    return [CountOrders()]
