"""What `toolgate freeze` and `toolgate thaw` share: what is named, and how the answer is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from toolgate.cli import console
from toolgate.cli.command import NO
from toolgate.cli.gate import gate_of, gate_options

_F = TypeVar("_F", bound=Callable[..., Any])
_NAMED: Final = ("run", "principal", "tool")


def switch_options(command: _F) -> _F:
    """Add the options that say what is frozen or thawed, and why."""
    for option in (
        click.option("--why", required=True, metavar="TEXT", help="Why: the journal keeps it, and agents read it."),
        click.option("--everything", is_flag=True, help="Every call of every principal."),
        click.option("--tool", metavar="TOOL", help="Every operation of this tool."),
        click.option("--principal", metavar="ID", help="Every call of this principal, and on its behalf."),
        click.option("--run", metavar="RUN", help="This run, and the runs in it."),
    ):
        command = option(command)
    return gate_options(command)


def throw(action: str, options: dict[str, Any]) -> None:
    """Have the gate do it, and say what it did."""
    gate, _ = gate_of(options)
    told = gate.ask("POST", f"/-/{action}", _asked(options))
    if not told.is_done:
        console.failure(told.refusal)
        raise click.exceptions.Exit(NO)
    if console.wants_json():
        console.emit(told.value)
    else:
        _say(told.value)
    if not told.value["known"]:
        name = console.printable(told.value["name"])
        console.warn(f"the journal has never heard of the {told.value['kind']} `{name}`; is the name right?")


def _asked(options: dict[str, Any]) -> dict[str, Any]:
    given = {name: options[name] for name in _NAMED if options[name] is not None}
    if options["everything"]:
        given["everything"] = True
    if len(given) != 1:
        raise click.UsageError("name exactly one of `--run`, `--principal`, `--tool` and `--everything`")
    return {**given, "why": options["why"]}


def _say(told: dict[str, Any]) -> None:
    what = "everything" if told["kind"] == "everything" else f"the {told['kind']} `{console.printable(told['name'])}`"
    done = "frozen" if told["action"] == "freeze" else "thawed"
    was = "" if told["changed"] else f" (it was {done} already)"
    console.say(
        f"{console.paint(done, 'red' if done == 'frozen' else 'green')}  {what}, by {console.printable(told['who'])}{was}"
    )
