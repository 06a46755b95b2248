"""An issuer as it is configured: whose tokens are taken, by which keys, and what they say of a principal.

RULE: values only, and nothing here imports a JWT library: settings are lowered to these in every process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from toolgate.core.catalog import Secret
from toolgate.core.model import Principal

# SECURITY: the two families read a key differently, so one issuer never has both (RFC 8725 §3.1, CVE-2022-29217).
ASYMMETRIC: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SYMMETRIC: Final = ("HS256", "HS384", "HS512")
DEVELOPMENT: Final = "dev"  # the name of the issuer whose tokens `toolgate token` mints
DEVELOPMENT_ISSUER: Final = "toolgate-development"  # their `iss`
DEVELOPMENT_MAX_AGE_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class FromUrl:
    """A JWKS behind HTTPS. `token_file` holds a bearer token for it (the Kubernetes API wants one), read anew each time."""

    url: str
    ca_file: Path | None = None
    token_file: Path | None = None
    deadline_s: float = 10.0


@dataclass(frozen=True, slots=True)
class FromFile:
    """A JWKS in a file that somebody else keeps fresh (spiffe-helper, a ConfigMap)."""

    path: Path


@dataclass(frozen=True, slots=True)
class FromSecret:
    """A secret that is shared with the issuer, for HS256, HS384 and HS512."""

    secret: Secret


@dataclass(frozen=True, slots=True)
class FromDevelopmentKey:
    """The public half of the key that `toolgate token` signs with."""

    path: Path


Source: TypeAlias = FromUrl | FromFile | FromSecret | FromDevelopmentKey


@dataclass(frozen=True, slots=True)
class RoleRule:
    """Which claim holds roles. With a `map`, only what it names is a role."""

    claim: str
    map: Mapping[str, tuple[str, ...]] | None = None
    separator: str | None = None  # of roles in one text (`scope`); None: a text is one role


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are taken, and how they are held against what is configured."""

    name: str
    issuer: str  # the `iss` claim, exactly
    audience: str
    source: Source
    algorithms: tuple[str, ...] = ()  # none: those of each key's own type
    other_audiences: frozenset[str] = frozenset()
    roles: RoleRule | None = None
    trust_domain: str | None = None  # SPIFFE: subjects are IDs of this trust domain
    max_age_s: float = 3600.0
    leeway_s: float = 30.0
    max_stale_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that says who calls."""

    anonymous: Principal | None  # None: nobody is served without a token
    issuers: tuple[Issuer, ...] = field(default=())
    development: Path | None = None  # the development key's file, where its tokens are taken

    @property
    def takes_tokens(self) -> bool:
        return bool(self.issuers) or self.development is not None
