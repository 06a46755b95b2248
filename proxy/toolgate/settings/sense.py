"""Settings that are each well formed and together make no sense, and those that are allowed but unwise.

RULE: what would leave a door open that nobody asked for is refused; what someone may want is warned about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from toolgate.auth.issuer import DEVELOPMENT, DEVELOPMENT_ISSUER, SYMMETRIC
from toolgate.core.suggest import near
from toolgate.settings.model import Issuer, Settings
from toolgate.settings.values import Address, Tcp

_OWN_PRINCIPAL: Final = "toolgate"  # whose calls the gate's own catalogue reads are


def nonsense(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (key, message) for each contradiction."""
    yield from _environments(settings)
    yield from _admin(settings)
    yield from _listeners(settings)
    yield from _mode(settings)
    yield from _identity(settings)
    yield from _shared_state(settings)


def _mode(settings: Settings) -> Iterator[tuple[str, str]]:
    # SECURITY: one misplaced word must not switch production's policies off.
    if settings.mode == "audit" and settings.is_production and not settings.audit_in_production:
        message = (
            f"`mode` is `audit` in `{settings.environment}`, where nothing that policies refuse would be stopped; "
            "if that is meant, also write `audit_in_production: true`"
        )
        yield "mode", message


def _environments(settings: Settings) -> Iterator[tuple[str, str]]:
    names = settings.environments
    if settings.environment not in names:
        listed = ", ".join(f"`{name}`" for name in names)
        nearest = near(settings.environment, names, 1)
        meant = f"; did you mean `{nearest[0]}`?" if nearest else ""
        yield (
            "environment",
            f"`environment` is `{settings.environment}`, which `environments` does not list: it has {listed}{meant}",
        )
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "environments", f"`environments` lists `{name}` more than once"


def _identity(settings: Settings) -> Iterator[tuple[str, str]]:
    identity = settings.identity
    if identity.anonymous.id == _OWN_PRINCIPAL:
        yield (
            "identity.anonymous.id",
            f"`identity.anonymous.id` is `{_OWN_PRINCIPAL}`, which is the gate itself; choose another name",
        )
    # SECURITY: whoever can read the key beside the ledger could be anybody.
    if identity.development and settings.is_production:
        message = (
            f"`identity.development` takes tokens that `toolgate token` mints, as anybody, and `{settings.environment}` is "
            "production; remove it, and configure an issuer under `identity.issuers`"
        )
        yield "identity.development", message
    for index, issuer in enumerate(identity.issuers):
        key = f"identity.issuers[{index}]"
        yield from _twins(identity.issuers[:index], issuer, key)
        yield from ((f"{key}.{name}", f"`{key}` {message}") for name, message in _keys(issuer))


def _twins(before: tuple[Issuer, ...], issuer: Issuer, key: str) -> Iterator[tuple[str, str]]:
    if issuer.name == DEVELOPMENT:
        yield (
            f"{key}.name",
            f"`{key}.name` is `{DEVELOPMENT}`, which is the issuer of development tokens; choose another name",
        )
    if issuer.issuer == DEVELOPMENT_ISSUER:
        yield (
            f"{key}.issuer",
            f"`{key}.issuer` is `{DEVELOPMENT_ISSUER}`, which development tokens say; name your issuer's own",
        )
    if issuer.name in {other.name for other in before}:
        yield (
            f"{key}.name",
            f"`{key}.name` is `{issuer.name}`, as another issuer's is; principals of both would be mixed up",
        )
    if issuer.issuer in {other.issuer for other in before}:
        yield (
            f"{key}.issuer",
            f"`{key}.issuer` is `{issuer.issuer}`, as another issuer's is; its tokens would be held against only one",
        )


def _keys(issuer: Issuer) -> Iterator[tuple[str, str]]:
    """Where an issuer's keys are, and that they fit its algorithms."""
    jwks, secret = issuer.jwks, issuer.secret
    if (jwks is None) == (secret is None):
        yield "jwks", "needs either `jwks`, where its public keys are, or `secret`"
    if jwks is not None and (jwks.url is None) == (jwks.file is None):
        yield "jwks", "has a `jwks` that needs either `url` or `file`"
    if jwks is not None and jwks.url is None and (jwks.ca_file or jwks.token_file):
        yield "jwks", "has a `jwks` with `ca_file` or `token_file`, which are of use with `url` only"
    # SECURITY: one issuer never has both families, or its public key could be used as a secret (RFC 8725 §3.1).
    wrong = [name for name in issuer.algorithms if (name in SYMMETRIC) != (secret is not None)]
    if wrong and (jwks is None) != (secret is None):
        needed = "a `secret`" if secret is None else "public keys in `jwks`"
        yield "algorithms", f"lists {', '.join(f'`{name}`' for name in wrong)} in `algorithms`, which needs {needed}"


def _shared_state(settings: Settings) -> Iterator[tuple[str, str]]:
    redis = settings.redis
    if not settings.shares_state:
        written = sorted(redis.model_fields_set)
        if written:
            yield "redis", f"`redis.{written[0]}` is of use with `ledger: redis:…` only, and `ledger` is another"
        return
    # Gates that share runs must read each other's tokens, and a value masked by one is the same value to all.
    for name in ("mask", "run"):
        if getattr(settings.keys, name) is None:
            message = f"`ledger` is shared with other gates, so `keys.{name}` must be given: the same to all of them"
            yield f"keys.{name}", message
    if not settings.ledger.startswith("rediss:") and (redis.ca_file or redis.cert or redis.key):
        yield "redis", "`redis` names certificates, and `ledger` speaks no TLS; write `rediss:` instead of `redis:`"
    if (redis.cert is None) != (redis.key is None):
        yield "redis", "`redis` has either `cert` or `key`; a client certificate needs both"


def _admin(settings: Settings) -> Iterator[tuple[str, str]]:
    # SECURITY: whoever reaches the admin listener can read the journal and reload the bundle.
    tls = settings.listen.tls.admin
    if _beyond_loopback(settings.listen.admin) and (tls is None or tls.client_ca is None):
        message = (
            f"`listen.admin` is `{settings.listen.admin}`, beyond loopback, where anyone could reload and read the journal; "
            "use a `unix:` socket or `127.0.0.1`, or require client certificates with `listen.tls.admin.client_ca`"
        )
        yield "listen.admin", message


def _listeners(settings: Settings) -> Iterator[tuple[str, str]]:
    listen = settings.listen
    seen: dict[Address, str] = {}
    for name, address in (("agent", listen.agent), ("admin", listen.admin), ("health", listen.health)):
        if address is None or (isinstance(address, Tcp) and address.port == 0):
            continue
        if address in seen:
            yield (
                f"listen.{name}",
                f"`listen.{name}` and `listen.{seen[address]}` are both `{address}`; give each its own",
            )
        seen[address] = name


def warnings(settings: Settings) -> tuple[str, ...]:
    return (*_warnings(settings), *_admin_warnings(settings))


def _warnings(settings: Settings) -> Iterator[str]:
    listen = settings.listen
    if _beyond_loopback(listen.agent) and settings.identity.serves_anonymous:
        yield (
            f"`listen.agent` is `{listen.agent}`, beyond loopback: every host that reaches it calls tools as "
            f"`{settings.identity.anonymous.id}`; bind `127.0.0.1` unless the network keeps others out"
        )
    if _beyond_loopback(listen.agent) and settings.identity.takes_tokens and listen.tls.agent is None:
        yield (
            f"`listen.agent` is `{listen.agent}`, beyond loopback and without TLS: tokens travel in the clear; "
            "set `listen.tls.agent`"
        )
    if settings.identity.development:
        yield (
            "`identity.development` is on: whoever can read the key beside the ledger can be anybody; "
            "never where the tools are real"
        )
    if settings.mode == "audit":
        yield "`mode` is `audit`: POLICIES ARE NOT ENFORCED; what they refuse is sent, and journaled as what it would have been"
    if settings.ledger == "memory:":
        yield "`ledger` is `memory:`: the journal and all balances are lost when the process ends"
    if settings.shares_state:
        yield from _store_warnings(settings)
    if settings.journal.sync == "off":
        yield "`journal.sync` is `off`: a power failure may lose decisions of calls that were sent"


def _admin_warnings(settings: Settings) -> Iterator[str]:
    """Where somebody tries it out alone, the port is theirs; where agents of others run, it is those agents' too."""
    listen = settings.listen
    serves_others = settings.is_production or _beyond_loopback(listen.agent)
    if serves_others and settings.asks_operators_for_nothing and listen.tls.admin is None:
        yield (
            f"`listen.admin` is `{listen.admin}` and asks for no token: whatever runs on this host, an agent too, can thaw what "
            "was stopped and read the journal there; use a `unix:` socket, or configure `identity.issuers`"
        )


def _store_warnings(settings: Settings) -> Iterator[str]:
    if settings.journal_url == "memory:":
        yield (
            "`redis.journal` is `memory:`: the journal is lost when the process ends, and what a crash leaves open in the "
            "store stays charged"
        )
    host = urlsplit(settings.ledger).hostname or ""
    if settings.ledger.startswith("redis:") and not Tcp(host, 1).loopback:
        yield (
            f"`ledger` is at `{host}`, beyond loopback and without TLS: who is on the way can read and change every balance; "
            "use `rediss:`"
        )


def _beyond_loopback(address: Address | None) -> bool:
    return address is not None and not address.loopback
