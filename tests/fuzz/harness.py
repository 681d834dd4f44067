"""Mutated messages through decoder, inbox, engine and encoder: every one is answered, and what is good stays the same.

A round is a short day with mutants between its good messages. It checks, for each kind of message:

- each record is answered once: rows or an event, a refusal with a reason, or the count of unknown types;
- each refusal becomes one dead letter with the original bytes; each accepted event is counted by what became of it;
- both readers of a codec (compiled and reference) say the same of it, bit for bit;
- every commit can be encoded within the limits of records and state keys;
- what is published of the good symbols is, byte for byte, what the day gives without mutants;
- the state can be saved, loaded into a new engine, and saved as the same bytes.

A mutant that by chance names a good symbol or order would rightly change what is published of it, so it is decoded and
left out. The clock skew allowed is zero and mutants are stamped with the time that the good ticks have reached, so that
none that is accepted moves the partition's clock on: that a clock closes minutes is what it is for.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
import orjson

from impactd.config import Settings
from impactd.core.base.settings import BookSettings, CoreSettings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.core.engine import Engine
from impactd.core.inputs.events import Control, Received
from impactd.core.inputs.inbox import Inbox
from impactd.core.outputs.counts import Counts, EventOutcome
from impactd.core.outputs.messages import Alert, DeadLetter, Estimate, Model, Output, Plan
from impactd.shell.kafka.decode import Decoder
from impactd.shell.kafka.encoder import Encoder
from impactd.wire.codec import REASONS, Decoded, Limits
from impactd.wire.records import encode_output
from impactd.wire.registry import DEFAULT_CODEC
from impactd.wire.rows import by_first_appearance
from tests.checks.codec_samples import samples_of
from tests.core.builders import add_counts
from tests.fuzz import corpus
from tests.fuzz.corpus import GOOD_ORDERS, GOOD_SYMBOLS, KINDS, STEPS, TICK_KINDS, Fake, topic_of
from tests.fuzz.mutate import CSV_MUTATIONS, JSON_MUTATIONS, Mutator
from tests.fuzz.values import Values
from tests.wire.helpers import assert_same_batch

#: Mutants of one round; each has an engine of its own.
ROUND: Final = 2_000

#: Small enough that mutants reach it.
LIMITS: Final = Limits(max_message_bytes=200_000, max_levels=100)
SETTINGS: Final = CoreSettings(books=BookSettings(max_clock_skew_ns=0), apply="in_event_time")
KAFKA: Final = Settings(wire={"max_message_bytes": 1_000_000})

_GOOD_NAMES: Final = frozenset({"*", *GOOD_SYMBOLS, *GOOD_ORDERS})
_OUTCOMES: Final = (EventOutcome.APPLIED, EventOutcome.DUPLICATE, EventOutcome.REJECTED, EventOutcome.IGNORED)
#: Reasons that the core gives beside the wire's.
_CORE_REASONS: Final = frozenset(
    {
        "conflict",
        "future",
        "held_full",
        "id_mismatch",
        "market",
        "misplaced",
        "orphan",
        "symbol_mismatch",
        "too_large",
        "value",
    }
)


@dataclass(slots=True)
class Report:
    """What became of the mutants."""

    kind: str
    mutants: int = 0
    #: Records by what became of them: accepted, refused (by reason), unknown type, or empty array.
    fates: Counter[str] = field(default_factory=Counter)
    #: Accepted events by outcome.
    outcomes: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    aimed: int = 0
    slowest_s: float = 0.0
    seconds: float = 0.0

    def line(self) -> str:
        """Return the report as one line."""
        refused = sum(n for fate, n in self.fates.items() if fate in REASONS)
        return (
            f"{self.kind:<20} {self.mutants:>8,} mutants: {self.fates['accepted']:,} accepted, {refused:,} refused for "
            f"{sum(fate in REASONS for fate in self.fates)} reasons, {self.fates['unknown']:,} unknown, "
            f"{self.fates['empty']:,} empty; rows {self.rows:,}; events {dict(sorted(self.outcomes.items()))}; "
            f"slowest step {self.slowest_s:.2f} s; {self.seconds:.0f} s"
        )


class Day:
    """One partition that lives through a day."""

    def __init__(self, kind: str, report: Report) -> None:
        self._kind = kind
        self._topic = topic_of(kind)
        #: The codec of all ticks: mutants and good messages share its caches.
        self.codec = kind if kind in TICK_KINDS else DEFAULT_CODEC
        self._report = report
        self._decoder = Decoder(Settings(wire={"codec": self.codec}), LIMITS, 0, 1)
        # As for a file: not every codec's records name a symbol over Kafka.
        self._decoder._books._ahead._codecs[self.codec] = samples_of(self.codec).codec(self.codec, LIMITS)
        self._encoder = Encoder(KAFKA, 0, dict.fromkeys(Topic, 1))
        self.engine = Engine(SETTINGS)
        self.engine.genesis({})
        self._inbox = Inbox(SETTINGS, {}, {})
        self.outputs: list[Output] = []
        self._next: dict[Topic, int] = dict.fromkeys(INPUT_TOPICS, 0)
        self._refused: set[tuple[Topic, int]] = set()
        self._sent: dict[tuple[Topic, int], bytes] = {}
        self._events = 0
        self._counts = Counts()

    def step(self, step: int, mutants: Sequence[bytes], rng: random.Random) -> None:
        """Send a step's good messages with mutants at random places between them."""
        started = time.monotonic()
        good: dict[Topic, list[bytes]] = {topic: [] for topic in INPUT_TOPICS}
        good[Topic.TICKS] = list(corpus.ticks(self.codec, step))
        for topic, value in corpus.events(step):
            good[topic].append(value)
        for topic in INPUT_TOPICS:
            self._send(topic, step, good[topic], mutants if topic is self._topic else (), rng)
        while (inputs := self._inbox.take()) is not None:
            self._publish(self.engine.apply(inputs))
        self._report.slowest_s = max(self._report.slowest_s, time.monotonic() - started)

    def _send(
        self, topic: Topic, step: int, good: Sequence[bytes], mutants: Sequence[bytes], rng: random.Random
    ) -> None:
        values = [(value, False) for value in good]
        for mutant in mutants:
            values.insert(rng.randrange(len(values) + 1), (mutant, True))
        first = self._next[topic]
        self._next[topic] += len(values)
        records = [
            Fake(first + i, (corpus.reached(step) if is_mutant else corpus.at(step)) // 1_000_000, value)
            for i, (value, is_mutant) in enumerate(values)
        ]
        strange = {first + i for i, (_, is_mutant) in enumerate(values) if is_mutant}
        self._sent |= {(topic, record.offset): record.value or b"" for record in records}
        if topic is Topic.TICKS:
            decoded = self._decoder.ticks(records)
            self._same_by_reference(records, decoded)
            offsets = set(decoded.batch.offset.tolist())
            self._tell_fates(records, strange, offsets, decoded.refused)
            batch = decoded.batch
            codes = [code for code, symbol in enumerate(batch.symbols) if symbol in GOOD_SYMBOLS]
            aimed = np.isin(batch.symbol, codes) & np.isin(batch.offset, list(strange))
            self._report.aimed += int(np.count_nonzero(aimed))
            self._report.rows += int(np.count_nonzero(np.isin(batch.offset, list(strange))))
            if aimed.any():
                batch = by_first_appearance(batch.take(~aimed))
            self._inbox.put_ticks(batch, decoded.refused, self._next[topic])
        else:
            found = self._decoder.events(topic, records)
            self._tell_fates(records, strange, {item.offset for item in found.events}, found.refused)
            kept = [item for item in found.events if not (item.offset in strange and _aims_at_good(item))]
            self._report.aimed += len(found.events) - len(kept)
            self._inbox.put_events(topic, kept, found.refused, self._next[topic])
            self._events += len(kept)
        self._refused |= {(topic, item.offset) for item in (decoded if topic is Topic.TICKS else found).refused}

    def _tell_fates(
        self, records: Sequence[Fake], strange: set[int], accepted: set[int], refused: Iterable[Any]
    ) -> None:
        reason_of = {item.offset: item.reason for item in refused}
        assert set(reason_of.values()) <= set(REASONS)
        assert not accepted & set(reason_of), "a record was accepted and refused"
        for record in records:
            if record.offset in accepted:
                fate = "accepted"
            elif record.offset in reason_of:
                fate = reason_of[record.offset]
            else:
                fate = self._fate_of_none(record)
            if record.offset in strange:
                self._report.fates[fate] += 1
                self._report.mutants += 1
            else:
                assert fate == "accepted", f"a good message was not accepted: {fate}, {record.value!r}"

    def _fate_of_none(self, record: Fake) -> str:
        """Return why a record gave neither a row nor a refusal: counted as unknown, or an array of nothing."""
        alone = (
            self._decoder.ticks([record]) if self._kind in TICK_KINDS else self._decoder.events(self._topic, [record])
        )
        if alone.skipped_unknown:
            return "unknown"
        assert orjson.loads(record.value or b"") == [], f"not answered: {record.value!r}"
        return "empty"

    def _same_by_reference(self, records: Sequence[Fake], decoded: Decoded) -> None:
        codec = self._decoder._books._ahead._codecs[self.codec].reference()
        values = [record.value or b"" for record in records]
        other = codec.decode_columns(
            values, [record.offset for record in records], [record.timestamp * 1_000_000 for record in records]
        )
        assert_same_batch(decoded.batch, other.batch)
        found = [(item.offset, item.reason, item.raw) for item in decoded.refused]
        assert found == [(item.offset, item.reason, item.raw) for item in other.refused]

    def _publish(self, commit: Any) -> None:
        records = self._encoder.records(commit, self.engine.commit_seq)
        assert records
        self.outputs += commit.outputs
        add_counts(self._counts, commit.counts)

    def check(self) -> None:
        """Check that everything was answered, and that the state is whole."""
        letters = {(m.topic, m.offset): m for output in self.outputs if isinstance(m := output.message, DeadLetter)}
        n_letters = sum(isinstance(output.message, DeadLetter) for output in self.outputs)
        assert len(letters) == n_letters, "a record has two dead letters"
        assert set(letters) >= self._refused, "a refusal without a dead letter"
        for place, letter in letters.items():
            assert letter.raw == self._sent[place]
            assert place in self._refused or letter.reason in _CORE_REASONS, letter.reason
        desk, counts = self.engine._desk, self._counts
        late = sum(place not in self._refused for place in letters)
        waiting = sum(len(queue) for queue in self._inbox._events.values())
        counted = sum(counts.events[outcome] for outcome in _OUTCOMES) + late + len(desk.held) + waiting
        assert counted == self._events, f"{self._events} events, {counted} answered"
        self._report.outcomes.update({name.value: counts.events[name] for name in _OUTCOMES}, unsolved=counts.unsolved)
        self._report.outcomes.update(held=len(desk.held), dead=late)
        for order in self.engine.orders:
            if order.active:
                assert order.order_qty == order.cum_qty + order.leaves_qty
        self._check_state()

    def _check_state(self) -> None:
        saved = self.engine.dump()
        largest = max(saved, key=lambda key: len(saved[key]))
        assert len(saved[largest]) <= KAFKA.kafka.max_state_bytes, largest
        again = Engine(SETTINGS)
        again.load(saved)
        other = again.dump()
        assert saved.keys() == other.keys()
        differs = [key for key in saved if saved[key] != other[key]]
        assert not differs, f"loaded and saved again these differ: {differs[:3]}"

    def good(self) -> list[bytes]:
        """Return what was published of the good symbols, by time and topic as it came."""
        told = []
        for output in self.outputs:
            message = output.message
            if isinstance(message, Estimate | Model | Plan | Alert) and message.symbol in GOOD_SYMBOLS:
                told.append(output.topic.encode() + b" " + encode_output(output).value)
        return told


def _aims_at_good(item: Received[Any]) -> bool:
    event = item.event
    names = {event.scope} if isinstance(event, Control) else {event.symbol, getattr(event, "cl_ord_id", None)}
    return bool(names & _GOOD_NAMES)


@cache
def baseline(codec: str) -> tuple[bytes, ...]:
    """Return what a day without mutants publishes of the good symbols."""
    day = Day(codec, Report(codec))
    rng = random.Random(0)
    for step in STEPS:
        day.step(step, (), rng)
    day.check()
    found = tuple(day.good())
    assert any(value.startswith(b"plans ") for value in found)
    return found


def run_round(kind: str, n: int, seed: str, report: Report, *, values: bool = False) -> None:
    """Run one day with `n` mutants between its messages.

    Raises
    ------
    AssertionError or any Exception
        With a note that names the seed, and the step.
    """
    rng = random.Random(seed)
    day = Day(kind, report)
    mutations = JSON_MUTATIONS if corpus.seeds(kind, 0)[0].startswith(b"{") else CSV_MUTATIONS
    share = -(-n // len(STEPS))
    at_step = -1
    try:
        for at_step in STEPS:
            mutator: Mutator | Values = Mutator(rng, corpus.seeds(kind, at_step), mutations)
            if values:
                mutator = Values(rng, kind, at_step)
            day.step(at_step, [mutator.mutant() for _ in range(min(share, n))], rng)
            n -= min(share, n)
        day.check()
        assert tuple(day.good()) == baseline(day.codec), "what is published of the good symbols has changed"
    except BaseException as error:
        error.add_note(f"fuzz: kind {kind}, seed {seed!r}, step {at_step}")
        raise


def run(kind: str, n: int, seed: int, *, values: bool = False, each_round: Callable[[], None] = lambda: None) -> Report:
    """Run `n` mutants of a kind, of bytes or of values alone, and return what became of them.

    `each_round` is called as each round begins.
    """
    assert kind in KINDS
    report = Report(kind)
    started = time.monotonic()
    for number in range(-(-n // ROUND)):
        each_round()
        run_round(kind, min(ROUND, n - number * ROUND), f"{seed}/{kind}/{number}", report, values=values)
    report.seconds = time.monotonic() - started
    return report
