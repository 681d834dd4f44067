"""Which test has the right answer of each recorded case."""

from __future__ import annotations

import ast
from typing import Final

import pytest

from tests.paths import ROOT, cases_dir

FILES: Final = "tests/cases/test_files.py::test_"
DESK: Final = "tests/cases/test_desk.py::test_"
ORDERS: Final = "tests/core/test_order_cases.py::test_"
#: Start of a case's name to its tests; inputs without an answer of their own go with the case that uses them.
COVERED: Final[dict[str, tuple[str, ...]]] = {
    "files/01_": (FILES + "rows_of_two_instruments_without_a_symbol_are_refused_with_the_map_that_works",),
    "files/02_": (FILES + "times_in_milliseconds_are_refused_with_the_setting_that_works",),
    "files/02c_": (FILES + "order_in_milliseconds_is_refused_and_alerted",),
    "files/03_": (FILES + "rows_of_one_book_are_those_of_its_symbol_and_time",),
    "files/04b_": (FILES + "lines_that_end_in_carriage_returns_are_read",),
    "files/04c_": (FILES + "compressed_rows_are_read_by_content",),
    "files/05_": ("tests/research/test_trade_allocator.py::test_caps_of_an_equal_part_give_the_equal_split",),
    "files/06_": (FILES + "second_link_of_an_id_chain_and_its_cancel_apply",),
    "files/06b_": (FILES + "execution_of_an_unknown_type_is_a_dead_letter_and_an_alert",),
    "files/07_": (FILES + "quote_with_one_side_has_an_empty_other",),
    "files/08_": (FILES + "absent_level_as_nan_or_null_is_absent",),
    "files/09_": (FILES + "quotes_by_the_second_are_read",),
    "files/10_": (FILES + "symbol_of_a_vendors_file_name_is_stated_and_the_order_before_its_tick_is_blind",),
    "files/xnas-": (FILES + "symbol_of_a_vendors_file_name_is_stated_and_the_order_before_its_tick_is_blind",),
    "files/11_": (FILES + "file_whose_every_book_is_rejected_is_no_success",),
    "files/12_": (FILES + "nothing_is_planned_after_an_early_close",),
    "files/13_": (FILES + "snapshots_of_tardis_are_read",),
    "files/13c_": (FILES + "order_book_file_of_lobster_without_a_day_is_refused_with_the_name_that_works",),
    "core/t1.": (ORDERS + "bust_of_an_earlier_fill_is_planned_at_once_though_the_interval_nets_out",),
    "core/t3.": (DESK + "huge_orders_together_do_not_overflow",),
    "core/t4.": (
        ORDERS + "late_fill_does_not_use_up_the_cap_of_the_interval_in_progress",
        ORDERS + "late_report_replaces_the_scheduled_quantity_and_never_adds_to_it",
        "tests/core/tca/test_feedback.py::test_late_reports_replace_what_was_assumed_in_the_costs_too",
    ),
    "core/t5.": (
        ORDERS + "events_cost_the_same_for_any_number",
        DESK + "resume_and_minute_of_many_orders_grow_like_their_number",
    ),
    "core/t6.": (
        DESK + "resume_and_minute_of_many_orders_grow_like_their_number",
        DESK + "events_that_wait_are_held_in_constant_time",
    ),
    "core/t7.": (
        ORDERS + "books_of_a_halted_symbol_neither_prevail_nor_train",
        "tests/core/planning/test_caps.py::test_caps_outside_the_window_and_the_session_are_zero",
    ),
    "core/t9.": (
        DESK + "coins_in_lots_of_any_size_are_planned_together",
        DESK + "coins_by_the_million_are_planned_together",
    ),
    "core/t10.": (DESK + "ordinary_orders_together_never_fall_back",),
    "core/t11.": (
        DESK + "coins_by_the_million_are_planned_together",
        DESK + "two_ordinary_orders_are_planned_together",
    ),
    "core/t13.": (
        ORDERS + "corrections_and_busts_form_a_chain",
        ORDERS + "replace_below_the_filled_quantity_keeps_what_was_asked_for",
        ORDERS + "bust_of_an_earlier_interval_does_not_free_the_cap_of_the_one_in_progress",
        "tests/core/planning/test_caps.py::test_must_complete_in_clips_completes_whenever_it_can",
    ),
    "core/t15.": ("tests/fuzz/test_fuzz.py::test_values_of_any_magnitude_are_all_answered_and_the_good_ones_unharmed",),
    "core/t16.": ("tests/fuzz/test_fuzz.py::test_values_of_any_magnitude_are_all_answered_and_the_good_ones_unharmed",),
    "core/t17.": ("tests/fuzz/test_fuzz.py::test_values_of_any_magnitude_are_all_answered_and_the_good_ones_unharmed",),
    "core/t18.": (
        "tests/core/test_thin_minute.py::test_plan_and_model_after_a_thin_first_minute_are_those_of_the_usual_depth",
    ),
    "core/t19.": (DESK + "two_ordinary_orders_are_planned_together",),
    "core/t14.": (
        "tests/core/inputs/test_record_time.py::test_one_tick_from_the_future_changes_no_minute_of_others",
        "tests/core/test_desk.py::test_ended_orders_make_room_for_new_ones",
    ),
}
#: What the cases are made with.
_HARNESS: Final = "core/h.py"


def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("case", COVERED)
def test_case_has_its_tests(case: str) -> None:
    for test in COVERED[case]:
        path, _, name = test.partition("::")
        assert name in names_in(path), test


def test_every_recorded_case_has_a_test() -> None:
    found = cases_dir()
    if found is None:
        pytest.skip("no recorded cases: put them in ../shared/cases beside the repository, or set IMPACTD_CASES_DIR")
    cases = [path.relative_to(found).as_posix() for path in found.glob("*/*") if path.is_file()]
    assert [case for case in cases if case != _HARNESS and not case.startswith(tuple(COVERED))] == []
