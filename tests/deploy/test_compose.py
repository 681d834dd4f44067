"""deploy/compose.yaml: valid by the Compose Specification, and made of what the image, the service and deploy/ have.

The schema is the specification's own (compose-go 2.16.2, schema/compose-spec.json).
"""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import click
import jsonschema
import pytest
import yaml

from impactd.cli import cli
from impactd.config import load
from impactd.shell.broker.server import KAFKA_VERSION
from tests.deploy import tools
from tests.paths import ROOT

DEPLOY: Final = ROOT / "deploy"
FILE: Final = DEPLOY / "compose.yaml"
SCHEMA: Final = Path(__file__).parent / "compose-spec.json.gz"
OURS: Final = ("topics", "impactd", "publisher")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
    return loaded


def dockerfile(instruction: str) -> list[str]:
    """Return the arguments of an instruction wherever it stands in the Dockerfile."""
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    return re.findall(rf"^{instruction} (.*)$", text, re.MULTILINE)


def test_compose_file_is_valid_by_the_specification(compose: dict[str, Any]) -> None:
    schema = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    validator = jsonschema.Draft202012Validator(schema)
    assert [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(compose)] == []


def test_compose_itself_takes_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker compose: install Docker's plugin; the schema judges the file all the same")
    command = [docker, "compose", "--file", str(FILE), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", OURS)
def test_compose_command_is_one_that_impactd_takes(name: str, compose: dict[str, Any]) -> None:
    words = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in compose["services"][name]["command"]]
    files = ROOT / compose["services"][name]["volumes"][0].partition(":")[0].removeprefix("../")
    words = [str(files / word) if (files / word).is_file() else word for word in words]
    context = click.Context(cli, info_name="impactd")
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    # Parses, and has every file that it names.
    command.make_context("impactd", words)


@pytest.mark.parametrize("name", OURS)
def test_compose_settings_are_those_of_the_service(name: str, compose: dict[str, Any]) -> None:
    service = compose["services"][name]
    source, target, mode = service["volumes"][0].split(":")
    # Where the image's commands look for settings.
    assert (target, mode) == (dockerfile("WORKDIR")[-1], "ro")
    settings = load(DEPLOY / source / "impactd.toml", environ=service["environment"]).settings
    assert settings.kafka.bootstrap == "kafka:9092"
    assert settings.http.host != "127.0.0.1"
    assert settings.plans.apply == "in_event_time"


@pytest.mark.parametrize("name", OURS)
def test_compose_confines_what_is_ours(name: str, compose: dict[str, Any]) -> None:
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_compose_publishes_on_loopback_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_has_a_port_for_each_of_the_service(compose: dict[str, Any]) -> None:
    service = compose["services"]["impactd"]
    (published,) = service["ports"]
    first, last = map(int, published.split(":")[1].split("-"))
    assert last - first + 1 == service["deploy"]["replicas"] == 2
    page = compose["services"]["page"]["ports"][0]
    assert [port.rsplit(":", 1)[1] for port in (published, page)] == dockerfile("EXPOSE")[0].split()


def test_compose_stops_no_service_before_its_drain(compose: dict[str, Any]) -> None:
    drain_s = load(environ={}).settings.kafka.drain_timeout_ms / 1000
    assert int(compose["services"]["impactd"]["stop_grace_period"].removesuffix("s")) >= drain_s + 5


def test_compose_runs_the_kafka_that_is_tested(compose: dict[str, Any]) -> None:
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_compose_mounts_what_is_there(compose: dict[str, Any]) -> None:
    volumes = [volume for service in compose["services"].values() for volume in service.get("volumes", ())]
    for volume in volumes:
        source = volume.partition(":")[0]
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
        else:
            assert source in compose["volumes"]


def test_prometheus_asks_the_service_that_compose_runs(compose: dict[str, Any]) -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    (job,) = config["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert found["names"] == [job["job_name"]]
    assert job["job_name"] in compose["services"]
    assert str(found["port"]) == dockerfile("EXPOSE")[0].split()[0]
    for pattern in config["rule_files"]:
        rules = sorted((DEPLOY / "prometheus").glob(pattern))
        assert rules
        assert all("groups" in yaml.safe_load(path.read_text("utf-8")) for path in rules)


def test_prometheus_takes_its_settings(request: pytest.FixtureRequest) -> None:
    promtool = tools.need("promtool", request)
    command = [str(promtool), "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_is_provisioned_with_what_is_there(compose: dict[str, Any]) -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    grafana = compose["services"]["grafana"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "impactd.yaml").read_text("utf-8"))["providers"]
    mounted = {target: DEPLOY / path for path, target, _ in (volume.split(":") for volume in grafana["volumes"])}
    dashboards = mounted[provider["options"]["path"]]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    # It finds the source by the name, or by its place as the default.
    text = (dashboards / home.name).read_text("utf-8")
    uids = set(re.findall(r'"uid": "([^"]+)"', json.dumps(_sources(json.loads(text)))))
    assert uids <= {source["uid"], "${datasource}", "-- Grafana --"}


def _sources(node: object) -> list[object]:
    """Return every data source that a dashboard names."""
    if isinstance(node, dict):
        own = [node["datasource"]] if "datasource" in node else []
        return own + [found for value in node.values() for found in _sources(value)]
    return [found for value in node for found in _sources(value)] if isinstance(node, list) else []


def test_image_takes_signals_itself_and_runs_as_nobody() -> None:
    # In exec form no shell stands between the service and the signal.
    for instruction in ("ENTRYPOINT", "CMD"):
        assert json.loads(dockerfile(instruction)[-1])
    assert json.loads(dockerfile("HEALTHCHECK")[-1].partition("CMD ")[2])[0] == "impactd"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", dockerfile("USER")[-1])
    assert shlex.split(dockerfile("STOPSIGNAL")[-1]) == ["SIGTERM"]


def test_image_is_built_from_what_is_needed_alone() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    copied = [word for line in dockerfile("COPY") if not line.startswith("--from") for word in line.split()[:-1]]
    assert {path.partition("/")[0] for path in copied} == set(kept)
    assert all((ROOT / path).exists() for path in kept)
