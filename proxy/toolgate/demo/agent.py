"""The agent's side of the demo: HTTP over the standard library, as any agent's SDK would send it.

RULE: it knows the gate's address and nothing else; it holds no credential.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from typing import Any

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing the agent tries, why, and what must come of it."""

    title: str
    method: str
    path: str
    status: int  # what the gate must answer
    body: Any = None
    reason: str | None = None  # the agent's own words, journaled with the call
    code: str | None = None  # of the refusal; None: the call must be allowed
    hint: str = ""  # what the refusal's hint must contain
    raw: bytes | None = None  # sent as it stands instead, on a connection of its own
    gist: Callable[[Any], str] | None = None  # what a person wants to know of a long answer


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    source: str  # who answered: upstream, gate
    call: str  # the call's id in the journal; empty when the bytes never became a call
    body: Any
    took_ms: float
    headers: Mapping[str, str] = field(default_factory=dict)

    def problem(self, ask: Ask) -> str | None:
        """What is not as it must be, in one sentence."""
        if self.status != ask.status:
            return f"expected status {ask.status}, got {self.status}"
        if ask.code is None:
            return None
        if self.refusal.get("code") != ask.code:
            return f"expected the code {ask.code}, got {self.refusal.get('code')}"
        if ask.hint not in self.hint:
            return f"expected a hint with “{ask.hint}”, got “{self.hint}”"
        return None

    @property
    def refusal(self) -> Mapping[str, Any]:
        """The problem document, where the gate answered with one."""
        return self.body if self.source == "gate" and isinstance(self.body, dict) and "code" in self.body else {}

    @property
    def hint(self) -> str:
        return str(self.refusal.get("recovery", {}).get("hint", ""))


class Agent:
    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._connection = HTTPConnection(host, port, timeout=_TIMEOUT_S)

    def ask(self, ask: Ask) -> Answer:
        started_s = time.perf_counter()
        response = self._raw(ask.raw) if ask.raw is not None else self._request(ask)
        content = response.read()
        took_ms = (time.perf_counter() - started_s) * 1000
        return _answer(response, content, took_ms)

    def close(self) -> None:
        self._connection.close()

    def _request(self, ask: Ask) -> HTTPResponse:
        headers = {"Toolgate-Reason": ask.reason} if ask.reason else {}
        body = None
        if ask.body is not None:
            body, headers["Content-Type"] = json.dumps(ask.body).encode(), "application/json"
        self._connection.request(ask.method, ask.path, body=body, headers=headers)
        return self._connection.getresponse()

    def _raw(self, content: bytes) -> HTTPResponse:
        with socket.create_connection(self._address, timeout=_TIMEOUT_S) as connection:
            connection.sendall(content)
            response = HTTPResponse(connection)
            response.begin()
            return response


def _answer(response: HTTPResponse, content: bytes, took_ms: float) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(
        status=response.status,
        source=headers.get("toolgate-source", "someone else"),
        call=headers.get("toolgate-call", ""),
        body=_json(content),
        took_ms=took_ms,
        headers=headers,
    )


def _json(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return content.decode("utf-8", "replace")
