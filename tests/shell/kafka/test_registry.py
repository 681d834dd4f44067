"""The schema registry: waited for where it is away, believed where it answers, asked once for each schema."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from impactd.config import Settings
from impactd.core.base.topics import Topic
from impactd.shell.kafka import registry
from impactd.shell.kafka.errors import FatalError
from impactd.shell.kafka.registry import SchemaSource
from impactd.shell.kafka.tasks import until
from tests.shell.kafka.fake_registry import FakeRegistry, serving

FRAMED = b"\x00\x00\x00\x00\x05value"


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with serving() as made:
        yield made


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(registry, "_LAST_PAUSE_S", 0.01)


@pytest.fixture(autouse=True)
def without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a registry also where nothing is installed that reads what it has; tests of values skip there."""
    monkeypatch.setattr(registry, "missing_extras", lambda *_: [])


def _settings(fake: FakeRegistry, form: str = "json", **section: Any) -> Settings:
    return Settings(wire={"format": form}, registry={"url": f"http://127.0.0.1:{fake.port}/", **section})


def _source(fake: FakeRegistry, **section: Any) -> SchemaSource:
    made = SchemaSource.of(_settings(fake, **section))
    assert made is not None
    return made


async def test_schema_is_asked_for_once(fake: FakeRegistry) -> None:
    fake.schemas[5] = {"schema": '"string"'}
    source = _source(fake)
    await source.have([FRAMED, None, b"{}", b"\x00\x00"])
    await source.have([FRAMED, FRAMED])
    assert fake.asked == ["GET /schemas/ids/5"]
    assert source.schemas.known[5].text == '"string"'


async def test_registry_that_is_away_is_waited_for_and_says_so(fake: FakeRegistry) -> None:
    fake.away = True
    fake.schemas[5] = {"schema": '"string"'}
    said: list[str | None] = []
    source = _source(fake)

    def waiting(why: str | None) -> None:
        said.append(why)
        # It comes back after its third silence.
        fake.away = len(said) < 3

    await source.have([FRAMED], waiting)
    assert all("503" in str(why) for why in said[:3])
    assert said[3:] == [None]
    assert not source.schemas.known[5].fault


async def test_nothing_is_believed_of_a_registry_that_does_not_listen() -> None:
    source = SchemaSource.of(Settings(registry={"url": "http://127.0.0.1:1"}))
    assert source is not None
    said = asyncio.Event()
    waits = asyncio.create_task(source.have([FRAMED], lambda why: said.set() if why else None))
    await said.wait()
    assert source.schemas.known == {}
    waits.cancel()


async def test_schema_that_does_not_exist_is_asked_for_again_later(fake: FakeRegistry) -> None:
    source = _source(fake)
    await source.have([FRAMED])
    assert source.schemas.known[5].fault
    await source.have([FRAMED])
    assert len(fake.asked) == 1
    fake.schemas[5] = {"schema": '"string"'}
    source._absent[5] = 0.0
    await source.have([FRAMED])
    assert not source.schemas.known[5].fault


async def test_id_that_no_schema_can_have_is_not_asked_for(fake: FakeRegistry) -> None:
    """Four bytes of 255: a registry answers as if it had no such path, which is not waited for."""
    source = _source(fake)
    await source.have([b"\0\xff\xff\xff\xff x"])
    assert source.schemas.known[2**32 - 1].fault
    assert not fake.asked


async def test_what_is_known_of_an_id_stays_while_it_is_asked_for_again(fake: FakeRegistry) -> None:
    source = _source(fake)
    await source.have([FRAMED])
    source._absent[5] = 0.0
    seen: list[bool] = []
    fetch = source._fetch
    source._fetch = lambda number: (seen.append(5 in source.schemas.known), fetch(number))[1]  # type: ignore[method-assign]  # looks on
    await source.have([FRAMED])
    assert seen == [True]


async def test_another_404_is_no_answer(fake: FakeRegistry) -> None:
    said = asyncio.Event()
    source = SchemaSource.of(Settings(registry={"url": f"http://127.0.0.1:{fake.port}/subjects/x"}))
    assert source is not None
    waits = asyncio.create_task(source.have([FRAMED], lambda why: said.set() if why else None))
    await said.wait()
    assert source.schemas.known == {}
    waits.cancel()


async def test_user_and_password_are_sent(fake: FakeRegistry) -> None:
    fake.user = "desk:secret"
    fake.schemas[5] = {"schema": '"string"'}
    await _source(fake, username="desk", password="secret").have([FRAMED])  # noqa: S106  # a fake's


@pytest.mark.parametrize("form", ["avro", "protobuf"])
async def test_outputs_are_registered_under_the_names_of_their_topics(fake: FakeRegistry, form: str) -> None:
    pytest.importorskip("fastavro")
    pytest.importorskip("google.protobuf")
    settings = _settings(fake, form)
    framers = await _source(fake).framers(settings)
    names = [Topic.ESTIMATES, Topic.MODELS, Topic.PLANS, Topic.PLANS_LATEST, Topic.SLICES, Topic.ALERTS, Topic.TCA]
    assert set(framers) == set(names)
    assert set(fake.subjects) == {f"{settings.topics.name(topic)}-value" for topic in names}
    alert = {"type": "alert", "kind": "halt", "symbol": None, "cl_ord_id": None, "as_of": 1, "text": "t"}
    value = framers[Topic.ALERTS].frame(alert)
    [found] = await _source(fake).as_json([value])
    assert json.loads(found or b"") == alert


async def test_schema_that_the_registry_refuses_ends_the_start(fake: FakeRegistry) -> None:
    pytest.importorskip("fastavro")
    fake.refuses = True
    with pytest.raises(FatalError, match="incompatible"):
        await _source(fake).framers(_settings(fake, "avro"))


@pytest.mark.parametrize("answer", [{}, {"id": None}, {"id": "x"}, [], 5, None])
def test_answer_without_an_id_is_no_answer(fake: FakeRegistry, answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = registry.Registry(_settings(fake))
    monkeypatch.setattr(source, "_ask", lambda *_: answer)
    with pytest.raises(registry.RegistryAwayError):
        source.register("plans-value", "AVRO", "{}", create=True)


async def test_schemas_are_only_looked_up_where_they_may_not_be_registered(fake: FakeRegistry) -> None:
    pytest.importorskip("fastavro")
    settings = _settings(fake, "avro", register_schemas=False)
    with pytest.raises(FatalError):
        await _source(fake).framers(settings)
    assert all("/versions" not in asked for asked in fake.asked)
    assert fake.subjects == {}


async def test_start_that_waits_for_the_registry_can_be_stopped(fake: FakeRegistry) -> None:
    pytest.importorskip("fastavro")
    fake.away = True
    stop = asyncio.Event()
    waits = asyncio.create_task(until(stop, _source(fake).framers(_settings(fake, "avro"))))
    await asyncio.to_thread(fake.heard.wait)
    stop.set()
    assert await waits is None


@pytest.mark.parametrize(
    "given",
    [
        {"wire": {"format": "avro"}},
        {"registry": {"url": "r:8081"}},
        {"registry": {"url": "http://user:secret@r:8081"}},
        {"registry": {"url": "http://r:8081", "username": "u"}},
    ],
)
def test_settings_that_cannot_be_obeyed_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"registry|timestamps|url|username"):
        Settings(**given)
