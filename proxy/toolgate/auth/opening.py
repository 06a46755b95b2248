"""From the configured identity to an authenticator that is ready to run.

RULE: what a start can know is wrong stops it (a weak secret, an unusable development key); an issuer that cannot be
reached now does not: its tokens are refused until it can.
"""

from __future__ import annotations

from collections.abc import Callable

from toolgate.auth.development import development_issuer, make_key
from toolgate.auth.errors import KeysUnavailableError
from toolgate.auth.issuer import FromSecret, FromUrl, Identity
from toolgate.auth.ring import Ring
from toolgate.auth.surroundings import Surroundings
from toolgate.auth.tokens import Tokens
from toolgate.core.bundle import BundleError, Problem


def open_tokens(
    identity: Identity, world: Surroundings, *, now_s: Callable[[], float], counted: Callable[[str, str], None]
) -> Tokens:
    """Make the authenticator, its secrets and files read. Raises BundleError for a secret that cannot be used."""
    issuers = list(identity.issuers)
    if identity.development is not None:
        make_key(identity.development)
        issuers.append(development_issuer(identity.development))
    rings = [Ring(issuer, world) for issuer in issuers]
    problems = [problem for ring in rings if (problem := _read_near(ring, world)) is not None]
    if problems:
        raise BundleError(problems)
    return Tokens(rings, anonymous=identity.anonymous, now_s=now_s, counted=counted)


def _read_near(ring: Ring, world: Surroundings) -> Problem | None:
    """Read what is on this machine; what is wrong with a secret is a problem, with a file only a line in the log."""
    issuer = ring.issuer
    if isinstance(issuer.source, FromUrl):
        return None
    try:
        ring.read_now()
    except KeysUnavailableError as why:
        if isinstance(issuer.source, FromSecret):
            return Problem(
                "settings", 0, "identity.secret", f"the secret of issuer `{issuer.name}` cannot be used: {why}"
            )
        world.log.warning(
            "issuer_keys_not_read", issuer=issuer.name, why=str(why), serving="none: its tokens are refused"
        )
    return None
