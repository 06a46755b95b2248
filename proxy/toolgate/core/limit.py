"""Limits: so many calls per time (GCRA), so many at once (DESIGN §11).

RULE: a limit asks the caller to wait, and nothing else: what it refuses may go through later, unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final, NamedTuple, TypeAlias

from toolgate.core.budget import EVERY_CALL, Match
from toolgate.core.codes import CODES
from toolgate.core.model import Guard, Pace, Place, Recovery, Refusal, Short, ValidCall
from toolgate.core.scope import KeyKind, Scope, Subject, Template, key_of, template

STAGE: Final = "limits"
_TRY_AGAIN_S: Final = 1.0  # when a place is free, nobody knows


class Rate(NamedTuple):
    """One call each `every_us`, and up to `burst` at once after a pause. `written` is how the file says it: `10/s`."""

    every_us: int
    burst: int
    written: str


class Concurrency(NamedTuple):
    """So many calls at once."""

    given: int


Allowance: TypeAlias = Rate | Concurrency


@dataclass(frozen=True, slots=True)
class Limit:
    """How often, or how many at once, a scope may call what it matches."""

    name: str
    scope: tuple[Scope, ...]
    allows: Allowance
    match: Match = EVERY_CALL

    @property
    def is_of_steps(self) -> bool:
        """Whether it covers only calls that are steps of a plan."""
        return "plan" in self.scope or "step" in self.scope


class Limiting(NamedTuple):
    """A limit as it covers one operation: all of its key that is known at load."""

    limit: Limit
    template: Template

    def guard(self, subject: Subject) -> Guard:
        key = key_of(self.template, subject)
        match self.limit.allows:
            case Rate(every_us, burst, _):
                return Pace(key, every_us, burst)
            case Concurrency(given):
                return Place(key, given)


def limiting(limit: Limit, fixed: Mapping[Scope, str]) -> Limiting:
    """`fixed`: the values of scopes that are known already."""
    kind: KeyKind = "r" if isinstance(limit.allows, Rate) else "c"
    return Limiting(limit, template(kind, (limit.name,), limit.scope, fixed))


def too_often(limit: Limit, short: Short, valid: ValidCall) -> Refusal:
    """The limit does not let this call through now."""
    allows = limit.allows
    if isinstance(allows, Rate):
        code, rule = CODES["limit.rate"], f"{allows.written}, {allows.burst} at once"
    else:
        code, rule = CODES["limit.concurrency"], f"{allows.given} at once"
    wait_s = _TRY_AGAIN_S if short.retry_after_s is None else short.retry_after_s
    again = (
        f"; the next call may come in {ceil(round(wait_s * 1_000_000) / 1000) / 1000:g} s"
        if isinstance(allows, Rate)
        else ""
    )
    return Refusal(
        code,
        f"the limit `{limit.name}` allows {rule}{again}",
        Recovery(code.action, code.hint, retry_after_s=wait_s),
        stage=STAGE,
        operation=valid.operation,
    )
