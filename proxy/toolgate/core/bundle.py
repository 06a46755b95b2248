"""The bundle: everything configured, as one immutable value with a content hash, and what can be wrong with it.

RULE: a bundle is whole or it is not there; a reload builds another one aside and swaps one reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from toolgate.core.model import Json

if TYPE_CHECKING:
    from toolgate.core.catalog import Catalog, Target


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with the configuration; `line` is 0 where a line means nothing."""

    path: str
    line: int
    code: str
    message: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}" if self.line else self.path
        return f"{where}: {self.code}: {self.message}"


class BundleError(Exception):
    """The configuration is refused whole. Carries every problem that was found, sorted."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__("; ".join(map(str, self.problems)))


NoteKind: TypeAlias = Literal["reported", "not_understood", "not_enforced"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something in a document or file that is accepted and not enforced: `check` prints it, nothing is refused."""

    path: str  # the file
    pointer: str  # where in it: a JSON Pointer, or empty for the file as a whole
    kind: NoteKind
    message: str


@dataclass(frozen=True, slots=True)
class ResourceCatalogue:
    """The resources of one type that exist in this environment, with their attributes."""

    type: str
    attributes: Mapping[str, Mapping[str, Json]]  # by id

    def __contains__(self, resource_id: object) -> bool:
        return resource_id in self.attributes


@dataclass(frozen=True, slots=True)
class Tool:
    """One toolspec as this environment sees it."""

    name: str
    title: str  # the document's own
    version: str
    environments: tuple[str, ...]  # those it has an entry for, widest first
    target: Target | None  # None: it does not exist in this environment
    path: str  # its tool.yaml


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything a decision may read. A call pins its bundle at entry."""

    revision: str  # sha256:…, over names and bytes of every file that counts, and the environment's name
    environment: str
    environments: tuple[str, ...]  # widest first
    catalog: Catalog
    tools: Mapping[str, Tool]
    resources: Mapping[str, Mapping[str, ResourceCatalogue]] = field(default_factory=dict)  # tool → type → what exists
    notes: tuple[Note, ...] = ()

    @property
    def max_body(self) -> int:
        """The largest body any allowed operation takes: what a listener may read before the operation is known."""
        return self.catalog.max_body
