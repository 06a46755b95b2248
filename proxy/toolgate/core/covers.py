"""Covers: which resources of a catalogue a call may not leave out (DESIGN §8).

RULE: what must be named is worked out once for each state of a catalogue, never once for each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolgate.core.expressions import Expression
from toolgate.core.model import Json, ResourceCatalogue


@dataclass(slots=True, eq=False)
class Cover:
    """The resources of one type that fit `where` must all be named at `at`."""

    type: str
    where: Mapping[str, tuple[Json, ...]]  # attribute → the values that fit; empty: every resource
    at: Expression
    catalogue: str  # the tool whose catalogue it is
    _of: Mapping[str, Mapping[str, Json]] | None = field(init=False, default=None)  # what `_required` was made from
    _required: tuple[str, ...] = field(init=False, default=())

    def required(self, catalogue: ResourceCatalogue) -> tuple[str, ...]:
        """Return the ids that must be named, in the catalogue's order."""
        listed = catalogue.attributes
        if self._of is not listed:
            self._required = tuple(name for name, attributes in listed.items() if self._fits(attributes))
            self._of = listed
        return self._required

    def omitted(self, arguments: Mapping[str, Json], catalogue: ResourceCatalogue) -> tuple[str, ...]:
        """Return the ids that must be named and are not."""
        required = self.required(catalogue)
        if not required:
            return ()
        named = frozenset(self.at.ids(arguments))
        return tuple(name for name in required if name not in named)

    def _fits(self, attributes: Mapping[str, Json]) -> bool:
        return all(
            key in attributes and any(_same(attributes[key], wanted) for wanted in values)
            for key, values in self.where.items()
        )


def _same(value: Json, wanted: Json) -> bool:
    """Equal as JSON: `true` is not 1."""
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)
