"""Judging values by a compiled schema.

RULE: one call says yes; only a no is looked into, and only as far as an answer needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from toolgate.core.model import Json, Violation
from toolgate.core.violations import MOST_VIOLATIONS, SIZES, TOO_LARGE, Cut, Explainer, Fault, Path
from toolgate.core.weight import REFERENCE, has_alternatives, is_heavy

__all__ = ["REFERENCE", "Compiled", "Judge", "offered", "self_contained"]

_REMEMBERED: Final = 64  # places where a name was not expected: callers repeat their mistakes


class Compiled(Protocol):
    """A compiled schema."""

    def is_valid(self, instance: Json) -> bool: ...
    def iter_errors(self, instance: Json) -> Iterator[Fault]: ...


class Judge:
    """A schema that is compiled when it is first asked, or when `compile` is called."""

    __slots__ = ("_compiled", "_explainer", "_has_alternatives", "_make", "_names", "defs", "fits", "schema")

    fits: Callable[[Json], bool]  # the one call on the path of a permitted call

    def __init__(
        self,
        make: Callable[[], Compiled],
        schema: Mapping[str, Json],
        defs: Mapping[str, Json],
        masks: Iterable[str] = (),
    ) -> None:
        self._make = make
        self._compiled: Compiled | None = None
        self._has_alternatives: bool | None = None  # found out at the first refusal
        # By place in the schema. SECURITY: a recursive schema has as many places as a caller's value is deep, so bounded.
        self._names: dict[tuple[str | None, Path], tuple[str, ...]] = {}
        self.schema = schema
        self.defs = defs
        self._explainer = Explainer([_tokens(mask) for mask in masks], self._names_beside)
        self.fits = self._fits_first

    def compile(self) -> Compiled:
        """Compile now. Raises what the compiler raises for a schema that is none."""
        compiled = self._compiled
        if compiled is None:
            compiled = self._compiled = self._make()
            self.fits = compiled.is_valid
        return compiled

    def _fits_first(self, value: Json) -> bool:
        return self.compile().is_valid(value)

    def violations(self, value: Json) -> tuple[Violation, ...]:
        """Return what is wrong with a value that may not fit: nothing twice, at most MOST_VIOLATIONS."""
        return () if self.fits(value) else self.faults(value)

    def faults(self, value: Json) -> tuple[Violation, ...]:
        """Return what is wrong with a value that is known not to fit."""
        # The validator collects every error before it gives the first, so it is shown no more than can be explained.
        cut = self._cut(value)
        found: dict[tuple[str, str, str], Violation] = {}
        for fault in self.compile().iter_errors(cut.value):
            if cut.is_misled(fault):
                continue
            for each in self._explainer.explain(fault):
                found.setdefault((each.path, each.keyword, each.message), each)
            if len(found) >= MOST_VIOLATIONS:
                break
        return tuple(found.values())[:MOST_VIOLATIONS] or (TOO_LARGE,)

    def _cut(self, value: Json) -> Cut:
        """As much of a value as can be explained in bounded time."""
        defs = self.defs or self.schema.get("$defs", {})
        if self._has_alternatives is None:
            self._has_alternatives = has_alternatives(self.schema, defs)
        *sizes, smallest = SIZES
        if not self._has_alternatives:
            return Cut(value, *sizes[0])
        for size in sizes:
            cut = Cut(value, *size)
            if not is_heavy(self.schema, defs, cut.value):
                return cut
        return Cut(value, *smallest)

    def _names_beside(self, fault: Fault) -> tuple[str, ...]:
        """Return, sorted, the property names declared where a name was not expected."""
        location, tokens = fault.absolute_keyword_location, tuple(fault.schema_path)
        place = location, tokens
        known = self._names.get(place)
        if known is None:
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
            known = self._names[place] = self._names_at(location, tokens)
        return known

    def _names_at(self, location: str | None, tokens: Path) -> tuple[str, ...]:
        node: Json = self.schema
        if location and "#/$defs/" in location:
            tokens, node = _tokens(location.partition("#/$defs")[2]), self.defs
        for token in tokens[:-1]:
            node = _step(node, token)
        properties = node.get("properties", {}) if isinstance(node, Mapping) else {}
        return tuple(sorted(name for name, schema in properties.items() if schema is not False))


def _tokens(pointer: str) -> tuple[str, ...]:
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def _step(node: Json, token: str | int) -> Json:
    if isinstance(node, Mapping):
        return node.get(str(token))
    if isinstance(node, list) and str(token).isdigit() and int(token) < len(node):
        return node[int(token)]
    return None


_PRIVATE: Final = frozenset({"x-toolgate-mask", "x-toolgate-binary"})


def self_contained(schema: Mapping[str, Json], defs: Mapping[str, Json]) -> dict[str, Json]:
    """Copy a schema so that it stands alone: every definition it reaches is in its `$defs`."""
    reached: dict[str, Json] = {}
    pending: list[str] = []
    whole: dict[str, Json] = _localised(schema, pending)
    while pending:
        name = pending.pop()
        if name not in reached:
            reached[name] = None
            reached[name] = _localised(defs[name], pending)
    if reached:
        whole["$defs"] = dict(sorted(reached.items()))
    return whole


def _localised(node: Json, pending: list[str]) -> Json:
    if isinstance(node, list):
        return [_localised(each, pending) for each in node]
    if not isinstance(node, Mapping):
        return node
    copy = {key: _localised(value, pending) for key, value in node.items()}
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith(REFERENCE):
        name = reference[len(REFERENCE) :]
        pending.append(name)
        copy["$ref"] = f"#/$defs/{name}"
    return copy


def offered(node: Json) -> Json:
    """Copy a schema for a caller: without the properties that are never accepted, and without the gate's own marks."""
    if isinstance(node, list):
        return [offered(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    copy = {key: offered(value) for key, value in node.items() if key not in _PRIVATE}
    properties = copy.get("properties")
    if isinstance(properties, dict):
        copy["properties"] = {name: schema for name, schema in properties.items() if schema is not False}
    return copy
