"""`toolgate runs`: what an agent did, step by step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

import click

from toolgate.cli import console
from toolgate.cli.agreed import AGREEMENTS, agreement, names_of, plan_line, step_line
from toolgate.cli.command import NO, Command
from toolgate.cli.reading import clock_time, journal_options, open_journal
from toolgate.cli.telling import asked, bill, opening, told, turn
from toolgate.core.model import OWN
from toolgate.core.runs import RUN_STARTED, TURNS, State, state_of
from toolgate.core.steps import Step, steps_of

if TYPE_CHECKING:
    from toolgate.core.journal import RunSummary
    from toolgate.core.model import Json
    from toolgate.ports import Journal

_PAGE: Final = 1_000
_LOOKED_THROUGH: Final = 20  # runs, for the newest of an agent
_HELD: Final[frozenset[State]] = frozenset({"stopped", "frozen"})


@click.group("runs")
def command() -> None:
    """Read runs: the calls of one task of an agent, in order."""


@command.command("list", cls=Command, examples=("toolgate runs list", "toolgate runs list --limit 5 --json"))
@journal_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many.")
def list_runs(
    limit: int, file: str | None, config: str | None, environment: str | None, assignments: tuple[str, ...]
) -> None:
    """List runs, the newest first."""
    journal = open_journal(file=file, config=config, environment=environment, assignments=assignments)
    runs = journal.runs(limit)
    if console.wants_json():
        console.emit({"runs": [_as_json(run) for run in runs]})
        return
    columns = ("run", "principal", "started", "last call", "calls", "refused", "failed", "state", "labels")
    console.table(columns, [_as_row(run) for run in runs], styles=("cyan",))


@command.command(
    "show", cls=Command, examples=("toolgate runs show", "toolgate runs show run_01KDMB4Y8M4Z2T9GJ6Q0V7R3XA --json")
)
@journal_options
@click.argument("run", required=False)
def show(
    run: str | None, file: str | None, config: str | None, environment: str | None, assignments: tuple[str, ...]
) -> None:
    """Show a run as numbered steps: the call, the agent's reason, the ruling, the outcome.

    Without RUN, the newest of an agent.
    """
    journal = open_journal(file=file, config=config, environment=environment, assignments=assignments)
    wanted = run or _newest(journal)
    events = list(_events(journal, wanted)) if wanted else []
    if not events:
        console.failure(f"the journal has no run `{wanted}`" if wanted else "the journal has no runs yet")
        raise click.exceptions.Exit(NO)
    steps, turns = steps_of(events), [event for event in events if event.get("event") in TURNS]
    state = state_of(turns)
    if console.wants_json():
        head = {"run": wanted, "state": state, "started": _start(events), "turns": turns}
        agreed = [event for event in events if event.get("event") in AGREEMENTS]
        console.emit({**head, "agreed": agreed, "steps": [_step_as_json(step) for step in steps]})
        return
    _print_run(str(wanted), events, steps, state)
    for event in events:
        if event.get("event") in TURNS or event.get("event") in AGREEMENTS:
            console.say()
            console.say(turn(event) if event.get("event") in TURNS else agreement(event))
    if state in _HELD:
        console.say(f'\nlet it go on with: toolgate thaw --run {console.printable(str(wanted))} --why "…"')


def _newest(journal: Journal) -> str | None:
    """The newest run, those apart in which the gate reads its own catalogues."""
    found = journal.runs(_LOOKED_THROUGH)
    return next((each.run for each in (*(one for one in found if one.principal != OWN.id), *found)), None)


def _events(journal: Journal, run: str) -> Iterator[Mapping[str, Json]]:
    from toolgate.core.journal import Filter  # noqa: PLC0415 - `--help` does without

    after: int | None = None
    while rows := journal.events(Filter(run=run, after=after, limit=_PAGE, order="oldest")):
        yield from (row.event for row in rows)
        after = rows[-1].row


def _start(events: list[Mapping[str, Json]]) -> Mapping[str, Json] | None:
    """How it began; None where that was pruned."""
    return next((event for event in events if event.get("event") == RUN_STARTED), None)


def _print_run(run: str, events: list[Mapping[str, Json]], steps: list[Step], state: State) -> None:
    first, names = _start(events) or events[0], names_of(events)
    refused = sum(step.decided.get("decision") != "permit" for step in steps)
    where = [step.decided.get("environment") for step in steps[:1]]
    began, calls = clock_time(int(first.get("at_ms", 0))), console.counted(len(steps), "call")
    facts = (first.get("principal"), *where, began, f"{calls}, {refused} refused{bill(steps)}")
    console.say(
        f"{console.paint(f'Run {console.printable(run)}', 'bold')}  "
        + "  ".join(console.printable(str(fact)) for fact in facts if fact is not None)
        + (f"  {console.paint(state, 'red' if state in _HELD else 'dim')}" if state != "open" else "")
    )
    if opened := opening(first):
        console.say(f"  {opened}")
    if planned := plan_line(events):
        console.say(f"  {planned}")
    for step in steps:
        console.say()
        for line in told(step, step_line(step.decided, names)):
            console.say(line)


def _step_as_json(step: Step) -> dict[str, Json]:
    decided = step.decided
    return {"step": decided.get("number"), "asked": asked(decided), "decided": decided, "finished": step.finished}


def _as_json(run: RunSummary) -> dict[str, Json]:
    return {
        "run": run.run,
        "principal": run.principal,
        "started_ms": run.started_ms,
        "last_ms": run.last_ms,
        "calls": run.calls,
        "refusals": run.refusals,
        "failures": run.failures,
        "state": _state(run),
        "labels": run.labels,
    }


def _state(run: RunSummary) -> str:
    """A run whose token has ended takes no call, whether or not its agent closed it."""
    is_over = run.state == "open" and run.expires_ms is not None and run.expires_ms <= time.time_ns() // 1_000_000
    return "ended" if is_over else run.state


def _as_row(run: RunSummary) -> tuple[str, ...]:
    times = (clock_time(run.started_ms), clock_time(run.last_ms))
    counts = (f"{count:,}" for count in (run.calls, run.refusals, run.failures))
    return (run.run, run.principal, *times, *counts, _state(run), ", ".join(map("=".join, run.labels.items())))
