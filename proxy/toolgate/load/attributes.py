"""The attributes of a type of resource, over every tool that catalogues it.

RULE: a policy reads `resource.tier` of a type, whichever tool lists it: two tools may not mean different things by it,
and what only one of them has may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from toolgate.core.bundle import Problem
from toolgate.core.kinds import Field, Fields, Kind
from toolgate.load.tools import ToolSpec

Shapes: TypeAlias = Mapping[str, Mapping[str, Fields]]  # tool → type


def merged(shapes: Shapes) -> dict[str, Fields]:
    """Return the attributes of each type."""
    attributes: dict[str, Fields] = {}
    for by_type in shapes.values():
        for name, fields in by_type.items():
            attributes[name] = _both(attributes[name], fields) if name in attributes else fields
    return attributes


def contradictions(shapes: Shapes, specs: Mapping[str, ToolSpec], environment: str) -> Iterator[Problem]:
    """Attributes of a type that two tools give different kinds."""
    first: dict[tuple[str, str], tuple[Kind, str]] = {}
    for tool, by_type in shapes.items():
        for name, fields in by_type.items():
            for attribute, member in fields.members.items():
                kind, other = first.setdefault((name, attribute), (member.kind, tool))
                if kind != member.kind:
                    told = f"the attribute `{attribute}` of `{name}` is of another kind in the catalogue of `{other}`"
                    message = f"{told}; make them one kind, or give one of the types another name"
                    place = ("environments", environment, "resources", name)
                    yield specs[tool].problem(place, "resources.kind", message)


def _both(one: Fields, other: Fields) -> Fields:
    members = {**one.members, **other.members}
    in_both = one.members.keys() & other.members.keys()
    required = {name for name in in_both if one.members[name].required and other.members[name].required}
    return Fields({name: Field(each.kind, name in required) for name, each in members.items()})
