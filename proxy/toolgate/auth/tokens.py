"""Authentication where issuers are configured.

RULE: synchronous, no I/O, no waiting. A token that verified once is remembered by its digest, with the very keys it
verified against: other keys, or its end, and it is as if it had never been seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from toolgate.auth.claims import principal_of
from toolgate.auth.errors import AuthError, invalid
from toolgate.auth.keyset import Keys
from toolgate.auth.ring import Ring
from toolgate.auth.verification import (
    Times,
    Unverified,
    parse,
    require_bearer,
    require_meant_for_us,
    require_now,
    require_signature,
    times,
)
from toolgate.core.model import Principal

NOBODY: Final = "_none"  # in metrics: of no configured issuer
_MOST: Final = 10_000
_Counted = Callable[[str, str], None]


class _Known(NamedTuple):
    """A token that verified: who it is, when it may be used, and the keys that said so."""

    principal: Principal
    usable: Times
    ring: Ring
    keys: Keys


class Tokens:
    """Tells who calls by the tokens of the configured issuers. `anonymous` is who calls without one; None: nobody."""

    def __init__(
        self,
        rings: Iterable[Ring],
        *,
        anonymous: Principal | None,
        now_s: Callable[[], float],
        counted: _Counted,
        most: int = _MOST,
    ) -> None:
        self.rings: Mapping[str, Ring] = {ring.issuer.issuer: ring for ring in rings}
        self._anonymous = anonymous
        self._now_s = now_s
        self._counted = counted
        self._most = most
        self._known: dict[bytes, _Known] = {}
        self._latest_s = 0.0

    def authenticate(self, token: str | None) -> Principal:
        """Answer who calls. Raises AuthError."""
        if token is None:
            return self._without_token()
        digest = _digest(token)
        known, now_s = self._known.get(digest), self._present_s()
        if known is not None and known.ring.current() is known.keys and known.usable.from_s <= now_s:
            if now_s < known.usable.until_s:
                self._counted(known.ring.issuer.name, "remembered")
                return known.principal
            del self._known[digest]
        return self._verify(token, digest, now_s)

    def unready(self) -> str | None:
        """Why no caller at all can be told who it is; None while some can."""
        if self._anonymous is not None or any(ring.current() is not None for ring in self.rings.values()):
            return None
        return "the keys of no issuer could be read, so every token is refused"

    def hurry(self) -> None:
        """Have every issuer's keys read anew."""
        for ring in self.rings.values():
            ring.hurry()

    def _present_s(self) -> float:
        # SECURITY: a clock that is set back revives no token that was over (SAFETY INV9).
        now_s = self._now_s()
        self._latest_s = max(self._latest_s, now_s)
        return self._latest_s

    def _without_token(self) -> Principal:
        if self._anonymous is None:
            self._counted(NOBODY, "missing")
            raise AuthError("auth.missing", "no token was presented, and this gate serves nobody without one")
        self._counted(NOBODY, "anonymous")
        return self._anonymous

    def _verify(self, token: str, digest: bytes, now_s: float) -> Principal:
        name = NOBODY
        try:
            unverified = parse(token)
            ring = self._ring_of(unverified)
            name = ring.issuer.name
            known = self._held(unverified, ring, now_s)
        except AuthError as error:
            self._counted(name, error.code.removeprefix("auth."))
            raise
        self._counted(name, "verified")
        self._remember(digest, known, now_s)
        return known.principal

    def _ring_of(self, unverified: Unverified) -> Ring:
        said = unverified.claims.get("iss")
        ring = self.rings.get(said) if isinstance(said, str) else None
        if ring is None:
            raise invalid("the token was issued by nobody this gate trusts (`iss`)")
        return ring

    def _held(self, unverified: Unverified, ring: Ring, now_s: float) -> _Known:
        issuer, keys, claims = ring.issuer, ring.current(), unverified.claims
        if keys is None:
            ring.ask()
            raise invalid(f"the keys of issuer `{issuer.name}` are not available now, so its tokens cannot be verified")
        key = keys.find(unverified.kid)
        if key is None:
            ring.ask()
            raise invalid(f"the token names a key that issuer `{issuer.name}` does not have, or names none of several")
        require_signature(unverified, key)
        require_bearer(claims)
        require_meant_for_us(claims, issuer)
        usable = times(claims, issuer)
        require_now(usable, now_s)
        return _Known(principal_of(claims, issuer), usable, ring, keys)

    def _remember(self, digest: bytes, known: _Known, now_s: float) -> None:
        """Keep what verified. Forgetting costs a verification and nothing else, so the oldest half may go when all are good."""
        if len(self._known) >= self._most:
            self._known = {each: kept for each, kept in self._known.items() if _is_good(kept, now_s)}
        if len(self._known) >= self._most:
            self._known = dict(list(self._known.items())[self._most // 2 :])
        self._known[digest] = known


def _is_good(known: _Known, now_s: float) -> bool:
    return now_s < known.usable.until_s and known.ring.current() is known.keys


# INVARIANT: bounded. While an agent sends the same header block, listeners hand on the same text, whose hash is known.
@lru_cache(maxsize=256)
def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii", "replace")).digest()
