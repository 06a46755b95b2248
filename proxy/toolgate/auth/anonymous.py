"""Callers without a token: the workload a sidecar serves, and the operator at a door that is guarded otherwise.

RULE: whoever presents a token is judged by it, here as anywhere.
"""

from __future__ import annotations

from typing import Protocol

from toolgate.auth.errors import AuthError, invalid
from toolgate.core.model import Principal


class Authenticator(Protocol):
    def authenticate(self, token: str | None) -> Principal:
        """Answer who calls. Raises AuthError."""
        ...


class Anonymous:
    """Authentication where no issuer is configured: `Authorization` was dropped unread (SDKs always send one)."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def authenticate(self, token: str | None) -> Principal:
        """Answer who calls. Raises AuthError."""
        if token is None:
            return self._principal
        raise invalid("a `toolgate-token` was presented, and no issuer is configured that could have made it")


class Operators:
    """Who calls the admin listener. `trusted` is whoever reaches it without a token; None: nobody is.

    The agents' anonymous principal is nobody here: it is every process that reaches the agents' door.
    """

    def __init__(self, tokens: Authenticator, trusted: Principal | None) -> None:
        self._tokens = tokens
        self._trusted = trusted

    def authenticate(self, token: str | None) -> Principal:
        """Answer who calls. Raises AuthError."""
        if token is not None:
            return self._tokens.authenticate(token)
        if self._trusted is None:
            raise AuthError("auth.missing", "no token was presented, and the admin listener serves nobody without one")
        return self._trusted
