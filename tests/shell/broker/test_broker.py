"""The search for a broker: its order, and what it says when there is none."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from impactd.shell.broker import broker
from impactd.shell.broker import probe as kafka_probe
from impactd.shell.broker import release as kafka_release
from impactd.shell.broker.broker import BrokerUnavailable, container_environment, find_broker


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Return a patch for a machine without address, Docker, Java, Maven and cache."""
    for name in ("IMPACTD_BOOTSTRAP", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("IMPACTD_CACHE_DIR", str(tmp_path / "cache"))
    return monkeypatch


def test_find_broker_bare_machine_states_what_to_install(bare_machine: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokerUnavailable) as caught, find_broker():
        pytest.fail("there is none")
    text = str(caught.value)
    assert "IMPACTD_BOOTSTRAP=host:port" in text
    assert "Docker: no Docker daemon answers" in text
    assert "Java and Maven: Java is not on the PATH: install Java 17 or later" in text


def test_find_broker_dead_address_is_an_error_and_nothing_else_is_tried(bare_machine: pytest.MonkeyPatch) -> None:
    port = kafka_probe.free_ports(1)[0]
    bare_machine.setenv("IMPACTD_BOOTSTRAP", f"127.0.0.1:{port}")
    with pytest.raises(BrokerUnavailable, match=f"no broker answers at IMPACTD_BOOTSTRAP=127.0.0.1:{port}"):
        find_broker(allow_mock=True).__enter__()


def test_find_broker_address_that_answers_comes_first(bare_machine: pytest.MonkeyPatch) -> None:
    with find_broker(allow_mock=True) as running:
        assert running.kind == "mock"
        bare_machine.setenv("IMPACTD_BOOTSTRAP", running.bootstrap)
        with find_broker() as found:
            assert (found.bootstrap, found.kind, found.is_real) == (running.bootstrap, "address", True)


@pytest.mark.parametrize("malformed", ["localhost", "localhost:kafka", ":"])
def test_find_broker_malformed_address_is_named(bare_machine: pytest.MonkeyPatch, malformed: str) -> None:
    bare_machine.setenv("IMPACTD_BOOTSTRAP", malformed)
    with pytest.raises(BrokerUnavailable, match="IMPACTD_BOOTSTRAP"):
        find_broker().__enter__()


@pytest.mark.parametrize("said", ['openjdk version "11.0.2" 2019-01-15', 'java version "1.8.0_292"', "no idea"])
def test_java_command_old_or_strange_is_refused(bare_machine: pytest.MonkeyPatch, tmp_path: Path, said: str) -> None:
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\necho '{said}' >&2\n", encoding="utf-8")
    java.chmod(0o755)
    with pytest.raises(BrokerUnavailable, match="is not Java 17 or later"):
        kafka_release.java_command()


def test_kafka_jars_maven_fails_states_why_and_leaves_nothing(bare_machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho 'the network is down'; exit 1\n", encoding="utf-8")
    maven.chmod(0o755)
    with pytest.raises(BrokerUnavailable, match="the network is down"):
        kafka_release.kafka_jars("4.1.0")
    assert list((tmp_path / "cache").iterdir()) == []


def test_kafka_jars_in_cache_need_no_maven(bare_machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jars = tmp_path / "cache" / "kafka-9.9.9"
    jars.mkdir(parents=True)
    assert kafka_release.kafka_jars("9.9.9") == jars


def test_container_environment_follows_the_rule_of_the_image() -> None:
    environment = container_environment("example:9000", {"a.b-c_d": "1", "process.roles": "broker"})
    assert environment["KAFKA_A_B___C__D"] == "1"
    assert environment["KAFKA_PROCESS_ROLES"] == "broker"
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://example:9000"


def test_free_ports_are_distinct_and_not_in_use() -> None:
    ports = kafka_probe.free_ports(5)
    assert len(set(ports)) == 5
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports[0]))


def test_how_to_have_one_names_every_way() -> None:
    assert all(way in broker.HOW_TO_HAVE_ONE for way in ("IMPACTD_BOOTSTRAP", "Docker", "Java 17", "Maven"))
