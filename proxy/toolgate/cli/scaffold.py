"""The files `toolgate init` writes.

RULE: what is not commented out is safe to run: reads are allowed, everything else waits for a person. Text of the
document goes in quoted and escaped, also inside comments, where a line break would end the comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from toolgate.cli.guess import Guessed, globs
from toolgate.core.actions import quoted
from toolgate.core.model import Effect

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_YAML_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_DONE: Final = {"write": "changes", "destructive": "destroys", "read": "only reads"}

_SETTINGS: Final = """\
# Settings of the gate, read once, at start.
# `toolgate settings` prints all of them and where each came from; `toolgate settings --reference` explains them.
environment: {environment}
environments: [{environments}]   # every environment there is, widest first
toolspecs: toolspecs/
policies: policies/
listen:
  agent: 127.0.0.1:8400    # where the agent's tools point: http://127.0.0.1:8400/TOOL
  admin: 127.0.0.1:8401    # reload, journal, runs
  health: 127.0.0.1:8402   # /-/live, /-/ready, /metrics
ledger: sqlite:.toolgate/ledger.db
identity:
  anonymous: {{id: agent, roles: [agent]}}   # who calls: the gate serves one workload
"""

_TOOLSPEC: Final = """\
# The toolspec of `{tool}`: what its operations do, and which of them each environment allows.
# Written by `toolgate init` from the document; what was guessed is yours to correct. `toolgate check` reports the rest.
tool: {tool}
openapi: {document}
environments:                # where there is no entry, the tool does not exist
"""

_POLICY: Final = """\
// The starter policy of `{tool}`, written by `toolgate init`.
//
// What no statement permits is refused, and a forbid beats every permit. A statement is asked only about what the
// environment's `allow` list in the toolspec lets through. `toolgate check` judges this file against the document.
"""
_NO_READS: Final = """\
// No operation of this tool only reads, so nothing is permitted yet.
"""


@dataclass(frozen=True, slots=True)
class Draft:
    """What is known of a tool when its files are written."""

    tool: str
    document: str  # file name
    upstream: str
    environments: tuple[str, ...]
    operations: tuple[Guessed, ...]
    credentials: str  # a line of YAML, for a comment

    @property
    def ids(self) -> list[str]:
        return [operation.id for operation in self.operations]

    def having(self, effect: Effect) -> list[str]:
        return [operation.id for operation in self.operations if operation.effect == effect]


def settings_text(environments: Sequence[str]) -> str:
    return _SETTINGS.format(environment=environments[0], environments=", ".join(environments))


def toolspec_text(draft: Draft) -> str:
    lines = [line for name in draft.environments for line in _environment(draft, name)]
    head = _TOOLSPEC.format(tool=draft.tool, document=draft.document)
    return head + "\n".join([*lines, *_operations(draft)]) + "\n"


def policy_text(draft: Draft, principal: str) -> str:
    """Write the policy; `principal` is the scope of who calls, such as `principal in Role::"agent"`."""
    parts = [_POLICY.format(tool=draft.tool), _reads(draft, principal) if draft.having("read") else _NO_READS]
    for effect, name in (("write", "writes"), ("destructive", "destructive")):
        ids = [operation.id for operation in draft.operations if operation.effect == effect]
        if ids:
            commented = "\n".join(f"// {line}" for line in _permit(draft, name, ids, principal).splitlines())
            parts.append(
                f"// Keep what the agent may do, uncomment it, and allow it in the toolspec too.\n{commented}\n"
            )
    return "\n".join(parts)


BUDGETS_TEXT: Final = """\
# How much an agent may use, how fast, and when it goes round in circles. Nothing is bounded until it stands here.
apiVersion: toolgate/v1
# budgets:
#   - {name: run-calls, scope: [run], calls: 200}
#   - {name: daily-calls, scope: [principal], calls: 2000, window: day}
# limits:
#   - {name: pace, scope: [principal, tool], rate: 10/s, burst: 20}
#   - {name: at-once, scope: [run], concurrency: 4}
# loops: {identical_calls: 5, window_s: 60, identical_refusals: 3, denied_attempts: 20}
"""


def scope_of(principal: str, roles: Sequence[str]) -> str:
    """Return how a statement names who calls: by its role, where it has one."""
    return f"principal in Role::{quoted(roles[0])}" if roles else f"principal == Agent::{quoted(principal)}"


def _environment(draft: Draft, name: str) -> Iterator[str]:
    yield f"  {name}:"
    yield f"    upstream: {_yaml(draft.upstream)}"
    yield f"    # credentials: {draft.credentials}"
    reads = globs(draft.having("read"), draft.ids)
    yield (
        "    allow:                   # nothing else is allowed"
        if reads
        else "    allow: []                # add what agents may do"
    )
    yield from (f"      - {_yaml(pattern)}" for pattern in reads)
    for effect in ("write", "destructive"):
        if patterns := globs(draft.having(effect), draft.ids):
            yield f"      # {effect}: uncomment what agents may do"
            yield from (f"      # - {_yaml(pattern)}" for pattern in patterns)


def _operations(draft: Draft) -> Iterator[str]:
    raised = list(_raised(draft))
    maybe = [operation.id for operation in draft.operations if operation.maybe_read]
    if not raised and not maybe:
        return
    # A key whose members are all comments would be empty, so it is a comment itself.
    yield f"{'' if raised else '# '}operations:                  # effects that differ from the method's: GET read, DELETE destructive, else write"
    yield from raised
    if maybe:
        yield "  # Their names say that they only read; uncomment what does, and allow it above."
        yield from (f"  # {_yaml(pattern)}: {{effect: read}}" for pattern in globs(maybe, draft.ids))


def _raised(draft: Draft) -> Iterator[str]:
    for effect in ("write", "destructive"):
        ids = [operation.id for operation in draft.operations if effect == operation.effect != operation.by_method]
        same = [operation.id for operation in draft.operations if operation.effect == effect]
        for pattern in globs(ids, draft.ids, besides=same):
            yield f"  {_yaml(pattern)}: {{effect: {effect}}}   # by its name it {_DONE[effect]} something"


def _reads(draft: Draft, principal: str) -> str:
    """Permit what the toolspec says only reads: an effect that is corrected there is corrected here."""
    return (
        f"@id({quoted(f'{draft.tool}-reads')})\n"
        f"permit ({principal}, action in Action::{quoted(draft.tool)}, resource)\n"
        'when { action in Action::"read" };\n'
    )


def _permit(draft: Draft, name: str, ids: Iterable[str], principal: str) -> str:
    actions = "\n".join(f"    Action::{quoted(f'{draft.tool}.{operation_id}')}," for operation_id in ids)
    return (
        f"@id({quoted(f'{draft.tool}-{name}')})\n"
        f"permit (\n  {principal},\n  action in [\n{actions}\n  ],\n  resource\n);\n"
    )


def _yaml(text: str) -> str:
    """Text as a YAML scalar on one line; JSON's escapes are YAML's."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS else json.dumps(text)
