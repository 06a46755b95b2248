"""The gate's own paths: a table of what exists, and one answer for everything else.

RULE: a path is matched exactly, as it came; `{…}` stands for one segment. HEAD is GET without its body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

import orjson

from toolgate.core.codes import CODES
from toolgate.core.model import Json, Principal, Recovery, Refusal, Violation
from toolgate.core.suggest import near
from toolgate.listeners.answers import Answer, Request, Whole, plain
from toolgate.listeners.refusals import Refusals

Respond = Callable[["Visit"], Awaitable[Answer]]
_ECHOED_CHARS = 64


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for one of the gate's own paths."""

    request: Request
    principal: Principal
    call_id: str
    segment: str = ""  # what stood for `{…}`

    @property
    def bodiless(self) -> bool:
        return self.request.method == "HEAD"

    def json(self, value: Json, status: int = 200) -> Whole:
        return self.bytes(orjson.dumps(value), status)

    def bytes(self, body: bytes, status: int = 200, content_type: str = "application/json") -> Whole:
        headers = (("Toolgate-Call", self.call_id), ("Toolgate-Source", "gate"))
        return plain(status, content_type, body, headers=headers, bodiless=self.bodiless)

    def query(self, *known: str) -> dict[str, str] | Refusal:
        """The query by name: known names only, each once."""
        found: dict[str, str] = {}
        for name, value in parse_qsl(self.request.query, keep_blank_values=True):
            if name not in known:
                return invalid(
                    f"/{name[:_ECHOED_CHARS]}", "unknown", f"this path takes {_listed(known)}", near(name, known, 1)
                )
            if name in found:
                return invalid(f"/{name}", "repeated", f"`{name}` is given more than once")
            found[name] = value
        return found


class Routes:
    """What exists under `/-/` on one listener."""

    def __init__(self, table: Mapping[str, Respond], refusals: Refusals) -> None:
        self._exact = {line: respond for line, respond in table.items() if "{" not in line}
        self._under = {line.partition("{")[0]: respond for line, respond in table.items() if "{" in line}
        self._lines = tuple(table)
        self._refusals = refusals

    async def answer(self, request: Request, principal: Principal) -> Answer:
        method = "GET" if request.method == "HEAD" else request.method
        line = f"{method} {request.path}"
        respond = self._exact.get(line)
        if respond is not None:
            return await respond(Visit(request, principal, self._refusals.new_id()))
        before, _, segment = line.rpartition("/")
        respond = self._under.get(f"{before}/")
        if respond is not None and segment:
            return await respond(Visit(request, principal, self._refusals.new_id(), segment))
        return self._refusals.refused(self._unknown(line), bodiless=request.method == "HEAD")

    def _unknown(self, line: str) -> Refusal:
        code = CODES["tool.unknown"]
        nearest = near(line, self._lines, 1)
        hint = f"Use {nearest[0]} instead." if nearest else f"Use one of {_listed(self._lines)}."
        return Refusal(
            code,
            f"`{line[:_ECHOED_CHARS]}` is not one of the gate's own paths",
            Recovery(code.action, hint),
            stage="tool",
        )


def invalid(path: str, keyword: str, message: str, suggestion: tuple[str, ...] = ()) -> Refusal:
    """One thing wrong with what was asked of the gate itself."""
    code = CODES["arguments.invalid"]
    violation = Violation(path, keyword, message, suggestion=suggestion[0] if suggestion else None)
    return Refusal(code, message, Recovery(code.action, code.hint), stage="arguments", violations=(violation,))


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) if names else "nothing"
