"""Logging: one line per event, on standard error.

JSON for machines, colours for a person at a terminal.  Times are ISO 8601 in
UTC.  Lines of aiokafka and others through the standard library take the same
path, so that there is one stream with one form; their level is a setting of
its own, since at `debug` numba alone writes megabytes.

Tracebacks carry no local variables: those may hold secrets.  For the same
reason aiokafka's connections never log at `debug`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO

import orjson
import structlog
from structlog.typing import Processor

from impactd.shell.log_limit import RateLimit
from impactd.shell.printable import printable

#: The loggers of this package; those of all libraries have a level of their own.
OURS: Final = "impactd"

#: Loggers whose debug lines hold each request's bytes, and with them the password or token of an authentication.
TELLS_SECRETS: Final = ("aiokafka.conn",)

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_HANDLER: Final = "impactd"


def setup(
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["auto", "json", "console"] = "auto",
    stream: TextIO | None = None,
    per_minute: int = 0,
    libraries: Literal["debug", "info", "warning", "error"] = "warning",
) -> RateLimit:
    """Send structlog and the standard library's loggers to one stream; return what limits their lines.

    Parameters
    ----------
    form : {"auto", "json", "console"}
        ``auto`` writes for people where `stream` is a terminal, else JSON.
    stream : text file, optional
        Default: standard error.
    per_minute : int
        Lines of one kind a minute, see `impactd.shell.log_limit`; 0 holds nothing back.
    libraries : {"debug", "info", "warning", "error"}
        Least level of what is not of this package; never less than `level`.
    """
    out = sys.stderr if stream is None else stream
    as_json = form == "json" or (form == "auto" and not out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.set_name(_HANDLER)
    limit = RateLimit(per_minute)
    handler.addFilter(limit)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderer(out, as_json=as_json)],
        )
    )
    root = logging.getLogger()
    for old in [known for known in root.handlers if known.get_name() == _HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(_LEVELS[level], _LEVELS[libraries]))
    logging.getLogger(OURS).setLevel(_LEVELS[level])
    for name in TELLS_SECRETS:
        logging.getLogger(name).setLevel(max(root.level, logging.INFO))
    return limit


def _renderer(out: TextIO, *, as_json: bool) -> list[Processor]:
    if as_json:
        return [structlog.processors.format_exc_info, structlog.processors.EventRenamer("event"), _json]
    plain = structlog.dev.plain_traceback
    return [_escaped, structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)]


def _escaped(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters of foreign text; JSON does so by itself, and tracebacks keep their lines."""
    return {name: printable(value, keep="\n\t") if isinstance(value, str) else value for name, value in event.items()}


def _json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    first = {name: event.pop(name) for name in ("timestamp", "level", "logger", "event") if name in event}
    return orjson.dumps({**first, **event}, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
