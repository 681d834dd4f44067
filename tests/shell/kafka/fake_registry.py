"""A schema registry of a test's own."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.serving import Silent, served


@dataclass
class FakeRegistry:
    """The part of Confluent's REST API that is used, and what was asked of it."""

    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    subjects: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    away: bool = False
    refuses: bool = False
    user: str | None = None
    heard: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def answer(self, method: str, path: str, body: Any, auth: str | None) -> tuple[int, Any]:
        self.asked.append(f"{method} {path}")
        self.heard.set()
        if self.away:
            return 503, {"error_code": 50003, "message": "away"}
        if self.user is not None and auth != "Basic " + base64.b64encode(self.user.encode()).decode():
            return 401, {"error_code": 401, "message": "who are you"}
        parts = path.partition("?")[0].strip("/").split("/")
        if parts[0] == "schemas":
            found = self.schemas.get(int(parts[2]))
            return (404, {"error_code": 40403, "message": "none"}) if found is None else (200, found)
        if method == "GET":
            return 404, {"message": "a proxy's own page"}
        if self.refuses:
            return 409, {"error_code": 409, "message": "incompatible with an earlier schema"}
        if len(parts) == 2 and parts[1] not in self.subjects:
            return 404, {"error_code": 40401, "message": "no subject"}
        number = self.subjects.setdefault(parts[1], len(self.subjects) + 100)
        self.schemas[number] = body
        return 200, {"id": number}


@contextmanager
def serving() -> Iterator[FakeRegistry]:
    """Yield a registry that answers on a port of this machine."""
    made = FakeRegistry()

    class Handler(Silent, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", None)

        def do_POST(self) -> None:
            self._answer("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, method: str, body: Any) -> None:
            code, found = made.answer(method, self.path, body, self.headers["Authorization"])
            data = json.dumps(found).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with served(Handler) as made.port:
        yield made
