"""Policy files to statements: read, parsed, named, checked; every problem of every file at once.

RULE: a statement is whole or it is a problem. What one statement has wrong does not hide what another has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from cedarpy import pst

from toolgate.core.bundle import BundleError, Problem
from toolgate.core.policy import Statement
from toolgate.core.reads import reads
from toolgate.load.cedar.annotations import annotation_problems, repeated_ids, statement_of
from toolgate.load.cedar.checking import Fault, Parsed, alike_of, faults
from toolgate.load.cedar.lexer import Source
from toolgate.load.cedar.names import name_problems
from toolgate.load.cedar.reading import sources_of
from toolgate.load.cedar.resolving import places
from toolgate.load.cedar.retelling import retold
from toolgate.load.cedar.syntax import parse, problem
from toolgate.load.cedar.tree import named_in, nodes
from toolgate.load.cedar.vocabulary import Vocabulary
from toolgate.load.cedar.words import path_text
from toolgate.load.policies import CedarFile

_FIRST: Final = re.compile(r"`([^`]+)`")
_IN: Final = (
    '`in` asks which role a principal or which group an action is in; for a text write `["a", "b"].contains(…)`, '
    "and for a list `.contains(…)`"
)


def read_statements(files: Iterable[CedarFile], known: Vocabulary | None) -> tuple[Statement, ...]:
    """Return the statements of every file. Raises BundleError with every problem.

    `known` is what they may name; without it, when the catalog itself has problems, only their form is judged.
    """
    reading = _Reading()
    for file in files:
        reading.add(file)
    reading.finish(known)
    if reading.problems:
        raise BundleError(reading.problems)
    return tuple(each.statement for each in reading.parsed)


@dataclass(slots=True)
class _Reading:
    """What was read so far, and everything that is wrong with it."""

    named: list[tuple[Source, Statement]] = field(default_factory=list)
    parsed: list[Parsed] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, file: CedarFile) -> None:
        try:
            sources = sources_of(file)
        except BundleError as error:
            self.problems += error.problems
            return
        for source in sources:
            try:
                template = parse(source)
            except BundleError as error:
                self.problems += error.problems
                continue
            self.problems += annotation_problems(source, template)
            self.named.append((source, statement_of(source, template)))

    def finish(self, known: Vocabulary | None) -> None:
        self.problems += repeated_ids(self.named)
        for source, statement in self.named:
            template = statement.template
            try:
                self.parsed.append(Parsed(source, statement, reads(template), named_in(template)))
            except ValueError as error:
                self.problems.append(_unreadable(source, template, str(error)))
        if known is not None:
            self._check(known)

    def _check(self, known: Vocabulary) -> None:
        sound: list[Parsed] = []
        for parsed in self.parsed:
            unknown = name_problems(parsed, known)
            self.problems += unknown
            if not unknown:
                sound.append(parsed)
        found: dict[str, list[Fault]] = {}
        for fault in faults(sound, known):
            found.setdefault(fault.parsed.statement.id, []).append(fault)
        for parsed in sound:
            self.problems += _told(parsed, found.get(parsed.statement.id, ()), known)


def _told(parsed: Parsed, found: Sequence[Fault], known: Vocabulary) -> list[Problem]:
    """What is wrong with one statement. What reads nothing that can be missing needs no second look."""
    if not found and not (parsed.reads.values | parsed.reads.presence):
        return []
    return retold(parsed, found, found[0].alike if found else alike_of(parsed, known), known)


def _unreadable(source: Source, template: pst.Template, said: str) -> Problem:
    """A statement that reads what cannot be told; the words it quotes say where."""
    if any(isinstance(node, pst.BinaryOp) and node.op == "in" and not _is_asked(node.left) for node in nodes(template)):
        at = next((token.start for token in source.tokens() if token.text == "in" and token.start), 0)
        return problem(source, at, "policy.type", _IN)
    quoted = _FIRST.search(said)
    written = places(list(source.tokens()))
    at = next((place for path, place in written.items() if quoted and path_text(path) == quoted.group(1)), 0)
    return problem(source, at, "policy.type", said)


def _is_asked(left: pst.Expr) -> bool:
    return isinstance(left, pst.Var) and left.name != "context"
