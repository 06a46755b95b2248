"""A copy of the worked example on ports of its own, with its upstream and a real `toolgate serve` before it.

RULE: what the tests talk to is what users run: the shipped files, two processes, HTTP.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

from toolgate.demo.example import Example, find, moved
from toolgate.demo.processes import sidecar, upstream

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class World:
    """A running gate, and where everything of it is."""

    home: Path
    agent_port: int
    admin_port: int
    health_port: int
    upstream_port: int
    gate: subprocess.Popen[bytes]

    @property
    def token(self) -> str:
        return (self.home / ".toolgate" / "metrics-token").read_text().strip()


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer, whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


def example(home: Path, upstream_port: int) -> Example:
    """The shipped example, copied to `home`."""
    shipped = find(ROOT)
    if shipped is None:
        raise FileNotFoundError("the worked example is not in this checkout")
    return moved(shipped, home, upstream_port)


def keep_only(home: Path, tool: str) -> None:
    """Remove every other tool from the copy."""
    for folder in (home / "toolspecs").iterdir():
        if folder.name != tool:
            shutil.rmtree(folder)


@contextmanager
def running(
    copy: Example, *, with_upstream: bool = True, environment: str = "prod", admin_at: str | None = None
) -> Iterator[World]:
    """`admin_at`: where operators come in, instead of at a port."""
    agent, admin, health = free_port(), free_port(), free_port()
    places = {"agent": f"127.0.0.1:{agent}", "admin": f"127.0.0.1:{admin}", "health": f"127.0.0.1:{health}"}
    if admin_at is not None:
        places["admin"] = admin_at
    flags = [f"--listen-{name}={place}" for name, place in places.items()]
    with ExitStack() as stack:
        if with_upstream:
            stack.enter_context(upstream(copy))
        gate = stack.enter_context(sidecar(copy, [f"--environment={environment}", *flags], ("127.0.0.1", health)))
        yield World(copy.home, agent, admin, health, copy.upstream_port, gate)


def ask(port: int, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None) -> Heard:
    """One request on a connection of its own; a string is sent as a form, anything else as JSON."""
    sent = dict(headers or {})
    content = None
    if isinstance(body, str):
        content, sent["Content-Type"] = body.encode(), "application/x-www-form-urlencoded"
    elif body is not None:
        content, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, body=content, headers=sent)
        response = connection.getresponse()
        lowered = {name.lower(): value for name, value in response.getheaders()}
        return Heard(response.status, lowered, response.read())
