"""The command line: help, exit codes, and one clear line for whatever is wrong."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import orjson
import pytest

from impactd.__about__ import __version__
from impactd.cli import COMMANDS, main
from impactd.cli.common import Finite, FiniteRange
from impactd.config import load
from impactd.core.base.settings import CoreSettings
from impactd.core.base.topics import Topic
from impactd.core.state.identity import MIGRATIONS
from impactd.core.state.schema import SCHEMA_VERSION as STATE
from impactd.wire.registry import CODECS
from tests.core.model.trees import constant, content
from tests.paths import ROOT
from tests.shell.test_replay import day, new, write

pytestmark = pytest.mark.usefixtures("elsewhere")

#: What must not be loaded just to print help: each costs a tenth of a second or more.
HEAVY = ("aiokafka", "numba", "numpy", "orjson", "pydantic", "rich", "scipy", "structlog")


def _commands() -> Iterator[tuple[str, ...]]:
    for name, (module, _) in COMMANDS.items():
        yield (name,)
        command = importlib.import_module(module).command
        if isinstance(command, click.Group):
            yield from ((name, inner) for inner in command.commands)


COMMAND_NAMES = list(_commands())


def output(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(args)
    out, err = capsys.readouterr()
    return code, out, err


def refusal(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Run a command that must fail as misused, and return its one line."""
    code, out, err = output(capsys, *args)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_every_number_of_an_option_is_finite() -> None:
    for names in COMMAND_NAMES:
        command = importlib.import_module(COMMANDS[names[0]][0]).command
        command = command.commands[names[1]] if len(names) > 1 else command
        for param in command.params:
            assert not isinstance(param.type, click.types.FloatParamType) or isinstance(param.type, Finite), names
    for kind, text in itertools.product((Finite(), FiniteRange(0)), ("nan", "inf")):
        with pytest.raises(click.BadParameter):
            kind.convert(text, None, None)
    with pytest.raises(click.BadParameter):
        FiniteRange(0).convert("-1", None, None)


@pytest.mark.parametrize("names", COMMAND_NAMES, ids=" ".join)
def test_help_every_command_has_an_example(names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = output(capsys, *names, "--help")
    assert code == 0
    assert f"impactd {names[0]}" in out.split("Example:")[1]
    assert "None" not in out


def test_help_list_repeats_the_help_of_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = output(capsys, "--help")
    assert code == 0
    for name, (module, line) in COMMANDS.items():
        assert f"{name} " in out
        own = importlib.import_module(module).command.help or ""
        assert own.split("\n")[0] == line


def test_help_loads_nothing_heavy() -> None:
    program = f"""
import sys
from impactd.cli import main
code = main(["--help"])
print([name for name in {HEAVY!r} if name in sys.modules])
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("names", COMMAND_NAMES, ids=" ".join)
def test_help_of_a_command_loads_no_compiler(names: tuple[str, ...]) -> None:
    program = f"""
import sys
from impactd.cli import main
main([*{names!r}, "--help"])
print([name for name in ("aiokafka", "numba", "numpy", "pydantic") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version_names_the_release_and_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = output(capsys, "--version")
    assert (code, err) == (0, "")
    first, *formats = out.splitlines()
    assert first == f"impactd {__version__}"
    said = dict(line.split(maxsplit=1) for line in formats)
    assert said["state"] == f"writes schema {STATE}, reads {min(MIGRATIONS, default=STATE)} to {STATE}"
    assert "impactd.plan/1" in said["messages"]
    assert said["ticks"] == f"reads {', '.join(CODECS.names())}"
    assert said["journal"].endswith("impactd.journal/1")
    assert said["capture"].endswith("impactd.capture/1")


def test_version_stands_in_one_place() -> None:
    # What is built takes it from the package, which names it once.
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dynamic"]
    named = [path for path in (ROOT / "daemon").rglob("*.py") if f'"{__version__}"' in path.read_text(encoding="utf-8")]
    assert [path.name for path in named] == ["__about__.py"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_asks_the_program(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = output(capsys, "completion", shell)
    assert (code, err) == (0, "")
    assert f"_IMPACTD_COMPLETE={shell}_complete" in out


def test_completion_of_an_unknown_shell_is_one_line_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'csh' is not one of" in refusal(capsys, "completion", "csh")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("impactd top", ["topics"]),
        ("impactd topics c", ["check", "create"]),
        ("impactd replay --jo", ["--journal"]),
    ],
)
def test_completion_in_bash_offers_commands_and_options(typed: str, offered: list[str], tmp_path: Path) -> None:
    """The script is loaded by a real bash, which then completes a line."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    program = tmp_path / "impactd"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m impactd "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = f"""
    source <(impactd completion bash)
    COMP_WORDS=({typed}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
    _impactd_completion impactd
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = os.environ | {"PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]])}
    done = subprocess.run([bash, "--norc", "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == offered


def test_no_command_shows_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = output(capsys)
    assert (code, out) == (2, "")
    assert "Commands:" in err


def test_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "impactd", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"impactd {__version__}\n")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("fly",), "No such command 'fly'"),
        (("replay", "--wings"), "No such option '--wings'"),
        (("replay", "--data", "none.csv", "--out", "x"), "none.csv: no such file"),
        (("replay", "--out", "x"), "Missing option '--data'"),
        (("replay", "--data", "day.jsonl"), "Missing option '--out'"),
        (("replay", "--journal", "day.jsonl", "--out", "x"), "is not the journal.jsonl of a directory"),
        (("replay", "--journal", "day.jsonl", "--data", "day.jsonl", "--out", "x"), "leave out --data"),
        (("replay", "--data", "day.jsonl", "--codec", "morse", "--out", "x"), "codec 'morse' does not exist"),
        (
            ("replay", "--data", "day.jsonl", "--batch", "0", "--out", "x"),
            "flag --batch: replay.batch_rows: must be at",
        ),
        (("replay", "--data", "notes.txt", "--out", "x"), "its first line is not the header of a known format"),
        (("publish",), "Missing option '--data' (or '--orders'"),
        (("publish", "--data", "day.jsonl", "--speed", "fast"), "'fast' is not a speed: give a number above 0"),
        (("publish", "--data", "day.jsonl", "--speed", "0"), "'0' is not a speed"),
        (("generate", "--out", "day.parquet"), "let it end in .jsonl or .csv"),
        (("generate", "--out", "day.jsonl", "--levels", "0"), "levels: 0 is not in 1..100"),
        (("check-config", "-c", "none.toml"), "'none.toml' does not exist"),
        (("check-config", "--set", "books.grace"), "needs the form section.field=value"),
        (("check-config", "--set", "books.grace=1"), "flag --set: books.grace: no such setting; did you mean"),
        (("run", "--set", "kafka.bootstrap=nowhere"), "needs host:port"),
        (("topics", "create", "--set", "topics.partitions=0"), "must be at least 1, not 0"),
    ],
)
def test_misuse_is_one_line_and_2(args: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("day.jsonl").write_text('{"type":"later"}\n', encoding="utf-8")
    Path("notes.txt").write_text("dear diary\n", encoding="utf-8")
    assert words in refusal(capsys, *args)


def test_bad_settings_file_is_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.toml").write_text("[kafka]\nbotstrap = 'a:1'\n", encoding="utf-8")
    assert "x.toml:2: kafka.botstrap: no such setting" in refusal(capsys, "run", "-c", "x.toml")


def test_replay_place_that_cannot_be_written_is_one_line_and_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "day.jsonl").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    code, out, err = output(capsys, "replay", "--data", "day.jsonl", "--out", "file/below")
    assert (code, out, err) == (1, "", "impactd: file/below: Not a directory\n")


def test_replay_summary_for_people_and_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "day.jsonl", day(minutes=6))
    write(tmp_path / "orders.jsonl", [new()])
    args = ("replay", "--data", "day.jsonl", "--orders", "orders.jsonl", "--out", "out")
    code, out, err = output(capsys, *args)
    assert (code, err) == (0, "")
    for words in ("72 (72 books, 0 trades)", "6 closed, 12 models refitted", "A1 FROG", "done", "plans.jsonl"):
        assert words in out
    code, out, err = output(capsys, *args, "--json")
    assert (code, err) == (0, "")
    summary = orjson.loads(out)
    assert (summary["minutes"], summary["orders"][0]["cum_qty"]) == (6, 900)


def test_replay_fills_setting_overrules_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "day.jsonl", day(minutes=6))
    write(tmp_path / "orders.jsonl", [new()])
    args = ("replay", "--data", "day.jsonl", "--orders", "orders.jsonl", "--out", "out", "--json")
    _, out, _ = output(capsys, *args, "--set", "replay.fills=reported")
    (order,) = orjson.loads(out)["orders"]
    assert (order["cum_qty"], order["status"]) == (0, "expired")


def test_replay_several_files_after_one_option_are_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "a.jsonl", day(("FROG",), minutes=2))
    write(tmp_path / "b.jsonl", day(("AAPL",), minutes=2))
    code, out, _ = output(capsys, "replay", "--data", "a.jsonl", "b.jsonl", "--out", "out", "--json")
    assert (code, orjson.loads(out)["minutes"]) == (0, 4)


def test_replay_empty_file_is_named_and_exits_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "day.jsonl").write_bytes(b"")
    code, out, err = output(capsys, "replay", "--data", "day.jsonl", "--out", "out")
    assert code == 4
    assert "0 (0 books, 0 trades)" in out
    assert err == "impactd: day.jsonl: holds no record\n"


def test_generate_same_seed_gives_the_same_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        assert output(capsys, "generate", "--out", f"{name}.jsonl", "--snapshots", "50", "--seed", "3")[0] == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_topics_no_broker_is_one_line_and_1(capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--set", "kafka.bootstrap=127.0.0.1:1", "--set", "kafka.request_timeout_ms=500")
    code, out, err = output(capsys, "topics", "check", *args)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "no broker answers at 127.0.0.1:1" in err


def test_topics_acls_name_every_topic_and_the_transactional_ids(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = output(capsys, "topics", "acls", "--set", "kafka.environment=prod")
    assert code == 0
    assert all(f"impactd.{topic.value} " in out for topic in Topic)
    assert "prod.impactd.*" in out


def test_check_config_table_has_every_setting_once(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = output(capsys, "check-config")
    assert code == 0
    paths = [line.split()[0] for line in out.splitlines()]
    assert paths == list(load(environ={}).shown())


def test_check_config_changed_states_where_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPACTD__BOOKS__GRACE_S", "2")
    code, out, _ = output(capsys, "check-config", "--changed", "--set", "log.level=debug")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["books.grace_s", "2.0", "env", "IMPACTD__BOOKS__GRACE_S"],
        ["log.level", '"debug"', "flag", "--set"],
    ]


def test_check_config_json_masks_secrets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPACTD__KAFKA__SECURITY__PASSWORD", "hush")
    code, out, _ = output(capsys, "check-config", "--json")
    assert code == 0
    assert "hush" not in out
    shown = orjson.loads(out)["settings"]["kafka.security.password"]
    assert shown == {"value": "********", "origin": "env IMPACTD__KAFKA__SECURITY__PASSWORD"}


@pytest.mark.parametrize(
    ("symbols", "says"),
    [
        ([], "does not say which symbols it was trained on"),
        (["ACME"], "trees trained on ACME"),
        ([f"A{k}" for k in range(12)], "A9 and 2 more"),
    ],
)
def test_check_config_states_what_the_trained_file_knows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, symbols: list[str], says: str
) -> None:
    forests = [constant(0.0)] * 3
    (tmp_path / "model.json").write_bytes(content(CoreSettings(), forests, forests, symbols))
    code, _, err = output(capsys, "check-config", "--set", f"model.learned={tmp_path / 'model.json'}")
    assert code == 0
    assert err.startswith("model.learned: ")
    assert says in err


def test_interrupt_ends_with_130(tmp_path: Path) -> None:
    """The interrupt comes when the command reads its data, from a pipe that never gives any."""
    pipe = tmp_path / "ticks.jsonl"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "impactd", "replay", "--data", str(pipe), "--out", str(tmp_path / "out")]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        # Opening the other end waits until the command has opened its own.
        with pipe.open("wb"):
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=600)
    finally:
        child.kill()
    assert (child.returncode, err.strip()) == (130, "impactd: interrupted")
    assert list((tmp_path / "out").glob("*")) == []


def test_console_script_is_this_main() -> None:
    assert 'impactd = "impactd.cli:main"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("setting", "module", "extra"),
    [
        ("registry.url=http://registry:8081", "fastavro", "registry"),
        ("registry.url=http://registry:8081", "google.protobuf", "registry"),
        ("telemetry.enabled=true", "opentelemetry.sdk.trace", "otel"),
        ('plans.solvers=["clarabel"]', "cvxpy", "solvers"),
    ],
)
@pytest.mark.parametrize("command", ["check-config", "run"])
def test_setting_whose_extra_is_missing_is_refused_before_the_service_starts(
    command: str,
    setting: str,
    module: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    code, _, err = output(capsys, command, "--set", setting)
    assert code == 1
    assert setting.partition("=")[0] in err
    assert f"impactd[{extra}]" in err


@pytest.mark.parametrize(
    ("module", "extra", "args"),
    [
        ("fastavro", "registry", ["export", "--to", "out", "--set", "registry.url=http://127.0.0.1:1"]),
        (
            "databento",
            "databento",
            ["feed", "databento", "--dataset", "X", "--schema", "mbo", "--symbols", "F", "--dry-run"],
        ),
        ("quickfix", "fix", ["fix", "--set", "fix.sessions=none.cfg"]),
    ],
)
def test_command_whose_extra_is_missing_names_it_in_one_line(
    module: str, extra: str, args: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("DATABENTO_API_KEY", "k")
    code, _, err = output(capsys, *args)
    assert code == 1
    assert [line for line in err.splitlines() if f"impactd[{extra}]" in line] == err.splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_page_needs_no_broker_to_start_and_ends_in_order(number: signal.Signals) -> None:
    words = [sys.executable, "-m", "impactd", "page", "--port", "0", "--set", "kafka.bootstrap=127.0.0.1:1"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as page:
        assert page.stderr is not None
        assert any("live page: http://127.0.0.1:" in line for line in iter(page.stderr.readline, ""))
        page.send_signal(number)
        assert page.wait(timeout=60) == 0
