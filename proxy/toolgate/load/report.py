"""What `toolgate check` has to say once nothing is wrong: what is enforced, what is only reported, what is not understood.

RULE: everything is loaded for every environment, so that what passes here starts everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from toolgate.core.bundle import BundleError, Note, Problem
from toolgate.core.model import Effect
from toolgate.core.responses import Responses
from toolgate.core.signature import Signature
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
    resources: dict[str, int]  # how many of each type are catalogued


@dataclass(frozen=True, slots=True)
class LatticeReport:
    """What was proven of two environments: each effectful operation of the narrower is allowed in the wider."""

    tool: str
    wider: str
    narrower: str
    effectful: int


@dataclass(frozen=True, slots=True)
class Report:
    """A whole configuration that loads in every environment."""

    environment: str
    revision: str
    documents: tuple[DocumentReport, ...]
    views: tuple[ViewReport, ...]
    lattice: tuple[LatticeReport, ...]
    not_enforced: tuple[Note, ...]  # files and keys that are kept for a later version


def check(sources: Sources) -> Report:
    """Load for every environment and report. Raises BundleError with the problems of all of them."""
    loaded: dict[str, Loaded] = {}
    problems: list[Problem] = []
    for environment in dict.fromkeys((sources.environment, *sources.environments)):
        try:
            loaded[environment] = load_all(replace(sources, environment=environment))
        except BundleError as error:
            problems += error.problems
    if problems:
        raise BundleError(problems)
    here = loaded[sources.environment]
    return Report(
        environment=sources.environment,
        revision=here.bundle.revision,
        documents=tuple(_documents(here.specs)),
        views=tuple(_view(spec, view, loaded) for spec in here.specs for view in spec.views.values()),
        lattice=tuple(_lattice(here.specs)),
        not_enforced=tuple(note for note in here.bundle.notes if note.kind == "not_enforced"),
    )


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
    )


def _lattice(specs: Iterable[ToolSpec]) -> Iterator[LatticeReport]:
    for spec in specs:
        for wider, narrower in combinations(spec.views.values(), 2):
            effectful = sum(each.allowed and each.effect != "read" for each in narrower.operations)
            yield LatticeReport(spec.file.tool, wider.environment, narrower.environment, effectful)
