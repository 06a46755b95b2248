"""A real `toolgate serve`, and everything that can be known of it from outside: doors, log, journal, process.

RULE: nothing of the product is imported to run it; only the journal is read with the product's own reader.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.world import ROOT, Heard, ask
from tests.support.waiting import until

from toolgate.core.journal import Broken, Filter, Head, Verified
from toolgate.ledger import FileJournal


class Gate:
    """A gate in its own process. Start, kill and start it again in the same home; it is ended with the `with`."""

    def __init__(self, home: Path, *, under: Sequence[str] = (), flags: Sequence[str] = ()) -> None:
        self.home = home
        self.ledger = home / "state" / "ledger.db"
        self.readable: Callable[[], Path] = lambda: self.ledger  # where the journal can be read
        self.ports: dict[str, int] = {}
        self._under = tuple(under)  # what runs it: `unshare …`, `prlimit …`
        self._flags = tuple(flags)  # of `toolgate serve`
        self._starts = 0
        self._begun: list[HTTPConnection] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        for connection in self._begun:
            connection.close()
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)
        if error is None:
            self.assert_no_defect()

    # -- the process -----------------------------------------------------------------------------------------

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def spawn(self) -> Self:
        """Start the process without waiting for anything."""
        self._starts += 1
        path = os.pathsep.join(filter(None, (str(ROOT / "proxy"), os.environ.get("PYTHONPATH"))))
        words = [*self._under, sys.executable, "-m", "toolgate.cli", "serve", "--config", "toolgate.yaml", *self._flags]
        with self._stdout.open("wb") as out, self._stderr.open("wb") as errors:
            self._process = subprocess.Popen(
                words,
                cwd=self.home,
                env=os.environ | {"PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
            )
        return self

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        self.spawn()
        started = until(self._started, "the gate starts")
        addresses = {name: url.rpartition(":")[2] for name, url in started["listeners"].items()}
        self.ports = {name: int(port) for name, port in addresses.items() if port.isdecimal()}
        until(lambda: self.ready().status == 200, "the gate is ready")
        return self

    def _started(self) -> dict[str, Any] | None:
        assert self.process.poll() is None, self.errors
        return next((line for line in self.log if line.get("event") == "gate_started"), None)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill -9, now."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, within_s: float = 15.0) -> int:
        """Send SIGTERM and return the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def status(self, name: str) -> int:
        """A number of `/proc/PID/status`, such as VmRSS in KiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])

    @property
    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208 (a count)

    # -- its doors -------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Heard:
        return ask(self.ports["agent"], method, path, body, headers=headers)

    def begin(self, method: str, path: str, body: str | None = None) -> HTTPConnection:
        """Send a call on a connection of its own, and do not wait for its answer."""
        connection = HTTPConnection("127.0.0.1", self.ports["agent"], timeout=15)
        self._begun.append(connection)
        connection.request(method, path, body=body, headers={"Content-Type": "application/json"} if body else {})
        return connection

    def get(self, item: str) -> Heard:
        return self.call("GET", f"/store/items/{item}")

    def put(self, item: str) -> Heard:
        return self.call("PUT", f"/store/items/{item}", {"note": item})

    def ready(self) -> Heard:
        with suppress(OSError, HTTPException):
            return ask(self.ports["health"], "GET", "/-/ready")
        return Heard(0, {}, b"{}")

    def metric(self, series: str) -> float:
        """The value of one series of `/metrics`; 0 where it has not begun."""
        lines = ask(self.ports["health"], "GET", "/metrics").content.decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == series), 0.0)

    # -- what it wrote ---------------------------------------------------------------------------------------

    @property
    def journal(self) -> FileJournal:
        return FileJournal(self.readable())

    @property
    def _stdout(self) -> Path:
        return self.home / f"stdout-{self._starts}.jsonl"

    @property
    def _stderr(self) -> Path:
        return self.home / f"stderr-{self._starts}.log"

    @property
    def output(self) -> bytes:
        """Everything on standard output of the present process."""
        return self._stdout.read_bytes()

    @property
    def errors(self) -> str:
        """Everything on standard error of the present process."""
        return self._stderr.read_text(errors="replace")

    @property
    def log(self) -> list[dict[str, Any]]:
        """The operations log; a line that is still being written is left out."""
        return [json.loads(line) for line in self.errors.splitlines() if line.startswith("{") and line.endswith("}")]

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """The journal, oldest first."""
        rows = self.journal.follow(0, lambda: False)
        return [dict(row.event) for row in rows if kind in {None, row.event["event"]}]

    @property
    def bundles_loaded(self) -> int:
        """Cheap enough to poll, however long the journal is."""
        return len(self.journal.events(Filter(kind="BundleLoaded", limit=10_000)))

    def finished(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many calls have ended in the journal."""
        return until(
            lambda: ended if len(ended := self.events("Finished")) >= count else [], f"{count} calls are finished"
        )

    def verify(self) -> Verified:
        """The chain, with the last head that standard output knows, holds."""
        heads = [json.loads(line) for line in self.output.splitlines() if b'"event":"Head"' in line]
        last = heads[-1] if heads else None
        result = self.journal.verify(Head(last["writer"], last["seq"], last["hash"]) if last else None)
        assert not isinstance(result, Broken), result
        return result

    def assert_no_defect(self) -> None:
        """Whatever happened, nothing broke inside and nobody was shown a traceback."""
        for path in self.home.glob("stderr-*.log"):
            said = path.read_text(errors="replace")
            assert "Traceback" not in said, said
            assert "defect" not in said, said
            assert "never awaited" not in said, said
            assert "exception" not in said.lower(), said
