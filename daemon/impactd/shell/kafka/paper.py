"""Paper trading on a broker: plans and ticks as they come, fills to executions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Final

from aiokafka import TopicPartition

from impactd.client import Client, Plan
from impactd.config import Settings
from impactd.core.base.settings import BookSettings
from impactd.core.base.topics import Topic
from impactd.shell.kafka.client import client_options, close_within, manual_consumer
from impactd.shell.kafka.consume import consumed, read_topics
from impactd.shell.kafka.decode import Decoder
from impactd.shell.kafka.registry import Readable, SchemaSource
from impactd.shell.kafka.tasks import run_together
from impactd.shell.kafka.topics import partition_counts
from impactd.shell.paper import PaperDesk, PaperFill, Style, Untraded
from impactd.wire.codec import FieldError, Limits
from impactd.wire.fields import parse_json, parse_object

#: A fetch without ticks ends after so long.
_POLL_MS: Final = 100


async def trade_on_paper(
    settings: Settings,
    books: BookSettings,
    limits: Limits,
    *,
    orders: str,
    seed: int = 0,
    style: Style = Style.TAKE,
    told: Callable[[PaperFill | Untraded], None] | None = None,
) -> None:
    """Trade the plans of orders until cancelled.

    Parameters
    ----------
    orders : str
        Pattern of the `cl_ord_id` of the orders to trade, such as ``DEMO-*``.
    told : callable, optional
        Called with each fill that was reported, and with each entry in an auction that is over and not wholly traded.

    Raises
    ------
    aiokafka.errors.KafkaError
        If the broker fails.
    """
    counts = await partition_counts(settings)
    desk = PaperDesk(seed, books, style)
    names = {topic.value: settings.topics.name(topic) for topic in Topic}
    options = client_options(settings)
    schemas = SchemaSource.of(settings)
    readable = Readable(settings)
    async with Client(options.pop("bootstrap_servers"), names=names, readable=readable, **options) as client:
        consumer = manual_consumer(settings)
        try:
            await consumer.start()
            places = [TopicPartition(names[Topic.TICKS.value], number) for number in range(counts[Topic.TICKS])]
            consumer.assign(places)
            await consumer.seek_to_end()
            async for record in read_topics(settings, names[Topic.EXECUTIONS.value]):
                with suppress(FieldError):
                    [value] = await readable([record.value])
                    desk.reported(parse_object(parse_json(value or b"")))

            def planned(plan: Plan) -> None:
                if fnmatchcase(plan["cl_ord_id"], orders):
                    for entry in desk.plan(plan):
                        if told is not None:
                            told(entry)

            for plan in (await client.latest_plans()).values():
                planned(plan)

            async def follow_plans() -> None:
                async for plan in client.plans():
                    planned(plan)

            async def follow_ticks() -> None:
                decoders = [
                    Decoder(settings, limits, number, len(places), schemas=schemas) for number in range(len(places))
                ]
                while True:
                    for place, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                        decoder, taken = decoders[place.partition], [consumed(record) for record in records]
                        await decoder.know_schemas(Topic.TICKS, taken)
                        batch = decoder.ticks(taken).batch
                        for fill in desk.ticks(batch):
                            await client.send(fill.record())
                            if told is not None:
                                told(fill)

            await run_together(follow_plans(), follow_ticks())
        finally:
            await close_within(consumer.stop())
