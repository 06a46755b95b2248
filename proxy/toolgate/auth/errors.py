"""How authentication says no.

RULE: no message repeats any part of a token or a key: whoever reads it may be anyone.
"""

from __future__ import annotations


class AuthError(Exception):
    """The caller cannot be told who it is. `code` is one of the `auth.*` codes."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class KeysUnavailableError(Exception):
    """An issuer's keys cannot be had, or cannot be used. Never leaves this package: the text is for the operators' log."""


def invalid(detail: str) -> AuthError:
    return AuthError("auth.invalid", detail)
