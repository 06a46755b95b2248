"""A plan as it was locked, and how far its run has come with it (DESIGN §9).

RULE: values only. `planning` makes a plan out of what an agent proposes, `cursor` says which call is which step,
`revision` says what a changed plan costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from toolgate.core.mask import MaskKey
    from toolgate.core.model import Effect, Json

# waiting: on a step it depends on · ready: it may be called now · running: sent, and not finished · done: the upstream
# completed it (below status 400) · failed: no attempt is left, what it depends on failed, or an answer it is held to
# lacked what it needs · unknown: perhaps done,
# not idempotent, so it is not sent again
StepState: TypeAlias = Literal["waiting", "ready", "running", "done", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a plan, as it is held against calls."""

    id: str
    name: str  # the agent's own word for it; default: its id
    operation: str  # key, `tool.operationId`
    depends_on: tuple[str, ...] = ()
    arguments: Mapping[str, Json] = field(
        default_factory=dict
    )  # literals, expressions and `{"$constraint": …}`, as proposed
    outputs: Mapping[str, str] = field(default_factory=dict)  # name → `$response…` expression
    timeout_ms: int | None = None
    budget: Mapping[str, str] = field(default_factory=dict)  # dimension → decimal text
    attempts: int = 1  # so often at most is it sent


@dataclass(frozen=True, slots=True)
class Plan:
    """What an agent proposed and the gate found good: a finite, acyclic order of steps."""

    goal: str
    steps: tuple[Step, ...]  # in document order


@dataclass(frozen=True, slots=True)
class LockedPlan:
    """A plan as a versioned artifact. Nothing in it changes without another digest."""

    id: str  # `plan_…`; stays the same when the plan is revised
    digest: str  # sha256:… over the RFC 8785 form of plan, revision and environment
    revision: str  # of the bundle it was validated against
    relies_on: str  # digest over what of the bundle it relies on: a reload that leaves this alone leaves the plan alone
    environment: str
    principal: str
    run: str
    plan: Plan
    locked_ms: int
    expires_ms: int
    expansions: int = 0  # revisions so far that were not narrowing
    approval: str | None = None  # the approval that the plan as a whole waits for or was given


class Attempted(NamedTuple):
    """What has come of one step so far."""

    state: Literal["running", "done", "failed", "unknown"] | None = None  # None: nothing, or surely not sent
    attempts: int = 0  # that were sent, or may have been
    outputs: Mapping[str, str | None] = MappingProxyType({})  # name → keyed digest; None: its answer did not hold it


class PlanFacts(NamedTuple):
    """The plan of a run and its cursor, as the ledger knows them. Live: read it before waiting for anything."""

    locked: LockedPlan
    steps: Mapping[str, Attempted]  # by step id; one that is missing was never sent
    key: MaskKey  # outputs are compared by digests made with it (`outputs.output_digest`)


@dataclass(frozen=True, slots=True)
class Ordering:
    """`order`: an operation that waits for others, in every plan that has both."""

    operation: str  # key; globs are resolved at load
    after: frozenset[str]  # keys
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PlanRules:
    """`policies/plans.yaml`, lowered."""

    required_effects: frozenset[Effect] = frozenset()
    required_operations: frozenset[str] = frozenset()  # keys; tools and globs are resolved at load
    free: frozenset[str] = frozenset()  # keys
    order: tuple[Ordering, ...] = ()
    require: frozenset[str] = frozenset()  # keys
    max_steps: int = 50
    max_replans: int = 2
    max_depth: int = 1
    hold_ms: int = 2000
    expires_s: int = 3600
    approve: tuple[str, ...] = ()  # roles
    attempts: int = 3  # of a step that is idempotent and says nothing of it; of another one: 1


NO_RULES: Final = PlanRules()
