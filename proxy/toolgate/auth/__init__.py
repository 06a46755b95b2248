"""Who calls: from what a caller presents to a principal, or an AuthError that says why not.

RULE: a presented token must verify, and never falls back to anonymous. What needs PyJWT stands in modules of its own,
which are imported only where an issuer is configured.
"""

from toolgate.auth.anonymous import Anonymous, Authenticator, Operators
from toolgate.auth.callers import Callers
from toolgate.auth.errors import AuthError

__all__ = ["Anonymous", "AuthError", "Authenticator", "Callers", "Operators"]
