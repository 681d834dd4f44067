"""The topics, and the service's user with its rights, as resources of the Strimzi operators.

On Kubernetes a topic or user that nobody declares is drift, so `impactd topics
strimzi` writes what `impactd topics create` would make and what `impactd
topics acls` lists, from the same specification.  The API version is `v1`:
Strimzi 0.49 and later.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from impactd.config import Settings
from impactd.shell.kafka.topics import Acl, TopicSpec, required_acls, topics_spec

API_VERSION: Final = "kafka.strimzi.io/v1"

#: By this label the operators find the cluster that a resource belongs to.
CLUSTER_LABEL: Final = "strimzi.io/cluster"

#: Names of Kubernetes' objects (RFC 1123 subdomains).
_OBJECT_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

#: Text that every version of YAML reads as text without quotes.
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9./_-]*")
_NO_TEXT: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})

_RESOURCE_TYPES: Final = {"topic": "topic", "group": "group", "transactional-id": "transactionalId"}


def strimzi_topics(settings: Settings, cluster: str) -> list[dict[str, Any]]:
    """Return a ``KafkaTopic`` for every topic of the service.

    Parameters
    ----------
    cluster : str
        Name of the ``Kafka`` resource.
    """
    return [_topic(spec, cluster) for spec in topics_spec(settings)]


def strimzi_user(settings: Settings, cluster: str, user: str) -> dict[str, Any]:
    """Return the ``KafkaUser`` of the service with exactly the rights that it needs.

    It has a client certificate, or a SCRAM password if the settings say SASL.
    """
    kind = "scram-sha-512" if settings.kafka.security.protocol.startswith("SASL") else "tls"
    acls = [_acl(acl) for acl in required_acls(settings)]
    return {
        "apiVersion": API_VERSION,
        "kind": "KafkaUser",
        "metadata": {"name": user, "labels": {CLUSTER_LABEL: cluster}},
        "spec": {"authentication": {"type": kind}, "authorization": {"type": "simple", "acls": acls}},
    }


def _topic(spec: TopicSpec, cluster: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "KafkaTopic",
        "metadata": {"name": object_name(spec.name), "labels": {CLUSTER_LABEL: cluster}},
        "spec": {
            "topicName": spec.name,
            "partitions": spec.partitions,
            "replicas": spec.replication_factor,
            "config": dict(spec.config),
        },
    }


def _acl(acl: Acl) -> dict[str, Any]:
    prefixed = acl.name.endswith("*")
    resource = {
        "type": _RESOURCE_TYPES[acl.resource],
        "name": acl.name.removesuffix("*"),
        "patternType": "prefix" if prefixed else "literal",
    }
    return {"resource": resource, "operations": [operation.title().replace("_", "") for operation in acl.operations]}


def object_name(topic: str) -> str:
    """Return a name that Kubernetes takes for a topic's resource; the topic's own where it can."""
    if _OBJECT_NAME.fullmatch(topic):
        return topic
    # Two topics may differ in case alone.
    plain = re.sub(r"[^a-z0-9]+", "-", topic.lower()).strip("-") or "topic"
    return f"{plain}-{hashlib.sha256(topic.encode()).hexdigest()[:8]}"


def to_yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    """Return resources as a stream of YAML documents: mappings, lists, text and numbers."""
    return "".join("---\n" + "".join(f"{line}\n" for line in _lines(document, "")) for document in documents)


def _lines(value: Mapping[str, Any] | Sequence[Any], indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, Mapping | list):
                yield f"{indent}{key}:"
                yield from _lines(inner, indent + "  ")
            else:
                yield f"{indent}{key}: {_scalar(inner)}"
        return
    for item in value:
        if isinstance(item, Mapping | list):
            first, *rest = _lines(item, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(item)}"


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NO_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)
