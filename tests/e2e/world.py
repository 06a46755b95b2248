"""A copy of the worked example on ports of its own, with its upstream and a real `toolgate serve` before it.

RULE: what the tests talk to is what users run: the shipped files, two processes, HTTP.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any

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


# Below those the kernel gives to outgoing connections, any of which could take a port between our look and its use; and
# beginning elsewhere in each process that runs tests.
_PORTS = count(20_000 + os.getpid() % 100 * 100)


def free_port() -> int:
    """A port that nobody listens on, given out once."""
    for port in _PORTS:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError


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
def running(copy: Example, *, with_upstream: bool = True, environment: str = "prod") -> Iterator[World]:
    agent, admin, health = free_port(), free_port(), free_port()
    ports = {"agent": agent, "admin": admin, "health": health}
    flags = [f"--listen-{name}=127.0.0.1:{port}" for name, port in ports.items()]
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
