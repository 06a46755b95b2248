"""`toolgate freezes`: what is frozen, since when, by whom and why."""

from __future__ import annotations

from typing import Any

import click

from toolgate.cli import console
from toolgate.cli.command import NO, Command
from toolgate.cli.gate import gate_of, gate_options


@click.command("freezes", cls=Command, examples=("toolgate freezes", "toolgate freezes --json"))
@gate_options
def command(**options: Any) -> None:
    """List what is frozen, the newest first."""
    gate, _ = gate_of(options)
    told = gate.ask("GET", "/-/freezes")
    if not told.is_done:
        console.failure(told.refusal)
        raise click.exceptions.Exit(NO)
    if console.wants_json():
        console.emit(told.value)
        return
    frozen = told.value["freezes"]
    if not frozen:
        console.say("nothing is frozen")
        return
    rows = [(each["kind"], each["name"] or "", _time(each["at"]), each["who"], each["why"]) for each in frozen]
    console.table(("frozen", "name", "since", "by", "why"), rows, styles=("red",))


def _time(at: str) -> str:
    """A time of the API as every other table shows it."""
    return at[: len("2026-11-22T15:54:39")].replace("T", " ")
