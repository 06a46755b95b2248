"""Resource catalogues: what exists in an environment, from a file or as an operation of the same tool lists it.

    # metrics.yaml
    - {id: node_cpu, tier: critical}
    - {id: node_load1, tier: standard}

RULE: an id is text and occurs once; what is not listed does not exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from toolgate.core.bundle import BundleError, LiveCatalogue, Note, Problem
from toolgate.core.catalog import Operation
from toolgate.core.expressions import EVERY, Expression, parse_expression
from toolgate.core.kinds import Fields, Kind, Many, Variants, kind_of, kind_of_values
from toolgate.core.model import Json, ResourceCatalogue
from toolgate.core.signature import Rejected
from toolgate.load.files import Folder, Named
from toolgate.load.models import did_you_mean
from toolgate.load.tools import Ruled, ToolSpec, View
from toolgate.load.toolspec import CatalogueEntry, ReadingEntry
from toolgate.load.yaml import Steps, strict_parse

_OK: Final = 200
_NOTHING_KNOWN: Final = Fields({})


@dataclass(slots=True)
class Catalogues:
    """The catalogues of every tool in one environment: those of files, and what is known at load of the live ones."""

    files: dict[str, dict[str, ResourceCatalogue]] = field(default_factory=dict)  # tool → type
    live: list[LiveCatalogue] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)  # (tool, type) of those that are a problem of their own

    def add(self, folder: Folder, spec: ToolSpec, view: View) -> None:
        """Add those of one tool. Raises BundleError with every problem."""
        problems: list[Problem] = []
        files = self.files.setdefault(spec.file.tool, {})
        for kind, entry in view.entry.resources.items():
            try:
                if entry.reading is None:
                    files[kind] = _from_file(folder, spec, view, kind, entry)
                else:
                    self.live.append(_from_operation(spec, view, kind, entry, entry.reading))
            except BundleError as error:
                self.broken.append((spec.file.tool, kind))
                problems += error.problems
        if problems:
            raise BundleError(problems)

    def is_live(self, tool: str, kind: str) -> bool:
        return any((each.tool, each.type) == (tool, kind) for each in self.live)

    def types(self) -> frozenset[str]:
        """Return every type that some catalogue lists, or was meant to."""
        listed = {kind for kinds in self.files.values() for kind in kinds}
        return frozenset(listed | {each.type for each in self.live} | {kind for _, kind in self.broken})

    def tools_listing(self, tool: str, kind: str) -> tuple[str, ...]:
        """Return the tools whose catalogues a type of this tool may be: its own, or else those of the others."""
        others = [each for each, listed in self.files.items() if kind in listed]
        others += [each.tool for each in self.live if each.type == kind]
        others += [each for each, broken in self.broken if broken == kind]
        return (tool,) if tool in others else tuple(others)

    def attributes(self, tool: str, kind: str) -> frozenset[str] | None:
        """Return the names of the attributes resources of a file have; None where they are not known at load."""
        listed = self.files.get(tool, {}).get(kind)
        return None if listed is None else frozenset(key for each in listed.attributes.values() for key in each)

    def shapes(self, operations: Mapping[str, Operation]) -> dict[str, dict[str, Fields]]:
        """Return, by tool and type, the attributes that policies may read, with their kinds."""
        shapes: dict[str, dict[str, Fields]] = {}
        for tool, listed in self.files.items():
            for kind, catalogue in listed.items():
                found = kind_of_values(catalogue.attributes.values())
                shapes.setdefault(tool, {})[kind] = found if isinstance(found, Fields) else _NOTHING_KNOWN
        for live in self.live:
            shapes.setdefault(live.tool, {})[live.type] = _declared_shape(live, operations[live.operation])
        return shapes


def unaskable(spec: ToolSpec, environment: str, live: LiveCatalogue, operation: Operation) -> Iterator[Problem]:
    """What the compiled operation has against being called as a live catalogue says."""
    steps = (*_place(environment, live.type), "from")
    keys = [each.key for each in operation.signature.parameters]
    asked = dict(live.arguments)
    if misread := _misread(live, operation):
        yield spec.problem(steps, "resources.answer", misread)
    if live.page is not None:
        if live.page not in keys:
            message = f"`{operation.id}` has no parameter `{live.page}`{did_you_mean(live.page, keys)}"
            yield spec.problem((*steps, "as"), "resources.page", message)
            return
        if live.page in live.arguments:
            message = f"`{live.page}` asks for the page (`as`), so it is no argument; remove it from `arguments`"
            yield spec.problem((*steps, "arguments"), "resources.page", message)
            return
        required = {each.key for each in operation.signature.parameters if each.required}
        asked |= {live.page: _first_page(operation, live.page)} if live.page in required or live.next is None else {}
    taken = operation.signature.accept(asked)
    if isinstance(taken, Rejected):
        told = "; ".join(f"{each.message} at `{each.path or '/'}`" for each in taken.violations[:3]) or taken.detail
        message = f"`{operation.id}` cannot be called like this: {told}; write what it needs as `arguments: {{…}}`"
        yield spec.problem((*steps, "arguments") if live.arguments else steps, "resources.arguments", message)


def ids_of(everywhere: Mapping[str, Catalogues], specs: Iterable[ToolSpec]) -> dict[str, frozenset[str]]:
    """Return, by type, every id that exists in some environment: of the types that files list, and nothing else says more."""
    listed: dict[str, set[str]] = {}
    unknown: set[str] = set()
    for catalogues in everywhere.values():
        for kind, catalogue in ((kind, each) for kinds in catalogues.files.values() for kind, each in kinds.items()):
            listed.setdefault(kind, set()).update(catalogue.attributes)
        unknown |= {each.type for each in catalogues.live} | {kind for _, kind in catalogues.broken}
    for view in (view for spec in specs for view in spec.views.values()):
        unknown |= _mapped(view) - everywhere[view.environment].types()
    return {kind: frozenset(names) for kind, names in listed.items() if kind not in unknown}


def _mapped(view: View) -> set[str]:
    """The types that what is allowed in an environment is about."""
    rules = (each.rules.get("resources") for each in view.operations if each.allowed)
    return {entry.type for rule in rules if rule is not None for entry in rule.value}


def uncovered(
    operations: Iterable[Operation],
    catalogues: Catalogues,
    shapes: Mapping[str, Mapping[str, Fields]],
    specs: Mapping[str, ToolSpec],
) -> Iterator[Note]:
    """Conditions of `covers` on attributes that a live catalogue's operation does not declare: they may fit nothing."""
    for operation in operations:
        for cover in operation.covers:
            if not catalogues.is_live(cover.catalogue, cover.type):
                continue
            for key in cover.where.keys() - shapes[cover.catalogue][cover.type].members.keys():
                said = f"`covers` of `{operation.id}` asks for {cover.type} with `{key}`, which the answer does not declare"
                yield Note(
                    specs[operation.tool].shown, "", "uncovered", f"{said}; where no item has it, nothing is covered"
                )


def _first_page(operation: Operation, page: str) -> Json:
    return next(each.shape.read("1") for each in operation.signature.parameters if each.key == page)


def _place(environment: str, kind: str) -> Steps:
    return ("environments", environment, "resources", kind)


# -- from an operation --------------------------------------------------------------------------------------------


def _from_operation(
    spec: ToolSpec, view: View, kind: str, entry: CatalogueEntry, reading: ReadingEntry
) -> LiveCatalogue:
    ruled = next((each for each in view.operations if each.declared.id == reading.operation), None)
    wrong = _unreadable(view, reading, ruled)
    if wrong is not None:
        steps = (*_place(view.environment, kind), "from", "operation")
        raise BundleError([spec.problem(steps, "resources.operation", wrong)])
    return LiveCatalogue(
        tool=spec.file.tool,
        type=kind,
        operation=f"{spec.file.tool}.{reading.operation}",
        items=parse_expression(reading.items),
        id=reading.id,
        arguments=reading.arguments,
        next=None if reading.next is None else parse_expression(reading.next),
        page=reading.page,
        max_items=reading.max_items,
        ttl_s=entry.every_s,
        stale_s=entry.relied_on_s,
    )


def _unreadable(view: View, reading: ReadingEntry, ruled: Ruled | None) -> str | None:
    """SECURITY: the gate calls it by itself, again and again, so it must be allowed here and change nothing."""
    name = reading.operation
    if ruled is None:
        near = did_you_mean(name, [each.declared.id for each in view.operations])
        return f"`{name}` is no operation of this tool in `{view.environment}`{near}"
    if ruled.effect != "read":
        return f"`{name}` is of effect {ruled.effect}; a catalogue is read by an operation of effect read"
    if not ruled.allowed:
        return f"`{name}` is not allowed in `{view.environment}`; add it to `allow`"
    if ruled.declared.method == "HEAD":
        return f"`{name}` is a HEAD, whose answer holds no list"
    return None


def _declared_shape(live: LiveCatalogue, operation: Operation) -> Fields:
    """The attributes that the operation's declared answer promises; none where it declares nothing."""
    schema = operation.responses.schema(_OK)
    item = _item_of(kind_of(schema), live.items) if schema is not None else None
    if not isinstance(item, Fields):
        return _NOTHING_KNOWN
    return Fields({name: member for name, member in item.members.items() if name != live.id})


def _misread(live: LiveCatalogue, operation: Operation) -> str | None:
    """What `items` or `id` names that the declared answer does not have, where it has one that was meant."""
    schema = operation.responses.schema(_OK)
    found: Kind | None = kind_of(schema) if schema is not None else None
    for token in (*_steps_to(live.items), live.id):
        fields = _variant(found, "object")
        if token != EVERY and isinstance(fields, Fields) and token not in fields.members:
            meant = did_you_mean(token, fields.members)
            return f"the answer of `{operation.id}` declares no `{token}`{meant}" if meant else None
        found = _inside(found, token)
    return None


def _item_of(kind: Kind, items: Expression) -> Kind | None:
    found: Kind | None = kind
    for token in _steps_to(items):
        found = _inside(found, token)
    return _variant(found, "object")


def _steps_to(items: Expression) -> tuple[str, ...]:
    """The steps to one item: an expression without a wildcard names their array."""
    return items.tokens if EVERY in items.tokens else (*items.tokens, EVERY)


def _inside(kind: Kind | None, token: str) -> Kind | None:
    if token == EVERY and isinstance(many := _variant(kind, "array"), Many):
        return many.of
    fields = _variant(kind, "object")
    member = fields.members.get(token) if isinstance(fields, Fields) else None
    return member.kind if member is not None else None


def _variant(kind: Kind | None, wanted: str) -> Kind | None:
    return (
        next((each for name, each in kind.by.items() if name == wanted), None) if isinstance(kind, Variants) else kind
    )


# -- from a file --------------------------------------------------------------------------------------------------


def _from_file(folder: Folder, spec: ToolSpec, view: View, kind: str, entry: CatalogueEntry) -> ResourceCatalogue:
    path = spec.folder / str(entry.file)
    line = spec.parsed.line(_place(view.environment, kind))
    return ResourceCatalogue(kind, _listed(folder, Named(path, spec.shown, line), entry.id or "id"))


def _listed(folder: Folder, named: Named, id_key: str) -> Mapping[str, Mapping[str, Json]]:
    shown = folder.name(named.path)
    parsed = strict_parse(folder.read_named(named), shown)
    if not isinstance(parsed.value, list):
        message = f"is not a list; write one object for each resource, such as `- {{{id_key}: node_load1}}`"
        raise BundleError([Problem(shown, 1, "resources.list", message)])
    found: dict[str, Mapping[str, Json]] = {}
    problems = []
    for at, item in enumerate(parsed.value):
        wrong = _add(found, item, id_key)
        if wrong:
            problems.append(Problem(shown, parsed.line((at,)), "resources.item", wrong))
    if problems:
        raise BundleError(problems)
    return found


def _add(found: dict[str, Mapping[str, Json]], item: Json, id_key: str) -> str | None:
    """Add one resource; return what is wrong with it."""
    if not isinstance(item, dict) or id_key not in item:
        return f"has no `{id_key}`; each resource is an object with its id and its attributes"
    name = item[id_key]
    if not isinstance(name, str) or not name:
        return f"has an `{id_key}` that is not text; quote it"
    if name in found:
        return f"lists `{name}` twice; keep one"
    found[name] = {key: value for key, value in item.items() if key != id_key}
    return None
