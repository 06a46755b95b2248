"""`toolgate plan`: plans before they are proposed, and as they are locked.

RULE: whether a plan is good is said by the code that the gate says it with; nothing is sent, locked or recorded here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from toolgate.cli import console
from toolgate.cli.command import NO, Command
from toolgate.cli.console import counted, paint, printable
from toolgate.cli.gate import gate_of, gate_options
from toolgate.cli.options import Claim, load_settings, settings_options

if TYPE_CHECKING:
    from toolgate.cli.plandiff import Change, Difference
    from toolgate.cli.planfile import Shown
    from toolgate.core.model import Violation
    from toolgate.core.plan import Plan, Step
    from toolgate.load.planfile import Document

_ID: Final = "plan_01KDMB4Y8M4Z2T9GJ6Q0V7R3XA"
_STYLES: Final[Mapping[str, str]] = {
    "done": "green", "ready": "cyan", "running": "yellow", "failed": "red", "unknown": "red", "waiting": "dim",
}  # fmt: skip


@click.group("plan")
def command() -> None:
    """Check, show, compare and draw plans.

    A plan is a file (JSON or YAML; `-` is standard input), or the id or digest of one that a running gate has.
    """


@command.command(
    "check",
    cls=Command,
    examples=(
        "toolgate plan check digest.json",
        "toolgate plan check plans/*.yaml -e staging",
        "toolgate plan check digest.json --as corp/alice --role digest --json",
    ),
)
@settings_options
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--resources", metavar="FILE", type=click.Path(dir_okay=False), help="What live catalogues list.")
@click.option("--as", "caller", metavar="PRINCIPAL", help="Who proposes it; otherwise who calls without a token.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role of `--as`; may be given several times.")
@click.option("--claim", "claims", multiple=True, type=Claim(), metavar="NAME=VALUE", help="A claim of `--as`.")
def check(  # noqa: PLR0913 - each is an option of the command line
    *,
    config: str | None,
    environment: str | None,
    assignments: tuple[str, ...],
    files: tuple[str, ...],
    resources: str | None,
    caller: str | None,
    roles: tuple[str, ...],
    claims: tuple[tuple[str, str], ...],
) -> None:
    """Say whether the gate would accept a plan, and everything that is wrong with it.

    It is held against budgets nothing was taken of, and against what `--resources` says that live catalogues list; a
    running gate knows both (`POST /-/plans?dry_run=1`).
    Exits with 1 when a plan would be rejected.
    """
    from toolgate.cli.offline import principal_of, situation_of  # noqa: PLC0415 - the loader; `--help` does without
    from toolgate.cli.planfile import read_document  # noqa: PLC0415
    from toolgate.cli.project import load_project  # noqa: PLC0415
    from toolgate.core.model import Facts  # noqa: PLC0415
    from toolgate.core.planning import Now, validated  # noqa: PLC0415

    settings = load_settings(config, assignments, environment=environment).settings
    bundle = load_project(settings)
    now = Now(Facts(situation=situation_of(resources, bundle)), time.time_ns() // 1_000_000, "")
    principal = principal_of(settings, caller, roles, dict(claims), None)
    documents = [read_document(each) for each in files]
    found = [(document, validated(document.value, principal, bundle, now)) for document in documents]
    _tell_checked(found)
    if any(isinstance(result, tuple) for _, result in found):
        raise click.exceptions.Exit(NO)


def _tell_checked(found: list[tuple[Document, Plan | tuple[Violation, ...]]]) -> None:
    from toolgate.cli.planfile import tell_faults  # noqa: PLC0415 - `--help` does without

    if console.wants_json():
        console.emit({"plans": [_checked_json(document, result) for document, result in found]})
        return
    for document, result in found:
        if isinstance(result, tuple):
            tell_faults(document, result)
            continue
        ends = sum(not step.depends_on for step in result.steps)
        console.say(
            f"{paint('ok', 'green')}: {printable(document.path)}: {counted(len(result.steps), 'step')}, "
            f"{ends:,} of them ready at once"
        )


def _checked_json(document: Document, result: Plan | tuple[Violation, ...]) -> dict[str, Any]:
    from toolgate.core.events import violation_json  # noqa: PLC0415 - `--help` does without
    from toolgate.core.planform import document_of  # noqa: PLC0415

    if isinstance(result, tuple):
        faults = [violation_json(each) | {"line": document.line(each.path)} for each in result]
        return {"file": document.path, "accepted": False, "violations": faults}
    return {"file": document.path, "accepted": True, "violations": [], "document": document_of(result)}


@command.command(
    "show",
    cls=Command,
    examples=("toolgate plan show digest.json", f"toolgate plan show {_ID}", f"toolgate plan show {_ID} --json"),
)
@gate_options
@click.argument("plan")
def show(plan: str, **options: Any) -> None:
    """Show a plan step by step; of one that is locked, how far its run has come."""
    found = _found(plan, options)
    if console.wants_json():
        console.emit(_shown_json(found))
        return
    for line in _lines(found):
        console.say(line)


@command.command(
    "graph", cls=Command, examples=("toolgate plan graph digest.json", f"toolgate plan graph {_ID} --format mermaid")
)
@gate_options
@click.option(
    "--format", "form", type=click.Choice(("terminal", "mermaid")), default="terminal", show_default=True, help="How."
)
@click.argument("plan")
def graph(plan: str, form: str, **options: Any) -> None:
    """Draw which step waits for which."""
    from toolgate.cli.drawing import mermaid, terminal  # noqa: PLC0415 - `--help` does without

    found = _found(plan, options)
    if form == "mermaid" or console.wants_json():
        lines = mermaid(found.plan, found.states)
    else:
        lines = terminal(found.plan, {step.id: _beside(step, found.states.get(step.id)) for step in found.plan.steps})
    if console.wants_json():
        console.emit({"mermaid": "\n".join(lines)})
        return
    for line in lines:
        console.say(line)


@command.command(
    "diff",
    cls=Command,
    examples=("toolgate plan diff digest.json digest-2.json", f"toolgate plan diff {_ID} digest-2.json --json"),
)
@gate_options
@click.argument("old")
@click.argument("new")
def diff(old: str, new: str, **options: Any) -> None:
    """Say what changes from OLD to NEW, and whether revising the one to the other is free.

    A revision that only narrows is free; one that expands costs one of `max_replans`. Exits with 0 when nothing
    changes, 1 when something does.
    """
    from toolgate.cli.plandiff import compare  # noqa: PLC0415 - jsonschema-rs; `--help` does without
    from toolgate.cli.planfile import shown  # noqa: PLC0415
    from toolgate.cli.project import load_project  # noqa: PLC0415
    from toolgate.core.revision import widened  # noqa: PLC0415

    gate, settings = gate_of(options)
    before, after = shown(old, gate), shown(new, gate)
    found = compare(before.plan, after.plan)
    why = () if found.is_empty else widened(before.plan, after.plan, before.facts, load_project(settings))
    if console.wants_json():
        console.emit(_difference_json(found, why))
    else:
        _tell_difference(found, why)
    if not found.is_empty:
        raise click.exceptions.Exit(NO)


def _found(plan: str, options: dict[str, Any]) -> Shown:
    from toolgate.cli.planfile import shown  # noqa: PLC0415 - `--help` does without

    gate, _ = gate_of(options)
    return shown(plan, gate)


def _lines(found: Shown) -> Iterator[str]:
    yield paint(printable(found.plan.goal), "bold")
    if found.told is not None:
        yield from _state_lines(found.told)
    for number, step in enumerate(found.plan.steps, start=1):
        yield ""
        yield f"{paint(f'Step {number}', 'bold')}: {_beside(step, found.states.get(step.id))}"
        yield from (f"  {name:<9}  {said}" for name, said in _details(step))


def _state_lines(told: Mapping[str, Any]) -> Iterator[str]:
    done = sum(step["state"] == "done" for step in told["steps"])
    yield f"  plan       {printable(told['plan'])}, {printable(told['digest'][:19])}"
    yield f"  in         {printable(told['run'])}, by {printable(told['principal'])}, in {printable(told['environment'])}"
    yield f"  done       {done:,} of {counted(len(told['steps']), 'step')}; expires {told['expires_at']}"
    yield f"  replans    {told['replans_left']:,} left"


def _details(step: Step) -> Iterator[tuple[str, str]]:
    if step.depends_on:
        yield "after", ", ".join(f"`{printable(each)}`" for each in step.depends_on)
    for name, value in step.arguments.items():
        yield "argument", f"{printable(name)} = {_json(value)}"
    for name, expression in step.outputs.items():
        yield "output", f"{printable(name)} = {printable(expression)}"
    bounds = [f"{amount} {name}" for name, amount in step.budget.items()]
    bounds += [f"{step.timeout_ms:,} ms"] if step.timeout_ms is not None else []
    bounds += [counted(step.attempts, "attempt")] if step.attempts > 1 else []
    if bounds:
        yield "at most", printable(", ".join(bounds))


def _beside(step: Step, state: str | None) -> str:
    name = f"  {printable(step.name)}" if step.name != step.id else ""
    told = f"  {paint(state, _STYLES.get(state, 'bold'))}" if state else ""
    return f"{paint(printable(step.id), 'cyan')}{name}  {printable(step.operation)}{told}"


def _json(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False))


def _shown_json(found: Shown) -> Any:
    from toolgate.core.planform import document_of  # noqa: PLC0415 - jsonschema-rs; `--help` does without

    return found.told if found.told is not None else {"document": document_of(found.plan)}


def _tell_difference(found: Difference, why: tuple[str, ...]) -> None:
    if found.is_empty:
        console.say(f"{paint('ok', 'green')}: nothing changes")
        return
    for line in _difference_lines(found):
        console.say(line)
    console.say()
    if not why:
        console.say(f"{paint('narrows', 'green')}: revising the one to the other is free")
        return
    console.say(f"{paint('expands', 'yellow')}: revising the one to the other costs one of `max_replans`")
    for each in why:
        console.say(f"  {printable(each)}")


def _difference_lines(found: Difference) -> Iterator[str]:
    if found.goal is not None:
        yield f"goal: {_change(found.goal)}"
    yield from (f"{paint('dropped', 'red')}  {_beside(step, None)}" for step in found.dropped)
    yield from (f"{paint('added', 'green')}    {_beside(step, None)}" for step in found.added)
    for step, changes in found.changed:
        yield f"{paint('changed', 'yellow')}  {_beside(step, None)}"
        yield from (f"  {printable(each.path)}: {_change(each)}" for each in changes)
    if found.moved:
        yield f"{paint('moved', 'yellow')}    steps stand in another order"


def _change(change: Change) -> str:
    from toolgate.cli.plandiff import shown as value_shown  # noqa: PLC0415 - jsonschema-rs; `--help` does without

    return f"{printable(value_shown(change.old))} → {printable(value_shown(change.new))}"


def _difference_json(found: Difference, why: tuple[str, ...]) -> dict[str, Any]:
    from toolgate.cli.plandiff import ABSENT  # noqa: PLC0415 - jsonschema-rs; `--help` does without

    def sides(change: Change) -> dict[str, Any]:
        named = {"old": change.old, "new": change.new}
        return {"path": change.path} | {name: value for name, value in named.items() if value is not ABSENT}

    return {
        "changed": not found.is_empty,
        "goal": sides(found.goal) if found.goal else None,
        "added": [step.id for step in found.added],
        "dropped": [step.id for step in found.dropped],
        "steps": [{"stepId": step.id, "changes": [sides(each) for each in changes]} for step, changes in found.changed],
        "moved": found.moved,
        "narrows": not why,
        "expands": list(why),
    }
