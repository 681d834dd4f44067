"""The ticket: its parameters are the acceptor's, an order built from it is what the acceptor takes, and it is FIXatdl.

`IMPACTD_FIXATDL_DIR` names a directory with the standard's schemas, ``v1-1-STANDARD/schema`` of
https://github.com/FIXTradingCommunity/fixatdl-specification, which are not redistributed here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from impactd.client import Client
from impactd.core.inputs.terms import TERMS
from impactd.shell.fix.atdl import NATIVE, ticket
from impactd.shell.fix.tags import STRATEGIES, Fields, Pair, places, read_new
from tests.paths import ROOT

AT = 1_743_687_000_000_000_000
TICKET = ROOT / "deploy" / "fix" / "impactd.atdl.xml"
CORE = "{http://www.fixprotocol.org/FIXatdl-1-1/Core}"
LAYOUT = "{http://www.fixprotocol.org/FIXatdl-1-1/Layout}"
TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"

#: What every ticket has by itself, whatever the strategy.
NATIVE_TAGS: list[Pair] = [(11, "A1"), (55, "FROG"), (54, "1"), (38, "1000"), (40, "1"), (60, "20250403-13:30:00.000")]

#: A value of each type on the wire, and as the record has it.
VALUES = {
    "Qty_t": ("200", "200"),
    "UTCTimestamp_t": ("20250403-20:00:00", 1_743_710_400_000_000_000),
    "Percentage_t": ("0.25", "0.25"),
    "Float_t": ("-5.5", "-5.5"),
    "Price_t": ("-31.5", "-31.5"),
    "Boolean_t": ("Y", True),
}
#: Of texts without a choice.
TEXTS = {
    "blackouts": (
        "20250403-14:00:00/20250403-14:05:00",
        [[1_743_688_800_000_000_000, 1_743_689_100_000_000_000]],
    ),
    "venues": ("XNYS,XNAS", ["XNYS", "XNAS"]),
}

VALIDATOR = """
import java.io.File;
import javax.xml.XMLConstants;
import javax.xml.transform.stream.StreamSource;
import javax.xml.validation.SchemaFactory;

public final class Valid {
    public static void main(String[] files) throws Exception {
        SchemaFactory.newInstance(XMLConstants.W3C_XML_SCHEMA_NS_URI)
            .newSchema(new File(files[0])).newValidator().validate(new StreamSource(new File(files[1])));
    }
}
"""


def root() -> ET.Element:
    return ET.fromstring(TICKET.read_bytes())  # noqa: S314  # our own file


def strategies() -> list[ET.Element]:
    return root().findall(f"{CORE}Strategy")


def test_ticket_has_exactly_what_the_acceptor_reads() -> None:
    assert TICKET.read_text("utf-8") == ticket(), "run python -m tests.write_reference"
    found = {
        strategy.get("wireValue"): {
            (item.get("name"), item.get("fixTag")) for item in strategy.iter(f"{CORE}Parameter")
        }
        for strategy in strategies()
    }
    assert root().get("strategyIdentifierTag") == "847"
    for wire in STRATEGIES:
        read = {(p.term, None if p.tag is None else str(p.tag)) for p in places(wire)}
        assert found[wire] == {(name, tag) for name, tag in read if name not in NATIVE}
    assert set(found) == set(STRATEGIES)
    controls = [item.get("parameterRef") for item in root().iter() if item.tag.endswith("}Control")]
    assert set(controls) | NATIVE == set(TERMS)


def filled() -> Iterator[tuple[str, ET.Element, str, object]]:
    """Yield every parameter with each value that it may have: the strategy, the parameter, the text, the record's."""
    for strategy in strategies():
        for parameter in strategy.findall(f"{CORE}Parameter"):
            choices = [str(pair.get("wireValue")) for pair in parameter.findall(f"{CORE}EnumPair")]
            name, kind = str(parameter.get("name")), str(parameter.get(TYPE))
            values = [(text, text) for text in choices] or [TEXTS[name] if name in TEXTS else VALUES[kind]]
            for text, meant in values:
                yield str(strategy.get("wireValue")), parameter, text, meant


def parameters_of(wire: str) -> list[ET.Element]:
    (found,) = (one for one in strategies() if one.get("wireValue") == wire)
    return found.findall(f"{CORE}Parameter")


def required(wire: str) -> dict[str, str]:
    """Return a value for each parameter that a strategy requires."""
    needed = [one for one in parameters_of(wire) if one.get("use") == "required"]
    return {str(one.get("name")): VALUES[str(one.get(TYPE))][0] for one in needed}


def on_the_wire(strategy: str, values: dict[str, str]) -> list[Pair]:
    """Return an order as the standard has a ticket's values sent: tags, and the group of those without a tag."""
    pairs, group = [*NATIVE_TAGS, (int(str(root().get("strategyIdentifierTag"))), strategy)], []
    for parameter in parameters_of(strategy):
        text = values.get(str(parameter.get("name")))
        if text is None:
            continue
        if (tag := parameter.get("fixTag")) is not None:
            pairs.append((int(tag), text))
        else:
            group.append((str(parameter.get("name")), text))
    fields = [pair for name, text in group for pair in ((958, name), (959, "14"), (960, text))]
    return [*pairs, *([(957, str(len(group)))] if group else []), *fields]


@pytest.mark.parametrize(("strategy", "parameter", "text", "meant"), list(filled()))
def test_order_from_the_ticket_has_what_was_entered(
    strategy: str, parameter: ET.Element, text: str, meant: object
) -> None:
    values = required(strategy)
    name = str(parameter.get("name"))
    record = read_new(Fields(on_the_wire(strategy, values | {name: text})), AT)
    assert record[name] == meant
    assert {*record} - {"type", "cl_ord_id", "symbol", "side", "ts_event", "start", *NATIVE} == {*values, name} - {
        "start"
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_order_with_what_the_ticket_requires_is_taken(strategy: str) -> None:
    values = required(strategy)
    Client.encode(read_new(Fields(on_the_wire(strategy, values)), AT))


def test_controls_show_each_parameter_once_with_its_choices() -> None:
    for strategy in strategies():
        parameters = {one.get("name"): one for one in strategy.findall(f"{CORE}Parameter")}
        controls = list(strategy.iter(f"{LAYOUT}Control"))
        assert [one.get("parameterRef") for one in controls] == list(parameters)
        assert len({one.get("ID") for one in controls}) == len(controls)
        for control in controls:
            choices = [pair.get("enumID") for pair in parameters[control.get("parameterRef")].iter(f"{CORE}EnumPair")]
            assert [item.get("enumID") for item in control.iter(f"{LAYOUT}ListItem")] == choices
            assert (control.get(TYPE) == "lay:DropDownList_t") == bool(choices)


def test_negative_prices_and_drifts_can_be_entered() -> None:
    # Without a minimum of its own the standard's Price_t begins at 0.
    for strategy in strategies():
        for one in strategy.findall(f"{CORE}Parameter"):
            assert one.get(TYPE) != "Price_t" or float(str(one.get("minValue"))) < 0


def valid(document: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    schema = Path(os.environ["IMPACTD_FIXATDL_DIR"]) / "fixatdl-core-1-1.xsd"
    program = folder / "Valid.java"
    program.write_text(VALIDATOR, "utf-8")
    command = ["java", str(program), str(schema), str(document)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.skipif("IMPACTD_FIXATDL_DIR" not in os.environ, reason="IMPACTD_FIXATDL_DIR: FIXatdl's schemas")
@pytest.mark.skipif(shutil.which("java") is None, reason="java is not installed")
def test_ticket_is_valid_by_the_standards_schema(tmp_path: Path) -> None:
    done = valid(TICKET, tmp_path)
    assert done.returncode == 0, done.stderr
    wrong = tmp_path / "wrong.xml"
    wrong.write_text(TICKET.read_text("utf-8").replace('use="required"', 'use="needed"'), "utf-8")
    assert "needed" in valid(wrong, tmp_path).stderr
