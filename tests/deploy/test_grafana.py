"""deploy/grafana: every query of the dashboard asks for what the service exports, and every panel has its place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final

import pytest

from impactd.shell.metrics import METRICS
from tests.deploy.queries import complaints, selectors
from tests.write_manifests import DEPLOY

DASHBOARD: Final[dict[str, Any]] = json.loads((DEPLOY / "grafana" / "dashboards" / "impactd.json").read_text("utf-8"))
PANELS: Final[list[dict[str, Any]]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES: Final[list[dict[str, Any]]] = DASHBOARD["templating"]["list"]

#: What Grafana puts into queries by itself.
BUILT_IN: Final = {"$__rate_interval": "5m"}

#: Metrics that no panel shows, and why.
NOT_SHOWN: Final = {
    "impactd_calendar_end_timestamp_seconds": "a date years ahead; the log warns 90 days before",
    "impactd_draining": "seconds long, and in the phases",
    "impactd_outputs_total": "plans, alerts and dead letters are shown by their contents",
    "impactd_position": "grows",
    "impactd_positions_lost": "an alert, and a halt",
    "impactd_standby_bytes": "a bound of kafka.standby_bytes, asked for by hand",
    "impactd_standby_partitions": "as many as there are, where processes stand by",
}

#: Raised by Prometheus itself.
ALERTS_SERIES: Final = {"ALERTS": frozenset({"alertname", "alertstate", "severity"})}


def queries() -> Iterator[tuple[str, str]]:
    """Yield place and text of every query, with Grafana's own variables replaced."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"{panel['title']}-{target['refId']}", target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in VARIABLES:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert found is not None
            yield variable["name"], f"group by ({found[2]}) ({found[1]})"


def filled(query: str) -> str:
    for name, value in BUILT_IN.items():
        query = query.replace(name, value)
    return query


@pytest.mark.parametrize("query", [pytest.param(text, id=place) for place, text in queries()])
def test_query_asks_for_what_is_exported(query: str) -> None:
    assert list(complaints(filled(query), ALERTS_SERIES)) == []


@pytest.mark.parametrize("query", [pytest.param(text, id=place) for place, text in queries()])
def test_query_uses_only_variables_that_there_are(query: str) -> None:
    known = {variable["name"] for variable in VARIABLES}
    assert set(re.findall(r"\$(\w+)", filled(query))) <= known


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panel_states_what_it_shows_and_where_from(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert {source["uid"] for source in sources} == {"${datasource}"}
    # Of one deployment at a time: two on one Prometheus are not added up.
    ours = [s for target in panel["targets"] for s in selectors(filled(target["expr"])) if s.name != "ALERTS"]
    assert all(("job", "=", "$job") in selector.matchers for selector in ours)


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


def test_every_metric_is_shown_or_left_out_for_a_reason() -> None:
    asked = {selector.name for _, query in queries() for selector in selectors(filled(query))}
    shown = {row.name for row in METRICS if asked & {row.name, f"{row.name}_bucket"}}
    assert {row.name for row in METRICS} - shown == set(NOT_SHOWN)
