"""Looking through a statement's tree.

RULE: every node is visited once, and by a stack: how deep a tree is does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, NamedTuple

from cedarpy import pst

_MEMBERS: Final[Mapping[type, tuple[str, ...]]] = {
    node: tuple(each.name for each in fields(node))
    for node in vars(pst).values()
    if isinstance(node, type) and is_dataclass(node)
}  # of each kind of node


class Named(NamedTuple):
    """The names in some part of a statement, each once."""

    entities: tuple[pst.EntityUid, ...]
    types: tuple[pst.EntityType, ...]  # that `is` asks for


def nodes(root: Any) -> Iterator[Any]:
    """Every node of a tree, or of several."""
    stack = [root]
    while stack:
        node = stack.pop()
        members = _MEMBERS.get(type(node))
        if members is not None:
            yield node
            stack.extend([getattr(node, member) for member in members])
        elif isinstance(node, tuple):
            stack.extend(node)
        elif isinstance(node, dict):
            stack.extend(node.values())


def named_in(root: Any) -> Named:
    entities: dict[pst.EntityUid, None] = {}
    types: dict[pst.EntityType, None] = {}
    for node in nodes(root):
        match node:
            case pst.EntityUid():
                entities[node] = None
            case pst.Is(entity_type=kind) | pst.ScopeIs(entity_type=kind) | pst.ScopeIsIn(entity_type=kind):
                types[kind] = None
            case _:
                pass
    return Named(tuple(entities), tuple(types))


def resource_type(scope: pst.PrincipalOrResourceConstraint) -> str | None:
    """Return the type a resource scope asks for; None when it takes any."""
    match scope:
        case pst.ScopeEq(pst.EntityUid(type=kind)) | pst.ScopeIn(pst.EntityUid(type=kind)):
            return str(kind)
        case pst.ScopeIs(kind) | pst.ScopeIsIn(kind, _):
            return str(kind)
        case _:
            return None
