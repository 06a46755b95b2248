"""The bundle: everything configured, as one immutable value with a content hash, and what can be wrong with it.

RULE: a bundle is whole or it is not there; a reload builds another one aside and swaps one reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from toolgate.core.budgets import Budgets
from toolgate.core.course import Courses
from toolgate.core.model import Json, ResourceCatalogue
from toolgate.core.plan import NO_RULES, PlanRules
from toolgate.core.policies import Policies

if TYPE_CHECKING:
    from toolgate.core.catalog import Catalog, Target
    from toolgate.core.expressions import Expression
    from toolgate.core.kinds import Fields


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with the configuration; `line` and `column` are 0 where they mean nothing."""

    path: str
    line: int
    code: str
    message: str
    column: int = 0

    @property
    def place(self) -> str:
        """Where it is, as an editor jumps to it."""
        if not self.line:
            return self.path
        return f"{self.path}:{self.line}:{self.column}" if self.column else f"{self.path}:{self.line}"

    def __str__(self) -> str:
        return f"{self.place}: {self.code}: {self.message}"


class BundleError(Exception):
    """The configuration is refused whole. Carries every problem that was found, sorted."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__("; ".join(map(str, self.problems)))


# audit: what `decide` refuses is sent all the same, and journaled with what it would have been.
Mode: TypeAlias = Literal["enforce", "audit"]
NoteKind: TypeAlias = Literal["reported", "not_understood", "not_enforced", "unproven", "uncovered", "unlisted"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something in a document or file that is accepted and not enforced: `check` prints it, nothing is refused."""

    path: str  # the file
    pointer: str  # where in it: a JSON Pointer, or empty for the file as a whole
    kind: NoteKind
    message: str


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
class LiveCatalogue:
    """The resources of one type as an operation of the same tool lists them: what to ask, and how often."""

    tool: str
    type: str
    operation: str  # its key
    items: Expression  # where in a reply the array of resources stands
    id: str  # the key of each that holds its id
    arguments: Mapping[str, Json] = field(default_factory=dict)
    next: Expression | None = None  # where a reply says how to ask for the next page
    page: str | None = None  # the argument that asks for it; alone: pages are counted
    max_items: int = 10_000
    ttl_s: float = 30.0  # between two readings
    stale_s: float = 300.0  # older than this, it is not relied on


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything a decision may read. A call pins its bundle at entry."""

    revision: str  # sha256:…, over names and bytes of every file that counts, and the environment's name
    environment: str
    environments: tuple[str, ...]  # widest first
    catalog: Catalog
    tools: Mapping[str, Tool]
    resources: Mapping[str, Mapping[str, ResourceCatalogue]] = field(default_factory=dict)  # tool → type, from files
    live: tuple[LiveCatalogue, ...] = ()
    shapes: Mapping[str, Mapping[str, Fields]] = field(default_factory=dict)  # tool → type → what policies may read
    notes: tuple[Note, ...] = ()
    mode: Mode = "enforce"
    policies: Policies = Policies(())  # noqa: RUF009 (immutable: nothing is allowed by it)
    budgets: Budgets = Budgets()  # noqa: RUF009 (immutable: nothing is bounded by it)
    plans: PlanRules = NO_RULES
    courses: Courses = field(default_factory=Courses, compare=False)  # plans that are followed, compiled against this

    @property
    def own_reads(self) -> frozenset[str]:
        """The keys of the operations the gate may call as itself (`model.OWN`): those that live catalogues name."""
        return frozenset(live.operation for live in self.live)

    @property
    def max_body(self) -> int:
        """The largest body any allowed operation takes: what a listener may read before the operation is known."""
        return self.catalog.max_body
