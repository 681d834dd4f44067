"""The ticket of an order as FIXatdl 1.1, from the places that the acceptor reads."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as ET

from impactd.core.inputs.terms import AUCTIONS, URGENCIES
from impactd.core.outputs.units import Unit
from impactd.shell.fix.tags import LEAST_COST, PARTICIPATE, Place, places

_CORE: Final = "http://www.fixprotocol.org/FIXatdl-1-1/Core"
_LAYOUT: Final = "http://www.fixprotocol.org/FIXatdl-1-1/Layout"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"

#: Of a parameter's value, by the unit of its term.
_TYPES: Final = {
    Unit.QUANTA: "Qty_t",
    Unit.TIME: "UTCTimestamp_t",
    Unit.SHARE: "Percentage_t",
    Unit.PER_CURRENCY: "Float_t",
    Unit.BPS: "Float_t",
    Unit.SECONDS: "Float_t",
    Unit.PRICE: "Price_t",
    Unit.FLAG: "Boolean_t",
    Unit.WINDOWS: "String_t",
    Unit.VENUES: "String_t",
    Unit.URGENCY: "String_t",
    Unit.AUCTIONS: "String_t",
}

#: Of a parameter, where the standard's default is not ours: a price may be negative, and a flag is Y or N on the wire.
_ATTRIBUTES: Final[dict[Unit, dict[str, str]]] = {
    Unit.PRICE: {"minValue": "-9000000000"},
    Unit.FLAG: {"trueWireValue": "Y", "falseWireValue": "N"},
}

_CONTROLS: Final = {
    Unit.TIME: "Clock_t",
    Unit.FLAG: "CheckBox_t",
    Unit.URGENCY: "DropDownList_t",
    Unit.AUCTIONS: "DropDownList_t",
}

#: Terms that every ticket has by itself, whatever the strategy: quantity and price.
NATIVE: Final = frozenset({"order_qty", "limit_px"})

#: Name of a strategy, and how a person reads it.
_NAMES: Final = {LEAST_COST: ("LeastCost", "Least cost"), PARTICIPATE: ("Participate", "Participate")}


def ticket() -> str:
    """Return the document."""
    for prefix, uri in (("", _CORE), ("lay", _LAYOUT), ("xsi", _XSI)):
        ET.register_namespace(prefix, uri)
    root = ET.Element(
        f"{{{_CORE}}}Strategies", strategyIdentifierTag="847", changeStrategyOnCxlRpl="true", tag957Support="true"
    )
    for wire, (name, shown_as) in _NAMES.items():
        strategy = ET.SubElement(
            root,
            f"{{{_CORE}}}Strategy",
            name=name,
            uiRep=shown_as,
            wireValue=wire,
            version="1",
            providerID="impactd",
        )
        shown = [place for place in places(wire) if place.term not in NATIVE]
        for place in shown:
            _parameter(strategy, place, needed=place.tag == 126 or (place.tag == 849 and wire == PARTICIPATE))
        panel = ET.SubElement(
            ET.SubElement(strategy, f"{{{_LAYOUT}}}StrategyLayout"),
            f"{{{_LAYOUT}}}StrategyPanel",
            orientation="VERTICAL",
            title=name,
        )
        for place in shown:
            _control(panel, place)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _parameter(strategy: ET.Element, place: Place, *, needed: bool) -> None:
    kind = _TYPES[place.unit]
    attributes = {"name": place.term, f"{{{_XSI}}}type": kind, "use": "required" if needed else "optional"}
    if place.tag is not None:
        attributes["fixTag"] = str(place.tag)
    attributes |= _ATTRIBUTES.get(place.unit, {})
    element = ET.SubElement(strategy, f"{{{_CORE}}}Parameter", attributes)
    for value in _choices(place.unit):
        ET.SubElement(element, f"{{{_CORE}}}EnumPair", enumID=value, wireValue=value)


def _control(panel: ET.Element, place: Place) -> None:
    kind = _CONTROLS.get(place.unit, "TextField_t")
    element = ET.SubElement(
        panel,
        f"{{{_LAYOUT}}}Control",
        {
            "ID": f"c_{place.term}",
            f"{{{_XSI}}}type": f"lay:{kind}",
            "label": place.term.replace("_", " "),
            "parameterRef": place.term,
            "tooltip": place.meaning.replace("`", ""),
        },
    )
    for value in _choices(place.unit):
        ET.SubElement(element, f"{{{_LAYOUT}}}ListItem", enumID=value, uiRep=value.replace("_", " "))


def _choices(unit: Unit) -> tuple[str, ...]:
    if unit is Unit.URGENCY:
        return tuple(URGENCIES)
    return AUCTIONS if unit is Unit.AUCTIONS else ()
