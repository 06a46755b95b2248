"""Whether a Redis server may hold balances: what `INFO` says of it.

RULE: a store that may forget by itself is refused, before anything is read from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EVICTED: Final = "has thrown keys away, and balances may be among them; see docs/redis.md, then run `toolgate ledger init --accept-loss`"
OLDEST: Final = (6, 0)  # from then on a key's value may be replaced and its time to live kept


@dataclass(slots=True)
class Health:
    """What was seen so far of one store; a new one for each epoch."""

    evicted: int | None = None

    def judge(self, info: str) -> str | None:
        """None where it may, else half a sentence."""
        said = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        if said.get("redis_mode") == "sentinel":
            return "is a Sentinel, which keeps no balances; name the primary, see docs/redis.md"
        if "redis_version" not in said or "maxmemory_policy" not in said:
            return "does not answer as Redis does"
        if _version(said["redis_version"]) < OLDEST:
            return f"is older than Redis {OLDEST[0]}; use a newer one"
        if said["maxmemory_policy"] != "noeviction":
            return "may throw balances away: set its `maxmemory-policy` to `noeviction`"
        if said.get("role") == "slave":
            return "is a read-only replica; name the primary"
        return self._judge_evictions(said.get("evicted_keys", "0"))

    def _judge_evictions(self, evicted: str) -> str | None:
        count = int(evicted) if evicted.isdecimal() else 0
        if self.evicted is not None and count > self.evicted:
            return EVICTED
        self.evicted = count
        return None


def evicted_key(epoch_key: str) -> str:
    """The key that names the last epoch in which keys were thrown away."""
    return f"{epoch_key.removesuffix('epoch')}evicted"


def sections() -> tuple[str, ...]:
    """What of `INFO` is judged."""
    return ("server", "memory", "stats", "replication")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
