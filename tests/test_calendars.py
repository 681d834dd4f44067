"""Calendars: the packaged times against the library, against hours that exchanges have published, and by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from impactd.cli import cli
from impactd.config import load
from impactd.config.calendars import ALIASES, NOTICE_DAYS, calendar, ending, packaged
from impactd.config.hours import parse_span
from impactd.config.sections import HoursSection
from impactd.core.base.session import Session, Sessions
from impactd.core.base.settings import MINUTE_NS, SECOND_NS, CoreSettings, SessionRule

EPOCH = date(1970, 1, 1)

#: Local hours as the exchanges have published them, by calendar and day; "" is closed.
PUBLISHED = {
    ("XNYS", "2025-11-26"): "09:30-16:00",
    ("XNYS", "2025-11-27"): "",  # Thanksgiving
    ("XNYS", "2025-11-28"): "09:30-13:00",  # the day after
    ("XNYS", "2025-11-29"): "",  # Saturday
    ("XNYS", "2025-01-09"): "",  # mourning for President Carter
    ("XNAS", "2025-07-03"): "09:30-13:00",
    ("XLON", "2025-12-24"): "08:00-12:30",
    ("XETR", "2025-12-24"): "",
    ("XPAR", "2025-12-31"): "09:00-14:05",
    ("XTKS", "2024-11-01"): "09:00-11:30 12:30-15:00",  # the last Friday before the close moved
    ("XTKS", "2024-11-05"): "09:00-11:30 12:30-15:30",
    ("XTKS", "2025-01-02"): "",
    ("XHKG", "2025-11-28"): "09:30-12:00 13:00-16:00",
    ("XHKG", "2025-12-24"): "09:30-12:00",  # half day: no afternoon
    ("XSHG", "2025-09-30"): "09:30-11:30 13:00-15:00",
    ("XSHE", "2025-10-01"): "",  # National Day
    ("CMES", "2025-03-07"): "",  # Friday evening
    ("CMES", "2025-03-09"): "17:00-17:00",  # Sunday after the clocks went forward
    ("CMES", "2025-11-02"): "17:00-17:00",  # Sunday after they went back
    ("24/7", "2025-12-25"): "00:00-00:00",
}


def day_of(text: str) -> int:
    return (date.fromisoformat(text) - EPOCH).days


def local(name: str, ts: int) -> str:
    return f"{datetime.fromtimestamp(ts // SECOND_NS, UTC).astimezone(ZoneInfo(calendar(name).timezone)):%H:%M}"


@pytest.mark.parametrize(("name", "day"), PUBLISHED)
def test_session_of_a_day_is_what_the_exchange_has_published(name: str, day: str) -> None:
    session = Session(calendar(name).rule)
    segments = session.segments_on(day_of(day))
    assert " ".join(f"{local(name, a)}-{local(name, b)}" for a, b in segments) == PUBLISHED[name, day]
    for begin, end in segments:
        assert session.is_open(begin)
        assert session.is_open(end - 1)
        whole = np.array([begin, end - MINUTE_NS, end - MINUTE_NS + 1, begin - 1], np.int64)
        assert session.open_at(whole, MINUTE_NS)[:2].all()
        gapless = session.is_open(end)  # a 24 hours' market, where one session follows another
        assert session.open_at(whole, MINUTE_NS)[2:].any() == (session.always_open and gapless)


@pytest.mark.parametrize(
    ("before", "after", "hours"), [("2025-03-06", "2025-03-09", 23), ("2025-10-30", "2025-11-02", 22)]
)
def test_overnight_session_keeps_its_local_hours_over_clock_changes(before: str, after: str, hours: int) -> None:
    session = Session(calendar("CMES").rule)
    utc = [datetime.fromtimestamp(session.segments_on(day_of(day))[0][0] // SECOND_NS, UTC) for day in (before, after)]
    assert (utc[0].hour, utc[1].hour) == (hours, 45 - hours)
    friday, sunday = session.segments_on(day_of(before))[0][1], session.segments_on(day_of(after))[0][0]
    assert not session.is_open(friday)
    assert not session.is_open(sunday - 1)
    # Friday's last ten minutes and Sunday's first twenty are half an hour of open market.
    assert session.open_minutes_between(friday - 10 * MINUTE_NS, sunday + 20 * MINUTE_NS) == 30


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the library's, of what pandas will change
@pytest.mark.parametrize("name", sorted(set(packaged()) - set(ALIASES)))
def test_packaged_calendar_has_every_session_of_the_library(name: str) -> None:
    library = pytest.importorskip("exchange_calendars")
    pandas = pytest.importorskip("pandas")
    found = calendar(name)
    until = found.through or "2028-12-31"
    # The library names a session by the day on which it closes.
    evening = pandas.Timedelta(days=int(found.open > "12:00"))
    exchange = library.get_calendar(name, start=found.since, end=pandas.Timestamp(until) + evening)
    session = Session(found.rule)
    wanted = {}
    for opens, closes, begin, end in zip(
        exchange.opens, exchange.closes, exchange.break_starts, exchange.break_ends, strict=True
    ):
        edges = [opens, closes] if pandas.isna(begin) else [opens, begin, end, closes]
        pairs = [at.value for at in edges]
        wanted[session.day_of(opens.value)] = tuple(zip(pairs[::2], pairs[1::2], strict=True))
    first, last = day_of(found.since), day_of(until)
    wanted = {day: pairs for day, pairs in wanted.items() if first <= day <= last}
    ours = {day: session.segments_on(day) for day in range(first, last + 1)}
    assert {day: pairs for day, pairs in ours.items() if pairs} == wanted


def test_position_of_a_short_session_leaves_out_the_middle() -> None:
    session = Session(calendar("XNYS").rule)
    ((opens, closes),) = session.segments_on(day_of("2025-11-28"))
    at = np.array([opens, opens + 60 * MINUTE_NS, closes - 60 * MINUTE_NS, closes], np.int64)
    assert session.positions(at) == pytest.approx([0.0, 60 / 390, 1 - 60 / 390, 1.0])
    assert session.close_after(opens) == closes


def test_break_adds_neither_position_nor_age_and_ends_what_runs_into_it() -> None:
    session = Session(calendar("XTKS").rule)
    morning, afternoon = session.segments_on(day_of("2025-11-28"))
    assert session.length_minutes == 330
    at = np.array([morning[1], afternoon[0]], np.int64)
    assert session.positions(at) == pytest.approx([150 / 330] * 2)
    assert session.open_minutes_between(morning[1] - MINUTE_NS, afternoon[0]) == 1
    assert session.elapsed_minutes(afternoon[0] + MINUTE_NS) == 151
    assert session.holds(morning[1] - 10 * MINUTE_NS, 10, MINUTE_NS)
    assert not session.holds(morning[1] - 10 * MINUTE_NS, 11, MINUTE_NS)
    assert not session.holds(morning[1] - 10 * MINUTE_NS, 90, MINUTE_NS)
    assert session.steps_open(morning[1] - 5 * MINUTE_NS, (1, 4, 5, 64, 65), MINUTE_NS) == (1, 4, 65)
    assert session.since_resumed_ns(afternoon[0] + 5) == 5


def test_several_calendars_in_one_process_by_pattern(tmp_path: Path) -> None:
    file = tmp_path / "impactd.toml"
    file.write_text(
        '[session]\ncalendar = "XNYS"\n'
        '[[session.by_symbol]]\nsymbols = ["*.HK", "0005?"]\ncalendar = "XHKG"\n'
        '[[session.by_symbol]]\nsymbols = ["BTC*"]\ncalendar = "24/7"\n',
        encoding="utf-8",
    )
    sessions = Sessions(load(file, environ={}).settings.core())
    named = {symbol: sessions.of(symbol).rule.calendar for symbol in ("FROG", "700.HK", "00051", "000510", "BTCUSDT")}
    assert named == {"FROG": "XNYS", "700.HK": "XHKG", "00051": "XHKG", "000510": "XNYS", "BTCUSDT": "24/7"}


def test_settings_by_hand_override_the_calendar(tmp_path: Path) -> None:
    file = tmp_path / "impactd.toml"
    file.write_text(
        '[session]\ncalendar = "XNYS"\nclose = "15:55"\nholidays = ["2026-03-02"]\n'
        'special = ["2025-11-28 10:00-12:00", "2025-12-25 09:30-11:00"]\n',
        encoding="utf-8",
    )
    session = Session(load(file, environ={}).settings.core().session)
    rule = calendar("XNYS").rule
    shown = {
        day: [local("XNYS", at) for pair in session.segments_on(day_of(day)) for at in pair]
        for day in ("2025-11-26", "2025-11-28", "2025-12-24", "2025-12-25", "2026-03-02")
    }
    assert shown == {
        "2025-11-26": ["09:30", "15:55"],
        "2025-11-28": ["10:00", "12:00"],
        "2025-12-24": ["09:30", "13:00"],
        "2025-12-25": ["09:30", "11:00"],
        "2026-03-02": [],
    }
    assert session.rule.through == rule.through


@pytest.mark.parametrize(
    ("name", "given", "hours"),
    [
        ("XNYS", {}, ("09:30", "16:00")),
        ("XNYS", {"close": "15:55"}, ("09:30", "15:55")),
        ("XNYS", {"open": "10:00"}, ("10:00", "16:00")),
        ("XNYS", {"open": "10:00", "close": "15:00"}, ("10:00", "15:00")),
        ("CMES", {}, ("17:00", "17:00")),
        ("CMES", {"close": "16:00"}, ("17:00", "16:00")),
        ("CMES", {"open": "18:00"}, ("18:00", "17:00")),
    ],
)
def test_open_and_close_replace_the_calendars_each_by_itself(
    name: str, given: dict[str, str], hours: tuple[str, str]
) -> None:
    rule = HoursSection(calendar=name, **given).rule()  # type: ignore[arg-type]  # texts alone
    assert (rule.open_s, rule.close_s) == parse_span("-".join(hours))
    # Early closes and holidays stay those of the calendar.
    assert rule.special == calendar(name).rule.special


def test_calendar_that_ends_is_said_before_it_does() -> None:
    core = replace(CoreSettings(), session=replace(SessionRule(), calendar="XXXX", through=20_500))
    last = date.fromordinal(EPOCH.toordinal() + 20_500)
    days = (NOTICE_DAYS, NOTICE_DAYS - 1, -1)
    said = [ending(core, date.fromordinal(last.toordinal() - left)) for left in days]
    assert [len(lines) for lines in said] == [0, 1, 1]
    assert "ends on" in said[1][0]
    assert "ended on" in said[2][0]
    assert ending(CoreSettings(), last) == []


def test_written_calendar_is_read_back_as_the_packaged_one(tmp_path: Path) -> None:
    pytest.importorskip("exchange_calendars")
    out = tmp_path / "xtks.json"
    ran = CliRunner().invoke(cli, ["calendar", "XTKS", "--years", "2015-2028", "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    assert calendar(str(out)).rule == calendar("XTKS").rule
    ran = CliRunner().invoke(cli, ["calendar", "NONE", "--years", "2015-2028"])
    assert ran.exit_code == 2


def test_file_that_is_no_calendar_is_refused_with_its_field(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(orjson.dumps({"calendar": "X", "open": "9.30"}))
    with pytest.raises(ValueError, match=r"is not a calendar: .*source"):
        calendar(str(file))


def test_calendar_command_shows_sessions_and_lists_what_is_packaged() -> None:
    run = CliRunner().invoke
    assert "2025-11-28 Fri 09:30-Fri 13:00" in run(cli, ["calendar", "XNYS", "--day", "2025-11-28"]).output
    assert "2025-11-27 closed" in run(cli, ["calendar", "XNYS", "--day", "2025-11-27"]).output
    assert len(run(cli, ["calendar"]).output.splitlines()) == len(packaged())
    assert run(cli, ["calendar", "NONE"]).exit_code == 2


def books(path: Path, day: date, minutes: range, zone: str, *, traded: bool) -> Path:
    """Write a book, and perhaps a trade, in each of the minutes after local midnight."""
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).timestamp()) * SECOND_NS
    rows = []
    for minute in minutes:
        at = midnight + minute * MINUTE_NS
        rows.append({"type": "book", "symbol": "A", "ts_event": at, "bids": [[9.9, 100]], "asks": [[10.1, 100]]})
        if traded:
            rows.append({"type": "trade", "symbol": "A", "ts_event": at + SECOND_NS, "px": 10.0, "qty": 5})
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("day", "minutes", "said"),
    [
        (date(2025, 11, 27), range(570, 580), "when XNYS has no session"),
        (date(2025, 11, 28), range(570, 900), "after the early close of XNYS"),
        (date(2025, 11, 28), range(570, 700), "an early close that the calendar does not know"),
        (date(2025, 11, 28), range(570, 790), ""),
        (date(2029, 3, 1), range(570, 960), "calendar XNYS ends on 2028-12-29"),
    ],
)
def test_file_of_a_day_whose_calendar_differs_is_warned_of(
    tmp_path: Path, day: date, minutes: range, said: str
) -> None:
    file = books(tmp_path / "a.jsonl", day, minutes, "America/New_York", traded=True)
    out = str(tmp_path / "out")
    ran = CliRunner().invoke(cli, ["replay", "--data", str(file), "--session", "XNYS", "--out", out, "--json"])
    assert ran.exit_code == 0, ran.output
    warnings = orjson.loads(ran.stdout)["warnings"]
    assert [text for text in warnings if "XNYS" in text] == [text for text in warnings if said and said in text]
    assert bool(said) == any("XNYS" in text for text in warnings)


def test_no_interval_is_planned_where_the_market_is_closed(tmp_path: Path) -> None:
    """XTKS over its lunch: the plan skips the break, and nothing is planned that lies within it."""
    file = books(tmp_path / "t.jsonl", date(2025, 11, 28), range(540, 720), "Asia/Tokyo", traded=True)
    nine = int(datetime(2025, 11, 28, 9, 30, tzinfo=ZoneInfo("Asia/Tokyo")).timestamp()) * SECOND_NS
    order = {"type": "new", "cl_ord_id": "O", "symbol": "A", "side": "buy", "order_qty": 500, "ts_event": nine}
    order |= {"start": nine, "end": nine + 5 * 3600 * SECOND_NS}
    orders = tmp_path / "orders.jsonl"
    orders.write_bytes(orjson.dumps(order) + b"\n")
    out = tmp_path / "out"
    args = ["replay", "--data", str(file), "--orders", str(orders), "--session", "XTKS", "--out", str(out)]
    assert CliRunner().invoke(cli, args).exit_code == 0
    session = Session(calendar("XTKS").rule)
    plans = [orjson.loads(line) for line in (out / "plans.jsonl").read_bytes().splitlines()]
    worked = [at for plan in plans for at, qty in zip(plan["start"], plan["qty"], strict=True) if qty]
    assert worked
    assert session.open_at(np.array(worked, np.int64), MINUTE_NS).all()
    noon = nine + 150 * MINUTE_NS
    assert any(at >= noon for at in worked)
