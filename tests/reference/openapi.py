"""The API's document: written by hand, but for the messages, which are those of the AsyncAPI document."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.paths import PACKAGE
from tests.reference.asyncapi import document

#: Served by the service itself.
DOCUMENT: Final = PACKAGE / "shell" / "page" / "openapi.json"

#: Name of a schema in the API's document to its name in the other; what they refer to keeps its name.
MESSAGES: Final = {
    "Estimate": "estimate",
    "Model": "model",
    "Plan": "plan",
    "Alert": "alert",
    "OrderCost": "order_cost",
    "time_out": "time_out",
    "quantity_out": "quantity_out",
}


def page() -> str:
    """Return the document with the messages of this code."""
    found: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    published = document()["components"]["schemas"]
    found["components"]["schemas"] |= {ours: published[theirs] for ours, theirs in MESSAGES.items()}
    return json.dumps(found, indent=1) + "\n"
