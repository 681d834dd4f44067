"""The settings and the state of FIX sessions, as QuickFIX reads them from files.

The state is on the topic; the files are made from it at each start, in a folder that ends with the process.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

#: What the gateway sets itself: exactly-once rests on it.
_OWN: Final = (
    "ConnectionType",
    "FileStorePath",
    "PersistMessages",
    "RefreshOnLogon",
    "ResetOnLogon",
    "ResetOnLogout",
    "ResetOnDisconnect",
    "UseDataDictionary",
    "ValidateUserDefinedFields",
    "AllowUnknownMsgFields",
)

#: Outgoing messages that are kept for a resend, by session; older ones are gap-filled.
KEPT: Final = 100_000


class SessionsError(ValueError):
    """The file of sessions cannot be used; the text states what to change."""


@dataclass(slots=True)
class SessionState:
    """Sequence numbers of a session, and what it has sent.

    Attributes
    ----------
    next_in, next_out : int
        The next message's numbers.
    created : str
        When the numbers began at 1, a UTCTimestamp.
    sent : dict of str
        Application messages by their number.
    """

    next_in: int = 1
    next_out: int = 1
    created: str = ""
    sent: dict[int, str] = field(default_factory=dict)

    def write(self, folder: Path, name: str) -> None:
        """Write the files of QuickFIX's FileStore."""
        body, header = bytearray(), []
        for number, text in sorted(self.sent.items()):
            raw = text.encode("latin-1")
            header.append(f"{number},{len(body)},{len(raw)} ")
            body += raw
        base = folder / name
        Path(f"{base}.body").write_bytes(body)
        Path(f"{base}.header").write_text("".join(header), "ascii")
        Path(f"{base}.seqnums").write_text(f"{self.next_out:020d} : {self.next_in:020d}", "ascii")
        if self.created:
            Path(f"{base}.session").write_text(self.created, "ascii")


def sessions_file(text: str, store: Path) -> str:
    """Return a QuickFIX session file with what the gateway sets itself.

    Raises
    ------
    SessionsError
        If it sets that otherwise, or has no session.
    """
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        key = line.partition("=")[0].strip()
        if key.lower() in {own.lower() for own in _OWN}:
            raise SessionsError(f"line {number}: {key} is set by the gateway, for exactly-once; leave it out")
    if not any(line.strip().upper() == "[SESSION]" for line in lines):
        raise SessionsError("has no [SESSION]; add one with BeginString, SenderCompID and TargetCompID")
    specs = _dictionaries(store)
    own = {
        "ConnectionType": "acceptor",
        "FileStorePath": str(store),
        "PersistMessages": "Y",
        "UseDataDictionary": "Y",
        # What is not known is refused by our own reading of orders, which names the remedy.
        "ValidateUserDefinedFields": "N",
        "AllowUnknownMsgFields": "Y",
    }
    defaults = {
        "StartTime": "00:00:00",
        "EndTime": "00:00:00",
        "HeartBtInt": "30",
        "ReconnectInterval": "5",
        "DefaultApplVerID": "FIX.5.0SP2",
        "DataDictionary": specs["FIX44"],
        "TransportDataDictionary": specs["FIXT11"],
        "AppDataDictionary": specs["FIX50SP2"],
    }
    # Of a setting that is there twice in a section QuickFIX takes the last.
    added = [f"{key}={value}" for key, value in (own | defaults).items()]
    return "\n".join(["[DEFAULT]", *added, *_default_first(lines)]) + "\n"


def _default_first(lines: Iterable[str]) -> list[str]:
    """Return the lines of [DEFAULT], wherever they are, without its heading, and then those of the sessions."""
    default: list[str] = []
    sessions: list[str] = []
    section = default
    for line in lines:
        heading = line.strip().upper()
        if heading == "[DEFAULT]":
            section = default
            continue
        if heading == "[SESSION]":
            section = sessions
        section.append(line)
    return default + sessions


#: What FIX 4.4 lacks in QuickFIX's dictionary: number, name and type.
_LATER_FIELDS: Final = (
    (957, "NoStrategyParameters", "NUMINGROUP"),
    (958, "StrategyParameterName", "STRING"),
    (959, "StrategyParameterType", "INT"),
    (960, "StrategyParameterValue", "STRING"),
    (851, "LastLiquidityInd", "INT"),
)


def _dictionaries(folder: Path) -> Mapping[str, str]:
    """Return the paths of QuickFIX's dictionaries; that of FIX 4.4 with strategy parameters, which came later."""
    source = Path(sysconfig.get_path("data")) / "share" / "quickfix"
    spec = ET.parse(source / "FIX44.xml")  # noqa: S314  # a file of the package
    for message in spec.findall("./messages/message"):
        if message.get("msgtype") in {"D", "G"}:
            group = ET.SubElement(message, "group", name="NoStrategyParameters", required="N")
            for name in ("StrategyParameterName", "StrategyParameterType", "StrategyParameterValue"):
                ET.SubElement(group, "field", name=name, required="N")
    for known in spec.findall("./fields"):
        for number, name, kind in _LATER_FIELDS:
            if known.find(f"./field[@number='{number}']") is None:
                ET.SubElement(known, "field", number=str(number), name=name, type=kind)
    spec.write(folder / "FIX44.xml")
    return {
        "FIX44": str(folder / "FIX44.xml"),
        "FIXT11": str(source / "FIXT11.xml"),
        "FIX50SP2": str(source / "FIX50SP2.xml"),
    }
