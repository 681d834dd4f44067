"""Columns of venues: named by the settings, kept apart, and refused where they name none."""

from __future__ import annotations

from pathlib import Path

import pytest

from impactd.core.base.venue import VenueRule, at_venue
from impactd.shell.lines import InputFileError
from impactd.shell.recorded import read_ticks
from impactd.wire.codec import Limits

RULES = (VenueRule("XNAS", publishers=("2",)), VenueRule("BATS", publishers=("43",)))
BOTH = {at_venue("AAA", "XNAS"), at_venue("AAA", "BATS")}


T0 = 1_743_687_000_000_000_000
HEAD = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,price,size,flags,"
    "bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,symbol"
)


def databento(publishers: tuple[int, ...]) -> str:
    ends = "7,A,B,100.0,1,128,100.0,100.1,5,6,AAA"
    return "\n".join([HEAD, *(f"{T0 + k},{T0 + k},1,{publisher},{ends}" for k, publisher in enumerate(publishers))])


def wide(venues: tuple[str, ...]) -> str:
    rows = [f"{T0 + k},AAA,{venue},100.0,5,100.1,6" for k, venue in enumerate(venues)]
    return "\n".join(["time,symbol,exchange,bid_price_1,bid_size_1,ask_price_1,ask_size_1", *rows])


def json_of(publishers: tuple[int, ...]) -> str:
    level = '{"bid_px":"100.0","ask_px":"100.1","bid_sz":5,"ask_sz":6}'
    return "\n".join(
        f'{{"hd":{{"ts_event":"{T0 + k}","rtype":1,"publisher_id":{publisher},"instrument_id":7}},'
        f'"ts_recv":"{T0 + k}","action":"A","side":"B","price":"100.0","size":1,"flags":128,'
        f'"levels":[{level}],"symbol":"AAA"}}'
        for k, publisher in enumerate(publishers)
    )


FILES = {
    "databento.csv": (databento((2, 43, 2, 43)), databento((2, 99))),
    "wide.csv": (wide(("XNAS", "43", "XNAS", "BATS")), wide(("XNAS", "NYSE"))),
    "databento.json": (json_of((2, 43, 2, 43)), json_of((2, 99))),
}


@pytest.mark.parametrize("name", FILES)
def test_rows_of_several_venues_are_read_by_the_settings_and_refused_without(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(FILES[name][0] + "\n")
    found = [decoded.batch for decoded in read_ticks(path, limits=Limits(venues=RULES))]
    assert {symbol for batch in found for symbol in batch.symbols} == BOTH
    assert sum(map(len, found)) == 4
    with pytest.raises(InputFileError, match=r"publisher_id|exchange"):
        list(read_ticks(path, limits=Limits()))


@pytest.mark.parametrize("name", FILES)
def test_a_venue_that_the_settings_do_not_name_refuses_its_row(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(FILES[name][1] + "\n")
    decoded = list(read_ticks(path, limits=Limits(venues=RULES)))
    assert [letter.reason for one in decoded for letter in one.refused] == ["value"]
    assert sum(len(one.batch) for one in decoded) == 1
