"""`toolgate ledger`: make a shared store ready, look at it, bring a file's balances into it.

RULE: a store without state may be a new one or an emptied one, and only a person knows which: nothing here is done by the
gate itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolgate.cli import console
from toolgate.cli.command import NO, Command
from toolgate.cli.options import load_settings, settings_options
from toolgate.cli.reading import clock_time

if TYPE_CHECKING:
    from toolgate.ledger.redis.opening import Store
    from toolgate.ledger.redis.upkeep import Status
    from toolgate.settings import Settings

_INIT = ("toolgate ledger init", "toolgate ledger init --accept-loss")
_STATUS = ("toolgate ledger status", "toolgate ledger status --json | jq .open_calls")
_MIGRATE = ("toolgate ledger migrate .toolgate/ledger.db",)


@click.group("ledger")
def command() -> None:
    """Look after the store that gates share (`ledger: redis:…`).

    A ledger in a file or in memory needs none of this: the gate makes it, and brings an older file up to date.
    """


@command.command("init", cls=Command, examples=_INIT)
@settings_options
@click.option(
    "--accept-loss", is_flag=True, help="Go on with a store that lost something: what it lost may be spent again."
)
def init(*, accept_loss: bool, **which: Any) -> None:
    """Make a store ready, once, before the first gate starts.

    A store that was emptied looks like a new one, so no gate goes on with it until this is run again: look first what
    became of its data. With `--accept-loss` a store that has data is begun anew with what it has.
    """
    settings = _settings(which)
    if not settings.shares_state:
        _say_done(f"`{settings.ledger}` needs nothing: the gate makes it when it starts", made=False)
        return
    from toolgate.core.ids import Ulids  # noqa: PLC0415 - `--help` does without
    from toolgate.ledger.redis import upkeep  # noqa: PLC0415 - Redis' library; `--help` does without

    with _reached(settings) as store:
        now_ms = _now_ms(store)
        epoch = Ulids(lambda: now_ms, os.urandom).next()
        if accept_loss:
            upkeep.begin_anew(store, epoch, now_ms)
            _say_done(f"`{store.address}` was begun anew with what it has; running gates go on with it", made=True)
        elif upkeep.begin(store, epoch, now_ms):
            _say_done(f"`{store.address}` is ready", made=True)
        else:
            store.judge_epoch()
            _say_done(f"`{store.address}` was ready before; nothing was changed", made=False)


@command.command("status", cls=Command, examples=_STATUS)
@settings_options
def status(**which: Any) -> None:
    """Say whether the store can be used, and what is in it. Exit code 1: it cannot be used; 3: it cannot be reached."""
    settings = _settings(which)
    if not settings.shares_state:
        _say_done(f"`{settings.ledger}` is this gate's own; `toolgate journal verify` looks at it", made=False)
        return
    from toolgate.ledger.redis import upkeep  # noqa: PLC0415 - Redis' library; `--help` does without

    with _connected(settings) as store:
        found = upkeep.status(store)
    _show(found)
    if found.unfit is not None or found.epoch is None:
        raise click.exceptions.Exit(NO)


@command.command("migrate", cls=Command, examples=_MIGRATE)
@settings_options
@click.argument("file", type=click.Path(path_type=Path))
def migrate(file: Path, **which: Any) -> None:
    """Add to the store what a gate with a ledger in FILE has spent and frozen. The gate must not be running.

    Twice is once: what was added before is not added again. No event of the file is changed, and it may go on as the
    gate's own journal (`redis.journal`).
    """
    settings = _settings(which)
    if not settings.shares_state:
        raise click.UsageError("`ledger` names no store; write `ledger: redis://…`, or `--set ledger=redis://…`")
    from toolgate.ledger import FileJournal  # noqa: PLC0415 - SQLite; `--help` does without
    from toolgate.ledger.redis import recovery, upkeep  # noqa: PLC0415 - Redis' library; `--help` does without
    from toolgate.ledger.sqlite import SqliteStore  # noqa: PLC0415 - as above

    writers = recovery.writers(FileJournal(file))  # which looks first that it is one
    with _reached(settings) as store, closing(SqliteStore(file, lambda _: None)) as held:
        now_ms = _now_ms(store)
        found = held.recover(now_ms, int(settings.runs.idle_s * 1000))
        count = upkeep.migrate(store, found, writers, now_ms)
    _say_done(f"{console.counted(count, 'balance')} of `{file}` added to `{store.address}`", made=True)


def _settings(which: dict[str, Any]) -> Settings:
    return load_settings(which["config"], which["assignments"], environment=which["environment"]).settings


@contextmanager
def _connected(settings: Settings) -> Iterator[Store]:
    from toolgate.ledger.redis.opening import Store  # noqa: PLC0415 - Redis' library; `--help` does without
    from toolgate.settings.store import access_of  # noqa: PLC0415 - pydantic; `--help` does without

    with closing(Store(settings.ledger, access_of(settings))) as store:
        yield store


@contextmanager
def _reached(settings: Settings) -> Iterator[Store]:
    """A store that is fit to hold balances."""
    with _connected(settings) as store:
        store.judge()
        yield store


def _now_ms(store: Store) -> int:
    """The time by the store's own clock."""
    return (time.time_ns() + store.wall_ahead_ns()) // 1_000_000


def _show(found: Status) -> None:
    if console.wants_json():
        console.emit({name: getattr(found, name) for name in found.__slots__})
        return
    since = clock_time(found.since_ms) if found.since_ms is not None else "never: run `toolgate ledger init`"
    for name, value in (
        ("store", f"{found.address} (Redis {found.version}), keys `{found.prefix}…`"),
        ("ready since", since),
        ("fit", "yes" if found.unfit is None else f"no: {found.unfit}"),
        ("kept by", found.persistence),
        ("gates", ", ".join(found.gates) or "none now"),
        ("open calls", f"{found.open_calls:,}"),
        ("balances", f"{found.balances:,}"),
        ("frozen", ", ".join(found.freezes) or "nothing"),
    ):
        console.say(f"{name:<12} {console.printable(value)}")


def _say_done(text: str, *, made: bool) -> None:
    if console.wants_json():
        console.emit({"changed": made, "said": text})
        return
    console.say(text)
