"""`toolgate runs`: what an agent did, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from toolgate.cli import console
from toolgate.cli.command import NO, Command
from toolgate.cli.reading import clock_time, journal_options, open_journal
from toolgate.cli.telling import asked, told
from toolgate.core.steps import Step, steps_of

if TYPE_CHECKING:
    from toolgate.core.journal import RunSummary
    from toolgate.core.model import Json
    from toolgate.ports import Journal

_PAGE = 1_000


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
    columns = ("run", "principal", "started", "last call", "calls", "refused", "failed")
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

    Without RUN, the newest.
    """
    journal = open_journal(file=file, config=config, environment=environment, assignments=assignments)
    wanted = run or next((summary.run for summary in journal.runs(1)), None)
    steps = steps_of(_events(journal, wanted)) if wanted else []
    if not steps:
        console.failure(f"the journal has no calls of the run `{wanted}`" if wanted else "the journal has no runs yet")
        raise click.exceptions.Exit(NO)
    if console.wants_json():
        console.emit({"run": wanted, "steps": [_step_as_json(step) for step in steps]})
        return
    _print_run(str(wanted), steps)


def _events(journal: Journal, run: str) -> Iterator[Mapping[str, Json]]:
    from toolgate.core.journal import Filter  # noqa: PLC0415 - `--help` does without

    after: int | None = None
    while rows := journal.events(Filter(run=run, after=after, limit=_PAGE, order="oldest")):
        yield from (row.event for row in rows)
        after = rows[-1].row


def _print_run(run: str, steps: list[Step]) -> None:
    first = steps[0].decided
    refused = sum(step.decided.get("decision") != "permit" for step in steps)
    facts = (
        first.get("principal"),
        first.get("environment"),
        clock_time(int(first.get("at_ms", 0))),
        f"{console.counted(len(steps), 'call')}, {refused} refused",
    )
    console.say(
        f"{console.paint(f'Run {console.printable(run)}', 'bold')}  "
        + "  ".join(console.printable(str(fact)) for fact in facts)
    )
    for step in steps:
        console.say()
        for line in told(step):
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
    }


def _as_row(run: RunSummary) -> tuple[str, ...]:
    times = (clock_time(run.started_ms), clock_time(run.last_ms))
    return (run.run, run.principal, *times, *(f"{count:,}" for count in (run.calls, run.refusals, run.failures)))
