"""Files → Bundle: everything read, judged and compiled, or every problem at once.

RULE: the revision covers the bytes of every file that was read and the environment's name, and nothing else counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from toolgate.core.actions import EFFECTS
from toolgate.core.budget import BYTES, CALLS
from toolgate.core.budgets import Budgets
from toolgate.core.bundle import Bundle, BundleError, Mode, Note, Problem, Tool
from toolgate.core.catalog import Catalog, Operation, Target
from toolgate.core.course import Courses
from toolgate.core.kinds import Fields
from toolgate.core.plan import NO_RULES, PlanRules
from toolgate.core.policies import Policies
from toolgate.load.attributes import contradictions
from toolgate.load.budgets import FILE as BUDGETS_FILE
from toolgate.load.budgets import BudgetsSource, Terms, lowered, misnamed
from toolgate.load.catalogues import Catalogues, ids_of, unaskable, uncovered
from toolgate.load.constraints import Constraints
from toolgate.load.files import Folder
from toolgate.load.lattice import lattice_problems
from toolgate.load.models import did_you_mean
from toolgate.load.openapi import names_of, visible
from toolgate.load.operations import Builder
from toolgate.load.plans import PlansSource
from toolgate.load.plans import contradictions as contradictory_plans
from toolgate.load.plans import lowered as lowered_plans
from toolgate.load.plans import misnamed as misnamed_in_plans
from toolgate.load.policies import PoliciesFolder, Standing, judge, read_policies
from toolgate.load.targets import target_of
from toolgate.load.tools import TOOL_FILE, ToolSpec, read_tool

if TYPE_CHECKING:
    from toolgate.core.policy import Statement

MAX_TITLE: Final = 200


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a bundle is read from, and for which environment. `environments` are widest first."""

    toolspecs: Path
    policies: Path | None
    environment: str
    environments: tuple[str, ...]
    mode: Mode = "enforce"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A bundle with the toolspecs it was made from: what `check` reports on."""

    bundle: Bundle
    specs: tuple[ToolSpec, ...]


def load(sources: Sources) -> Bundle:
    """Read everything and return the bundle. Raises BundleError with every problem, sorted."""
    return load_all(sources).bundle


def load_all(sources: Sources) -> Loaded:
    """As `load`, with the toolspecs of every environment."""
    loading = _Loading(sources)
    toolspecs = Folder(sources.toolspecs, str(sources.toolspecs))
    folders = [toolspecs]
    policies = PoliciesFolder()
    if sources.policies is not None:
        folders.append(Folder(sources.policies, str(sources.policies)))
        policies = read_policies(folders[1])
    specs = loading.read(toolspecs)
    loading.build(toolspecs, specs)
    loading.judge(policies, specs)
    if loading.problems:
        raise BundleError(loading.problems)
    return Loaded(loading.bundle(specs, _revision(sources, folders)), tuple(specs))


@dataclass(slots=True)
class _Loading:
    """What was found so far, and everything that is wrong with it."""

    sources: Sources
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    here: list[Operation] = field(default_factory=list)
    elsewhere: list[Operation] = field(default_factory=list)
    targets: dict[str, Target] = field(default_factory=dict)
    everywhere: dict[str, Catalogues] = field(default_factory=dict)  # by environment
    shapes: Mapping[str, Mapping[str, Fields]] = field(default_factory=dict)
    statements: tuple[Statement, ...] = ()
    budgets: Budgets = field(default_factory=Budgets)
    plans: PlanRules = NO_RULES

    @property
    def catalogues(self) -> Catalogues:
        return self.everywhere.setdefault(self.sources.environment, Catalogues())

    def read(self, folder: Folder) -> list[ToolSpec]:
        if self.sources.environment not in self.sources.environments:
            known = ", ".join(f"`{name}`" for name in self.sources.environments)
            hint = did_you_mean(self.sources.environment, self.sources.environments)
            message = f"the environment `{self.sources.environment}` is not one of `environments`: {known}{hint}"
            self.problems.append(Problem("settings", 0, "environment.unknown", message))
        specs = []
        for path in self._tool_files(folder):
            try:
                specs.append(read_tool(folder, path, self.sources.environments))
                self.problems += specs[-1].problems
            except BundleError as error:
                self.problems += error.problems
        self.problems += _same_names(specs)
        if not self.problems:  # a document that could not be read would make its operations look unknown
            self.problems += _unknown_ways(specs)
        return specs

    def _tool_files(self, folder: Folder) -> list[Path]:
        try:
            folders = [
                path for path in sorted(folder.root.iterdir()) if path.is_dir() and not path.name.startswith(".")
            ]
        except OSError as error:
            reason = (error.strerror or "it cannot be opened").lower()
            message = f"cannot be read: {reason}; run `toolgate init --openapi FILE --tool NAME`, or set `toolspecs:`"
            self.problems.append(Problem(folder.shown, 0, "toolspecs.missing", message))
            return []
        files = [path / TOOL_FILE for path in folders if (path / TOOL_FILE).is_file()]
        if not files:
            message = "holds no `NAME/tool.yaml`; run `toolgate init --openapi FILE --tool NAME`"
            self.problems.append(Problem(folder.shown, 0, "toolspecs.empty", message))
        return files

    def build(self, folder: Folder, specs: list[ToolSpec]) -> None:
        """Compile every tool for this environment, and judge what it has for the others."""
        allowed = frozenset(_allowed_keys(specs, self.sources.environment))
        names = names_of((spec.file.tool, name) for spec in specs for name in _ids(spec))
        for spec in specs:
            self.notes += spec.notes
            self._check_environments(folder, spec)
            self.problems += lattice_problems(spec)
        for spec in specs:
            builder = Builder(spec, names, allowed, self.catalogues)
            view = spec.views.get(self.sources.environment)
            if view is not None:
                self.here += builder.here(view, self.targets.get(spec.file.tool))
            self.elsewhere += builder.elsewhere(self.sources.environment)
            builder.finish()
            self.problems += builder.problems
            self.notes += builder.notes
        self._describe_resources({spec.file.tool: spec for spec in specs})
        self.problems += _strangers(folder, self.problems)

    def judge(self, policies: PoliciesFolder, specs: list[ToolSpec]) -> None:
        """Read the statements: where the catalog stands, against everything they may name."""
        stands = not self.problems  # else what is named could be in what could not be read
        judged = judge(policies.cedar, self._standing(policies, specs) if stands else None)
        self.statements = judged.statements
        self.notes += judged.notes
        self.problems += (*policies.problems, *judged.problems)
        by_tool = {spec.file.tool: spec for spec in specs}
        self.problems += (*_group_names(specs), *contradictions(self.shapes, by_tool, self.sources.environment))
        if stands and policies.plans is not None:
            self._lower_plans(policies.plans, _keys(specs))

    def _standing(self, policies: PoliciesFolder, specs: list[ToolSpec]) -> Standing:
        """What statements may name, and what they may read of a run: the budgets say what is counted of it."""
        sources, costs = self.sources, {name: spec.shown for spec in specs for name in _costs(spec)}
        self._lower_budgets(policies.budgets, costs, specs)
        # A file with a mistake counts nobody knows what: then no statement is wrong.
        is_unread = policies.problems and (policies.budgets is None or policies.budgets.file is None)
        return Standing(
            sources.environment,
            sources.environments,
            self.here,
            self.elsewhere,
            self.shapes,
            ids_of(self.everywhere, specs),
            frozenset((*costs, CALLS, BYTES)) if is_unread else self.budgets.counted_by_run,
        )

    def _lower_budgets(self, source: BudgetsSource | None, costs: Mapping[str, str], specs: list[ToolSpec]) -> None:
        """Hold the budgets against what they name."""
        if source is not None:
            terms = Terms(self.sources.environment, self.here, _keys(specs), frozenset(costs))
            self.problems += misnamed(source, terms)
            if source.file is not None:
                self.budgets = lowered(source.file, terms)
        self.notes += _uncounted(costs, self.budgets)

    def _lower_plans(self, source: PlansSource, keys: frozenset[str]) -> None:
        self.problems += misnamed_in_plans(source, keys)
        if source.file is not None:
            self.plans = lowered_plans(source.file, keys)
            self.problems += contradictory_plans(source, self.plans)

    def _describe_resources(self, specs: Mapping[str, ToolSpec]) -> None:
        """See that the live catalogues can be asked for, and what attributes policies may rely on."""
        if self.problems:
            return
        operations = {operation.key: operation for operation in self.here}
        for live in self.catalogues.live:
            spec = specs[live.tool]
            self.problems += unaskable(spec, self.sources.environment, live, operations[live.operation])
        self.shapes = self.catalogues.shapes(operations)
        self.notes += uncovered(self.here, self.catalogues, self.shapes, specs)

    def _check_environments(self, folder: Folder, spec: ToolSpec) -> None:
        for view in spec.views.values():
            is_here = view.environment == self.sources.environment
            try:
                target = target_of(spec, view)
                if is_here:
                    self.targets[spec.file.tool] = target
            except BundleError as error:
                self.problems += error.problems
            try:
                self.everywhere.setdefault(view.environment, Catalogues()).add(folder, spec, view)
            except BundleError as error:
                self.problems += error.problems

    def bundle(self, specs: Iterable[ToolSpec], revision: str) -> Bundle:
        return Bundle(
            revision=revision,
            environment=self.sources.environment,
            environments=self.sources.environments,
            catalog=Catalog(self.here, self.elsewhere),
            tools={spec.file.tool: self._tool(spec) for spec in specs},
            resources=self.catalogues.files,
            live=tuple(self.catalogues.live),
            shapes=self.shapes,
            notes=tuple(dict.fromkeys(self.notes)),
            mode=self.sources.mode,
            policies=Policies(self.statements, len(self.here), self.shapes),
            budgets=self.budgets,
            plans=self.plans,
            courses=Courses(Constraints().compiled),
        )

    def _tool(self, spec: ToolSpec) -> Tool:
        view = spec.views.get(self.sources.environment)
        shown = view or next(iter(spec.views.values()), None)
        return Tool(
            name=spec.file.tool,
            title=visible(shown.document.title, MAX_TITLE) if shown else "",
            version=visible(shown.document.api_version, MAX_TITLE) if shown else "",
            environments=tuple(spec.views),
            target=self.targets.get(spec.file.tool),
            path=spec.shown,
        )


def _keys(specs: Iterable[ToolSpec]) -> frozenset[str]:
    """Every operation there is in some environment."""
    return frozenset(f"{spec.file.tool}.{name}" for spec in specs for name in _ids(spec))


def _ids(spec: ToolSpec) -> Iterator[str]:
    return iter(dict.fromkeys(each.declared.id for view in spec.views.values() for each in view.operations))


def _costs(spec: ToolSpec) -> Iterator[str]:
    """The names of costs that some operation has in some environment."""
    ruled = (each.rules["cost"] for view in spec.views.values() for each in view.operations if "cost" in each.rules)
    return iter(dict.fromkeys(name for rule in ruled for name in rule.value))


def _uncounted(costs: Mapping[str, str], budgets: Budgets) -> Iterator[Note]:
    for name in sorted(costs.keys() - budgets.dimensions):
        message = f"the cost `{name}` is counted by no budget; add one to `policies/{BUDGETS_FILE}`"
        yield Note(costs[name], "", "not_enforced", message)


def _allowed_keys(specs: Iterable[ToolSpec], environment: str) -> Iterator[str]:
    for spec in specs:
        view = spec.views.get(environment)
        for each in view.operations if view else ():
            if each.allowed:
                yield f"{spec.file.tool}.{each.declared.id}"


def _same_names(specs: Iterable[ToolSpec]) -> Iterator[Problem]:
    first: dict[str, ToolSpec] = {}
    for spec in specs:
        other = first.setdefault(spec.file.tool, spec)
        if other is not spec:
            message = f"the tool `{spec.file.tool}` is also defined in `{other.shown}`; give one another name"
            yield spec.problem(("tool",), "tool.repeated", message)


def _group_names(specs: Iterable[ToolSpec]) -> Iterator[Problem]:
    """Tools that policies could not tell from a group of actions."""
    for spec in specs:
        if spec.file.tool in EFFECTS:
            message = f"policies call a group of actions `{spec.file.tool}`; give the tool another name"
            yield spec.problem(("tool",), "tool.reserved", message)


def _unknown_ways(specs: list[ToolSpec]) -> Iterator[Problem]:
    """Recoveries that lead to an operation no document has."""
    known = {f"{spec.file.tool}.{name}" for spec in specs for name in _ids(spec)}
    for spec in specs:
        rules = (
            each.rules["recovery"]
            for view in spec.views.values()
            for each in view.operations
            if "recovery" in each.rules
        )
        for rule in rules:
            for use in (use for way in rule.value.values() for use in way.use if use not in known):
                message = f"`recovery` leads to `{use}`, which no document has{did_you_mean(use, known)}"
                yield Problem(rule.shown, rule.line, "recovery.use", message)


def _strangers(folder: Folder, problems: list[Problem]) -> Iterator[Problem]:
    """Folders without a tool.yaml that no document refers to: a misspelt file would make a tool vanish unseen."""
    if problems or not folder.root.is_dir():
        return
    for path in sorted(folder.root.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and not folder.was_read(f"{path.name}/"):
            message = f"has no `{TOOL_FILE}`, and no document refers to it; add one, or remove the folder"
            yield Problem(folder.name(path), 0, "toolspecs.stranger", message)


def _revision(sources: Sources, folders: Iterable[Folder]) -> str:
    digest = hashlib.sha256()
    parts = [sources.environment] if sources.mode == "enforce" else [sources.environment, "mode", sources.mode]
    for kind, folder in zip(("toolspecs", "policies"), folders, strict=False):
        for name, content in folder.digests():
            parts += [kind, name, content]
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())  # the length keeps two lists of parts apart
    return f"sha256:{digest.hexdigest()}"
