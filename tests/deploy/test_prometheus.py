"""deploy/prometheus: the rules ask for what is exported, lead to the runbook, fire and stay quiet."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from impactd.config import Settings
from impactd.core.market.bands import WIDE_LEVEL
from tests.deploy import tools
from tests.deploy.queries import complaints, grouped_by, selectors
from tests.paths import ROOT
from tests.write_manifests import DEPLOY, RULES, rule_groups

TESTS: Final = DEPLOY / "prometheus" / "tests"

RULES_OF_ALL: Final[list[dict[str, Any]]] = [rule for group in rule_groups() for rule in group["rules"]]
ALERTS: Final = [rule for rule in RULES_OF_ALL if "alert" in rule]
RECORDS: Final = [rule for rule in RULES_OF_ALL if "record" in rule]

#: The series that the recording rules make. Each says in its name what it is grouped by, and does so.
RECORDED: Final = {
    rule["record"]: frozenset(rule["record"].split(":")[0].split("_")) | (grouped_by(rule["expr"]) & {"job"})
    for rule in RECORDS
}


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("rule", RULES_OF_ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rule_asks_for_what_is_exported(rule: dict[str, Any]) -> None:
    assert list(complaints(rule["expr"], RECORDED)) == []


@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: rule["record"])
def test_recorded_series_has_the_labels_that_its_name_says(rule: dict[str, Any]) -> None:
    level = set(rule["record"].split(":")[0].split("_"))
    assert level - {"instance", "partition", "topic", "kind", "reason", "level"} <= {"job"}
    assert level <= grouped_by(rule["expr"])


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alert_has_a_severity_a_summary_and_its_place_in_the_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor in anchors((ROOT / page).read_text("utf-8"))


def test_bands_that_are_watched_are_those_that_plans_have() -> None:
    (rule,) = [rule for rule in ALERTS if rule["alert"] == "ImpactdBandsOff"]
    watched = {
        value for selector in selectors(rule["expr"]) for label, _, value in selector.matchers if label == "level"
    }
    assert watched == {f"{level:g}" for level in (Settings().plans.band_level, WIDE_LEVEL)}


def test_runbook_has_no_alert_that_nobody_raises() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    assert set(re.findall(r"^### (Impactd\w+)$", page, re.MULTILINE)) == {rule["alert"] for rule in ALERTS}


def test_alert_names_are_unlike() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("impactd_lag > 0", "no such metric: impactd_lag"),
        ('impactd_lag_records{symbol="FROG"} > 0', "impactd_lag_records has no label symbol"),
        ('rate(impactd_alerts_total{kind="whale"}[5m])', "impactd_alerts_total: kind = whale is never said"),
        ("sum by (partition, venue) (impactd_commits_total)", "nothing in it has the label venue"),
    ],
)
def test_complaints_made_up_query_is_found_out(query: str, complaint: str) -> None:
    assert list(complaints(query, RECORDED)) == [complaint]


def _tested() -> Iterator[tuple[str, bool]]:
    """Yield what the unit tests say of each alert: its name, and whether it fires."""
    for path in TESTS.glob("*.yaml"):
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            yield from ((case["alertname"], bool(case["exp_alerts"])) for case in test["alert_rule_test"])


def test_every_alert_is_tested_firing_and_quiet() -> None:
    assert set(_tested()) == {(rule["alert"], fires) for rule in ALERTS for fires in (True, False)}


def test_series_of_the_unit_tests_are_ones_that_the_service_exports() -> None:
    tests = [test for path in TESTS.glob("*.yaml") for test in yaml.safe_load(path.read_text("utf-8"))["tests"]]
    series = {entry["series"] for test in tests for entry in test["input_series"]}
    assert [complaint for text in sorted(series) for complaint in complaints(text, RECORDED)] == []


def promtool(request: pytest.FixtureRequest, *words: str) -> None:
    command = tools.need("promtool", request)
    done = subprocess.run([command, *words], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_ones_that_prometheus_takes(request: pytest.FixtureRequest) -> None:
    promtool(request, "check", "rules", *map(str, sorted(RULES.glob("*.yaml"))))


def test_configuration_of_the_trial_is_one_that_prometheus_takes(request: pytest.FixtureRequest) -> None:
    promtool(request, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


def test_rules_fire_and_stay_quiet(request: pytest.FixtureRequest) -> None:
    promtool(request, "test", "rules", *map(str, sorted(TESTS.glob("*.yaml"))))
