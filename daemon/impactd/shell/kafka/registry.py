"""The schema registry: asked over HTTP, in a thread, and waited for where it does not answer.

It speaks Confluent's REST API, which other registries have too.  An id names the same schema for good, so each is asked
for once a process.  An answer that an id has no schema holds for some seconds only: what is registered late is found.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from http.client import HTTPException
from typing import Any, Final, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

import structlog

from impactd.config import Settings
from impactd.config.extras import missing_extras
from impactd.core.base.extras import MissingExtraError
from impactd.core.base.topics import Topic
from impactd.shell.kafka.errors import FatalError
from impactd.wire.codec import FieldError
from impactd.wire.forms import OUTPUTS, proto_text
from impactd.wire.framing import TYPES, Format, Framer, Schema, Schemas, is_framed, schema_text

_CONTENT: Final = "application/vnd.schemaregistry.v1+json"

#: Confluent's code for an id without a schema; another 404 is not the registry's answer.
_NO_SCHEMA: Final = 40403

_TIMEOUT_S: Final = 5.0
_MAX_ANSWER: Final = 8 * 1024 * 1024

#: Pause before a registry that does not answer is asked again, doubled from the first to the last.
_FIRST_PAUSE_S: Final = 0.2
_LAST_PAUSE_S: Final = 5.0

#: Ids are Java's int: a registry gives no answer about a larger one.
_MAX_ID: Final = 2**31 - 1

#: For so long an id without a schema is not asked for again.
_ABSENT_S: Final = 10.0

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class RegistryAwayError(Exception):
    """The registry gives no answer that counts; it is worth asking again."""


class RegistryRefusedError(Exception):
    """The registry refuses a schema, and will refuse it again."""


class Registry:
    """A registry's REST API. Every call blocks.

    Raises
    ------
    FatalError
        If the file of certificates cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        section = settings.registry
        self._url = str(section.url).rstrip("/")
        self._headers = {"Accept": _CONTENT, "Content-Type": _CONTENT}
        if section.username is not None and section.password is not None:
            pair = f"{section.username}:{section.password.get_secret_value()}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        try:
            context = ssl.create_default_context(cafile=section.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise FatalError(f"registry.ca_file cannot be read: {error}") from error
        # As the brokers' clients: no proxy of the environment.
        self._opener: OpenerDirector = build_opener(ProxyHandler({}), HTTPHandler(), HTTPSHandler(context=context))

    def schema(self, number: int) -> Schema:
        """Return the schema of an id; one with a fault where the registry has none.

        Raises
        ------
        RegistryAwayError
            If there is no answer, or none that counts.
        """
        if number > _MAX_ID:
            return Schema(fault="no schema has so large an id")
        try:
            found = self._ask(f"/schemas/ids/{number}")
        except HTTPError as error:
            if error.code == 404 and self._code(error) == _NO_SCHEMA:
                return Schema(fault="the registry has no such schema")
            raise RegistryAwayError(f"{self._url} answers {error.code} when asked for schema {number}") from error
        if not isinstance(found, dict) or "schema" not in found:
            raise RegistryAwayError(f"{self._url} gives no schema when asked for schema {number}")
        kind, text = str(found.get("schemaType", "AVRO")), str(found.get("schema", ""))
        if found.get("references"):
            return Schema(kind, text, fault="it refers to other schemas, which are not read")
        if kind != TYPES["protobuf"] or text.strip() == proto_text().strip():
            return Schema(kind, text)
        try:
            compiled = self._ask(f"/schemas/ids/{number}?format=serialized")
        except HTTPError as error:
            raise RegistryAwayError(f"{self._url} answers {error.code} when asked for schema {number}") from error
        if not isinstance(compiled, dict) or "schema" not in compiled:
            raise RegistryAwayError(f"{self._url} gives no compiled schema when asked for schema {number}")
        return Schema(kind, text, str(compiled["schema"]))

    def register(self, subject: str, kind: str, text: str, *, create: bool) -> int:
        """Return the id of a schema of a subject, registered now if it was not and `create` is set.

        Raises
        ------
        RegistryAwayError
            If there is no answer.
        RegistryRefusedError
            If the registry refuses it, or does not have it.
        """
        path = f"/subjects/{quote(subject, safe='')}" + ("/versions" if create else "")
        try:
            return int(self._ask(path, {"schemaType": kind, "schema": text})["id"])
        except HTTPError as error:
            what = f"{self._url} answers {error.code} to the schema of {subject}"
            if error.code >= 500 or error.code in {408, 429}:
                raise RegistryAwayError(what) from error
            raise RegistryRefusedError(f"{what}: {self._message(error)}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise RegistryAwayError(f"{self._url} gives no id for the schema of {subject}") from error

    def _ask(self, path: str, body: Mapping[str, str] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, self._headers)  # noqa: S310  # the setting admits http and https only
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                return json.loads(answer.read(_MAX_ANSWER))
        except HTTPError:
            raise
        except (URLError, OSError, HTTPException, ValueError) as error:
            raise RegistryAwayError(f"{self._url} does not answer: {error}") from error

    @staticmethod
    def _body(error: HTTPError) -> Any:
        try:
            body = json.loads(error.read(_MAX_ANSWER))
        except (OSError, HTTPException, ValueError):
            return {}
        return body if isinstance(body, dict) else {}

    def _code(self, error: HTTPError) -> object:
        return self._body(error).get("error_code")

    def _message(self, error: HTTPError) -> str:
        return str(self._body(error).get("message", error.reason))[:500]


class SchemaSource:
    """The schemas that this process needs, from the registry or from a file.

    Parameters
    ----------
    registry : Registry or None
        None: only what `schemas` has.
    """

    def __init__(self, registry: Registry | None, schemas: Schemas | None = None) -> None:
        self.schemas = schemas or Schemas()
        self._registry = registry
        self._absent: dict[int, float] = {}

    @classmethod
    def of(cls, settings: Settings) -> SchemaSource | None:
        """Return the source that settings name; None without a registry.

        Raises
        ------
        MissingExtraError
            If what reads its formats is not installed.
        """
        if settings.registry.url is None:
            return None
        if found := missing_extras(settings, "registry"):
            raise MissingExtraError(found[0])
        return cls(Registry(settings))

    async def have(
        self, values: Iterable[bytes | None], waiting: Callable[[str | None], None] = lambda _: None
    ) -> None:
        """Return when every schema that `values` name is known, or known to be none.

        Parameters
        ----------
        waiting : callable, optional
            Called with what is waited for, and with None once it is there.
        """
        for number in self.unknown(values):
            # What is known of an id stays until there is another answer: others may be decoding with it.
            self._learn(number, await _answer(partial(self._fetch, number), waiting))
        waiting(None)

    def unknown(self, values: Iterable[bytes | None]) -> list[int]:
        """Return the ids that `values` name and `have` would ask for, ascending."""
        known, now = self.schemas.known, time.monotonic()
        named = self.schemas.named(values)
        return sorted(number for number in named if number not in known or self._absent.get(number, now) < now)

    def _fetch(self, number: int) -> Schema:
        if self._registry is None:
            return Schema(fault="the captured schemas do not have it")
        return self._registry.schema(number)

    def _learn(self, number: int, schema: Schema) -> None:
        self.schemas.known[number] = schema
        if schema.fault and self._registry is not None:
            self._absent[number] = time.monotonic() + _ABSENT_S
        else:
            self._absent.pop(number, None)

    async def as_json(self, values: Sequence[bytes | None]) -> list[bytes | None]:
        """Return published values as JSON; as they are where they are not framed, or cannot be read."""
        await self.have(values)
        return [self._as_json(value) for value in values]

    def _as_json(self, value: bytes | None) -> bytes | None:
        if value is None or not is_framed(value):
            return value
        try:
            return self.schemas.as_json(value)
        except FieldError:
            # A stranger's record in our topic: its readers treat it as any other that is no JSON.
            return value

    async def framers(self, settings: Settings) -> Mapping[Topic, Framer]:
        """Return what writes each output topic, with its schema registered; waits for the registry.

        Raises
        ------
        FatalError
            If the registry refuses a schema.
        """
        if settings.wire.format == "json" or self._registry is None:
            return {}
        form: Format = settings.wire.format
        made: dict[Topic, Framer] = {}
        for topic in OUTPUTS:
            register = partial(
                self._registry.register,
                f"{settings.topics.name(topic)}-value",
                TYPES[form],
                schema_text(form, topic),
                create=settings.registry.register_schemas,
            )
            try:
                made[topic] = Framer(form, topic, await _answer(register))
            except RegistryRefusedError as error:
                raise FatalError(
                    f"{error}; register the schema of this release (impactd/schemas), or allow this user to"
                ) from error
        return made


async def _answer(ask: Callable[[], T], waiting: Callable[[str | None], None] = lambda _: None) -> T:
    """Return what the registry answers; where it is away, tell `waiting` why and ask again."""
    pause = _FIRST_PAUSE_S
    while True:
        try:
            return await asyncio.to_thread(ask)
        except RegistryAwayError as error:
            _log.warning("schema registry unreachable", reason=str(error))
            waiting(str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE_S)


class Readable:
    """Published values as JSON, whatever format they are in."""

    def __init__(self, settings: Settings) -> None:
        self._source = SchemaSource.of(settings)

    async def __call__(self, values: Sequence[bytes | None]) -> list[bytes | None]:
        """Return them; waits for the registry where a schema is new."""
        return list(values) if self._source is None else await self._source.as_json(values)
