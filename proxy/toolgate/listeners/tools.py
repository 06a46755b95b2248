"""The list of what can be called, in our shape and in those of the models' makers.

RULE: what is not listed for a principal is refused to it: the list and the decision come from the same statements.
Each list is decided once per bundle and kind of principal, and rendered once per shape.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias, TypeVar

import orjson

from toolgate.core.authorization import asks_a_person, is_listed
from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Operation
from toolgate.core.model import Json, Principal

_KEPT: Final = 64  # lists and renderings: a gate serves few kinds of principal, and a caller can make many
_AT_ONCE: Final = 50  # operations decided between two turns of the loop: a millisecond or two
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


_K = TypeVar("_K")
_V = TypeVar("_V")


class Listed(NamedTuple):
    """An operation a principal may be allowed to call."""

    operation: Operation
    requires_approval: bool


Who: TypeAlias = tuple[str, tuple[str, ...], tuple[tuple[str, str], ...], str | None]


def _own(operation: Operation, *, requires_approval: bool) -> Json:
    return {
        "operation": operation.key,
        "name": operation.name,
        "method": operation.method,
        "path": operation.path,
        "effect": operation.effect,
        "description": operation.description,
        "arguments": operation.signature.schema(),
        "requires_approval": requires_approval,
    }


def _openai(operation: Operation) -> Json:
    return {
        "type": "function",
        "function": {
            "name": operation.name,
            "description": operation.description,
            "parameters": operation.signature.schema(),
        },
    }


def _anthropic(operation: Operation) -> Json:
    return {
        "name": operation.name,
        "description": operation.description,
        "input_schema": operation.signature.schema(),
    }


def _mcp(operation: Operation) -> Json:
    return {
        "name": operation.name,
        "description": operation.description,
        "inputSchema": operation.signature.schema(),
        "annotations": {
            "readOnlyHint": operation.effect == "read",
            "destructiveHint": operation.effect == "destructive",
            "idempotentHint": operation.method in _IDEMPOTENT,
            "openWorldHint": True,
        },
    }


FORMATS: Final[Mapping[str, Callable[[Operation], Json]]] = {"openai": _openai, "anthropic": _anthropic, "mcp": _mcp}


def listing(bundle: Bundle, shape: str | None, listed: tuple[Listed, ...]) -> bytes:
    """Render the list: None is our own shape."""
    if shape is not None:
        return orjson.dumps({"tools": [FORMATS[shape](each.operation) for each in listed]})
    tools = [_own(each.operation, requires_approval=each.requires_approval) for each in listed]
    return orjson.dumps({"revision": bundle.revision, "environment": bundle.environment, "tools": tools})


class Listings:
    """Lists of the bundle served now, each made at its first use."""

    def __init__(self) -> None:
        self._bundle: Bundle | None = None
        self._listed: dict[Who, tuple[Listed, ...]] = {}
        self._rendered: dict[tuple[str | None, tuple[Listed, ...]], bytes] = {}
        self._making = asyncio.Lock()

    async def get(self, bundle: Bundle, shape: str | None, principal: Principal) -> bytes:
        """The list as bytes. Rendered off the loop: a big document takes a while."""
        async with self._making:
            key = shape, await self._list(bundle, principal)
            rendered = self._rendered.get(key)
            if rendered is None:
                _make_room(self._rendered)
                rendered = self._rendered[key] = await asyncio.to_thread(listing, bundle, *key)
            return rendered

    async def listed(self, bundle: Bundle, principal: Principal) -> tuple[Listed, ...]:
        """What the principal may be allowed to call."""
        async with self._making:
            return await self._list(bundle, principal)

    async def _list(self, bundle: Bundle, principal: Principal) -> tuple[Listed, ...]:
        if bundle is not self._bundle:
            self._bundle, self._listed, self._rendered = bundle, {}, {}
        who = principal.id, principal.roles, tuple(sorted(principal.claims.items())), principal.on_behalf_of
        known = self._listed.get(who)
        if known is None:
            _make_room(self._listed)
            known = self._listed[who] = await _decided(bundle, principal)
        return known


async def _decided(bundle: Bundle, principal: Principal) -> tuple[Listed, ...]:
    found = []
    for at, operation in enumerate(bundle.catalog.allowed):
        if at % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        if is_listed(operation, principal, bundle):
            found.append(Listed(operation, asks_a_person(operation, principal, bundle)))
    return tuple(found)


def _make_room(kept: dict[_K, _V]) -> None:
    if len(kept) >= _KEPT:
        kept.clear()
