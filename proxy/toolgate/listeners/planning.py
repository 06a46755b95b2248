"""Everything about plans and approvals that is answered over HTTP, put together for the two doors.

RULE: only wiring; what is answered stands in `plans` and `approvals`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from toolgate.core.bundle import Bundle
from toolgate.listeners.approvals import ApprovalBook, ApprovalsApi, ApprovalsForAgents
from toolgate.listeners.plans import PlanBook, PlansApi, PlansForOperators
from toolgate.listeners.problem import Disclosure
from toolgate.listeners.routes import Respond
from toolgate.listeners.tools import Listings
from toolgate.listeners.unsaid import Discretion
from toolgate.listeners.voice import Voice


@dataclass(frozen=True, slots=True)
class Planning:
    """What the doors about plans and approvals are made of."""

    plans: PlanBook
    approvals: ApprovalBook
    bundle: Callable[[], Bundle]
    disclosure: Disclosure
    counted: Callable[[str], None]  # plans, by what came of them

    def for_agents(self, voice: Voice) -> Mapping[str, Respond]:
        discretion = Discretion(self.bundle, Listings(), self.disclosure)
        plans = PlansApi(self.plans, self.bundle, discretion, self.counted, voice)
        return {**plans.routes, **ApprovalsForAgents(self.approvals, voice).routes}

    def for_operators(self, voice: Voice) -> Mapping[str, Respond]:
        plans = PlansForOperators(self.plans, self.bundle, voice)
        return {**plans.routes, **ApprovalsApi(self.approvals, voice).routes}

    def pending(self) -> int:
        """How many approvals wait for an answer."""
        return sum(each.state == "pending" for each in self.approvals.listed())
