"""Authentication as one process has it: who may knock at which door, and what keeps the issuers' keys fresh.

RULE: a process without issuers imports no JWT library, reads no key and runs no task for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal

from toolgate.auth.anonymous import Anonymous, Authenticator, Operators
from toolgate.auth.issuer import Identity
from toolgate.core.model import Principal
from toolgate.tasks import Tasks

if TYPE_CHECKING:
    from toolgate.auth.surroundings import Surroundings
    from toolgate.auth.tokens import Tokens

_WORKLOAD: Final = Principal("agent")  # who calls where nothing was configured
# What the journal says of who froze something or let it go.
_AT_SOCKET: Final = Principal("operator", ("admin",))
_AT_PORT: Final = "admin listener, no token"
_FIRST_LOOK_S: Final = 2.0  # what a start waits for keys; after that its tokens are refused until they come


class Callers:
    """Tells who calls, at every door of this process."""

    def __init__(
        self,
        identity: Identity,
        world: Surroundings,
        *,
        now_s: Callable[[], float],
        counted: Callable[[str, str], None],
    ) -> None:
        """Raises BundleError for a secret, and LedgerError for a development key, that cannot be used."""
        self._tokens = _tokens(identity, world, now_s, counted) if identity.takes_tokens else None
        self._workload = identity.anonymous or _WORKLOAD
        self.agents: Authenticator = self._tokens or Anonymous(self._workload)

    @property
    def authorization(self) -> Literal["dropped", "read"]:
        return "read" if self._tokens is not None else "dropped"

    def operators_at_socket(self) -> Operators:
        """At a Unix socket: its file mode says who reaches it, and whoever does may do everything."""
        return Operators(self.agents, _AT_SOCKET)

    def operators_at_port(self) -> Operators:
        """At a port: with issuers, a token is needed; without, the loopback or client certificates are the guard."""
        # SECURITY: an agent reaches this port as a person does, so whoever is here may act for it: nobody here can answer
        # what the agent asked for (`core.approvers`).
        return Operators(self.agents, None if self._tokens else Principal(_AT_PORT, ("admin",), {}, self._workload.id))

    async def start(self, tasks: Tasks) -> None:
        """Keep every issuer's keys fresh from now on, and wait shortly for the first ones."""
        rings = self._tokens.rings.values() if self._tokens else ()
        for ring in rings:
            tasks.spawn(ring.run(), f"keys of {ring.issuer.name}")
        looks = [asyncio.ensure_future(ring.looked.wait()) for ring in rings]
        if looks:
            _, late = await asyncio.wait(looks, timeout=_FIRST_LOOK_S)
            for look in late:
                look.cancel()

    def hurry(self) -> None:
        """Have every issuer's keys read anew: an operator asked for a reload."""
        if self._tokens is not None:
            self._tokens.hurry()

    def unready(self) -> str | None:
        """Why nobody at all can be told who it is; None while somebody can."""
        return self._tokens.unready() if self._tokens is not None else None

    def key_ages_s(self) -> Mapping[str, float]:
        """How old each issuer's keys are, for those that have been read."""
        rings = self._tokens.rings.values() if self._tokens else ()
        return {ring.issuer.name: ring.age_s for ring in rings if ring.has_been_read}


def _tokens(
    identity: Identity, world: Surroundings, now_s: Callable[[], float], counted: Callable[[str, str], None]
) -> Tokens:
    from toolgate.auth.opening import open_tokens  # noqa: PLC0415 - PyJWT and cryptography; without issuers we do without

    return open_tokens(identity, world, now_s=now_s, counted=counted)
