"""`toolgate journal`: what was decided, and proof that it is as it was written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import click

from toolgate.cli import console
from toolgate.cli.command import NO, Command
from toolgate.cli.reading import Moment, journal_options, open_journal, open_mask_key
from toolgate.cli.telling import event_line, fields
from toolgate.core.suggest import near
from toolgate.ports import LedgerError

if TYPE_CHECKING:
    from toolgate.core.journal import Head, Row
    from toolgate.core.mask import MaskKey

_POLL_S = 0.2


@click.group("journal")
def command() -> None:
    """Read the journal: every decision, and how it ended.

    The journal can be read while the gate runs. With `--json`, events are printed as they were written, one line each.
    """


_LIST = (
    "toolgate journal list",
    "toolgate journal list --decision refuse --since 1h",
    "toolgate journal list --operation metrics.removeMetric --json",
)
_SHOW = (
    "toolgate journal show 01KDMB4Y8M4Z2T9GJ6Q0V7R3XA",
    "toolgate journal show 01KDMB4Y8M4Z2T9GJ6Q0V7R3XA --json",
    "toolgate journal show 01KDMB4Y8M4Z2T9GJ6Q0V7R3XA --unmask",
)
_FOLLOW = ("toolgate journal follow", "toolgate journal follow --last 0 --json | jq .code")
_VERIFY = ("toolgate journal verify", "toolgate journal verify --file backup/ledger.db --head w_01KDMB…:812:9f2c…")


@command.command("list", cls=Command, examples=_LIST)
@journal_options
@click.option("--run", metavar="RUN", help="Only this run.")
@click.option("--call", metavar="CALL", help="Only this call.")
@click.option("--kind", metavar="EVENT", help="Only this kind of event, such as `Decided`.")
@click.option("--operation", metavar="TOOL.ID", help="Only this operation.")
@click.option("--code", metavar="CODE", help="Only this code, such as `tool.disallowed`.")
@click.option("--decision", type=click.Choice(["permit", "refuse"]), help="Only decisions that say this.")
@click.option("--principal", metavar="ID", help="Only this principal.")
@click.option("--since", "since_ms", type=Moment(), help="Not before: `90m`, `2d`, or a date and time.")
@click.option("--until", "until_ms", type=Moment(), help="Before this time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option(
    "--order", type=click.Choice(["newest", "oldest"]), default="newest", show_default=True, help="Which first."
)
def list_events(
    file: str | None, config: str | None, environment: str | None, assignments: tuple[str, ...], **wanted: Any
) -> None:
    """List events, the newest first."""
    from toolgate.core.journal import Filter  # noqa: PLC0415 - `--help` does without

    journal = open_journal(file=file, config=config, environment=environment, assignments=assignments)
    rows = journal.events(Filter(**wanted))
    _print(rows)
    if not rows:
        console.note(f"no event matches{_near_code(wanted['code'])}")


def _near_code(code: str | None) -> str:
    """What a code that no version of ours has was probably meant to be."""
    from toolgate.core.codes import CODES  # noqa: PLC0415 - `--help` does without

    nearest = near(code, CODES, 1) if code is not None and code not in CODES else ()
    return f"; there is no code `{code}`, did you mean `{nearest[0]}`?" if nearest else ""


@command.command("show", cls=Command, examples=_SHOW)
@journal_options
@click.option("--unmask", is_flag=True, help="Put masked values back, with the key of `keys.mask`.")
@click.argument("call")
def show(call: str, *, unmask: bool, **which: Any) -> None:
    """Show everything about one call. CALL is the id in `Toolgate-Call` and in a problem's `call`."""
    journal = open_journal(**which)
    rows = journal.call(call.removeprefix("urn:toolgate:call:"))
    if not rows:
        console.failure(
            f"the journal has no call `{call}`; what is refused before it is a call (on the wire, by its token, on the gate's "
            "own paths) is in the log on standard error"
        )
        raise click.exceptions.Exit(NO)
    if not unmask:
        _show(rows)
        return
    key = open_mask_key(**which)
    try:
        _show([_unmasked(row, key) for row in rows])
    except ValueError as error:
        raise LedgerError(f"{error}; name the right one with `--set keys.mask='${{file:PATH}}'`") from error


def _show(rows: Sequence[Row]) -> None:
    if console.wants_json():
        _print(rows)
        return
    for row in rows:
        console.say(event_line(row.event), style=None)
        for name, value in fields(row.event):
            console.say(f"  {name:<12} {value}")


def _unmasked(row: Row, key: MaskKey) -> Row:
    from toolgate.core.events import unsealed  # noqa: PLC0415 - `--help` does without
    from toolgate.core.journal import total  # noqa: PLC0415 - as above

    event = unsealed(row.event, key)
    return replace(row, event=event, line=total(event))


@command.command("follow", cls=Command, examples=_FOLLOW)
@journal_options
@click.option(
    "--last", type=click.IntRange(0, 10_000), default=10, show_default=True, help="Begin with so many of the last."
)
def follow(
    last: int, file: str | None, config: str | None, environment: str | None, assignments: tuple[str, ...]
) -> None:
    """Print events as they are written, until Ctrl-C."""
    from toolgate.core.journal import Filter  # noqa: PLC0415 - `--help` does without

    journal = open_journal(file=file, config=config, environment=environment, assignments=assignments)
    newest = journal.events(Filter(limit=max(last, 1)))
    if last:
        _print(reversed(newest))
    try:
        for row in journal.follow(newest[0].row if newest else 0, _wait):
            _print([row])
    except KeyboardInterrupt:
        return


@command.command("verify", cls=Command, examples=_VERIFY)
@journal_options
@click.option(
    "--head", "head_text", metavar="WRITER:SEQ:HASH", help="A head from standard output: shows a cut tail too."
)
def verify(
    head_text: str | None, file: str | None, config: str | None, environment: str | None, assignments: tuple[str, ...]
) -> None:
    """Prove that no event was changed, removed, added or moved since it was written.

    Without `--head` a cut end does not show: keep the heads the gate prints to standard output somewhere else.
    """
    from toolgate.core.journal import Broken, Verified  # noqa: PLC0415 - `--help` does without

    head = _head(head_text) if head_text else None
    journal = open_journal(file=file, config=config, environment=environment, assignments=assignments)
    match journal.verify(head):
        case Verified(rows, pruned, last):
            _say_verified(rows, pruned, last)
        case Broken(row, writer, seq, why):
            if console.wants_json():
                console.emit({"verified": False, "row": row, "writer": writer, "seq": seq, "why": why})
            else:
                console.say(f"{console.paint('broken', 'red')} at row {row}: {why}")
            raise click.exceptions.Exit(NO)


def _say_verified(rows: int, pruned: int, last: Head | None) -> None:
    shown = f"{last.writer}:{last.seq}:{last.hash}" if last else None
    if console.wants_json():
        console.emit({"verified": True, "rows": rows, "pruned": pruned, "head": shown})
        return
    before = f", after {console.counted(pruned, 'pruned event')}" if pruned else ""
    console.say(f"{console.paint('verified', 'green')} {console.counted(rows, 'event')}{before}")
    if shown:
        console.say(f"head {shown}")


def _head(text: str) -> Head:
    """A head as `writer:seq:hash`, or the JSON line it was printed as."""
    from toolgate.core.journal import Head  # noqa: PLC0415 - `--help` does without

    try:
        values = json.loads(text)
        return Head(str(values["writer"]), int(values["seq"]), str(values["hash"]))
    except (ValueError, KeyError, TypeError):
        writer, _, rest = text.partition(":")
        seq, _, digest = rest.partition(":")
    if not (writer and seq.isdecimal() and digest):
        raise click.BadParameter("write `WRITER:SEQ:HASH`, or the JSON line of the head", param_hint="--head")
    return Head(writer, int(seq), digest)


def _print(rows: Iterable[Row]) -> None:
    for row in rows:
        if console.wants_json():
            console.line(row.line)
        else:
            console.say(event_line(row.event))


def _wait() -> Literal[True]:
    time.sleep(_POLL_S)
    return True
