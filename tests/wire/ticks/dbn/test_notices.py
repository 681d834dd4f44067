"""Definitions and statuses: as databento-dbn writes them, and in the order of the data."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import pytest

from impactd.core.base.instrument import Instrument
from impactd.core.base.settings import CoreSettings
from impactd.core.inputs.events import Definition, Imbalance, TradingStatus
from impactd.core.inputs.ticks import Refused
from impactd.shell.replay import Sources, replay
from impactd.wire.codec import Decoded, Limits
from impactd.wire.content import Content
from impactd.wire.registry import CODECS, detect
from impactd.wire.symbols import FileSymbols
from impactd.wire.tick_codec import FileOptions
from tests.wire.helpers import T0
from tests.wire.ticks.databento import samples
from tests.wire.ticks.dbn.samples import IDS, head, record
from tests.wire.ticks.dbn.test_codec import ASKS, BIDS, FROG, message, read

dbn = pytest.importorskip("databento_dbn")

S = 1_000_000_000
UNDEF = 2**63 - 1

#: Fields of the versions before 3 that have no default, and mean nothing here.
_OLD: dict[str, Any] = {
    "expiration": 0, "activation": 0, "high_limit_price": UNDEF, "max_price_variation": UNDEF,
    "trading_reference_price": UNDEF, "unit_of_measure_qty": UNDEF, "price_ratio": UNDEF, "inst_attrib_value": 0,
    "underlying_id": 0, "raw_instrument_id": 0, "market_depth_implied": 0, "market_depth": 0, "market_segment_id": 0,
    "min_lot_size_block": 0, "min_lot_size_round_lot": 100, "decay_quantity": 0, "original_contract_size": 0,
    "trading_reference_date": 0, "appl_id": 0, "maturity_year": 0, "decay_start_date": 0, "channel_id": 0,
    "settl_currency": "USD", "secsubtype": "", "group": "ES", "exchange": "XCME", "cfi": "FFIXSX",
    "unit_of_measure": "IPNT", "underlying": "ES", "strike_price_currency": "", "strike_price": UNDEF,
    "match_algorithm": dbn.MatchAlgorithm("F"), "md_security_trading_status": 17, "main_fraction": 0,
    "price_display_format": 0,
    "settl_price_type": 0, "sub_fraction": 0, "underlying_product": 0, "maturity_month": 6, "maturity_day": 20,
    "maturity_week": 0, "user_defined_instrument": dbn.UserDefinedInstrument("N"),
    "contract_multiplier_unit": 0, "flow_schedule_type": 0,
    "tick_rule": 0,
}  # fmt: skip


def definition(version: int = 3, *, action: str = "A", kind: str = "F", **fields: Any) -> bytes:
    """Return a definition of FROG as databento-dbn writes it."""
    given: dict[str, Any] = {
        "publisher_id": 2, "instrument_id": FROG, "ts_event": T0, "ts_recv": T0, "min_price_increment": S // 4,
        "display_factor": S, "min_price_increment_amount": 12 * S + S // 2, "low_limit_price": UNDEF,
        "max_trade_vol": 3_000, "min_lot_size": 1, "min_trade_vol": 2, "contract_multiplier": 2**31 - 1,
        "currency": "USD", "raw_symbol": "FROG", "asset": "ES", "security_type": "FUT",
        "instrument_class": dbn.InstrumentClass(kind), "security_update_action": dbn.SecurityUpdateAction(action),
    } | fields  # fmt: skip
    if version == 3:
        return bytes(dbn.InstrumentDefMsg(**given))
    of = dbn.InstrumentDefMsgV1 if version == 1 else dbn.InstrumentDefMsgV2
    return bytes(of(**_OLD, **given))


def status(ts: int = T0, **given: Any) -> bytes:
    fields = dict(given)
    if "action" in fields:
        fields["action"] = dbn.StatusAction(fields["action"])
    if "reason" in fields:
        fields["reason"] = dbn.StatusReason(fields["reason"])
    for name in ("is_trading", "is_short_sell_restricted"):
        if name in fields:
            fields[name] = dbn.TriState.YES if fields[name] else dbn.TriState.NO
    return bytes(dbn.StatusMsg(publisher_id=2, instrument_id=FROG, ts_event=ts, ts_recv=ts, **fields))


def only(decoded: Decoded) -> Any:
    assert not decoded.refused
    [found] = decoded.events
    return found.event


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_definition_of_every_version(version: int) -> None:
    event = only(read(head(version=version, schema=9) + definition(version)))
    its = Instrument(
        tick_size=0.25,
        lot_size=1.0,
        multiplier=50.0,
        currency="USD",
        min_qty=2.0,
        max_qty=3_000.0,
        asset_class="future",
    )
    assert event == Definition("FROG", T0, its)


def test_what_a_definition_does_not_state_is_none() -> None:
    nothing = {"min_price_increment": UNDEF, "min_price_increment_amount": UNDEF, "max_trade_vol": 2**32 - 1}
    event = only(read(head() + definition(**nothing, min_lot_size=None, min_trade_vol=None, currency="", kind="K")))
    assert event.instrument == Instrument(asset_class="equity")


@pytest.mark.parametrize(("kind", "low", "expected"), [("S", UNDEF, True), ("F", -5 * S, True), ("F", S, None)])
def test_prices_below_zero_where_the_venue_allows_them(kind: str, low: int, expected: bool | None) -> None:  # noqa: FBT001
    assert only(read(head() + definition(kind=kind, low_limit_price=low))).instrument.negative_px is expected


def test_a_definition_that_deletes_is_skipped() -> None:
    decoded = read(head() + definition(action="D"))
    assert (decoded.events, decoded.skipped_unknown) == ([], 1)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"action": 7, "is_trading": True}, ("trading", None)),
        ({"action": 8, "reason": 50, "is_trading": False}, ("halt", None)),
        ({"action": 9}, ("halt", None)),
        ({"action": 4, "is_trading": False}, ("auction", None)),
        ({"action": 12}, ("closed", None)),
        ({"action": 13, "is_trading": True}, ("trading", None)),
        ({"action": 14, "is_short_sell_restricted": True}, (None, True)),
        ({"action": 7, "is_trading": True, "is_short_sell_restricted": False}, ("trading", False)),
    ],
)
def test_statuses(fields: dict[str, Any], expected: tuple[str | None, bool | None]) -> None:
    event = only(read(head(schema=11) + status(**fields)))
    assert isinstance(event, TradingStatus)
    assert (event.status, event.short_restricted) == expected
    assert ("50" in event.reason) is (fields.get("reason") == 50)


def test_a_status_that_says_nothing_is_skipped() -> None:
    decoded = read(head() + status())
    assert (decoded.events, decoded.skipped_unknown) == ([], 1)


def imbalance(kind: str, paired: int | None, ts: int = T0) -> bytes:
    """Return an imbalance of FROG as databento-dbn writes it."""
    none = dict.fromkeys(_IMBALANCE_PRICES, UNDEF)
    counts = {"total_imbalance_qty": 7, "market_imbalance_qty": 8, "unpaired_qty": 9, "num_extensions": 0}
    codes = {"side": dbn.Side.BID, "auction_type": kind, "unpaired_side": dbn.Side.NONE, "significant_imbalance": "~"}
    return bytes(
        dbn.ImbalanceMsg(
            publisher_id=2, instrument_id=FROG, ts_event=ts, ts_recv=ts, auction_time=UNDEF, auction_status=0,
            freeze_status=0, paired_qty=2**32 - 1 if paired is None else paired, **none, **counts, **codes,
        )
    )  # fmt: skip


_IMBALANCE_PRICES = (
    "ref_price", "cont_book_clr_price", "auct_interest_clr_price", "ssr_filling_price", "ind_match_price",
    "upper_collar", "lower_collar",
)  # fmt: skip


@pytest.mark.parametrize(("kind", "auction"), [("O", "open"), ("M", "open"), ("C", "close")])
def test_imbalances(kind: str, auction: str) -> None:
    assert only(read(head(schema=12) + imbalance(kind, 84_000))) == Imbalance("FROG", T0, auction, 84_000.0)
    assert only(read(head(schema=10) + imbalance(kind, 0))).paired_qty == 0.0


def text_of(data: bytes, encoding: str, *, pretty_px: bool = False, pretty_ts: bool = False) -> bytes:
    out = io.BytesIO()
    transcoder = dbn.Transcoder(
        out,
        getattr(dbn.Encoding, encoding),
        dbn.Compression.NONE,
        pretty_px=pretty_px,
        pretty_ts=pretty_ts,
        map_symbols=True,
    )
    transcoder.write(data)
    transcoder.flush()
    return out.getvalue()


@pytest.mark.parametrize("pretty", [True, False])
@pytest.mark.parametrize(("encoding", "codec"), [("CSV", "databento-mbp10-csv"), ("JSON", "databento-json")])
def test_csv_and_json_of_the_library_give_the_same_imbalances(codec: str, encoding: str, *, pretty: bool) -> None:
    data = head(schema=12) + b"".join(
        imbalance(kind, paired, T0 + at * S)
        for at, (kind, paired) in enumerate([("O", 5), ("M", 0), ("C", 84_000), ("H", 7), ("C", None), ("C", 2**31)])
    )
    expected = read(data)
    text = text_of(data, encoding, pretty_px=pretty, pretty_ts=pretty)
    content = Content("day", iter([text]))
    kind = detect(content.head)
    assert kind is CODECS.get(codec)
    [batch] = kind.from_header(content.head, FileOptions()).batches(content, 100)
    assert [one.event for one in batch.decoded.events] == [one.event for one in expected.events]
    assert len(expected.events) == 4
    assert (batch.decoded.skipped_unknown, batch.decoded.refused) == (expected.skipped_unknown, [])
    # From Kafka, a line a record, beside books of the same codec.
    lines = text.splitlines()[encoding == "CSV" :]
    made = samples.book if encoding == "CSV" else samples.json_record
    lines.insert(2, made("FROG", T0, BIDS, ASKS))
    live = CODECS.get(codec)(Limits()).decode_columns(
        lines, range(len(lines)), [T0] * len(lines), [b"FROG"] * len(lines)
    )
    assert [one.event for one in live.events] == [one.event for one in expected.events]
    assert [one.offset for one in live.events] == [0, 1, 3, 6]
    assert (len(live.batch), live.refused) == (1, [])


@pytest.mark.parametrize(("kind", "paired"), [("H", 84_000), ("C", None)])
def test_an_imbalance_of_no_auction_or_without_a_quantity_is_skipped(kind: str, paired: int | None) -> None:
    decoded = read(head(schema=10) + imbalance(kind, paired))
    assert (decoded.events, decoded.skipped_unknown) == ([], 1)


def test_records_without_a_symbol_are_skipped() -> None:
    decoded = read(head(ids={"ARL": IDS["ARL"]}) + status(action=8))
    assert (decoded.events, decoded.skipped_unknown) == ([], 1)


def test_messages_carry_them_too() -> None:
    decoded = message(definition(), status(action=8), record(FROG, T0, BIDS, ASKS))
    assert [type(found.event) for found in decoded.events] == [Definition, TradingStatus]
    assert [found.offset for found in decoded.events] == [3, 3]
    assert len(decoded.batch) == 1


def test_a_message_with_a_fault_gives_none_of_its_events() -> None:
    decoded = message(status(action=8), record(FROG, T0, action="?"))
    assert [type(found) for found in decoded.refused] == [Refused]
    assert decoded.events == []


@pytest.mark.parametrize("batch_rows", [1, 3, 1_000])
@pytest.mark.parametrize("apart", [True, False])
def test_replay_stops_books_while_the_venue_has_halted(apart: bool, batch_rows: int, tmp_path: Path) -> None:  # noqa: FBT001
    """The same day with its statuses among its books, and in a file of their own."""
    books = [record(FROG, T0 + k * 10 * S, BIDS, ASKS) for k in range(60)]
    halts = [status(T0 + 125 * S, action=8), status(T0 + 305 * S, action=7, is_trading=True)]
    if apart:
        contents = [head() + b"".join(books), head(schema=11) + b"".join(halts)]
    else:
        contents = [head() + b"".join([*books[:13], halts[0], *books[13:31], halts[1], *books[31:]])]
    files = []
    for n, content in enumerate(contents):
        files.append(tmp_path / f"{n}.dbn")
        files[-1].write_bytes(content)
    summary = replay(Sources(files), CoreSettings(apply="in_event_time"), tmp_path / "out", batch_rows=batch_rows)
    assert summary.rejected == {"halted": 18}
    assert summary.alerts == {"market_status": 2}


@pytest.mark.parametrize("pretty", list(itertools.product((False, True), repeat=2)))
@pytest.mark.parametrize("encoding", ["CSV", "JSON"])
@pytest.mark.parametrize(
    ("schema", "made"),
    [
        (9, [definition(), definition(kind="S"), definition(action="D"), definition(low_limit_price=-5 * S)]),
        (
            11,
            [
                status(action=8, reason=30),
                status(action=7, is_trading=True),
                status(is_short_sell_restricted=True),
                status(),
            ],
        ),
    ],
)
def test_text_gives_the_events_of_dbn(schema: int, made: list[bytes], encoding: str, pretty: tuple[bool, bool]) -> None:
    data = head(schema=schema) + b"".join(made)
    text = text_of(data, encoding, pretty_px=pretty[0], pretty_ts=pretty[1])
    content = Content(f"day.{encoding.lower()}", iter([text]))
    codec = detect(content.head)
    assert codec is not None
    (batch,) = codec.from_header(content.head, FileOptions()).batches(content, 100)
    expected = [received.event for received in read(data).events]
    assert expected
    assert [received.event for received in batch.decoded.events] == expected
    assert (len(batch.decoded.batch), batch.decoded.refused) == (0, [])
    assert batch.decoded.skipped_unknown == len(made) - len(expected)


@pytest.mark.parametrize("encoding", ["CSV", "JSON"])
@pytest.mark.parametrize(
    ("schema", "made"), [(11, status(action=8)), (12, imbalance("C", 5))], ids=["status", "imbalance"]
)
def test_events_in_text_take_the_name_that_is_given_for_their_instrument(
    schema: int, made: bytes, encoding: str
) -> None:
    content = Content("day", iter([text_of(head(schema=schema) + made, encoding)]))
    codec = detect(content.head)
    assert codec is not None
    options = FileOptions(FileSymbols(by_key={str(FROG): "MINE"}))
    (batch,) = codec.from_header(content.head, options).batches(content, 100)
    assert batch.decoded.refused == []
    assert [received.event.symbol for received in batch.decoded.events] == ["MINE"]
