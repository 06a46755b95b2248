"""Agents that call as fast as they are answered, and remember what they were told.

RULE: every call's item is asked for once in the whole life of a journal, so that books can be joined by it.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Any, Self

from tests.e2e.world import Heard

Ask = Callable[[str], tuple[str, str, Any]]  # an item's name → method, path, body


def reads(name: str) -> tuple[str, str, Any]:
    return "GET", f"/store/items/plain-{name}", None


def writes(name: str) -> tuple[str, str, Any]:
    return "PUT", f"/store/items/plain-{name}", {"note": name}


def disallowed(name: str) -> tuple[str, str, Any]:
    return "DELETE", f"/store/items/no-{name}", None


def misfits(name: str) -> tuple[str, str, Any]:
    return "PUT", f"/store/items/no-{name}", ["not an object"]


def torn(name: str) -> tuple[str, str, Any]:
    return "GET", f"/store/items/torn-{name}", None


MIX = (reads, writes, reads, disallowed, reads, writes, misfits, torn)


@dataclass
class Load:
    """Runs while the `with` does. An answer of None is a connection that ended without one."""

    port: int
    name: str  # of this load: part of every item it asks for
    workers: int = 8
    mix: tuple[Ask, ...] = MIX
    answers: dict[str, Heard | None] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(self.workers)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "INV10: a call was neither answered nor ended"

    def heard(self, status: int) -> dict[str, Heard]:
        """The answers with a status, by item."""
        return {item: heard for item, heard in self.answers.copy().items() if heard and heard.status == status}

    @property
    def codes(self) -> set[str]:
        """Every code an agent was told."""
        problems = [heard for heard in self.answers.copy().values() if heard and heard.status >= 400]
        return {heard.json["code"] for heard in problems}

    def _work(self, number: int) -> None:
        """Call until told to stop, or until nobody listens any more."""
        asks = itertools.cycle(self.mix[number % len(self.mix) :] + self.mix[: number % len(self.mix)])
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        with closing(connection):
            for count, ask in enumerate(asks):
                if self._over.is_set():
                    return
                method, path, body = ask(f"{self.name}-{number}-{count}")
                item = path.rpartition("/")[2]
                self.answers[item] = None
                try:
                    self.answers[item] = _asked(connection, method, path, body)
                except ConnectionRefusedError:
                    del self.answers[item]
                    return
                except (OSError, HTTPException):
                    connection.close()


def _asked(connection: HTTPConnection, method: str, path: str, body: Any) -> Heard:
    content = None if body is None else json.dumps(body)
    headers: Mapping[str, str] = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, body=content, headers=dict(headers))
    response = connection.getresponse()
    lowered = {name.lower(): value for name, value in response.getheaders()}
    return Heard(response.status, lowered, response.read())
