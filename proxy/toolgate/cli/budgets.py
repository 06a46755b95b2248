"""`toolgate budgets`: what is spent, by whom, and what is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from toolgate.cli import console
from toolgate.cli.command import NO, Command
from toolgate.cli.gate import Gate, gate_of, gate_options
from toolgate.core.budget import SECONDS

if TYPE_CHECKING:
    from toolgate.settings import Settings


_EXAMPLES = (
    "toolgate budgets",
    "toolgate budgets --limit 3 --json",
    "toolgate budgets --file .toolgate/ledger.db",
)


@click.command("budgets", cls=Command, examples=_EXAMPLES)
@gate_options
@click.option("--file", metavar="FILE", help="Read this ledger, whether or not a gate runs.")
@click.option("--limit", type=click.IntRange(1, 1000), default=10, show_default=True, help="Spenders of each budget.")
def command(limit: int, file: str | None, **options: Any) -> None:
    """Show every budget with those who have taken most of it.

    The running gate is asked. Amounts are what is charged now: of a call in flight what it holds. `overrun` is what replies
    billed beyond what was left, as the gate's journal has it.
    """
    gate, settings = gate_of(options)
    found = _asked(gate, limit) if file is None else _read(Path(file), settings, limit)
    if console.wants_json():
        console.emit(found)
        return
    if not found["budgets"]:
        console.say("there are no budgets; `policies/budgets.yaml` gives them")
        return
    rows = [row for budget in found["budgets"] for row in _rows(budget)]
    console.table(("budget", "given", "who", "taken", "left", "overrun"), rows, styles=("cyan",))


def _asked(gate: Gate, limit: int) -> Any:
    told = gate.ask("GET", f"/-/budgets?limit={limit}")
    if not told.is_done:
        console.failure(told.refusal)
        raise click.exceptions.Exit(NO)
    return told.value


def _read(file: Path, settings: Settings, limit: int) -> Any:
    """The same out of a ledger's file, held against the budgets as the policies folder has them now."""
    from toolgate.core.spending import looks_back, spending, spending_json  # noqa: PLC0415 - `--help` does without
    from toolgate.ledger import FileJournal  # noqa: PLC0415 - SQLite; as above
    from toolgate.load.bundle import load  # noqa: PLC0415 - as above
    from toolgate.settings.sources import sources_of  # noqa: PLC0415 - as above

    at_ms = time.time_ns() // 1_000_000
    journal, bundle = FileJournal(file), load(sources_of(settings))
    budgets, balances = bundle.budgets.budgets, journal.balances(at_ms)
    overruns = {since: journal.overruns(since) for since in looks_back(budgets, at_ms)}
    found = spending(budgets, balances, at_ms, limit, overruns)
    return {"environment": bundle.environment, "budgets": [spending_json(each) for each in found]}


def _rows(budget: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    window = f" {budget['window']}" if budget["window"] else ""
    operations = budget["operations"]
    covers = f" for {console.counted(len(operations), 'operation')}" if operations is not None else ""
    given = f"{budget['given']} {budget['dimension']}{covers}{window}"
    most = budget["most"]
    if budget["dimension"] == SECONDS:
        yield budget["budget"], given, "each run, from its beginning", "", "", ""
    elif not most:
        yield budget["budget"], given, "nobody yet", "0", budget["given"], ""
    for at, spender in enumerate(most):
        who = ", ".join(f"{kind} {name}" for kind, name in spender["scope"].items()) or "everybody"
        named = (budget["budget"], given) if at == 0 else ("", "")
        overrun = spender["overrun"] if spender["overrun"] != "0" else ""
        yield *named, who, spender["taken"], spender["left"], overrun
    others = budget["spenders"] - len(most)
    if others > 0:
        yield "", "", f"and {console.counted(others, 'other')}", "", "", ""
