"""The APIs behind a gate in a test: each answers what the test says, if its document declares such an answer.

RULE: what nobody said is not answered, and what the API would never answer is not either: both fail the test, for a test
that passes on an impossible answer shows nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import orjson

from toolgate.core.model import Json, Permit, Reply, Sent, ValidCall
from toolgate.core.suggest import near
from toolgate.ports import UpstreamError

_JSON: Final = (("content-type", "application/json"),)
_SHOWN: Final = 3
# What an operation answers: a value, or what makes one of the arguments of the call, at once or later.
Said: TypeAlias = Json | Callable[[Mapping[str, Json]], Json | Awaitable[Json]]


class SentCall(NamedTuple):
    """A call that reached an API: what no decision stood in the way of."""

    operation: str
    arguments: Mapping[str, Json]
    step: str | None  # of the plan


class _Script(NamedTuple):
    said: Said
    status: int
    is_declared: bool


@dataclass
class Apis:
    """Every tool's API. Implements `ports.Upstream`."""

    sent: list[SentCall] = field(default_factory=list)
    _scripts: dict[str, _Script] = field(default_factory=dict)

    def answers(self, operation: str, said: Said, status: int = 200) -> None:
        """Let an operation answer from now on, with JSON; a callable is given the arguments. `status` as it declares."""
        self._scripts[operation] = _Script(said, status, is_declared=True)

    def breaks_its_word(self, operation: str, said: Said, status: int = 200) -> None:
        """Let it answer what its document does not declare."""
        self._scripts[operation] = _Script(said, status, is_declared=False)

    def fails(self, operation: str, code: str = "upstream.unreachable", sent: Sent = "no") -> None:
        """Let it not answer: `upstream.unreachable` (sent: no), `upstream.timeout` or `upstream.broken` (unknown)."""

        def fail(_: Mapping[str, Json]) -> Json:
            raise UpstreamError(code, "as the test says", sent=sent)

        self._scripts[operation] = _Script(fail, 0, is_declared=False)

    async def send(self, permit: Permit) -> Reply:
        valid = permit.valid
        self.sent.append(
            SentCall(valid.operation.key, valid.arguments, permit.step.step if permit.step is not None else None)
        )
        script = self._script_of(valid.operation.key)
        said = script.said(valid.arguments) if callable(script.said) else script.said
        if inspect.isawaitable(said):
            said = await said
        reply = Reply(script.status, _JSON, orjson.dumps(said)) if said is not None else Reply(script.status, (), b"")
        if script.is_declared:
            _prove(valid, reply)
        return reply

    async def close(self) -> None:
        return None

    def _script_of(self, key: str) -> _Script:
        script = self._scripts.get(key)
        if script is None:
            meant = near(key, self._scripts, 1)
            aid = f"; did you mean `{meant[0]}` when you said what that answers?" if meant else ""
            raise AssertionError(f"`{key}` was sent, and the test does not say what it answers{aid}")
        return script


def _prove(valid: ValidCall, reply: Reply) -> None:
    operation, body = valid.operation, reply.body if isinstance(reply.body, bytes) else b""
    wrong = operation.responses.violations(reply.status, _JSON[0][1], body) if body else ()
    if not wrong:
        return
    told = "; ".join(f"`{each.path or '/'}`: {each.message}" for each in wrong[:_SHOWN])
    raise AssertionError(
        f"`{operation.key}` would never answer {reply.status} like that, by its document: {told} "
        "(`breaks_its_word` says it all the same)"
    )
