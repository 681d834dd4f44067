"""What the tags of FIX messages mean: orders and executions as our records.

An order's terms are read each from one place: a standard tag where FIX has one, else the strategy parameter (957-960)
of the term's name.  `PLACES` is derived from `impactd.core.inputs.terms.Terms`: a new term is a strategy parameter at
once, and is in the ticket (`impactd.shell.fix.atdl`) and in the reference with it.

A tag that is not known is refused by name, since an instruction that is ignored loses money.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from impactd.core.inputs.terms import TERMS, Terms
from impactd.core.outputs.units import Unit
from impactd.wire.message_types import field_type, message_fields

SOH: Final = "\x01"

Pair = tuple[int, str]
Record = dict[str, Any]


class TagError(ValueError):
    """A message cannot be used; the text names the tag and the remedy.

    Attributes
    ----------
    tag : int
        Where the fault is.
    """

    def __init__(self, tag: int, detail: str) -> None:
        super().__init__(detail)
        self.tag = tag


class Place(NamedTuple):
    """Where a term is in an order."""

    term: str
    #: Standard tag; None for a strategy parameter.
    tag: int | None
    unit: Unit
    meaning: str


#: Standard tags of terms. 849 is `target_participation_rate` under TargetStrategy 2.
STANDARD: Final = {
    "order_qty": 38,
    "start": 168,
    "end": 126,
    "limit_px": 44,
    "min_clip_qty": 110,
    "max_interval_qty": 111,
    "urgency": 848,
    "participation_rate": 849,
}

#: TargetStrategy (847): the term that ParticipationRate (849) is.
LEAST_COST: Final = "3"
PARTICIPATE: Final = "2"
STRATEGIES: Final = {LEAST_COST: "participation_rate", PARTICIPATE: "target_participation_rate"}

_HINTS: Final = message_fields(Terms)

#: Terms that an order always has: a replace that does not state one leaves it.
_NEEDED: Final = {item.name for item in dataclasses.fields(Terms) if item.default is dataclasses.MISSING}

_NUMBERS: Final = {Unit.QUANTA, Unit.PRICE, Unit.SHARE, Unit.BPS, Unit.SECONDS, Unit.PER_CURRENCY}


def places(strategy: str = LEAST_COST) -> tuple[Place, ...]:
    """Return where each term is under a target strategy, in the order of `Terms`."""
    tags = {name: tag for name, tag in STANDARD.items() if tag != 849} | {STRATEGIES[strategy]: 849}
    kinds = {name: field_type(_HINTS[name]) for name in TERMS}
    return tuple(
        Place(name, tags.get(name), kind.unit, kind.meaning) for name, kind in kinds.items() if kind.unit is not None
    )


#: Tags of the session layer, which no record needs.
SESSION_TAGS: Final = frozenset(
    {8, 9, 10, 34, 35, 43, 49, 50, 52, 56, 57, 97, 115, 116, 122, 128, 129, 142, 143, 144, 145, 369, 1128}
)

#: Tags of an order besides those of its terms: name, and what is accepted.
ORDER_TAGS: Final = {
    1: ("Account", "echoed in reports; no instruction"),
    11: ("ClOrdID", "id of the request; the first of a chain names the order for life"),
    21: ("HandlInst", "1 or 2: automated; 3 (manual) is refused"),
    40: ("OrdType", "1 (market) or 2 (limit, with 44)"),
    41: ("OrigClOrdID", "replace and cancel: the id before"),
    54: ("Side", "1 (buy) or 2 (sell)"),
    55: ("Symbol", "as in the ticks topic"),
    59: ("TimeInForce", "0 (day) or 6 (until 126); 126 is the end in either case"),
    60: ("TransactTime", "time of the request; the start of the window too, unless 168 states it"),
    847: ("TargetStrategy", "3 (least cost, the default) or 2 (participate: 849 is the target)"),
    957: ("NoStrategyParameters", "count of the parameters that follow"),
    958: ("StrategyParameterName", "name of a term"),
    959: ("StrategyParameterType", "not read: the term's own type holds"),
    960: ("StrategyParameterValue", "its value"),
}

#: Tags of a cancel and a status request.
_NAMING: Final = frozenset({1, 11, 37, 38, 41, 54, 55, 60, 790})

_SIDES: Final = {"1": "buy", "2": "sell"}
_LIQUIDITY: Final = {"1": "maker", "2": "taker", "4": "auction"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


#: Fields of data, which may hold any byte: that of the length before each.
_DATA: Final = {
    95: 96, 90: 91, 93: 89, 212: 213, 348: 349, 350: 351, 352: 353, 354: 355, 356: 357, 358: 359, 360: 361, 362: 363,
    364: 365, 445: 446, 618: 619, 621: 622, 1184: 1185, 1277: 1278, 1280: 1281, 1282: 1283,
}  # fmt: skip

#: Longest value that is read of a field.
MAX_TEXT: Final = 1024

#: Tags of an execution report that are read, besides that of the parent order.
_EXECUTION_TAGS: Final = frozenset({17, 19, 31, 32, 55, 60, 150, 851})


def pairs_of(raw: str) -> list[Pair]:
    """Return the fields of a message in their order; tag 0 for what is no field."""
    found: list[Pair] = []
    at = length = 0
    while at < len(raw):
        end = raw.find(SOH, at)
        end = len(raw) if end < 0 else end
        tag, equals, value = raw[at:end].partition("=")
        number = int(tag) if equals and tag.isascii() and tag.isdigit() else 0
        begin = at + len(tag) + 1
        if found and length and _DATA.get(found[-1][0]) == number and raw[begin + length : begin + length + 1] == SOH:
            end = begin + length
            value = raw[begin:end]
        found.append((number, value if number else raw[at:end]))
        length = int(value) if number in _DATA and value.isascii() and value.isdigit() and len(value) < 10 else 0
        at = end + 1
    return found


def check_text(pairs: Iterable[Pair]) -> None:
    """Refuse the first field whose value cannot be read as text.

    Raises
    ------
    TagError
        That names it.
    """
    for tag, value in pairs:
        if tag == 0:
            raise TagError(0, f"{plain_text(value)!r} is no field; send TAG=VALUE")
        if plain_text(value) != value:
            raise TagError(tag, f"{tag}: is not printable ASCII of at most {MAX_TEXT} characters; send it so")


def plain_text(text: str) -> str:
    """Return a text in printable ASCII of a length that may be read."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:MAX_TEXT])


def values_of(pairs: Sequence[Pair]) -> dict[int, str]:
    """Return the fields of a message by tag; of one that is there several times, the first."""
    return dict(reversed(pairs))


def parse_utc(text: str, tag: int) -> int:
    """Return a UTCTimestamp as ns since the epoch."""
    whole, _, fraction = text.partition(".")
    try:
        at = datetime.strptime(whole, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        at = _EPOCH
    if at <= _EPOCH or not re.fullmatch(r"[0-9]{0,9}", fraction):
        raise TagError(tag, f"{tag}: {text!r} is not a UTCTimestamp; send 20250403-13:30:00.000")
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)


def utc(ns: int) -> str:
    """Return ns since the epoch as a UTCTimestamp with milliseconds."""
    at = datetime.fromtimestamp(ns // 1_000_000_000, UTC)
    return f"{at:%Y%m%d-%H:%M:%S}.{ns % 1_000_000_000 // 1_000_000:03d}"


def _windows(text: str, tag: int) -> list[list[int]]:
    windows = []
    for window in text.split(","):
        start, slash, end = window.strip().partition("/")
        if not slash:
            raise TagError(tag, f"{tag}: {window!r} is not a window; send START/END, several with commas")
        windows.append([parse_utc(start, tag), parse_utc(end, tag)])
    return windows


def _flag(text: str, tag: int) -> bool:
    if text not in {"Y", "N"}:
        raise TagError(tag, f"{tag}: {text!r} is not a Boolean; send Y or N")
    return text == "Y"


def _value(place: Place, text: str) -> Any:
    """Return a term's value as our records have it; the codec of records checks it."""
    tag = 960 if place.tag is None else place.tag
    if place.unit is Unit.TIME:
        return parse_utc(text, tag)
    if place.unit is Unit.WINDOWS:
        return _windows(text, tag)
    if place.unit is Unit.VENUES:
        return [name.strip() for name in text.split(",")]
    if place.unit is Unit.FLAG:
        return _flag(text, tag)
    if place.unit in _NUMBERS:
        return _number(text, tag)
    return text


def _number(text: str, tag: int) -> str:
    """Return a FIX float, such as 00.50 or .5, as a decimal string of JSON's grammar."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or len(text) > 40 or not text.strip("+-0123456789.") == "":
        raise TagError(tag, f"{tag}: {text!r} is not a number; send digits with a point")
    return format(number.normalize(), "f")


def _need(values: Mapping[int, str], tag: int, name: str) -> str:
    value = values.get(tag)
    if not value:
        raise TagError(tag, f"{name} ({tag}) is missing")
    return value


class Fields:
    """The fields of one message, each of which is read once; what is left over is not known.

    Raises
    ------
    TagError
        If a tag is there twice outside of the strategy parameters.
    """

    def __init__(self, pairs: Iterable[Pair], informational: Iterable[int] = ()) -> None:
        self.parameters: list[Pair] = []
        self.values: dict[int, str] = {}
        skipped = SESSION_TAGS.union(informational)
        for tag, value in pairs:
            if 958 <= tag <= 960:
                self.parameters.append((tag, value))
            elif tag in self.values and tag not in skipped:
                raise TagError(tag, f"{tag}: is there twice; send it once")
            elif tag not in skipped:
                self.values[tag] = value

    def get(self, tag: int) -> str | None:
        """Return a field, or None."""
        return self.values.get(tag)

    def need(self, tag: int, name: str) -> str:
        """Return a field that must be there."""
        return _need(self.values, tag, name)

    def only(self, known: Iterable[int]) -> None:
        """Refuse every tag but those that are known."""
        unknown = sorted(self.values.keys() - set(known))
        if unknown:
            raise TagError(
                unknown[0],
                f"{unknown[0]}: this tag is not supported, and an instruction is not ignored; leave it out, or name it "
                "in fix.informational_tags if it changes nothing",
            )


def _parameters(fields: Fields) -> dict[str, str]:
    """Return the strategy parameters by name."""
    count = fields.get(957)
    found: dict[str, str] = {}
    name: str | None = None
    names = 0
    for tag, value in fields.parameters:
        if tag == 958:
            names += 1
            name = value
        elif name is None:
            raise TagError(tag, f"{tag}: comes before StrategyParameterName (958)")
        elif tag == 960:
            if name in found:
                raise TagError(960, f"{name}: appears twice among the strategy parameters; send it once")
            found[name] = value
    if names != len(found):
        raise TagError(960, "StrategyParameterValue (960) is missing; send one for each 958")
    if str(names) != (count or "0"):
        raise TagError(957, f"957: {count} parameters, but {names} follow; send their number")
    return found


def read_terms(fields: Fields) -> Record:
    """Return the terms that an order states, by name."""
    strategy = fields.get(847) or LEAST_COST
    if strategy not in STRATEGIES:
        raise TagError(847, f"847: TargetStrategy {strategy} is not supported; send 3 (least cost) or 2 (participate)")
    if strategy == PARTICIPATE and fields.get(849) is None:
        raise TagError(849, "TargetStrategy 2 needs ParticipationRate (849), a share such as 0.1")
    kind = fields.need(40, "OrdType")
    if kind not in {"1", "2"}:
        raise TagError(40, f"40: OrdType {kind} is not supported; send 1 (market) or 2 (limit)")
    if (kind == "2") is not (fields.get(44) is not None):
        raise TagError(44, "Price (44) and OrdType 2 need each other; send both, or OrdType 1 without a price")
    if fields.get(21) not in {None, "1", "2"}:
        raise TagError(21, f"21: HandlInst {fields.get(21)} is not supported; send 1")
    if fields.get(59) not in {None, "0", "6"}:
        raise TagError(59, f"59: TimeInForce {fields.get(59)} is not supported; send 6, with ExpireTime (126)")
    named = _parameters(fields)
    terms: Record = {}
    for place in places(strategy):
        if place.tag is not None and place.term in named:
            raise TagError(958, f"{place.term}: is no strategy parameter; send it as tag {place.tag}")
        text = named.pop(place.term, None) if place.tag is None else fields.get(place.tag)
        if text is not None:
            terms[place.term] = _value(place, text)
    if named:
        name = next(iter(named))
        raise TagError(958, f"{name}: not a strategy parameter; leave it out, or send one of {', '.join(TERMS)}")
    fields.only({*ORDER_TAGS, *STANDARD.values()})
    return terms


def read_side(fields: Fields) -> str:
    """Return ``buy`` or ``sell``."""
    side = fields.need(54, "Side")
    if side not in _SIDES:
        raise TagError(54, f"54: Side {side} is not supported; send 1 (buy) or 2 (sell)")
    return _SIDES[side]


def read_new(fields: Fields, now: int) -> Record:
    """Return a NewOrderSingle (D) as our record."""
    at = fields.get(60)
    ts_event = now if at is None else parse_utc(at, 60)
    head = {"type": "new", "cl_ord_id": fields.need(11, "ClOrdID"), "symbol": fields.need(55, "Symbol")}
    terms = read_terms(fields)
    if fields.get(41) is not None:
        raise TagError(41, "41: a new order has no OrigClOrdID; leave it out, or send a replace (G)")
    return head | {"side": read_side(fields), "ts_event": ts_event, "start": ts_event} | terms


def read_changes(terms: Record, stated: Mapping[str, Any]) -> Record:
    """Return what an OrderCancelReplaceRequest (G) changes: it states the whole order, as FIX has it.

    Parameters
    ----------
    terms : dict
        The terms that the request states.
    stated : mapping
        The terms that the order had by the request before it.
    """
    changes = {name: value for name, value in terms.items() if stated.get(name) != value}
    cleared = {name: None for name in stated if name in TERMS and name not in terms and name not in _NEEDED}
    return changes | cleared


def read_named(fields: Fields) -> None:
    """Refuse a cancel or status request with a tag that is not known."""
    fields.only(_NAMING)


def read_execution(pairs: Sequence[Pair], parent_tag: int, now: int) -> Record | None:
    """Return an ExecutionReport (8) as a record of executions; None if it reports no trade.

    Raises
    ------
    TagError
        If it reports a trade that cannot be read.
    """
    values = values_of(pairs)
    kind = values.get(150, "")
    if kind not in {"F", "G", "H"}:
        return None
    read = _EXECUTION_TAGS | {parent_tag}
    check_text(pair for pair in pairs if pair[0] in read)

    at = values.get(60)
    record: Record = {
        "type": {"F": "fill", "G": "correct", "H": "bust"}[kind],
        "exec_id": _need(values, 17, "ExecID"),
        "cl_ord_id": _need(values, parent_tag, "the id of the parent order"),
        "symbol": _need(values, 55, "Symbol"),
        "ts_event": now if at is None else parse_utc(at, 60),
    }
    if kind != "F":
        record["exec_ref_id"] = _need(values, 19, "ExecRefID")
    if kind != "H":
        record["last_qty"] = _number(_need(values, 32, "LastQty"), 32)
        record["last_px"] = _number(_need(values, 31, "LastPx"), 31)
    if kind == "F" and values.get(851) in _LIQUIDITY:
        record["last_liquidity_ind"] = _LIQUIDITY[values[851]]
    return record
