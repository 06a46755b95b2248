"""Statements checked by Cedar, strictly: nothing they read may be missing or of another kind when they are evaluated.

RULE: operations that look alike to a statement are checked once. A statement is checked against what it reads of them
and nothing else, so a load costs what its statements are, however large the catalog is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson
from cedarpy import Schema, validate_policies

from toolgate.core.actions import ACTION, groups
from toolgate.core.conversion import wanted
from toolgate.core.kinds import Fields
from toolgate.core.policy import Statement
from toolgate.core.reads import Reads
from toolgate.load.cedar import schema
from toolgate.load.cedar.lexer import Source, tokens
from toolgate.load.cedar.tree import Named, named_in
from toolgate.load.cedar.vocabulary import Known, Vocabulary

NO_ARGUMENTS: Final = Fields({})
_TOGETHER: Final = 500  # statements given to Cedar at once


class Parsed(NamedTuple):
    """A statement that parses, what it reads, and what it names."""

    source: Source
    statement: Statement
    reads: Reads
    named: Named

    @property
    def actions_asked(self) -> frozenset[str]:
        """The actions and groups that conditions name."""
        if "action" not in self.reads.identities:
            return frozenset()
        return frozenset(
            each.id for each in named_in(self.statement.template.clauses).entities if str(each.type) == ACTION
        )


class Alike(NamedTuple):
    """Operations that a statement cannot tell apart: one stands for all of them."""

    name: str  # of the action that stands for them
    members: tuple[Known, ...]
    context: schema.Type  # what the statement reads of theirs


class Fault(NamedTuple):
    """What Cedar says of one statement."""

    parsed: Parsed
    said: str
    alike: tuple[Alike, ...]


@dataclass(slots=True)
class _Batch:
    """Statements that are checked against one schema."""

    texts: list[str] = field(default_factory=list)
    of: list[tuple[Parsed, tuple[Alike, ...]]] = field(default_factory=list)


def faults(several: Sequence[Parsed], known: Vocabulary) -> Iterator[Fault]:
    """Check every statement for the operations it reaches in this environment; yield what is wrong."""
    batches: dict[bytes, _Batch] = {}
    for parsed in several:
        alike = alike_of(parsed, known)
        if alike:
            batch = batches.setdefault(_schema(parsed, alike, known), _Batch())
            batch.texts.append(without_action_scope(parsed.source.text))
            batch.of.append((parsed, alike))
    for encoded, batch in batches.items():
        yield from _faults(Schema.from_json_str(encoded.decode()), batch)


def alike_of(parsed: Parsed, known: Vocabulary) -> tuple[Alike, ...]:
    """Sort the operations a statement reaches by what it can tell apart."""
    named, reads = parsed.actions_asked, parsed.reads
    is_of_arguments = reads.touches("context", "args") or reads.touches("context", "derived")
    context = schema.context_of(NO_ARGUMENTS, reads)
    found: dict[object, tuple[schema.Type, list[Known]]] = {}
    for each in known.reached(parsed.statement.template.action):
        seen = b""
        if is_of_arguments:
            context = schema.context_of(each.kind, reads)
            seen = orjson.dumps(context)
        in_named = named.intersection((each.key, *groups(each.operation))) if named else named
        found.setdefault((seen, each.types, in_named), (context, []))[1].append(each)
    return tuple(
        Alike(members[0].key if named else f"a{at}", tuple(members), context)
        for at, (context, members) in enumerate(found.values())
    )


def without_action_scope(text: str) -> str:
    """Cut a statement's annotations and what its scope says of the action.

    It is checked against the operations that its scope holds and no others, so the scope says nothing more.
    """
    effect, start, depth, previous = 0, -1, 0, ""
    for token in tokens(text):
        if depth == 0 and token.text in {"permit", "forbid"} and previous != "@":
            effect = token.start
        elif token.text in {"(", "["}:
            depth += 1
        elif token.text in {")", "]"}:
            depth -= 1
        elif depth == 1 and token.text == "action" and text[effect : effect + 6] in {"permit", "forbid"}:
            start = token.end
        if start >= 0 and ((depth == 1 and token.text == ",") or depth == 0):
            return text[effect:start] + text[token.start :]
        previous = token.text
    return text


def _schema(parsed: Parsed, alike: tuple[Alike, ...], known: Vocabulary) -> bytes:
    """Return the schema of what a statement reads, as bytes: equal ones are parsed once."""
    of_resource = parsed.reads.under("resource")
    want = wanted(of_resource.values, of_resource.presence)
    mentioned = {str(each.type) for each in parsed.named.entities} | {str(each) for each in parsed.named.types}
    types = {kind for each in alike for kind in each.members[0].types} | (mentioned & known.types)
    actions = {each.name: _action(each) for each in alike}
    parents = {each["id"] for of_action in actions.values() for each in of_action["memberOf"]}
    attributes = {kind: schema.type_of(known.shape(kind), want) for kind in sorted(types)}
    return orjson.dumps(
        schema.whole(attributes, actions, sorted((parents | parsed.actions_asked) - actions.keys())),
        option=orjson.OPT_SORT_KEYS,
    )


def _action(alike: Alike) -> schema.Type:
    first = alike.members[0]
    # An action that stands under a made-up name is asked for no group: the scope that could has been cut.
    parents = groups(first.operation) if alike.name == first.key else ()
    return schema.action(parents, first.types, alike.context)


def _faults(compiled: Schema, batch: _Batch) -> Iterator[Fault]:
    for start in range(0, len(batch.texts), _TOGETHER):
        of = batch.of[start : start + _TOGETHER]
        for error in validate_policies("\n".join(batch.texts[start : start + _TOGETHER]), compiled).errors:
            at = error.policy_id.removeprefix("policy")
            parsed, alike = of[int(at) if at.isdecimal() else 0]
            yield Fault(parsed, error.error.removeprefix(f"for policy `{error.policy_id}`, "), alike)
