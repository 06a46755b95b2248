"""Where state lives: the journal and its ledger, the store that gates share, the keys kept beside them.

RULE: the journal is always this process's own; what is shared is shared through one store, which then also says what
time it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias, Union

from toolgate import ledger as ledgers
from toolgate.auth.runs import RunTokens
from toolgate.clock import Steady
from toolgate.core.mask import Mask, Masked, MaskKey, mask, mask_key, patterns
from toolgate.core.model import Json
from toolgate.keys import mask_secret, run_secret, secret_text
from toolgate.ledger.stdout import LineStream
from toolgate.settings import Settings

if TYPE_CHECKING:
    from toolgate.ledger.redis.ledger import SharedLedger
    from toolgate.ledger.redis.opening import Store

OpenLedger: TypeAlias = Union[ledgers.QueuedLedger, "SharedLedger"]
_STDOUT: Final = 1


def reach_store(settings: Settings) -> Store | None:
    """The store this gate shares with others, which also says what time it is."""
    if not settings.shares_state:
        return None
    from toolgate.ledger.redis.opening import reach  # noqa: PLC0415 - the library costs 60 ms, and few gates need it
    from toolgate.settings.store import access_of  # noqa: PLC0415 - as above

    return reach(settings.ledger, access_of(settings))


def open_ledger(settings: Settings, clock: Steady, store: Store | None, key: Callable[[], MaskKey]) -> OpenLedger:
    """Raises LedgerError when the journal cannot be used."""
    local = _open_journal(settings, clock, key)
    if store is None:
        return local
    from toolgate.ledger.redis.opening import share  # noqa: PLC0415 - as above

    return share(local, store, clock.now_ms)


def _open_journal(settings: Settings, clock: Steady, key: Callable[[], MaskKey]) -> ledgers.QueuedLedger:
    journal = settings.journal
    return ledgers.open(
        settings.journal_url,
        clock=clock.now_ms,
        not_before=clock.not_before,
        sync=journal.sync,
        keep=ledgers.Keep(journal.keep.age_s, journal.keep.size_bytes),
        stdout=LineStream(_STDOUT) if journal.stdout else None,
        idle_s=settings.runs.idle_s,
        key=key,
    )


def mask_key_of(settings: Settings) -> MaskKey:
    """The key of this process for what must not be shown. Raises LedgerError when it is unusable."""
    given = settings.keys.mask
    return mask_key(mask_secret(secret_text(given) if given else None, ledgers.file_of(settings.journal_url)))


def masker(key: MaskKey) -> Mask:
    """Masking with this process's key; an operation's pointers are split at their first use."""
    split = cache(patterns)

    def masked(arguments: Mapping[str, Json], pointers: tuple[str, ...]) -> Masked:
        return mask(arguments, split(pointers), key, os.urandom) if pointers else Masked(arguments, None)

    return masked


def run_tokens(settings: Settings, clock: Steady) -> RunTokens:
    """What names a run: signed with this process's key, or with the one gates share."""
    given = settings.keys.run
    key = run_secret(secret_text(given, "keys.run") if given else None, ledgers.file_of(settings.journal_url))
    return RunTokens(key, settings.environment, clock.latest_ms)
