"""What a call costs: held before it is sent, settled from its reply (DESIGN §11).

RULE: what cannot be read never makes a call cheaper. An argument that says no amount refuses the call; a reply that says
none leaves what was held, or costs what the operator gave for that, and it is said why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

import jiter

from toolgate.core.amounts import MOST, at_most
from toolgate.core.expressions import Expression
from toolgate.core.model import Json, Reply

# Why a reply does not say what a call cost: there was none, it is an error, it is compressed, longer than `max_response`,
# no JSON by its type, none by its bytes, a stream none of whose events says it; or it leaves it out.
Unpriced: TypeAlias = Literal[
    "no_reply", "status", "encoded", "too_long", "no_json", "unreadable", "event_stream", "absent"
]
_UNREAD: Final = object()
_FAILED_STATUS: Final = 400
_BOM: Final = b"\xef\xbb\xbf"
_NO_AMOUNTS: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Cost:
    """One named cost of an operation: what is held in micro-units, or where the arguments say it, and what settles it."""

    hold: int | Expression
    settle: Expression | None = None
    unpriced: int | None = None  # what a call costs whose reply says nothing of it; None: what was held

    def held(self, arguments: Mapping[str, Json]) -> int | None:
        """Return what a call holds; None where its arguments do not say it. What a reply settles holds at least 1."""
        amount = self.hold if isinstance(self.hold, int) else _sum(self.hold.values(arguments))
        if amount is None or self.settle is None:
            return amount
        return max(amount, 1)


@dataclass(frozen=True, slots=True)
class Terms:
    """The costs of an operation, and what of them is known before a call comes."""

    costs: tuple[tuple[str, Cost], ...]
    fixed: Mapping[str, int] | None  # what every call holds; None: its arguments say it
    is_settled: bool  # whether a reply says what was really spent
    reads_body: bool  # in its body, which must be held whole to be read

    def held(self, arguments: Mapping[str, Json]) -> Mapping[str, int]:
        """What a call holds of each; what its arguments do not say is nothing."""
        if self.fixed is not None:
            return self.fixed
        return {name: cost.held(arguments) or 0 for name, cost in self.costs}


def terms_of(costs: Mapping[str, Cost]) -> Terms:
    """Operations that cost the same share theirs."""
    return _terms(tuple(costs.items()))


@lru_cache(maxsize=1024)
def _terms(costs: tuple[tuple[str, Cost], ...]) -> Terms:
    settles = [cost.settle for _, cost in costs if cost.settle is not None]
    is_fixed = all(isinstance(cost.hold, int) for _, cost in costs)
    fixed = {name: cost.held({}) or 0 for name, cost in costs} if is_fixed else None
    return Terms(costs, fixed, bool(settles), any(settle.root == "response.body" for settle in settles))


class Bill(NamedTuple):
    """What a call cost in micro-units, by the name of the cost; what is not known of it is left out."""

    amounts: Mapping[str, int] = _NO_AMOUNTS
    unpriced: Unpriced | None = None  # why the reply does not say all of it


NO_BILL: Final = Bill()


def billed(terms: Terms, held: Mapping[str, int], reply: Reply | None, heard: Mapping[str, int] | None) -> Bill:
    """What the reply says the call cost. `heard`: what its events said, where it is a stream of them."""
    said = {**settled(terms, reply), **(heard or {})}
    unsaid = [(name, cost) for name, cost in terms.costs if cost.settle is not None and name not in said]
    if not unsaid:
        return Bill(said)
    # An upstream that refuses has its own reasons to say nothing; what was held of it stays taken.
    if reply is None or reply.status < _FAILED_STATUS:
        said |= {name: max(cost.unpriced, held[name]) for name, cost in unsaid if cost.unpriced is not None}
    return Bill(said, _why_unsaid(terms, reply, heard))


def settled(terms: Terms, reply: Reply | None) -> dict[str, int]:
    """Return the bill in micro-units as the reply says it, by the name of the cost; what it does not say is left out."""
    if reply is None:
        return {}
    asked = {name: cost.settle for name, cost in terms.costs if cost.settle is not None}
    roots = _roots(asked.values(), reply)
    said = {name: _sum(settle.values(roots[settle.root])) for name, settle in asked.items()}
    return {name: amount for name, amount in said.items() if amount is not None}


def _why_unsaid(terms: Terms, reply: Reply | None, heard: Mapping[str, int] | None) -> Unpriced:
    if reply is None:
        return "no_reply"
    if reply.status >= _FAILED_STATUS:
        return "status"
    if heard is not None:
        return "event_stream"
    return _why_unread(reply) if terms.reads_body else "absent"


def _why_unread(reply: Reply) -> Unpriced:
    """Why the body does not say it."""
    headers = dict(reply.headers)
    if "content-encoding" in headers:
        return "encoded"
    if not is_json(headers):
        return "no_json"
    if not isinstance(reply.body, bytes):
        return "too_long"
    return "unreadable" if _read(reply.body) is _UNREAD else "absent"


def is_json(headers: Mapping[str, str]) -> bool:
    """Whether a body is JSON that can be read, by its headers."""
    return "content-encoding" not in headers and "json" in headers.get("content-type", "").lower()


def is_event_stream(headers: Mapping[str, str]) -> bool:
    said = headers.get("content-type", "").lower()
    return "content-encoding" not in headers and said.partition(";")[0].strip() == "text/event-stream"


def _roots(settles: Iterable[Expression], reply: Reply) -> dict[str, Json]:
    wanted = {settle.root for settle in settles}
    body = _read(reply.body) if "response.body" in wanted else None
    return {"response.body": body, "response.header": {name.lower(): value for name, value in reply.headers}}


def _read(body: object) -> Json:
    """Read a body with its numbers as they are written; what is no JSON, or says a thing twice, says nothing."""
    if not isinstance(body, bytes):
        return _UNREAD
    try:
        content = body.removeprefix(_BOM)  # RFC 8259 §8.1: a reader may pass over it
        return jiter.from_json(content, float_mode="decimal", allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError:
        return _UNREAD


def _sum(values: tuple[Json, ...]) -> int | None:
    """Add up what an expression names; None where it names nothing, or something that is no amount."""
    amounts = [at_most(value) for value in values]
    known = [amount for amount in amounts if amount is not None]
    return min(sum(known), MOST) if known and len(known) == len(amounts) else None
