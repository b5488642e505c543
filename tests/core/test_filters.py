"""Which events a filter lets through, and what it says of a wrong one."""

from typing import Any

import pytest

from stream import events
from stream.core.filters import compiled
from stream.errors import ConfigError
from tests.embedded import message

EVENT = events.decode(
    message(
        "track",
        1_000.0,
        userId="u1",
        event="Order Completed",
        channel="server",
        properties={"total": 42, "plan": "pro", "gift": False, "note": None, "products": [{"sku": "a"}, {"sku": "b"}]},
        context={"app": {"build.id": "7"}, "traits": {"vip": True}},
    )
)


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ({"path": "type", "equals": "track"}, True),
        ({"path": "event", "in": ["Order Completed", "Order Refunded"]}, True),
        ({"path": "event", "prefix": "Order "}, True),
        ({"path": "event", "prefix": "order "}, False),
        ({"path": "channel", "equals": "server"}, True),
        ({"path": "source", "in": ["test"]}, True),
        ({"path": "anonymous_id", "exists": False}, True),
        ({"path": "user_id", "exists": True}, True),
        ({"path": "properties.total", "greater": 41.5}, True),
        ({"path": "properties.total", "greater": 42}, False),
        ({"path": "properties.total", "less": 43}, True),
        ({"path": "properties.plan", "greater": 1}, False),
        ({"path": "properties.gift", "equals": False}, True),
        ({"path": "properties.gift", "equals": 0}, False),
        ({"path": "properties.gift", "less": 1}, False),
        ({"path": "properties.note", "exists": True}, False),
        ({"path": "properties.missing", "equals": None}, False),
        ({"path": "properties.products.1.sku", "equals": "b"}, True),
        ({"path": "properties.products.2.sku", "exists": True}, False),
        ({"path": ["context", "app", "build.id"], "equals": "7"}, True),
        ({"path": "context.traits.vip", "equals": True}, True),
        ({"path": "traits.vip", "exists": False}, True),
        ({"all": [{"path": "properties.plan", "equals": "pro"}, {"path": "properties.total", "less": 10}]}, False),
        ({"any": [{"path": "properties.plan", "equals": "pro"}, {"path": "properties.total", "less": 10}]}, True),
        ({"not": {"path": "properties.missing", "equals": 1}}, True),
        ({"not": {"all": [{"path": "type", "equals": "track"}, {"not": {"path": "event", "exists": False}}]}}, False),
    ],
)
def test_a_condition_is_met_or_not(condition: dict[str, Any], met: bool) -> None:
    assert compiled("where", condition)(EVENT) is met


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({}, "where must be a condition"),
        ([], "where must be a condition"),
        ({"some": []}, "where must have one of all, any, not, or a path; it has some"),
        ({"all": [], "any": []}, "it has all, any"),
        ({"all": []}, "where.all must be a list of conditions"),
        ({"not": [{"path": "type", "equals": "track"}]}, "where.not must be a condition"),
        ({"any": [{"path": "type", "equals": 1}, {"path": "typ", "equals": 1}]}, r"where.any\[1\].path must be one of"),
        ({"path": "properties", "exists": True}, "where.path must be one of"),
        ({"path": "type.x", "exists": True}, "where.path must be one of"),
        ({"path": 3, "exists": True}, "where.path must be names"),
        ({"path": "type"}, "beside path, one of: equals, in, exists"),
        ({"path": "type", "equal": 1}, "beside path, one of"),
        ({"path": "type", "equals": 1, "in": [1]}, "beside path, one of"),
        ({"path": "type", "in": "track"}, "where.in must be a list"),
        ({"path": "type", "exists": "yes"}, "where.exists must be true or false"),
        ({"path": "type", "prefix": 1}, "where.prefix must be a text"),
        ({"path": "properties.a", "greater": "1"}, "where.greater must be a number"),
        ({"path": "properties.a", "less": True}, "where.less must be a number"),
    ],
)
def test_a_wrong_filter_is_named_with_its_place(condition: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compiled("where", condition)
