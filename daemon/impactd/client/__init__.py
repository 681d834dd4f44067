"""The service's client for programs of a desk: orders and executions in, plans, alerts and costs out.

It needs aiokafka, orjson and NumPy, and none of what the service computes with:
``pip install --no-deps impactd`` and those three are enough.

    async with Client("localhost:9092") as desk:
        await desk.new("A1", "FROG", "buy", order_qty=20_000, start=start, end=end, participation_rate=0.1)
        async for plan in desk.plans("A1"):
            ...
"""

from __future__ import annotations

from impactd.client.client import Client, RefusedError, Sent
from impactd.client.messages import Alert, Amendments, DayCost, FillCost, OrderCost, Plan, Slice, Terms

__all__ = [
    "Alert",
    "Amendments",
    "Client",
    "DayCost",
    "FillCost",
    "OrderCost",
    "Plan",
    "RefusedError",
    "Sent",
    "Slice",
    "Terms",
]
