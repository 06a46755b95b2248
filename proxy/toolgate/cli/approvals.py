"""`toolgate approvals`: what agents ask of people, and the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar, get_args
from urllib.parse import quote

import click

from toolgate.cli import console
from toolgate.cli.command import NO, Command
from toolgate.cli.console import paint, printable
from toolgate.cli.gate import Gate, gate_of, gate_options
from toolgate.cli.telling import arguments_line
from toolgate.core.approval import ApprovalState

_F = TypeVar("_F", bound=Callable[..., Any])
_ID: Final = "apr_01KDMB4Y8M4Z2T9GJ6Q0V7R3XA"
_LONGEST: Final = 80  # of a plan's goal, in a list
_STATES: Final = get_args(ApprovalState)
_STYLES: Final[Mapping[str, str]] = {
    "pending": "yellow", "granted": "green", "declined": "red", "revoked": "red", "expired": "dim", "used": "dim",
}  # fmt: skip


@click.group("approvals")
def command() -> None:
    """See what agents ask of people, and answer it.

    The running gate is asked, with your token: whoever answers has the role that is asked for, and did not ask.
    """


@command.command("list", cls=Command, examples=("toolgate approvals list", "toolgate approvals list --all --json"))
@gate_options
@click.option("--state", type=click.Choice(_STATES), help="Those that are in this state.  [default: pending]")
@click.option("--all", "every", is_flag=True, help="Whatever state they are in.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
def list_approvals(state: str | None, every: bool, limit: int, **options: Any) -> None:  # noqa: FBT001 - click's signature
    """List what waits for an answer, the newest first."""
    if state and every:
        raise click.UsageError("`--state` and `--all` do not go together")
    gate, _ = gate_of(options)
    wanted = "" if every else f"state={state or 'pending'}&"
    told = _asked(gate, "GET", f"/-/approvals?{wanted}limit={limit}")
    if console.wants_json():
        console.emit(told)
        return
    found = told["approvals"]
    if not found:
        console.say("nothing is asked" if every else f"nothing is {state or 'pending'}")
        return
    columns = ("approval", "state", "asked", "expires", "by", "what", "of")
    console.table(columns, [_row(each) for each in found], styles=("cyan",))
    if told["more"]:
        console.note(f"there are more: `--limit {min(limit * 10, 1000)}` shows them")


@command.command("show", cls=Command, examples=(f"toolgate approvals show {_ID}",))
@gate_options
@click.argument("approval")
def show(approval: str, **options: Any) -> None:
    """Show what is asked: the call as it will be sent, and why a person is asked."""
    gate, _ = gate_of(options)
    told = _asked(gate, "GET", f"/-/approvals/{quote(approval, safe='')}")
    if console.wants_json():
        console.emit(told)
        return
    for line in _lines(told):
        console.say(line)


def _answering(command: _F) -> _F:
    comment = click.option("--comment", "-m", metavar="TEXT", help="For the agent and the journal.")
    return gate_options(comment(click.argument("approval")(command)))


@command.command(
    "grant",
    cls=Command,
    examples=(
        f'toolgate approvals grant {_ID} --comment "checked with the team"',
        f"toolgate approvals grant {_ID} --role oncall",
    ),
)
@_answering
@click.option("--role", metavar="ROLE", help="The role you answer in, where you have several that are asked for.")
def grant(approval: str, comment: str | None, role: str | None, **options: Any) -> None:
    """Say yes: the agent may repeat this one call, as it is, once, within the next minutes."""
    _answer("grant", approval, {"comment": comment, "role": role}, options)


@command.command(
    "decline", cls=Command, examples=(f'toolgate approvals decline {_ID} --comment "it is in use until Friday"',)
)
@_answering
def decline(approval: str, comment: str | None, **options: Any) -> None:
    """Say no: the same call is refused from now on."""
    _answer("decline", approval, {"comment": comment}, options)


@command.command("revoke", cls=Command, examples=(f'toolgate approvals revoke {_ID} --why "the wrong metric"',))
@gate_options
@click.option("--why", metavar="TEXT", help="For the agent and the journal.")
@click.argument("approval")
def revoke(approval: str, why: str | None, **options: Any) -> None:
    """Take a yes back that nothing has used: the same call is refused from now on."""
    _answer("revoke", approval, {"comment": why}, options)


def _answer(action: str, approval: str, said: Mapping[str, str | None], options: dict[str, Any]) -> None:
    gate, _ = gate_of(options)
    body = {name: text for name, text in said.items() if text is not None}
    told = _asked(gate, "POST", f"/-/approvals/{quote(approval, safe='')}/{action}", body)
    if console.wants_json():
        console.emit(told)
        return
    console.say(f"{_state(told)}  {printable(told['approval'])}  {_what(told)}, for {printable(told['principal'])}")
    if told["waiting_for"]:
        console.say(f"it waits for the role {_roles(told['waiting_for'])} too")
    if told["state"] == "granted":
        console.say(f"the agent may repeat it until {told['expires_at']}")


def _asked(gate: Gate, method: str, path: str, body: Any = None) -> Any:
    told = gate.ask(method, path, body)
    if not told.is_done:
        console.failure(told.refusal)
        raise click.exceptions.Exit(NO)
    return told.value


def _row(approval: Mapping[str, Any]) -> tuple[str, ...]:
    roles = ", ".join(approval["waiting_for"] or approval["roles"])
    who = approval["principal"]
    told = (approval["approval"], approval["state"], approval["asked_at"], approval["expires_at"], who)
    return (*told, f"{_what(approval)}{_short(approval['request'])}", roles)


def _short(request: Mapping[str, Any]) -> str:
    """What is asked, on one line: the arguments of a call, the goal of a plan; `show` has all of it."""
    arguments = request.get("arguments")
    if isinstance(arguments, dict):
        return f"({arguments_line(arguments)})"
    goal = request.get("goal")
    return f': "{printable(str(goal))[:_LONGEST]}"' if goal else ""


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{paint(printable(told['approval']), 'bold')}  {_state(told)}, {_until(told)}"
    acting = f", for whom {printable(told['actor'])} acts" if told["actor"] else ""
    plan = f", step {printable(told['step'])} of {printable(told['plan'])}" if told["step"] else ""
    yield f"  asked    {told['asked_at']}, by {printable(told['principal'])}{acting}"
    yield f"  in       {printable(told['run'])}{plan}"
    yield f"  for      {_what(told)}"
    yield f"  why      {printable(told['why']) or '-'}"
    if told["statements"]:
        yield f"  rule     {', '.join(f'`{printable(each)}`' for each in told['statements'])}"
    yield f"  of       {_roles(told['roles'])}"
    for each in told["granted_by"]:
        yield f"  granted  as {printable(each['role'])}, by {printable(each['by'])}"
    if told["comment"]:
        yield f'  comment  "{printable(told["comment"])}"'
    yield "  request"
    # SECURITY: JSON writes control characters as escapes, and `printable` what it leaves of what steers a terminal.
    yield from (
        f"    {printable(line)}" for line in json.dumps(told["request"], indent=2, ensure_ascii=False).split("\n")
    )


def _until(told: Mapping[str, Any]) -> str:
    match told["state"]:
        case "pending":
            return f"to be answered until {told['expires_at']}"
        case "granted":
            return f"to be used until {told['expires_at']}"
        case _:
            return f"asked until {told['expires_at']}"


def _what(approval: Mapping[str, Any]) -> str:
    match approval["kind"]:
        case "call":
            return printable(str(approval["operation"]))
        case "plan":
            return "a plan"
        case "replan":
            return "another change of a plan"
        case _:
            return "a run within a run"


def _state(told: Mapping[str, Any]) -> str:
    return paint(printable(told["state"]), _STYLES.get(told["state"], "bold"))


def _roles(roles: Any) -> str:
    return ", ".join(f"`{printable(role)}`" for role in roles) or "anybody who may approve"
