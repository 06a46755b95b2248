"""Runs as agents open and close them: what `POST /-/runs` and `POST /-/run/finish` do (DESIGN §14).

RULE: a run is in the journal, committed, before its token leaves; and nothing that was frozen or stopped is left by
opening another run from it, or by closing it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final, Literal, NamedTuple, TypeAlias

from toolgate.approvals import Approvals
from toolgate.auth.runs import RunTokens
from toolgate.core import runs as events
from toolgate.core.approval import Approval, Asking
from toolgate.core.approvers import actor_of
from toolgate.core.bundle import Bundle
from toolgate.core.canonical import digest
from toolgate.core.codes import CODES
from toolgate.core.completion import incomplete, skipped
from toolgate.core.freeze import frozen
from toolgate.core.model import (
    OPENED_RUN_KEY,
    RUN_KEY,
    Call,
    Facts,
    Named,
    OpenedRun,
    Principal,
    Recovery,
    Refusal,
    Violation,
)
from toolgate.core.plan import NO_RULES, PlanRules
from toolgate.core.review import Matter, use_of
from toolgate.ports import Ledger

_A_RUN: Final = Matter("a run within this run", "this same POST /-/runs")
Closing: TypeAlias = Literal["complete", "anyway"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What every run is opened under."""

    token_s: float
    max_depth: int  # runs above a run
    max_open: int = 10_000  # of a principal, whose tokens have not ended


class Review(NamedTuple):
    """Who is asked before a run is opened within a run, and by what rules."""

    approvals: Approvals
    bundle: Callable[[], Bundle]


class Opened(NamedTuple):
    """A run that was opened, and the token that names it."""

    run: OpenedRun
    token: str


class Look(NamedTuple):
    """What there is to know of a run: a call in it that calls nothing, and the facts it would be told."""

    call: Call
    facts: Facts


class Runs:
    """Opens runs, tells what has come of them, closes them."""

    def __init__(  # noqa: PLR0913, PLR0917 (composed in one place)
        self,
        ledger: Ledger,
        tokens: RunTokens,
        terms: Terms,
        now_ms: Callable[[], int],
        new_id: Callable[[], str],
        review: Review,
    ) -> None:
        self._ledger = ledger
        self._review = review
        self._tokens = tokens
        self._terms = terms
        self._now_ms = now_ms
        self._new_id = new_id
        self._ends: dict[str, list[int]] = {}  # by principal, when the tokens of its runs end: a heap

    def read(self, token: str, principal: Principal) -> OpenedRun:
        """The run a token names for this principal, now. Raises AuthError."""
        return self._tokens.read(token, principal)

    async def catch_up(self, principal: Principal, run: OpenedRun | None) -> None:
        """Learn what other gates know of it, before it is looked at."""
        await self._ledger.catch_up(self.look(principal, run).facts.run.id)

    def look(self, principal: Principal, run: OpenedRun | None) -> Look:
        """What has come of the run this caller is in, now."""
        at_ms = self._now_ms()
        key = RUN_KEY + principal.id if run is None else OPENED_RUN_KEY + run.id
        return Look(Call("", at_ms, principal, Named("", {}), run=run), self._ledger.facts((key,), at_ms))

    async def open(
        self, principal: Principal, within: OpenedRun | None, parent: str | None, labels: Mapping[str, str]
    ) -> Opened | Refusal:
        """Open a run; its parent, if any, is the run this is asked in. Raises LedgerError."""
        await self.catch_up(principal, within)
        call, facts = self.look(principal, within)
        refusal = frozen(call, facts) or self._unfit(parent, within, facts) or self._too_many(call)
        if refusal is not None:
            return refusal
        granted = await self._agreed(call, facts) if parent is not None else None
        if isinstance(granted, Refusal):
            return granted
        run = self._new_run(parent, within, call.at_ms)
        heappush(self._ends.setdefault(principal.id, []), run.expires_ms)
        approval = granted.id if granted is not None else None
        event = events.opened(run, principal.id, labels, call.at_ms, approval)
        if await self._ledger.record(event, (use_of(approval),) if approval is not None else ()) is not None:
            return _used_meanwhile()
        return Opened(run, self._tokens.mint(run, principal))

    async def _agreed(self, call: Call, facts: Facts) -> Approval | Refusal | None:
        """Whether a person agrees to a run within this one; None where plans have no say in that."""
        approvals, rules = self._review.approvals, self._review.bundle().plans
        if rules is NO_RULES and facts.plan is None:
            return None
        asking = _recursion(call, facts, rules)
        found = await approvals.settle(asking, _A_RUN)
        if isinstance(found, Approval) or found.code.code != "approval.required":
            return found
        return found._replace(code=CODES["plan.recursion"])

    async def finish(
        self, principal: Principal, run: OpenedRun | None, bundle: Bundle, closing: Closing = "complete"
    ) -> Refusal | None:
        """Close the run this is asked in; one that is closed, or has not begun, is left as it is. Raises LedgerError.

        One whose plan has steps that are not done is closed `anyway` only; the journal says which were skipped.
        """
        await self.catch_up(principal, run)
        call, facts = self.look(principal, run)
        done = facts.run
        if done.stopped == events.BY_ITS_AGENT or done.started_ms is None:
            return None
        refusal = frozen(call, facts)
        if refusal is None and closing == "complete":
            refusal = incomplete(facts.plan, bundle, call.at_ms)
        if refusal is None:
            left = skipped(facts.plan, bundle)
            await self._ledger.record(events.finished(done.id, principal.id, done.calls, left, call.at_ms), ())
        return refusal

    def _unfit(self, parent: str | None, within: OpenedRun | None, facts: Facts) -> Refusal | None:
        if parent is None:
            return None
        if parent != facts.run.id:
            return _not_the_parent(within)
        depth, rules = 1 + len(within.above if within else ()), self._review.bundle().plans
        if depth > self._terms.max_depth:
            return _too_deep(self._terms.max_depth, "runs.max_depth")
        is_planned = rules is not NO_RULES or facts.plan is not None
        return (
            _too_deep(rules.max_depth, "max_depth` of `plans.yaml") if is_planned and depth > rules.max_depth else None
        )

    def _too_many(self, call: Call) -> Refusal | None:
        """SECURITY: a run is remembered until its token ends, so whoever opens runs without end would fill the memory."""
        ends = self._ends.get(call.principal.id)
        while ends and ends[0] <= call.at_ms:
            heappop(ends)
        if not ends:
            self._ends.pop(call.principal.id, None)
            return None
        return None if len(ends) < self._terms.max_open else _full(self._terms.max_open, ends[0] - call.at_ms)

    def _new_run(self, parent: str | None, within: OpenedRun | None, at_ms: int) -> OpenedRun:
        """A sub-run ends with its parent's token at the latest."""
        run = OpenedRun(f"run_{self._new_id()}", at_ms + int(self._terms.token_s * 1000))
        if parent is None:
            return run
        if within is None:
            return run._replace(above=(parent,))
        return run._replace(above=(*within.above, parent), expires_ms=min(run.expires_ms, within.expires_ms))


def _not_the_parent(within: OpenedRun | None) -> Refusal:
    code = CODES["arguments.invalid"]
    message = "`parent` is not the run this is asked in"
    hint = (
        "Name the run of your `Toolgate-Run` token as `parent`, or leave `parent` out."
        if within is not None
        else "Send the parent's token as `Toolgate-Run`, or leave `parent` out."
    )
    return Refusal(
        code,
        message,
        Recovery(code.action, hint),
        stage="arguments",
        violations=(Violation("/parent", "const", message),),
    )


def _full(most: int, wait_ms: int) -> Refusal:
    code = CODES["limit.rate"]
    detail = f"{most} runs are open whose tokens have not ended (`runs.max_open`)"
    hint = "Go on in a run you have; open another after the named time."
    return Refusal(code, detail, Recovery(code.action, hint, retry_after_s=wait_ms / 1000), stage="limits")


def _too_deep(most: int, setting: str) -> Refusal:
    code = CODES["plan.recursion"]
    detail = f"a run may have at most {most} runs above it (`{setting}`)" if most else "no run may have a parent here"
    return Refusal(code, detail, Recovery(code.action, code.hint), stage="arguments")


def _recursion(call: Call, facts: Facts, rules: PlanRules) -> Asking:
    principal, locked = call.principal, facts.plan.locked if facts.plan is not None else None
    who = [principal.id, principal.on_behalf_of, actor_of(principal)]
    return Asking(
        digest=digest({"kind": "recursion", "principal": who, "run": facts.run.id}),
        kind="recursion",
        principal=principal.id,
        run=facts.run.id,
        roles=rules.approve,
        why="a run within a run is approved before it is opened",
        request={"parent": facts.run.id, "goal": locked.plan.goal if locked is not None else None},
        plan=locked.id if locked is not None else None,
        on_behalf_of=principal.on_behalf_of,
        actor=actor_of(principal),
        relies_on=locked.digest if locked is not None else "",
    )


def _used_meanwhile() -> Refusal:
    code = CODES["plan.recursion"]
    detail = "the approval is for one run, and another one has been opened with it"
    return Refusal(code, detail, Recovery(code.action, code.hint), stage="approval")
