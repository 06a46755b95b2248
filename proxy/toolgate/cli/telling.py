"""Journal events told to a person: what was asked, why, what was ruled and how it ended.

RULE: what agents wrote is shown as data: quoted, shortened, and without characters that steer a terminal.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from toolgate.cli.console import paint, printable
from toolgate.core.amounts import text_of
from toolgate.core.journal import timestamp
from toolgate.core.model import Json
from toolgate.core.steps import Step

_LONGEST: Final = 60
_ASKED_LONGEST: Final = 200


def asked(decided: Mapping[str, Json]) -> str:
    """What was called, as one would write it: `removeMetric("node_cpu_throttle_time_seconds")`."""
    named = decided.get("asked") if isinstance(decided.get("asked"), dict) else {}
    operation = decided.get("operation") or (named or {}).get("operation")
    arguments = decided.get("arguments", (named or {}).get("arguments"))
    line = printable(f"{decided.get('method', '?')} {_path(decided.get('path', '?'))}")
    if operation is None:
        return line[:_ASKED_LONGEST]
    name = printable(str(operation)).partition(".")[2] or printable(str(operation))
    if isinstance(arguments, dict):
        return f"{name}({arguments_line(arguments)})"
    return f"{name}({line})"[:_ASKED_LONGEST]


def ruling(decided: Mapping[str, Json]) -> str:
    if decided.get("decision") == "permit":
        approval = decided.get("approval")
        return paint("permitted", "green") + (f", as {_said(approval)} lets it" if approval is not None else "")
    return f"{paint('BLOCKED', 'red')} {decided.get('code')}: {_said(decided.get('detail'))}"


def trial(decided: Mapping[str, Json]) -> str:
    """What audit would have made of it, and by which statements; empty where that is nothing."""
    would = decided.get("would")
    if not isinstance(would, dict):
        return ""
    end = "permitted" if would.get("decision") == "permit" else f"BLOCKED {would.get('code')}"
    by = ", ".join(f"`{each}`" for each in would.get("statements") or ())
    return paint(printable(f"would be {end}{f' by {by}' if by else ''}"), "yellow")


def outcome(step: Step) -> str:
    """How it ended, and whether anything was sent."""
    if step.decided.get("decision") != "permit":
        return "not sent"
    end = step.finished
    if end is None:
        return paint("not finished", "yellow")
    took = f" in {end['latency_ms']:g} ms" if isinstance(end.get("latency_ms"), int | float) else ""
    if end.get("outcome") == "completed":
        return f"completed with status {end.get('status')}{took}{_billed(end)}"
    why = f": {_said(end['detail'])}" if end.get("detail") else ""
    return (
        f"{paint(str(end.get('code') or end.get('outcome')), 'red')}{why} (sent: {end.get('sent')}){took}{_billed(end)}"
    )


def opening(started: Mapping[str, Json]) -> str | None:
    """How a run was opened: under which run, until when, with which labels; None for an implicit one."""
    ends_ms = started.get("expires_ms")
    if not isinstance(ends_ms, int):
        return None
    labels = started.get("labels")
    named = [f"{name}={_said(text)}" for name, text in labels.items()] if isinstance(labels, dict) else []
    parent = [f"in {_said(started['parent'])}"] if started.get("parent") else []
    return "  ".join(["opened", *parent, *named, f"its token ends {timestamp(ends_ms)}"])


def turn(event: Mapping[str, Json]) -> str:
    """Why calls of a run are taken no more, or again."""
    at = _said(event.get("at"))
    match event.get("event"), event.get("action"):
        case "RunStopped", _:
            return f"{paint('stopped', 'red')}  {at}  {_said(event.get('why'))}"
        case "RunFinished", _:
            return f"finished  {at}{_skipped(event.get('skipped'))}"
        case _, action:
            done = paint("frozen", "red") if action == "freeze" else paint("thawed", "green")
            return f"{done}  {at}  by {_said(event.get('who'))}: {_said(event.get('why'))}"


def _skipped(steps: Json) -> str:
    """What of its plan a run left undone when it was closed."""
    if not isinstance(steps, list) or not steps:
        return ""
    return f"  incomplete: {', '.join(f'`{_said(step)}`' for step in steps)} not done"


def bill(steps: Iterable[Step]) -> str:
    """What the calls of a run cost together."""
    total: Counter[str] = Counter()
    for step in steps:
        costs = (step.finished or {}).get("costs")
        if isinstance(costs, dict):
            total.update({str(name): amount for name, amount in costs.items() if isinstance(amount, int)})
    return _spent(dict(total))


def _billed(end: Mapping[str, Json]) -> str:
    """What a call cost, and whether its reply said so."""
    why = f" (unpriced: {_said(end['unpriced'])})" if end.get("unpriced") else ""
    return f"{_spent(end.get('costs'))}{why}"


def _spent(costs: Json) -> str:
    """What something cost, by the reply or else by what was held."""
    if not isinstance(costs, dict):
        return ""
    amounts = [
        f"{text_of(name, amount)} {printable(name)}" for name, amount in costs.items() if isinstance(amount, int)
    ]
    return f", for {' and '.join(amounts)}" if amounts else ""


def told(step: Step, planned: str | None = None) -> Iterator[str]:
    """A numbered step of a run, a line each for the reason, the ruling, what can be done and the outcome.

    `planned`: which step of the run's plan it was.
    """
    decided = step.decided
    yield f"{paint('Step ' + str(decided.get('number', '?')), 'bold')}: {asked(decided)}"
    if planned:
        yield f"  plan     {planned}"
    if decided.get("reason"):
        yield f'  reason   "{_said(decided["reason"])}"'
    yield f"  ruling   {ruling(decided)}"
    for violation in decided.get("violations") or ():
        if isinstance(violation, dict):
            yield f"           {_said(violation.get('path')) or '/'}: {_said(violation.get('message'))}"
    if would := trial(decided):
        yield f"  audit    {would}"
    if decided.get("decision") != "permit" and decided.get("hint"):
        yield f"  hint     {_said(decided['hint'])}"
    yield f"  outcome  {outcome(step)}"


def event_line(event: Mapping[str, Json]) -> str:
    """One event on one line."""
    at = printable(str(event.get("at", "?")))
    kind = printable(str(event.get("event", "?")))
    return f"{paint(at, 'dim')}  {kind:<18} {printable(str(event.get('call') or '-')):<26}  {_essence(event)}"


def fields(event: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    for name, value in event.items():
        yield printable(name), _said(value, None) if isinstance(value, str) else _value(value, None)


def _essence(event: Mapping[str, Json]) -> str:
    match event.get("event"):
        case "Decided":
            would = trial(event)
            return f"{asked(event)}  {ruling(event)}{f'; audit: {would}' if would else ''}"
        case "Finished":
            return f"{_said(event.get('operation'))}  {outcome(Step({'decision': 'permit'}, event))}"
        case _:
            frame = {"v", "event", "writer", "seq", "at", "at_ms", "prev"}
            return "  ".join(f"{name}={_value(value)}" for name, value in event.items() if name not in frame)


def arguments_line(arguments: Mapping[str, Json]) -> str:
    """Arguments as one would write them; what is masked is said to be."""
    if _is_masked(arguments):
        return _value(arguments)
    body = arguments.get("body")
    shown = dict(arguments)
    if isinstance(body, dict) and not _is_masked(body) and body.keys().isdisjoint(shown.keys() - {"body"}):
        shown |= shown.pop("body")
    if len(shown) == 1 and not isinstance(next(iter(shown.values())), dict | list):
        return _value(next(iter(shown.values())))
    text = ", ".join(f"{printable(name)}={_value(value)}" for name, value in shown.items())
    return text if len(text) <= _ASKED_LONGEST else f"{text[: _ASKED_LONGEST - 1]}…"


def _path(path: Json) -> str:
    return _value(path) if _is_masked(path) else str(path)


def _is_masked(value: Json) -> bool:
    return isinstance(value, dict) and value.keys() == {"$masked"}


def _value(value: Json, longest: int | None = _LONGEST) -> str:
    if _is_masked(value):
        return "[masked]"
    text = printable(json.dumps(value, ensure_ascii=False))
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"


def _said(value: Json, longest: int | None = 300) -> str:
    text = printable(str(value)) if value is not None else ""
    return text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"
