"""An agent in a test: it calls, proposes a plan, takes its steps, and is told what any agent is told.

RULE: an answer says what the gate said, refusals included; only what a test takes for granted (`output`, `follow`)
fails when it is not so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

from toolgate.core.cursor import states
from toolgate.core.model import (
    Completed,
    Failed,
    Json,
    Named,
    OpenedRun,
    Outcome,
    Principal,
    Refusal,
    Refused,
    Reply,
    Said,
    Violation,
)
from toolgate.core.pinned import CONSTRAINT, LITERAL, bound, mark_of
from toolgate.core.plan import PlanFacts, StepState
from toolgate.gateway import Gateway
from toolgate.plans import Plans
from toolgate.runs import Closing, Opened, Runs
from toolgate.testing.fakes import FakeMeter
from toolgate.testing.plans import Plan, Step, plan_from
from toolgate.testing.records import Record, body_of, outputs_in, typed, untyped

_FAILED_STATUS: Final = 400
Given: TypeAlias = Mapping[str, Json]
_NOTHING: Final[Given] = MappingProxyType({})


class Doors(NamedTuple):
    """What an agent reaches of a gate."""

    gateway: Gateway
    plans: Plans
    runs: Runs
    meter: FakeMeter


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of something an agent asked."""

    code: str  # `completed` or `locked`, else the code of the refusal or failure, such as `policy.denied`
    status: int  # of the API's answer; of a refusal the one it has over HTTP
    detail: str = ""  # for a person
    hint: str = ""  # one sentence that the agent can act on
    alternatives: tuple[str, ...] = ()  # operations, or steps that are ready
    waiting_on: tuple[str, ...] = ()  # steps
    approval: str | None = None  # the id of the request to a person
    retry_after_s: float | None = None
    violations: tuple[Violation, ...] = ()
    reply: Reply | None = field(default=None, repr=False)  # as it came from the API

    @property
    def output(self) -> Any:
        """The JSON of the API's answer: objects as records (`output.cpu.avg`). Fails the test where there is none."""
        if self.reply is None or self.status >= _FAILED_STATUS:
            raise AssertionError(f"no output: {self}")
        return typed(body_of(self.reply))

    def __str__(self) -> str:
        told = f"{self.code} ({self.status})"
        return f"{told}: {self.detail} {self.hint}".strip() if self.detail else told


class Agent:
    """Somebody who calls. Made by `Gate.agent`."""

    def __init__(self, doors: Doors, principal: Principal, run: OpenedRun | None = None) -> None:
        self._doors = doors
        self.principal = principal
        self._run = run
        self.outputs: dict[str, Record] = {}  # of the steps taken so far, by id

    async def call(
        self,
        operation: str,
        arguments: Given = _NOTHING,
        *,
        plan: str | None = None,
        step: str | None = None,
        reason: str | None = None,
    ) -> Answer:
        """Call an operation: parameters by name, the body under `body`. `plan`, `step`, `reason`: as the headers say."""
        gateway = self._doors.gateway
        said = Said(reason, plan, step)
        asked = Named(operation, dict(arguments))
        outcome = await gateway.handle(gateway.new_call(self.principal, asked, said, self._run))
        self._raise_defects()
        return _answer(outcome)

    # -- plans -------------------------------------------------------------------------------------------------

    async def propose(self, plan: Plan | Mapping[str, Json]) -> Answer:
        """Propose a plan for the run; where it has one, that is revised."""
        told = await self._doors.plans.propose(self.principal, self._run, _document(plan))
        return _refusal(told) if isinstance(told, Refusal) else Answer("locked", 201)

    async def revise(self, plan: Plan | Mapping[str, Json]) -> Answer:
        """Propose another plan instead of the one that is locked."""
        named = self._locked().locked.id
        told = await self._doors.plans.revise(self.principal, self._run, named, _document(plan))
        if told is None:
            raise AssertionError(f"`{named}` is no plan of `{self.principal.id}`")
        return _refusal(told) if isinstance(told, Refusal) else Answer("locked", 200)

    @property
    def plan(self) -> Plan:
        """The plan that is locked in the run."""
        return plan_from(self._locked().locked.plan)

    @property
    def plan_id(self) -> str:
        return self._locked().locked.id

    @property
    def plan_digest(self) -> str:
        return self._locked().locked.digest

    @property
    def states(self) -> dict[str, StepState]:
        """How each step of the plan stands, by id."""
        return states(self._locked(), self._doors.gateway.bundle)

    async def take(self, step: str, given: Given = _NOTHING) -> Answer:
        """Call a step of the plan, by name or id, with the arguments the plan has; `given` is what it leaves open."""
        taken = self.plan.step(step)
        arguments = _merged(self._arguments(taken), given)
        answer = await self.call(taken.operation, arguments, step=taken.id)
        if answer.reply is not None and answer.status < _FAILED_STATUS:
            self.outputs[taken.id] = Record(outputs_in(answer.reply, taken.outputs))
        return answer

    async def follow(self, given: Mapping[str, Given] = MappingProxyType({})) -> Mapping[str, Record]:
        """Take every step that is ready until none is left; `given` by step id. Fails where one is refused or fails.

        Returns the outputs of each step, by its id.
        """
        while ready := [step for step, state in self.states.items() if state == "ready"]:
            answer = await self.take(ready[0], given.get(ready[0], _NOTHING))
            if ready[0] not in self.outputs or answer.code != "completed":
                raise AssertionError(f"step `{ready[0]}`: {answer}")
        return self.outputs

    # -- runs --------------------------------------------------------------------------------------------------

    async def in_new_run(self, **labels: str) -> Agent:
        """The same agent in a run of its own."""
        opened = await self._doors.runs.open(self.principal, self._run, None, labels)
        match opened:
            case Refusal():
                raise AssertionError(f"no run was opened: {_refusal(opened)}")
            case Opened(run):
                return Agent(self._doors, self.principal, run)

    async def finish(self, *, incomplete: bool = False) -> Answer:
        """Close the run; with steps that are not done only if `incomplete`."""
        closing: Closing = "anyway" if incomplete else "complete"
        refusal = await self._doors.runs.finish(self.principal, self._run, self._doors.gateway.bundle, closing)
        return Answer("finished", 200) if refusal is None else _refusal(refusal)

    # -- inside ------------------------------------------------------------------------------------------------

    def _locked(self) -> PlanFacts:
        facts = self._doors.runs.look(self.principal, self._run).facts.plan
        if facts is None:
            raise AssertionError(f"no plan is locked in the run of `{self.principal.id}`")
        return facts

    def _arguments(self, step: Step) -> dict[str, Json]:
        return {name: value for name, each in step.arguments.items() if (value := self._resolved(each)) is not _OPEN}

    def _resolved(self, value: Json) -> Json:
        """What the plan says of a value, as it is sent now; `_OPEN` where the plan leaves some of it to the agent."""
        binding = bound(value)
        if binding is not None:
            known = self.outputs.get(binding.step)
            return _untaken(binding.text) if known is None else untyped(known[binding.output])
        if mark_of(value) == LITERAL:
            return value[LITERAL]
        if mark_of(value) == CONSTRAINT:
            return _OPEN
        match value:
            case Mapping():
                members = {name: self._resolved(each) for name, each in value.items()}
                return {name: each for name, each in members.items() if each is not _OPEN}
            case list() | tuple():
                elements = [self._resolved(each) for each in value]
                return _OPEN if any(each is _OPEN for each in elements) else elements
            case _:
                return value

    def _raise_defects(self) -> None:
        """Show the test what broke: an answer it did not give, or a defect of the gate."""
        defects = self._doors.meter.defects
        if defects:
            _, error = defects.pop()
            raise error


_OPEN: Final = object()


def _untaken(text: str) -> Json:
    raise AssertionError(f"`{text}` is not known: the agent has not taken that step with `take` or `follow`")


def _merged(planned: Mapping[str, Json], given: Given) -> dict[str, Json]:
    """The planned arguments with what is given laid over them, objects member by member."""
    merged = dict(planned)
    for name, value in given.items():
        below = merged.get(name)
        is_both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(below or {}, value) if is_both else value
    return merged


def _document(plan: Plan | Mapping[str, Json]) -> Json:
    return dict(plan.document if isinstance(plan, Plan) else plan)


def _answer(outcome: Outcome) -> Answer:
    match outcome:
        case Completed(reply):
            return Answer("completed", reply.status, reply=reply)
        case Refused(refusal):
            return _refusal(refusal)
        case Failed():
            hint = outcome.recovery.hint
            return Answer(outcome.code.code, outcome.code.status, outcome.detail, hint, violations=outcome.violations)


def _refusal(refusal: Refusal) -> Answer:
    code, recovery = refusal.code, refusal.recovery
    return Answer(
        code.code,
        code.status,
        refusal.detail,
        recovery.hint,
        recovery.alternatives,
        recovery.waiting_on,
        recovery.approval,
        recovery.retry_after_s,
        refusal.violations,
    )
