"""Loops: an agent that makes the same call again and again, or runs into the same refusal (DESIGN §11).

RULE: what asks an agent to wait and repeat (`retryable`) is no loop, however often it comes; nor is what was asked before
the first answer could be read. The gate's own calls and a run that is stopped already are left alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from toolgate.core.codes import CODES
from toolgate.core.journal import total
from toolgate.core.model import OWN, Call, Charge, Facts, Json, LoopFacts, Recovery, Refusal, ValidCall, new
from toolgate.core.recent import OfThing
from toolgate.core.scope import Subject, subject_of
from toolgate.core.window import RollingWindow

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle

STAGE: Final = "loops"
IDENTICAL_CALLS: Final = "identical_calls"
DENIED_ATTEMPTS: Final = "denied_attempts"
TOGETHER_MS: Final = 250  # no model reads an answer and asks again in less: what comes sooner was asked with it
_AGAIN: Final = 2
_IDENTICAL: Final = f"l:{IDENTICAL_CALLS}:"
_DIGEST_BYTES: Final = 8
_REMEMBERED: Final = 128  # refusals
# Whoever froze or stopped this knows of it: nothing more is counted.
_ENDED: Final = frozenset({"gateway.frozen", "run.stopped", "tool.disabled"})
# RFC 8785 §3.2.2.3: `1.0` is written `1`; a text that holds as much is left as it is.
_TRAILING_ZERO: Final = re.compile(rb'("(?:[^"\\]|\\.)*")|(?<=[0-9])\.0(?=[,\]}])')


@dataclass(frozen=True, slots=True)
class Loops:
    """How often is too often. None: not looked for."""

    identical_calls: int | None = None
    window_s: int = 60
    identical_refusals: int | None = None
    denied_attempts: int | None = None

    window: RollingWindow = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", RollingWindow(self.window_s))

    @property
    def counts_refusals(self) -> bool:
        return self.identical_refusals is not None or self.denied_attempts is not None


NO_LOOPS: Final = Loops()


class Consequence(NamedTuple):
    """What a refusal brings with it for the run."""

    refusal: Refusal  # as it is told: firmer when it comes again, final when it stops the run
    signature: str = ""  # what makes it the same refusal; for the journal, and `Facts.loops`
    guards: tuple[Charge, ...] = ()  # the denied attempt
    stop: str | None = None  # why the run is stopped by it


def repetition(valid: ValidCall, subject: Subject, loops: Loops) -> Charge:
    """The guard on the same call: so many within the window, counted by its digest."""
    key = f"{_IDENTICAL}{subject.run},{call_digest(valid)}"
    return new(Charge, (key, 1, loops.identical_calls or 0, loops.window.at(valid.call.at_ms)))


def call_digest(valid: ValidCall) -> str:
    """Name a call by its operation and its arguments: keys in order, numbers as they are worth.

    A short name for counting within one run, not for trust: two calls with the same one end a loop early (decision 0011).
    """
    fitting = valid.fitting
    if fitting is None:
        return _digest_of(valid)
    if not fitting.digest:
        fitting.digest = _digest_of(valid)
    return fitting.digest


def _digest_of(valid: ValidCall) -> str:
    try:
        written = orjson.dumps(valid.arguments, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # what JSON cannot hold has one form in the journal
        written = total(valid.arguments)
    if b".0" in written:
        written = _TRAILING_ZERO.sub(rb"\1", written)
    return blake2b(_begun(valid.operation.key) + written, digest_size=_DIGEST_BYTES).hexdigest()


def repeated(valid: ValidCall, loops: Loops) -> Refusal:
    """The same call came too often."""
    code = CODES["loop.repeated_call"]
    return Refusal(
        code,
        f"`{valid.operation.key}` was called with the same arguments {loops.identical_calls} times within {loops.window_s} s",
        Recovery(code.action, code.hint),
        stage=STAGE,
        operation=valid.operation,
    )


def consequence(call: Call, refusal: Refusal, facts: Facts, bundle: Bundle) -> Consequence:
    """What a refusal brings with it: the second time a shorter, firmer hint; then the run is stopped."""
    loops = bundle.budgets.loops
    if not loops.counts_refusals or call.principal is OWN or refusal.is_passing or refusal.code.code in _ENDED:
        return Consequence(refusal)
    signature, attempt = _SIGNATURES.of(refusal), _attempt(call, facts, loops)
    repeats = again(facts.loops, signature, call.at_ms).repeats
    counted = new(Consequence, (refusal, signature, (attempt,) if attempt is not None else (), None))
    if bundle.mode != "enforce":
        return counted
    if loops.identical_refusals is not None and repeats >= loops.identical_refusals:
        return _stopped_by_repeats(counted, repeats)
    if attempt is not None and facts.levels.taken(attempt) + attempt.amount >= attempt.given:
        return _stopped_by_attempts(counted, attempt.given)
    if loops.identical_refusals is not None and repeats >= _AGAIN:
        return counted._replace(refusal=_firmer(refusal, repeats, loops.identical_refusals - repeats))
    return counted


def again(before: LoopFacts, signature: str, at_ms: int) -> LoopFacts:
    """Count one more refusal of a run. Those that were asked together are told together, so they count once.

    Counted from the last one that counted, not from the last one: whoever asks without a pause does not escape.
    """
    if signature != before.refusal:
        return LoopFacts(signature, 1, at_ms)
    return before if at_ms - before.at_ms < TOGETHER_MS else LoopFacts(signature, before.repeats + 1, at_ms)


def signature_of(refusal: Refusal) -> str:
    """What makes two refusals the same: what was said, but for amounts that change from call to call."""
    code = refusal.code.code
    operation = refusal.operation.key if refusal.operation else ""
    said = "" if code.startswith("budget.") else refusal.detail
    wrong = [f"{each.path} {each.keyword} {each.message}" for each in refusal.violations]
    text = "\n".join((code, operation, said, *wrong, *refusal.statements))
    return _digest(text.encode("utf-8", "surrogatepass"))


_SIGNATURES: Final = OfThing(signature_of, _REMEMBERED)


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


@lru_cache(maxsize=1024)  # INVARIANT: bounded, and follows from the key alone
def _begun(operation: str) -> bytes:
    return operation.encode("utf-8", "surrogatepass") + b"\n"


def _attempt(call: Call, facts: Facts, loops: Loops) -> Charge | None:
    if loops.denied_attempts is None:
        return None
    return _attempt_of(subject_of(call, facts.run.id).run, loops.denied_attempts)


@lru_cache(maxsize=1024)  # INVARIANT: bounded, and follows from its arguments alone
def _attempt_of(run: str, given: int) -> Charge:
    return Charge(f"l:{DENIED_ATTEMPTS}:{run}", 1, given)


def _firmer(refusal: Refusal, repeats: int, left: int) -> Refusal:
    often = "once more stops" if left == 1 else f"{left} more times stop"
    recovery = refusal.recovery
    verb = "Take step" if recovery.action == "take_step" else "Use"
    others = f" {verb} {' or '.join(f'`{each}`' for each in recovery.alternatives)}." if recovery.alternatives else ""
    told = recovery._replace(hint=f"Stop repeating this: {often} the run.{others}")
    return refusal._replace(recovery=told, read=_read(refusal, repeats))


def _stopped_by_repeats(counted: Consequence, repeats: int) -> Consequence:
    refusal, code = counted.refusal, CODES["loop.repeated_refusal"]
    asked = f" for `{refusal.operation.key}`" if refusal.operation else ""
    why = f"the same refusal {repeats} times in a row: `{refusal.code.code}`{asked}"
    told = refusal._replace(
        code=code,
        detail=f"{why}; the run is stopped",
        recovery=Recovery(code.action, code.hint),
        stage=STAGE,
        title=None,
        read=_read(refusal, repeats),
    )
    return counted._replace(refusal=told, stop=why)


def _stopped_by_attempts(counted: Consequence, attempts: int) -> Consequence:
    hint = f"Stop and tell a person; the run is stopped, for {attempts} of its calls were refused."
    read = {**(counted.refusal.read or {}), "attempts": attempts}
    told = counted.refusal._replace(recovery=Recovery("stop", hint), read=read)
    return counted._replace(refusal=told, stop=f"{attempts} of its calls were refused")


def _read(refusal: Refusal, repeats: int) -> dict[str, Json]:
    """What made the answer another one than the first time."""
    return {**(refusal.read or {}), "loop": {"refusal": refusal.code.code, "repeats": repeats}}
