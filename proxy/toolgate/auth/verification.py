"""A token held against an issuer: its form, its signature, its times, whom it is for.

RULE: nothing a token says chooses how it is verified beyond which configured key is looked up. Strict JSON, strict
base64url, integers for times; what two readers could read differently is refused (RFC 8725, attacks part J).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final, NamedTuple

import jwt

from toolgate.auth.errors import AuthError, invalid
from toolgate.auth.issuer import Issuer
from toolgate.auth.keyset import Key
from toolgate.core.model import Json
from toolgate.core.strictjson import read
from toolgate.core.wiretext import Malformed

MAX_TOKEN_CHARS: Final = 8192
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+").fullmatch
# RFC 8725 §3.11: other kinds of JWT (dpop+jwt, secevent+jwt, logout+jwt) are signed by the same keys and mean other things.
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt", "jose"})
_JWS: Final = jwt.PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})
_SPIFFE: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+").fullmatch


class Unverified(NamedTuple):
    """A token that is well formed. Nothing it says is known to be true."""

    token: str
    algorithm: str
    kid: str | None
    claims: dict[str, Json]


class Times(NamedTuple):
    """When a token may be used: from, inclusive, until, exclusive; leeway included."""

    from_s: float
    until_s: float


def parse(token: str) -> Unverified:
    """Read a token's form. Raises AuthError."""
    if len(token) > MAX_TOKEN_CHARS:
        raise invalid(f"the token is longer than {MAX_TOKEN_CHARS} characters")
    parts = _COMPACT(token)
    if parts is None:
        raise invalid(
            "what was presented is not a signed JSON web token: `Bearer` and three parts of base64url with dots between"
        )
    header, claims = _object(parts[1], "header"), _object(parts[2], "payload")
    _require_plain(header)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not (kid is None or isinstance(kid, str)):
        raise invalid("the token's header has no `alg`, or a `kid` that is not text")
    return Unverified(token, algorithm, kid, claims)


def _object(part: str, name: str) -> dict[str, Any]:
    try:
        value, _ = read(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, Malformed):
        value = None
    if not isinstance(value, dict):
        raise invalid(f"the token's {name} is not one JSON object in strict form")
    return value


def _require_plain(header: dict[str, Json]) -> None:
    if "crit" in header or "b64" in header:
        raise invalid("the token's header asks for extensions (`crit`, `b64`); none is understood here")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise invalid("the token's `typ` says that it is another kind of token; an access token is `JWT` or `at+jwt`")


def require_signature(unverified: Unverified, key: Key) -> None:
    """Hold the signature against the key, by an algorithm of that key's own type. Raises AuthError."""
    if unverified.algorithm not in key.algorithms:
        raise invalid("the token is signed with an algorithm that its key is not used with")
    try:
        _JWS.decode_complete(unverified.token, key.material, [unverified.algorithm])
    except Exception:  # noqa: BLE001  # SECURITY: whatever the libraries raise over odd bytes, it is not verified
        raise invalid("the token's signature does not verify") from None


def require_bearer(claims: dict[str, Json]) -> None:
    """Raises AuthError for a token that only the holder of a key may use: proof of that key is not asked for here.

    SECURITY: taken as a bearer token, a stolen one would be as good as the holder's (RFC 7800, RFC 9449 §7.2).
    """
    if "cnf" in claims:
        raise invalid("the token is bound to its holder's key (`cnf`), which is not checked here; get one that is not")


def require_meant_for_us(claims: dict[str, Json], issuer: Issuer) -> None:
    """Hold the audience. Raises AuthError.

    SECURITY: a token that is also for somebody else could be replayed here by them (J05), so other audiences beside
    ours are only those the issuer's configuration names. Kubernetes and SPIFFE write our one audience as a list.
    """
    said = claims.get("aud")
    audiences = [said] if isinstance(said, str) else said
    if not isinstance(audiences, list) or not all(isinstance(each, str) for each in audiences):
        raise invalid("the token has no audience (`aud`)")
    if issuer.audience not in audiences:
        raise invalid(f"the token is for another audience; get one for `{issuer.audience}`")
    if set(audiences) - issuer.other_audiences != {issuer.audience}:
        raise invalid(f"the token is for other audiences beside `{issuer.audience}`; get one for this gate alone")


def require_trust_domain(subject: str, issuer: Issuer) -> None:
    """Hold a SPIFFE ID against the trust domain, where one is configured. Raises AuthError."""
    domain = issuer.trust_domain
    if domain is not None and not (_SPIFFE(subject) and subject.startswith(f"spiffe://{domain}/")):
        raise invalid(f"the token's subject is not a SPIFFE ID of the trust domain `{domain}`")


def times(claims: dict[str, Json], issuer: Issuer) -> Times:
    """When the token may be used. Raises AuthError where it does not say so, or says too long a time."""
    expires_s, issued_s = _seconds(claims, "exp"), _seconds(claims, "iat")
    if expires_s is None or issued_s is None:
        raise invalid("the token must say when it was issued and when it expires: `iat` and `exp`, as whole numbers")
    if expires_s - issued_s > issuer.max_age_s:
        most = f"{issuer.max_age_s:g} s (`max_age_s`)"
        raise invalid(f"the token is made to live for {expires_s - issued_s} s; `{issuer.name}` may give them {most}")
    begins_s = _seconds(claims, "nbf") if "nbf" in claims else issued_s
    if begins_s is None:
        raise invalid("the token's `nbf` is not a whole number of seconds")
    return Times(max(issued_s, begins_s) - issuer.leeway_s, expires_s + issuer.leeway_s)


def _seconds(claims: dict[str, Json], name: str) -> int | None:
    value = claims.get(name)
    # SECURITY: exactly a whole number: libraries also take "9999999999", 1e9 and true (J04).
    return value if type(value) is int and value >= 0 else None


def require_now(usable: Times, now_s: float) -> None:
    """Raises AuthError unless the token may be used now."""
    if now_s >= usable.until_s:
        raise AuthError("auth.expired", "the token has expired")
    if now_s < usable.from_s:
        raise invalid("the token is not valid yet; if it was just issued, the clocks differ by more than the leeway")
