"""A whole backtest on days of which the truth is known, and what is written of it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from impactd import read_books
from impactd.cli import cli
from impactd.core.base.settings import SECOND_NS, CoreSettings, PlanSettings
from impactd.research.backtest import page as page_module
from impactd.research.backtest.days import read_tapes
from impactd.research.backtest.evaluate import REACTION_DECAY, STRATEGIES, reaction
from impactd.research.backtest.page import render
from impactd.research.backtest.report import by_latency, encode, figures
from impactd.research.backtest.run import Backtest, run
from impactd.research.backtest.windows import Question, Trial, spans, trials
from impactd.wire.tick_records import encode_ticks
from tests.core.builders import T0, M
from tests.core.rows import Row, batch_of
from tests.research.backtest.made import QUESTION, SETTINGS, noisy_rows, quanta, rows_of, tape_of
from tests.research.errors import fails

POLICIES = ("engine", "twap", "vwap", "vwap_hindsight", "hindsight")


def worked(
    rows: list[Row], question: Question = QUESTION, settings: CoreSettings = SETTINGS, workers: int = 1
) -> Backtest:
    return run([tape_of(rows, settings)], settings, question, POLICIES, workers=workers)


def written(path: Path, rows: list[Row]) -> Path:
    path.write_bytes(b"".join(record.value + b"\n" for record in encode_ticks(batch_of(rows))))
    return path


def test_costs_are_those_by_hand() -> None:
    # 45 shares a minute lie within the first level of a hundred: the half-spread is all that is paid.
    half = [0.01 * (1 + t % 3) for t in range(60)]
    test = worked(rows_of(half, [100.0] * 60, [1.0 + t % 2 for t in range(60)]))
    first = test.outcomes[0].priced
    assert first.cost["twap"] == pytest.approx(45 * sum(half[:20]))
    weights = np.array([1.0 + t % 2 for t in range(20)])
    assert first.cost["vwap_hindsight"] == pytest.approx(900 * float((weights * half[:20]).sum() / weights.sum()))
    # The seven cheapest minutes, to the end of their first level, and what is left at a cent more.
    assert first.cost["hindsight"] == pytest.approx(700 * 0.01 + 200 * 0.02)
    assert first.notional == pytest.approx(90_000)
    assert first.beyond["hindsight"] == 0.0


def test_engine_where_nothing_is_predictable_costs_what_twap_costs() -> None:
    flat = tape_of(rows_of([0.02] * 60, [100.0] * 60))
    test = run([flat], SETTINGS, QUESTION, ("engine", "engine_no_prior", "twap", "hindsight"))
    for outcome in test.outcomes:
        cost = outcome.priced.cost
        assert cost["engine_no_prior"] == pytest.approx(cost["twap"], rel=1e-9)
        # The prior expects a dear open; what is shifted for it stays within the second level.
        assert cost["engine"] == pytest.approx(cost["twap"], rel=3e-2)


def test_cap_holds_for_every_policy() -> None:
    question = dataclasses.replace(QUESTION, qty=(3_000.0,), depth_cap=0.1)
    test = worked(noisy_rows(1), question)
    (tape,) = (tape_of(noisy_rows(1)),)
    caps = [trial.order.cap / 1e9 for trial in trials(question, tape.days[0]) if isinstance(trial, Trial)]
    for outcome, cap in zip(test.outcomes, caps, strict=True):
        n = len(outcome.paths["twap"])
        assert cap == pytest.approx(2 * 3_000 / n)  # twice TWAP's rate, which is more than a tenth of the depth
        for path in outcome.paths.values():
            assert path.max() <= cap + 1e-9
            assert path.sum() == pytest.approx(3_000)


def test_no_policy_beats_hindsight() -> None:
    test = worked(noisy_rows(4))
    for outcome in test.outcomes:
        assert min(outcome.priced.cost.values()) >= outcome.priced.cost["hindsight"] - 1e-9


def test_windows_are_disjoint_and_a_trimmed_one_is_cut() -> None:
    (day,) = tape_of(noisy_rows(0)).days
    found = spans(Question(horizon_min=20, from_s=36_000, to_s=39_600), day)
    assert [(start - T0) // M for start, _ in sorted(found)] == [0, 20, 30, 40, 40]
    assert found[T0 + 40 * M, T0 + 60 * M] == ["windows"]
    assert found[T0 + 40 * M, T0 + 50 * M] == ["windows_trimmed"]
    assert found[T0 + 30 * M, T0 + 40 * M] == ["windows_trimmed"]
    every = spans(Question(horizon_min=20, every_min=5, from_s=36_000, to_s=39_600), day)
    assert sum("windows" in kinds for kinds in every.values()) == 9


def test_windows_without_a_book_are_left_out_and_said() -> None:
    rows = [row for row in noisy_rows(0) if not T0 + 25 * M <= row.ts < T0 + 28 * M]
    settings = dataclasses.replace(SETTINGS, books=dataclasses.replace(SETTINGS.books, max_book_age_ns=30_000_000_000))
    (day,) = tape_of(rows, settings).days
    said = [found for found in trials(QUESTION, day) if isinstance(found, str)]
    assert said == ["FROG 2025-04-03: no book in 2 of 20 intervals of a window"]


def test_sizes_by_participation_and_by_depth() -> None:
    (day,) = tape_of(rows_of([0.02] * 60, [100.0] * 60, [90.0] * 60)).days

    def sizes(question: Question) -> set[int]:
        return {found.order.qty for found in trials(question, day) if isinstance(found, Trial)}

    hours = dataclasses.replace(QUESTION, qty=())
    assert quanta(180) in sizes(dataclasses.replace(hours, participation=(0.1,)))
    assert {quanta(8 * 20), quanta(32 * 20)} <= sizes(hours)


def test_a_break_is_no_part_of_the_session_that_a_size_is_spread_over() -> None:
    session = dataclasses.replace(SETTINGS.session, breaks=((37_200, 38_400),))  # 10:20 to 10:40
    settings = dataclasses.replace(SETTINGS, session=session)
    (day,) = tape_of(rows_of([0.02] * 60, [100.0] * 60, [90.0] * 20 + [0.0] * 20 + [90.0] * 20), settings).days
    assert day.trades.tolist() == [True] * 20 + [False] * 20 + [True] * 20

    def by_window(question: Question) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for trial in trials(question, day):
            if isinstance(trial, Trial):
                found.setdefault((trial.order.start - T0) // M, set()).add(trial.order.qty)
        return found

    hours = dataclasses.replace(QUESTION, qty=(), trimmed=False)
    # A tenth of the 1,800 that trade in each open window.
    rates = by_window(dataclasses.replace(hours, participation=(0.1,)))
    assert rates[0] == rates[40] == {quanta(180)}
    depths = by_window(hours)
    assert depths[0] == depths[40] == {quanta(8 * 20), quanta(32 * 20)}


def test_same_inputs_give_the_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    rows = noisy_rows(6)
    question = dataclasses.replace(QUESTION, every_min=2)
    files = [written(tmp_path / "day.jsonl", rows)]
    alone, shared = worked(rows, question), worked(rows, question, workers=2)
    assert len(alone.outcomes) >= 40
    reports = [figures(test, files, 3) for test in (alone, shared)]
    assert encode(reports[0]) == encode(reports[1])
    assert render(alone, reports[0]) == render(shared, reports[1])


def test_report_has_each_scenario_and_the_pool(tmp_path: Path) -> None:
    rows = noisy_rows(8)
    report = figures(worked(rows), [written(tmp_path / "day.jsonl", rows)], 0)
    assert [(s["symbol"], s["side"], s["qty"], s["horizon_min"]) for s in report["scenarios"]] == [
        ("FROG", "buy", 900.0, 20),
        ("FROG", "sell", 900.0, 20),
    ]
    for found in (report["pooled"], *report["scenarios"]):
        assert set(found["strategies"]) == set(POLICIES)
        for value in found["strategies"].values():
            assert {"cost", "cost_bps", "capture", "capture_ci90", "beat_twap", "windows"} <= set(value)
    engine = [s["strategies"]["engine"] for s in report["scenarios"]]
    assert report["pooled"]["strategies"]["engine"]["cost"] == pytest.approx(sum(e["cost"] for e in engine))
    assert [e["windows"] for e in engine] == [3, 3]
    assert set(report["pooled"]["by_window"]) == {"windows", "windows_trimmed"}
    assert {row["share"] for row in report["persistence"]} == {0.1, 0.25, 0.5}
    assert report["latency"] == []
    assert [row["window"] for row in report["calibration"]] == ["windows"]


def test_latency_of_the_settings_is_one_of_those_that_are_tried() -> None:
    test = run([tape_of(noisy_rows(8), SETTINGS)], SETTINGS, QUESTION, ("twap_slices",))
    report = figures(test, [], 0)
    [usual] = [row for row in report["latency"] if row["latency_s"] * SECOND_NS == PlanSettings().slice_latency_ns]
    found = report["pooled"]["strategies"]["twap_slices"]
    assert usual["capture"] == pytest.approx([found["capture"], *found["capture_later"]])
    assert [row["latency_s"] for row in report["latency"]] == [0, 1, 3]
    assert [row[1:3] for row in by_latency(report)[1:]] == [
        ["twap_slices", "0"],
        ["twap_slices", "1"],
        ["twap_slices", "3"],
    ]


def test_depletion_that_persists_costs_more() -> None:
    question = dataclasses.replace(QUESTION, qty=(4_000.0,))
    for outcome in worked(noisy_rows(8), question).outcomes:
        costs = [outcome.priced.cost["twap"], *(outcome.persistent[share]["twap"] for share in (0.1, 0.25, 0.5))]
        assert costs == sorted(costs)


def test_flow_that_reacts_costs_more_and_takes_from_the_saving() -> None:
    question = dataclasses.replace(QUESTION, qty=(4_000.0,))
    for outcome in worked(noisy_rows(8), question).outcomes:
        for name, cost in outcome.priced.cost.items():
            if name in outcome.reacted[0.1]:
                costs = [cost, *(outcome.reacted[share][name] for share in (0.1, 0.25, 0.5))]
                assert costs == sorted(costs)
                assert costs[-1] > costs[0]


def test_reaction_is_the_sum_over_what_came_before() -> None:
    path, displaced = np.array([100.0, 0.0, 200.0]), np.array([0.02, 0.0, 0.05])
    assert reaction(path, displaced) == pytest.approx(200.0 * 0.02 * 2.0**-REACTION_DECAY)


def test_reaction_of_shuffled_signs_is_no_impact() -> None:
    """The negative control: the same trades in directions drawn at random pay nothing on average."""
    rng = np.random.default_rng(0)
    path, displaced = rng.uniform(50.0, 150.0, 60), rng.uniform(0.0, 0.02, 60)
    own = reaction(path, displaced)
    shuffled = [reaction(path * rng.choice([-1.0, 1.0], 60), displaced) for _ in range(2_000)]
    error = float(np.std(shuffled)) / math.sqrt(len(shuffled))
    assert abs(float(np.mean(shuffled))) < 4.0 * error < 0.02 * own


def test_page_holds_all_of_itself(tmp_path: Path) -> None:
    rows = noisy_rows(8)
    test = worked(rows)
    page = render(test, figures(test, [written(tmp_path / "day.jsonl", rows)], 0))
    assert page.count("<svg") == 6
    assert "static" in page
    for outside in ("<script", "<link", 'src="', "url(http"):
        assert outside not in page


def test_page_of_many_days_draws_the_latest_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MOST_DAYS", 1)
    rows = noisy_rows(8)
    test = worked(rows)
    earlier = dataclasses.replace(test.studies[0].day, name="2024-01-01")
    both = dataclasses.replace(test, studies=(dataclasses.replace(test.studies[0], day=earlier), *test.studies))
    report = figures(test, [written(tmp_path / "day.jsonl", rows)], 0)
    found = render(both, report)
    assert found.count("<svg") == render(test, report).count("<svg")
    assert "2024-01-01" not in found
    assert "count 1 earlier" in found


def test_command_writes_both_and_shows_the_pool(tmp_path: Path) -> None:
    data = written(tmp_path / "day.jsonl", noisy_rows(8))
    words = ["backtest", "--data", str(data), "--qty", "900", "--horizon", "20", "--out", str(tmp_path / "out")]
    hours = ["--session", "10:00-11:00", "--tz", "UTC", "--to", "11:00"]
    result = CliRunner().invoke(cli, [*words, *hours, "--strategies", "engine,persistence"])
    assert result.exit_code == 0, result.output
    assert "persistence" in result.output
    report = orjson.loads((tmp_path / "out" / "report.json").read_bytes())
    assert report["strategies"] == [
        name for name in STRATEGIES if name in {"engine", "twap", "persistence", "hindsight"}
    ]
    assert report["n_orders"] == 10
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--strategies", "magic"], "magic is not known"),
        (["--from", "25:00"], "--from"),
        (["--to", "09:00"], "--to"),
        (["--session", "10:00"], "--session"),
        (["--tz", "Mars/Olympus"], "--tz"),
        (["--qty", "5", "--participation", "0.1"], "one of them"),
        (["--every", "5"], "--horizon"),
        (["--session", "03:00-04:00", "--tz", "UTC"], "within the session"),
        (["--horizon", "400", "--session", "10:00-11:00", "--tz", "UTC"], "no window"),
    ],
)
def test_command_what_cannot_be_used_is_said(tmp_path: Path, words: list[str], says: str) -> None:
    data = written(tmp_path / "day.jsonl", noisy_rows(8, n=5))
    result = CliRunner().invoke(cli, ["backtest", "--data", str(data), "--out", str(tmp_path / "out"), *words])
    assert result.exit_code == 2
    assert says in result.output


def test_run_without_a_window_reports_it() -> None:
    with fails(1001, "windows"):
        worked(noisy_rows(8), dataclasses.replace(QUESTION, horizon_min=90))


def test_days_are_read_in_the_unit_that_the_settings_name(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    book = {"type": "book", "symbol": "A", "bids": [[99.0, 5]], "asks": [[101.0, 5]]}
    path.write_bytes(b"".join(orjson.dumps(book | {"ts_event": (T0 + k * M) // 10**6}) + b"\n" for k in range(9)))
    settings = dataclasses.replace(SETTINGS, wire=dataclasses.replace(SETTINGS.wire, time_unit="ms"))
    (tape,) = read_tapes([path], settings)
    assert tape.batch.ts_event.tolist() == [T0 + k * M for k in range(9)]


def test_symbol_at_a_venue_is_named_in_words(tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    book = {"type": "book", "symbol": "A", "bids": [[99.0, 5]], "asks": [[101.0, 5]]}
    rows = [book | {"venue": venue, "ts_event": T0 + k * M} for k in range(9) for venue in ("XNAS", "BATS")]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    assert [tape.symbol for tape in read_tapes([path], SETTINGS)] == ["A at BATS", "A at XNAS"]
    assert read_books(path).attrs["symbols"] == ["A at XNAS", "A at BATS"]
    assert set(read_books(path, symbol="A at BATS")["size"]) == {5.0}
