"""Settings: where they come from, what is refused and how it is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from impactd.config import Override, Section, Settings, SettingsError, load
from impactd.config.hours import session_rule, utc_offsets
from impactd.config.sources import toml_lines
from impactd.core.base.instrument import Instrument
from impactd.core.base.settings import BookSettings, CoreSettings, ModelSettings, PlanSettings, SessionRule
from impactd.core.model.learned.trained import TrainedFile
from tests.core.model.trees import blank_content, blank_file

MINUTE_NS = 60_000_000_000


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(file: Path | None = None, environ: dict[str, str] | None = None, *overrides: Override) -> str:
    with pytest.raises(SettingsError) as caught:
        load(file, environ=environ or {}, overrides=overrides)
    return str(caught.value)


def test_core_default_settings_are_the_core_defaults() -> None:
    assert Settings().core() == CoreSettings()


def test_core_every_field_changed_reaches_the_core(tmp_path: Path) -> None:
    """Each field of the core's settings has its setting: none is forgotten, none is crossed."""
    file = write(
        tmp_path / "all.toml",
        """
        [wire]
        codec = "long-csv"
        time_unit = "us"
        timestamps = "string"
        max_message_bytes = 83_000
        [kafka]
        max_dead_letter_bytes = 89_000
        [topics]
        prefix = "x."
        names = { orders = "parents" }
        [books]
        interval_s = 30
        grace_s = 0.25
        max_clock_skew_s = 7
        max_book_age_s = 11.5
        max_silence_s = 13
        allow_locked = false
        max_levels = 17
        n_sizes = 19
        sizes = [1, 2.5]
        min_coverage = 0.5
        max_symbols = 23
        [model]
        kind = "quadratic"
        intercept = false
        mean_half_life_minutes = 1.5
        guard = false
        learn_profile = false
        learned_use = "always"
        fill_bias_limit = 0.0625
        prior_profile = false
        deltas = [0.5, 1]
        [model.profile]
        knots = [0.25, 0.75]
        spread = [1, 0.5]
        excess = [0.25, 0]
        volume = [0, 0.125]
        weight = [3, 3]
        [plans]
        apply = "in_event_time"
        act = "slices"
        slice_interval_s = 10
        slice_latency_s = 5
        child_slices = 29
        replan_threshold_bps = 0.75
        fills = "scheduled"
        solvers = ["exact"]
        max_group = 29
        group_risk = true
        transient_share = 0.375
        metaorder = "almgren"
        metaorder_coefficient = 0.5
        resilience_half_life_s = 83
        max_orders = 31
        max_executions = 33
        band_level = 0.625
        max_horizon_intervals = 37
        hold_s = 41
        max_held = 43
        keep_ended_s = 59
        missing_ticks_s = 47
        price_check_s = 3
        auction_open_cutoff_s = 61
        auction_close_cutoff_s = 301
        auction_report_s = 31
        auction_open_share = 0.02
        auction_close_share = 0.1
        alert_drift_bps = 53
        [gate]
        max_order_qty = 61
        max_order_notional = 67.5
        max_interval_depth = 0.5
        max_plans_per_second = 71
        [invalid]
        max_ratio = 0.25
        min_messages = 73
        window_intervals = 79
        [session]
        timezone = "America/New_York"
        open = "09:30"
        close = "16:00"
        days = ["fri", "mon"]
        holidays = ["1970-01-03", "2026-12-25"]
        breaks = ["12:30-13:00"]
        special = ["2025-11-28 09:30-13:00"]
        [[session.by_symbol]]
        symbols = ["BTC*", "ETH*"]
        calendar = "24/7"
        [[instruments]]
        symbols = ["ES*"]
        multiplier = 50
        calendar = "CMES"
        [[venues]]
        name = "XNAS"
        """,
    )
    core, default = load(file, environ={}).settings.core(), CoreSettings()
    for part in (core.books, core.model, core.plans, core.session, core.gate, core.invalid, core.wire, core):
        before = type(part)()
        same = [item.name for item in fields(part) if getattr(part, item.name) == getattr(before, item.name)]
        # A file that exists, for these very settings, and a format that has no times as strings: see below; what a
        # calendar gives: see test_calendars.py.
        same = [name for name in same if name not in {"learned", "format", "through", "calendar"}]
        assert same == [], f"{type(part).__name__}: nothing sets {same}"
    assert core.apply != default.apply
    assert core.instruments == (("ES*", Instrument(multiplier=50.0, calendar="CMES")),)
    assert core.sessions[-1][1].calendar == "CMES"
    assert (core.books.interval_ns, core.books.grace_ns) == (30_000_000_000, 250_000_000)
    assert core.books.max_book_age_ns == 11_500_000_000
    assert core.books.sizes == (1.0, 2.5)
    assert (core.plans.hold_ns, core.plans.missing_ticks_ns) == (41_000_000_000, 47_000_000_000)
    assert (core.session.open_s, core.session.close_s) == (34_200, 57_600)
    assert dict(core.wire.inputs) == {
        "instruments": "x.instruments",
        "status": "x.status",
        "control": "x.control",
        "orders": "parents",
        "executions": "x.executions",
        "ticks": "x.ticks",
    }
    assert (core.session.days, core.session.holidays) == ((0, 4), (2, 20_812))
    assert (core.session.breaks, core.session.special) == (((45_000, 46_800),), ((20_420, 20_420, 34_200, 46_800),))
    assert [(pattern, rule.calendar) for pattern, rule in core.sessions] == [
        ("BTC*", "24/7"),
        ("ETH*", "24/7"),
        ("ES*", "CMES"),
    ]


def test_core_format_needs_a_registry_and_times_as_integers() -> None:
    url = {"IMPACTD__REGISTRY__URL": "https://registry.example.com"}
    avro = {"IMPACTD__WIRE__FORMAT": "avro"}
    assert load(environ=avro | url).settings.core().wire.format == "avro"
    assert "registry.url" in refusal(None, avro)
    assert "wire.timestamps" in refusal(None, avro | url | {"IMPACTD__WIRE__TIMESTAMPS": "string"})


def test_core_trained_file_reaches_the_core_by_its_hash(tmp_path: Path) -> None:
    model = blank_file(CoreSettings())
    (tmp_path / "model.json").write_bytes(blank_content(CoreSettings()))
    core = load(environ={"IMPACTD__MODEL__LEARNED": str(tmp_path / "model.json")}).settings.core()
    assert core.model.learned == model
    assert isinstance(core.model.learned, TrainedFile)


@pytest.mark.parametrize(
    ("content", "also", "says"),
    [
        (None, {}, "cannot be read: No such file"),
        (b"{}", {}, "is not of format"),
        (
            blank_content(CoreSettings()),
            {"MEAN_HALF_LIFE_MINUTES": "30"},
            "trained with a forecast of other [model] settings",
        ),
    ],
    ids=["missing", "no-model", "other-settings"],
)
def test_load_trained_file_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes | None, also: dict[str, str], says: str
) -> None:
    file = tmp_path / "model.json"
    if content is not None:
        file.write_bytes(content)
    named = {f"IMPACTD__MODEL__{name}": value for name, value in also.items()}
    said = refusal(None, {"IMPACTD__MODEL__LEARNED": str(file), **named})
    assert said.startswith("env IMPACTD__MODEL__LEARNED: model.learned: ")
    assert says in said


def test_sections_every_setting_is_described() -> None:
    def undescribed(section: type[Section], above: str = "") -> list[str]:
        found = []
        for name, item in section.model_fields.items():
            if isinstance(item.annotation, type) and issubclass(item.annotation, Section):
                found += [] if item.annotation.__doc__ else [above + name]
                found += undescribed(item.annotation, f"{above}{name}.")
            elif not item.description:
                found.append(above + name)
        return found

    assert undescribed(Settings) == []


def test_load_later_source_wins_and_origin_is_kept(tmp_path: Path) -> None:
    file = write(tmp_path / "x.toml", "[books]\ngrace_s = 2\nn_sizes = 8\nmax_levels = 9\n")
    loaded = load(
        file,
        environ={"IMPACTD__BOOKS__N_SIZES": "10", "IMPACTD__BOOKS__MAX_LEVELS": "11", "IMPACTD_DATA_DIR": "/x"},
        overrides=(Override("books.max_levels", "12", "--set"),),
    )
    books = loaded.settings.books
    assert (books.grace_s, books.n_sizes, books.max_levels) == (2.0, 10, 12)
    assert loaded.origins["books.grace_s"] == f"{file}:2"
    assert loaded.origins["books.n_sizes"] == "env IMPACTD__BOOKS__N_SIZES"
    assert loaded.origins["books.max_levels"] == "flag --set"
    assert loaded.origins["books.allow_locked"] == "default"
    assert set(loaded.origins) == set(loaded.shown())


def test_load_file_named_by_the_environment_is_read(tmp_path: Path) -> None:
    file = write(tmp_path / "x.toml", "[log]\nlevel = 'debug'\n")
    loaded = load(environ={"IMPACTD_CONFIG": str(file)})
    assert (loaded.file, loaded.settings.log.level) == (file, "debug")


def test_load_file_in_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "impactd.toml", "[log]\nlevel = 'debug'\n")
    monkeypatch.chdir(tmp_path)
    loaded = load(environ={})
    assert loaded.origins["log.level"] == "impactd.toml:2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[books]\ngrace = 1", "x.toml:2: books.grace: no such setting; did you mean books.grace_s?"),
        ("[boks]\ngrace_s = 1", "x.toml:2: boks.grace_s: no such setting; did you mean books.grace_s?"),
        ("[books]\nqwerty = 1", "books has interval_s, grace_s"),
        ("[nothing]\nlike = 1", "the sections are kafka, topics"),
        ("books = 1", "is a section, not a setting; write [books]"),
        ("[books]\n\nn_sizes = '8'", "x.toml:3: books.n_sizes: needs a whole number, not '8'"),
        ("[books]\nn_sizes = true", "needs a whole number, not True"),
        ("[books]\nn_sizes = 1", "must be at least 2, not 1"),
        ("[books]\ngrace_s = nan", "needs a number, not nan"),
        ("[books]\ninterval_s = 7", "interval_s must divide a day"),
        ("[books]\nsizes = [2, 1]", "sizes must ascend"),
        ("[books]\nsizes = [0]", "must be more than 0, not 0"),
        ("[model]\nkind = 'cubic'", "model kind 'cubic' does not exist; choose one of linear, quadratic, power"),
        ("[model]\nintercept = 1", "needs true or false, not 1"),
        ("[session]\ntimezone = 'Mars/Olympus'", "such as 'America/New_York', not 'Mars/Olympus'"),
        ("[session]\nopen = '9.30'", "needs a local time such as '09:30', not '9.30'"),
        ("[session]\ndays = ['monday']", "needs 'mon', 'tue'"),
        ("[session]\nbreaks = ['11:30']", "needs two local times such as '09:30-13:00', not '11:30'"),
        ("[session]\nspecial = ['09:30-13:00']", "needs a day and its hours such as '2025-11-28 09:30-13:00'"),
        ("[session]\nspecial = ['2025-11-28 09:30-12:00', '2025-11-27..2025-11-29 9:00-10:00']", "2025-11-28"),
        ("[session]\nspecial = ['2025-12-25 09:30-12:00']\nholidays = ['2025-12-25']", "2025-12-25 is one of holidays"),
        ("[session]\ncalendar = 'NYSE'", "no calendar 'NYSE' is packaged; there are 24/7, ARCX"),
        ("[session]\ncalendar = 'missing.json'", "missing.json cannot be read"),
        ("[session]\ncalendar = 'XNYS'\ntimezone = 'UTC'", "timezone: the calendar has its own"),
        ("[session]\nopen = '09:30'\nclose = '16:00'\nbreaks = ['09:00-17:00']", "leave nothing of the session"),
        ("[[session.by_symbol]]\nsymbols = []\ncalendar = 'XNYS'", "session.by_symbol"),
        ("[session]\nholidays = ['25.12.2026']", "needs a local date such as '2026-12-25', not '25.12.2026'"),
        ("[kafka]\nbootstrap = 'localhost'", "needs host:port"),
        ("[kafka]\nstart = 'soon'", "needs 'earliest', 'latest' or a time with its zone"),
        ("[kafka]\nheartbeat_interval_ms = 9000", "a third of session_timeout_ms"),
        ("[kafka.security]\nprotocol = 'SASL_SSL'", "username and password (or password_file) are needed"),
        ("[kafka.security]\npassword = 'hush'", "a secret does not belong into this file"),
        ("[topics]\nmin_insync_replicas = 2", "may not exceed replication_factor"),
        ("[books\n", "is not TOML"),
    ],
)
def test_load_unusable_file_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    message = refusal(write(tmp_path / "x.toml", text))
    assert words in message
    assert "\n" not in message
    assert "hush" not in message


def test_load_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path / "none.toml")


def test_load_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8 text" in refusal(tmp_path / "x.toml")


def test_load_unknown_variable_is_refused_by_its_name() -> None:
    message = refusal(environ={"IMPACTD__KAFKA__BOTSTRAP": "a:1"})
    assert message == "env IMPACTD__KAFKA__BOTSTRAP: kafka.botstrap: no such setting; did you mean kafka.bootstrap?"


def test_load_several_problems_state_how_many_more() -> None:
    message = refusal(environ={"IMPACTD__LOG__LEVEL": "loud", "IMPACTD__LOG__FORMAT": "pink"})
    assert message.endswith("(and 1 more)")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("KAFKA__BOOTSTRAP", "a:1,b:2", "a:1,b:2"),
        ("KAFKA__GROUP", "7", "7"),
        ("KAFKA__START", "2025-04-03T13:30:00Z", 1_743_687_000_000_000_000),
        ("KAFKA__START", "1743687000000000001", 1_743_687_000_000_000_001),
        ("BOOKS__SIZES", "100,200", [100.0, 200.0]),
        ("BOOKS__SIZES", "[100, 200]", [100.0, 200.0]),
        ("BOOKS__SIZES", "", []),
        ("BOOKS__ALLOW_LOCKED", "false", False),
        ("BOOKS__MAX_BOOK_AGE_S", "5", 5.0),
        ("PLANS__SOLVERS", "exact,scs", ["exact", "scs"]),
        ("TOPICS__NAMES__PLANS_LATEST", "latest", "latest"),
    ],
)
def test_environment_text_becomes_the_type_of_its_setting(name: str, text: str, value: object) -> None:
    loaded = load(environ={f"IMPACTD__{name}": text})
    assert loaded.shown()[name.lower().replace("__", ".")] == value


def test_secret_in_the_environment_is_masked() -> None:
    loaded = load(environ={"IMPACTD__KAFKA__SECURITY__PASSWORD": "hush"})
    secret = loaded.settings.kafka.security.password
    assert secret is not None
    assert secret.get_secret_value() == "hush"
    assert "hush" not in repr(loaded) + str(loaded.shown()) + loaded.settings.model_dump_json()


def test_secret_in_a_file_is_read_without_its_line_end(tmp_path: Path) -> None:
    file = write(tmp_path / "secret", "hush \n")
    loaded = load(environ={"IMPACTD__KAFKA__SECURITY__PASSWORD_FILE": str(file)})
    secret = loaded.settings.kafka.security.password
    assert secret is not None
    assert secret.get_secret_value() == "hush "
    assert loaded.origins["kafka.security.password"] == f"file {file}"


def test_secret_given_twice_or_missing_or_on_the_command_line_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "secret", "hush")
    prefix = "IMPACTD__KAFKA__SECURITY__PASSWORD"
    assert "keep one of them" in refusal(environ={prefix: "x", f"{prefix}_FILE": str(file)})
    assert "cannot be read" in refusal(environ={f"{prefix}_FILE": str(tmp_path / "none")})
    assert "seen by everybody" in refusal(None, {}, Override("kafka.security.password", "x", "--set"))


def secrets(section: type[Section] = Settings, above: str = "") -> Iterator[str]:
    """Yield the path of every setting that is a secret."""
    for name, field in section.model_fields.items():
        kinds = [getattr(kind, "__origin__", kind) for kind in get_args(field.annotation)]
        if SecretStr in kinds:
            yield above + name
        elif isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from secrets(field.annotation, f"{above}{name}.")


@pytest.mark.parametrize("path", list(secrets()))
@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u00a0 \u2003", "\r\n", "\u200b\ufeff"])
def test_secret_that_is_empty_or_blank_is_refused_wherever_it_comes_from(path: str, text: str, tmp_path: Path) -> None:
    variable = f"IMPACTD__{path.replace('.', '__').upper()}"
    file = write(tmp_path / "secret", text)
    for environ in ({variable: text}, {f"{variable}_FILE": str(file)}):
        said = refusal(environ=environ)
        assert path in said
        assert "empty or blank" in said


def test_secrets_are_all_known() -> None:
    assert set(secrets()) == {
        "http.token",
        "kafka.security.password",
        "kafka.security.key_password",
        "registry.password",
    }


@pytest.mark.parametrize("text", ["with space", "münze", " padded ", "bell\x07"])
def test_token_that_no_header_can_carry_is_refused(text: str) -> None:
    assert "http.token" in refusal(environ={"IMPACTD__HTTP__TOKEN": text})


def test_toml_lines_values_over_several_lines_begin_where_they_begin() -> None:
    text = 'a = 1\n[t]\n# b = 2\nb = [\n  1,\n  2,\n]\nc = """\nd = 3\n"""\n[t.u]\nd.e = 4\n'
    assert toml_lines(text) == {("a",): 1, ("t", "b"): 4, ("t", "c"): 8, ("t", "u", "d", "e"): 12}


@pytest.mark.parametrize("name", ["America/New_York", "Europe/London", "Asia/Tokyo", "Africa/Casablanca", "UTC"])
@given(ns=st.integers(631_152_000 * 10**9, 2_550_000_000 * 10**9))
def test_utc_offsets_any_time_equals_the_database(name: str, ns: int) -> None:
    offset = [value for since, value in utc_offsets(name) if since <= ns][-1]
    local = datetime.fromtimestamp(ns // 10**9, UTC).astimezone(ZoneInfo(name)).utcoffset()
    assert local is not None
    assert offset == local.total_seconds()


def test_session_rule_close_before_open_is_on_the_next_day() -> None:
    assert session_rule("UTC", "18:00", "17:00") == SessionRule(64_800, 147_600)
    assert session_rule("UTC", "00:00", "24:00") == SessionRule()


def test_settings_are_frozen_and_name_every_core_field() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.books.n_sizes = 3  # type: ignore[misc]  # the very mistake that is to fail
    for part, section in ((BookSettings, "books"), (ModelSettings, "model"), (PlanSettings, "plans")):
        names = {item.name.removesuffix("_ns") for item in fields(part)}
        known = {name.removesuffix("_s") for name in type(getattr(settings, section)).model_fields}
        assert names <= known
    assert settings.core().books.interval_ns == MINUTE_NS
