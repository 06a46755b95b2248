"""Who is told when a run is stopped, something is frozen, or a person is wanted: the metrics, and a webhook if there is one.

RULE: telling never waits and never fails a call; what could not be told is counted, and is in the journal all the same.
"""

from __future__ import annotations

from typing import Final

from toolgate.clock import Steady
from toolgate.core.ids import Ulids
from toolgate.core.model import Event
from toolgate.log import Log
from toolgate.metrics import Metrics
from toolgate.settings import Settings
from toolgate.settings.webhook import hook_of
from toolgate.webhook import Webhook

_LAST_WORDS_S: Final = 3.0  # for what is still to be told when the process ends


class People:
    """Takes events that somebody should hear of."""

    def __init__(self, webhook: Webhook | None, metrics: Metrics) -> None:
        self.webhook = webhook
        self._metrics = metrics
        if webhook is not None:
            metrics.counter("toolgate_webhook_sent", "Messages that were taken.", lambda: webhook.sent)
            metrics.counter("toolgate_webhook_lost", "Messages that were given up.", lambda: webhook.lost)
            metrics.gauge("toolgate_webhook_waiting", "Messages waiting to be sent.", lambda: webhook.depth)

    def tell(self, event: Event) -> None:
        self._metrics.told(event)
        if self.webhook is not None:
            self.webhook.tell(event)

    async def flush(self) -> None:
        """Tell what is left to be told, before the process ends."""
        if self.webhook is not None:
            await self.webhook.flush(_LAST_WORDS_S)


def webhook_of(settings: Settings, clock: Steady, ids: Ulids, log: Log) -> Webhook | None:
    hook = hook_of(settings)
    if hook is None:
        return None
    return Webhook(hook, environment=settings.environment, log=log, now_ms=clock.now_ms, new_id=ids.next)
