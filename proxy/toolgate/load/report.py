"""What `toolgate check` has to say once nothing is wrong: what is enforced, what is only reported, what is not understood.

RULE: everything is loaded for every environment, so that what passes here starts everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from toolgate.core.actions import ROLE
from toolgate.core.budget import SECONDS
from toolgate.core.bundle import Bundle, BundleError, Note, NoteKind, Problem
from toolgate.core.cursor import is_required
from toolgate.core.loop import NO_LOOPS
from toolgate.core.model import Effect
from toolgate.core.policy import Statement
from toolgate.core.responses import Responses
from toolgate.core.signature import Signature
from toolgate.load.bounds import boundless
from toolgate.load.bundle import Loaded, Sources, load_all
from toolgate.load.documents import Document, load_document
from toolgate.load.files import Folder
from toolgate.load.openapi import Declared, operations_of
from toolgate.load.operations import note_of
from toolgate.load.schemas import Schemas
from toolgate.load.tools import ToolSpec, View


@dataclass(frozen=True, slots=True)
class DocumentReport:
    """One document: what of it is enforced on every call, and what is not."""

    path: str
    title: str
    openapi: str  # 2.0, 3.0, 3.1 or 3.2
    operations: int
    parameters: int  # decoded, judged and written again
    bodies: int  # request bodies, by media type, decoded and judged
    responses: int  # operations whose replies are judged against declared JSON
    reported: tuple[Note, ...]  # enforced in another way than written, or only reported
    not_understood: tuple[Note, ...]  # accepted and not enforced


@dataclass(frozen=True, slots=True)
class ViewReport:
    """One tool in one environment."""

    tool: str
    environment: str
    upstream: str
    operations: int
    allowed: int
    allowed_by_effect: dict[Effect, int]
    resources: dict[str, int]  # how many of each type are catalogued in files
    live: dict[str, str]  # by type: the operation whose answer lists them, which only a running gate reads


@dataclass(frozen=True, slots=True)
class LatticeReport:
    """What was proven of two environments: each effectful operation of the narrower is allowed in the wider."""

    tool: str
    wider: str
    narrower: str
    effectful: int


@dataclass(frozen=True, slots=True)
class IdleStatement:
    """A statement that can hold for no call."""

    id: str
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class NamedRole:
    """A role that a statement names or asks for: whether anybody can have it is for the settings to say."""

    role: str
    statement: str
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class PermitsReport:
    """What the statements could permit in one environment, said of scopes only: who calls and with what is open."""

    environment: str
    allowed: int
    unpermitted: tuple[str, ...]  # allowed by the toolspec, and no statement can permit them
    for_anyone: dict[str, tuple[str, ...]]  # statements that permit a change to any principal, and the operations
    idle: tuple[IdleStatement, ...]


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """Every statement, and what they reach."""

    statements: int
    permits: int
    audit: int  # evaluated and journaled, not enforced
    approvals: int  # that ask for a person
    idle: tuple[IdleStatement, ...]  # in every environment
    environments: tuple[PermitsReport, ...]
    unproven: tuple[Note, ...]  # why a narrower environment may permit more than a wider one
    roles: tuple[NamedRole, ...]  # every role a statement names
    approvers: tuple[NamedRole, ...]  # every role a statement asks for


@dataclass(frozen=True, slots=True)
class BudgetsReport:
    """What bounds calls."""

    budgets: int
    dimensions: tuple[str, ...]
    limits: int
    loops: bool
    by_run_only: tuple[str, ...]  # dimensions of which an agent gets anew with every run it opens
    notes: tuple[str, ...] = ()  # what bounds nothing, and costs that a reply may keep to itself


@dataclass(frozen=True, slots=True)
class PlansReport:
    """What plans must keep to."""

    required: tuple[str, ...]  # operations allowed here that are called as steps only
    free: tuple[str, ...]  # and those that are called outside plans
    orders: int
    kept: tuple[str, ...]  # operations whose steps no revision drops for free
    approve: tuple[str, ...]  # roles that must approve every plan


@dataclass(frozen=True, slots=True)
class Report:
    """A whole configuration that loads in every environment."""

    environment: str
    revision: str
    documents: tuple[DocumentReport, ...]
    views: tuple[ViewReport, ...]
    lattice: tuple[LatticeReport, ...]
    policies: PolicyReport
    budgets: BudgetsReport
    plans: PlansReport
    not_enforced: tuple[Note, ...]  # files and keys that are kept for a later version
    uncovered: tuple[Note, ...]  # `covers` that asks for what a live catalogue may not tell
    unlisted: tuple[Note, ...]  # types of resources that no catalogue lists, so that every name exists


def check(sources: Sources) -> Report:
    """Load for every environment and report. Raises BundleError with the problems of all of them."""
    loaded: dict[str, Loaded] = {}
    problems: dict[Problem, list[str]] = {}
    for environment in dict.fromkeys((sources.environment, *sources.environments)):
        try:
            loaded[environment] = load_all(replace(sources, environment=environment))
        except BundleError as error:
            for problem in error.problems:
                problems.setdefault(problem, []).append(environment)
    if problems:
        raise BundleError(_placed(problem, where, sources.environment) for problem, where in problems.items())
    here = loaded[sources.environment]
    return Report(
        environment=sources.environment,
        revision=here.bundle.revision,
        documents=tuple(_documents(here.specs)),
        views=tuple(_view(spec, view, loaded) for spec in here.specs for view in spec.views.values()),
        lattice=tuple(_lattice(here.specs)),
        policies=_policies([each.bundle for each in loaded.values()]),
        budgets=_budgets(here.bundle, [each.bundle for each in loaded.values()]),
        plans=_plans(here.bundle),
        not_enforced=_notes([here.bundle], "not_enforced"),
        uncovered=_notes((each.bundle for each in loaded.values()), "uncovered"),
        unlisted=_notes((each.bundle for each in loaded.values()), "unlisted"),
    )


def _notes(bundles: Iterable[Bundle], kind: NoteKind) -> tuple[Note, ...]:
    """The notes of a kind, each once."""
    return tuple(dict.fromkeys(note for bundle in bundles for note in bundle.notes if note.kind == kind))


def _placed(problem: Problem, environments: list[str], here: str) -> Problem:
    """Say where a statement is wrong that is sound here: documents and catalogues differ."""
    if not problem.code.startswith("policy.") or here in environments:
        return problem
    if all(f"`{name}`" in problem.message for name in environments):
        return problem  # it says so itself
    where = ", ".join(f"`{name}`" for name in environments)
    return replace(problem, message=f"{problem.message} (in {where})")


def check_document(path: Path) -> DocumentReport:
    """Report on a bare document, with the files beside it. Raises BundleError with every problem."""
    folder = Folder(path.parent, str(path.parent))
    document = load_document(folder, path)
    found = operations_of(document)
    return _document(document, found.declared, found.notes, closed_bodies=False)


def _documents(specs: Iterable[ToolSpec]) -> Iterator[DocumentReport]:
    for spec in specs:
        documents = {id(view.document): view for view in spec.views.values()}
        for view in documents.values():
            declared = [each.declared for each in view.operations]
            notes = [note for note in spec.notes if note.path == view.document.shown]
            yield _document(view.document, declared, notes, closed_bodies=spec.file.closed_bodies)


def _document(
    document: Document, declared: list[Declared], notes: Iterable[Note], *, closed_bodies: bool
) -> DocumentReport:
    schemas = Schemas(document.value, document.version, closed_bodies=closed_bodies)
    signatures = [schemas.signature(each.method, each.template, each.path_item, each.operation) for each in declared]
    schemas.compile()
    if schemas.problems:
        problems = (
            Problem(document.shown, 0, "document.schema", f"{at.removeprefix('#')}: {told}")
            for at, told in schemas.problems
        )
        raise BundleError(problems)
    every = (*notes, *(note_of(document, note) for note in schemas.notes))
    return DocumentReport(
        path=document.shown,
        title=document.title,
        openapi=document.version,
        operations=len(declared),
        parameters=_count(signatures, "parameters"),
        bodies=_count(signatures, "bodies"),
        responses=sum(_declares_json(schemas.responses(each.operation)) for each in declared),
        reported=tuple(note for note in every if note.kind == "reported"),
        not_understood=tuple(note for note in every if note.kind == "not_understood"),
    )


def _declares_json(responses: Responses) -> bool:
    """Whether a reply of some successful status is judged."""
    return any(responses.declared_json(status, "application/json") for status in (200, 201, 202, 203))


def _count(signatures: Iterable[Signature], what: str) -> int:
    return sum(len(getattr(signature, what)) for signature in signatures)


def _view(spec: ToolSpec, view: View, loaded: dict[str, Loaded]) -> ViewReport:
    bundle = loaded[view.environment].bundle
    target = bundle.tools[spec.file.tool].target
    allowed = [each for each in view.operations if each.allowed]
    effects = Counter(each.effect for each in allowed)
    return ViewReport(
        tool=spec.file.tool,
        environment=view.environment,
        upstream=target.url if target else "",
        operations=len(view.operations),
        allowed=len(allowed),
        allowed_by_effect={effect: effects[effect] for effect in ("read", "write", "destructive")},
        resources={kind: len(each.attributes) for kind, each in bundle.resources.get(spec.file.tool, {}).items()},
        live={each.type: each.operation for each in bundle.live if each.tool == spec.file.tool},
    )


def _lattice(specs: Iterable[ToolSpec]) -> Iterator[LatticeReport]:
    for spec in specs:
        for wider, narrower in combinations(spec.views.values(), 2):
            effectful = sum(each.allowed and each.effect != "read" for each in narrower.operations)
            yield LatticeReport(spec.file.tool, wider.environment, narrower.environment, effectful)


def _policies(bundles: Iterable[Bundle]) -> PolicyReport:
    every = list(bundles)
    statements = every[0].policies.statements.values()  # the same files serve every environment
    environments = tuple(map(_permits, every))
    nowhere = set.intersection(*(set(each.idle) for each in environments))
    return PolicyReport(
        statements=len(statements),
        permits=sum(each.effect == "permit" for each in statements),
        audit=sum(each.audit for each in statements),
        approvals=sum(each.approval is not None for each in statements),
        idle=tuple(each for each in environments[0].idle if each in nowhere),
        environments=environments,
        unproven=_notes(every, "unproven"),
        roles=tuple(_roles(statements)),
        approvers=tuple(
            NamedRole(each.approval, each.id, each.file, each.line) for each in statements if each.approval is not None
        ),
    )


def _roles(statements: Iterable[Statement]) -> Iterator[NamedRole]:
    for each in statements:
        from toolgate.load.cedar.tree import named_in  # noqa: PLC0415 - Cedar: only where there are policies

        for entity in named_in(each.template).entities:
            if str(entity.type) == ROLE:
                yield NamedRole(entity.id, each.id, each.file, each.line)


def _budgets(here: Bundle, everywhere: Iterable[Bundle]) -> BudgetsReport:
    budgets = here.budgets
    of_runs = {each.dimension for each in budgets.budgets if "run" in each.scope}
    of_others = {each.dimension for each in budgets.budgets if "run" not in each.scope}
    return BudgetsReport(
        budgets=len({each.name for each in budgets.budgets}),
        dimensions=tuple(sorted(budgets.dimensions)),
        limits=len(budgets.limits),
        loops=budgets.loops != NO_LOOPS,
        by_run_only=tuple(sorted(of_runs - of_others - {SECONDS})),
        notes=boundless(here, everywhere),
    )


def _plans(bundle: Bundle) -> PlansReport:
    rules, allowed = bundle.plans, bundle.catalog.allowed
    return PlansReport(
        required=tuple(each.key for each in allowed if is_required(each, rules)),
        free=tuple(each.key for each in allowed if each.key in rules.free),
        orders=len(rules.order),
        kept=tuple(sorted(rules.require)),
        approve=rules.approve,
    )


def _permits(bundle: Bundle) -> PermitsReport:
    allowed = bundle.catalog.allowed
    if not bundle.policies.statements:
        unpermitted = tuple(operation.key for operation in allowed)
        return PermitsReport(bundle.environment, len(allowed), unpermitted, {}, ())
    from toolgate.load.cedar.reach import Reach, is_for_anyone  # noqa: PLC0415 - Cedar: only where there are policies

    reach = Reach(bundle)
    statements = bundle.policies.statements.values()
    anyone = {each.id for each in statements if each.effect == "permit" and is_for_anyone(each)}
    for_anyone: dict[str, list[str]] = {}
    for operation, permits in reach.permits.items():
        for each in permits if operation.effect != "read" else ():
            if each.id in anyone:
                for_anyone.setdefault(each.id, []).append(operation.key)
    return PermitsReport(
        environment=bundle.environment,
        allowed=len(allowed),
        unpermitted=tuple(operation.key for operation, permits in reach.permits.items() if not permits),
        for_anyone={name: tuple(keys) for name, keys in for_anyone.items()},
        idle=tuple(IdleStatement(each.id, each.file, each.line) for each in statements if each.id not in reach.reached),
    )
