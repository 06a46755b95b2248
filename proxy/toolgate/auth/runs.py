"""Run tokens: what names a run in `Toolgate-Run`, signed, bound to one principal and one environment, expiring.

RULE: a token proves which run is meant and nothing about who calls: that is told before, and is part of what was
signed. No message tells a forged token from one of another principal, environment or gate.

    base64url({"run", "exp", "above"}) "." base64url(HMAC-SHA256(key, all of that, principal, environment))
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import orjson

from toolgate.auth.errors import AuthError, invalid
from toolgate.core.model import OpenedRun, Principal

_DOMAIN: Final = b"toolgate run v1"  # SECURITY: the same key signs nothing else that could be taken for a token
_MAX_CHARS: Final = 1024
_MOST: Final = 1024  # tokens remembered; an agent sends the same one with each call
_NOT_OURS: Final = "the run token was not made by this gate for this caller in this environment"


class RunTokens:
    """Makes run tokens and reads them. Belongs to one key and one environment."""

    def __init__(self, key: bytes, environment: str, now_ms: Callable[[], int]) -> None:
        self._key = hmac.digest(key, _DOMAIN, sha256)
        self._environment = environment
        self._now_ms = now_ms
        self._known: dict[tuple[str, str], OpenedRun] = {}

    def mint(self, run: OpenedRun, principal: Principal) -> str:
        """The token that names a run for one principal."""
        said = orjson.dumps({"run": run.id, "exp": run.expires_ms, "above": run.above})
        return f"{_text(said)}.{_text(self._seal(said, principal))}"

    def read(self, token: str, principal: Principal) -> OpenedRun:
        """The run a token names for this principal, now. Raises AuthError."""
        run = self._known.get((token, principal.id))
        if run is None:
            run = self._verified(token, principal)
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[token, principal.id] = run
        if self._now_ms() >= run.expires_ms:
            raise AuthError("auth.expired", "the run token's time is over")
        return run

    def _verified(self, token: str, principal: Principal) -> OpenedRun:
        said, _, seal = token[: _MAX_CHARS + 1].partition(".")
        try:
            content = _bytes(said)
            # SECURITY: compared in constant time, and as the bytes that were sealed: nothing is read before it verified.
            is_ours = hmac.compare_digest(_bytes(seal), self._seal(content, principal)) and len(token) <= _MAX_CHARS
        except ValueError:
            is_ours, content = False, b""
        if not is_ours:
            raise invalid(_NOT_OURS)
        told = orjson.loads(content)
        return OpenedRun(told["run"], told["exp"], tuple(told["above"]))

    def _seal(self, said: bytes, principal: Principal) -> bytes:
        # Each part behind its length, so that no two sets of parts are the same bytes.
        parts = (said, principal.id.encode("utf-8", "surrogatepass"), self._environment.encode())
        return hmac.digest(self._key, b"".join(b"%d:%b" % (len(part), part) for part in parts), sha256)


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    """Read unpadded base64url; one spelling only, so that a token cannot be written in two ways."""
    content = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _text(content) != text:
        raise ValueError
    return content
