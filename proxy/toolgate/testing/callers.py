"""What changes of who is let in: issuers, what their tokens say, and who calls without one.

RULE: names and places only. Of a secret it is told where it is read; what it is is never read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, assert_never

from toolgate.auth.issuer import FromDevelopmentKey, FromFile, FromSecret, FromUrl, Identity, Issuer, RoleRule, Source
from toolgate.core.catalog import Secret
from toolgate.core.model import Principal

_NOTHING: Final = "none"


class IdentityChange(NamedTuple):
    """Something of who may call that is not what it was."""

    what: str  # such as `issuer corp: audience`
    old: str
    new: str


def identity_changes(old: Identity, new: Identity) -> Iterator[IdentityChange]:
    """Return what changes, by name."""
    before, after = _told(old), _told(new)
    for what in sorted(before.keys() | after.keys()):
        was, is_now = before.get(what, _NOTHING), after.get(what, _NOTHING)
        if was != is_now:
            yield IdentityChange(what, was, is_now)


def place_of(secret: Secret) -> str:
    """Where a secret is read. A file by its name: both sides have it in their own folder."""
    return f"{secret.source}:{secret.name.rpartition('/')[2]}"


def _told(identity: Identity) -> Mapping[str, str]:
    said = {f"issuer {each.name}: {key}": text for each in identity.issuers for key, text in _issuer(each).items()}
    if identity.anonymous is not None:
        said["without a token"] = _anonymous(identity.anonymous)
    if identity.development is not None:
        said["development tokens"] = "taken"
    return said


def _anonymous(principal: Principal) -> str:
    roles = f" with the roles {', '.join(principal.roles)}" if principal.roles else ""
    return f"{principal.id}{roles}"


def _issuer(issuer: Issuer) -> Mapping[str, str]:
    return {
        "issuer": issuer.issuer,
        "audience": ", ".join([issuer.audience, *sorted(issuer.other_audiences)]),
        "keys": _source(issuer.source),
        "algorithms": ", ".join(sorted(issuer.algorithms)) or "those of its keys",
        "roles": _NOTHING if issuer.roles is None else _roles(issuer.roles),
        "trust domain": issuer.trust_domain or _NOTHING,
        "max_age_s": f"{issuer.max_age_s:g}",
        "leeway_s": f"{issuer.leeway_s:g}",
        "max_stale_s": f"{issuer.max_stale_s:g}",
    }


def _source(source: Source) -> str:
    match source:
        case FromUrl(url):
            return url
        case FromFile(path) | FromDevelopmentKey(path):
            return f"file:{path.name}"
        case FromSecret(secret):
            return f"the secret of {place_of(secret)}"
        case _:
            assert_never(source)


def _roles(rule: RoleRule) -> str:
    mapped = "; ".join(f"{said} as {', '.join(roles)}" for said, roles in sorted((rule.map or {}).items()))
    apart = f", split at {rule.separator!r}" if rule.separator else ""
    return f"by {rule.claim}{apart}{f': {mapped}' if rule.map is not None else ''}"
