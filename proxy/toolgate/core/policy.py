"""Cedar statements → Ruling: may this principal do this to this resource here (DESIGN §7, CEDAR.md).

RULE: allowed = Cedar says Allow ∧ no errors ∧ at least one reason ∧ every reason a permit. Anything else refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from toolgate.core.model import Json, Principal, Resource, RunFacts

if TYPE_CHECKING:
    from cedarpy import pst

    from toolgate.core.catalog import Operation


@dataclass(frozen=True, slots=True)
class Statement:
    """One rule of a policy file."""

    id: str  # `@id`, else `file:line`
    effect: Literal["permit", "forbid"]
    file: str
    line: int
    text: str  # as written
    template: pst.Template  # its `id` is ours
    reason: str | None = None  # `@reason`: why, for a person
    hint: str | None = None  # `@hint`: what to do instead, for the agent
    approval: str | None = None  # `@approval("group")`: such a forbid asks for a person
    audit: bool = False  # `@mode("audit")`: evaluated and journaled, not enforced

    @property
    def asks(self) -> bool:
        """Whether it refuses only until a person approves."""
        return self.effect == "forbid" and self.approval is not None


class Question(NamedTuple):
    """Everything a statement may read of one call about one resource."""

    principal: Principal
    operation: Operation
    resource: Resource
    environment: str
    arguments: Mapping[str, Json]
    run: RunFacts
    now_ms: int


Kind: TypeAlias = Literal["allowed", "denied", "not_allowed", "error", "approval"]


class Ruling(NamedTuple):
    """What the statements say, and which of them said it."""

    kind: Kind  # denied: a forbid holds · not_allowed: no permit does · error: could not be evaluated · approval: a person must
    statements: tuple[str, ...] = ()  # ids, sorted: permits that allow, forbids that deny or ask, or what erred
    detail: str = ""  # for `error`: what went wrong and where, in words for the operator; never a value
    shadow: Ruling | None = None  # what it would be with the audit statements enforced, where that differs
    heard: tuple[str, ...] = ()  # for `approval`, sorted: those that ask and those that allow it once a person agrees


NOT_ALLOWED: Final = Ruling("not_allowed")


class Ruled(NamedTuple):
    """A ruling, and what the journal must hold of the run and the claims to make it again; None: nothing."""

    ruling: Ruling
    read: Mapping[str, Json] | None = None


class Needed(NamedTuple):
    """What the statements of an operation read that no journal line holds anyway."""

    run: Callable[[RunFacts], Json] | None = None  # tells what is read of it, but for what it has spent
    spent: tuple[str, ...] = ()  # dimensions of that
    tags: tuple[str, ...] = ()
    attributes: bool = False

    def read_of(self, question: Question) -> Mapping[str, Json] | None:
        """What is read of the run and the claims. It follows from what the statements are told."""
        read: dict[str, Json] = {}
        if self.run is not None:
            read["run"] = self.run(question.run)
        claims = question.principal.claims
        told = {name: claims[name] for name in self.tags if name in claims}
        if told:
            read["claims"] = told
        return read or None


NOTHING_NEEDED: Final = Needed()


# A statement, its effect, and whether it holds; None: it could not be evaluated.
Applied: TypeAlias = tuple[str, str, bool | None]


class NearMiss(NamedTuple):
    """A permit that would have applied but for one condition."""

    statement: str
    condition: str  # as written in the file
    reads: tuple[str, ...]  # JSON pointers into the arguments this condition reads; none: nothing the agent can change
    hint: str | None
