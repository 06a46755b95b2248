"""The values of a call, in the order they come to be (DESIGN §2).

Each is immutable and the only input of the next: Call → ValidCall → Permit | Refusal → Reply → Outcome.
Whoever holds a value holds the proof that everything before it was done. What every call makes is a NamedTuple: as
immutable as a frozen dataclass, and a third of its cost to make.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from toolgate.core.catalog import Operation
    from toolgate.core.codes import Code

# A decoded JSON value. Validation gives it its shape; mypy cannot.
Json: TypeAlias = Any
Effect: TypeAlias = Literal["read", "write", "destructive"]
Sent: TypeAlias = Literal["no", "unknown", "yes"]
Source: TypeAlias = Literal["upstream", "gate"]
Header: TypeAlias = tuple[str, str]
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


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


class Call(NamedTuple):
    """One attempt to use a tool. Made only by a listener: the caller is authenticated, the wire was well formed."""

    id: str
    at_ms: int
    principal: Principal
    asked: Asked
    reason: str | None = None  # what the agent said it calls this for (`Toolgate-Reason`)


class Violation(NamedTuple):
    """One thing wrong with an argument. `path` is a JSON Pointer into the arguments object."""

    path: str
    keyword: str
    message: str
    expected: Json = None
    suggestion: str | None = None


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


class Recovery(NamedTuple):
    """The way forward: what kind of step, one imperative sentence a model can act on, and where to."""

    action: str
    hint: str
    alternatives: tuple[str, ...] = ()
    retry_after_s: float | None = None
    waiting_on: tuple[str, ...] = ()
    approval: str | None = None


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


@dataclass(frozen=True, slots=True)
class Charge:
    """A guard, not a snapshot: take `amount` of `key` while taken + amount ≤ given."""

    key: str
    amount: int
    given: int


class Shadow(NamedTuple):
    """What audit would have changed: the decision of the statements in `@mode("audit")`, or of a gate in mode audit."""

    decision: Literal["permit", "refuse"]  # what it would have been, had it been enforced
    code: str | None  # of the refusal it would have been
    statements: tuple[str, ...]


class Permit(NamedTuple):
    """Proof that a call may be sent. Made only by `engine.decide`; the upstream client takes nothing else."""

    valid: ValidCall
    charges: tuple[Charge, ...] = ()
    statements: tuple[str, ...] = ()
    shadow: Shadow | None = None  # this permit would have flipped
    read: Mapping[str, Json] | None = None  # the facts beyond the bundle that policies read, for the journal


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


class Refused(NamedTuple):
    refusal: Refusal


class Failed(NamedTuple):
    """The call was permitted and did not complete; `sent` says whether the upstream may have acted."""

    code: Code
    detail: str
    recovery: Recovery
    sent: Sent
    operation: Operation | None = None
    violations: tuple[Violation, ...] = ()


Outcome: TypeAlias = Completed | Refused | Failed


class Resource(NamedTuple):
    """What a call is about: a resource of a catalogue, or the tool itself where nothing else is named."""

    type: str  # `Metric`; `Tool` for the tool itself
    id: str
    attributes: Mapping[str, Json] = MappingProxyType({})


RUN_KEY: Final = "run:"  # with a principal's id behind it: the key that asks the ledger for `Facts.run`


class RunFacts(NamedTuple):
    """What the run has done so far, before this call (DESIGN §7, `context.run`)."""

    id: str = ""
    calls: int = 0  # decided, permitted or not
    refusals: int = 0
    age_s: int = 0
    completed: frozenset[str] = frozenset()  # keys of operations the upstream completed (below status 400)
    by_operation: Mapping[str, int] = MappingProxyType({})  # permitted calls by operation key


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

    balances: Mapping[str, int] = MappingProxyType({})
    run: RunFacts = RunFacts()
    situation: Situation = NOTHING_KNOWN


class Event(NamedTuple):
    """One journal event: what happened, as plain JSON. The writer adds `v`, `writer`, `seq` and the chain."""

    kind: str  # Decided · Finished · BundleLoaded · RunStarted · JournalPruned …
    at_ms: int
    data: Mapping[str, Json]
    call: str | None = None
    run: str | None = None
    effectful: bool = False  # a write or destructive permit: `journal.sync: effects` flushes its batch to disk
