"""The agent's paths about its run: open one, read what has come of it, close it (DESIGN §14).

RULE: amounts are decimal strings; what is shown of a budget is what a call would be held against now. What is left of a
dimension is left for any call; a budget for some operations names them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from toolgate.core.amounts import text_of
from toolgate.core.authorization import is_listed
from toolgate.core.budget import EVERY_CALL, Match
from toolgate.core.budgets import Balance
from toolgate.core.bundle import Bundle
from toolgate.core.freeze import frozen
from toolgate.core.journal import timestamp
from toolgate.core.model import Json, Principal, Refusal
from toolgate.core.scope import subject_of
from toolgate.core.wiretext import echo, pointer
from toolgate.listeners.answers import Answer
from toolgate.listeners.plans import steps_json
from toolgate.listeners.routes import Respond, Visit, invalid, json_of, unknown_key
from toolgate.listeners.voice import Voice
from toolgate.ports import LedgerError
from toolgate.runs import Closing, Look, Runs

_KEYS: Final = ("parent", "labels")
_MAX_LABELS: Final = 16
_MAX_VALUE: Final = 256
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CLOSE_KEYS: Final = ("incomplete",)
_CLOSE_AS_JSON: Final = 'Send nothing, or {"incomplete": true}, as `Content-Type: application/json`.'
_AS_JSON: Final = "Send nothing, or one JSON object with `parent` and `labels`, as `Content-Type: application/json`."


class RunsApi:
    """Answers `/-/runs`, `/-/run` and `/-/run/finish`."""

    def __init__(self, runs: Runs, bundle: Callable[[], Bundle], voice: Voice) -> None:
        self._runs = runs
        self._bundle = bundle
        self._voice = voice
        self.routes: Mapping[str, Respond] = {
            "POST /-/runs": self._open,
            "GET /-/run": self._show,
            "POST /-/run/finish": self._finish,
        }

    async def _open(self, visit: Visit) -> Answer:
        asked = _asked(visit)
        if isinstance(asked, Refusal):
            return self._voice.refused(asked, bodiless=visit.bodiless)
        try:
            opened = await self._runs.open(visit.principal, visit.caller.run, *asked)
        except LedgerError as error:
            return self._unwritten(error, visit)
        if isinstance(opened, Refusal):
            return self._voice.refused(opened, bodiless=visit.bodiless)
        run, token = opened
        return visit.json({"run": run.id, "token": token, "expires_at": timestamp(run.expires_ms)}, status=201)

    async def _show(self, visit: Visit) -> Answer:
        await self._runs.catch_up(visit.principal, visit.caller.run)
        return visit.json(self._told(visit))

    async def _finish(self, visit: Visit) -> Answer:
        closing = _closing(visit)
        if isinstance(closing, Refusal):
            return self._voice.refused(closing, bodiless=visit.bodiless)
        await self._runs.catch_up(visit.principal, visit.caller.run)
        before = self._told(visit)
        try:
            refusal = await self._runs.finish(visit.principal, visit.caller.run, self._bundle(), closing)
        except LedgerError as error:
            return self._unwritten(error, visit)
        if refusal is not None:
            return self._voice.refused(refusal, bodiless=visit.bodiless)
        return visit.json(before | {"finished": True})

    def _told(self, visit: Visit) -> dict[str, Json]:
        return run_json(self._runs.look(visit.principal, visit.caller.run), self._bundle())

    def _unwritten(self, error: LedgerError, visit: Visit) -> Answer:
        detail = f"the run cannot be recorded: {error}"
        return self._voice.failed("gateway.unavailable", detail, "no", bodiless=visit.bodiless)


def run_json(look: Look, bundle: Bundle) -> dict[str, Json]:
    """A run as its agent sees it.

    `balances`: of each dimension the budget with the least left, of those that cover every call; `budgets`: every one.
    """
    call, facts = look
    run, told = call.run, facts.run
    balances = bundle.budgets.balances(subject_of(call, told.id), facts.levels, call.at_ms)
    ends_ms = bundle.budgets.deadline_ms(told.started_ms if told.started_ms is not None else call.at_ms)
    return {
        "run": told.id,
        "parent": run.parent if run else None,
        "expires_at": timestamp(run.expires_ms) if run else None,
        "deadline_at": timestamp(ends_ms) if ends_ms is not None else None,
        "age_s": told.age_s,
        "calls": told.calls,
        "refusals": told.refusals,
        "stopped": told.stopped,
        "frozen": _why_frozen(look),
        "balances": {each.budget.dimension: _amounts(each) for each in _tightest(balances)},
        "budgets": [_budget_json(each, call.principal, bundle) for each in balances],
        "plan": facts.plan.locked.id if facts.plan is not None else None,
        "steps": steps_json(facts.plan, bundle) if facts.plan is not None else [],
    }


def _why_frozen(look: Look) -> str | None:
    """What the kill switch says to this caller; a run that was stopped says so itself."""
    if look.facts.run.stopped is not None:
        return None
    refusal = frozen(look.call, look.facts)
    return refusal.detail if refusal is not None else None


def _tightest(balances: Iterable[Balance]) -> Iterable[Balance]:
    least: dict[str, Balance] = {}
    for each in balances:
        if each.budget.match != EVERY_CALL:
            continue
        known = least.setdefault(each.budget.dimension, each)
        if each.left < known.left:
            least[each.budget.dimension] = each
    return least.values()


def _budget_json(balance: Balance, principal: Principal, bundle: Bundle) -> dict[str, Json]:
    budget = balance.budget
    named = {"budget": budget.name, "dimension": budget.dimension, "scope": budget.scope}
    covered = _covered(budget.match, principal, bundle)
    return {**named, **_amounts(balance), "again_s": balance.again_s, "operations": covered}


def _covered(match: Match, principal: Principal, bundle: Bundle) -> list[str] | None:
    """The operations a budget is for, as far as this caller may know of them; None: every call."""
    if match == EVERY_CALL:
        return None
    known = bundle.catalog.operations
    keys = sorted(match.operations or ())
    return [key for key in keys if key in known and is_listed(known[key], principal, bundle)]


def _amounts(balance: Balance) -> dict[str, str]:
    budget = balance.budget
    amounts = {"given": budget.given, "taken": balance.taken, "left": balance.left}
    return {name: text_of(budget.dimension, amount) for name, amount in amounts.items()}


def _closing(visit: Visit) -> Closing | Refusal:
    """How a run is to be closed; an empty body asks for one whose plan is done."""
    if not visit.request.body:
        return "complete"
    value = json_of(visit.request, "the end of a run", _CLOSE_AS_JSON)
    if isinstance(value, Refusal):
        return value
    if not isinstance(value, dict):
        return invalid("", "type", "the end of a run is an object with `incomplete`, which is optional")
    unknown = unknown_key(value, _CLOSE_KEYS, "the end of a run has `incomplete`")
    if unknown is not None:
        return unknown
    anyway = value.get("incomplete", False)
    if not isinstance(anyway, bool):
        return invalid("/incomplete", "type", "`incomplete` is true or false")
    return "anyway" if anyway else "complete"


def _asked(visit: Visit) -> tuple[str | None, Mapping[str, str]] | Refusal:
    """What is asked of a new run; nothing at all is asked by an empty body."""
    if not visit.request.body:
        return None, {}
    value = json_of(visit.request, "a new run", _AS_JSON)
    if isinstance(value, Refusal):
        return value
    if not isinstance(value, dict):
        return invalid("", "type", "a new run is an object with `parent` and `labels`, both optional")
    unknown = unknown_key(value, _KEYS, "a new run has `parent` and `labels`")
    if unknown is not None:
        return unknown
    parent, labels = value.get("parent"), value.get("labels", {})
    if parent is not None and not isinstance(parent, str):
        return invalid("/parent", "type", "`parent` is the id of the run this is asked in")
    return _label_fault(labels) or (parent, labels)


def _label_fault(labels: Json) -> Refusal | None:
    if not isinstance(labels, dict) or len(labels) > _MAX_LABELS:
        return invalid("/labels", "type", f"`labels` is an object of at most {_MAX_LABELS} texts by name")
    for name, text in labels.items():
        if not _NAME.fullmatch(name):
            of_names = "1 to 64 letters, digits, `_`, `.` and `-`, and begins with a letter or digit"
            return invalid("/labels", "propertyNames", f"the name of the label {echo(name)} has {of_names}")
        if not isinstance(text, str) or len(text) > _MAX_VALUE or not text.isprintable():
            of_texts = f"a text of at most {_MAX_VALUE} printable characters"
            return invalid(pointer("/labels", name), "type", f"the label `{name}` is {of_texts}")
    return None
