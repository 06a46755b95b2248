"""Approvals on the path of a call: asked once, granted by somebody else, used once, for exactly what was asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.gateway.scene import AGENT, ALL, ASK, DBA, ONCALL, code_of, scene

from toolgate.core.approval import GRANTED_MS, PENDING_MS, Approval
from toolgate.core.budget import Budget
from toolgate.core.budgets import Budgets
from toolgate.core.bundle import Bundle
from toolgate.core.model import Completed, Principal, Refusal, Refused
from toolgate.ports import UpstreamError

BOTH = ASK + '@id("ask-too") @approval("dba") forbid (principal, action == Action::"shop.putItem", resource);\n'


async def test_a_person_is_asked_and_the_same_call_repeated_is_sent(shop: Bundle) -> None:
    """Story: refused with an id and what to do; granted; repeated; sent; and the journal tells each of it in order."""
    async with scene(shop, ALL + ASK) as desk:
        refused = await desk.put("a", n=1)
        assert isinstance(refused, Refused)
        assert ("approval.required", "approval") == (refused.refusal.code.code, refused.refusal.stage)
        assert "`shop.putItem` needs the approval of a person in `oncall`: items are precious" == refused.refusal.detail
        (told,) = desk.told
        approval_id = told.data["approval"]
        assert approval_id == refused.refusal.recovery.approval
        hint = (
            f"Ask a person in `oncall` to grant `{approval_id}` (GET /-/approvals/{approval_id} says how it stands); "
            "repeat this same call after it is granted."
        )
        assert hint == refused.refusal.recovery.hint
        assert "approval.pending" == code_of(await desk.put("a", n=1))

        granted = await desk.approvals.grant(approval_id, ONCALL, comment="go on")
        assert isinstance(granted, Approval)
        assert ("granted", (("oncall", "olga"),)) == (granted.state, granted.granted_by)
        assert isinstance(await desk.put("a", n=1), Completed)

        kinds = ("ApprovalRequested", "ApprovalGranted", "Decided")
        written = [(each["event"], each.get("code"), each.get("approval")) for each in await desk.events(*kinds)]
        assert [
            ("ApprovalRequested", None, approval_id),
            ("Decided", "approval.required", approval_id),
            ("Decided", "approval.pending", approval_id),
            ("ApprovalGranted", None, approval_id),
            ("Decided", None, approval_id),
        ] == written
        assert ["ApprovalRequested", "ApprovalGranted"] == [each.kind for each in desk.told]


async def test_an_approver_sees_the_request_as_it_will_be_sent(shop: Bundle) -> None:
    """The arguments, with what is masked as digests; where it happens, and why somebody is asked."""
    ask = '@id("ask") @approval("oncall") forbid (principal, action == Action::"shop.signIn", resource);\n'
    async with scene(shop, ALL + ask) as desk:
        await desk.ask("signIn", body={"account": "ann", "password": "hunter2"})
        (request,) = (each.data["request"] for each in desk.told)

    assert ("shop.signIn", "POST", "prod") == (request["operation"], request["method"], request["environment"])
    assert "ann" == request["arguments"]["body"]["account"]
    assert ["$masked"] == list(request["arguments"]["body"]["password"])
    assert "hunter2" not in str(desk.told)


async def test_a_grant_is_used_once(shop: Bundle) -> None:
    """M18: the second identical call asks anew; the first grant is used."""
    async with scene(shop, ALL + ASK) as desk:
        approval = await desk.granted()
        assert "completed" == code_of(await desk.put())
        assert "used" == desk.approvals.find(approval.id).state
        again = await desk.put()

    assert "approval.required" == code_of(again)
    assert approval.id != again.refusal.recovery.approval


async def test_a_hundred_at_once_use_it_once(shop: Bundle) -> None:
    """One is sent; none of the others is, and one more request at most is opened for all of them."""
    async with scene(shop, ALL + ASK) as desk:
        await desk.granted()
        desk.upstream.held["shop.putItem"] = asyncio.Event()
        calls = [asyncio.ensure_future(desk.put()) for _ in range(100)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        desk.upstream.held["shop.putItem"].set()
        codes = [code_of(each) for each in await asyncio.gather(*calls)]

        assert 1 == codes.count("completed")
        assert {"completed", "approval.required", "approval.pending"} >= set(codes)
        assert 1 == len(desk.upstream.sent)
        assert 2 >= len(await desk.events("ApprovalRequested"))


async def test_what_was_surely_not_sent_leaves_the_grant(shop: Bundle) -> None:
    """The upstream was not reached: the same grant serves the next attempt."""
    async with scene(shop, ALL + ASK) as desk:
        approval = await desk.granted()
        desk.upstream.replies["shop.putItem"] = UpstreamError("upstream.unreachable", "nobody there", sent="no")
        assert "upstream.unreachable" == code_of(await desk.put())
        del desk.upstream.replies["shop.putItem"]
        assert "completed" == code_of(await desk.put())

        assert [approval.id] * 2 == [
            each["approval"] for each in await desk.events("Decided") if each["decision"] == "permit"
        ]


async def test_what_may_have_been_sent_has_used_it(shop: Bundle) -> None:
    """A timeout says nothing of what the upstream did: whoever wants it twice asks twice."""
    async with scene(shop, ALL + ASK) as desk:
        await desk.granted()
        desk.upstream.replies["shop.putItem"] = UpstreamError("upstream.timeout", "too slow", sent="unknown")
        assert "upstream.timeout" == code_of(await desk.put())
        assert "approval.required" == code_of(await desk.put())


@pytest.mark.parametrize(
    ("item", "body"),
    [("b", {"n": 1}), ("a", {"n": 2}), ("a", {"n": 1.0}), ("a", {"n": "1"}), ("a", {}), ("a", {"n": 1, "m": None})],
)
async def test_a_changed_argument_is_another_request(shop: Bundle, item: str, body: dict[str, object]) -> None:
    """One byte that is sent otherwise is not what was agreed to (M26: `1` is not `1.0`)."""
    async with scene(shop, ALL + ASK) as desk:
        approval = await desk.granted("a", n=1)
        other = await desk.put(item, **body)

        assert "approval.required" == code_of(other)
        assert approval.id != other.refusal.recovery.approval
        assert "granted" == desk.approvals.find(approval.id).state
    assert [] == desk.upstream.sent


async def test_somebody_elses_grant_helps_nobody(shop: Bundle) -> None:
    """Bound to the principal, and not shown to another one."""
    async with scene(shop, ALL + ASK) as desk:
        approval = await desk.granted()
        eve = Principal("eve")
        assert "approval.required" == code_of(await desk.ask("putItem", eve, id="a", body={}))
        assert desk.approvals.show(eve, approval.id) is None
        assert desk.approvals.show(AGENT, approval.id) is not None


async def test_an_answer_that_is_said_again_is_the_same_answer(shop: Bundle) -> None:
    """A person whose connection broke repeats it: it is told how it stands, and nothing more is written."""
    async with scene(shop, ALL + ASK) as desk:
        first = await desk.granted()
        assert first == await desk.approvals.grant(first.id, ONCALL)
        assert first == await desk.approvals.grant(first.id, ONCALL, "oncall")
        assert "completed" == code_of(await desk.put())
        used = await desk.approvals.grant(first.id, ONCALL)
        assert isinstance(used, Approval)
        assert "used" == used.state

        second = await desk.asked("b")
        declined = await desk.approvals.decline(second.id, ONCALL, "no")
        assert declined == await desk.approvals.decline(second.id, ONCALL, "no")
        assert "approval.declined" == code_of(await desk.approvals.grant(second.id, ONCALL))
        assert 1 == len(await desk.events("ApprovalGranted"))
        assert 1 == len(await desk.events("ApprovalDeclined"))


async def test_declined_is_no_and_says_why(shop: Bundle) -> None:
    """The same call is refused without anybody being asked again; another one may be asked for."""
    async with scene(shop, ALL + ASK) as desk:
        asked = await desk.asked()
        declined = await desk.approvals.decline(asked.id, ONCALL, "not on a\nfriday")
        assert isinstance(declined, Approval)
        refused = await desk.put()
        assert "approval.declined" == code_of(refused)
        assert "a person declined `shop.putItem`: not on a friday" == refused.refusal.detail
        assert 1 == len(await desk.events("ApprovalRequested"))


async def test_a_yes_is_taken_back_before_it_is_used(shop: Bundle) -> None:
    """The same call is refused from then on, and nobody is asked again; what is used stays used."""
    async with scene(shop, ALL + ASK) as desk:
        granted = await desk.granted()
        revoked = await desk.approvals.revoke(granted.id, ONCALL, "the wrong item")
        assert isinstance(revoked, Approval)
        assert revoked == await desk.approvals.revoke(granted.id, Principal("root", ("admin",)))
        refused = await desk.put()
        assert "approval.declined" == code_of(refused)
        assert "a person took the yes to `shop.putItem` back: the wrong item" == refused.refusal.detail
        assert ["ApprovalRequested", "ApprovalGranted", "ApprovalRevoked"] == [each.kind for each in desk.told]
        assert [] == desk.upstream.sent

        used = await desk.granted("b")
        await desk.put("b")
        late = await desk.approvals.revoke(used.id, ONCALL)
        assert "was granted and used already" in late.detail
        waiting = await desk.asked("c")
        early = await desk.approvals.revoke(waiting.id, ONCALL)
        assert ("approval.pending", "pending") == (code_of(early), desk.approvals.find(waiting.id).state)
        assert await desk.approvals.revoke("apr_0", ONCALL) is None


async def test_a_yes_is_taken_back_or_used_and_never_both(shop: Bundle) -> None:
    """A call and a person at once: one of the two is written, and the other is told."""
    async with scene(shop, ALL + ASK) as desk:
        for n in range(10):
            granted = await desk.granted(f"i{n}")
            put, revoked = await asyncio.gather(desk.put(f"i{n}"), desk.approvals.revoke(granted.id, ONCALL))
            assert ("completed" == code_of(put)) != isinstance(revoked, Approval)


@pytest.mark.parametrize(
    "who", [AGENT, Principal("agent", ("oncall",)), Principal("other", ("dba",)), Principal("x", (), {}, "agent")]
)
async def test_who_may_not_take_it_back(shop: Bundle, who: Principal) -> None:
    """Neither who asked, nor who could not have granted it."""
    async with scene(shop, ALL + ASK) as desk:
        granted = await desk.granted()
        assert "policy.not_allowed" == code_of(await desk.approvals.revoke(granted.id, who))
        assert "completed" == code_of(await desk.put())


@pytest.mark.parametrize(
    ("granted", "detail"), [(False, "was not answered in time"), (True, "was granted and not used in time")]
)
async def test_what_is_too_late_is_asked_anew_at_once(shop: Bundle, granted: bool, detail: str) -> None:
    """Time out is no: the refusal names a fresh request, and the old one can be answered no more."""
    async with scene(shop, ALL + ASK) as desk:
        asked = await (desk.granted() if granted else desk.asked())
        desk.clock.at_ms += GRANTED_MS if granted else PENDING_MS
        refused = await desk.put()
        assert "approval.expired" == code_of(refused)
        assert detail in refused.refusal.detail
        assert asked.id != refused.refusal.recovery.approval
        assert "approval.pending" == code_of(await desk.put())
        late = await desk.approvals.grant(asked.id, ONCALL)
        assert isinstance(late, Refusal)
    assert [] == desk.upstream.sent


async def test_up_to_the_last_millisecond_it_holds(shop: Bundle) -> None:
    """M20: at its expiry it is over, and a millisecond before it is not."""
    async with scene(shop, ALL + ASK) as desk:
        await desk.granted()
        desk.clock.at_ms += GRANTED_MS - 1
        assert "completed" == code_of(await desk.put())


async def test_the_first_answer_that_is_written_is_the_answer(shop: Bundle) -> None:
    """M20: grant and decline at once; one of them counts and the other is told so."""
    async with scene(shop, ALL + ASK) as desk:
        asked = await desk.asked()
        both = await asyncio.gather(
            desk.approvals.grant(asked.id, ONCALL), desk.approvals.decline(asked.id, Principal("otto", ("oncall",)))
        )
        state = desk.approvals.find(asked.id).state
        (held,) = (each for each in both if isinstance(each, Approval))
        (lost,) = (each for each in both if isinstance(each, Refusal))

        assert held.state == state
        assert "no other answer counts" in lost.detail
        assert ("completed" if state == "granted" else "approval.declined") == code_of(await desk.put())


@pytest.mark.parametrize(
    "who",
    [
        Principal("agent", ("oncall",)),
        Principal("other", ("dba",)),
        Principal("nobody"),
        Principal("boss", ("oncall",), on_behalf_of="agent"),
    ],
)
async def test_who_may_not_answer(shop: Bundle, who: Principal) -> None:
    """M21: never the requester, nobody without the role, nobody who acts for another."""
    async with scene(shop, ALL + ASK) as desk:
        asked = await desk.asked()
        for answer in (await desk.approvals.grant(asked.id, who), await desk.approvals.decline(asked.id, who)):
            assert "policy.not_allowed" == code_of(answer)
        assert "pending" == desk.approvals.find(asked.id).state


async def test_two_roles_are_two_people(shop: Bundle) -> None:
    """It is granted once one of each said yes, and nobody says it for both."""
    async with scene(shop, ALL + BOTH) as desk:
        asked = await desk.asked()
        assert ("dba", "oncall") == asked.asking.roles
        both = Principal("olga", ("oncall", "dba"))
        assert "pending" == (await desk.approvals.grant(asked.id, both)).state
        assert "policy.not_allowed" == code_of(await desk.approvals.grant(asked.id, both))
        assert "approval.pending" == code_of(await desk.put())
        answers = [await desk.approvals.grant(asked.id, each) for each in (DBA, Principal("otto", ("oncall",)))]
        assert ["policy.not_allowed", "completed"] == [code_of(each) for each in answers]
        assert {"dba": "olga", "oncall": "otto"} == dict(desk.approvals.find(asked.id).granted_by)
        assert "completed" == code_of(await desk.put())


async def test_what_the_policies_forbid_since_is_forbidden(shop: Bundle) -> None:
    """M24: granted, then a reload forbids it: the grant changes nothing about that."""
    async with scene(shop, ALL + ASK) as desk:
        await desk.granted()
        no = '@id("no") forbid (principal, action == Action::"shop.putItem", resource);\n'
        desk.reload(ALL + ASK + no)
        assert "policy.denied" == code_of(await desk.put())
    assert [] == desk.upstream.sent


async def test_what_changed_since_makes_it_stale(shop: Bundle) -> None:
    """Another rule for the same operation: a person is asked again, under the rules that hold now."""
    async with scene(shop, ALL + ASK) as desk:
        approval = await desk.granted()
        desk.reload(ALL + ASK + '@id("more") permit (principal, action in Action::"write", resource);\n')
        refused = await desk.put()
        assert "approval.stale" == code_of(refused)
        assert approval.id != refused.refusal.recovery.approval
        assert isinstance(await desk.approvals.grant(str(refused.refusal.recovery.approval), ONCALL), Approval)
        assert "completed" == code_of(await desk.put())


async def test_what_changed_elsewhere_does_not(shop: Bundle) -> None:
    """FT49: a reload that is about other operations leaves a grant alone."""
    async with scene(shop, ALL + ASK) as desk:
        await desk.granted()
        desk.reload(ALL + ASK + '@id("else") forbid (principal, action == Action::"shop.share", resource);\n')
        assert "completed" == code_of(await desk.put())


async def test_at_most_ten_wait_for_an_answer(shop: Bundle) -> None:
    """M23: the eleventh is not asked; once one is answered, there is room again."""
    async with scene(shop, ALL + ASK) as desk:
        first = await desk.asked("i0")
        for number in range(1, 10):
            await desk.asked(f"i{number}")
        refused = await desk.put("i10")
        assert "approval.too_many" == code_of(refused)
        assert 10 == len(await desk.events("ApprovalRequested"))
        await desk.approvals.decline(first.id, ONCALL)
        assert "approval.required" == code_of(await desk.put("i10"))


async def test_nobody_is_asked_for_what_would_not_be_sent_anyway(shop: Bundle) -> None:
    """The budget is used up: the answer says so, and no person reads a request in vain."""
    async with scene(shop, ALL + ASK) as desk:
        budgets = Budgets((Budget("once", ("principal",), "calls", 1),), (), environment="prod")
        desk.gateway.swap(replace(desk.bundle, budgets=budgets))
        assert "completed" == code_of(await desk.ask("getItem", id="a"))
        refused = await desk.put()

        assert "approval.required" == code_of(refused)
        assert refused.refusal.recovery.approval is None
        assert refused.refusal.recovery.hint.startswith(
            "Nobody was asked yet: the budget `once` of 1 calls is used up."
        )
        assert [] == await desk.events("ApprovalRequested")


async def test_explaining_asks_nobody(shop: Bundle) -> None:
    """What a call would be is told without a request being opened."""
    async with scene(shop, ALL + ASK) as desk:
        told = desk.gateway.explain(desk.call("putItem", id="a", body={}))
        by_name = {each.stage: each.result for each in told.stages}
        assert ("passed", "refused", "not reached") == (by_name["policy"], by_name["approval"], by_name["budgets"])
        assert [] == await desk.events("ApprovalRequested")


async def test_a_ledger_that_cannot_write_asks_nobody(shop: Bundle) -> None:
    """Fail closed: no request without its line in the journal, and the agent is told to try later."""
    async with scene(shop, ALL + ASK) as desk:
        await desk.ledger.close()
        assert "gateway.unavailable" == code_of(await desk.put())
        assert [] == desk.told
