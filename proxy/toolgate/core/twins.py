"""One decision for a request that means several operations: keys that differ only by `#…` (DESIGN §6).

RULE: it is sent only if each of them may be called, and the journal is told what any of them was judged by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

from toolgate.core.model import Decision, Json, Permit, Refusal, Shadow


def jointly(decisions: Sequence[Decision]) -> Decision:
    """The first refusal, else the first permit with the statements of all."""
    refusals = [each for each in decisions if isinstance(each, Refusal)]
    decided = refusals[0] if refusals else decisions[0]
    told = decided._replace(shadow=_shadow(decisions), read=_read(decisions))
    if isinstance(told, Refusal):
        return told
    asks = {each for permit in decisions if isinstance(permit, Permit) for each in permit.asks}
    return told._replace(statements=_statements(decisions), asks=tuple(sorted(asks)))


def _shadow(decisions: Sequence[Decision]) -> Shadow | None:
    """What audit would have changed for all of them together."""
    against = [each for each in decisions if _would_be_refused(each)]
    if bool(against) == any(isinstance(each, Refusal) for each in decisions):
        return None
    if against:
        return against[0].shadow
    return Shadow("permit", None, _statements([each.shadow or each for each in decisions]))


def _would_be_refused(decision: Decision) -> bool:
    if decision.shadow is None:
        return isinstance(decision, Refusal)
    return decision.shadow.decision == "refuse"


def _statements(those: Sequence[Decision | Shadow]) -> tuple[str, ...]:
    return tuple(sorted({statement for each in those for statement in each.statements}))


def _read(decisions: Sequence[Decision]) -> Mapping[str, Json] | None:
    told = [each.read for each in decisions if each.read]
    return reduce(_both, told) if told else None


def _both(one: Json, other: Json) -> Json:
    """What two decisions read of the same facts: members and elements of either."""
    if isinstance(one, dict):
        return {**one, **{name: _both(one[name], told) if name in one else told for name, told in other.items()}}
    if isinstance(one, list):
        return [*one, *(each for each in other if each not in one)]
    return other
