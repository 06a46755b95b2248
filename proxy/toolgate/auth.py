"""Who calls. Without issuers there is one answer: the workload this sidecar serves.

RULE: a presented token must verify, and never falls back to anonymous.
"""

from __future__ import annotations

from toolgate.core.model import Principal


class AuthError(Exception):
    """The caller cannot be told who it is. `code` is one of the `auth.*` codes."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Anonymous:
    """Authentication where no issuer is configured: `Authorization` was dropped unread (SDKs always send one)."""

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def authenticate(self, token: str | None) -> Principal:
        """Answer who calls. Raises AuthError."""
        if token is None:
            return self._principal
        raise AuthError(
            "auth.invalid", "a `toolgate-token` was presented, and no issuer is configured that could have made it"
        )
