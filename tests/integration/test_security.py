"""A broker that trusts nobody: SCRAM over TLS, client certificates, bearer tokens, ACLs; and how it refuses."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from aiokafka.errors import MessageSizeTooLargeError
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from impactd.cli import main
from impactd.config import Settings
from impactd.core.base.topics import INPUT_TOPICS, Topic
from impactd.shell.broker.server import KafkaServer
from impactd.shell.kafka.client import close_producer, plain_producer
from impactd.shell.kafka.topics import required_acls
from tests.integration.certificates import KEY_PASSWORD, Certificates, make_certificates
from tests.integration.kafka_lab import (
    assert_same,
    from_files,
    from_topics,
    lab,
    lab_settings,
    published_all,
    running,
    write_day,
)
from tests.records import read_topic

pytestmark = pytest.mark.broker

#: The part of the password that no way of quoting would change: looked for in everything that a process says.
CANARY: Final = "7b1e9c52d4f0"
PASSWORD: Final = f'desk"ü-{CANARY}'
_OTHER_PASSWORD: Final = "other-0d5a"  # noqa: S105  (this test's own)
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_BEARER: Final = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
_UNSECURED: Final = (
    "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
)
_DEADLINE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Fortress:
    """A broker with locked doors; its plain-text listener is the administrator's."""

    server: KafkaServer
    certificates: Certificates

    def environment(self, settings: Settings, **security: object) -> dict[str, str]:
        """Return the environment of a command that comes in by SCRAM over TLS unless told otherwise."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("IMPACTD_")}
        kafka = {"bootstrap": self.server.address("SECURE"), "environment": settings.kafka.environment}
        given: dict[str, object] = {f"KAFKA__{name}": value for name, value in kafka.items()}
        given |= {
            "KAFKA__GROUP": settings.kafka.group,
            "TOPICS__PREFIX": settings.topics.prefix,
            "TOPICS__PARTITIONS": 2,
        }
        given |= {"TOPICS__INPUT_RETENTION_MS": -1, "TOPICS__OUTPUT_RETENTION_MS": -1}
        given |= {"PLANS__APPLY": "in_event_time", "LOG__FORMAT": "json", "HTTP__PORT": 0}
        scram = {"protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-256", "username": "desk", "password": PASSWORD}
        for name, value in (scram | {"ca_file": self.certificates.ca} | security).items():
            if name == "bootstrap":
                given["KAFKA__BOOTSTRAP"] = value
            elif value is not None:
                given[f"KAFKA__SECURITY__{name}"] = value
        return kept | {f"IMPACTD__{name.upper()}": str(value) for name, value in given.items()}


@pytest.fixture(scope="module")
def fortress(module_kafka: Callable[..., KafkaServer], tmp_path_factory: pytest.TempPathFactory) -> Fortress:
    certificates = make_certificates(tmp_path_factory.mktemp("certificates"))
    # Java's properties know \u escapes, and the login modules' own grammar backslashes before quotes.
    in_jaas = PASSWORD.replace('"', '\\\\"').replace("ü", "\\u00fc")
    secure = "listener.name.secure"
    users = f'user_desk="{in_jaas}"'
    properties = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(certificates.broker),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificates.ca),
        "listener.name.mutual.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=(.*?)$/$1/",
        "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER",
        f"{secure}.scram-sha-256.sasl.jaas.config": _SCRAM,
        f"{secure}.scram-sha-512.sasl.jaas.config": _SCRAM,
        f"{secure}.plain.sasl.jaas.config": f"{_PLAIN} {users};",
        f"{secure}.oauthbearer.sasl.jaas.config": f"{_BEARER} unsecuredLoginStringClaim_sub=unused;",
        f"{secure}.oauthbearer.sasl.server.callback.handler.class": _UNSECURED,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:admin",
    }
    server = module_kafka(
        properties=properties,
        listeners={"SECURE": "SASL_SSL", "MUTUAL": "SSL"},
        format_arguments=[
            part
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for user, password in (("desk", PASSWORD), ("admin", _OTHER_PASSWORD), ("feed", _OTHER_PASSWORD))
            for part in ("--add-scram", f'{mechanism}=[name={user},password="{password}"]')
        ],
    )
    return Fortress(server, certificates)


def scram(fortress: Fortress, settings: Settings) -> Settings:
    """Return settings of the service's own user."""
    security = {
        "protocol": "SASL_SSL",
        "mechanism": "SCRAM-SHA-512",
        "username": "desk",
        "password": PASSWORD,
        "ca_file": str(fortress.certificates.ca),
    }
    return settings.replace(kafka={"bootstrap": fortress.server.address("SECURE"), "security": security})


def allow(fortress: Fortress, acls: list[tuple[str, str, str]], user: str = "desk") -> None:
    """Grant (resource, name, operation); a name that ends with a star is a prefix."""
    admin = AdminClient({"bootstrap.servers": fortress.server.bootstrap})
    bindings = [
        AclBinding(
            ResourceType[resource.upper().replace("-", "_")],
            name.removesuffix("*"),
            ResourcePatternType.PREFIXED if name.endswith("*") else ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )
        for resource, name, operation in acls
    ]
    for done in admin.create_acls(bindings).values():
        done.result(_DEADLINE_S)


def allow_what_is_listed(fortress: Fortress, settings: Settings) -> None:
    """Grant what ``impactd topics acls`` lists, and nothing else."""
    listed = [(acl.resource, acl.name, operation) for acl in required_acls(settings) for operation in acl.operations]
    allow(fortress, listed)


def spoken(done: subprocess.CompletedProcess[bytes]) -> bytes:
    return done.stdout + done.stderr


def assert_silent(said: bytes, *secrets: str) -> None:
    """Fail if a secret stands in what was said, as it is or in Base64. Escapes do not hide it: it is plain ASCII."""
    for secret in secrets:
        plain = secret.encode("ascii")
        # Of a secret within something that is encoded, the middle part shows whatever its place.
        encoded = [base64.b64encode(b"." * pad + plain)[4:-4] for pad in range(3)]
        for form in (plain, *encoded):
            at = said.find(form)
            assert at < 0, said[max(0, at - 200) : at + 100]


async def test_service_by_scram_over_tls_with_the_listed_acls_gives_the_files_bytes(
    fortress: Fortress, tmp_path: Path
) -> None:
    plain = await lab(fortress.server.bootstrap)
    settings = scram(fortress, plain)
    allow_what_is_listed(fortress, settings)
    sources = write_day(tmp_path / "day", 4)
    needed = ("WRITE", "DESCRIBE", "DESCRIBE_CONFIGS")
    allow(fortress, [("topic", settings.topics.name(role), what) for role in INPUT_TOPICS for what in needed], "feed")
    allow(fortress, [("topic", f"{settings.topics.prefix}*", "DESCRIBE")], "feed")
    arguments = ["publish", "--data", str(sources.data[0]), "--orders", str(sources.orders)]
    arguments += ["--executions", str(sources.executions)]
    environment = fortress.environment(settings, username="feed", password=_OTHER_PASSWORD)
    done = await asyncio.to_thread(impactd, environment, *arguments)
    assert done.returncode == 0, done.stderr
    expected = from_files(sources, tmp_path / "files")
    async with running(settings):
        await published_all(plain, expected)
    assert_same(await from_topics(plain), expected)


def impactd(environment: dict[str, str], *args: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "impactd", *args]
    return subprocess.run(command, env=environment, capture_output=True, check=False, timeout=_DEADLINE_S)


@pytest.fixture
def commanded(
    fortress: Fortress, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command in this process, as whoever its security settings name."""

    def run(*args: str, **security: object) -> tuple[int, str, str]:
        environment = fortress.environment(lab_settings("127.0.0.1:1"), **security)
        for name in [name for name in os.environ if name.startswith("IMPACTD_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            if name.startswith("IMPACTD_"):
                monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        code = main(args)
        return code, *capfd.readouterr()

    return run


def bearer(subject: str = "desk", lifetime_s: int = 3_600, algorithm: str = "none") -> str:
    """Return an unsecured JSON web signature."""

    def part(claims: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(orjson.dumps(claims)).rstrip(b"=").decode()

    now = int(time.time())
    return f"{part({'alg': algorithm})}.{part({'sub': subject, 'iat': now, 'exp': now + lifetime_s, 'scope': 'all'})}."


def test_topics_created_and_checked_by_scram_over_tls(commanded: Callable[..., tuple[int, str, str]]) -> None:
    admin = {"username": "admin", "password": _OTHER_PASSWORD}
    code, out, err = commanded("topics", "create", "--set", "topics.prefix=secured.", **admin)
    assert (code, err) == (0, "")
    assert out.count("made") == len(Topic)
    code, out, err = commanded("topics", "check", "--set", "topics.prefix=secured.", **admin)
    assert (code, out, err) == (0, "the topics are as the settings say\n", "")


def test_topics_not_to_be_seen_are_missing_and_not_to_be_made_are_refused_in_one_line(
    commanded: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, err = commanded("topics", "create")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "TopicAuthorizationFailed" in err or "ClusterAuthorizationFailed" in err


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"password": "wrong-one"}, "refused user 'desk' with SCRAM-SHA-256"),
        ({"username": "nobody"}, "refused user 'nobody' with SCRAM-SHA-256"),
        ({"mechanism": "PLAIN", "password": "wrong-one"}, "refused user 'desk' with PLAIN"),
        ({"ca_file": "stranger"}, "is not trusted: unable to get local issuer certificate"),
        ({"ca_file": None}, "is not trusted"),
        ({"bootstrap": "localhost"}, "is not for this name: Hostname mismatch"),
        ({"protocol": "SASL_PLAINTEXT"}, "closes the connection"),
        ({"bootstrap": "plain"}, "kafka.security.protocol = SASL_SSL"),
        ({"bootstrap": "mutual"}, "kafka.security.protocol = SASL_SSL"),
        ({"bootstrap": "mutual", "protocol": "SSL", "username": None, "password": None}, "client certificate"),
        ({"bootstrap": "nowhere"}, "no broker answers at 127.0.0.1:1: "),
        ({"ca_file": "missing"}, "kafka.security.ca_file: missing cannot be used: No such file"),
        ({"ca_file": "key"}, "kafka.security.ca_file: "),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_topics_check_refused_connection_states_why_in_one_line(
    how: dict[str, Any], words: str, fortress: Fortress, commanded: Callable[..., tuple[int, str, str]]
) -> None:
    port = fortress.server.address("SECURE").rpartition(":")[2]
    places = {
        "localhost": f"localhost:{port}",
        "plain": fortress.server.bootstrap,
        "mutual": fortress.server.address("MUTUAL"),
        "nowhere": "127.0.0.1:1",
    }
    files = {"stranger": fortress.certificates.stranger, "key": fortress.certificates.client_key}
    given = {
        name: places.get(value, value)
        if name == "bootstrap"
        else files.get(value, value)
        if name == "ca_file"
        else value
        for name, value in how.items()
    }
    code, out, err = commanded("topics", "check", **given)
    assert (code, out) == (1, "")
    assert err.startswith("impactd: ")
    assert err.count("\n") == 1, err
    assert words in err
    assert "Traceback" not in err
    assert_silent(err.encode(), CANARY, "wrong-one")


def test_topics_acls_by_password_file_and_by_plain_is_let_in(
    fortress: Fortress, commanded: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")
    for mechanism in ("PLAIN", "SCRAM-SHA-512"):
        code, _, err = commanded(
            "topics", "check", mechanism=mechanism, password=None, password_file=tmp_path / "password"
        )
        # Let in, but allowed to see nothing.
        assert code == 1
        assert err == f"impactd: {len(Topic)} differences between the topics and the settings\n"


def test_bearer_token_is_read_from_its_file_and_a_bad_one_is_refused(
    fortress: Fortress, commanded: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    path = tmp_path / "token"
    how = {"mechanism": "OAUTHBEARER", "username": None, "password": None, "oauth_token_file": path}
    path.write_text(bearer(), encoding="utf-8")
    code, _, err = commanded("topics", "check", **how)
    assert (code, err) == (1, f"impactd: {len(Topic)} differences between the topics and the settings\n")
    for text, words in (
        (bearer(lifetime_s=-60), "rejects the token in kafka.security.oauth_token_file"),
        ("no-token", "rejects the token in kafka.security.oauth_token_file"),
        ("", "holds no bearer token"),
        ("two\x01fields", "holds no bearer token"),
    ):
        path.write_text(text, encoding="utf-8")
        code, out, err = commanded("topics", "check", **how)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert words in err
    path.unlink()
    assert f"oauth_token_file: {path} cannot be read: No such file" in commanded("topics", "check", **how)[2]


def test_client_certificate_with_an_encrypted_key_is_let_in(
    fortress: Fortress, commanded: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    files = fortress.certificates
    how: dict[str, Any] = {"bootstrap": fortress.server.address("MUTUAL"), "protocol": "SSL", "username": None}
    how |= {"password": None, "cert_file": files.client, "key_file": files.client_key}
    code, _, err = commanded("topics", "check", **how)
    assert (code, err) == (1, f"impactd: {len(Topic)} differences between the topics and the settings\n")
    how["key_file"] = files.client_key_encrypted
    (tmp_path / "key-password").write_text(KEY_PASSWORD, encoding="utf-8")
    code, _, err = commanded("topics", "check", **how, key_password_file=tmp_path / "key-password")
    assert (code, err) == (1, f"impactd: {len(Topic)} differences between the topics and the settings\n")
    # Without its password, or with a wrong one, nothing prompts and nothing hangs.
    for wrong in ({}, {"key_password": "wrong-one"}):
        code, _, err = commanded("topics", "check", **how, **wrong)
        assert (code, err.count("\n")) == (1, 1)
        assert "encrypted, and key_password does not open it" in err
        assert_silent(err.encode(), KEY_PASSWORD, "wrong-one")


SERVICES: Final = {
    "scram": {},
    "plain": {"mechanism": "PLAIN"},
    "bearer": {"mechanism": "OAUTHBEARER", "username": None, "password": None, "oauth_token_file": "token"},
    "refused": {"password": "wrong-5e0f77aa"},
}


@pytest.mark.parametrize("case", SERVICES)
async def test_run_at_debug_level_never_tells_a_secret(case: str, fortress: Fortress, tmp_path: Path) -> None:
    plain = await lab(fortress.server.bootstrap)
    allow_what_is_listed(fortress, plain)
    (tmp_path / "token").write_text(token := bearer(), encoding="utf-8")
    environment = fortress.environment(plain, **SERVICES[case])  # type: ignore[arg-type]  # names of settings
    # Of a long value aiokafka writes the beginning.
    secrets = (CANARY, "wrong-5e0f77aa", token[:40], token.split(".")[1])
    shown = await asyncio.to_thread(impactd, environment, "check-config", "--json")
    assert shown.returncode == 0
    assert_silent(spoken(shown), *secrets)
    assert (b'"********"' in shown.stdout) == (case != "bearer")
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-X",
            "faulthandler",
            "-m",
            "impactd",
            "run",
            "--set",
            "log.level=debug",
            "--set",
            "log.libraries=debug",
            "--set",
            "kafka.drain_timeout_ms=30000",
        ),
        env=environment,
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    said = b""
    try:
        async with asyncio.timeout(_DEADLINE_S):
            while said.count(b'"partition owned"') < 2 and (line := await process.stderr.readline()):
                said += line
            if case != "refused":
                process.send_signal(signal.SIGABRT if case == "scram" else signal.SIGTERM)
            said += await process.stderr.read()
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert code == {"refused": 1, "scram": -signal.SIGABRT}.get(case, 0), said[-2_000:]
    assert b'"level":"debug"' in said
    assert_silent(said, *secrets)
    if case == "refused":
        assert orjson.loads(said.splitlines()[-1])["event"] == "service failed"
        assert b"refused user 'desk' with SCRAM-SHA-256" in said.splitlines()[-1]
        return
    for topic in (Topic.JOURNAL, Topic.STATE):
        for record in await read_topic(plain, plain.topics.name(topic)):
            assert_silent((record.key or b"") + (record.value or b"") + repr(record.headers).encode(), *secrets)


async def test_input_topic_takes_no_batch_that_unpacks_to_more_than_its_limit(fortress: Fortress) -> None:
    """The broker measures what a reader would unpack, where `impactd topics create` has it do so."""
    settings = await lab(fortress.server.bootstrap)
    producer = plain_producer(settings.replace(kafka={"compression": "zstd"}, wire={"max_message_bytes": 64_000_000}))
    await producer.start()
    try:
        # A few hundred bytes on the wire, so that it passes the limit of a megabyte where nobody unpacks it.
        await producer.send_and_wait(settings.topics.name(Topic.ESTIMATES), b"\0" * 20_000_000, partition=0)
        for topic in INPUT_TOPICS:
            with pytest.raises(MessageSizeTooLargeError):
                await producer.send_and_wait(settings.topics.name(topic), b"\0" * 20_000_000, partition=0)
            await producer.send_and_wait(settings.topics.name(topic), b"\0" * 900_000, partition=0)
    finally:
        await close_producer(producer, 5)
