"""The values of a call, in the order they come to be (DESIGN §2).

Each is immutable and the only input of the next: Call → ValidCall → Permit | Refusal → Reply → Outcome.
Whoever holds a value holds the proof that everything before it was done. What every call makes is a NamedTuple: as
immutable as a frozen dataclass, and a third of its cost to make.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeAlias, final

if TYPE_CHECKING:
    from toolgate.core.approval import Approvals, Asking
    from toolgate.core.catalog import Operation
    from toolgate.core.codes import Code
    from toolgate.core.judgements import Fitting
    from toolgate.core.lasting import Lasting
    from toolgate.core.outputs import Wanted
    from toolgate.core.plan import PlanFacts
    from toolgate.core.quota import Standing

# A decoded JSON value. Validation gives it its shape; mypy cannot.
Json: TypeAlias = Any
Effect: TypeAlias = Literal["read", "write", "destructive"]
Sent: TypeAlias = Literal["no", "unknown", "yes"]
Source: TypeAlias = Literal["upstream", "gate"]
Header: TypeAlias = tuple[str, str]
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
# `new(Charge, (key, amount, given, rolling))`: what the class's own constructor does at half its cost, for what every call
# makes. INVARIANT: all fields, in their order; nothing fills in a default here.
new: Final = tuple.__new__


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: `id` is `<issuer name>/<sub>`, or the bare id of the anonymous workload."""

    id: str
    roles: tuple[str, ...] = ()
    claims: Mapping[str, str] = field(default_factory=dict)  # what policies see as tags, nested ones by dotted names
    on_behalf_of: str | None = (
        None  # of a delegated token (`act`): the id of whom somebody else (`claims["act.sub"]`) acts for
    )


# The gate itself, reading its live catalogues. SECURITY: known by identity, so no caller can be it, whatever its id says.
OWN: Final = Principal("toolgate")


class Wire(NamedTuple):
    """An HTTP request as it came: well formed, within the limits, nothing decoded yet.

    `path` and `query` are the raw ASCII of the request line (`query` without the `?`);
    header names are lower case and each occurs once unless the wire allows a list.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = _NO_HEADERS
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Named:
    """A call by name with its arguments object: a model's function call (`POST /-/call`, MCP)."""

    operation: str  # `tool.operationId`, or the `tool__operationId` of `/-/tools`
    arguments: Mapping[str, Json]


Asked: TypeAlias = Wire | Named


class OpenedRun(NamedTuple):
    """A run opened by name (`POST /-/runs`), as its verified token says. What has come of it, the ledger knows."""

    id: str
    expires_ms: int  # from then on its token names nothing
    # The runs above it, the first one first. What a sub-run spends is charged to the first one, so that no agent gets a
    # second budget by opening a run in its run.
    above: tuple[str, ...] = ()

    @property
    def parent(self) -> str | None:
        return self.above[-1] if self.above else None


class Said(NamedTuple):
    """What an agent says of a call beside what it asks for."""

    reason: str | None = None  # what it calls this for (`Toolgate-Reason`)
    plan: str | None = None  # `Toolgate-Plan`: the id or digest of the plan it belongs to
    step: str | None = None  # `Toolgate-Step`: the step it is


NOTHING_SAID: Final = Said()


class Call(NamedTuple):
    """One attempt to use a tool. Made only by a listener: the caller is authenticated, the wire was well formed."""

    id: str
    at_ms: int
    principal: Principal
    asked: Asked
    reason: str | None = None  # as `Said` has it, and so the plan and the step
    run: OpenedRun | None = None  # named by `Toolgate-Run`; None: the principal's implicit run
    plan: str | None = None
    step: str | None = None


class Violation(NamedTuple):
    """One thing wrong with an argument. `path` is a JSON Pointer into the arguments object."""

    path: str
    keyword: str
    message: str
    expected: Json = None
    suggestion: str | None = None
    code: str | None = None  # of a fault in a plan: what a call of that step would be refused with
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that are judged by their size and digest only: a binary body or a file part of a form."""

    content: bytes
    content_type: str | None = None
    filename: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body, in document order. `value` is text, JSON or a `Blob`."""

    name: str
    content: bytes
    content_type: str | None = None
    filename: str | None = None


class UpstreamRequest(NamedTuple):
    """The request as it will be sent, rebuilt from validated values; credentials and framing are the client's."""

    method: str
    target: str  # path and query, percent-encoded, without the upstream's base path
    headers: tuple[Header, ...]
    body: bytes | None


class ValidCall(NamedTuple):
    """A call whose operation exists here and whose arguments fit its schema. Made only by `engine.check`."""

    call: Call
    operation: Operation
    arguments: Mapping[str, Json]  # DESIGN §6: parameters by name, the body under `body`
    request: UpstreamRequest
    also: tuple[ValidCall, ...] = ()  # what else the same request means: operations whose keys differ only by `#…`
    fitting: Fitting | None = None  # what follows from its arguments alone, made once


class Recovery(NamedTuple):
    """The way forward: what kind of step, one imperative sentence a model can act on, and where to."""

    action: str
    hint: str
    alternatives: tuple[str, ...] = ()
    retry_after_s: float | None = None
    waiting_on: tuple[str, ...] = ()
    approval: str | None = None


class Hold(NamedTuple):
    """Not yet: a step that this call depends on is running. The gateway decides again when it finishes, or at `until_ms`."""

    until_ms: int
    plan: str
    step: str  # that it waits for


class Refusal(NamedTuple):
    """The answer no: nothing was sent. `stage` is the line of `decide` (DESIGN §2) that said it."""

    code: Code
    detail: str
    recovery: Recovery
    stage: str
    violations: tuple[Violation, ...] = ()
    statements: tuple[str, ...] = ()
    operation: Operation | None = None
    title: str | None = None  # when the code's own title does not fit (`MetricNotFound`)
    shadow: Shadow | None = None  # this refusal would have flipped
    read: Mapping[str, Json] | None = None  # the facts beyond the bundle that policies read, for the journal
    opens: Asking | None = None  # an approval is asked for: everything after it would pass now
    hold: Hold | None = None  # told only when waiting did not help

    @property
    def is_passing(self) -> bool:
        """Whether the same call may succeed later, unchanged: always with this code, or this once."""
        return self.code.retryable or self.recovery.action == "wait"


class Rolling(NamedTuple):
    """A window that moves: the sum of its last buckets, so that nothing is given back all at once."""

    bucket: int  # the number of the bucket an amount goes into: time // length of a bucket
    buckets: int = 60


@final
class Charge(NamedTuple):
    """A guard, not a snapshot: take `amount` of `key` while taken + amount ≤ given.

    A calendar window is part of the key; a rolling one sums buckets. Amounts are whole: calls, micro-units, bytes. What
    only the reply tells is held with at least 1, so that nothing goes through where nothing is left.
    """

    key: str
    amount: int
    given: int
    rolling: Rolling | None = None


@final
class Pace(NamedTuple):
    """A guard on a rate (GCRA): one call each `every_us`, and up to `burst` at once after a pause."""

    key: str
    every_us: int
    burst: int


@final
class Place(NamedTuple):
    """A guard on concurrency: one of `given` places, held until the call is finished, or its process is gone."""

    key: str
    given: int


Guard: TypeAlias = Charge | Pace | Place


class Short(NamedTuple):
    """A guard that did not hold: nothing was written and nothing taken."""

    guard: Guard
    left: int  # of what it guards, now; never below zero
    retry_after_s: float | None = None  # when it may hold again, where time alone brings that


class Overtaken(NamedTuple):
    """Another gate did something of which the decision knew nothing: nothing was written or taken; decide again."""

    run: str


class Levels(Protocol):
    """How much is taken now of what guards guard: the ledger's own projection, asked guard by guard, without I/O.

    What nobody has taken of is 0. `core.guards` says from these whether a guard holds, for `decide` and for ledgers.
    """

    def taken(self, charge: Charge) -> int:
        """Return what is taken of its key; of a rolling one the sum of the buckets up to its own."""
        ...

    def arrival_us(self, pace: Pace) -> int:
        """Return the theoretical arrival time of the next call (GCRA), in microseconds of the gate's clock."""
        ...

    def held(self, place: Place) -> int:
        """Return how many places of its key are held."""
        ...


class Known(NamedTuple):
    """Levels written down: what a case says, and what nobody has taken of yet."""

    balances: Mapping[str, int] = MappingProxyType({})
    arrivals_us: Mapping[str, int] = MappingProxyType({})
    places: Mapping[str, int] = MappingProxyType({})

    def taken(self, charge: Charge) -> int:
        return self.balances.get(charge.key, 0)

    def arrival_us(self, pace: Pace) -> int:
        return self.arrivals_us.get(pace.key, 0)

    def held(self, place: Place) -> int:
        return self.places.get(place.key, 0)


class Settlement(NamedTuple):
    """What a finished call gives back or takes more of, in one act with its `Finished`."""

    refunds: tuple[Charge, ...] = ()  # amounts that were held and not used
    extra: tuple[Charge, ...] = ()  # more than was held: taken from what is left, never below zero; the rest is overrun
    places: tuple[Place, ...] = ()  # given back
    costs: Mapping[str, int] = MappingProxyType({})  # the bill in micro-units, by the name of the cost: for the record


class Shadow(NamedTuple):
    """What audit would have changed: the decision of the statements in `@mode("audit")`, or of a gate in mode audit."""

    decision: Literal["permit", "refuse"]  # what it would have been, had it been enforced
    code: str | None  # of the refusal it would have been
    statements: tuple[str, ...]


class Permit(NamedTuple):
    """Proof that a call may be sent. Made only by `engine.decide`; the upstream client takes nothing else."""

    valid: ValidCall
    guards: tuple[Guard, ...] = ()
    statements: tuple[str, ...] = ()
    shadow: Shadow | None = None  # this permit would have flipped
    read: Mapping[str, Json] | None = None  # the facts beyond the bundle that policies read, for the journal
    step: Taking | None = None  # the step of the run's plan that this is
    approval: str | None = None  # the approval that it is sent by; one that is given for a call is used up by it
    asks: tuple[str, ...] = ()  # the statements that ask for a person; `approval` is their line of `decide`
    lasting: Lasting | None = None  # what follows from its guards, where that is known before the call


class Taking(NamedTuple):
    """A call as one attempt at a step of its run's plan."""

    plan: str
    step: str
    attempt: int
    outputs: Wanted | None = None  # what later steps read of its answer
    timeout_ms: int | None = None
    of_bytes: tuple[Charge, ...] = ()  # of its own budget, what the bytes of the call settle


Decision: TypeAlias = Permit | Refusal


class Reply(NamedTuple):
    """What the upstream answered. `body` is whole bytes, or a stream that must be read or closed."""

    status: int
    headers: tuple[Header, ...]
    body: bytes | AsyncIterator[bytes]


class Completed(NamedTuple):
    """The call was sent and the upstream answered; its own 4xx and 5xx are answers too."""

    reply: Reply
    source: Source = "upstream"
    operation: Operation | None = None  # whose upstream it was: a `Location` under it is rewritten
    standing: Standing | None = None  # what governs the call, and is told with the answer


class Refused(NamedTuple):
    refusal: Refusal
    standing: Standing | None = None  # what governs the call, and is told with the answer


class Failed(NamedTuple):
    """The call was permitted and did not complete; `sent` says whether the upstream may have acted."""

    code: Code
    detail: str
    recovery: Recovery
    sent: Sent
    operation: Operation | None = None
    violations: tuple[Violation, ...] = ()
    standing: Standing | None = None  # what governs the call, and is told with the answer


Outcome: TypeAlias = Completed | Refused | Failed


class Resource(NamedTuple):
    """What a call is about: a resource of a catalogue, or the tool itself where nothing else is named."""

    type: str  # `Metric`; `Tool` for the tool itself
    id: str
    attributes: Mapping[str, Json] = MappingProxyType({})


# The keys that ask the ledger for `Facts.run` and `Facts.loops`: of a principal's implicit run, or of a run by its id.
RUN_KEY: Final = "run:"
OPENED_RUN_KEY: Final = "opened:"
PLAN_KEY: Final = "plan:"  # asks for `Facts.plan` by its id or digest, whatever run it is locked in


class RunFacts(NamedTuple):
    """What the run has done so far, before this call (DESIGN §7, `context.run`).

    INVARIANT: `id` is the run that `next_in_run` gives this call, also when the call begins it.
    """

    id: str = ""
    calls: int = 0  # decided, permitted or not
    refusals: int = 0
    age_s: int = 0
    completed: frozenset[str] = frozenset()  # keys of operations the upstream completed (below status 400)
    by_operation: Mapping[str, int] = MappingProxyType({})  # permitted calls by operation key
    started_ms: int | None = None  # of its first call or its opening; None: this call begins it
    stopped: str | None = None  # why no call of it is taken: it, or a run above it, was stopped or finished
    spent: Mapping[str, int] = MappingProxyType(
        {}
    )  # by dimension; told by `core.authorization` to statements that read it


class LoopFacts(NamedTuple):
    """How a run goes round in circles: the refusal it was given last, and how often in a row."""

    refusal: str = ""  # its signature (`core.loop`)
    repeats: int = 0
    at_ms: int = 0  # when it was last counted


class Freeze(NamedTuple):
    """Somebody threw the kill switch."""

    who: str
    why: str
    at_ms: int


EVERYTHING: Final = "everything"  # as a key of `Facts.freezes`; the others are `principal:ID`, `run:ID` and `tool:NAME`


@dataclass(frozen=True, slots=True)
class ResourceCatalogue:
    """The resources of one type that exist in this environment, with their attributes."""

    type: str
    attributes: Mapping[str, Mapping[str, Json]]  # by id
    fresh_at_ms: int | None = None  # when a live one was last read; None: it comes from a file of the bundle

    def __contains__(self, resource_id: object) -> bool:
        return resource_id in self.attributes


class Situation(NamedTuple):
    """What is known now of the environment beyond the bundle. One immutable value, replaced when something changes."""

    catalogues: Mapping[str, Mapping[str, ResourceCatalogue]] = MappingProxyType({})  # live ones: tool → type
    unready: Mapping[str, str] = MappingProxyType({})  # tool → one sentence why its calls must wait


NOTHING_KNOWN: Final = Situation()


class Facts(NamedTuple):
    """State a decision was told. Each issue adds the facts its line of `decide` reads."""

    levels: Levels = Known()
    run: RunFacts = RunFacts()
    situation: Situation = NOTHING_KNOWN
    freezes: Mapping[str, Freeze] = MappingProxyType({})  # all of them, by `everything` or `kind:name`
    loops: LoopFacts = LoopFacts()
    reserved: Mapping[str, int] = MappingProxyType({})  # of what is taken: what calls under way hold and may give back
    plan: PlanFacts | None = None  # the one that is locked in the run
    approvals: Approvals | None = None  # None: nothing was ever asked


class Event(NamedTuple):
    """One journal event: what happened, as plain JSON. The writer adds `v`, `writer`, `seq` and the chain."""

    kind: str  # Decided · Finished · BundleLoaded · RunStarted · JournalPruned …
    at_ms: int
    data: Mapping[str, Json]
    call: str | None = None
    run: str | None = None
    effectful: bool = False  # a write or destructive permit: `journal.sync: effects` flushes its batch to disk
