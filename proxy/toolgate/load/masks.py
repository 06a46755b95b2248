"""Where the arguments must be masked: pointers to every place a schema marks.

RULE: when in doubt, more is masked. A marked definition that contains itself is masked whole where it recurs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from toolgate.core.model import Json
from toolgate.core.schema import REFERENCE
from toolgate.core.wiretext import pointer
from toolgate.load.lowering import MASK

_LISTED_IN_PLACE: Final = ("allOf", "anyOf", "oneOf")
_IN_PLACE: Final = ("if", "then", "else")
_ELEMENT: Final = ("items", "contains", "additionalProperties", "unevaluatedProperties", "unevaluatedItems")


def masks_of(schema: Json, defs: Mapping[str, Json]) -> tuple[str, ...]:
    """Return the pointer patterns (`*` stands for every element) of what a schema marks as secret."""
    marked = _marked(defs)
    return tuple(sorted(set(_walk(schema, "", (), defs, marked))))


def _marked(defs: Mapping[str, Json]) -> frozenset[str]:
    """Return the definitions that reach a mark."""
    reaches = {name: (_has_mark(schema), set(_references(schema))) for name, schema in defs.items()}
    marked = {name for name, (has_mark, _) in reaches.items() if has_mark}
    grown = True
    while grown:
        more = {name for name, (_, used) in reaches.items() if name not in marked and used & marked}
        grown = bool(more)
        marked |= more
    return frozenset(marked)


def _children(node: Json) -> Iterator[Json]:
    if isinstance(node, Mapping):
        yield from node.values()
    elif isinstance(node, list):
        yield from node


def _has_mark(schema: Json) -> bool:
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping) and node.get(MASK) is True:
            return True
        stack.extend(_children(node))
    return False


def _references(schema: Json) -> Iterator[str]:
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping) and isinstance(reference := node.get("$ref"), str):
            yield reference[len(REFERENCE) :]
        stack.extend(_children(node))


def _walk(
    node: Json, at: str, stack: tuple[str, ...], defs: Mapping[str, Json], marked: frozenset[str]
) -> Iterator[str]:
    if not isinstance(node, Mapping):
        return
    if node.get(MASK) is True:
        yield at
        return
    reference = node.get("$ref")
    if isinstance(reference, str) and (name := reference[len(REFERENCE) :]) in marked:
        if name in stack:
            yield at  # SECURITY: no finite list of pointers covers a recursive place; mask all of it
            return
        yield from _walk(defs[name], at, (*stack, name), defs, marked)
    for place, child in _below(node, at):
        yield from _walk(child, place, stack, defs, marked)


def _below(node: Mapping[str, Json], at: str) -> Iterator[tuple[str, Json]]:
    """Yield the schemas inside a schema, with the place in the value that each speaks of."""
    for keyword in _LISTED_IN_PLACE:
        yield from ((at, child) for child in node.get(keyword, ()))
    for keyword in _IN_PLACE:
        yield at, node.get(keyword)
    for name, child in node.get("properties", {}).items():
        yield pointer(at, name), child
    for child in (*node.get("patternProperties", {}).values(), *node.get("prefixItems", ())):
        yield f"{at}/*", child
    for keyword in _ELEMENT:
        yield f"{at}/*", node.get(keyword)
