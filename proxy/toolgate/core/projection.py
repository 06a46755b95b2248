"""What a set of statements is told of a call: only what they read, as Cedar holds it (CEDAR.md §2, §5).

RULE: compiled once for an operation and its statements. Equal marks mean that Cedar would be told the same, so the mark
of a question is the key under which a ruling may be remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

import orjson

from toolgate.core import derived
from toolgate.core.actions import ACTION, PRINCIPAL, ROLE, TOOL, groups
from toolgate.core.amounts import COUNTED, MICRO
from toolgate.core.catalog import Operation
from toolgate.core.conversion import Tell, Untold, teller, wanted
from toolgate.core.kinds import Fields, Kind
from toolgate.core.marks import Mark, mark_by_telling, mark_of, mark_of_run, together
from toolgate.core.model import Json, Principal, Resource, RunFacts, new
from toolgate.core.policy import Question
from toolgate.core.reads import Reads
from toolgate.core.recent import Recent
from toolgate.core.strictjson import compact

MOST_CONTEXT: Final = 32 << 10  # bytes: Cedar reads about 300 kB of context in 0.1 s, and nothing else runs meanwhile
MOST_ID: Final = 4096  # characters of a resource's id
ANYONE: Final = "*"  # stands for an id that no statement reads
_CEDAR_PLACE: Final = 100  # micro-units in the last of the four places a decimal of Cedar has
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY: Final = b"{}"
_NO_ATTRIBUTES: Final = Fields({})
_ENVIRONMENT: Final = attrgetter("environment")
_ON_BEHALF_OF: Final = attrgetter("principal.on_behalf_of")

_UNWRITABLE: Final = (TypeError, OverflowError, RecursionError)  # text that is no Unicode, a time beyond the calendar
_NOT_FOR_CEDAR: Final = "cannot be written for Cedar"

RunMember: TypeAlias = tuple[str, Callable[[RunFacts], Json]]
TellMember: TypeAlias = Callable[[Question], Json]
Marks: TypeAlias = tuple[Hashable, ...]
Member: TypeAlias = tuple[str, TellMember, Mark]  # of the context; None where it is not there, and its mark


class Told(NamedTuple):
    """Everything Cedar is told of a question; equal means that the ruling is the same."""

    principal: str
    roles: tuple[str, ...]
    tags: tuple[str | None, ...]
    type: str  # of the resource
    resource: str
    attributes: bytes  # as Cedar reads them
    context: bytes


# What is told of attributes, by who tells and by identity: kept with those very attributes, so that their id stays theirs.
Attributes: TypeAlias = Recent[tuple["Projection", str, int], tuple[Mapping[str, Json], bytes]]


class Projection:
    """How a question about one operation is told to statements that read no more than `reads`."""

    __slots__ = (
        "_attributes", "_context", "_fixed", "_mark_context", "_names_principal", "_names_resource", "_of_resource", "_shapes",
        "_tags", "_tellers", "action", "tells_time",
    )  # fmt: skip

    def __init__(
        self,
        reads: Reads,
        operation: Operation,
        kind: Callable[[], Kind],
        shapes: Mapping[str, Fields],
        attributes: Attributes,
    ) -> None:
        self._attributes = attributes
        self._shapes = shapes
        self._names_principal = "principal" in reads.identities
        self._names_resource = "resource" in reads.identities
        self._tags = tuple(sorted(reads.tags))
        of_resource = reads.under("resource")
        self._of_resource = of_resource if of_resource.values or of_resource.presence else None
        self._tellers: dict[str, Tell] = {}  # by type, compiled when one first comes
        self._context = tuple(_members(reads.under("context"), kind))
        is_fixed = all(name == "environment" for name, *_ in self._context)
        self._fixed: dict[str, bytes] | None = {} if is_fixed else None  # by environment: a bundle has one
        self._mark_context = _ENVIRONMENT if is_fixed else together([mark for *_, mark in self._context])
        self.action = operation if "action" in reads.identities else None
        self.tells_time = reads.touches("context", "now")

    @property
    def is_fixed(self) -> bool:
        """Whether nothing is told of a call but who calls and what it is about."""
        return self._fixed is not None

    def mark(self, question: Question) -> Marks:
        """Return what tells this question from others. Raise Untold as `tell` does, where it is found out here."""
        return self._asked(question, self._mark_context)

    def tell(self, question: Question) -> Told:
        """Raise Untold when something that is read cannot be held by Cedar exactly."""
        return new(Told, self._asked(question, self._told_context))

    def tell_marked(self, question: Question, marks: Marks) -> Told:
        """The same of a question of these marks: but for the context, they are what is told."""
        try:
            return new(Told, (*marks[:-1], self._told_context(question)))
        except _UNWRITABLE:
            raise Untold(_NOT_FOR_CEDAR) from None

    def _asked(self, question: Question, context: Callable[[Question], Hashable]) -> Marks:
        """Who asks about what, as it is told, and the context as the caller wants it."""
        principal, resource = question.principal, question.resource
        try:
            return (
                principal.id if self._names_principal else ANYONE,
                principal.roles,
                self._claimed(principal) if self._tags else (),
                resource.type,
                _named(resource) if self._names_resource else ANYONE,
                b"" if self._of_resource is None else self._told_attributes(resource, self._of_resource),
                context(question),
            )
        except _UNWRITABLE:
            raise Untold(_NOT_FOR_CEDAR) from None

    def entities(self, told: Told) -> Json:
        """Return what Cedar must know beside the request: who is in which role, the tags and attributes that are read."""
        tags = {tag: text for tag, text in zip(self._tags, told.tags, strict=True) if text is not None}
        roles = [{"type": ROLE, "id": role} for role in told.roles]
        known: list[Json] = [{"uid": principal_uid(told), "attrs": {}, "parents": roles, "tags": tags}]
        if told.attributes:
            attributes = orjson.Fragment(told.attributes)
            known.append({"uid": resource_uid(told), "attrs": attributes, "parents": []})
        if self.action is not None:
            parents = [{"type": ACTION, "id": group} for group in groups(self.action)]
            known.append({"uid": self._action_uid(), "attrs": {}, "parents": parents})
        return known

    def request(self, told: Told) -> dict[str, Json]:
        request: dict[str, Json] = {
            "principal": principal_uid(told),
            "action": self._action_uid(),
            "resource": resource_uid(told),
        }
        if told.context != _EMPTY:  # the same to Cedar, for a sixth less
            request["context"] = told.context.decode()
        return request

    def _action_uid(self) -> dict[str, str]:
        # The statements of a slice match by their place in it: what the action is called matters only to a condition.
        return {"type": ACTION, "id": ANYONE if self.action is None else self.action.key}

    def _claimed(self, principal: Principal) -> tuple[str | None, ...]:
        told, claims = [], principal.claims
        for tag in self._tags:
            claim = claims.get(tag)
            if type(claim) is not str and claim is not None:  # SECURITY: it could be one of Cedar's escapes
                raise Untold("is not a text", tag).of("principal")
            told.append(claim)
        return tuple(told)

    def _told_attributes(self, resource: Resource, read: Reads) -> bytes:
        given = resource.attributes
        key = self, resource.type, id(given)
        known = self._attributes.get(key)
        if known is None:
            known = self._attributes.keep(key, (given, self._written_attributes(resource, read)))
        return known[1]

    def _written_attributes(self, resource: Resource, read: Reads) -> bytes:
        tell = self._tellers.get(resource.type) or self._teller(resource.type, read)
        try:
            return compact(_bounded(orjson.dumps(tell(resource.attributes))))
        except Untold as untold:
            raise untold.of("resource") from None

    def _teller(self, kind: str, read: Reads) -> Tell:
        tell = teller(self._shapes.get(kind, _NO_ATTRIBUTES), wanted(read.values, read.presence))
        if kind in self._shapes or kind == TOOL:  # the types of a toolspec, so they are few
            self._tellers[kind] = tell
        return tell

    def _told_context(self, question: Question) -> bytes:
        if self._fixed is None:
            return self._written(question)
        return self._fixed.get(question.environment) or self._fixed.setdefault(
            question.environment, self._written(question)
        )

    def _written(self, question: Question) -> bytes:
        context = {}
        for name, tell, _ in self._context:
            told = tell(question)
            if told is not None:
                context[name] = told
        return _bounded(orjson.dumps(context))


def principal_uid(told: Told) -> dict[str, str]:
    return {"type": PRINCIPAL, "id": told.principal}


def resource_uid(told: Told) -> dict[str, str]:
    return {"type": told.type, "id": told.resource}


def _named(resource: Resource) -> str:
    if len(resource.id) > MOST_ID:
        raise Untold(f"has an id longer than the {MOST_ID} characters statements can be told").of("resource")
    return resource.id


def _bounded(written: bytes) -> bytes:
    if len(written) > MOST_CONTEXT:
        raise Untold(f"is more than the {MOST_CONTEXT >> 10} KiB statements can be told")
    return written


def _members(reads: Reads, kind: Callable[[], Kind]) -> Iterator[Member]:
    """Compile the members of the context that are read, in one order."""
    if reads.touches("environment"):
        yield "environment", _ENVIRONMENT, _ENVIRONMENT
    if reads.touches("args"):
        yield _args(reads.under("args"), kind())
    if reads.touches("nulls"):
        tell = _nulls(reads.under("nulls"))
        yield "nulls", tell, mark_by_telling(tell)
    if reads.touches("derived"):
        tell = _derived(reads.under("derived"), kind())
        yield "derived", tell, mark_by_telling(tell)
    if reads.touches("run"):
        yield _run(reads.under("run"))
    if reads.touches("now"):
        yield "now", lambda question: _datetime(question.now_ms), attrgetter("now_ms")
    if reads.touches("on_behalf_of"):
        yield "on_behalf_of", _ON_BEHALF_OF, _ON_BEHALF_OF


def _args(reads: Reads, kind: Kind) -> Member:
    want = wanted(reads.values, reads.presence)
    tell = teller(kind, want)
    mark = mark_of(kind, want) or mark_by_telling(tell)
    return "args", lambda question: tell(question.arguments), lambda question: mark(question.arguments)


def _nulls(reads: Reads) -> TellMember:
    derive = derived.all_nulls if () in reads.values else derived.nulls(reads.named())
    return lambda question: derive(question.arguments)


def _derived(reads: Reads, kind: Kind) -> TellMember:
    counts = tuple((text, derived.count(kind, text)) for text in sorted(reads.named("count")))
    everies = tuple((text, derived.every(kind, text)) for text in sorted(reads.named("every")))

    def tell(question: Question) -> Json:
        return {"count": _there(counts, question.arguments), "every": _there(everies, question.arguments)}

    return tell


def _there(derives: Iterable[tuple[str, derived.Derive]], arguments: Json) -> dict[str, Json]:
    told = ((text, derive(arguments)) for text, derive in derives)
    return {text: each for text, each in told if each is not None}


def run_journal(reads: Reads) -> Callable[[RunFacts], Json] | None:
    """Compile what a journal line holds of a run, given what is read of it: what it has spent stands there by its keys."""
    members = tuple(_run_members(reads))
    return _telling(members) if members else None


def _run(reads: Reads) -> Member:
    """Compile what Cedar is told of a run, given what is read of it."""
    dimensions = tuple(sorted(reads.named("spent")))
    spent = [("spent", _spent(dimensions))] if dimensions else []
    tell = _telling((*_run_members(reads), *spent))
    return (
        "run",
        lambda question: tell(question.run),
        mark_of_run(reads) or mark_by_telling(lambda each: tell(each.run)),
    )


def _run_members(reads: Reads) -> Iterator[RunMember]:
    for name in ("calls", "refusals", "age_s"):
        if reads.touches(name):
            yield name, attrgetter(name)
    if reads.touches("completed"):
        yield "completed", _completed(reads.under("completed"))
    if reads.touches("by_operation"):
        yield "by_operation", _counts(tuple(sorted(reads.named("by_operation"))))


def _telling(members: tuple[RunMember, ...]) -> Callable[[RunFacts], Json]:
    def tell(run: RunFacts) -> Json:
        found = {}
        for name, member in members:
            found[name] = member(run)
        return found

    return tell


def _completed(reads: Reads) -> Callable[[RunFacts], Json]:
    if () in reads.values:
        return lambda run: sorted(run.completed)
    asked = tuple(sorted(reads.named()))
    return lambda run: [key for key in asked if key in run.completed]


def _counts(operations: tuple[str, ...]) -> Callable[[RunFacts], Json]:
    def tell(run: RunFacts) -> Json:
        told, counts = {}, run.by_operation
        for key in operations:
            told[key] = counts.get(key, 0)
        return told

    return tell


def _spent(dimensions: tuple[str, ...]) -> Callable[[RunFacts], Json]:
    return lambda run: {each: _amount(each, run.spent.get(each, 0)) for each in dimensions}


def _amount(dimension: str, amount: int) -> Json:
    """A count as it is; money with four places, as Cedar has them, rounded up: never less than was spent."""
    if dimension in COUNTED:
        return amount
    whole, part = divmod(-(-amount // _CEDAR_PLACE), MICRO // _CEDAR_PLACE)
    return {"__extn": {"fn": "decimal", "arg": f"{whole}.{part:04}"}}


def _datetime(at_ms: int) -> Json:
    written = (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"__extn": {"fn": "datetime", "arg": written}}
