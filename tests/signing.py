"""Signatures for tests: one operation described in a few lines, compiled as the loader compiles it.

RULE: everything goes through `Schemas`, so that a test of the core is a test of what documents say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolgate.core.model import Wire
from toolgate.core.signature import Decoded, Rejected, Signature
from toolgate.load.schemas import Schemas


def signature(
    operation: Mapping[str, Any],
    *,
    template: str = "/x",
    method: str = "post",
    version: Any = "3.0",
    document: Mapping[str, Any] | None = None,
    unknown_parameters: Any = "refuse",
    closed_bodies: bool = False,
) -> Signature:
    """Compile one operation of one document."""
    schemas = Schemas(document or {}, version, closed_bodies=closed_bodies)
    made = schemas.signature(method, template, {}, operation, unknown_parameters=unknown_parameters)
    schemas.compile()
    assert list(schemas.problems) == []
    return made


def parameter(name: str, location: str, schema: Any, **more: Any) -> dict[str, Any]:
    """Describe one OpenAPI 3 parameter."""
    return {"name": name, "in": location, "schema": schema, "required": location == "path", **more}


def body(schema: Any, media_type: str = "application/json", **more: Any) -> dict[str, Any]:
    """Describe an operation with one required request body."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema, **more}}}}


def query(made: Signature, raw: str) -> Decoded | Rejected:
    """Decode a request that is only a query."""
    return made.decode(Wire("GET", "", raw), [])


def posted(made: Signature, content: bytes, content_type: str | None = "application/json") -> Decoded | Rejected:
    """Decode a request that is only a body."""
    headers = {} if content_type is None else {"content-type": content_type}
    return made.decode(Wire("POST", "", "", headers, content), [])


def arguments(outcome: Decoded | Rejected) -> Mapping[str, Any]:
    """Return the arguments of a call that was accepted."""
    assert isinstance(outcome, Decoded), outcome
    return outcome.arguments


def refused(outcome: Decoded | Rejected) -> list[tuple[str, str]]:
    """Return path and keyword of everything wrong, or the code alone when nothing could be judged."""
    assert isinstance(outcome, Rejected), outcome
    return [(each.path, each.keyword) for each in outcome.violations] or [("", outcome.code)]
