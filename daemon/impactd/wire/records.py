"""What the core says, as records: bytes, key and headers.

JSON by orjson, fields in the order of the published messages with ``type``
first.  None is null, and so is a number that is not finite; -0.0 is 0;
quantities are integers when whole.  Times are integers beyond 2^53, or
strings where the setting asks for them.  No value holds a position, a
partition or a duration: those travel as headers, or in metrics.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from impactd.core.base.quantity import format_qty
from impactd.core.base.topics import Topic
from impactd.core.outputs.messages import (
    Alert,
    DayCost,
    DeadLetter,
    Estimate,
    FillCost,
    Model,
    OrderCost,
    Output,
    Plan,
)

Timestamps = Literal["int", "string"]
Header = tuple[str, bytes]

#: Version of each message's schema; it rises when a field changes its meaning, not when one is added.
SCHEMA_VERSION: Final = 1

#: A dead letter's key longer than this is cut: no symbol is, and key and value have to fit one record.
MAX_DEAD_LETTER_KEY: Final = 1_024

#: A dead letter longer than this is cut; with its headers it then fits a topic's usual limit of a megabyte.
MAX_DEAD_LETTER_BYTES: Final = 900_000

#: Names of types where they are not the class's in small letters.
_KINDS: Final[dict[type, str]] = {FillCost: "fill_cost", OrderCost: "order_cost", DayCost: "day_cost"}

#: Fields of costs that are times, and those that are quanta.
_COST_TIMES: Final = frozenset({"as_of", "ts_event", "day"})
_COST_QUANTA: Final = frozenset({"qty", "order_qty", "cum_qty"})

Message = Estimate | Model | Plan | FillCost | OrderCost | DayCost | Alert


@dataclass(frozen=True, slots=True)
class Record:
    """A record to publish; `topic` is a role, whose name on a broker is a setting."""

    topic: Topic
    key: bytes | None
    value: bytes
    headers: tuple[Header, ...]


def encode_output(output: Output, timestamps: Timestamps = "int", source_partition: int | None = None) -> Record:
    """Return the record of one output.

    Parameters
    ----------
    timestamps : {"int", "string"}
    source_partition : int, optional
        Partition number of the inputs, for a dead letter's headers.
    """
    message = output.message
    if isinstance(message, DeadLetter):
        return dead_letter_record(message, source_partition)
    key = output.key.encode() if output.key is not None else None
    return Record(output.topic, key, encode_message(message, timestamps), (schema_header(message),))


def schema_header(message: Message) -> Header:
    """Return the header that names the message's schema."""
    return "schema", f"impactd.{_kind(message)}/{SCHEMA_VERSION}".encode()


def encode_message(message: Message, timestamps: Timestamps = "int") -> bytes:
    """Return the message as JSON."""
    return orjson.dumps(message_dict(message, timestamps))


def message_dict(message: Message, timestamps: Timestamps = "int") -> dict[str, Any]:
    """Return the message as the JSON object that is published, fields in their order."""
    time = _time_as_int if timestamps == "int" else _time_as_string
    if isinstance(message, Estimate):
        return _estimate(message, time)
    if isinstance(message, Model):
        return _model(message, time)
    if isinstance(message, Plan):
        return _plan(message, time)
    if isinstance(message, FillCost | OrderCost | DayCost):
        return _cost(message, time)
    return {
        "type": "alert",
        "kind": message.kind,
        "symbol": message.symbol,
        "cl_ord_id": message.cl_ord_id,
        "as_of": time(message.as_of),
        "text": message.text,
    }


def _kind(message: Message) -> str:
    return _KINDS.get(type(message)) or type(message).__name__.lower()


def _time_as_int(ts: int | None) -> int | str | None:
    return ts


def _time_as_string(ts: int | None) -> int | str | None:
    return None if ts is None else str(ts)


def _number(value: float | None) -> float | None:
    """Return a number that JSON can hold, without a negative zero."""
    if value is None or value - value != 0.0:
        return None
    return value + 0


def _numbers(values: Iterable[float | None]) -> list[float | None]:
    return [_number(value) for value in values]


def _qty(value: float | None) -> float | int | None:
    """Return a measured quantity: an integer when whole."""
    number = _number(value)
    return int(number) if number is not None and abs(number) < 2**63 and number == int(number) else number


def _quanta(value: int | None) -> float | int | None:
    return None if value is None else format_qty(value)


def _estimate(m: Estimate, time: Any) -> dict[str, Any]:
    return {
        "type": "estimate",
        "symbol": m.symbol,
        "side": str(m.side),
        "minute": time(m.minute),
        "interval_s": m.interval_s,
        "n_books": m.n_books,
        "n_rejected": m.n_rejected,
        "n_late": m.n_late,
        "covered_s": _number(m.covered_s),
        "mid": _number(m.mid),
        "half_spread": _number(m.half_spread),
        "volume_continuous": _qty(m.volume_continuous),
        "volume_auction": _qty(m.volume_auction),
        "sizes": [_qty(size) for size in m.sizes],
        "slippage": _numbers(m.slippage),
        "coverage": _numbers(m.coverage),
        "lower_bound": _numbers(m.lower_bound),
    }


def _model(m: Model, time: Any) -> dict[str, Any]:
    return {
        "type": "model",
        "symbol": m.symbol,
        "side": str(m.side),
        "as_of": time(m.as_of),
        "kind": m.kind,
        "unit": m.unit,
        "intercept": m.intercept,
        "half_spread": _number(m.half_spread),
        "beta": _number(m.beta),
        "alpha": _number(m.alpha),
        "eta": _number(m.eta),
        "delta": _number(m.delta),
        "se": {name: _number(value) for name, value in m.se.items()},
        "n_eff": _number(m.n_eff),
        "r2": _number(m.r2),
        "prior": m.prior,
        "regime": m.regime,
        "fitted_range": None if m.fitted_range is None else [_qty(size) for size in m.fitted_range],
        "bands": [
            {
                "intervals": band.intervals,
                "n_eff": _number(band.n_eff),
                "level": _numbers(band.level),
                "log_middle": _number(band.log_middle),
                "log_width": _numbers(band.log_width),
                "coverage": _numbers(band.coverage),
            }
            for band in m.bands
        ],
        "bias": _number(m.bias),
        "forecast": None
        if m.forecast is None
        else {
            "intervals": m.forecast.intervals,
            "half_spread": _numbers(m.forecast.half_spread),
            "beta": None if m.forecast.beta is None else _numbers(m.forecast.beta),
            "alpha": None if m.forecast.alpha is None else _numbers(m.forecast.alpha),
            "eta": None if m.forecast.eta is None else _numbers(m.forecast.eta),
        },
        "followed": _number(m.followed),
        "capture": _number(m.capture),
    }


def _plan(m: Plan, time: Any) -> dict[str, Any]:
    return {
        "type": "plan",
        "cl_ord_id": m.cl_ord_id,
        "symbol": m.symbol,
        "side": str(m.side),
        "plan_version": m.plan_version,
        "as_of": time(m.as_of),
        "reason": m.reason,
        "status": m.status,
        "text": m.text,
        "group_id": m.group_id,
        "order_qty": _quanta(m.order_qty),
        "cum_qty": _quanta(m.cum_qty),
        "leaves_qty": _quanta(m.leaves_qty),
        "shortfall_qty": _quanta(m.shortfall_qty),
        "interval_s": m.interval_s,
        "child_slices": m.child_slices,
        "extrapolated_qty": _quanta(m.extrapolated_qty),
        "start": [time(start) for start in m.start],
        "qty": [_quanta(qty) for qty in m.qty],
        "cap": [_quanta(cap) for cap in m.cap],
        "expected_cost": _number(m.expected_cost),
        "expected_cost_bps": _number(m.expected_cost_bps),
        "twap_cost": _number(m.twap_cost),
        "saving_bps": _number(m.saving_bps),
        "cost_band": None if m.cost_band is None else _numbers(m.cost_band),
        "model": None
        if m.model is None
        else {
            "kind": m.model.kind,
            "unit": m.model.unit,
            "as_of": time(m.model.as_of),
            "prior": m.model.prior,
            "transient_share": _number(m.model.transient_share),
            "resilience_half_life_s": _number(m.model.resilience_half_life_s),
        },
        "certificate": None
        if m.certificate is None
        else {
            "solver": m.certificate.solver,
            "multiplier": _number(m.certificate.multiplier),
            "kkt_residual": _number(m.certificate.kkt_residual),
            "gap": _number(m.certificate.gap),
        },
        "cost_band_95": None if m.cost_band_95 is None else _numbers(m.cost_band_95),
        "lifted_qty": _quanta(m.lifted_qty),
    }


def _cost(m: FillCost | OrderCost | DayCost, time: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": _kind(m)}
    for item in dataclasses.fields(m):
        value = getattr(m, item.name)
        if item.name in _COST_TIMES:
            value = time(value)
        elif item.name in _COST_QUANTA:
            value = _quanta(value)
        elif isinstance(value, float):
            value = _number(value)
        fields[item.name] = value
    return fields


def dead_letter_record(
    letter: DeadLetter, source_partition: int | None = None, max_bytes: int = MAX_DEAD_LETTER_BYTES
) -> Record:
    """Return the record of a dead letter: the original bytes, with the reason as headers.

    Over `max_bytes` the value is cut, and the headers `original_bytes` and `sha256` (of the
    whole value) say what it was. Over `MAX_DEAD_LETTER_KEY` the key is cut, and the header
    `original_key_bytes` stands beside those two: neither is then the record that it was.
    """
    headers: list[Header] = [
        ("schema", f"impactd.dlq/{SCHEMA_VERSION}".encode()),
        ("reason", _text(letter.reason)),
        ("detail", _text(letter.detail)),
        ("source_topic", str(letter.topic).encode()),
    ]
    if source_partition is not None:
        headers.append(("source_partition", str(source_partition).encode()))
    headers += [("source_offset", str(letter.offset).encode()), ("codec", _text(letter.codec))]
    key = None if letter.key is None else letter.key[:MAX_DEAD_LETTER_KEY]
    if key != letter.key:
        headers.append(("original_key_bytes", str(len(letter.key or b"")).encode()))
    if len(letter.raw) > max_bytes or key != letter.key:
        headers.append(("original_bytes", str(len(letter.raw)).encode()))
        headers.append(("sha256", hashlib.sha256(letter.raw).hexdigest().encode()))
    return Record(Topic.DLQ, key, letter.raw[:max_bytes], tuple(headers))


def _text(text: str) -> bytes:
    """Return a header's text; what came from outside may hold what UTF-8 cannot."""
    return text.encode(errors="backslashreplace")


def encode_line(output: Output, timestamps: Timestamps = "int") -> bytes:
    """Return the output as a line of a JSON lines file, without its line end.

    A message is the published value.  A dead letter is an object: its headers, then key and
    value in Base64.
    """
    message = output.message
    if not isinstance(message, DeadLetter):
        return encode_message(message, timestamps)
    record = dead_letter_record(message)
    line: dict[str, Any] = {"type": "dlq"}
    line |= {name: value.decode() for name, value in record.headers if name != "schema"}
    line["source_offset"] = message.offset
    line["key"] = None if record.key is None else base64.b64encode(record.key).decode()
    line["value"] = base64.b64encode(record.value).decode()
    return orjson.dumps(line)
