"""deploy/kubernetes: what Kubernetes and the operators take, and what agrees with the service itself."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import pytest
import yaml

from impactd.__about__ import __version__
from impactd.config import Settings
from impactd.shell.http import Views, application
from impactd.shell.kafka.strimzi import strimzi_topics, strimzi_user
from tests.deploy import tools
from tests.deploy.schemas import CRDS_VARIABLE, RESOURCES, definitions
from tests.paths import ROOT
from tests.test_docs import parsed
from tests.write_manifests import CLUSTER, KUBERNETES, RULES_RESOURCE, TOPICS, rules_resource, settings_of, topics

BASE: Final = KUBERNETES / "base"
PRODUCTION: Final = KUBERNETES / "overlays" / "production"
LAYERS: Final = (BASE, PRODUCTION)

#: The oldest release that the manifests are for, and the newest that the schemas know.
KUBERNETES_VERSIONS: Final = ("1.29", kubernetes_validate.latest_version())

#: Secrets that somebody else makes: the cluster's own, the one that the README asks for; and those of each KafkaUser.
SECRETS: Final = {"kafka-cluster-ca-cert": {"ca.crt"}, "impactd-page": {"token"}}
USER_KEYS: Final = {"user.crt", "user.key"}

LABELS_OF_STRIMZI: Final = {"strimzi.io/cluster": CLUSTER}

Resource = dict[str, Any]


def files() -> list[Path]:
    found = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")
    assert len(found) > 8
    return found


def documents(text: str) -> list[Resource]:
    return [document for document in yaml.safe_load_all(text) if document is not None]


@functools.cache
def _by_kind(directory: Path) -> Mapping[str, list[Resource]]:
    text = tools.kustomization(directory)
    assert text is not None
    found: dict[str, list[Resource]] = {}
    for document in documents(text):
        found.setdefault(document["kind"], []).append(document)
    return found


@pytest.fixture(params=LAYERS, ids=lambda path: path.name)
def layer(request: pytest.FixtureRequest) -> Mapping[str, list[Resource]]:
    """Return what kustomize makes of a layer, by kind."""
    if tools.kustomization(request.param) is None:
        tools.without("kustomize", request)
    return _by_kind(request.param)


@pytest.fixture
def production(request: pytest.FixtureRequest) -> Mapping[str, list[Resource]]:
    if tools.kustomization(PRODUCTION) is None:
        tools.without("kustomize", request)
    return _by_kind(PRODUCTION)


def named(resources: list[Resource], name: str = "impactd") -> Resource:
    (found,) = [resource for resource in resources if resource["metadata"]["name"] == name]
    return found


def pod(layer: Mapping[str, list[Resource]]) -> Resource:
    return named(layer["Deployment"])["spec"]["template"]["spec"]


def container(layer: Mapping[str, list[Resource]]) -> Resource:
    (only,) = pod(layer)["containers"]
    return only


def environment(layer: Mapping[str, list[Resource]]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container(layer)["env"]}


def settings(layer: Mapping[str, list[Resource]], directory: Path) -> Settings:
    """Return the settings that the pod's own sources come to."""
    (config,) = layer["ConfigMap"]
    file = directory / "impactd.toml"
    file.write_text(config["data"]["impactd.toml"], encoding="utf-8")
    return settings_of(file, environment(layer) | {"IMPACTD_CONFIG": str(file)})


def judge(resource: Resource) -> None:
    """Fail on anything that Kubernetes, or the operator of a custom resource, would not take."""
    if resource["kind"] in RESOURCES:
        jsonschema.Draft202012Validator(RESOURCES[resource["kind"]]).validate(resource)
        return
    for version in KUBERNETES_VERSIONS:
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(KUBERNETES)))
def test_file_holds_only_what_its_schema_knows(path: Path) -> None:
    for resource in documents(path.read_text("utf-8")):
        judge(resource)


def test_judge_unknown_or_wrong_field_is_refused() -> None:
    deployment = documents((BASE / "deployment.yaml").read_text("utf-8"))[0]
    deployment["spec"]["replica"] = 2
    with pytest.raises(jsonschema.ValidationError):
        judge(deployment)
    scaled = documents((KUBERNETES / "components" / "keda" / "scaledobject.yaml").read_text("utf-8"))[0]
    scaled["spec"]["triggers"][0]["metadata"]["excludePersistentLag"] = True
    with pytest.raises(jsonschema.ValidationError):
        judge(scaled)


def test_every_resource_of_a_layer_is_one_that_the_cluster_takes(layer: Mapping[str, list[Resource]]) -> None:
    for resources in layer.values():
        for resource in resources:
            judge(resource)


def test_custom_resources_hold_against_the_operators_own_definitions(
    request: pytest.FixtureRequest, production: Mapping[str, list[Resource]]
) -> None:
    schemas = dict(definitions())
    if not schemas:
        pytest.skip(f"no CustomResourceDefinitions: {CRDS_VARIABLE} names a directory of them")
    judged = 0
    for kind in RESOURCES:
        for resource in production[kind]:
            schema = schemas[f"{resource['apiVersion']} {kind}"]
            jsonschema.Draft202012Validator(schema).validate(resource)
            judged += 1
    assert judged


def test_topics_and_rights_are_those_of_the_base() -> None:
    assert TOPICS.read_text("utf-8") == topics(), "write them again: python -m tests.write_manifests"


def test_rules_of_the_operator_are_those_of_prometheus() -> None:
    assert RULES_RESOURCE.read_text("utf-8") == rules_resource(), "write them again: python -m tests.write_manifests"


def test_settings_of_a_layer_are_accepted_and_fit_the_pod(layer: Mapping[str, list[Resource]], tmp_path: Path) -> None:
    found = settings(layer, tmp_path)
    only = container(layer)
    assert [port["containerPort"] for port in only["ports"]] == [found.http.port]
    assert found.http.host == "0.0.0.0"  # noqa: S104  (probes and Prometheus come from outside the pod)
    assert pod(layer)["terminationGracePeriodSeconds"] > found.kafka.drain_timeout_ms / 1000 + 1
    # A stuck process should say why before anybody kills it.
    live = only["livenessProbe"]
    assert live["periodSeconds"] * live["failureThreshold"] <= found.health.stuck_after_s
    assert found.topics.min_insync_replicas < found.topics.replication_factor


def test_files_that_the_settings_name_are_mounted(layer: Mapping[str, list[Resource]], tmp_path: Path) -> None:
    found = settings(layer, tmp_path).kafka.security
    text = layer["ConfigMap"][0]["data"]["impactd.toml"]
    token = re.search(r'token_file = "(.*)"', text)
    assert token is not None
    volumes = {volume["name"]: volume for volume in pod(layer)["volumes"]}
    mounted = {environment(layer)["IMPACTD_CONFIG"]: "config"} | {
        f"{mount['mountPath']}/{item['path']}": mount["name"]
        for mount in container(layer)["volumeMounts"]
        for item in volumes[mount["name"]].get("secret", {}).get("items", ())
    }
    assert {found.ca_file, found.cert_file, found.key_file, token[1]} <= set(mounted)
    assert {mount["name"] for mount in container(layer)["volumeMounts"]} == set(volumes)
    assert volumes["config"]["configMap"]["name"] == layer["ConfigMap"][0]["metadata"]["name"]


def test_secrets_are_named_and_made_by_somebody(production: Mapping[str, list[Resource]]) -> None:
    made = SECRETS | {user["metadata"]["name"]: USER_KEYS for user in production["KafkaUser"]}
    secrets = [volume["secret"] for volume in pod(production)["volumes"] if "secret" in volume]
    wanted = [(secret["secretName"], item["key"]) for secret in secrets for item in secret["items"]]
    (authentication,) = production["TriggerAuthentication"]
    wanted += [(entry["name"], entry["key"]) for entry in authentication["spec"]["secretTargetRef"]]
    assert all(key in made[name] for name, key in wanted)
    assert "Secret" not in production
    readme = (KUBERNETES / "README.md").read_text("utf-8")
    assert all(name in readme for name in SECRETS)


def test_topics_and_user_of_production_are_what_the_service_would_make(
    production: Mapping[str, list[Resource]], tmp_path: Path
) -> None:
    kafka = settings(production, tmp_path)

    def plain(resource: Resource) -> Resource:
        return {**resource, "metadata": {"name": resource["metadata"]["name"], "labels": LABELS_OF_STRIMZI}}

    found = {topic["metadata"]["name"]: plain(topic) for topic in production["KafkaTopic"]}
    assert found == {topic["metadata"]["name"]: topic for topic in strimzi_topics(kafka, CLUSTER)}
    users = {user["metadata"]["name"]: plain(user) for user in production["KafkaUser"]}
    assert users["impactd"] == strimzi_user(kafka, CLUSTER, "impactd")


def test_user_that_reads_the_lag_may_only_look(production: Mapping[str, list[Resource]]) -> None:
    (user,) = [user for user in production["KafkaUser"] if user["metadata"]["name"] == "impactd-lag"]
    (scaled,) = production["ScaledObject"]
    trigger = scaled["spec"]["triggers"][0]["metadata"]
    rights = {(acl["resource"]["type"], acl["resource"]["name"]) for acl in user["spec"]["authorization"]["acls"]}
    assert rights == {("topic", trigger["topic"]), ("group", trigger["consumerGroup"])}
    assert {operation for acl in user["spec"]["authorization"]["acls"] for operation in acl["operations"]} == {
        "Describe"
    }


def test_scaler_looks_at_the_service_own_topic_and_stops_at_its_partitions(
    production: Mapping[str, list[Resource]], tmp_path: Path
) -> None:
    found = settings(production, tmp_path)
    (scaled,) = production["ScaledObject"]
    spec, trigger = scaled["spec"], scaled["spec"]["triggers"][0]["metadata"]
    assert spec["maxReplicaCount"] == found.topics.partitions
    assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"]
    assert spec["scaleTargetRef"]["name"] == named(production["Deployment"])["metadata"]["name"]
    assert trigger["bootstrapServers"] == found.kafka.bootstrap
    assert trigger["consumerGroup"] == found.kafka.group
    assert trigger["topic"] == found.topics.prefix + "ticks"
    assert trigger["offsetResetPolicy"] == found.kafka.start
    # Help is called before what waits makes a process unready.
    partitions_of_one = found.topics.partitions / spec["minReplicaCount"]
    assert int(trigger["lagThreshold"]) <= found.health.max_lag * partitions_of_one
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 600
    assert "replicas" not in named(production["Deployment"])["spec"]


def test_probes_ask_for_what_the_service_serves(layer: Mapping[str, list[Resource]]) -> None:
    app = application(Views(lambda: None, list, lambda: None))
    served = {resource.canonical for resource in app.router.resources()}
    only = container(layer)
    ports = {port["name"] for port in only["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = only[probe]["httpGet"]
        assert asked["path"] in served
        assert asked["port"] in ports
    for monitor in layer.get("PodMonitor", ()):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert (endpoint["path"] in served, endpoint["port"] in ports) == (True, True)


def test_pod_holds_to_the_restricted_standard(layer: Mapping[str, list[Resource]]) -> None:
    of_pod, of_container = pod(layer)["securityContext"], container(layer)["securityContext"]
    assert of_pod["runAsNonRoot"] is True
    assert of_pod["runAsUser"] > 0
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert of_container["allowPrivilegeEscalation"] is False
    assert of_container["readOnlyRootFilesystem"] is True
    assert of_container["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod(layer))
    assert all({"configMap", "secret", "emptyDir"} & set(volume) for volume in pod(layer)["volumes"])
    assert pod(layer)["automountServiceAccountToken"] is False


def test_one_place_is_written_to_and_it_is_the_image_own(layer: Mapping[str, list[Resource]]) -> None:
    volumes = {volume["name"] for volume in pod(layer)["volumes"] if "emptyDir" in volume}
    (mount,) = [mount for mount in container(layer)["volumeMounts"] if mount["name"] in volumes]
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert f"NUMBA_CACHE_DIR={mount['mountPath']}" in dockerfile
    assert f"USER {pod(layer)['securityContext']['runAsUser']}" in dockerfile
    assert all(mount.get("readOnly") for mount in container(layer)["volumeMounts"] if mount["name"] not in volumes)


def selectors(layer: Mapping[str, list[Resource]]) -> Iterator[Mapping[str, str]]:
    yield named(layer["Deployment"])["spec"]["selector"]["matchLabels"]
    yield layer["PodDisruptionBudget"][0]["spec"]["selector"]["matchLabels"]
    yield named(layer["NetworkPolicy"])["spec"]["podSelector"]["matchLabels"]
    for monitor in layer.get("PodMonitor", ()):
        yield monitor["spec"]["selector"]["matchLabels"]


def test_selectors_find_the_pods(layer: Mapping[str, list[Resource]]) -> None:
    labels = named(layer["Deployment"])["spec"]["template"]["metadata"]["labels"]
    for selector in selectors(layer):
        assert selector.items() <= labels.items()


def test_page_is_the_service_own_image_and_settings_in_a_pod_that_no_selector_of_the_service_finds(
    production: Mapping[str, list[Resource]], tmp_path: Path
) -> None:
    page, service = (named(production["Deployment"], name) for name in ("impactd-page", "impactd"))
    pods = [deployment["spec"]["template"] for deployment in (page, service)]
    for selector in selectors(production):
        assert not selector.items() <= pods[0]["metadata"]["labels"].items()
    (of_page,), (of_service,) = ([*pod["spec"]["containers"]] for pod in pods)
    assert of_page["image"] == of_service["image"]
    assert pods[0]["spec"]["securityContext"] == pods[1]["spec"]["securityContext"]
    assert of_page["securityContext"] == of_service["securityContext"]
    assert of_page["volumeMounts"] == of_service["volumeMounts"]
    assert pods[0]["spec"]["volumes"] == pods[1]["spec"]["volumes"]
    found = settings(production, tmp_path).http
    assert [port["containerPort"] for port in of_page["ports"]] == [found.page_port]
    parsed(["impactd", *of_page["args"]])
    headless = named(production["Service"])
    assert headless["spec"]["clusterIP"] == "None"
    assert headless["spec"]["selector"].items() <= pods[1]["metadata"]["labels"].items()
    address = f"http://{headless['metadata']['name']}:{found.port}"
    assert of_page["args"] == ["page", "--service", address]
    # Each way is open at both ends.
    policy, theirs = (named(production["NetworkPolicy"], name) for name in ("impactd-page", "impactd"))
    assert found.port in {entry["port"] for rule in policy["spec"]["egress"] for entry in rule["ports"]}
    admitted = [peer.get("podSelector", {}) for rule in theirs["spec"]["ingress"] for peer in rule["from"]]
    assert {"matchLabels": page["spec"]["selector"]["matchLabels"]} in admitted


def test_policy_lets_the_brokers_be_reached(layer: Mapping[str, list[Resource]], tmp_path: Path) -> None:
    port = int(settings(layer, tmp_path).kafka.bootstrap.rpartition(":")[2])
    policy = named(layer["NetworkPolicy"])
    assert port in {entry["port"] for rule in policy["spec"]["egress"] for entry in rule["ports"]}


def test_image_of_production_is_of_this_release(production: Mapping[str, list[Resource]]) -> None:
    assert container(production)["image"].rpartition(":")[2] == __version__


def test_commands_of_the_readme_are_understood_in_the_pod_and_name_directories_that_there_are() -> None:
    text = (KUBERNETES / "README.md").read_text("utf-8")
    inside = re.findall(r"^    kubectl .* -- (impactd .*)$", text, re.MULTILINE)
    assert len(inside) > 1
    for line in inside:
        parsed(shlex.split(line))
    directories = re.findall(r"--kustomize (\S+)", text)
    assert directories
    assert all((ROOT / directory / "kustomization.yaml").is_file() for directory in directories if "/" in directory)
