"""The operators' API: reload, questions to the journal, runs, the bundle (DESIGN §14). On a door the agent cannot reach.

RULE: questions are asked of the journal as it is on disk, in another thread; nothing here changes a decision but a reload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Final

import orjson

from toolgate.core.bundle import Bundle, BundleError
from toolgate.core.journal import Broken, Filter, Head, Row
from toolgate.core.model import Json, Refusal
from toolgate.core.steps import Step, steps_of
from toolgate.listeners.answers import Answer
from toolgate.listeners.health import Health
from toolgate.listeners.roles import requiring
from toolgate.listeners.routes import DIGITS, Respond, Visit, invalid, whole_number
from toolgate.listeners.voice import Voice
from toolgate.ports import Journal, LedgerError

_TEXTS: Final = ("run", "call", "kind", "operation", "code", "principal")
_MAX_PAGE: Final = 1000
_DEFAULT_PAGE: Final = 100
_MAX_RUN_EVENTS: Final = 10_000
_HEAD_PARTS: Final = 3


class AdminApi:
    """Answers the admin listener's paths."""

    def __init__(
        self,
        bundle: Callable[[], Bundle],
        reload: Callable[[], Awaitable[object]],
        journal: Journal,
        health: Health,
        voice: Voice,
    ) -> None:
        self._bundle = bundle
        self._reload = reload
        self._journal = journal
        self._voice = voice
        admin: Mapping[str, Respond] = {"POST /-/reload": self._reloaded}
        viewer: Mapping[str, Respond] = {
            "GET /-/journal": self._events,
            "GET /-/journal/verify": self._verified,
            "GET /-/runs": self._runs,
            "GET /-/runs/{run}": self._run,
            "GET /-/bundle": self._shown,
        }
        self.routes: Mapping[str, Respond] = {
            **{path: requiring("admin", respond, voice) for path, respond in admin.items()},
            **{path: requiring("viewer", respond, voice) for path, respond in viewer.items()},
            **health.routes,
        }

    async def _reloaded(self, visit: Visit) -> Answer:
        """Load everything anew. A bundle with problems is refused whole, and the one that serves goes on."""
        before = self._bundle().revision
        try:
            await self._reload()
        except BundleError as error:
            problems = [asdict(problem) for problem in error.problems]
            return visit.json(
                {"reloaded": False, "revision": self._bundle().revision, "problems": problems}, status=422
            )
        revision = self._bundle().revision
        return visit.json({"reloaded": True, "revision": revision, "changed": revision != before})

    async def _events(self, visit: Visit) -> Answer:
        query = visit.query(*_TEXTS, "decision", "since", "until", "limit", "cursor", "order")
        wanted = query if isinstance(query, Refusal) else journal_filter(query)
        if isinstance(wanted, Refusal):
            return self._refused(wanted, visit)
        rows = await self._asked(visit, lambda: self._journal.events(wanted))
        if not isinstance(rows, list):
            return rows
        cursor = str(rows[-1].row) if len(rows) == wanted.limit else None
        lines = b",".join(b'{"row":%d,"hash":"%b","event":%b}' % (row.row, row.hash.encode(), row.line) for row in rows)
        return visit.bytes(b'{"events":[%b],"next":%b}' % (lines, orjson.dumps(cursor)))

    async def _verified(self, visit: Visit) -> Answer:
        query = visit.query("head")
        head = query if isinstance(query, Refusal) else _head(query.get("head"))
        if isinstance(head, Refusal):
            return self._refused(head, visit)
        result = await self._asked(visit, lambda: [self._journal.verify(head)])
        if not isinstance(result, list):
            return result
        return visit.json({"intact": not isinstance(result[0], Broken), **asdict(result[0])})

    async def _runs(self, visit: Visit) -> Answer:
        query = visit.query("limit")
        limit = query if isinstance(query, Refusal) else whole_number(query, "limit", _DEFAULT_PAGE, _MAX_PAGE)
        if isinstance(limit, Refusal):
            return self._refused(limit, visit)
        runs = await self._asked(visit, lambda: list(self._journal.runs(limit or _DEFAULT_PAGE)))
        return visit.json({"runs": [asdict(run) for run in runs]}) if isinstance(runs, list) else runs

    async def _run(self, visit: Visit) -> Answer:
        wanted = Filter(run=visit.segment, order="oldest", limit=_MAX_RUN_EVENTS)
        rows = await self._asked(visit, lambda: self._journal.events(wanted))
        if not isinstance(rows, list):
            return rows
        if not rows:
            return self._refused(invalid("/run", "unknown", "the journal has no such run"), visit)
        return visit.json(
            {
                "run": visit.segment,
                "calls": [step_json(step) for step in steps_of(row.event for row in rows)],
                "complete": len(rows) < _MAX_RUN_EVENTS,
            }
        )

    async def _shown(self, visit: Visit) -> Answer:
        return visit.json(bundle_json(self._bundle()))

    async def _asked(self, visit: Visit, ask: Callable[[], object]) -> list[Row] | Answer:
        """What the journal answers, or why it cannot."""
        try:
            return list(await asyncio.to_thread(ask))  # type: ignore[call-overload, no-any-return]
        except LedgerError as error:
            return self._voice.failed(
                "gateway.unavailable", f"the journal cannot be read: {error}", "no", bodiless=visit.bodiless
            )

    def _refused(self, refusal: Refusal, visit: Visit) -> Answer:
        return self._voice.own_refused(refusal, bodiless=visit.bodiless)


def journal_filter(query: Mapping[str, str]) -> Filter | Refusal:
    """Read the query of `/-/journal`. `cursor` is the `next` of the page before, in the same order."""
    order, decision = query.get("order", "newest"), query.get("decision")
    if order not in {"newest", "oldest"}:
        return invalid("/order", "enum", "`order` is newest or oldest")
    if decision not in {None, "permit", "refuse"}:
        return invalid("/decision", "enum", "`decision` is permit or refuse")
    limit = whole_number(query, "limit", _DEFAULT_PAGE, _MAX_PAGE)
    cursor = whole_number(query, "cursor", None, 10**DIGITS)
    since, until = _time(query, "since"), _time(query, "until")
    for read in (limit, cursor, since, until):
        if isinstance(read, Refusal):
            return read
    texts = {name: query[name] for name in _TEXTS if name in query}
    place = {"after" if order == "oldest" else "before": cursor}
    return Filter(**texts, **place, decision=decision, since_ms=since, until_ms=until, limit=limit, order=order)  # type: ignore[arg-type]


def _time(query: Mapping[str, str], name: str) -> int | Refusal | None:
    """Milliseconds since 1970, or an RFC 3339 time with its offset."""
    text = query.get(name)
    if text is None:
        return None
    if text.isdecimal() and text.isascii() and len(text) <= DIGITS:
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        return invalid(
            f"/{name}", "format", f"`{name}` is a time such as 2026-11-22T15:54:39Z, or milliseconds since 1970"
        )
    return int(at.timestamp() * 1000)


def _head(text: str | None) -> Head | Refusal | None:
    if text is None:
        return None
    parts = text.split(":")
    if len(parts) == _HEAD_PARTS and parts[1].isdecimal() and len(parts[1]) <= DIGITS:
        return Head(parts[0], int(parts[1]), parts[2])
    return invalid("/head", "format", "`head` is writer:seq:hash, as the `Head` lines on standard output have them")


def step_json(step: Step) -> dict[str, Json]:
    """One call of a run: what was decided of it, and over that how it ended."""
    end = step.finished or {}
    return {name: step.decided.get(name) for name in _DECIDED} | {
        name: end[name] for name in _FINISHED if end.get(name) is not None
    }


_DECIDED: Final = (
    "number", "call", "at", "principal", "operation", "effect", "method", "path", "arguments", "asked", "reason",
    "plan", "step", "attempt", "approval",
    "decision", "stage", "code", "detail", "hint", "violations", "statements",
)  # fmt: skip
_FINISHED: Final = (
    "outcome",
    "status",
    "code",
    "detail",
    "sent",
    "latency_ms",
    "bytes",
    "costs",
    "unpriced",
    "overrun",
)


def bundle_json(bundle: Bundle) -> Json:
    """What is served now, for operators."""
    counted: dict[str, list[int]] = {name: [0, 0] for name in bundle.tools}
    for operation in bundle.catalog.operations.values():
        counts = counted.setdefault(operation.tool, [0, 0])
        counts[0] += 1
        counts[1] += operation.allowed
    tools = [
        {
            "tool": tool.name,
            "title": tool.title,
            "version": tool.version,
            "path": tool.path,
            "environments": tool.environments,
            "operations": counted[tool.name][0],
            "allowed": counted[tool.name][1],
        }
        for tool in bundle.tools.values()
    ]
    return {
        "revision": bundle.revision,
        "environment": bundle.environment,
        "environments": bundle.environments,
        "tools": tools,
        "resources": {
            f"{tool}.{kind}": len(catalogue.attributes)
            for tool, catalogues in bundle.resources.items()
            for kind, catalogue in catalogues.items()
        },
        "notes": len(bundle.notes),
    }
