"""Vendors' clients: missing, without credentials, failing, and giving page after page."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from impactd import ValidationError, fetch_source
from tests.research.sources.tables import books_of, sides_of
from tests.research.sources.test_polygon import REST

START, END = "2025-04-03T13:30Z", "2025-04-03T14:00Z"


def _install(monkeypatch: pytest.MonkeyPatch, name: str, **contents: object) -> None:
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)
    if "." in name:
        monkeypatch.setitem(sys.modules, name.partition(".")[0], ModuleType(name.partition(".")[0]))


@pytest.mark.parametrize(("name", "module"), [("polygon", "massive"), ("lseg", "lseg.data"), ("bloomberg", "blpapi")])
def test_fetch_without_the_client_states_how_to_get_it(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    remedy = "Bloomberg's package index" if name == "bloomberg" else rf"impactd\[{name}\]"
    with pytest.raises(ValidationError, match=remedy):
        fetch_source(name, "FROG", START, END)


@pytest.mark.parametrize(
    ("name", "module", "variable"),
    [("polygon", "massive", "POLYGON_API_KEY"), ("lseg", "lseg.data", "LSEG_APP_KEY")],
)
def test_fetch_without_credentials_names_the_variable_and_asks_nobody(
    name: str, module: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv(f"{variable}_FILE", raising=False)
    _install(monkeypatch, module)
    with pytest.raises(ValidationError, match=f"set {variable}"):
        fetch_source(name, "FROG", START, END)


def test_fetch_with_a_credentials_file_that_cannot_be_read_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("POLYGON_API_KEY", raising=False)
    monkeypatch.setenv("POLYGON_API_KEY_FILE", str(tmp_path / "none"))
    _install(monkeypatch, "massive")
    with pytest.raises(ValidationError, match="POLYGON_API_KEY_FILE: No such file"):
        fetch_source("polygon", "FROG", START, END)


class Massive:
    """The vendor's client, as far as it is used; pages are fetched as the iterator goes on."""

    asked: dict[str, Any]
    fails_after: int | None = None

    def __init__(self, key: str) -> None:
        type(self).asked = {"key": key}

    def list_quotes(self, symbol: str, **options: object) -> Iterator[SimpleNamespace]:
        type(self).asked |= options | {"symbol": symbol, "pages": 0}
        for page in (REST[:1], REST[1:]):
            if type(self).asked["pages"] == self.fails_after:
                raise RuntimeError(f"page refused for key {type(self).asked['key']}")
            type(self).asked["pages"] += 1
            yield from (SimpleNamespace(**record) for record in page)


def test_fetch_of_polygon_reads_the_key_from_a_file_and_each_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _install(monkeypatch, "massive", RESTClient=Massive)
    monkeypatch.delenv("POLYGON_API_KEY", raising=False)
    (tmp_path / "key").write_text("hush\n", "utf-8")
    monkeypatch.setenv("POLYGON_API_KEY_FILE", str(tmp_path / "key"))
    table = fetch_source("polygon", "FROG", "2025-04-03 13:30", "2025-04-03T10:00-04:00")
    assert len(books_of(table)) == 2
    assert table.attrs["symbols"] == ["FROG"]
    assert Massive.asked["key"] == "hush"
    assert Massive.asked["pages"] == 2
    assert Massive.asked["order"] == "asc"
    assert Massive.asked["timestamp_gte"] == 1743687000000000000
    assert Massive.asked["timestamp_lt"] == 1743688800000000000


class Refusing:
    """A client whose constructor quotes its key."""

    def __init__(self, key: str) -> None:
        raise RuntimeError(f"bad key {key}")


@pytest.mark.parametrize(
    ("made", "said"),
    [(Refusing, "bad key"), (type("Second", (Massive,), {"fails_after": 1}), "page refused")],
)
def test_fetch_that_fails_states_why_and_no_secret(made: type, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, "massive", RESTClient=made)
    monkeypatch.setenv("POLYGON_API_KEY", "hu/sh")
    with pytest.raises(ValidationError, match=rf"polygon: RuntimeError: {said}.*\*\*\*") as error:
        fetch_source("polygon", "FROG", START, END)
    assert "hu/sh" not in "".join(traceback.format_exception(error.value))


def test_fetch_of_lseg_maps_the_history_and_closes_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    index = pd.DatetimeIndex(
        ["2025-04-03 13:30:00.2", "2025-04-03 13:30:00.1", "2025-04-03 14:00:00"], name="Timestamp"
    )
    history = pd.DataFrame(
        {"BID": [pd.NA, 31.2, 1.0], "BIDSIZE": [pd.NA, 300, 1], "ASK": [31.26, 31.25, 2.0], "ASKSIZE": [100, 200, 1]},
        index=index,
        dtype="Float64",
    )

    def open_session(app_key: str) -> None:
        calls.append(app_key)

    def get_history(**options: object) -> pd.DataFrame:
        calls.append(f"{options['universe']} {options['start']}")
        return history

    _install(
        monkeypatch,
        "lseg.data",
        open_session=open_session,
        get_history=get_history,
        close_session=lambda: calls.append("closed"),
    )
    monkeypatch.setenv("LSEG_APP_KEY", "hush")
    table = fetch_source("lseg", "FROG.O", START, END)
    assert calls == ["hush", "FROG.O 2025-04-03T13:30:00+00:00", "closed"]
    # The last row is at the end, which does not count.
    assert sides_of(table) == [([(31.2, 300.0)], [(31.25, 200.0)]), ([(31.2, 300.0)], [(31.26, 100.0)])]


# -- Bloomberg's session ----------------------------------------------------------------------------------------------


class Element:
    """An element of a response: a value, a list, or named elements."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def hasElement(self, name: str) -> bool:  # noqa: N802  # BLPAPI's name
        return isinstance(self._content, dict) and name in self._content

    def getElement(self, name: str) -> Element:  # noqa: N802  # BLPAPI's name
        return Element(self._content[name])

    def getElementAsString(self, name: str) -> str:  # noqa: N802  # BLPAPI's name
        return str(self._content[name])

    def getElementValue(self, name: str) -> Any:  # noqa: N802  # BLPAPI's name
        return self._content[name]

    def messageType(self) -> str:  # noqa: N802  # BLPAPI's name
        return str(self._content.get("kind", "IntradayTickResponse"))

    def values(self) -> list[Element]:
        return [Element(each) for each in self._content]


class Event(list[Element]):
    """Messages of one event type."""

    TIMEOUT, PARTIAL_RESPONSE, RESPONSE, SESSION_STATUS = range(4)

    def __init__(self, kind: int, *contents: dict[str, Any]) -> None:
        super().__init__(Element(content) for content in contents)
        self._kind = kind

    def eventType(self) -> int:  # noqa: N802  # BLPAPI's name
        return self._kind


def _answer(kind: int, *ticks: tuple[int, str, float, int]) -> Event:
    rows = [
        {"time": datetime(2025, 4, 3, 13, 30, second, tzinfo=UTC), "type": side, "value": value, "size": size}
        for second, side, value, size in ticks
    ]
    return Event(kind, {"tickData": {"tickData": rows}})


def _blpapi(monkeypatch: pytest.MonkeyPatch, *events: Event, starts: bool = True) -> SimpleNamespace:
    asked: dict[str, object] = {}
    request = SimpleNamespace(set=asked.__setitem__, append=lambda *_: None)
    waiting = iter(events)
    session = SimpleNamespace(
        start=lambda: starts,
        openService=lambda _: True,
        getService=lambda _: SimpleNamespace(createRequest=lambda _: request),
        sendRequest=lambda _: None,
        nextEvent=lambda _: next(waiting),
        stopped=0,
    )
    session.stop = lambda: setattr(session, "stopped", session.stopped + 1)
    session.asked = asked
    _install(monkeypatch, "blpapi", Session=lambda: session, Event=Event)
    return session


def test_fetch_of_bloomberg_reads_each_partial_response(monkeypatch: pytest.MonkeyPatch) -> None:
    session = _blpapi(
        monkeypatch,
        _answer(Event.PARTIAL_RESPONSE, (1, "BEST_BID", 31.2, 300), (1, "BEST_ASK", 31.25, 200)),
        _answer(Event.RESPONSE, (2, "BEST_ASK", 31.26, 400)),
    )
    table = fetch_source("bloomberg", "FROG US Equity", START, "2025-04-03T13:30:30.000000001Z")
    assert sides_of(table) == [([(31.2, 300.0)], [(31.25, 200.0)]), ([(31.2, 300.0)], [(31.26, 400.0)])]
    assert session.asked["security"] == "FROG US Equity"
    assert session.stopped == 1


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Event(Event.TIMEOUT), "no answer"),
        (Event(Event.SESSION_STATUS, {"kind": "SessionTerminated"}), "SessionTerminated"),
        (Event(Event.RESPONSE, {"responseError": {"message": "Unknown security"}}), "Unknown security"),
    ],
)
def test_fetch_of_bloomberg_that_fails_states_why_and_ends_the_session(
    event: Event, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _blpapi(monkeypatch, event)
    with pytest.raises(ValidationError, match=said):
        fetch_source("bloomberg", "FROG US Equity", START, END)
    assert session.stopped == 1


def test_fetch_of_bloomberg_without_a_login_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _blpapi(monkeypatch, starts=False)
    with pytest.raises(ValidationError, match="log in"):
        fetch_source("bloomberg", "FROG US Equity", START, END)


# -- times that are asked for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("yesterday-ish", END, "start: 'yesterday-ish' is not a time"),
        (None, END, "start: None is not a time"),
        (START, "9999-01-01", "end: '9999-01-01' is not a time"),
        (END, START, "is not after"),
    ],
)
def test_fetch_with_times_that_are_none_is_named(start: object, end: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        fetch_source("polygon", "FROG", start, end)


def test_fetch_without_any_book_in_its_time_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, "massive", RESTClient=Massive)
    monkeypatch.setenv("POLYGON_API_KEY", "hush")
    with pytest.raises(ValidationError, match="no book from 2025-04-05"):
        fetch_source("polygon", "FROG", "2025-04-05", "2025-04-06")
