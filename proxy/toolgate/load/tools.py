"""One tool's folder, read whole: its tool.yaml, its documents, and what holds for each operation in each environment.

RULE: a pattern that matches nothing is a problem, deny beats allow, and nothing listed means nothing allowed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from toolgate.core.bundle import BundleError, Note, Problem
from toolgate.core.model import Effect
from toolgate.load.documents import Document, load_document
from toolgate.load.files import Folder, Named
from toolgate.load.models import did_you_mean, explained, validated
from toolgate.load.openapi import Declared, operations_of, repeated_ids
from toolgate.load.toolspec import ANNOTATION, NOT_YET, EnvironmentEntry, OperationEntry, ToolFile
from toolgate.load.yaml import Parsed, Steps, strict_parse

TOOL_FILE: Final = "tool.yaml"


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that was said of an operation, and where."""

    value: Any
    shown: str
    line: int


@dataclass(frozen=True, slots=True)
class Ruled:
    """An operation of a document with all that the toolspec says of it in one environment."""

    declared: Declared
    rules: Mapping[str, Rule]
    effect: Effect
    allowed: bool


@dataclass(frozen=True, slots=True)
class View:
    """A tool as one environment has it."""

    environment: str
    entry: EnvironmentEntry
    document: Document
    operations: tuple[Ruled, ...]


@dataclass(slots=True)
class ToolSpec:
    """A tool's folder. `views` follow the order of the settings' environments, widest first."""

    path: Path
    shown: str
    parsed: Parsed
    file: ToolFile
    views: dict[str, View] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.path.parent

    def problem(self, steps: Steps, code: str, message: str) -> Problem:
        return Problem(self.shown, self.parsed.line(steps), code, message)


def read_tool(folder: Folder, path: Path, environments: tuple[str, ...]) -> ToolSpec:
    """Read a tool with its documents; what is wrong with those is in its `problems`. Raises BundleError without a shape."""
    shown = folder.name(path)
    parsed = strict_parse(folder.read(path), shown)
    file = validated(ToolFile, parsed, shown, not_yet=NOT_YET)
    spec = ToolSpec(path, shown, parsed, file)
    spec.problems += _unknown_environments(spec, environments)
    reader = _Reader(folder, spec)
    for environment in environments:
        if environment in file.environments:
            reader.add(environment)
    if set(spec.views) == set(file.environments) & set(environments):
        spec.problems += _unused_patterns(spec)
    return spec


def _unknown_environments(spec: ToolSpec, environments: tuple[str, ...]) -> Iterator[Problem]:
    for name in spec.file.environments:
        if name not in environments:
            known = ", ".join(f"`{each}`" for each in environments)
            message = f"the environment `{name}` is not one of the settings' {known}{did_you_mean(name, environments)}"
            yield spec.problem(("environments", name), "environment.unknown", message)


@dataclass(slots=True)
class _Reader:
    """Reads each document once, however many environments share it."""

    folder: Folder
    spec: ToolSpec
    documents: dict[tuple[str, ...], tuple[Document, list[Declared]]] = field(default_factory=dict)
    patterns: list[tuple[str, Callable[[str], bool], Mapping[str, Rule]]] = field(init=False)

    def __post_init__(self) -> None:
        self.patterns = [
            (pattern, matcher(pattern), _rules(entry, self.spec, ("operations", pattern)))
            for pattern, entry in self.spec.file.operations.items()
        ]

    def add(self, environment: str) -> None:
        entry = self.spec.file.environments[environment]
        try:
            document, declared = self._document(environment, entry)
        except BundleError as error:
            self.spec.problems += error.problems
            return
        allowed = self._allowed(environment, entry, declared)
        operations = tuple(self._ruled(each, document, each.id in allowed) for each in declared)
        self.spec.views[environment] = View(environment, entry, document, operations)

    def _document(self, environment: str, entry: EnvironmentEntry) -> tuple[Document, list[Declared]]:
        file = self.spec.file
        here: Steps = ("environments", environment)
        own = [] if entry.openapi is not None else file.overlays
        overlays = own if entry.overlays is None else entry.overlays
        names = (entry.openapi or file.openapi or "", *overlays)
        if names not in self.documents:
            at_overlays = (*here, "overlays") if entry.overlays is not None else ("overlays",)
            places = [
                (*here, "openapi") if entry.openapi else ("openapi",),
                *((*at_overlays, at) for at in range(len(overlays))),
            ]
            files = [
                Named(self.spec.folder / name, self.spec.shown, self.spec.parsed.line(steps))
                for name, steps in zip(names, places, strict=True)
            ]
            document = load_document(self.folder, *files)
            found = operations_of(document)
            self.spec.notes += found.notes
            self.documents[names] = document, found.declared
        return self.documents[names]

    def _allowed(self, environment: str, entry: EnvironmentEntry, declared: Collection[Declared]) -> set[str]:
        ids = [each.id for each in declared]
        matched: dict[str, set[str]] = {}
        for key, patterns in (("allow", entry.allow), ("deny", entry.deny)):
            matched[key] = set()
            for at, pattern in enumerate(patterns):
                found = set(filter(matcher(pattern), ids))
                matched[key] |= found
                if not found:
                    message = f"`{pattern}` matches no operation `{environment}` has{_meant(pattern, declared)}"
                    steps = ("environments", environment, key, at)
                    self.spec.problems.append(self.spec.problem(steps, "operation.unmatched", message))
        return matched["allow"] - matched["deny"]

    def _ruled(self, declared: Declared, document: Document, allowed: bool) -> Ruled:  # noqa: FBT001 - a value it keeps
        rules = {**self._annotations(declared, document)}
        matched = [(pattern == declared.id, said) for pattern, matches, said in self.patterns if matches(declared.id)]
        for _, said in sorted(matched, key=lambda each: each[0]):  # in the file's order, the very id last
            rules.update(said)
        effect = rules["effect"].value if "effect" in rules else declared.effect
        return Ruled(declared, rules, effect, allowed)

    def _annotations(self, declared: Declared, document: Document) -> Mapping[str, Rule]:
        """What the document itself says of an operation, or its path, as `x-toolgate-…`."""
        given = {**_annotated(declared.path_item), **_annotated(declared.operation)}
        if not given:
            return {}
        try:
            entry = OperationEntry.model_validate(given)
        except ValidationError as error:
            for _, code, message in explained(error, OperationEntry, NOT_YET):
                told = f"{declared.pointer}: in its `{ANNOTATION}…`: {message}"
                self.spec.problems.append(Problem(document.shown, 0, code, told))
            return {}
        return {name: Rule(getattr(entry, name), document.shown, 0) for name in entry.model_fields_set}


def _annotated(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key[len(ANNOTATION) :].replace("-", "_"): node[key] for key in node if key.startswith(ANNOTATION)}


def _rules(entry: OperationEntry, spec: ToolSpec, steps: Steps) -> dict[str, Rule]:
    return {
        name: Rule(getattr(entry, name), spec.shown, spec.parsed.line((*steps, name)))
        for name in entry.model_fields_set
        if getattr(entry, name) is not None
    }


def _unused_patterns(spec: ToolSpec) -> Iterator[Problem]:
    declared = {each.declared.id: each.declared for view in spec.views.values() for each in view.operations}
    for pattern in spec.file.operations:
        if spec.views and not any(map(matcher(pattern), declared)):
            message = f"`{pattern}` matches no operation{_meant(pattern, declared.values())}"
            yield spec.problem(("operations", pattern), "operation.unmatched", message)


def _meant(pattern: str, declared: Collection[Declared]) -> str:
    """How a message about a pattern without a match goes on: an id that repeats is no operation's name."""
    named = repeated_ids(declared).get(pattern)
    if named is None:
        return did_you_mean(pattern, [each.id for each in declared])
    return f": the document has this id more than once, so they are named {', '.join(f'`{name}`' for name in named)}"


def matcher(pattern: str) -> Callable[[str], bool]:
    """`*` and `?` as in a shell, nothing else; a pattern also matches the very id it spells."""
    if "*" not in pattern and "?" not in pattern:
        return pattern.__eq__
    compiled = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
    return lambda name: name == pattern or compiled.fullmatch(name) is not None
