"""Voice told again: the same bytes as the last time, but for the call's id.

RULE: exact and bounded. A refusal is the same when it is the same object under the same bundle, as those are that
`core.judgements` remembers; what differs from call to call (what is left of a budget, a HEAD) is rendered each time.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from toolgate.core.bundle import Bundle
from toolgate.core.model import Refusal, Refused
from toolgate.listeners.answers import Answer, Whole
from toolgate.listeners.problem import render

_MOST: Final = 128


class _Told(NamedTuple):
    """What was told, and held so that nothing else has its identity; with its answer around the call's id, once it came again."""

    refusal: Refusal
    bundle: Bundle
    id_length: int = 0  # which the Content-Length goes by
    head: tuple[bytes, ...] = ()
    body: tuple[bytes, ...] = ()


class Retelling:
    """The last refusals of one listener, as they were told."""

    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: dict[int, _Told] = {}

    def render(self, refused: Refused, call_id: str, bundle: Bundle, *, bodiless: bool) -> Answer:
        """A refusal as an answer, as `problem.render` makes it."""
        if refused.standing is not None or bodiless:
            return render(refused, call_id, bundle, bodiless=bodiless)
        told = self._told.get(id(refused.refusal))
        if told is None or told.bundle is not bundle:
            self._keep(_Told(refused.refusal, bundle))
            return render(refused, call_id, bundle)
        own = call_id.encode()
        if told.id_length == len(own):
            return Whole(own.join(told.head), own.join(told.body))
        answer = render(refused, call_id, bundle)
        if isinstance(answer, Whole):
            head, body = answer.head.split(own), answer.body.split(own)
            # SECURITY: what an agent wrote may hold the id of this call; it is no place for that of the next.
            if (len(head), len(body)) == (2, 3):
                self._keep(told._replace(id_length=len(own), head=tuple(head), body=tuple(body)))
        return answer

    def _keep(self, told: _Told) -> None:
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told[id(told.refusal)] = told
