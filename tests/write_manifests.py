"""Write the parts of deploy/ that are made from others: ``python -m tests.write_manifests``.

The topics, and the user with its rights, come from the settings in the base;
the rules for the Prometheus operator from those for Prometheus itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from impactd.config import Settings, load
from impactd.config.sources import Override
from impactd.shell.kafka.strimzi import strimzi_topics, strimzi_user, to_yaml
from tests.paths import ROOT

DEPLOY: Final = ROOT / "deploy"
KUBERNETES: Final = DEPLOY / "kubernetes"
RULES: Final = DEPLOY / "prometheus" / "rules"

TOPICS: Final = KUBERNETES / "components" / "strimzi" / "topics.yaml"
RULES_RESOURCE: Final = KUBERNETES / "components" / "prometheus-operator" / "rules.yaml"

#: Name of the Kafka resource that the manifests belong to.
CLUSTER: Final = "kafka"

_MADE: Final = "# Made by `python -m tests.write_manifests`.\n"


def settings_of(file: Path, environ: Mapping[str, str]) -> Settings:
    """Return the settings of a pod: its file and environment, its mounted token something else."""
    with tempfile.NamedTemporaryFile("w", suffix=".token") as token:
        token.write("a-token")
        token.flush()
        return load(file, environ=environ, overrides=(Override("http.token_file", token.name, "--token"),)).settings


def topics() -> str:
    """Return the topics and the user of the base's settings."""
    kafka = settings_of(KUBERNETES / "base" / "impactd.toml", {})
    return _MADE + to_yaml([*strimzi_topics(kafka, CLUSTER), strimzi_user(kafka, CLUSTER, "impactd")])


def rule_groups() -> list[dict[str, Any]]:
    """Return the groups of all rule files."""
    files = sorted(RULES.glob("*.yaml"))
    return [group for path in files for group in yaml.safe_load(path.read_text("utf-8"))["groups"]]


def rules_resource() -> str:
    """Return the rules as the Prometheus operator takes them."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "impactd"},
        "spec": {"groups": rule_groups()},
    }
    return _MADE + to_yaml([resource])


if __name__ == "__main__":
    TOPICS.write_text(topics(), encoding="utf-8")
    RULES_RESOURCE.write_text(rules_resource(), encoding="utf-8")
