"""``impactd order``: what a person types becomes a record that the service decodes, or a schedule on recorded days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import orjson
import pytest
from click.testing import CliRunner

import impactd
from impactd.cli import cli
from impactd.core.base.topics import Topic
from impactd.core.inputs.events import NewOrder
from impactd.core.inputs.terms import TERMS
from impactd.wire.codec import FROM_DATA
from impactd.wire.json_orders import decode_events
from tests.research.errors import fails
from tests.serving import Silent, served

NEW_YORK = ZoneInfo("America/New_York")
NEW = ["order", "new", "--symbol", "FROG", "--side", "buy", "--qty", "20,000", "--session", "XNYS"]
ON_DAY = ["--date", "2025-11-28", "--dry-run"]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("IMPACTD_CONFIG", "IMPACTD__HTTP__TOKEN"):
        monkeypatch.delenv(name, raising=False)


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * 10**9


def record(*args: str) -> dict[str, Any]:
    ran = CliRunner().invoke(cli, [*args])
    assert ran.exit_code == 0, ran.output
    return dict(orjson.loads(ran.stdout))


@pytest.mark.parametrize("option", ["--qty", "--limit", "--participation", "--urgency", "--alpha-bps", "--lot"])
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "1e30", "-1e30", "9" * 40])
def test_a_number_without_end_is_refused_in_a_line(option: str, text: str) -> None:
    more = ["--alpha-half-life-s", "60"] if option == "--alpha-bps" else []
    ran = CliRunner().invoke(cli, [*NEW, *ON_DAY, "--from", "10:00", *more, option, text])
    assert ran.exit_code == 2, ran.output
    assert ran.exception is None or isinstance(ran.exception, SystemExit)
    assert option in ran.output or "refuse this" in ran.output


def test_human_values_become_the_record_that_the_service_decodes() -> None:
    found = record(
        *NEW, *ON_DAY, "--from", "10:00", "--to", "close", "--participation", "10%", "--lot", "100",
        "--blackouts", "11:00-11:15,12:00-12:05", "--must-complete", "yes", "--id", "O1", "--risk-aversion", "1e-6",
    )  # fmt: skip
    assert found["start"] == ns("2025-11-28T10:00")
    assert found["end"] == ns("2025-11-28T13:00")  # the early close
    decoded = decode_events(Topic.ORDERS, [orjson.dumps(found)], [0], [FROM_DATA])
    (received,) = decoded.events
    assert isinstance(received.event, NewOrder)
    terms = received.event.terms
    assert (terms.participation_rate, terms.must_complete, terms.risk_aversion) == (0.1, True, 1e-6)
    assert terms.blackouts == tuple(
        (ns(f"2025-11-28T{a}"), ns(f"2025-11-28T{b}")) for a, b in (("11:00", "11:15"), ("12:00", "12:05"))
    )


def test_every_term_has_an_option() -> None:
    text = CliRunner().invoke(cli, ["order", "new", "--help"]).output
    short = {"order_qty": "qty", "start": "from", "end": "to", "participation_rate": "participation", "lot_size": "lot"}
    short["limit_px"] = "limit"
    for name in TERMS:
        assert f"--{short.get(name, name.replace('_', '-'))}" in text


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--participation", "150%"], "participation_rate"),
        (["--participation", "much"], "participation_rate"),
        (["--from", "12:00", "--to", "11:00"], "--to: 2025-11-28 11:00:00 is not after --from 2025-11-28 12:00:00"),
        (["--from", "noon"], "--from noon"),
        (["--must-complete", "maybe"], "needs yes or no"),
        (["--date", "2025-11-27"], "there is no session on 2025-11-27"),
        (["--date", "28.11.2025"], "--date"),
        (["--qty", "-5"], "order_qty"),
        (["--limit", "31.25", "--limit-offset-bps", "5"], "limit_px with limit_offset_bps"),
        (["--urgency", "high", "--risk-aversion", "1e-6"], "urgency with risk_aversion"),
        (["--auctions", "close"], "auctions needs auction_rate"),
        (["--min-clip-qty", "500", "--max-interval-qty", "100"], "min_clip_qty is above max_interval_qty"),
        (["--to", "2100-01-01T00:00:00Z"], "plans.max_horizon_intervals"),
        (["--date", "2025-03-09", "--from", "02:30", "--to", "04:00"], "clocks go forward over it on 2025-03-09"),
        (["--qty", "50%"], "--qty: '50%' is a percentage, and it is no share"),
        (["--limit", "31,25"], "--limit: '31,25': a comma separates thousands"),
        (["--qty", "20,00"], "--qty: '20,00': a comma separates thousands"),
        (["--alpha-bps", "1%", "--alpha-half-life-s", "60"], "--alpha-bps: '1%' is a percentage"),
    ],
)
def test_what_the_service_would_refuse_is_refused_by_name_and_not_sent(args: list[str], words: str) -> None:
    ran = CliRunner().invoke(cli, [*NEW, *ON_DAY, "--from", "10:00", *args])
    assert ran.exit_code == 2
    assert words in ran.output


def test_day_that_is_over_needs_a_start() -> None:
    ran = CliRunner().invoke(cli, [*NEW, *ON_DAY])
    assert ran.exit_code == 2
    assert "--to: 2025-11-28 13:00:00 America/New_York is over; give --from" in ran.output


def test_amendments_are_appended_to_a_file_and_none_clears_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    change = ["--symbol", "FROG", "--file", str(file)]
    for args in (["replace", "O1", "--qty", "26000", "--participation", "none", *change], ["cancel", "O1", *change]):
        ran = CliRunner().invoke(cli, ["order", *args])
        assert ran.exit_code == 0, ran.output
    first, second = (orjson.loads(line) for line in file.read_bytes().splitlines())
    assert (first["type"], first["order_qty"], first["participation_rate"]) == ("replace", 26000, None)
    assert (second["type"], second["cl_ord_id"]) == ("cancel", "O1")
    ran = CliRunner().invoke(cli, ["order", "replace", "O1", *change])
    assert ran.exit_code == 2
    assert "nothing to change" in ran.output


def test_times_are_written_in_the_unit_that_the_settings_name() -> None:
    found = record(*NEW, *ON_DAY, "--from", "10:00", "--blackouts", "11:00-11:15", "--set", "wire.time_unit=ms")
    assert found["start"] == ns("2025-11-28T10:00") // 10**6
    assert found["blackouts"][0][0] == ns("2025-11-28T11:00") // 10**6


def test_order_on_recorded_data_is_a_schedule_with_one_command(tmp_path: Path) -> None:
    """A day of one book a minute: the whole order is scheduled, in the window that local times name."""
    rows = []
    for minute in range(60):
        at = ns("2025-04-03T09:30") + minute * 60 * 10**9
        rows.append({"type": "book", "symbol": "A", "ts_event": at, "bids": [[9.9, 900]], "asks": [[10.1, 900]]})
    data = tmp_path / "a.jsonl"
    data.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    out = tmp_path / "result"
    args = ["order", "new", "--side", "sell", "--qty", "3000", "--from", "09:45", "--to", "10:15"]
    ran = CliRunner().invoke(cli, [*args, "--data", str(data), "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    lines = [line.split(",") for line in (out / "schedule.csv").read_text(encoding="utf-8").splitlines()[1:]]
    assert sum(float(qty) for _, _, qty, _ in lines) == 3000
    starts = [int(start) for start, *_ in lines]
    assert ns("2025-04-03T09:45") <= starts[0] <= starts[-1] < ns("2025-04-03T10:15")
    assert lines[0][1].endswith("-0400")


def test_order_on_data_of_several_venues_is_for_their_symbol(tmp_path: Path) -> None:
    at = ns("2025-11-28T10:00")

    def books(*symbols: str) -> Path:
        book = {"type": "book", "ts_event": at, "bids": [[31.0, 100]], "asks": [[31.02, 100]]}
        rows = [book | {"symbol": symbol, "venue": venue} for symbol in symbols for venue in ("XNAS", "BATS")]
        path = tmp_path / "books.jsonl"
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        return path

    order = ["order", "new", "--side", "buy", "--qty", "500", "--session", "XNYS", "--dry-run", "--to", "11:00"]
    assert record(*order, "--data", str(books("FROG")))["symbol"] == "FROG"
    ran = CliRunner().invoke(cli, [*order, "--data", str(books("FROG", "AMZN"))])
    assert ran.exit_code == 2
    assert "FROG, AMZN" in ran.output or "AMZN, FROG" in ran.output


def day(path: Path, minutes: int = 60) -> Path:
    """Write a book a minute from 09:30 on, and a trade in each."""
    rows: list[dict[str, Any]] = []
    for minute in range(minutes):
        at = ns("2025-04-03T09:30") + minute * 60 * 10**9
        px = 10 + 0.01 * (minute % 3)
        rows.append(
            {"type": "book", "symbol": "A", "ts_event": at, "bids": [[px - 0.1, 900]], "asks": [[px + 0.1, 900]]}
        )
        rows.append({"type": "trade", "symbol": "A", "ts_event": at + 10**9, "px": px, "qty": 500})
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "args",
    [
        ["order", "new", "--id", "O1", "--from", "10:00", "--to", "10:20", "--out", "out"],
        ["estimate", "--from", "10:00", "--to", "10:20"],
    ],
)
def test_recorded_days_are_read_in_the_unit_that_the_settings_name(tmp_path: Path, args: list[str]) -> None:
    path, shown = day(tmp_path / "day.jsonl"), []
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    for unit, ns_each in (("ns", 1), ("ms", 10**6)):
        path.write_bytes(b"".join(orjson.dumps(row | {"ts_event": row["ts_event"] // ns_each}) + b"\n" for row in rows))
        ran = CliRunner().invoke(
            cli, [*args, "--data", str(path), "--side", "buy", "--qty", "5", "--set", f"wire.time_unit={unit}"]
        )
        assert ran.exit_code == 0, ran.output
        shown.append([line for line in ran.stdout.splitlines() if not line.startswith("time ")])
    assert shown[0] == shown[1]


@pytest.mark.parametrize("act", ["minute", "slices"])
def test_the_schedule_shown_is_what_the_order_bought(tmp_path: Path, act: str) -> None:
    """The last interval is planned several times over, and slices are not what plans have by the interval."""
    data, out = day(tmp_path / "a.jsonl"), tmp_path / "result"
    args = [
        "order",
        "new",
        "--side",
        "buy",
        "--qty",
        "3000",
        "--from",
        "09:45",
        "--to",
        "10:15",
        "--participation",
        "10%",
    ]
    ran = CliRunner().invoke(cli, [*args, "--data", str(data), "--out", str(out), "--set", f"plans.act={act}"])
    assert ran.exit_code == 0, ran.output
    last = orjson.loads((out / "plans.jsonl").read_bytes().splitlines()[-1])
    lines = [line.split(",") for line in (out / "schedule.csv").read_text(encoding="utf-8").splitlines()[1:]]
    assert last["cum_qty"] > 0
    assert sum(float(qty) for _, _, qty, _ in lines) == float(lines[-1][-1]) == last["cum_qty"]
    assert len({int(start) for start, *_ in lines}) == len(lines)
    assert all(int(start) % (60 * 10**9) == 0 for start, *_ in lines)


def test_estimate_on_recorded_days_is_the_first_plan_of_that_order_and_the_function_s(tmp_path: Path) -> None:
    data = day(tmp_path / "a.jsonl")
    times = ["--side", "buy", "--qty", "2000", "--from", "10:00", "--to", "10:20", "--session", "09:30-16:00"]
    asked = ["estimate", *times, "--data", str(data), "--json", "--max-cost", "200"]
    found = record(*asked)
    own = found["schedules"][0]
    ran = CliRunner().invoke(cli, ["order", "new", *times, "--data", str(data), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    plans = [orjson.loads(line) for line in (tmp_path / "out" / "plans.jsonl").read_bytes().splitlines()]
    first = plans[0]
    assert first["as_of"] == ns("2025-04-03T10:00")
    assert own["cost"] == pytest.approx(first["expected_cost"], rel=1e-9)
    assert own["qty"] == 2000
    window = {"start": "2025-04-03T10:00-04:00", "end": ns("2025-04-03T10:20")}
    same = impactd.estimate(data, symbol="A", side="buy", qty=2000, session="XNYS", max_cost_bps=200, **window)
    assert same["schedules"][0]["cost"] == pytest.approx(own["cost"], rel=1e-9)
    assert same["largest_qty"] == found["largest_qty"]
    with fails(1001, "side"):
        impactd.estimate(data, symbol="A", side="sideways", qty=2000, **window)
    with fails(1001, "start"):
        impactd.estimate(data, symbol="A", side="buy", qty=2000, start="2025-04-03T10:00", end=window["end"])


def test_estimate_looks_past_a_row_from_the_future(tmp_path: Path) -> None:
    data = day(tmp_path / "a.jsonl")
    lines = data.read_bytes().splitlines(keepends=True)
    tick = orjson.loads(lines[0])
    lines.insert(5, orjson.dumps(tick | {"ts_event": tick["ts_event"] + 10**16}) + b"\n")
    (tmp_path / "b.jsonl").write_bytes(b"".join(lines))
    order = ["--side", "buy", "--qty", "2000", "--from", "10:00", "--to", "10:20", "--session", "09:30-16:00"]
    found = [record("estimate", *order, "--data", str(tmp_path / name), "--json") for name in ("a.jsonl", "b.jsonl")]
    assert found[1] == found[0]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--symbol", "a", "--from", "10:00", "--to", "10:20"], ["no data on a", "on A"]),
        (["--from", "03:00", "--to", "10:20"], ["--from", "2025-04-03 03:00", "begin at 2025-04-03", "New_York"]),
        (["--from", "10:20", "--to", "10:00"], ["--to", "10:00:00 is not after --from 2025-04-03 10:20:00"]),
    ],
)
def test_mistakes_of_a_ticket_are_named_in_local_times_with_a_remedy(
    args: list[str], words: list[str], tmp_path: Path
) -> None:
    data = day(tmp_path / "a.jsonl")
    asked = ["estimate", "--side", "buy", "--qty", "2000", "--session", "09:30-16:00", "--tz", "America/New_York"]
    ran = CliRunner().invoke(cli, [*asked, "--data", str(data), *args])
    assert ran.exit_code == 2
    assert [word for word in words if word not in ran.output] == []


@pytest.mark.parametrize("qty", ["12345678", "1234567.5", "0.000000003"])
def test_schedule_has_every_digit_of_its_quantities(tmp_path: Path, qty: str) -> None:
    data, out = day(tmp_path / "a.jsonl"), tmp_path / "result"
    args = ["order", "new", "--side", "buy", "--qty", qty, "--lot", "0.000000001", "--from", "09:45", "--to", "10:15"]
    ran = CliRunner().invoke(cli, [*args, "--data", str(data), "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    lines = [line.split(",") for line in (out / "schedule.csv").read_text(encoding="utf-8").splitlines()[1:]]
    assert sum(Decimal(line[2]) for line in lines) == Decimal(lines[-1][3]) == Decimal(qty)
    assert "e+" not in ran.output


@pytest.mark.parametrize("more", [["--limit", "0"], ["--from", "18:00", "--to", "19:00"]])
def test_order_that_is_not_worked_on_recorded_data_is_no_success(tmp_path: Path, more: list[str]) -> None:
    data = day(tmp_path / "a.jsonl")
    args = ["order", "new", "--side", "buy", "--qty", "3000", "--from", "09:45", "--to", "10:15", *more]
    ran = CliRunner().invoke(cli, [*args, "--data", str(data), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 4, ran.output


def test_time_that_is_none_names_local_ones() -> None:
    ran = CliRunner().invoke(cli, [*NEW, *ON_DAY, "--from", "10am"])
    assert (ran.exit_code, "10:00" in ran.output) == (2, True)


def test_symbol_names_data_that_name_none(tmp_path: Path) -> None:
    begin = ns("2025-04-03T09:55")
    rows = [f"{begin + k * 10**10},{99.9 - 0.01 * (k % 3)},500,{100.1},500" for k in range(60)]
    path = tmp_path / "nothing_20lvl.csv"
    path.write_text("\n".join(["time,bid_price_1,bid_size_1,ask_price_1,ask_size_1", *rows, ""]))
    asked = ["--symbol", "XYZ", "--side", "buy", "--qty", "100", "--from", "10:00", "--to", "10:20"]
    for command in (["estimate"], ["order", "new", "--out", str(tmp_path / "out")]):
        ran = CliRunner().invoke(cli, [*command, *asked, "--data", str(path), "--session", "09:30-16:00"])
        assert ran.exit_code == 0, ran.output
        assert "XYZ" in ran.output
        assert "guess" not in ran.output


def test_estimate_is_written_for_people_with_its_doubts_and_by_a_dry_run(tmp_path: Path) -> None:
    data = str(day(tmp_path / "a.jsonl"))
    times = ["--side", "buy", "--qty", "2000", "--from", "10:00", "--to", "10:20", "--data", data]
    shown = CliRunner().invoke(cli, ["estimate", *times])
    assert shown.exit_code == 0, shown.output
    for words in ("impactd", "twap", "vwap", "pov 10%", "urgency 2", "of the window's forecast volume", "less sure"):
        assert words in shown.output
    limited = CliRunner().invoke(cli, ["estimate", *times, "--max-cost", "5000"])
    (largest,) = (line for line in limited.output.splitlines() if line.startswith("largest"))
    assert "5000 bps" in largest
    # More than the market is expected to trade is no advice to trade it.
    assert "by the curve alone" in largest
    dry = CliRunner().invoke(cli, ["order", "new", *times, "--dry-run"])
    assert orjson.loads(dry.output.splitlines()[1])["order_qty"] == 2000
    assert "pov 10%" in dry.output
    assert CliRunner().invoke(cli, ["estimate", *times, "--url", "http://x"]).exit_code == 2


PLAN = {"type": "plan", "cl_ord_id": "O1", "symbol": "FROG", "side": "buy", "plan_version": 1, "status": "active"}
PLAN |= {"order_qty": 500, "cum_qty": 0, "leaves_qty": 500, "shortfall_qty": 0, "expected_cost": 1.5}
PLAN |= {"expected_cost_bps": 2.5, "as_of": ns("2025-11-28T10:00"), "start": [ns("2025-11-28T10:00")], "qty": [500]}
PLAN |= {"limit_px": 31.2, "expected_shortfall_qty": 40}
PLAN["auctions"] = [
    {
        "kind": "auction_close",
        "at": ns("2025-11-28T13:00"),
        "cutoff": ns("2025-11-28T12:50"),
        "qty": 100,
        "limit_px": None,
        "expected_volume": 9_000.0,
    }
]


class Service(Silent, BaseHTTPRequestHandler):
    """Answers as the service's API does."""

    token: ClassVar[str | None] = None

    def do_GET(self) -> None:  # the base class names it
        """Answer one request."""
        if self.token is not None and self.headers.get("Authorization") != f"Bearer {self.token}":
            self._answer(401, {"error": "a token is needed"})
        elif self.path == "/api/orders":
            self._answer(200, {"orders": [PLAN]})
        elif self.path == "/api/orders/O1":
            self._answer(200, {"cl_ord_id": "O1", "plan": PLAN})
        elif self.path == "/api/events":
            other = PLAN | {"cl_ord_id": "O2", "plan_version": 9}
            later = [PLAN, other, PLAN | {"plan_version": 2}, PLAN | {"plan_version": 3, "status": "done"}]
            body = b"".join(b"event: plan\ndata: " + orjson.dumps(plan) + b"\n\n" for plan in later)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'event: health\ndata: {"ready": true}\n\n' + body)
        else:
            self._answer(404, {"error": "unknown order"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(orjson.dumps(body))


@pytest.fixture
def url() -> Iterator[str]:
    with served(Service) as port:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            Service.token = None


def test_orders_of_a_service_are_listed_shown_and_followed_to_their_end(url: str) -> None:
    run = CliRunner().invoke
    assert "O1 buy 500 FROG active" in run(cli, ["order", "list", "--url", url]).output
    shown = run(cli, ["order", "show", "O1", "--url", url, "--tz", "America/New_York"]).output
    assert "11-28 10:00" in shown
    assert "100 of it in auctions" in shown
    assert "auction_close at 11-28 13:00: 100 to enter by 12:50" in shown
    assert "limit 31.2, expected to leave 40" in shown
    watched = run(cli, ["order", "watch", "O1", "--url", url])
    assert watched.exit_code == 0, watched.output
    assert [line.split("plan ")[1].split()[0] for line in watched.output.splitlines()] == ["1", "2", "3"]


def test_service_that_refuses_or_is_not_there_is_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CliRunner().invoke
    missing = run(cli, ["order", "show", "O9", "--url", url])
    assert (missing.exit_code, "O9" in missing.output) == (1, True)
    Service.token = "secret"  # noqa: S105  # the test's own
    assert run(cli, ["order", "list", "--url", url]).exit_code == 1
    monkeypatch.setenv("IMPACTD__HTTP__TOKEN", "secret")
    assert run(cli, ["order", "list", "--url", url]).exit_code == 0
    away = run(cli, ["order", "list", "--url", "http://127.0.0.1:1"])
    assert (away.exit_code, "does not answer" in away.output) == (1, True)
    assert run(cli, ["order", "list", "--url", "ftp://x"]).exit_code == 2


@pytest.mark.parametrize("named", [["--session", "XNYS"], ["--set", "session.calendar=XNYS"]])
def test_zone_is_that_of_the_times_and_leaves_the_session_as_it_is(named: list[str]) -> None:
    """15:00 to 18:00 in London are 10:00 to the early close in New York."""
    new = ["order", "new", "--symbol", "FROG", "--side", "buy", "--qty", "20,000", *named, *ON_DAY]
    found = record(*new, "--tz", "Europe/London", "--from", "15:00", "--to", "close", "--limit", "31.20")
    assert (found["start"], found["end"]) == (ns("2025-11-28T10:00"), ns("2025-11-28T13:00"))
    assert found["limit_px"] == 31.2
