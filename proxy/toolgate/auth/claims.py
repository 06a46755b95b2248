"""Verified claims → the principal that policies see.

RULE: a principal is the subject of a verified token, and what it may do follows from that subject alone. A claim that
cannot be told exactly refuses the token: a role or claim silently left out could switch a forbid off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from toolgate.auth.errors import invalid
from toolgate.auth.issuer import Issuer, RoleRule
from toolgate.auth.verification import require_trust_domain
from toolgate.core.model import Json, Principal

_MAX_CLAIMS: Final = 128
_MAX_ROLES: Final = 256
_MAX_ACTORS: Final = 4  # `act` within `act`: each names whoever acted before
_OF_THE_TOKEN: Final = frozenset({"exp", "iat", "nbf", "jti"})  # about this one token, not about its subject
# SECURITY: visible ASCII (OpenID Connect Core §2) without what quotes or escapes: a subject stands in logs and policies.
_SUBJECT: Final = re.compile(r"[!#-\[\]-_a-~]{1,255}").fullmatch
_ROLE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]{1,256}").fullmatch


def principal_of(claims: dict[str, Json], issuer: Issuer) -> Principal:
    """Whom the token speaks of. Raises AuthError."""
    subject = _subject(claims)
    require_trust_domain(subject, issuer)
    name = f"{issuer.name}/{subject}"
    told = _flat({**claims, "act": _actor(claims["act"])} if "act" in claims else claims)
    return Principal(
        id=name,
        roles=_roles(told, claims, issuer.roles) if issuer.roles else (),
        claims={claim: _text(value) for claim, value in told.items() if isinstance(value, str | int)},
        on_behalf_of=name if "act" in claims else None,
    )


def _subject(claims: Mapping[str, Json]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not _SUBJECT(subject):
        raise invalid("the token's subject (`sub`) is missing, or not 1 to 255 plain visible characters")
    return subject


def _actor(act: Json) -> dict[str, Json]:
    """Who acts for the subject (RFC 8693 §4.1). Those who acted before it are bounded, and no part of a decision."""
    actor, actors = act, 1
    while isinstance(actor, dict) and "act" in actor and actors < _MAX_ACTORS:
        _subject(actor)
        actor, actors = actor["act"], actors + 1
    if not isinstance(actor, dict) or "act" in actor:
        raise invalid(f"the token's `act` is not an actor, or names more than {_MAX_ACTORS} of them")
    _subject(actor)
    return {claim: value for claim, value in act.items() if claim != "act"}


def _flat(claims: Mapping[str, Json]) -> dict[str, Json]:
    """Every claim by its dotted name; lists are kept as they are."""
    told: dict[str, Json] = {}
    for name, value in _leaves(claims, ""):
        if name in told:
            raise invalid("two of the token's claims have the same name once nested ones are written with dots")
        told[name] = value
    if len(told) > _MAX_CLAIMS:
        raise invalid(f"the token has more than {_MAX_CLAIMS} claims")
    return told


def _leaves(claims: Mapping[str, Json], prefix: str) -> Iterator[tuple[str, Json]]:
    for name, value in claims.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        elif prefix or name not in _OF_THE_TOKEN:
            yield prefix + name, value


def _text(value: str | int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _roles(told: Mapping[str, Json], claims: Mapping[str, Json], rule: RoleRule) -> tuple[str, ...]:
    if rule.claim not in told:
        elsewhere = claims.get("_claim_names")
        if isinstance(elsewhere, dict) and rule.claim in elsewhere:
            raise invalid(
                f"the token leaves its `{rule.claim}` out (`_claim_names`): the subject is in too many of them"
            )
        return ()
    found = _listed(told[rule.claim], rule)
    if rule.map is None:
        return tuple(dict.fromkeys(found))
    return tuple(dict.fromkeys(role for name in found for role in rule.map.get(name, ())))


def _listed(value: Json, rule: RoleRule) -> list[str]:
    if isinstance(value, str):
        value = [value] if rule.separator is None else [part for part in value.split(rule.separator) if part]
    if not isinstance(value, list) or len(value) > _MAX_ROLES:
        raise invalid(f"the token's `{rule.claim}` is not text or a list of at most {_MAX_ROLES} texts")
    if not all(isinstance(each, str) and _ROLE(each) for each in value):
        raise invalid(f"the token's `{rule.claim}` holds something that is not a role's name")
    return value
