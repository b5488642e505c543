from pathlib import Path

from stream.loading import load

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_counts_and_sums_the_orders_of_each_person(event, run, tmp_path):
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "orders.py").write_text((EXAMPLES / "orders.py").read_text())
    [orders] = load("orders", tmp_path).build(None, {})
    ran = run(
        orders,
        [
            event("track", 1, userId="u1", event="Order Completed", properties={"revenue": 20}),
            event("track", 2, userId="u1", event="Order Completed", properties={"revenue": "2.5"}),
            event("track", 3, userId="u1", event="Product Viewed"),
            event("track", 4, userId="u2", event="Order Completed"),
        ],
    )
    found = {subject: (row.count, row.revenue) for subject, row in ran.rows["orders"].items()}
    assert found == {"user:u1": (2, 22.5), "user:u2": (1, 0.0)}


def test_the_example_is_at_most_twenty_lines_of_code():
    lines = (EXAMPLES / "orders.py").read_text().splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 20
