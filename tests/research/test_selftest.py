"""The daily check: healthy where all is well, and each check fails on what it is there for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from impactd.cli import cli
from impactd.config.operation import SelftestSection
from impactd.research import selftest as module
from impactd.research.compare import Day, generated_day, recorded_day
from impactd.research.errors import ValidationError
from impactd.research.selftest import Check, Selftest, run_selftest
from impactd.shell.sample import Sample

#: Far above what a busy machine takes: these tests are not about speed.
LENIENT = SelftestSection(max_generate_s=60, max_estimate_s=60, max_fit_s=60, max_optimize_s=60, max_solve_s=60)

GOOD = Sample(partitions=4, records=100, rows=1_000, refused={}, symbols=3, age_s=0.5)


@pytest.fixture(scope="module")
def healthy() -> Selftest:
    return run_selftest(LENIENT, [lambda: generated_day(5, n_snapshots=60)], lambda: GOOD)


def _of(found: Selftest, name: str) -> Check:
    return next(check for check in found.checks if check.name.startswith(name))


def _limits(**changed: float) -> SelftestSection:
    lenient = dict.fromkeys(("max_generate_s", "max_estimate_s", "max_fit_s", "max_optimize_s", "max_solve_s"), 60.0)
    return SelftestSection(**lenient | changed)


def test_selftest_where_all_is_well_is_healthy(healthy: Selftest) -> None:
    assert healthy.healthy, [check for check in healthy.checks if not check.healthy]
    assert healthy.monitoring["status"] == "HEALTHY"
    assert healthy.monitoring["operations"].keys() == {"generate", "estimate", "fit", "optimize", "solve"}


def test_selftest_solvers_agree_with_the_closed_form(healthy: Selftest) -> None:
    figures = _of(healthy, "solvers").figures
    assert {"analytical", "exact", "closed form"} <= figures.keys()


@pytest.mark.parametrize("limit", ["max_generate_s", "max_estimate_s", "max_fit_s", "max_optimize_s", "max_solve_s"])
def test_selftest_operation_over_its_limit_is_not_healthy(limit: str) -> None:
    found = module._Runner(_limits(**{limit: 1e-9}), module.ProductionMonitor()).benchmarks()
    assert not found.healthy
    assert "takes" in found.text


def test_selftest_worse_fit_than_the_limit_is_not_healthy() -> None:
    runner = module._Runner(_limits(min_test_r2=0.999999, max_fit_error_pct=1e-6), module.ProductionMonitor())
    assert not runner.generated().healthy
    assert not runner.recorded(generated_day(5, n_snapshots=60)).healthy


def test_selftest_solvers_that_differ_are_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.TradeAllocator.solve_with

    def wrong(self: module.TradeAllocator, name: str) -> dict[str, object]:
        found = real(self, name)
        return found | {"optimal_cost": found["optimal_cost"] * 1.001} if name == "exact" else found

    monkeypatch.setattr(module.TradeAllocator, "solve_with", wrong)
    assert not module._Runner(LENIENT, module.ProductionMonitor()).solvers().healthy


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (Sample(4, 0, 0, {}, 0, None), "no tick"),
        (Sample(4, 100, 900, {"json": 11}, 3, 0.5), "11.0% cannot be used"),
        (Sample(4, 100, 1_000, {}, 3, 61.0), "older than 60 s"),
    ],
)
def test_selftest_live_sample_that_is_empty_broken_or_old_is_not_healthy(sample: Sample, said: str) -> None:
    found = module._Runner(_limits(max_tick_age_s=60), module.ProductionMonitor()).live(sample)
    assert not found.healthy
    assert said in found.text


def test_selftest_check_that_raises_has_failed_and_the_others_continue() -> None:
    def unreadable() -> Day:
        raise ValidationError(1001, "day.csv: no book in it", "name another file")

    found = run_selftest(LENIENT, [unreadable])
    assert not found.healthy
    assert "no book in it" in _of(found, "recorded day 1").text
    assert _of(found, "benchmarks").healthy


def test_selftest_recorded_day_is_within_the_default_limits(data_dir: Path) -> None:
    check = module._Runner(LENIENT, module.ProductionMonitor()).recorded(
        recorded_day(data_dir / "FROG_2025-04-03_mbp10.csv.gz")
    )
    assert check.healthy, check.text


@pytest.fixture
def invoke(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    lenient = [f"selftest.{name}={60}" for name in ("max_estimate_s", "max_fit_s", "max_optimize_s", "max_solve_s")]

    def run(*args: str) -> tuple[int, str]:
        sets = [part for text in lenient for part in ("--set", text)]
        result = CliRunner().invoke(cli, ["selftest", "--out", str(tmp_path), *sets, *args])
        return result.exit_code, result.output

    return run


def test_selftest_command_writes_dated_reports(invoke: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    code, output = invoke()
    assert code == 0, output
    (document,) = tmp_path.glob("selftest-????-??-??.json")
    said = json.loads(document.read_text("utf-8"))
    assert said["healthy"] is True
    assert {"generated day", "solvers", "benchmarks", "monitoring"} <= {check["name"] for check in said["checks"]}
    assert 'data-level="good"' in document.with_suffix(".html").read_text("utf-8")


def test_selftest_command_not_healthy_exits_1_and_names_the_check(
    invoke: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    code, output = invoke("--set", "selftest.min_test_r2=1.0")
    assert code == 1
    assert "not healthy: generated day" in output
    (page,) = tmp_path.glob("*.html")
    assert 'data-level="bad"' in page.read_text("utf-8")


def test_selftest_command_without_an_answering_broker_is_not_healthy(invoke: Callable[..., tuple[int, str]]) -> None:
    code, output = invoke("--bootstrap", "127.0.0.1:1", "--set", "kafka.request_timeout_ms=1000")
    assert code == 1
    assert "live sample" in output
