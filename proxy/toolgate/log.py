"""The operations log: one line per event on standard error, for operators (the journal is another stream).

RULE: event names are constants in past tense, data stands in keys, and no raw byte of a caller is ever in it.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, Literal, TextIO, TypeAlias

import structlog

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Form: TypeAlias = Literal["auto", "json", "text"]
Log: TypeAlias = structlog.typing.FilteringBoundLogger

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def open_log(level: Level = "info", form: Form = "auto", stream: TextIO | None = None) -> Log:
    """Make the log. `auto` is text on a terminal and JSON lines elsewhere; tracebacks appear here and nowhere else."""
    stream = stream or sys.stderr
    as_text = form == "text" or (form == "auto" and stream.isatty())
    log: Log = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_text(stream) if as_text else _json()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
    )
    return log


def _text(stream: TextIO) -> list[Any]:
    return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]


def _json() -> list[Any]:
    # SECURITY: tracebacks as text: the structured ones show local variables, secrets among them.
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
