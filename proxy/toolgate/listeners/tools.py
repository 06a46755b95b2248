"""The list of what can be called, in our shape and in those of the models' makers.

RULE: rendered once per bundle and shape, and only what is allowed: unlisted is refused, refused here is unlisted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Operation
from toolgate.core.model import Json

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


def _own(operation: Operation) -> Json:
    return {
        "operation": operation.key,
        "name": operation.name,
        "method": operation.method,
        "path": operation.path,
        "effect": operation.effect,
        "description": operation.description,
        "arguments": operation.signature.schema(),
        "requires_approval": False,
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


def listing(bundle: Bundle, shape: str | None) -> bytes:
    """Render the list: None is our own shape."""
    render = _own if shape is None else FORMATS[shape]
    tools = [render(operation) for operation in bundle.catalog.allowed]
    if shape is not None:
        return orjson.dumps({"tools": tools})
    return orjson.dumps({"revision": bundle.revision, "environment": bundle.environment, "tools": tools})


class Listings:
    """Lists of the bundle served now, each rendered at its first use, off the loop (a big document takes a while)."""

    def __init__(self) -> None:
        self._bundle: Bundle | None = None
        self._rendered: dict[str | None, bytes] = {}
        self._rendering = asyncio.Lock()

    async def get(self, bundle: Bundle, shape: str | None) -> bytes:
        ready = self._rendered.get(shape) if bundle is self._bundle else None
        if ready is not None:
            return ready
        async with self._rendering:
            if bundle is not self._bundle:
                self._bundle, self._rendered = bundle, {}
            rendered = self._rendered
            if shape not in rendered:
                rendered[shape] = await asyncio.to_thread(listing, bundle, shape)
            return rendered[shape]
