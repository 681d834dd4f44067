"""What the documentation says is run, or held to what there is.

Each ``console`` block is taken from its page. ``impactd`` commands are run
with this environment's own program, from an empty directory in which
`replay_data`, the page's own files (blocks with a title) and earlier results
are found: without a broker those that need none, and on a broker, one after
another, those of the pages in `ON_BROKER`. Every command of every page is read by the
program's own parser, and each setting, file of settings and record by its loader. ``make`` commands are
looked up in the Makefile, since this very test runs below one of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import click
import jsonschema
import orjson
import pytest

from impactd.cli import COMMANDS, cli
from impactd.config import Override, Settings, SettingsError, load
from impactd.core.base.topics import Topic
from impactd.research.cost_analysis import read_fees
from impactd.research.currencies import read_rates
from impactd.shell.broker.broker import Broker
from impactd.shell.kafka.consume import tail
from impactd.shell.kafka.topics import required_acls
from impactd.wire.json_orders import decode_events
from impactd.wire.ticks.json.codec import JsonTickCodec
from tests.paths import PACKAGE
from tests.reference import inputs

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "replay_data/README.md")),
        *ROOT.glob("deploy/**/README.md"),
        *ROOT.glob("docs/**/*.md"),
    ]
)

#: Pages whose commands are run on a broker, one after another.
ON_BROKER = ("README.md", "docs/tutorial.md", "docs/howto/connect-a-feed.md", "docs/howto/add-an-order.md")

#: Pages of examples that stand each for itself.
EXAMPLES = {ROOT / "docs" / "reference" / "commands.md"}

#: Commands that talk to a broker or to the service; the others must do without.
NEEDS_BROKER = {"run", "page", "publish", "capture", "audit", "topics", "halt", "resume", "dlq", "health"}

#: Exit status of a control whose scope matches nothing known.
UNMATCHED = 3

#: Where the results of such commands are.
_THEIRS = ("captured/", "derived/")

_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_VARIABLE = re.compile(r"\bIMPACTD__\w+")

#: What stands between backticks with a dot like a setting and is none: a topic, a file.
_NO_SETTING = re.compile(r"^plans\.latest$|\.jsonl$")


def identity(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=identity)


def blocks(page: Path, *languages: str) -> Iterator[tuple[str, str]]:
    """Yield the title and the text of a page's blocks in one of these languages."""
    for language, title, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield title, text


def commands(page: Path) -> Iterator[list[str]]:
    for _, block in blocks(page, "console"):
        for line in block.splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def own_files(page: Path, directory: Path) -> list[Path]:
    """Write what the page has its reader write, and return the files."""
    named = {directory / title: text for title, text in blocks(page, "toml", "json", "python") if title}
    for path, text in named.items():
        path.write_text(text, encoding="utf-8")
    return list(named)


def environment(bootstrap: str | None) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {name: value for name, value in os.environ.items() if not name.startswith("IMPACTD__")} | {"PATH": path}
    # A reader of the page has the ports to himself; a machine that runs tests may not.
    own |= {"IMPACTD__HTTP__PORT": "0", "IMPACTD__HTTP__PAGE_PORT": "0"}
    return own if bootstrap is None else own | {"IMPACTD__KAFKA__BOOTSTRAP": bootstrap}


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "replay_data", tmp_path / "replay_data")
    return tmp_path


def run(words: list[str], cwd: Path, env: dict[str, str], status: int = 0) -> None:
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == status, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def needs_broker(words: list[str]) -> bool:
    if words[0] == "impactd":
        if words[1] == "order":
            return not {"--data", "--dry-run", "--file"} & set(words)
        return words[1] in NEEDS_BROKER or not {"captured", "captured/journal.jsonl"}.isdisjoint(words)
    return words[0] == "python" or any(word.startswith(_THEIRS) for word in words)


# --- read by the program's own parser ----------------------------------------


def parsed(words: list[str]) -> None:
    """Fail unless the program understands a command."""
    while "=" in words[0]:
        if words[0].startswith("IMPACTD__"):
            assert_setting_variable(words[0].partition("=")[0])
        words = words[1:]
    if words[0] != "impactd":
        return
    for sign in (">", "|", "&&"):
        if sign in words:
            rest = words[words.index(sign) + 1 :]
            words = words[: words.index(sign)]
            if sign == "&&":
                parsed(rest)
    if words[1].startswith("-"):
        assert {words[1]} <= {option for param in cli.params for option in param.opts} | {"--help"}
        return
    command, arguments = resolved(words)
    context = click.Context(command, info_name=" ".join(words[:3]))
    given, left, _ = command.make_parser(context).parse_args(list(arguments))
    assert left == [], f"{shlex.join(words)}: {left} is too much"
    if "--help" not in arguments:
        missing = [param.name for param in command.params if param.required and given.get(param.name or "") is None]
        assert missing == [], f"{shlex.join(words)}: {missing} is missing"
    for text in given.get("sets") or ():
        path, _, value = text.partition("=")
        try:
            load(environ={}, overrides=(Override(path, value, "--set"),))
        except SettingsError as error:
            # A file that an example names need not be here.
            if "cannot be read: No such file" not in str(error):
                raise


def resolved(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that words call, and what it is given."""
    command = cli.get_command(click.Context(cli), words[1])
    assert command is not None, f"{shlex.join(words)}: no such command"
    if not isinstance(command, click.Group):
        return command, words[2:]
    assert words[2] in command.commands, f"{shlex.join(words)}: no such command"
    return command.commands[words[2]], words[3:]


def assert_setting_variable(name: str) -> None:
    path = name.removeprefix("IMPACTD__").lower().replace("__", ".")
    assert path == "section.field" or is_setting(path), f"{name} is no setting"


def is_setting(path: str) -> bool:
    """Say whether a dotted path is a setting or a section."""
    found: object = Settings
    for name in path.split("."):
        fields = getattr(found, "model_fields", {})
        if name not in fields:
            return False
        kinds = (fields[name].annotation, *getattr(fields[name].annotation, "__args__", ()))
        found = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    return True


@every_page
def test_make_commands_of_a_page_are_targets(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    spans = [shlex.split(span) for span in _SPAN.findall(text) if span.startswith("make ")]
    indented = [shlex.split(line, comments=True) for line in re.findall(r"^    (make .*)$", text, re.MULTILINE)]
    for words in (*commands(page), *spans, *indented):
        if words[0] == "make":
            named = [word for word in words[1:] if "=" not in word]
            # "make chaos|soak" names several.
            assert {one for word in named for one in word.strip(",").split("|")} <= targets(), shlex.join(words)


@every_page
def test_commands_of_a_page_are_understood(page: Path) -> None:
    indented = re.findall(r"^    (impactd .*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    usage = page in EXAMPLES
    for words in (*commands(page), *([] if usage else (shlex.split(line, comments=True) for line in indented))):
        parsed(words)


@every_page
def test_commands_in_the_text_of_a_page_exist_with_their_options(page: Path) -> None:
    for span in _SPAN.findall(page.read_text(encoding="utf-8")):
        if not span.startswith("impactd "):
            continue
        words = span.split()
        if words[1].startswith("-") or words[1].isupper():
            continue
        command = cli.get_command(click.Context(cli), words[1])
        assert command is not None, span
        options = {option for param in command.params for option in param.opts}
        if isinstance(command, click.Group):
            options |= {
                option for inner in command.commands.values() for param in inner.params for option in param.opts
            }
            inner_names = words[2].split("|") if len(words) > 2 and not words[2].startswith("-") else []
            assert set(inner_names) <= set(command.commands), span
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= options | {"--help"}, span


@every_page
def test_settings_in_the_text_of_a_page_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in _VARIABLE.findall(text):
        assert_setting_variable(name)
    if page.name == "messages.md":
        # The first column has fields of messages.
        text = re.sub(r"^\| `[^`]+`", "", text, flags=re.MULTILINE)
    for span in _SPAN.findall(text):
        found = re.fullmatch(r"(\w+(?:\.\w+)+)(?: ?= ?.*)?", span)
        if found and found[1].partition(".")[0] in Settings.model_fields and not _NO_SETTING.search(found[1]):
            assert is_setting(found[1]), f"{span} is no setting"


def test_the_permissions_of_the_page_are_those_the_service_needs() -> None:
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    told = {
        name: {*operations.split(", "), *re.findall(r"also ([A-Z]+)", more)}
        for names, operations, more in re.findall(r"^\| (.+?) \| ([A-Z_]+(?:, [A-Z_]+)*)(.*) \|$", text, re.MULTILINE)
        for name in names.split(", ")
    }
    acls = [acl for acl in required_acls(load(environ={}).settings) if acl.resource == "topic"]
    needed = {acl.name.removeprefix("impactd."): set(acl.operations) for acl in acls}
    assert {name: told.get(name) for name in needed} == needed


@every_page
def test_settings_files_of_a_page_are_accepted(page: Path, tmp_path: Path) -> None:
    for number, (title, text) in enumerate(blocks(page, "toml")):
        path = tmp_path / (title or f"{number}.toml")
        path.write_text(text, encoding="utf-8")
        if title == "fees.toml":  # of `impactd tca`, no settings
            assert read_fees(path)
            continue
        if title == "rates.toml":  # likewise
            assert read_rates(path)
            continue
        load(path, environ={})


@every_page
def test_records_of_a_page_are_taken(page: Path) -> None:
    topics = {name: topic for topic, names in inputs.BY_TOPIC.items() for name in names}
    for _, text in blocks(page, "json"):
        for line in text.splitlines():
            record = orjson.loads(line)
            if record.get("schema") == "impactd.dlq/1":  # headers
                continue
            kind = record["type"]
            schema = PACKAGE / "schemas" / f"{kind}.json"
            if kind not in topics and schema.exists():  # an output
                jsonschema.validate(record, orjson.loads(schema.read_bytes()))
                continue
            topic = topics.get(kind, Topic.CONTROL)
            at = [1_800_000_000_000_000_000]
            if topic is Topic.TICKS:
                refused = JsonTickCodec().reference().decode_columns([line.encode()], [0], at).refused
            else:
                refused = decode_events(topic, [line.encode()], [0], at).refused
            assert refused == [], line


def test_parsed_finds_what_is_wrong() -> None:
    for words in (
        "impactd fly",
        "impactd replay --wings x",
        "impactd run --set books.grace=1",
        "impactd replay --data x",
    ):
        with pytest.raises((AssertionError, click.UsageError, ValueError)):
            parsed(shlex.split(words))
    assert not is_setting("books.grace")
    assert set(COMMANDS) >= NEEDS_BROKER


# --- run ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """Return a directory for all pages, and what was replayed there already: several pages begin with the same day."""
    directory = tmp_path_factory.mktemp("pages")
    shutil.copytree(ROOT / "replay_data", directory / "replay_data")
    return directory, set()


@pytest.mark.parametrize("page", [page for page in PAGES if page not in EXAMPLES], ids=identity)
def test_commands_of_a_page_work_without_a_broker(page: Path, table: tuple[Path, set[str]]) -> None:
    directory, replayed = table
    written = own_files(page, directory)
    for words in commands(page):
        if words[0] == "make" or needs_broker(words) or shlex.join(words) in replayed:
            continue
        run(words, directory, environment(None))
        if words[:2] == ["impactd", "replay"]:
            replayed.add(shlex.join(words))
    for path in written:
        path.unlink()


async def first_plan(broker: Broker, prefix: str) -> None:
    """Return once the service has published a plan: it may have to compile first."""
    settings = Settings(kafka={"bootstrap": broker.bootstrap}, topics={"prefix": prefix})
    async with asyncio.timeout(600), aclosing(tail(settings, settings.topics.name(Topic.PLANS))) as records:
        await anext(records)


@pytest.mark.timeout(1200)  # a dozen processes, one after another
@pytest.mark.parametrize("name", ON_BROKER)
def test_commands_of_a_page_work_on_a_broker(name: str, broker: Broker, workplace: Path) -> None:
    page = ROOT / name
    own = f"docs-{page.stem}-{os.getpid()}".lower()
    env = environment(broker.bootstrap) | {
        "IMPACTD__KAFKA__ENVIRONMENT": own,
        "IMPACTD__KAFKA__GROUP": own,
        "IMPACTD__TOPICS__PREFIX": f"{own}.",
    }
    own_files(page, workplace)
    if ["impactd", "topics", "create"] not in [words[:3] for words in commands(page)]:
        run(["impactd", "topics", "create"], workplace, env)
    service: subprocess.Popen[bytes] | None = None
    live_page: subprocess.Popen[bytes] | None = None
    try:
        for words in commands(page):
            if words[:2] == ["impactd", "generate"]:
                run(words, workplace, env)
            if words[:2] == ["impactd", "run"]:
                with (workplace / "service.log").open("wb") as log:
                    service = subprocess.Popen(words, cwd=workplace, env=env, stderr=log)
            elif words[:2] == ["impactd", "page"]:
                live_page = subprocess.Popen(words, cwd=workplace, env=env, stderr=subprocess.DEVNULL)
            elif words[0] != "make" and needs_broker(words):
                # A page without a service has given no order that a control could refer to, and says so.
                unmatched = service is None and words[1] in {"halt", "resume"} and len(words) > 2
                run(words, workplace, env, UNMATCHED if unmatched else 0)
            if words[:2] == ["impactd", "publish"] and service is not None:
                try:
                    asyncio.run(first_plan(broker, env["IMPACTD__TOPICS__PREFIX"]))
                except TimeoutError:
                    pytest.fail(
                        f"no plan; the service says:\n{(workplace / 'service.log').read_text(encoding='utf-8')}"
                    )
        for process in filter(None, (service, live_page)):
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        if any("derived" in words for words in commands(page)):
            assert (workplace / "derived" / "plans.jsonl").exists()
    finally:
        for process in filter(None, (service, live_page)):
            process.kill()
            process.wait()
