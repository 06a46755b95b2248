"""A statement's conditions in the words of its file (CEDAR.md §8).

RULE: cut from the text, never printed from the tree: what a person reads is what a person wrote. Where the text and the
tree do not divide alike, the whole clause is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from cedarpy import pst

from toolgate.core.actions import uid
from toolgate.core.conditions import parts_of

_STRINGS_AND_COMMENTS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*', re.DOTALL)
_CLAUSE: Final = re.compile(r"\b(when|unless)\s*\{")
_SHOWN: Final = 3
_BREAK: Final = re.compile(r"\s*\n\s*")
_OPENING: Final = "([{"
_CLOSING: Final = ")]}"


def conditions_written(text: str, template: pst.Template) -> tuple[str, ...]:
    """Return the words of every condition, in the order of `conditions_of`."""
    clauses = list(_clauses(text))
    if len(clauses) != len(template.clauses):
        whole = _on_one_line(text)
        return tuple(whole for clause in template.clauses for _ in parts_of(clause))
    return tuple(
        written for clause, cut in zip(template.clauses, clauses, strict=True) for written in _written(clause, *cut)
    )


def scope_written(variable: str, scope: pst.PrincipalOrResourceConstraint) -> str:
    """Return what a head says of a variable: here the tree says all there is."""
    match scope:
        case pst.ScopeEq(entity):
            return f"{variable} == {_name(entity)}"
        case pst.ScopeIn(entity):
            return f"{variable} in {_name(entity)}"
        case pst.ScopeIs(kind):
            return f"{variable} is {kind}"
        case pst.ScopeIsIn(kind, entity):
            return f"{variable} is {kind} in {_name(entity)}"
        case _:
            return variable


def action_written(scope: pst.ActionConstraint) -> str:
    """Return what a head says of the action; of many, how many."""
    match scope:
        case pst.ActionEq(entity):
            return f"action == {_name(entity)}"
        case pst.ActionIn([entity]):
            return f"action in {_name(entity)}"
        case pst.ActionIn(entities):
            more = [f"{len(entities) - _SHOWN} more"] if len(entities) > _SHOWN else []
            return f"action in [{', '.join([*map(_name, entities[:_SHOWN]), *more])}]"
        case _:
            return "action"


def _name(entity: pst.EntityUid | pst.Slot) -> str:
    return uid(str(entity.type), entity.id) if isinstance(entity, pst.EntityUid) else str(entity)


def _written(clause: pst.Clause, keyword: str, text: str, shape: str) -> Iterator[str]:
    parts = list(parts_of(clause))
    spans = list(_split(shape, "&&" if keyword == "when" else "||"))
    for at in range(len(parts)):
        start, end = spans[at] if len(spans) == len(parts) else (0, len(text))
        words = _on_one_line(text[start:end])
        yield words if keyword == "when" and len(spans) == len(parts) else f"{keyword} {{ {words} }}"


def _clauses(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield keyword, text and shape of each clause. The shape has the text's length, and blanks for what is quoted."""
    bare = _STRINGS_AND_COMMENTS.sub(lambda found: found[0] if found[0][0] == '"' else " " * len(found[0]), text)
    shape = _STRINGS_AND_COMMENTS.sub(lambda found: " " * len(found[0]), text)
    at = 0
    while found := _CLAUSE.search(shape, at):
        end = _closed(shape, found.end())
        yield found[1], bare[found.end() : end], shape[found.end() : end]
        at = end + 1


def _closed(shape: str, at: int) -> int:
    """Return where the brace closes that was opened before `at`."""
    depth = 1
    for position in range(at, len(shape)):
        depth += (shape[position] in _OPENING) - (shape[position] in _CLOSING)
        if not depth:
            return position
    return len(shape)


def _split(shape: str, operator: str) -> Iterator[tuple[int, int]]:
    """Yield the spans between the operators that stand in no brackets."""
    start = depth = 0
    for position, character in enumerate(shape):
        depth += (character in _OPENING) - (character in _CLOSING)
        if not depth and shape.startswith(operator, position):
            yield start, position
            start = position + len(operator)
    yield start, len(shape)


def _on_one_line(text: str) -> str:
    return _BREAK.sub(" ", text.strip())
