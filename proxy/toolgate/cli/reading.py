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
    from toolgate.core.mask import MaskKey
    from toolgate.ports import Journal
    from toolgate.settings import Settings

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
    from toolgate.ledger import FileJournal  # noqa: PLC0415 - SQLite; `--help` does without

    if file:
        return FileJournal(Path(file))
    return FileJournal(_journal_file(load_settings(config, assignments, environment=environment).settings))


def open_mask_key(
    *, file: str | None, config: str | None, environment: str | None, assignments: tuple[str, ...]
) -> MaskKey:
    """The key the journal's masked values are sealed with: of the settings, else of the file beside the journal."""
    from toolgate.core.mask import mask_key  # noqa: PLC0415 - `--help` does without
    from toolgate.keys import kept_mask_secret, secret_text  # noqa: PLC0415 - as above

    if file and not (config or assignments):  # a copy of a journal, read where there are no settings
        return mask_key(kept_mask_secret(None, Path(file)))
    settings = load_settings(config, assignments, environment=environment).settings
    given = settings.keys.mask
    beside = Path(file) if file else _journal_file(settings)
    return mask_key(kept_mask_secret(secret_text(given) if given else None, beside))


def _journal_file(settings: Settings) -> Path:
    from toolgate.ledger import file_of  # noqa: PLC0415 - SQLite; `--help` does without

    path = file_of(settings.journal_url)
    if path is None:
        setting = "redis.journal" if settings.shares_state else "ledger"
        raise LedgerError(
            f"`{setting}` is `memory:`, so the journal is inside the running gate: ask its admin listener, or keep it in a "
            f"file with `{setting}: sqlite:.toolgate/ledger.db`"
        )
    return path


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
