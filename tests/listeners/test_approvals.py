"""What is asked of people, over HTTP: the agent sees its own, operators list, grant and decline."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from tests.wire.door import FakeCounts, FakeLog, small_bundle

from toolgate import ledger as ledgers
from toolgate.approvals import Approvals
from toolgate.auth import AuthError
from toolgate.core.approval import GRANTED_MS, PENDING_MS, Approval, Asking
from toolgate.core.model import Event, Principal
from toolgate.listeners.approvals import ApprovalsApi, ApprovalsForAgents
from toolgate.listeners.health import OwnFront
from toolgate.listeners.routes import Respond
from toolgate.listeners.server import Bounds, Listener
from toolgate.listeners.voice import Sampled, Voice
from toolgate.listeners.wire import Rules

START = 1_700_000_000_000
AGENT = Principal("corp/agent-7", ("digest",))
PEOPLE = {
    "agent": AGENT,
    "other": Principal("corp/agent-8"),
    "ann": Principal("corp/ann", ("oncall",)),
    "bob": Principal("corp/bob", ("oncall", "owner")),
    "eve": Principal("corp/eve", ("sales",)),
    "viewer": Principal("corp/vic", ("viewer",)),
    "approver": Principal("corp/app", ("approver",)),
    "admin": Principal("corp/root", ("admin",)),
    "agent-oncall": replace(AGENT, roles=("oncall",)),
    "delegated": Principal("corp/ann", ("oncall",), {"act.sub": "agent-9"}, "corp/ann"),
}
ASKING = Asking(
    "sha256:1", "call", AGENT.id, "run_1", ("oncall",), "metrics.removeMetric", ("big-changes",), "a person decides",
    {"operation": "metrics.removeMetric", "arguments": {"name": "node_cpu"}},
)  # fmt: skip


class Tokens:
    """A token is the name of one of the people."""

    def authenticate(self, token: str | None) -> Principal:
        if token not in PEOPLE:
            raise AuthError("auth.missing", "no token")
        return PEOPLE[token]


@dataclass
class Desk:
    """Both doors of a gate's approvals, and its clock."""

    session: aiohttp.ClientSession
    approvals: Approvals
    ports: Mapping[str, int]
    told: list[Event]
    now_ms: int = START
    ids: Any = field(default_factory=itertools.count)

    async def ask(self, who: str, method: str, path: str, *, door: str = "admin", **options: Any) -> tuple[int, Any]:
        url, headers = f"http://127.0.0.1:{self.ports[door]}{path}", {"Toolgate-Token": who}
        async with self.session.request(method, url, headers=headers, **options) as response:
            return response.status, await response.json(content_type=None)

    async def asked(self, **changed: Any) -> str:
        opened = await self.approvals.open(replace(ASKING, **changed))
        assert isinstance(opened, Approval)
        return opened.id


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Desk]:
    ids, told, log = itertools.count(), list[Event](), FakeLog()
    async with aiohttp.ClientSession() as session:
        desk = Desk(session, None, {}, told)  # type: ignore[arg-type]
        ledger = ledgers.open("memory:", clock=lambda: desk.now_ms)
        desk.approvals = Approvals(ledger, told.append, lambda: desk.now_ms, lambda _: f"{next(ids):026}")
        says = Voice("admin", small_bundle, lambda: f"own{next(ids)}", FakeCounts(), Sampled(log, lambda: 0.0))
        doors: dict[str, Mapping[str, Respond]] = {
            "agent": ApprovalsForAgents(desk.approvals, says).routes,
            "admin": ApprovalsApi(desk.approvals, says).routes,
        }
        rules = Rules(frozenset())
        listeners = {name: Listener(OwnFront(each, says, Tokens()), Bounds(), rules) for name, each in doors.items()}
        desk.ports = {name: await listener.listen("127.0.0.1", 0) for name, listener in listeners.items()}
        try:
            yield desk
        finally:
            for listener in listeners.values():
                await listener.close()
            await ledger.close()


async def test_the_requester_sees_whether_it_may_go_on() -> None:
    """`{approval, state, expires_at, comment}` as DESIGN §14 has it, before and after the answer; nothing of who answered."""
    async with opened() as desk:
        name = await desk.asked()
        before = await desk.ask("agent", "GET", f"/-/approvals/{name}", door="agent")
        await desk.ask("ann", "POST", f"/-/approvals/{name}/grant", json={"comment": "fine"})
        _, after = await desk.ask("agent", "GET", f"/-/approvals/{name}", door="agent")

    times = {"expires_at": "2023-11-14T22:23:20.000Z"}
    assert before == (200, {"approval": name, "state": "pending", "comment": None, **times})
    assert after == {"approval": name, "state": "granted", "comment": "fine", **times}


async def test_anothers_approval_is_not_there() -> None:
    """One and the same 404 for an id of another principal and for an id of nothing."""
    async with opened() as desk:
        name = await desk.asked()
        theirs = await desk.ask("other", "GET", f"/-/approvals/{name}", door="agent")
        nothing = await desk.ask("agent", "GET", "/-/approvals/apr_0", door="agent")

    assert (theirs[0], theirs[1]["code"]) == (nothing[0], nothing[1]["code"]) == (404, "tool.unknown")
    told = [{**body, "call": "", "instance": ""} for _, body in (theirs, nothing)]
    assert told[0] == {**told[1], "detail": told[1]["detail"].replace("apr_0", name)}


async def test_whoever_answers_sees_what_will_be_sent_and_why() -> None:
    """The request, the statements, the reasons, the roles, and who asked for whom."""
    async with opened() as desk:
        name = await desk.asked(actor="agent-7", on_behalf_of="corp/ida")
        status, told = await desk.ask("ann", "GET", f"/-/approvals/{name}")

    assert status == 200
    assert told["request"] == {"operation": "metrics.removeMetric", "arguments": {"name": "node_cpu"}}
    assert (told["why"], told["statements"], told["roles"]) == ("a person decides", ["big-changes"], ["oncall"])
    assert (told["principal"], told["actor"], told["on_behalf_of"]) == (AGENT.id, "agent-7", "corp/ida")
    assert (told["kind"], told["waiting_for"], told["granted_by"]) == ("call", ["oncall"], [])


async def test_a_role_sees_what_is_asked_of_it() -> None:
    """A viewer sees every request; whoever only has a role, what is asked of that role; the others nothing at all."""
    async with opened() as desk:
        first, second = await desk.asked(), await desk.asked(digest="sha256:2", roles=("owner",))
        seen = {}
        for who in ("viewer", "admin", "bob", "ann", "eve", "agent"):
            _, told = await desk.ask(who, "GET", "/-/approvals")
            seen[who] = [each["approval"] for each in told["approvals"]]
        hidden = await desk.ask("eve", "GET", f"/-/approvals/{first}")
        closed = await desk.ask("eve", "POST", f"/-/approvals/{first}/grant")

    every = [second, first]
    assert seen == {"viewer": every, "admin": every, "bob": every, "ann": [first], "eve": [], "agent": []}
    assert (hidden[0], closed[0]) == (404, 404)


async def test_a_list_is_filtered_and_bounded() -> None:
    """`?state=` and `?limit=`; `more` says that there are others; a state that there is not is told with the near one."""
    async with opened() as desk:
        names = [await desk.asked(digest=f"sha256:{each}") for each in range(3)]
        await desk.ask("ann", "POST", f"/-/approvals/{names[0]}/decline")
        _, pending = await desk.ask("ann", "GET", "/-/approvals?state=pending&limit=1")
        _, declined = await desk.ask("ann", "GET", "/-/approvals?state=declined")
        status, wrong = await desk.ask("ann", "GET", "/-/approvals?state=pendng")

    assert ([each["approval"] for each in pending["approvals"]], pending["more"]) == ([names[2]], True)
    assert ([each["approval"] for each in declined["approvals"]], declined["more"]) == ([names[0]], False)
    assert (status, wrong["violations"][0]["suggestion"]) == (422, "pending")


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("agent-oncall", "asked for this"),
        ("delegated", "a person's own"),
        ("viewer", "the role `oncall`, which the token does not give"),
        ("admin", "the role `oncall`, which the token does not give"),
    ],
)
@pytest.mark.parametrize("action", ["grant", "decline"])
async def test_who_may_not_answer(who: str, why: str, action: str) -> None:
    """M21: not the requester whatever its roles, no delegated token, nobody without the role that is asked for: 403."""
    async with opened() as desk:
        name = await desk.asked()
        status, told = await desk.ask(who, "POST", f"/-/approvals/{name}/{action}")
        _, after = await desk.ask("viewer", "GET", f"/-/approvals/{name}")

    assert (status, told["code"], after["state"]) == (403, "policy.not_allowed", "pending")
    assert why in told["detail"]


async def test_who_acts_for_the_requester_may_not_answer() -> None:
    """An agent that asks in ann's name cannot grant it with its own token, and ann cannot either."""
    async with opened() as desk:
        name = await desk.asked(principal="corp/ida", on_behalf_of="corp/ann", actor="bob")
        answers = [await desk.ask(who, "POST", f"/-/approvals/{name}/grant") for who in ("ann", "bob")]

    assert [status for status, _ in answers] == [403, 403]
    assert "acted for" in answers[1][1]["detail"]


async def test_two_roles_are_two_people() -> None:
    """Each grants in one role; the same person cannot do it twice; only then is it granted."""
    async with opened() as desk:
        name = await desk.asked(roles=("oncall", "owner"))
        _, first = await desk.ask("bob", "POST", f"/-/approvals/{name}/grant", json={"role": "owner"})
        again = await desk.ask("bob", "POST", f"/-/approvals/{name}/grant", json={"role": "oncall"})
        _, second = await desk.ask("ann", "POST", f"/-/approvals/{name}/grant")

    assert (first["state"], first["waiting_for"], first["granted_by"]) == (
        "pending", ["oncall"], [{"role": "owner", "by": "corp/bob"}],
    )  # fmt: skip
    assert (again[0], "another person" in again[1]["detail"]) == (403, True)
    assert (second["state"], second["waiting_for"]) == ("granted", [])


async def test_what_names_no_role_is_answered_by_whoever_may_approve() -> None:
    """An expansion too many where `approve` of plans.yaml is empty: the operators' role `approver` answers, `viewer` does not."""
    async with opened() as desk:
        name = await desk.asked(kind="replan", roles=(), operation=None)
        viewer = await desk.ask("viewer", "POST", f"/-/approvals/{name}/grant")
        unseen = await desk.ask("ann", "GET", f"/-/approvals/{name}")
        _, told = await desk.ask("approver", "POST", f"/-/approvals/{name}/grant")

    assert (viewer[0], "the role `approver` or `admin`" in viewer[1]["detail"], unseen[0]) == (403, True, 404)
    assert (told["state"], told["granted_by"]) == ("granted", [{"role": "approver", "by": "corp/app"}])


async def test_the_first_answer_counts() -> None:
    """M20: who answers after it, or after its time, is told so, and nothing changes."""
    async with opened() as desk:
        declined, late = await desk.asked(), await desk.asked(digest="sha256:2")
        await desk.ask("ann", "POST", f"/-/approvals/{declined}/decline", json={"comment": "not now"})
        after = await desk.ask("bob", "POST", f"/-/approvals/{declined}/grant")
        desk.now_ms += PENDING_MS
        expired = await desk.ask("bob", "POST", f"/-/approvals/{late}/grant")
        _, told = await desk.ask("viewer", "GET", f"/-/approvals/{late}")

    assert (after[0], after[1]["code"]) == (403, "approval.declined")
    assert (expired[0], expired[1]["code"], told["state"]) == (403, "approval.expired", "expired")


async def test_a_grant_runs_out() -> None:
    """Ten minutes to use it; the agent sees until when, and then that it is over."""
    async with opened() as desk:
        name = await desk.asked()
        await desk.ask("ann", "POST", f"/-/approvals/{name}/grant")
        desk.now_ms += GRANTED_MS
        _, told = await desk.ask("agent", "GET", f"/-/approvals/{name}", door="agent")

    assert told["state"] == "expired"


async def test_a_grant_is_taken_back() -> None:
    """By whoever could have given it; the agent sees that, and why. A yes of somebody it is not there for is not there."""
    async with opened() as desk:
        name = await desk.asked()
        early = await desk.ask("ann", "POST", f"/-/approvals/{name}/revoke")
        await desk.ask("ann", "POST", f"/-/approvals/{name}/grant")
        unseen = await desk.ask("eve", "POST", f"/-/approvals/{name}/revoke")
        viewer = await desk.ask("viewer", "POST", f"/-/approvals/{name}/revoke")
        revoked = await desk.ask("bob", "POST", f"/-/approvals/{name}/revoke", json={"comment": "too early"})
        _, told = await desk.ask("agent", "GET", f"/-/approvals/{name}", door="agent")

    assert [403, 404, 403, 200] == [status for status, _ in (early, unseen, viewer, revoked)]
    assert "not granted" in early[1]["detail"]
    assert ("revoked", "too early") == (told["state"], told["comment"])


@pytest.mark.parametrize(
    ("action", "body", "path"),
    [
        ("grant", [], ""),
        ("grant", {"comment": 1}, "/comment"),
        ("grant", {"comment": ""}, "/comment"),
        ("grant", {"comment": "x" * 513}, "/comment"),
        ("grant", {"comment": "two\nlines"}, "/comment"),
        ("grant", {"role": ["oncall"]}, "/role"),
        ("grant", {"coment": "x"}, "/coment"),
        ("decline", {"role": "oncall"}, "/role"),
        ("revoke", {"role": "oncall"}, "/role"),
    ],
)
async def test_an_answer_that_makes_no_sense_changes_nothing(action: str, body: Any, path: str) -> None:
    """Every key is known and of its kind, or the answer is refused whole."""
    async with opened() as desk:
        name = await desk.asked()
        status, told = await desk.ask("ann", "POST", f"/-/approvals/{name}/{action}", json=body)
        _, after = await desk.ask("ann", "GET", f"/-/approvals/{name}")

    assert (status, told["violations"][0]["path"], after["state"]) == (422, path, "pending")


async def test_one_answer_is_for_one_request() -> None:
    """J22: there is no way to answer several at once: no list, no pattern, no path without an id."""
    async with opened() as desk:
        names = [await desk.asked(), await desk.asked(digest="sha256:2")]
        lines = (
            "/-/approvals",
            "/-/approvals/*/grant",
            "/-/approvals/%2A/grant",
            f"/-/approvals/{','.join(names)}/grant",
        )
        answers = [await desk.ask("ann", "POST", line, json={"ids": "*"}) for line in lines]
        answers.append(await desk.ask("ann", "POST", f"/-/approvals/{names[0]}/grant", json={"ids": names}))
        states = [(await desk.ask("ann", "GET", f"/-/approvals/{name}"))[1]["state"] for name in names]

    assert all(status in {400, 404, 422} for status, _ in answers)
    assert states == ["pending", "pending"]


async def test_people_are_told() -> None:
    """Who waits and what came of it goes to the webhook."""
    async with opened() as desk:
        name = await desk.asked()
        await desk.ask("ann", "POST", f"/-/approvals/{name}/grant")

    assert [(event.kind, event.data["approval"]) for event in desk.told] == [
        ("ApprovalRequested", name),
        ("ApprovalGranted", name),
    ]
