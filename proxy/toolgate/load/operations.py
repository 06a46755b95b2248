"""From a document's operations and the toolspec's rules to the catalog's operations, as one environment sees them.

RULE: everything a call needs is compiled here; an operation that is not allowed has no target to be sent to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from toolgate.core.bundle import Note, NoteKind, Problem
from toolgate.core.catalog import Limits, Operation, ResourceAt, Target, Way
from toolgate.core.cost import Cost
from toolgate.core.covers import Cover
from toolgate.core.expressions import Expression
from toolgate.core.signature import Signature
from toolgate.load.catalogues import Catalogues
from toolgate.load.documents import Document
from toolgate.load.models import did_you_mean
from toolgate.load.notes import Note as SchemaNote
from toolgate.load.openapi import description_of
from toolgate.load.schemas import Schemas
from toolgate.load.tools import Rule, Ruled, ToolSpec, View
from toolgate.load.toolspec import CoverEntry, Sizes

_LIMITS: Final = ("max_body", "max_response", "timeout_s", "idle_timeout_s")


@dataclass(slots=True)
class Builder:
    """Builds the operations of one tool. Documents that environments share are compiled once."""

    spec: ToolSpec
    names: Mapping[tuple[str, str], str]
    allowed: frozenset[str]  # keys, of every tool, in the environment it builds for
    catalogues: Catalogues  # of that environment
    schemas: dict[int, tuple[Document, Schemas]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    environments: dict[str, tuple[str, ...]] = field(init=False)  # by operation id

    def __post_init__(self) -> None:
        having: dict[str, dict[str, None]] = {}
        for view in self.spec.views.values():
            for ruled in view.operations:
                having.setdefault(ruled.declared.id, {})[view.environment] = None
        self.environments = {name: tuple(environments) for name, environments in having.items()}

    def here(self, view: View, target: Target | None) -> Iterator[Operation]:
        """Every operation of this environment's document, allowed or not."""
        for ruled in view.operations:
            yield self._operation(view, ruled, target if ruled.allowed else None, allowed=ruled.allowed)

    def elsewhere(self, environment: str) -> Iterator[Operation]:
        """Every operation that only other environments have: by its id, or by its method and path."""
        own = self.spec.views.get(environment)
        seen = {(each.declared.id, each.declared.shape) for each in own.operations} if own else set()
        for view in self.spec.views.values():
            for ruled in view.operations:
                identity = ruled.declared.id, ruled.declared.shape
                if identity not in seen:
                    seen.add(identity)
                    yield self._operation(view, ruled, None, allowed=False)

    def finish(self) -> None:
        """Compile what was built, and tell what the documents hold that cannot be used, or not as it is written."""
        for document, schemas in self.schemas.values():
            schemas.compile()
            for pointer, message in schemas.problems:
                self.problems.append(
                    Problem(document.shown, 0, "document.schema", f"{pointer.removeprefix('#')}: {message}")
                )
            self.notes += (note_of(document, note) for note in schemas.notes)

    def _operation(self, view: View, ruled: Ruled, target: Target | None, *, allowed: bool) -> Operation:
        declared, file = ruled.declared, self.spec.file
        schemas = self._schemas(view.document)
        signature = schemas.signature(
            declared.method,
            declared.template,
            declared.path_item,
            declared.operation,
            unknown_parameters=file.unknown_parameters,
            ignored_query=[each.query for each in view.entry.credentials if each.query is not None],
        )
        resources = self._resources(view, ruled, signature)
        covers = self._covers(view, ruled, signature) if allowed else ()
        return Operation(
            tool=file.tool,
            id=declared.id,
            method=declared.method,
            template=declared.template,
            effect=ruled.effect,
            allowed=allowed,
            signature=signature,
            responses=schemas.responses(declared.operation),
            target=target,
            key=f"{file.tool}.{declared.id}",
            name=self.names[file.tool, declared.id],
            description=description_of(declared.operation),
            limits=_limits(file, view, ruled.rules),
            forward_headers=frozenset(name.lower() for name in file.forward_headers),
            validate_responses=_innermost("validate_responses", file, view, ruled.rules) or "report",
            resources=resources,
            covers=covers,
            awaits=self._awaits(resources, covers) if allowed else (),
            recovery=self._recovery(ruled.rules),
            cost=self._costs(ruled, signature),
            environments=self.environments[declared.id],
        )

    def _schemas(self, document: Document) -> Schemas:
        key = id(document)  # kept alive beside it
        if key not in self.schemas:
            schemas = Schemas(document.value, document.version, closed_bodies=self.spec.file.closed_bodies)
            self.schemas[key] = document, schemas
        return self.schemas[key][1]

    def _recovery(self, rules: Mapping[str, Rule]) -> Mapping[str, Way]:
        """The ways forward that lead somewhere here: an operation that is not allowed is no alternative."""
        rule = rules.get("recovery")
        ways = rule.value.items() if rule else ()
        return {code: Way(way.hint, tuple(use for use in way.use if use in self.allowed)) for code, way in ways}

    def _resources(self, view: View, ruled: Ruled, signature: Signature) -> tuple[ResourceAt, ...]:
        rule = ruled.rules.get("resources")
        if rule is None:
            return ()
        found = []
        for entry in rule.value:
            self._check_place(rule, entry.at, entry.expression, ruled, signature)
            owner = self._owner(rule, entry.type, ruled)
            if owner is None and ruled.allowed:
                self._check_type(rule, entry.type, view)
            found.append(ResourceAt(entry.type, entry.expression, owner))
        return tuple(found)

    def _covers(self, view: View, ruled: Ruled, signature: Signature) -> tuple[Cover, ...]:
        rule = ruled.rules.get("covers")
        if rule is None:
            return ()
        covers = []
        for entry in rule.value:
            self._check_place(rule, entry.at, entry.expression, ruled, signature)
            owner = self._owner(rule, entry.type, ruled)
            if owner is None:
                message = f"`covers` names {entry.type}, which no catalogue lists in `{view.environment}`; add one to `resources`"
                self.problems.append(Problem(rule.shown, rule.line, "covers.type", message))
                continue
            self._check_where(rule, entry, owner)
            where = {key: tuple(values) for key, values in entry.where.items()}
            covers.append(Cover(entry.type, where, entry.expression, owner))
        return tuple(covers)

    def _costs(self, ruled: Ruled, signature: Signature) -> Mapping[str, Cost]:
        rule = ruled.rules.get("cost")
        costs: Mapping[str, Cost] = rule.value if rule is not None else {}
        for cost in costs.values():
            if rule is not None and not isinstance(cost.hold, int):
                self._check_place(rule, cost.hold.text, cost.hold, ruled, signature)
        return costs

    def _check_place(self, rule: Rule, written: str, at: Expression, ruled: Ruled, signature: Signature) -> None:
        """SECURITY: what is looked for where no argument is would never be found missing."""
        known = {parameter.key for parameter in signature.parameters} | ({"body"} if signature.bodies else set())
        if at.tokens and at.tokens[0] not in known:
            message = f"`{written}` names no argument of `{ruled.declared.id}`; it has {_listed(known)}"
            self.problems.append(Problem(rule.shown, rule.line, "resources.at", message))

    def _check_type(self, rule: Rule, kind: str, view: View) -> None:
        """SECURITY: a type that nobody lists holds every name; one that is nearly listed was meant to be."""
        meant = did_you_mean(kind, self.catalogues.types())
        if meant:
            message = f"no catalogue lists {kind} in `{view.environment}`{meant}"
            self.problems.append(Problem(rule.shown, rule.line, "resources.type", message))
            return
        message = (
            f"no catalogue lists {kind} in `{view.environment}`, so every name exists; list them under its `resources:`"
        )
        self.notes.append(Note(rule.shown, "", "unlisted", message))

    def _owner(self, rule: Rule, kind: str, ruled: Ruled) -> str | None:
        """Return the tool whose catalogue lists a type: this one, or the only other one that has it."""
        listing = self.catalogues.tools_listing(self.spec.file.tool, kind)
        if len(listing) > 1 and ruled.allowed:
            named = " and ".join(f"`{tool}`" for tool in listing)
            message = f"{kind} is listed by the tools {named}; give one of them another type's name, so that it is clear which is meant"
            self.problems.append(Problem(rule.shown, rule.line, "resources.ambiguous", message))
        return listing[0] if listing else None

    def _check_where(self, rule: Rule, entry: CoverEntry, owner: str) -> None:
        attributes = self.catalogues.attributes(owner, entry.type)
        if attributes is None:
            return
        for key in entry.where:
            if key not in attributes:
                message = f"no {entry.type} has the attribute `{key}`{did_you_mean(key, attributes)}"
                self.problems.append(Problem(rule.shown, rule.line, "covers.where", message))

    def _awaits(self, resources: tuple[ResourceAt, ...], covers: tuple[Cover, ...]) -> tuple[tuple[str, str], ...]:
        asked = [(each.catalogue, each.type) for each in resources if each.catalogue is not None]
        asked += [(each.catalogue, each.type) for each in covers]
        return tuple(dict.fromkeys(pair for pair in asked if self.catalogues.is_live(*pair)))


def note_of(document: Document, note: SchemaNote) -> Note:
    """A note about a document's schemas, with the document's name."""
    kind: NoteKind = "reported" if note.status == "only reported" else "not_understood"
    return Note(document.shown, note.pointer.removeprefix("#"), kind, note.message)


def _listed(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"


def _innermost(name: str, file: Sizes, view: View, rules: Mapping[str, Rule]) -> Any:
    said = (rules[name].value if name in rules else None, getattr(view.entry, name), getattr(file, name))
    return next((value for value in said if value is not None), None)


def _limits(file: Sizes, view: View, rules: Mapping[str, Rule]) -> Limits:
    given = {name: _innermost(name, file, view, rules) for name in _LIMITS}
    return Limits(**{name: value for name, value in given.items() if value is not None})
