"""Strimzi's resources say what the service would make itself, in YAML that reads back as it was."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from impactd.cli import main
from impactd.config import Settings
from impactd.config.cluster import SecuritySection
from impactd.core.base.topics import Topic
from impactd.shell.kafka.strimzi import object_name, strimzi_topics, strimzi_user, to_yaml
from impactd.shell.kafka.topics import required_acls, topics_spec

SETTINGS = Settings(
    kafka={"environment": "staging"},
    topics={"names": {"ticks": "Feed_Books"}, "partitions": 7, "replication_factor": 3, "min_insync_replicas": 2},
)

#: What YAML 1.1 reads: control characters need escapes that JSON has, except these two, which it calls line breaks.
_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x85\u2028\u2029\ufeff"), max_size=12
)
_KEYS = st.from_regex(r"[a-z][a-z.-]{0,9}", fullmatch=True).filter(lambda key: key not in {"y", "n", "no", "on", "off"})
_VALUES = st.recursive(
    _TEXT | st.integers(-10, 10**6) | st.sampled_from(["yes", "off", "null", "1e3", "true", "a: b", "# c", ""]),
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(_KEYS, inner, min_size=1, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.lists(st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=3), max_size=3))
def test_to_yaml_any_documents_read_back_as_they_were(documents: list[dict[str, Any]]) -> None:
    assert list(yaml.safe_load_all(to_yaml(documents))) == documents


def test_strimzi_topics_are_those_that_create_makes() -> None:
    made = [topic["spec"] for topic in strimzi_topics(SETTINGS, "k")]
    assert made == [
        {
            "topicName": spec.name,
            "partitions": 7,
            "replicas": 3,
            "config": dict(spec.config),
        }
        for spec in topics_spec(SETTINGS)
    ]
    assert {topic["metadata"]["labels"]["strimzi.io/cluster"] for topic in strimzi_topics(SETTINGS, "k")} == {"k"}


def test_strimzi_user_has_the_rights_that_acls_lists_and_no_others() -> None:
    user = strimzi_user(SETTINGS, "k", "someone")
    rules = user["spec"]["authorization"]["acls"]
    found = {
        (
            {"transactionalId": "transactional-id"}.get(rule["resource"]["type"], rule["resource"]["type"]),
            rule["resource"]["name"],
            rule["resource"]["patternType"],
            tuple(rule["operations"]),
        )
        for rule in rules
    }
    wanted = {
        (
            acl.resource,
            acl.name.removesuffix("*"),
            "prefix" if acl.name.endswith("*") else "literal",
            tuple(operation.title().replace("_", "") for operation in acl.operations),
        )
        for acl in required_acls(SETTINGS)
    }
    assert found == wanted
    assert ("transactional-id", "staging.impactd.", "prefix", ("Write", "Describe")) in found


@pytest.mark.parametrize(("protocol", "kind"), [("SSL", "tls"), ("SASL_SSL", "scram-sha-512")])
def test_strimzi_user_authenticates_as_the_settings_say(protocol: str, kind: str) -> None:
    security = SecuritySection(protocol=protocol, mechanism="SCRAM-SHA-512", username="u", password="p")  # noqa: S106  (of a test)
    user = strimzi_user(Settings(kafka={"security": security}), "k", "u")
    assert user["spec"]["authentication"] == {"type": kind}


def test_object_name_topic_that_kubernetes_would_refuse_gets_its_own() -> None:
    assert object_name("impactd.plans.latest") == "impactd.plans.latest"
    names = {object_name(topic) for topic in ("Feed_Books", "feed_books", "feed-books", "_", "FEED_BOOKS")}
    assert len(names) == 5
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


def test_topics_strimzi_command_writes_every_topic_and_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["topics", "strimzi", "--cluster", "main", "--user", "desk", "--set", "topics.partitions=9"])
    written = list(yaml.safe_load_all(capsys.readouterr().out))
    assert code == 0
    assert [document["kind"] for document in written] == ["KafkaTopic"] * len(Topic) + ["KafkaUser"]
    assert {document["spec"]["partitions"] for document in written[:-1]} == {9}
    assert written[-1]["metadata"] == {"name": "desk", "labels": {"strimzi.io/cluster": "main"}}
