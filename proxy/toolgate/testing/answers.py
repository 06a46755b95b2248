"""What people have answered in a case: `facts.approval` says how exactly this call stands with them.

RULE: the decision says what it would ask; a case only says what came of that. So a case never has to know a digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from toolgate.core.approval import GRANTED_MS, MOST_PENDING, Approval, Asking
from toolgate.load.casefile import CaseAnswer

_ID: Final = "apr_test"


@dataclass(frozen=True, slots=True)
class Answers:
    """Approvals as a case has them. Implements `core.approval.Approvals`."""

    asking: Asking
    answer: CaseAnswer

    def of(self, digest: str, at_ms: int) -> Approval | None:
        if self.answer == "too_many" or digest != self.asking.digest:
            return None
        if self.answer == "stale":
            return Approval(_ID, replace(self.asking, relies_on="something else"), at_ms, at_ms + GRANTED_MS, "granted")
        return Approval(_ID, self.asking, at_ms, at_ms + GRANTED_MS, self.answer)

    def by_id(self, _approval_id: str, _at_ms: int) -> Approval | None:
        return None

    def pending(self, _principal: str, _at_ms: int) -> int:
        return MOST_PENDING if self.answer == "too_many" else 0

    def listed(self, _at_ms: int) -> Sequence[Approval]:
        return ()
