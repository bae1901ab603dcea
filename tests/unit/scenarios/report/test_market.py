"""What the page says of a market."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from scenarios.report.html.figures import Question
from scenarios.report.html.market import market_table, names_offered, type_of


def question(**cluster: Any) -> Question:
    return cast(
        "Question", SimpleNamespace(scenario={"cluster": cluster}, manifest={"basis": {"bids": "extrapolated"}})
    )


def test_offers_are_told_by_name_with_the_price_of_a_gpu() -> None:
    offers = {
        "ours": {"gpu": "L40S", "available": 4, "per_node": 1, "tenure": "owned", "usd_per_h": None},
        "bids": {
            "gpu": "L40S",
            "nodes": 2,
            "per_node": 8,
            "tenure": "on_demand",
            "usd_per_node_h": 8.0,
            "region": "eu",
        },
    }
    asked = question(gpus={"L40S": {"available": None}}, offers=offers)
    table = market_table(asked)
    assert table.headers[:4] == ("offer", "available", "$/h each", "in nodes of")
    rows = [[cell.text for cell in row.cells] for row in table.rows]
    assert rows == [
        ["ours", "4", "0.00", "1", "L40S", "owned", "-", "-"],
        ["bids*", "16", "1.00", "8", "L40S", "on demand", "-", "eu"],
    ]
    assert names_offered(asked) == ["ours", "bids"]
    assert type_of(asked, "bids") == "L40S"


def test_without_offers_gpu_types_are() -> None:
    table = market_table(question(gpus={"L40S": {"available": 4, "usd_per_h": 0.9}}))
    assert [[cell.text for cell in row.cells] for row in table.rows] == [["L40S", "4", "0.90"]]
    assert table.headers == ("GPU type", "available", "$/h each")
