"""What custom resources may hold: the fields that deploy/ uses, their types and values, and no others.

Kubernetes' own objects are judged by the schemas that kubernetes-validate
brings.  Custom resources have theirs in their operators' releases, so what
stands here was written from the operators' references: a field that nobody
knows, or a value that an operator would refuse, fails.  Where `IMPACTD_CRDS`
names a directory of CustomResourceDefinitions (``kubectl get crd -o yaml``, a
file each), those judge as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

CRDS_VARIABLE: Final = "IMPACTD_CRDS"

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string", "minLength": 1}
COUNT: Final[Schema] = {"type": "integer", "minimum": 1}
#: Prometheus' durations.
SPAN: Final[Schema] = {"type": "string", "pattern": r"^(\d+(ms|s|m|h|d|w|y))+$"}
LABELS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """Return the schema of an object that has all of `required`, some of `optional`, and nothing else."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def many(items: Schema) -> Schema:
    """Return the schema of a list that is not empty."""
    return {"type": "array", "items": items, "minItems": 1}


def _resource(version: str, kind: str, spec: Schema) -> Schema:
    metadata = record({"name": TEXT}, {"namespace": TEXT, "labels": LABELS, "annotations": LABELS})
    return record({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": metadata, "spec": spec})


_ACL: Final = record(
    {
        "resource": record(
            {
                "type": {"enum": ["topic", "group", "cluster", "transactionalId"]},
                "name": TEXT,
                "patternType": {"enum": ["literal", "prefix"]},
            }
        ),
        "operations": many({"enum": ["Read", "Write", "Create", "Describe", "DescribeConfigs", "IdempotentWrite"]}),
    }
)

_SCALING: Final = record(
    {
        "stabilizationWindowSeconds": {"type": "integer", "minimum": 0, "maximum": 3600},
        "policies": many(
            record(
                {
                    "type": {"enum": ["Pods", "Percent"]},
                    "value": COUNT,
                    "periodSeconds": {"type": "integer", "minimum": 1, "maximum": 1800},
                }
            )
        ),
    }
)

#: KEDA's kafka trigger takes text alone.
_TRUTH: Final = {"enum": ["true", "false"]}
_KAFKA_TRIGGER: Final = record(
    {"bootstrapServers": TEXT, "consumerGroup": TEXT, "topic": TEXT, "lagThreshold": {"pattern": r"^[1-9]\d*$"}},
    {
        "offsetResetPolicy": {"enum": ["earliest", "latest"]},
        "allowIdleConsumers": _TRUTH,
        "ensureEvenDistributionOfPartitions": _TRUTH,
        "excludePersistentLag": _TRUTH,
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "tls": {"enum": ["enable", "disable"]},
    },
)

_RULE: Final[Schema] = {
    "oneOf": [
        record({"record": TEXT, "expr": TEXT}, {"labels": LABELS}),
        record(
            {"alert": TEXT, "expr": TEXT, "labels": LABELS, "annotations": LABELS},
            {"for": SPAN, "keep_firing_for": SPAN},
        ),
    ]
}

RESOURCES: Final[dict[str, Schema]] = {
    "KafkaTopic": _resource(
        "kafka.strimzi.io/v1",
        "KafkaTopic",
        record({"topicName": TEXT, "partitions": COUNT, "replicas": COUNT, "config": LABELS}),
    ),
    "KafkaUser": _resource(
        "kafka.strimzi.io/v1",
        "KafkaUser",
        record(
            {
                "authentication": record({"type": {"enum": ["tls", "tls-external", "scram-sha-512"]}}),
                "authorization": record({"type": {"const": "simple"}, "acls": many(_ACL)}),
            }
        ),
    ),
    "ScaledObject": _resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        record(
            {
                "scaleTargetRef": record({"name": TEXT}, {"apiVersion": TEXT, "kind": TEXT}),
                "minReplicaCount": COUNT,
                "maxReplicaCount": COUNT,
                "triggers": many(
                    record(
                        {"type": {"const": "kafka"}, "metadata": _KAFKA_TRIGGER},
                        {"authenticationRef": record({"name": TEXT})},
                    )
                ),
            },
            {
                "pollingInterval": COUNT,
                "cooldownPeriod": COUNT,
                "advanced": record(
                    {
                        "horizontalPodAutoscalerConfig": record(
                            {"behavior": record({"scaleUp": _SCALING, "scaleDown": _SCALING})}
                        )
                    }
                ),
            },
        ),
    ),
    "TriggerAuthentication": _resource(
        "keda.sh/v1alpha1",
        "TriggerAuthentication",
        record({"secretTargetRef": many(record({"parameter": TEXT, "name": TEXT, "key": TEXT}))}),
    ),
    "PodMonitor": _resource(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        record(
            {
                "selector": record({"matchLabels": LABELS}),
                "podMetricsEndpoints": many(
                    record(
                        {"port": TEXT, "path": TEXT},
                        {
                            "interval": SPAN,
                            "scrapeTimeout": SPAN,
                            "relabelings": many(
                                record(
                                    {"targetLabel": TEXT},
                                    {
                                        "action": {"enum": ["replace"]},
                                        "replacement": TEXT,
                                        "sourceLabels": many(TEXT),
                                    },
                                )
                            ),
                        },
                    )
                ),
            }
        ),
    ),
    "PrometheusRule": _resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        record({"groups": many(record({"name": TEXT, "rules": many(_RULE)}, {"interval": SPAN}))}),
    ),
}


def definitions() -> Iterator[tuple[str, Schema]]:
    """Yield kind and schema of the CustomResourceDefinitions that `IMPACTD_CRDS` names."""
    directory = os.environ.get(CRDS_VARIABLE)
    for path in sorted(Path(directory).glob("*.yaml")) if directory else ():
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            if document is None or document["kind"] != "CustomResourceDefinition":
                continue
            spec = document["spec"]
            for version in spec["versions"]:
                if version["served"]:
                    name = f"{spec['group']}/{version['name']} {spec['names']['kind']}"
                    yield name, _closed(version["schema"]["openAPIV3Schema"])


def _closed(schema: Schema) -> Schema:
    """Return a structural schema as JSON Schema: what it does not name may not be there."""
    made = {name: value for name, value in schema.items() if not name.startswith("x-kubernetes-")}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    if "properties" in schema:
        made["properties"] = {name: _closed(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _closed(schema["additionalProperties"])
    if "items" in schema:
        made["items"] = _closed(schema["items"])
    return made
