"""Settings that are each well formed and together make no sense, and those that are allowed but unwise.

RULE: what would leave a door open that nobody asked for is refused; what someone may want is warned about.
"""

from __future__ import annotations

from collections.abc import Iterator

from toolgate.settings.model import Settings
from toolgate.settings.values import Address, Tcp


def nonsense(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (key, message) for each contradiction."""
    yield from _environments(settings)
    yield from _admin(settings)
    yield from _listeners(settings)


def _environments(settings: Settings) -> Iterator[tuple[str, str]]:
    names = settings.environments
    if settings.environment not in names:
        listed = ", ".join(f"`{name}`" for name in names)
        yield (
            "environment",
            f"`environment` is `{settings.environment}`, which `environments` does not list: it has {listed}",
        )
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "environments", f"`environments` lists `{name}` more than once"


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
    return tuple(_warnings(settings))


def _warnings(settings: Settings) -> Iterator[str]:
    listen = settings.listen
    if _beyond_loopback(listen.agent):
        yield (
            f"`listen.agent` is `{listen.agent}`, beyond loopback: every host that reaches it calls tools as "
            f"`{settings.identity.anonymous.id}`; bind `127.0.0.1` unless the network keeps others out"
        )
    if settings.ledger == "memory:":
        yield "`ledger` is `memory:`: the journal and all balances are lost when the process ends"
    if settings.journal.sync == "off":
        yield "`journal.sync` is `off`: a power failure may lose decisions of calls that were sent"


def _beyond_loopback(address: Address | None) -> bool:
    return address is not None and not address.loopback
