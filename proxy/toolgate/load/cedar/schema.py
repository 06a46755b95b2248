"""Cedar's own schema, made from the catalog: what statements are checked against, and what editors read.

RULE: made from the same kinds that convert a call's values. For one statement, only what it reads is in it: checking
costs what the statement is, not what the catalog is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias, assert_never

from toolgate.core.actions import PRINCIPAL, ROLE
from toolgate.core.amounts import COUNTED
from toolgate.core.conversion import Wanted, wanted
from toolgate.core.derived import kind_of_count, kind_of_every
from toolgate.core.kinds import Field, Fields, Kind, Many, Scalar, Variants
from toolgate.core.reads import Reads

Type: TypeAlias = dict[str, Any]  # a type of the schema's JSON form

TEXT: Final[Type] = {"type": "String"}
WHOLE: Final[Type] = {"type": "Long"}
TEXTS: Final[Type] = {"type": "Set", "element": TEXT}
TIME: Final[Type] = {"type": "Extension", "name": "datetime"}
_SCALARS: Final[Mapping[Scalar, Type]] = {
    "text": TEXT,
    "long": WHOLE,
    "flag": {"type": "Boolean"},
    "decimal": {"type": "Extension", "name": "decimal"},
    "opaque": {"type": "Record", "attributes": {}},  # nothing can be asked of it but whether it is there
}
_EVERYTHING: Final = Wanted(whole=True)
CONTEXT: Final = ("environment", "args", "nulls", "derived", "run", "now", "on_behalf_of")
RUN: Final = ("calls", "refusals", "age_s", "completed", "by_operation", "spent")


def type_of(kind: Kind, want: Wanted = _EVERYTHING) -> Type:
    """Return the type of what is wanted of a kind."""
    match kind:
        case Fields(members):
            return record({name: each for name, each in members.items() if want.whole or name in want.below}, want)
        case Variants(by):
            asked = {name: each for name, each in by.items() if want.whole or name in want.below}
            return record({name: Field(each, required=False) for name, each in asked.items()}, want)
        case Many(of):
            return {"type": "Set", "element": type_of(of)}
        case "text" | "long" | "flag" | "decimal" | "opaque":
            return _SCALARS[kind]
        case _:
            assert_never(kind)


def record(members: Mapping[str, Field], want: Wanted = _EVERYTHING) -> Type:
    below = {
        name: {**type_of(each.kind, _EVERYTHING if want.whole else want.below[name]), "required": each.required}
        for name, each in members.items()
    }
    return {"type": "Record", "attributes": below}


def context_of(kind: Kind, reads: Reads) -> Type:
    """Return the type of what a statement reads of the context of an operation whose arguments are of a kind."""
    args = reads.under("context", "args")
    counts = {text: kind_of_count(kind, text) for text in sorted(reads.named("context", "derived", "count"))}
    everies = {text: kind_of_every(kind, text) for text in sorted(reads.named("context", "derived", "every"))}
    return context(
        type_of(kind, wanted(args.values, args.presence)),
        record({text: each for text, each in counts.items() if each is not None}),
        record({text: each for text, each in everies.items() if each is not None}),
        run(reads.named("context", "run", "by_operation"), reads.named("context", "run", "spent")),
    )


def context(args: Type, counts: Type, everies: Type, of_run: Type) -> Type:
    derived = {"type": "Record", "attributes": {"count": counts, "every": everies}}
    return {
        "type": "Record",
        "attributes": {
            "environment": TEXT,
            "args": args,
            "nulls": TEXTS,
            "derived": derived,
            "run": of_run,
            "now": TIME,
            "on_behalf_of": {**TEXT, "required": False},
        },
    }


def run(operations: Iterable[str], dimensions: Iterable[str]) -> Type:
    by_operation = {"type": "Record", "attributes": dict.fromkeys(sorted(operations), WHOLE)}
    amounts = {name: WHOLE if name in COUNTED else _SCALARS["decimal"] for name in sorted(dimensions)}
    numbers = dict.fromkeys(("calls", "refusals", "age_s"), WHOLE)
    told = {"completed": TEXTS, "by_operation": by_operation, "spent": {"type": "Record", "attributes": amounts}}
    return {"type": "Record", "attributes": {**numbers, **told}}


def action(parents: Iterable[str], types: Iterable[str], of_context: Type) -> Type:
    return {
        "memberOf": [{"id": name} for name in parents],
        "appliesTo": {"principalTypes": [PRINCIPAL], "resourceTypes": list(types), "context": of_context},
    }


def entities(attributes: Mapping[str, Type]) -> Type:
    """Return the entity types: who calls, and each type of resource with the type of its attributes."""
    resources: Type = {name: {"shape": shape} for name, shape in attributes.items()}
    return {PRINCIPAL: {"memberOfTypes": [ROLE], "tags": TEXT}, ROLE: {}, **resources}


def whole(attributes: Mapping[str, Type], actions: Mapping[str, Type], groups: Iterable[str]) -> Type:
    """Return a schema in its JSON form; groups are actions that nobody can call."""
    return {"": {"entityTypes": entities(attributes), "actions": {**{name: {} for name in groups}, **actions}}}
