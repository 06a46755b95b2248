"""Whose balance a guard is: the key under which a ledger keeps it.

    b:<budget>:<dimension>:<scope values>[:<period>]     r:<limit>:<scope values>     c:<limit>:<scope values>
    l:<rule>:<scope values>     s:<plan>:<step>:<dimension>

RULE: one way to write a key and one to read it. Names hold no colon; scope values are percent-encoded and joined by
commas in the order of the file, so no caller's text can make the key of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import quote, unquote

from toolgate.core.catalog import Operation
from toolgate.core.model import Call, Taking

Scope: TypeAlias = Literal["run", "plan", "step", "principal", "operation", "tool", "environment"]
KeyKind: TypeAlias = Literal["b", "r", "c", "l"]

SCOPES: Final[tuple[Scope, ...]] = ("run", "plan", "step", "principal", "operation", "tool", "environment")
_SAFE: Final = "@/+"  # readable in a key, and none of its separators
_REMEMBERED: Final = 4096
_KINDS: Final = frozenset({"b", "r", "c", "l"})
_LONGEST: Final = 4  # parts of a key before its period


class Subject(NamedTuple):
    """Who a call is charged to: its run, its principal, and its step of a plan, as they stand in keys."""

    run: str
    principal: str
    plan: str = ""  # empty: the call is no step
    step: str = ""  # `PLAN/STEP`: a step's id alone is not its own


class Template(NamedTuple):
    """A key with places for what is asked of a call; nearly always one place, which has its own way."""

    written: str
    before: str = ""
    asked: Literal["run", "principal", ""] = ""
    after: str = ""


class KeyParts(NamedTuple):
    """A key, read again."""

    kind: str
    name: str  # of the budget, limit or rule; the id of the plan
    dimension: str | None
    scope: tuple[str, ...]
    period: str | None


def subject_of(call: Call, run: str, taking: Taking | None = None) -> Subject:
    """`run`: the call's own. A sub-run is charged to the first run above it, so that it has no budget of its own."""
    opened, principal = call.run, call.principal.id
    if opened is not None and opened.above:
        run = opened.above[0]
    if taking is None:
        return _alone(run, principal)
    return Subject(encoded(run), encoded(principal), encoded(taking.plan), encoded(f"{taking.plan}/{taking.step}"))


@lru_cache(maxsize=1024)  # INVARIANT: bounded, and follows from its arguments alone
def _alone(run: str, principal: str) -> Subject:
    """The subject of a call that is no step: one value for all of them in a run."""
    return Subject(encoded(run), encoded(principal))


def fixed_of(operation: Operation, environment: str) -> dict[Scope, str]:
    """The values of scopes that are the same for every call of an operation."""
    return {"operation": operation.key, "tool": operation.tool, "environment": environment}


def template(kind: KeyKind, names: Iterable[str], scope: Iterable[Scope], fixed: Mapping[Scope, str]) -> Template:
    """Write all of a key that is known before a call comes; `key_of` adds the rest."""
    values = [encoded(fixed[each]) if each in fixed else f"{{{each}}}" for each in scope]
    written = ":".join((kind, *names, ",".join(values)))
    for asked in ("run", "principal"):
        before, found, after = written.partition(f"{{{asked}}}")
        if found and "{" not in before + after:
            return Template(written, before, asked, after)
    return Template(written)


def key_of(template: Template, subject: Subject) -> str:
    written, before, asked, after = template
    if asked == "run":
        return before + subject.run + after
    if asked == "principal":
        return before + subject.principal + after
    return written.format(run=subject.run, principal=subject.principal, plan=subject.plan, step=subject.step)


def parse_key(key: str) -> KeyParts | None:
    """Read a key; None for what is none of ours."""
    kind, *rest = key.split(":")
    if kind == "s" and len(rest) + 1 == _LONGEST:
        plan, step, of = rest
        return KeyParts(kind, plan, of, (step,), None)
    if kind not in _KINDS or len(rest) + 1 < _LONGEST - (kind != "b"):
        return None
    name, dimension = rest[0], rest[1] if kind == "b" else None
    scope, *period = rest[2:] if kind == "b" else rest[1:]
    values = tuple(unquote(value) for value in scope.split(","))
    return KeyParts(kind, name, dimension, values, period[0] if period else None)


@lru_cache(maxsize=_REMEMBERED)
def encoded(text: str) -> str:
    return quote(text, safe=_SAFE, errors="surrogatepass")
