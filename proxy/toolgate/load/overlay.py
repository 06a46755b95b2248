"""OpenAPI Overlay 1.0 and 1.1: annotate a vendor's document without editing it.

RULE: an action that changes nothing, or cannot be applied whole, is a problem: an annotation that silently misses its
operation is worse than none. (The specification lets a target that selects nothing pass; here it does not.)
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from toolgate.core.bundle import Problem
from toolgate.core.model import Json

_VERSION: Final = re.compile(r"1\.[01]\.\d+", re.ASCII)
_ACTION_KEYS: Final = frozenset({"target", "description", "update", "copy", "remove"})

Steps = tuple[str | int, ...]
Select = Callable[[str, Json], list[Steps]]


class _ActionError(ValueError):
    """One action cannot be applied; its text is the problem's."""


def apply_overlay(document: dict[str, Json], overlay: Json, shown: str) -> list[Problem]:
    """Apply every action to `document`, in place and in order; return what could not be applied."""
    version = overlay.get("overlay")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        return [
            Problem(shown, 0, "overlay.version", "is not an Overlay 1.0 or 1.1 document; it needs `overlay: 1.0.0`")
        ]
    actions = overlay.get("actions")
    if not isinstance(actions, list) or not actions:
        return [Problem(shown, 0, "overlay.actions", "has no `actions`")]
    applied = _Applied(document, _selector())
    problems = []
    for at, action in enumerate(actions):
        try:
            applied.act(action)
        except _ActionError as wrong:
            problems.append(Problem(shown, 0, "overlay.action", f"action {at + 1}: {wrong}"))
    return problems


def _selector() -> Select:
    import jsonpath  # noqa: PLC0415 - 60 ms that only a bundle with overlays pays

    environment = jsonpath.JSONPathEnvironment(strict=True)

    def select(path: str, document: Json) -> list[Steps]:
        try:
            return [tuple(match.parts) for match in environment.finditer(path, document)]
        except jsonpath.JSONPathError as error:
            reason = str(error).split("\n", 1)[0]
            raise _ActionError(f"`{path}` is not a JSONPath of RFC 9535: {reason}") from error

    return select


@dataclass(slots=True)
class _Applied:
    document: dict[str, Json]
    select: Select
    found: list[Steps] = field(default_factory=list)

    def act(self, action: Json) -> None:
        if not isinstance(action, dict) or not isinstance(action.get("target"), str):
            raise _ActionError("needs a `target`")
        unknown = [key for key in action if key not in _ACTION_KEYS and not str(key).startswith("x-")]
        if unknown:
            raise _ActionError(f"has the unknown key `{unknown[0]}`")
        target = action["target"]
        self.found = self.select(target, self.document)
        if not self.found:
            raise _ActionError(f"`{target}` selects nothing in the document")
        if action.get("remove") is True:
            self._remove(target)
        elif "update" in action:
            self._update(target, lambda: action["update"])
        elif isinstance(action.get("copy"), str):
            source = self._source(action["copy"])
            self._update(target, lambda: copy.deepcopy(source))
        else:
            raise _ActionError(f"`{target}` has neither `update`, `copy` nor `remove: true`")

    def _source(self, path: str) -> Json:
        found = self.select(path, self.document)
        if len(found) != 1:
            raise _ActionError(f"`copy: {path}` selects {len(found)} values; it must select one")
        return copy.deepcopy(_at(self.document, found[0]))

    def _remove(self, target: str) -> None:
        if () in self.found:
            raise _ActionError(f"`{target}` would remove the whole document")
        for steps in sorted(self.found, key=_later_first):
            del _at(self.document, steps[:-1])[steps[-1]]

    def _update(self, target: str, value: Callable[[], Json]) -> None:
        for steps in self.found:
            node = _at(self.document, steps)
            if isinstance(node, dict | list):
                _merge_into(node, value(), target)
            else:
                self._replace(steps, value(), target)

    def _replace(self, steps: Steps, value: Json, target: str) -> None:
        if isinstance(value, dict | list):
            raise _ActionError(f"`{target}` selects a plain value, which an object or a list cannot update")
        _at(self.document, steps[:-1])[steps[-1]] = value


def _later_first(steps: Steps) -> tuple[int, list[tuple[int, int, str]]]:
    """Order so that removing one never moves another: deeper first, then higher indexes first."""
    return -len(steps), [(0, -step, "") if isinstance(step, int) else (1, 0, step) for step in steps]


def _at(document: Json, steps: Sequence[str | int]) -> Json:
    for step in steps:
        document = document[step]
    return document


def _merge_into(node: dict[str, Json] | list[Json], value: Json, target: str) -> None:
    if isinstance(node, list):
        node.extend(value if isinstance(value, list) else [value])
        return
    if not isinstance(value, dict):
        raise _ActionError(f"`{target}` selects an object, which only an object can update")
    for key, member in value.items():
        _merge_member(node, key, member, target)


def _merge_member(node: dict[str, Json], key: str, member: Json, target: str) -> None:
    present = node.get(key)
    if key not in node or not isinstance(present, dict | list | type(None)):
        if key in node and isinstance(member, dict | list):
            raise _ActionError(f"`{target}`: `{key}` is a plain value there, which an object or a list cannot update")
        node[key] = copy.deepcopy(member)
    elif present is None:
        node[key] = copy.deepcopy(member)
    elif type(present) is type(member):
        _merge_into(present, copy.deepcopy(member), target)
    elif member is not None:  # `components:` left empty in a structured overlay says nothing about it
        raise _ActionError(f"`{target}`: `{key}` is of another kind there and cannot be updated with this")
