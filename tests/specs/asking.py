"""A generated case as the request it is on the wire, and what the gate says to it.

RULE: what the gate is shown is what `requests` would send, held against the wire gate first, as a listener does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import requests
from aiohttp.http_parser import RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from multidict import CIMultiDict, CIMultiDictProxy
from schemathesis.generation.case import Case
from tests.support.policies import permit_all
from yarl import URL

from toolgate.core import engine
from toolgate.core.bundle import Bundle
from toolgate.core.model import Call, Facts, Principal, Refusal, ValidCall, Wire
from toolgate.listeners.wire import MAX_HEADERS, MAX_LINE_BYTES, Rules, judge
from toolgate.load.bundle import Sources, load

TOOL = "vendor"
RULES = Rules(frozenset({"localhost"}))
_CALLER = Principal("tests")
_SENT = ("method", "url", "headers", "params", "data", "json", "files", "cookies")


@dataclass(frozen=True)
class Request:
    """One HTTP request as it would be written."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def is_too_long(self) -> bool:
        line = len(f"{self.method} {self.target} HTTP/1.1")
        return line > MAX_LINE_BYTES or len(self.headers) > MAX_HEADERS

    @property
    def query(self) -> list[tuple[str, str]]:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def form(self) -> list[tuple[str, str]]:
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    @property
    def content_type(self) -> str:
        return next((text for name, text in self.headers if name.lower() == "content-type"), "").partition(";")[0]


def bundle_of(folder: Path, document: Path, unknown_parameters: str = "refuse") -> Bundle:
    """Load a document as a tool that allows everything, through the loader a process uses."""
    tool = folder / "toolspecs" / TOOL
    tool.mkdir(parents=True)
    (tool / document.name).write_bytes(document.read_bytes())
    (tool / "tool.yaml").write_text(
        f"tool: {TOOL}\nopenapi: {document.name}\nunknown_parameters: {unknown_parameters}\n"
        'environments: {prod: {upstream: "http://a", allow: ["*"]}}\n',
        encoding="utf-8",
    )
    return load(Sources(folder / "toolspecs", permit_all(folder), "prod", ("prod",)))


def request_of(case: Case) -> Request:
    """Return the request a case is."""
    given = case.as_transport_kwargs(base_url=f"http://localhost/{TOOL}")
    prepared = requests.Request(**{name: given[name] for name in _SENT if name in given}).prepare()
    headers = tuple((_text(name), _text(value)) for name, value in prepared.headers.items())
    return Request(str(prepared.method), prepared.path_url, headers, _content(prepared.body))


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _content(body: object) -> bytes:
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else b"".join(body or ())  # type: ignore[call-overload, no-any-return]


def ask(bundle: Bundle, request: Request) -> ValidCall | Refusal:
    """Hold a request against the wire gate and the operation it means."""
    raw = tuple(
        (name.encode("latin-1", "replace"), text.encode("latin-1", "replace")) for name, text in request.headers
    )
    message = RawRequestMessage(
        request.method,
        request.target,
        HttpVersion11,
        CIMultiDictProxy(CIMultiDict()),
        ((b"Host", b"localhost"), *raw),
        should_close=False,
        compression=None,
        upgrade=False,
        chunked=False,
        url=URL("/"),
    )
    head = judge(message, RULES)
    if isinstance(head, Refusal):
        return head
    wire = Wire(head.method, head.path, head.query, head.block.kept, request.body)
    return engine.check(Call("call", 0, _CALLER, wire), Facts(), bundle)
