"""The paths about plans, over HTTP, before a book that answers what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.listeners.served import shop_bundle
from tests.wire.door import FakeCounts, FakeLog

from toolgate.auth import Anonymous, Operators
from toolgate.core.bundle import Bundle
from toolgate.core.codes import CODES
from toolgate.core.mask import MaskKey
from toolgate.core.model import Json, OpenedRun, Principal, Recovery, Refusal, Violation
from toolgate.core.plan import Attempted, LockedPlan, Plan, PlanFacts, Step
from toolgate.listeners.health import OwnFront
from toolgate.listeners.plans import PlansApi, PlansForOperators
from toolgate.listeners.problem import Disclosure
from toolgate.listeners.server import Bounds, Listener
from toolgate.listeners.tools import Listings
from toolgate.listeners.unsaid import Discretion
from toolgate.listeners.voice import Sampled, Voice
from toolgate.listeners.wire import Rules
from toolgate.ports import LedgerError

AGENT = Principal("digest")
DOCUMENT = {"goal": "look", "steps": [{"stepId": "read", "operationId": "shop.getItem"}]}
STEPS = (
    Step("read", "ReadItem", "shop.getItem", (), {"id": "a"}, {"size": "$response.body#/size"}),
    Step("write", "write", "shop.putItem", ("read",), {"id": "a", "body": {"size": "$steps.read.outputs.size"}}),
)
LOCKED = LockedPlan(
    "plan_1", "sha256:1", "sha256:r", "sha256:o", "prod", AGENT.id, "run_1", Plan("look", STEPS), 0, 3_600_000
)
KEY = MaskKey(b"1" * 32, b"2" * 32)


@dataclass
class Book:
    """Answers as it is told, and notes what it was asked."""

    answer: PlanFacts | Refusal | LedgerError = field(default_factory=lambda: PlanFacts(LOCKED, {}, KEY))
    asked: list[tuple[str, Json]] = field(default_factory=list)

    async def check(
        self, principal: Principal, run: OpenedRun | None, document: Json, revises: str | None = None
    ) -> LockedPlan | Refusal:
        told = self._told(f"check {revises}", principal, run, document)
        return told if isinstance(told, Refusal) else told.locked

    async def propose(self, principal: Principal, run: OpenedRun | None, document: Json) -> PlanFacts | Refusal:
        return self._told("propose", principal, run, document)

    async def revise(
        self, principal: Principal, run: OpenedRun | None, plan_id: str, document: Json
    ) -> PlanFacts | Refusal | None:
        return self._told(f"revise {plan_id}", principal, run, document)

    async def catch_up(self, named: str) -> None:
        assert named

    def show(self, principal: Principal, named: str) -> PlanFacts | None:
        return self.find(named) if principal == AGENT else None

    def find(self, named: str) -> PlanFacts | None:
        known = {LOCKED.id, LOCKED.digest}
        return PlanFacts(LOCKED, {"read": Attempted("done", 1, {"size": "d"})}, KEY) if named in known else None

    def replans_left(self, locked: LockedPlan) -> int:
        return 2 - locked.expansions

    def _told(self, what: str, principal: Principal, run: OpenedRun | None, document: Json) -> PlanFacts | Refusal:
        assert (principal, run) == (AGENT, None)
        self.asked.append((what, document))
        if isinstance(self.answer, LedgerError):
            raise self.answer
        return self.answer


@dataclass
class Door:
    book: Book
    bundle: Bundle
    ports: Mapping[str, int]
    session: aiohttp.ClientSession
    counted: list[str]

    async def ask(self, method: str, path: str, *, door: str = "agent", **options: Any) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.ports[door]}{path}"
        async with self.session.request(method, url, **options) as response:
            return response.status, json.loads(await response.read())


@contextlib.asynccontextmanager
async def opened(folder: Path, disclosure: Disclosure = "explain", who: Principal = AGENT) -> AsyncIterator[Door]:
    bundle, book, counted = await asyncio.to_thread(shop_bundle, folder), Book(), list[str]()
    ids = itertools.count()
    says = Voice("agent", lambda: bundle, lambda: f"own{next(ids)}", FakeCounts(), Sampled(FakeLog(), lambda: 0.0))
    discretion = Discretion(lambda: bundle, Listings(), disclosure)
    api = PlansApi(book, lambda: bundle, discretion, counted.append, says)
    operators = Operators(Anonymous(who), replace(who, roles=("viewer",)))
    listeners = {
        "agent": Listener(OwnFront(api.routes, says, Anonymous(who)), Bounds(), Rules(frozenset())),
        "admin": Listener(
            OwnFront(PlansForOperators(book, lambda: bundle, says).routes, says, operators),
            Bounds(),
            Rules(frozenset()),
        ),
    }
    async with aiohttp.ClientSession() as session:
        ports = {name: await listener.listen("127.0.0.1", 0) for name, listener in listeners.items()}
        try:
            yield Door(book, bundle, ports, session, counted)
        finally:
            for listener in listeners.values():
                await listener.close()


def rejected(*violations: Violation, detail: str = "wrong") -> Refusal:
    code = CODES["plan.rejected"]
    return Refusal(code, detail, Recovery(code.action, code.hint), stage="plan", violations=violations)


async def test_a_plan_is_proposed_and_locked(tmp_path: Path) -> None:
    """201 and DESIGN §14's shape; the document arrives as it was sent, `1` not `1.0`."""
    sent = {**DOCUMENT, "steps": [{**DOCUMENT["steps"][0], "arguments": {"n": 1, "m": 1.0}}]}  # type: ignore[dict-item]
    async with opened(tmp_path) as door:
        status, told = await door.ask("POST", "/-/plans", json=sent)
        assert [("propose", sent)] == door.book.asked
        assert ["int", "float"] == [
            type(each).__name__ for each in door.book.asked[0][1]["steps"][0]["arguments"].values()
        ]

    assert status == 201
    assert told == {
        "plan": "plan_1", "digest": "sha256:1", "revision": "sha256:r", "environment": "prod", "run": "run_1",
        "goal": "look", "expires_at": "1970-01-01T01:00:00.000Z", "replans_left": 2,
        "steps": [
            {"stepId": "read", "name": "ReadItem", "operationId": "shop.getItem", "state": "ready"},
            {"stepId": "write", "name": "write", "operationId": "shop.putItem", "state": "waiting"},
        ],
    }  # fmt: skip
    assert door.counted == ["locked"]


async def test_a_plan_is_tried_and_nothing_is_locked(tmp_path: Path) -> None:
    """`?dry_run=1` says what would be locked; it is asked of `check`, is not counted, and names no plan that is not there."""
    async with opened(tmp_path) as door:
        new = await door.ask("POST", "/-/plans?dry_run=1", json=DOCUMENT)
        revised = await door.ask("PUT", "/-/plans/sha256:1?dry_run=true", json=DOCUMENT)
        locked = await door.ask("POST", "/-/plans?dry_run=0", json=DOCUMENT)
        wrong = await door.ask("POST", "/-/plans?dry_run=yes", json=DOCUMENT)

    assert ["check None", "check plan_1", "propose"] == [what for what, _ in door.book.asked]
    assert (new[0], new[1]["plan"], new[1]["dry_run"]) == (200, None, True)
    assert (revised[0], revised[1]["plan"]) == (200, "plan_1")
    assert (locked[0], wrong[0], wrong[1]["violations"][0]["path"]) == (201, 422, "/dry_run")
    assert ["ready", "waiting"] == [step["state"] for step in new[1]["steps"]]
    assert door.counted == ["locked"]


async def test_everything_wrong_with_a_plan_is_told_at_once(tmp_path: Path) -> None:
    """422 with each problem: a pointer into the plan, a code and a hint; counted by its code."""
    faults = (
        Violation("/steps/0/operationId", "operation", "unknown", code="tool.unknown", hint="Use another."),
        Violation("/steps/1/dependsOn/0", "dependency", "no step", code="plan.dependency", hint="Name a step."),
    )
    async with opened(tmp_path) as door:
        door.book.answer = rejected(*faults)
        status, told = await door.ask("POST", "/-/plans", json=DOCUMENT)

    assert (status, told["code"], told["title"]) == (422, "plan.rejected", "PlanPolicyViolation")
    assert [(each.path, each.code, each.hint) for each in faults] == [
        (each["path"], each["code"], each["hint"]) for each in told["violations"]
    ]
    assert door.counted == ["plan.rejected"]


@pytest.mark.parametrize("named", ["plan_1", "sha256:1"])
async def test_a_plan_is_shown_by_id_and_by_digest(tmp_path: Path, named: str) -> None:
    """With what each step is in, and the document, which can be proposed again as it is."""
    async with opened(tmp_path) as door:
        status, told = await door.ask("GET", f"/-/plans/{named}")

    assert (status, [step["state"] for step in told["steps"]]) == (200, ["done", "ready"])
    assert told["document"]["steps"][1] == {
        "stepId": "write", "name": "write", "operationId": "shop.putItem", "dependsOn": ["read"], "attempts": 1,
        "arguments": {"id": "a", "body": {"size": "$steps.read.outputs.size"}},
    }  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_anothers_plan_is_not_there(tmp_path: Path, method: str) -> None:
    """One and the same 404 for a plan of another principal and for one of nobody; a revision is asked of neither."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "theirs").mkdir()
    async with opened(tmp_path / "mine") as mine, opened(tmp_path / "theirs", who=Principal("other")) as theirs:
        nothing = await mine.ask(method, "/-/plans/plan_2", json=DOCUMENT)
        hidden = await theirs.ask(method, "/-/plans/plan_1", json=DOCUMENT)
        shown = await theirs.ask("GET", "/-/plans/plan_1", door="admin")

    assert [(404, "tool.unknown")] * 2 == [(status, told["code"]) for status, told in (nothing, hidden)]
    assert nothing[1]["detail"].replace("plan_2", "plan_1") == hidden[1]["detail"]
    assert (mine.book.asked, theirs.book.asked) == ([], [])
    assert (shown[0], shown[1]["principal"]) == (200, AGENT.id)


async def test_a_plan_that_cannot_be_written_is_not_locked(tmp_path: Path) -> None:
    """503, and the sentence says what could not be done."""
    async with opened(tmp_path) as door:
        door.book.answer = LedgerError("the disk is full")
        told = [await door.ask(*line, json=DOCUMENT) for line in (("POST", "/-/plans"), ("PUT", "/-/plans/plan_1"))]

    assert [(503, "the plan cannot be recorded: the disk is full")] * 2 == [
        (each[0], each[1]["detail"]) for each in told
    ]


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (b"{}", "text/plain", "arguments.media_type"),
        (b'{"goal": "a", "goal": "b"}', "application/json", "arguments.malformed"),
        (b'{"goal": NaN}', "application/json", "arguments.malformed"),
        (b"", "application/json", "arguments.malformed"),
    ],
)
async def test_a_plan_is_read_as_strictly_as_a_call(tmp_path: Path, body: bytes, content_type: str, code: str) -> None:
    """What two readers could read differently is refused before anybody looks at it."""
    async with opened(tmp_path) as door:
        _, told = await door.ask("POST", "/-/plans", data=body, headers={"Content-Type": content_type})

    assert (told["code"], door.book.asked) == (code, [])


async def test_hidden_operations_stay_hidden_in_plans(tmp_path: Path) -> None:
    """With `disclosure: hide`, a step on an operation that exists elsewhere, or nowhere, is told with the same words."""
    steps = [
        {"stepId": f"s{at}", "operationId": key}
        for at, key in enumerate(("shop.deleteItem", "shop.nothing", "shop.getItem"))
    ]
    about = (
        Violation("/steps/0/operationId", "operation", "is not allowed in prod", code="tool.disallowed"),
        Violation("/steps/0/arguments/id", "type", "is not text", code="arguments.invalid"),
        Violation("/steps/1/operationId", "operation", "did you mean `shop.deleteItem`?", suggestion="shop.deleteItem", code="tool.unknown"),
        Violation("/steps/2", "order", "comes after `shop.deleteItem`", code="plan.order", hint="Call shop.deleteItem first."),
        Violation("/steps/2/dependsOn/0", "dependency", "is no step", code="plan.dependency"),
    )  # fmt: skip
    async with opened(tmp_path, "hide") as door:
        door.book.answer = rejected(*about, detail="`shop.deleteItem` is not allowed (and 4 more)")
        _, told = await door.ask("POST", "/-/plans", json={"goal": "g", "steps": steps})
        door.book.answer = rejected(about[4])
        _, open_told = await door.ask("POST", "/-/plans?dry_run=1", json={"goal": "g", "steps": steps[2:]})

    assert "shop.deleteItem" not in json.dumps(told)
    first, second, *others = told["violations"]
    assert {**first, "path": ""} == {**second, "path": ""}
    assert (first["path"], second["path"], first["code"]) == (
        "/steps/0/operationId",
        "/steps/1/operationId",
        "tool.unknown",
    )
    assert [("/steps/2", "plan.order"), ("/steps/2/dependsOn/0", "plan.dependency")] == [
        (each["path"], each["code"]) for each in others
    ]
    assert (open_told["detail"], open_told["violations"][0]["message"]) == ("wrong", "is no step")
