"""The settings of identity as the values that authentication takes.

RULE: nothing is judged here; what makes no sense was refused before (`sense.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from toolgate.auth.issuer import FromFile, FromSecret, FromUrl, Identity, Issuer, RoleRule, Source
from toolgate.core.model import Principal
from toolgate.settings import model

_KEY_NAME: Final = "development.jwk"


def identity_of(settings: model.Settings) -> Identity:
    """Everything that says who calls."""
    identity = settings.identity
    return Identity(
        anonymous=anonymous_of(settings) if identity.serves_anonymous else None,
        issuers=tuple(_issuer(issuer) for issuer in identity.issuers),
        development=development_key(settings) if identity.development else None,
    )


def anonymous_of(settings: model.Settings) -> Principal:
    """Who calls without a token, where that is taken."""
    anonymous = settings.identity.anonymous
    return Principal(anonymous.id, anonymous.roles)


def roles_of(settings: model.Settings) -> frozenset[str] | None:
    """Every role that somebody can have; None where a token may say any."""
    claimed, identity = _claimed(settings), settings.identity
    return claimed if claimed is None else claimed.union(identity.anonymous.roles if identity.serves_anonymous else ())


def approvers_of(settings: model.Settings) -> frozenset[str] | None:
    """Every role that somebody at the admin listener can have; None where a token may say any."""
    return _claimed(settings) if settings.identity.takes_tokens else frozenset({"admin"})


def _claimed(settings: model.Settings) -> frozenset[str] | None:
    """Every role that a token can say; None: any."""
    claimed = [issuer.roles for issuer in settings.identity.issuers if issuer.roles is not None]
    if settings.identity.development or any(roles.map is None for roles in claimed):
        return None
    return frozenset(role for roles in claimed for several in (roles.map or {}).values() for role in several)


def development_key(settings: model.Settings) -> Path:
    """The file of the development key: beside the ledger; with `memory:`, where a ledger would be by default."""
    scheme, _, place = settings.journal_url.partition(":")
    folder = Path(place.removeprefix("//")).parent if scheme == "sqlite" else settings.toolspecs.parent / ".toolgate"
    return folder / _KEY_NAME


def _issuer(issuer: model.Issuer) -> Issuer:
    roles = issuer.roles
    return Issuer(
        name=issuer.name,
        issuer=issuer.issuer,
        audience=issuer.audience,
        source=_source(issuer),
        algorithms=issuer.algorithms,
        other_audiences=frozenset(issuer.other_audiences),
        roles=RoleRule(roles.claim, roles.map, roles.separator) if roles else None,
        trust_domain=issuer.trust_domain,
        max_age_s=issuer.max_age_s,
        leeway_s=issuer.leeway_s,
        max_stale_s=(issuer.jwks or model.Jwks()).max_stale_s,
    )


def _source(issuer: model.Issuer) -> Source:
    match issuer:
        case model.Issuer(secret=secret) if secret is not None:
            return FromSecret(secret)
        case model.Issuer(jwks=model.Jwks(url=str(url)) as jwks):
            return FromUrl(url, jwks.ca_file, jwks.token_file)
        case model.Issuer(jwks=model.Jwks(file=Path() as file)):
            return FromFile(file)
        case _:
            raise AssertionError("an issuer without keys passed `sense.py`")
