"""What can be wrong with the store, each as one sentence for the operator.

RULE: what the store says itself is not repeated: whoever answers on that port may be anybody. Only the first word of a
Redis error, which is in capitals, is shown.
"""

from __future__ import annotations

import re
from typing import Final

from redis import exceptions

from toolgate.ports import LedgerError

INIT: Final = "`toolgate ledger init`"
_WORD: Final = re.compile(r"\b[A-Z]{3,16}\b")
_BY_WORD: Final = {
    "READONLY": "is a read-only replica; name the primary",
    "LOADING": "is still loading its data",
    "OOM": "has no memory left (`maxmemory`); give it more",
    "MISCONF": "cannot save its data to disk and takes no writes",
    "NOREPLICAS": "has too few replicas to take writes (`min-replicas-to-write`)",
    "MASTERDOWN": "is a replica whose primary is down; name the primary",
    "BUSY": "is busy with another script",
    "NOAUTH": "wants a password; name it with `redis.password`",
    "WRONGPASS": "does not take the user and password (`redis.password`)",
    "NOPERM": "does not let the user do what the gate needs; docs/redis.md lists the commands",
    "MOVED": "is a part of a Redis Cluster that does not hold the gate's keys; see docs/redis.md",
    "ASK": "is a part of a Redis Cluster that is moving the gate's keys; see docs/redis.md",
    "CROSSSLOT": "is a Redis Cluster that took the gate's keys apart; see docs/redis.md",
    "CLUSTERDOWN": "is a Redis Cluster that is down",
    "TRYAGAIN": "is a part of a Redis Cluster that is moving the gate's keys; see docs/redis.md",
}
_BY_CLASS: Final = {
    exceptions.ReadOnlyError: "READONLY",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.AuthenticationError: "WRONGPASS",
    exceptions.MovedError: "MOVED",
    exceptions.AskError: "ASK",
    exceptions.ClusterCrossSlotError: "CROSSSLOT",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN",
}
# What a store says that takes nothing now and may again later, without anything being lost.
PASSING: Final = frozenset({"READONLY", "LOADING", "OOM", "MISCONF", "NOREPLICAS", "MASTERDOWN", "BUSY"})


def complaint(error: BaseException) -> str:
    """What an error of the library, or of reading its answer, means."""
    if isinstance(error, LedgerError):  # said by us, of the password
        return str(error)
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return "does not answer in time"
    word = next((word for kind, word in _BY_CLASS.items() if isinstance(error, kind)), None)
    if word is None and isinstance(error, exceptions.ResponseError):
        return by_word(str(error.status_code or "") + " " + str(error))
    if word is not None:
        return _BY_WORD[word]
    if isinstance(error, OSError | exceptions.ConnectionError):
        return "cannot be reached"
    return "does not answer as Redis does"


def word_of(said: str) -> str:
    """The word a Redis error begins with; inside an error of a script it stands somewhere in the text."""
    return next((word for word in _WORD.findall(said) if word in _BY_WORD), next(iter(_WORD.findall(said)), ""))


def by_word(said: str) -> str:
    word = word_of(said)
    return _BY_WORD.get(word) or f"answers with an error{f' (`{word}`)' if word else ''}"


def by_state(state: str, *, ours_ms: int, theirs_ms: int) -> str:
    """What an answer means that is not `done`."""
    match state:
        case "empty":
            return f"has no state in it: it was never made ready, or it was emptied; see docs/redis.md, then run {INIT}"
        case "lost":
            return (
                "has lost what it had acknowledged: it was restored from a copy, or a replica took over; see docs/redis.md, "
                "then run `toolgate ledger init --accept-loss`"
            )
        case "skewed":
            apart_s = (theirs_ms - ours_ms) / 1000
            way = "ahead of" if apart_s > 0 else "behind"
            return f"has a clock {abs(apart_s):.0f} s {way} this gate's; set the wrong one right, or restart the gate"
        case _:
            return "does not answer as Redis does"
