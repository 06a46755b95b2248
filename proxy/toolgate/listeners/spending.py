"""Operators read balances over HTTP: `GET /-/budgets` on the admin listener.

RULE: the answer is bounded whatever has been spent: the totals, and of each budget those who have taken most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from toolgate.core.budget import Budget
from toolgate.core.bundle import Bundle
from toolgate.core.model import Refusal
from toolgate.core.spending import Spending, looks_back, spending, spending_json
from toolgate.listeners.answers import Answer
from toolgate.listeners.roles import requiring
from toolgate.listeners.routes import Respond, Visit, whole_number
from toolgate.listeners.voice import Voice
from toolgate.ports import Journal, LedgerError

_DEFAULT = 20
_MOST = 1000


class SpendingApi:
    """Answers `/-/budgets`."""

    def __init__(
        self,
        bundle: Callable[[], Bundle],
        balances: Callable[[], Mapping[str, int]],
        journal: Journal,
        now_ms: Callable[[], int],
        voice: Voice,
    ) -> None:
        self._bundle = bundle
        self._balances = balances
        self._journal = journal
        self._now_ms = now_ms
        self._voice = voice
        self.routes: Mapping[str, Respond] = {"GET /-/budgets": requiring("viewer", self._budgets, voice)}

    async def _budgets(self, visit: Visit) -> Answer:
        query = visit.query("limit")
        limit = query if isinstance(query, Refusal) else whole_number(query, "limit", _DEFAULT, _MOST)
        if isinstance(limit, Refusal):
            return self._voice.refused(limit, bodiless=visit.bodiless)
        bundle, balances = self._bundle(), dict(self._balances())
        try:
            # a hundred thousand runs take a while to sort, and no call waits for that
            found = await asyncio.to_thread(self._found, bundle.budgets.budgets, balances, limit or _DEFAULT)
        except LedgerError as error:
            detail = f"the journal cannot be read: {error}"
            return self._voice.failed("gateway.unavailable", detail, "no", bodiless=visit.bodiless)
        return visit.json({"environment": bundle.environment, "budgets": [spending_json(each) for each in found]})

    def _found(self, budgets: Sequence[Budget], balances: Mapping[str, int], most: int) -> Sequence[Spending]:
        at_ms = self._now_ms()
        overruns = {since: self._journal.overruns(since) for since in looks_back(budgets, at_ms)}
        return spending(budgets, balances, at_ms, most, overruns)
