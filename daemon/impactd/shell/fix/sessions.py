"""The settings and the state of FIX sessions, as QuickFIX reads them from files.

The state is on the topic; the files are made from it at each start, in a folder that ends with the process.
"""

from __future__ import annotations

import re
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

_VERSIONS: Final = ("FIX.4.4", "FIXT.1.1")
_DAYS: Final = "sunday|monday|tuesday|wednesday|thursday|friday|saturday|su|mo|tu|we|th|fr|sa"
_TIME: Final = (re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d"), "a time of day as HH:MM:SS")
_DAY: Final = (re.compile(_DAYS, re.IGNORECASE), "a day such as monday")
#: Forms of the settings that a session cannot begin without, or that decide when it does.
_FORMS: Final = {
    "socketacceptport": (
        re.compile(r"[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5]"),
        "a port",
    ),
    "heartbtint": (re.compile(r"[1-9]\d{0,8}"), "a number of seconds"),
    "starttime": _TIME,
    "endtime": _TIME,
    "startday": _DAY,
    "endday": _DAY,
    "defaultapplverid": (re.compile(r"FIX\.5\.0SP2|9"), "FIX.5.0SP2"),
}

#: Outgoing messages that are kept for a resend, by session; older ones are gap-filled.
KEPT: Final = 100_000


class SessionsError(ValueError):
    """The file of sessions cannot be used; the text states what to change."""


@dataclass(slots=True)
class SessionState:
    """Sequence numbers of a session, and what it has sent."""

    #: The next message's numbers.
    next_in: int = 1
    next_out: int = 1
    #: When the numbers began at 1, a UTCTimestamp.
    created: str = ""
    #: Application messages by their number.
    sent: dict[int, str] = field(default_factory=dict)

    def write(self, folder: Path, name: str) -> None:
        """Write the files of QuickFIX's FileStore."""
        body, header = bytearray(), []
        for number, text in sorted(self.sent.items()):
            # As QuickFIX writes a text on the wire.
            raw = text.encode("utf-8", "surrogateescape")
            header.append(f"{number},{len(body)},{len(raw)} ")
            body += raw
        base = folder / name
        Path(f"{base}.body").write_bytes(body)
        Path(f"{base}.header").write_text("".join(header), "ascii")
        Path(f"{base}.seqnums").write_text(f"{self.next_out:020d} : {self.next_in:020d}", "ascii")
        if self.created:
            Path(f"{base}.session").write_text(self.created, "ascii")


def read_sessions(path: Path) -> str:
    """Return the text of a session file.

    Raises
    ------
    SessionsError
        If it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise SessionsError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SessionsError("is not UTF-8; write it as UTF-8") from error


def check_sessions(text: str) -> list[str]:
    """Return the sessions of a session file, as QuickFIX names them; QuickFIX itself is not needed.

    Raises
    ------
    SessionsError
        If the file cannot be used; the text states the line and what to change.
    """
    default: dict[str, str] = {}
    sessions: list[tuple[int, dict[str, str]]] = []
    section: dict[str, str] | None = None
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        if line.upper() in {"[DEFAULT]", "[SESSION]"}:
            section = default if line.upper() == "[DEFAULT]" else {}
            if section is not default:
                sessions.append((number, section))
            continue
        key, sign, value = (part.strip() for part in line.partition("="))
        if not sign or not key:
            raise SessionsError(f"line {number}: {line[:40]!r} is neither a section nor KEY=VALUE; correct it")
        if key.lower() in {own.lower() for own in _OWN}:
            raise SessionsError(f"line {number}: {key} is set by the gateway, for exactly-once; leave it out")
        if section is None:
            raise SessionsError(f"line {number}: {key} is in no section; put [DEFAULT] before it")
        _check_value(number, key, value)
        section[key.lower()] = value
    if not sessions:
        raise SessionsError("has no [SESSION]; add one with BeginString, SenderCompID and TargetCompID")
    names: list[str] = []
    for number, own in sessions:
        names.append(_name_of(number, default | own))
        if names[-1] in names[:-1]:
            raise SessionsError(f"line {number}: the session {names[-1]} is there twice; leave one")
    return names


def _check_value(number: int, key: str, value: str) -> None:
    what = _FORMS.get(key.lower())
    if what is not None and not what[0].fullmatch(value):
        raise SessionsError(f"line {number}: {key}={value} is not {what[1]}; correct it")


def _name_of(number: int, values: Mapping[str, str]) -> str:
    """Return the name of a session whose settings are complete."""
    for key in ("BeginString", "SenderCompID", "TargetCompID", "SocketAcceptPort"):
        if not values.get(key.lower()):
            raise SessionsError(f"line {number}: the session has no {key}; add it, or to [DEFAULT]")
    begin = values["beginstring"]
    if begin not in _VERSIONS:
        raise SessionsError(f"line {number}: BeginString={begin} is not read; give one of {', '.join(_VERSIONS)}")
    for first, second in (("StartTime", "EndTime"), ("StartDay", "EndDay")):
        if (first.lower() in values) != (second.lower() in values):
            missing = second if first.lower() in values else first
            raise SessionsError(f"line {number}: the session has no {missing}; give both {first} and {second}")
    qualifier = values.get("sessionqualifier", "")
    return f"{begin}:{values['sendercompid']}->{values['targetcompid']}" + (f":{qualifier}" if qualifier else "")


def sessions_file(text: str, store: Path) -> str:
    """Return a QuickFIX session file with what the gateway sets itself."""
    check_sessions(text)
    lines = text.splitlines()
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
