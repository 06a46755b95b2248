"""The gate's own paths: a table of what exists, and one answer for everything else.

RULE: a path is matched exactly, as it came; `{…}` stands for one segment. HEAD is GET without its body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

import orjson

from toolgate.core.codes import CODES
from toolgate.core.model import Json, Principal, Recovery, Refusal, Violation
from toolgate.core.strictjson import read
from toolgate.core.suggest import near
from toolgate.core.wiretext import Malformed, echo, pointer
from toolgate.listeners.answers import Answer, Caller, Request, Whole, plain
from toolgate.listeners.voice import Voice

Respond = Callable[["Visit"], Awaitable[Answer]]
DIGITS: Final = 18  # of a number in a query
_ECHOED_CHARS: Final = 64


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for one of the gate's own paths."""

    request: Request
    caller: Caller
    call_id: str
    segment: str = ""  # what stood for `{…}`

    @property
    def principal(self) -> Principal:
        return self.caller.principal

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


class _Template(NamedTuple):
    """A path with one segment of its own: what stands before it and after it."""

    before: str
    after: str
    respond: Respond


class Routes:
    """What exists under `/-/` on one listener."""

    def __init__(self, table: Mapping[str, Respond], voice: Voice) -> None:
        self._exact = {line: respond for line, respond in table.items() if "{" not in line}
        self._templates = [_template(line, respond) for line, respond in table.items() if "{" in line]
        self._lines = tuple(table)
        self._voice = voice

    async def answer(self, request: Request, caller: Caller) -> Answer:
        method = "GET" if request.method == "HEAD" else request.method
        line = f"{method} {request.path}"
        respond, segment = self._exact.get(line), ""
        if respond is None:
            respond, segment = self._templated(line)
        if respond is None:
            return self._voice.refused(self._unknown(line), bodiless=request.method == "HEAD")
        return await respond(Visit(request, caller, self._voice.new_id(), segment))

    def _templated(self, line: str) -> tuple[Respond | None, str]:
        """What answers a path with one segment of its own, and that segment."""
        for before, after, respond in self._templates:
            segment = line[len(before) : len(line) - len(after)]
            if segment and "/" not in segment and line.startswith(before) and line.endswith(after):
                return respond, segment
        return None, ""

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


def _template(line: str, respond: Respond) -> _Template:
    before, _, rest = line.partition("{")
    return _Template(before, rest.partition("}")[2], respond)


def missing(what: str, segment: str, hint: str) -> Refusal:
    """SECURITY: one and the same answer for what is not there and for what belongs to somebody else."""
    code = CODES["tool.unknown"]
    detail = f"there is no {what} `{segment[:_ECHOED_CHARS]}` here"
    return Refusal(code, detail, Recovery(code.action, hint), stage="tool")


def json_of(request: Request, what: str, hint: str) -> Json | Refusal:
    """The body of a request for one of the gate's own paths, read strictly. `what` the body is, in a sentence."""
    essence = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if essence != "application/json":
        return ill_asked("arguments.media_type", f"the body of {what} is `application/json`", hint)
    if "content-encoding" in request.headers:
        return ill_asked("arguments.media_type", f"the body of {what} has no content coding", hint)
    try:
        return read(request.body)[0]
    except Malformed as error:
        return ill_asked("arguments.malformed", str(error), hint)


def unknown_key(value: Mapping[str, Json], known: tuple[str, ...], message: str) -> Refusal | None:
    """What to say of the first key that is none of the known ones."""
    unknown = next((key for key in value if key not in known), None)
    if unknown is None:
        return None
    nearest = near(unknown, known, 1)
    meant = f"; did you mean `{nearest[0]}`?" if nearest else f": {message}"
    return invalid(pointer("", unknown[:_ECHOED_CHARS]), "unknown", f"{echo(unknown)} is not known{meant}", nearest)


def ill_asked(code: str, detail: str, hint: str) -> Refusal:
    row = CODES[code]
    return Refusal(row, detail, Recovery(row.action, hint), stage="arguments")


def invalid(path: str, keyword: str, message: str, suggestion: tuple[str, ...] = ()) -> Refusal:
    """One thing wrong with what was asked of the gate itself."""
    code = CODES["arguments.invalid"]
    violation = Violation(path, keyword, message, suggestion=suggestion[0] if suggestion else None)
    hint = f"Fix {echo(path)} and send it again." if path else code.hint
    return Refusal(code, message, Recovery(code.action, hint), stage="arguments", violations=(violation,))


def whole_number(query: Mapping[str, str], name: str, default: int | None, most: int) -> int | Refusal | None:
    """Read a number of a query, from 1 on."""
    text = query.get(name)
    if text is None:
        return default
    if text.isdecimal() and text.isascii() and len(text) <= DIGITS and 1 <= int(text) <= most:
        return int(text)
    return invalid(f"/{name}", "range", f"`{name}` is a whole number from 1 to {most}")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) if names else "nothing"
