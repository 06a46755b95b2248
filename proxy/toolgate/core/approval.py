"""A human yes: what is asked, of whom, and what has come of it (DESIGN §10).

RULE: bound to a digest of everything that was judged; used once. Whoever changes one byte asks anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from toolgate.core.model import Json

ApprovalState: TypeAlias = Literal["pending", "granted", "declined", "revoked", "expired", "used"]
# call: one call · plan: a plan as a whole · replan: one more expansion of a plan · recursion: one more run below a run
ApprovalKind: TypeAlias = Literal["call", "plan", "replan", "recursion"]
PENDING_MS: Final = 600_000  # to grant it
GRANTED_MS: Final = 600_000  # to use it
MOST_PENDING: Final = 10  # of one principal
WAITING: Final = "approvals"  # by which a ledger is asked for every one that may wait for somebody


@dataclass(frozen=True, slots=True)
class Asking:
    """What a person is asked: the request as it will be sent, without injected credentials."""

    digest: str  # sha256:… over principal, run, operation, arguments, environment, plan step and statements
    kind: ApprovalKind
    principal: str
    run: str
    roles: tuple[str, ...]  # one approver of each
    operation: str | None = None
    statements: tuple[str, ...] = ()
    why: str = ""  # the reasons of the statements that asked
    request: Mapping[str, Json] = field(default_factory=dict)  # what is shown: operation, arguments (masked), plan …
    plan: str | None = None
    step: str | None = None
    on_behalf_of: str | None = None  # whom the requester acts for
    actor: str | None = None  # who acts for the requester (`approvers.actor_of`); none of the three may answer
    relies_on: str = ""  # digest over what it was judged by, beyond what `digest` says: a grant holds for that only


@dataclass(frozen=True, slots=True)
class Approval:
    """An asking and its answer."""

    id: str  # `apr_…`
    asking: Asking
    asked_ms: int
    expires_ms: int  # of what it is in now: to be granted, or to be used
    state: ApprovalState = "pending"
    granted_by: tuple[tuple[str, str], ...] = ()  # (role, approver) so far
    comment: str | None = None


class Approvals(Protocol):
    """What the ledger knows of approvals, without I/O. Live: read it before waiting for anything."""

    def of(self, digest: str, at_ms: int) -> Approval | None:
        """The newest approval for this digest, its state as it is at `at_ms`."""
        ...

    def by_id(self, approval_id: str, at_ms: int) -> Approval | None: ...

    def pending(self, principal: str, at_ms: int) -> int:
        """How many of a principal wait for an answer."""
        ...

    def listed(self, at_ms: int) -> Sequence[Approval]:
        """All that are remembered, the newest first."""
        ...
