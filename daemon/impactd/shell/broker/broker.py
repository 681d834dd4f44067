"""Find a Kafka broker for a test or a demo, in a fixed order, and start one where none runs.

1. An address in the environment, `IMPACTD_BOOTSTRAP` (``host:port``, plain text). It is explicit: if nothing answers
there, that is an error, and nothing else is tried.
2. Docker, through the extra ``docker``.
3. Java 17 and Maven: Apache Kafka from its published jars (`impactd.shell.broker.server`).
4. Only where the caller allows it, librdkafka's in-process mock, by the extra ``mock``. It takes transactions and
   groups of one member without Java or Docker. It is not a proof of Kafka behaviour: it fences no producer, has no
   coordinator failures, and a fetch returns one batch. It creates a topic of four partitions when one is first
   named, and has no request to create one.

`BrokerUnavailable` lists why each candidate was not available.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from impactd.core.base.extras import MissingExtraError, extra_module
from impactd.shell.broker.probe import answers, free_ports
from impactd.shell.broker.release import BrokerUnavailable
from impactd.shell.broker.server import KAFKA_VERSION, KafkaServer, server_properties

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

__all__ = [
    "BOOTSTRAP_VARIABLE",
    "HOW_TO_HAVE_ONE",
    "Broker",
    "BrokerUnavailable",
    "container_environment",
    "find_broker",
]

#: Environment variable that names a running broker.
BOOTSTRAP_VARIABLE: Final = "IMPACTD_BOOTSTRAP"

#: What makes a real broker available; shown wherever one is missing.
HOW_TO_HAVE_ONE: Final = (
    f"set {BOOTSTRAP_VARIABLE}=host:port to a broker that runs, or start Docker (and install impactd[docker]), "
    "or install Java 17 or later and Maven"
)

_CONTAINER_PORT: Final = 9092
_CONTAINER_CONTROLLER_PORT: Final = 9093
_CONTAINER_TIMEOUT_S: Final = 90.0
_MOCK_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answers."""

    #: ``host:port`` for clients, plain text.
    bootstrap: str
    kind: Literal["address", "docker", "maven", "mock"]

    @property
    def is_real(self) -> bool:
        """Whether what it does proves anything about Kafka."""
        return self.kind != "mock"


@contextlib.contextmanager
def find_broker(
    *, allow_mock: bool = False, kafka_version: str = KAFKA_VERSION, properties: Mapping[str, str] | None = None
) -> Iterator[Broker]:
    """Yield the first broker that is available, and stop it at the end if it was started here.

    Parameters
    ----------
    properties : mapping of str to str, optional
        Server properties to add or to replace, where Apache Kafka is started here.

    Raises
    ------
    BrokerUnavailable
        If there is none; the text says of each candidate why, and what to install or to set.
    """
    with contextlib.ExitStack() as stack:
        yield _enter_first(stack, allow_mock=allow_mock, kafka_version=kafka_version, properties=properties or {})


def _enter_first(
    stack: contextlib.ExitStack, *, allow_mock: bool, kafka_version: str, properties: Mapping[str, str]
) -> Broker:
    bootstrap = os.environ.get(BOOTSTRAP_VARIABLE)
    if bootstrap:
        if answers(bootstrap):
            return Broker(bootstrap, "address")
        raise BrokerUnavailable(
            f"no broker answers at {BOOTSTRAP_VARIABLE}={bootstrap}: start it, or unset the variable"
        )
    candidates = {"Docker": _docker(kafka_version, properties), "Java and Maven": _maven(kafka_version, properties)}
    if allow_mock:
        candidates["the mock"] = _mock()
    refusals = []
    for name, candidate in candidates.items():
        try:
            return stack.enter_context(candidate)
        except BrokerUnavailable as error:
            refusals.append(f"  {name}: {error}")
    raise BrokerUnavailable("\n".join([f"no Kafka broker here: {HOW_TO_HAVE_ONE}", *refusals]))


@contextlib.contextmanager
def _maven(version: str, properties: Mapping[str, str]) -> Iterator[Broker]:
    with KafkaServer(version, properties=properties) as server:
        yield Broker(server.bootstrap, "maven")


@contextlib.contextmanager
def _docker(version: str, properties: Mapping[str, str]) -> Iterator[Broker]:
    container, bootstrap = _container(version, properties)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(container)
        except Exception as error:  # the registry, the daemon and the client each have errors of their own
            raise BrokerUnavailable(f"the container of Kafka {version} did not start: {error}") from error
        if not answers(bootstrap, within_s=_CONTAINER_TIMEOUT_S):
            output = b"".join(container.get_logs()).decode(errors="replace")
            raise BrokerUnavailable(f"the container of Kafka {version} did not answer; its log ends:\n{output[-2000:]}")
        yield Broker(bootstrap, "docker")


def _container(version: str, properties: Mapping[str, str]) -> tuple[DockerContainer, str]:
    try:
        docker = extra_module("docker", "docker")
        make = extra_module("testcontainers.core.container", "docker").DockerContainer
    except MissingExtraError as error:
        raise BrokerUnavailable(str(error)) from error
    try:
        _refuse_dead_socket(docker.utils.parse_host(os.environ.get("DOCKER_HOST")))
        with contextlib.closing(docker.from_env(timeout=10)) as client:
            client.ping()
        container: DockerContainer = make(f"apache/kafka:{version}")
        host = container.get_docker_client().host()
    except (docker.errors.DockerException, OSError) as error:
        raise BrokerUnavailable(f"no Docker daemon answers: {error}") from error
    # The server tells clients its own address, so the port outside is fixed before it starts.
    port = free_ports(1)[0]
    bootstrap = f"{host}:{port}"
    container.with_bind_ports(_CONTAINER_PORT, port)
    container.with_envs(**container_environment(bootstrap, properties))
    return container, bootstrap


def _refuse_dead_socket(url: str) -> None:
    """Raise OSError if nobody listens on a daemon's socket file: Docker's client would leave its own end open."""
    scheme, _, path = url.partition("://")
    if scheme == "http+unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)


def container_environment(bootstrap: str, properties: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that gives Apache Kafka's image the properties of `server_properties`.

    Parameters
    ----------
    bootstrap : str
        ``host:port`` by which clients outside reach the container.
    properties : mapping of str to str
        Server properties to add or to replace.
    """
    controller = f"localhost:{_CONTAINER_CONTROLLER_PORT}"
    base = server_properties(
        listen={"PLAINTEXT": ("PLAINTEXT", f"0.0.0.0:{_CONTAINER_PORT}")},
        controller=controller,
        voter=controller,
        advertised={"PLAINTEXT": bootstrap},
        log_dir="/tmp/impactd-kafka",  # noqa: S108  (inside the container)
    )
    # The image's rule: a dot becomes one underscore, a dash three, an underscore two.
    escape = str.maketrans({".": "_", "-": "___", "_": "__"})
    return {f"KAFKA_{key.translate(escape).upper()}": value for key, value in (base | dict(properties)).items()}


@contextlib.contextmanager
def _mock() -> Iterator[Broker]:
    try:
        kafka = extra_module("confluent_kafka", "mock")
    except MissingExtraError as error:
        raise BrokerUnavailable(str(error)) from error
    # The cluster lives as long as the client that made it. The address is required, and replaced by the mock's.
    owner = kafka.Producer({"bootstrap.servers": "localhost", "test.mock.num.brokers": 1, "log_level": 3})
    try:
        nodes = owner.list_topics(timeout=_MOCK_TIMEOUT_S).brokers.values()
    except kafka.KafkaException as error:
        raise BrokerUnavailable(f"librdkafka's mock did not answer: {error}") from error
    yield Broker(",".join(f"{node.host}:{node.port}" for node in nodes), "mock")
    del owner
