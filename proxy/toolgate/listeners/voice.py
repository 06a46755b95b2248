"""Answers that are no call's outcome: refusals on the wire, and defects. Rendered, counted, logged by sample.

RULE: the log never holds bytes of the request, and never more than a few lines a second (attack O09).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from toolgate.core.bundle import Bundle
from toolgate.core.codes import CODES
from toolgate.core.model import Failed, Recovery, Refusal, Sent
from toolgate.listeners.answers import Whole
from toolgate.listeners.problem import failure_json, problem_answer, refusal_json

_LINES_PER_S: Final = 10


class Log(Protocol):
    """The operations log."""

    def warning(self, event: str, **data: object) -> object: ...


class Counts(Protocol):
    """What is counted here (`toolgate.metrics.Metrics`)."""

    def wire_refused(self, listener: str, code: str) -> None: ...
    def defect(self, where: str, error: BaseException) -> None: ...


class Sampled:
    """A log of events that an attacker can cause: at most ten a second, and how many were left out."""

    def __init__(self, log: Log, monotonic_s: Callable[[], float]) -> None:
        self._log = log
        self._monotonic_s = monotonic_s
        self._second = -1
        self._written = 0
        self._suppressed = 0

    def write(self, event: str, **data: object) -> None:
        second = int(self._monotonic_s())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= _LINES_PER_S:
            self._suppressed += 1
            return
        self._written += 1
        suppressed, self._suppressed = self._suppressed, 0
        self._log.warning(event, **data, **({"suppressed": suppressed} if suppressed else {}))


@dataclass(frozen=True, slots=True)
class Voice:
    """What one listener says where there is no outcome."""

    listener: str
    bundle: Callable[[], Bundle]
    new_id: Callable[[], str]
    counts: Counts
    log: Sampled

    def refused(self, refusal: Refusal, *, bodiless: bool) -> Whole:
        """What the wire does not let in."""
        return self._refused("wire_refused", refusal, bodiless=bodiless)

    def own_refused(self, refusal: Refusal, *, bodiless: bool) -> Whole:
        """What was asked of the gate itself, and makes no sense there."""
        return self._refused("own_request_refused", refusal, bodiless=bodiless)

    def _refused(self, event: str, refusal: Refusal, *, bodiless: bool) -> Whole:
        call_id, code = self.new_id(), refusal.code.code
        self.counts.wire_refused(self.listener, code)
        self.log.write(event, listener=self.listener, code=code, call=call_id)
        problem = refusal_json(refusal, call_id, self.bundle())
        return problem_answer(problem, refusal.code, refusal.recovery, bodiless=bodiless)

    def broken(self, error: BaseException, *, bodiless: bool) -> Whole:
        """A call given up because its time is over (TimeoutError), or a defect: it may have been sent either way."""
        if isinstance(error, TimeoutError):
            return self.failed(
                "upstream.timeout", "the call did not end within the time a call may take", "unknown", bodiless=bodiless
            )
        self.counts.defect(f"answering on the {self.listener} listener", error)
        return self.failed("internal.error", "the gate met a defect while answering", "unknown", bodiless=bodiless)

    def failed(self, code: str, detail: str, sent: Sent, *, bodiless: bool = False) -> Whole:
        row = CODES[code]
        failure = Failed(row, detail, Recovery(row.action, row.hint), sent)
        return problem_answer(
            failure_json(failure, self.new_id(), self.bundle()), row, failure.recovery, bodiless=bodiless
        )
