"""The generated pages are those of this code, and nothing that the code can say is missing in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

import impactd
from impactd.config import Settings, load
from impactd.core.books.checks import MEANINGS, Reject
from impactd.core.inputs.alerts import BY_SYMBOL
from impactd.core.inputs.events import REFUSED
from impactd.core.orders.alerts import UNCOUNTED
from impactd.research.errors import CODES
from impactd.wire.codec import REASONS
from tests.paths import PACKAGE
from tests.reference import PAGES, REFERENCE, errors, settings

#: Calls whose argument of this place is a reason of dead letters, or a kind of alert.
_REASONS = {"FieldError": 0, "Refused": 1, "dead": 1}
_KINDS = {"Alert": 0, "alert": 0, "warn": 2, "_warn": 2}


def _calls(names: dict[str, int], where: str) -> Iterator[str]:
    """Yield the words that calls in a part of the package have at the place that is given by name."""
    for path in sorted(PACKAGE.glob(f"{where}/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                at = names.get(name)
                if at is not None and len(node.args) > at:
                    word = node.args[at]
                    if isinstance(word, ast.Constant) and isinstance(word.value, str):
                        yield word.value


@pytest.mark.parametrize("name", PAGES)
def test_page_is_that_of_this_code(name: str) -> None:
    # What the page says of the code changes with the code: python -m tests.write_reference
    assert (REFERENCE / name).read_text(encoding="utf-8") == PAGES[name](), "write it again"


def test_settings_page_has_every_setting_with_its_meaning() -> None:
    # A section that is unset stands as one.
    unset = {"model.profile", "session.by_symbol", "instruments", "venues"}
    assert set(load(environ={}).shown()) - unset <= set(settings.leaves())
    rows = re.findall(r"^\| `\w+` \| (.+) \| (.+) \| (.*) \|$", settings.page(), re.MULTILINE)
    assert len(rows) == len(settings.leaves())
    assert all(all(row) for row in rows)


def test_settings_that_a_state_is_bound_to_are_settings() -> None:
    leaves = settings.leaves()
    for path in settings.kept():
        assert any(leaf == path or leaf.startswith(f"{path}.") for leaf in leaves), path


def test_settings_page_default_is_the_one_in_force() -> None:
    assert f'| `bootstrap` | text | `"{Settings().kafka.bootstrap}"` |' in settings.page()


def test_reasons_of_dead_letters_are_those_that_the_code_gives() -> None:
    wire = set(_calls(_REASONS, "wire"))
    assert wire <= set(REASONS)
    later = set(UNCOUNTED).union(*(_calls(_REASONS, part) for part in ("core", "shell"))) - set(REASONS)
    assert later | ({"too_large"} & set(UNCOUNTED)) == set(errors.LATER_REASONS)


def test_kinds_of_alerts_are_those_that_the_code_gives() -> None:
    said = set(_calls(_KINDS, "core"))
    # An order's transitions give theirs as a pair with the text; controls are alerts of their own type.
    tree = ast.parse((PACKAGE / "core" / "orders" / "life.py").read_text(encoding="utf-8"))
    pairs = (
        node.elts[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Tuple)
        and len(node.elts) == 2
        and isinstance(node.elts[0], ast.Constant)
        and isinstance(node.elts[0].value, str)
        and not isinstance(node.elts[1], ast.Constant)
    )
    by_symbol = {kind for kind, _ in BY_SYMBOL.values()}
    assert said.union(pairs, by_symbol, {"halt", "resume"}, REFUSED.values()) == set(errors.ALERTS)


def test_rejects_are_all_told() -> None:
    assert set(MEANINGS) == set(Reject)


def test_codes_of_the_batch_api_name_its_errors() -> None:
    assert all(hasattr(impactd, name) for name, _ in CODES.values())
