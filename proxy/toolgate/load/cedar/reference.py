"""The whole schema of an environment, for editors and for whoever writes policies.

RULE: it holds what statements may read and nothing else, made from the same kinds they are checked against; Cedar reads
what is printed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from toolgate.core.actions import EFFECTS, TOOL, groups, quoted
from toolgate.core.bundle import Bundle
from toolgate.core.derived import kind_of_count, kind_of_every
from toolgate.core.expressions import EVERY
from toolgate.core.kinds import Fields, Kind, Many, Variants
from toolgate.core.wiretext import pointer
from toolgate.load.cedar import schema
from toolgate.load.cedar.schema import Type
from toolgate.load.cedar.vocabulary import Known, Vocabulary, vocabulary
from toolgate.load.cedar.words import is_name
from toolgate.load.policies import Standing

_RUN: Final = "Run"
_INDENT: Final = "  "


def schema_of(bundle: Bundle, actions: Iterable[str] = (), spent: frozenset[str] = frozenset()) -> Type:
    """Return the schema's JSON form: of every operation allowed in the bundle's environment, or of those named.

    `spent`: the dimensions of which budgets count what a run has spent.

    Raises LookupError with the key of an operation that is not there.
    """
    operations = tuple(bundle.catalog.operations.values())
    known = vocabulary(
        Standing(bundle.environment, bundle.environments, operations, bundle.catalog.elsewhere, bundle.shapes)
    )
    shown = [_known(known, key) for key in actions] or list(known.allowed)
    made = {each.key: schema.action(groups(each.operation), each.types, _context(each)) for each in shown}
    parents = dict.fromkeys((*EFFECTS, *(each.operation.tool for each in shown)))
    types = {TOOL: Fields({}), **known.attributes}
    types |= {kind: known.shape(kind) for each in shown for kind in each.types}
    whole = schema.whole({name: schema.type_of(types[name]) for name in sorted(types)}, made, parents)
    whole[""]["commonTypes"] = {_RUN: schema.run((each.key for each in known.allowed), spent)}
    return whole


def as_text(whole: Type, notes: dict[str, str]) -> str:
    """Write a schema as Cedar does; `notes` are a comment for each action that has one."""
    space = whole[""]
    blocks = [f"type {name} = {_written(each)};" for name, each in space["commonTypes"].items()]
    blocks += [_entity(name, each) for name, each in space["entityTypes"].items()]
    named = [name for name, each in space["actions"].items() if not each]
    blocks.append(f"action {', '.join(map(quoted, named))};")
    for name, each in space["actions"].items():
        if each:
            comment = f"// {notes[name]}\n" if name in notes else ""
            blocks.append(comment + _action(name, each))
    return "\n\n".join(blocks) + "\n"


def notes_of(bundle: Bundle) -> dict[str, str]:
    """Return what is said beside each action: the request it stands for."""
    return {key: f"{each.method} {each.path}" for key, each in bundle.catalog.operations.items()}


def _known(known: Vocabulary, key: str) -> Known:
    found = known.here.get(key)
    if found is None:
        raise LookupError(key)
    return found


def _context(known: Known) -> Type:
    kind = known.kind
    counts = {text: kind_of_count(kind, text) for text in _lists(kind, "")}
    everies = {text: kind_of_every(kind, text) for text in _values(kind, "")}
    return schema.context(
        schema.type_of(kind),
        schema.record({text: each for text, each in counts.items() if each is not None}),
        schema.record({text: each for text, each in everies.items() if each is not None}),
        {"type": _RUN},
    )


def _lists(kind: Kind, at: str) -> Iterator[str]:
    """Yield a pointer to each list that is in no other."""
    match kind:
        case Many():
            yield at
        case Fields(members):
            for name, member in members.items():
                yield from _lists(member.kind, pointer(at, name))
        case Variants(by):
            yield from (place for each in by.values() for place in _lists(each, at))
        case _:
            pass


def _values(kind: Kind, at: str) -> Iterator[str]:
    """Yield a pointer to each plain value below a list."""
    match kind:
        case Many(of):
            yield from _values(of, pointer(at, EVERY))
        case Fields(members):
            for name, member in members.items():
                yield from _values(member.kind, pointer(at, name))
        case Variants(by):
            yield from (place for each in by.values() for place in _values(each, at))
        case _ if kind != "opaque" and EVERY in at.split("/"):
            yield at
        case _:
            pass


# -- writing ------------------------------------------------------------------------------------------------------


def _entity(name: str, of: Type) -> str:
    parents = f" in [{', '.join(of['memberOfTypes'])}]" if "memberOfTypes" in of else ""
    shape = of.get("shape", {}).get("attributes")
    attributes = f" = {_written(of['shape'])}" if shape else ""
    tags = f" tags {_written(of['tags'])}" if "tags" in of else ""
    return f"entity {name}{parents}{attributes}{tags};"


def _action(name: str, of: Type) -> str:
    parents = ", ".join(quoted(each["id"]) for each in of["memberOf"])
    applies = of["appliesTo"]
    lines = [
        f"action {quoted(name)} in [{parents}] appliesTo {{",
        f"{_INDENT}principal: [{', '.join(applies['principalTypes'])}],",
        f"{_INDENT}resource: [{', '.join(applies['resourceTypes'])}],",
        f"{_INDENT}context: {_written(applies['context'], 1)},",
        "};",
    ]
    return "\n".join(lines)


def _written(of: Type, depth: int = 0) -> str:
    match of:
        case {"type": "Record", "attributes": attributes}:
            return _record(attributes, depth)
        case {"type": "Set", "element": element}:
            return f"Set<{_written(element, depth)}>"
        case {"type": "Extension", "name": str(name)}:
            return name
        case {"type": "Boolean"}:
            return "Bool"
        case _:
            return str(of["type"])


def _record(attributes: Type, depth: int) -> str:
    if not attributes:
        return "{}"
    inner = _INDENT * (depth + 1)
    lines = [
        f"{inner}{name if is_name(name) else quoted(name)}{'' if of.get('required', True) else '?'}: "
        f"{_written(of, depth + 1)},"
        for name, of in attributes.items()
    ]
    return "\n".join(["{", *lines, f"{_INDENT * depth}}}"])
