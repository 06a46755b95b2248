"""The agent's own API under `/-/`: where it is, what it may call, calling by name, and why a call would be refused.

RULE: nothing here decides. A call by name takes the same path as a call by URL, and gets the same answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from toolgate.core.bundle import Bundle
from toolgate.core.explanation import Explanation
from toolgate.core.model import Json, Named, Permit, Refusal, Situation
from toolgate.core.strictjson import read
from toolgate.core.suggest import near
from toolgate.core.wiretext import Malformed
from toolgate.listeners.answers import Answer, Request
from toolgate.listeners.calls import Calls
from toolgate.listeners.health import Health
from toolgate.listeners.openapi import own_document
from toolgate.listeners.problem import disclosed, refusal_json, stages_json
from toolgate.listeners.routes import Respond, Routes, Visit, ill_asked, invalid, json_of, unknown_key
from toolgate.listeners.tools import FORMATS, Listings
from toolgate.listeners.voice import Voice

_SAMPLE: Final = 10
_AS_JSON: Final = "Send one JSON object with `operation` and `arguments`, as `Content-Type: application/json`."
_AS_OBJECT: Final = "Send `arguments` as one JSON object: parameters by name, the body under `body`."
_KEYS: Final = ("operation", "name", "arguments")


class AgentApi:
    """Answers the gate's own paths on the agent listener."""

    def __init__(self, calls: Calls, beside: Mapping[str, Respond], health: Health, voice: Voice, version: str) -> None:
        """`beside`: what else is answered, of runs, plans and approvals."""
        self._calls = calls
        self._gateway = calls.gateway
        self._voice = voice
        self._listings = Listings()
        self._document = own_document(version)
        self._routes = Routes(
            {
                "GET /-/tools": self._tools,
                "POST /-/call": self._call,
                "POST /-/explain": self._explain,
                "GET /-/environment": self._environment,
                "GET /-/openapi.json": self._openapi,
                **beside,
                **health.routes,
            },
            voice,
        )
        self.answer = self._routes.answer

    async def _tools(self, visit: Visit) -> Answer:
        query = visit.query("format")
        if isinstance(query, Refusal):
            return self._refused(query, visit)
        shape = query.get("format")
        if shape is not None and shape not in FORMATS:
            message = f"the format is one of {', '.join(FORMATS)}"
            return self._refused(invalid("/format", "enum", message, near(shape, FORMATS, 1)), visit)
        return visit.bytes(await self._listings.get(self._gateway.bundle, shape, visit.principal))

    async def _call(self, visit: Visit) -> Answer:
        asked = asked_by_name(visit.request)
        if isinstance(asked, Refusal):
            return self._refused(asked, visit)
        return await self._calls.take(visit.caller, asked, visit.request.said)

    async def _explain(self, visit: Visit) -> Answer:
        asked = asked_by_name(visit.request)
        if isinstance(asked, Refusal):
            return self._refused(asked, visit)
        call = self._gateway.new_call(visit.principal, asked, visit.request.said, visit.caller.run)
        bundle = self._gateway.bundle
        explanation = self._gateway.explain(call)
        decision = explanation.decision
        told = replace(visit, call_id=call.id)
        if isinstance(decision, Permit):
            return told.json({"decision": {"permit": True}, "stages": stages_json(_for_agent(explanation))})
        shown = disclosed(decision, self._calls.disclosure, visit.principal, bundle)
        # SECURITY: with `disclosure: hide` the stages would tell an unknown operation from a disallowed one.
        stages = stages_json(_for_agent(explanation)) if shown is decision else []
        return told.json({"decision": refusal_json(shown, call.id, bundle), "stages": stages})

    async def _environment(self, visit: Visit) -> Answer:
        bundle = self._gateway.bundle
        listed = await self._listings.listed(bundle, visit.principal)
        counts = Counter(each.operation.tool for each in listed)
        # SECURITY: with `disclosure: hide`, a tool of which nothing may be called is not there, and what it lists neither.
        shown = counts if self._calls.disclosure == "hide" else bundle.tools
        return visit.json(environment_json(bundle, self._gateway.situation, {tool: counts[tool] for tool in shown}))

    async def _openapi(self, visit: Visit) -> Answer:
        return visit.bytes(self._document)

    def _refused(self, refusal: Refusal, visit: Visit) -> Answer:
        return self._voice.own_refused(refusal, bodiless=visit.bodiless)


def _for_agent(explanation: Explanation) -> Explanation:
    """What an agent can do something about: of the near misses, those its arguments decide."""
    stages = [
        replace(stage, near_misses=tuple(each for each in stage.near_misses if each.reads))
        for stage in explanation.stages
    ]
    return replace(explanation, stages=tuple(stages))


def environment_json(bundle: Bundle, situation: Situation, counts: Mapping[str, int]) -> Json:
    """Where the agent is, what exists there, and of each tool that is shown, how much this principal may call."""
    tools = [
        {"tool": tool.name, "title": tool.title, "operations": counts[tool.name]} | _waiting(tool.name, situation)
        for tool in bundle.tools.values()
        if tool.target is not None and tool.name in counts
    ]
    return {
        "environment": bundle.environment,
        "revision": bundle.revision,
        "mode": bundle.mode,
        "policy": "cedar",
        "tools": tools,
        "resources": _resources_json(bundle, situation, counts),
        "expectations": [],
    }


def _resources_json(bundle: Bundle, situation: Situation, shown: Container[str]) -> dict[str, Json]:
    """What exists, by type; a type that two tools have is named with its tool."""
    catalogues = [
        (tool, each)
        for known in (bundle.resources, situation.catalogues)
        for tool, listed in known.items()
        if tool in shown
        for each in listed.values()
    ]
    types = [each.type for _, each in catalogues]
    return {
        each.type if types.count(each.type) == 1 else f"{tool}.{each.type}": {
            "count": len(each.attributes),
            "sample": list(islice(each.attributes, _SAMPLE)),
            "fresh_at": _moment(each.fresh_at_ms),
        }
        for tool, each in catalogues
    }


def _waiting(tool: str, situation: Situation) -> dict[str, Json]:
    """Why the calls of a tool must wait, where they must."""
    return {"not_ready": situation.unready[tool]} if tool in situation.unready else {}


def _moment(at_ms: int | None) -> str | None:
    """When a live catalogue was read; a file's is as fresh as the bundle."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def asked_by_name(request: Request) -> Named | Refusal:
    """Read `{"operation" | "name", "arguments"}`, strictly."""
    value = json_of(request, "a call by name", _AS_JSON)
    return value if isinstance(value, Refusal) else _named(value)


def _named(value: Json) -> Named | Refusal:
    if not isinstance(value, dict):
        return invalid("", "type", "a call by name is an object with `operation` and `arguments`")
    unknown = unknown_key(value, _KEYS, "a call by name has `operation` (or `name`) and `arguments`")
    if unknown is not None:
        return unknown
    if ("operation" in value) == ("name" in value):
        return invalid("/operation", "required", "a call by name has either `operation` or `name`")
    key = "operation" if "operation" in value else "name"
    if not isinstance(value[key], str):
        return invalid(f"/{key}", "type", f"`{key}` is text: the operation as `/-/tools` lists it")
    return _with_arguments(value[key], value.get("arguments", {}))


def _with_arguments(name: str, arguments: Json) -> Named | Refusal:
    """The arguments as an object, or as the text of one: some models' APIs hand them over so, and it is read as strictly."""
    if isinstance(arguments, str):
        try:
            arguments, _ = read(arguments.encode())
        except Malformed as error:
            return ill_asked("arguments.malformed", f"`arguments` is text, and {error}", _AS_OBJECT)
    if not isinstance(arguments, dict):
        return invalid("/arguments", "type", "`arguments` is an object: parameters by name, the body under `body`")
    return Named(name, arguments)
