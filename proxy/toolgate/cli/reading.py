"""Finding the journal to read, and the times people write.

RULE: reading never opens the journal for writing, so it can be read while the gate runs, or as a copy afterwards.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from toolgate.cli.options import load_settings, settings_options
from toolgate.ports import LedgerError

if TYPE_CHECKING:
    from toolgate.ports import Journal

_F = TypeVar("_F", bound=Callable[..., Any])
_AGO: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def journal_options(command: _F) -> _F:
    """Add the options that say which journal is read."""
    file = click.option("--file", metavar="FILE", help="Read this journal, whatever the settings say.")
    return settings_options(file(command))


def open_journal(
    *, file: str | None, config: str | None, environment: str | None, assignments: tuple[str, ...]
) -> Journal:
    """Open the journal that the options, or else the settings, name."""
    from toolgate.ledger import FileJournal, file_of  # noqa: PLC0415 - SQLite; `--help` does without

    path = Path(file) if file else file_of(load_settings(config, assignments, environment=environment).settings.ledger)
    if path is None:
        raise LedgerError(
            "`ledger` is `memory:`, so the journal is inside the running gate: ask its admin listener, or keep it in a file "
            "with `ledger: sqlite:.toolgate/ledger.db`"
        )
    return FileJournal(path)


class Moment(click.ParamType[int]):
    """A time, as milliseconds since 1970: so long ago (`90m`, `2d`), or a date and time."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if found := _AGO.fullmatch(value):
            return time.time_ns() // 1_000_000 - int(found[1]) * _UNIT_MS[found[2]]
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"`{value}` is no time; write `90m`, `2d`, `2026-11-22` or `2026-11-22T15:54:39Z`", param, ctx)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def clock_time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
