"""The two processes of the demo: the example's upstream, and the sidecar in front of it.

RULE: what is started here is ended here, the sidecar first, whichever way the demo ends.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from toolgate.demo.example import Example

_START_WITHIN_S = 20.0
_END_WITHIN_S = 30.0
_LOG_TAIL_LINES = 15


class NotStartedError(Exception):
    """A process did not come up. The text is what to tell the user."""


def taken(host: str, port: int) -> bool:
    """Whether somebody listens there already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


@contextmanager
def upstream(example: Example) -> Iterator[None]:
    """The example's own server, with the token it makes for itself in the example's token file."""
    command = [sys.executable, "-m", "examples.metrics_upstream", "--port", str(example.upstream_port)]
    command += ["--token-file", str(example.token_file)]
    log = example.logs / "demo-upstream.log"
    with _started(command, example.code, log) as process:
        _wait(process, log, ("127.0.0.1", example.upstream_port), None)
        yield


@contextmanager
def sidecar(example: Example, flags: Sequence[str], health: tuple[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    """`toolgate serve` with the example's settings; ready when its own probe says so."""
    command = [sys.executable, "-m", "toolgate.cli", "serve", "--config", str(example.settings), *flags]
    log = example.logs / "demo-serve.log"
    with _started(command, example.home, log) as process:
        _wait(process, log, health, "/-/ready")
        yield process


def tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:])


@contextmanager
def _started(command: list[str], folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        # A session of its own: Ctrl-C reaches the demo alone, which then ends both in order.
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own modules
            command,
            cwd=folder,
            env=_with_this_toolgate(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _with_this_toolgate() -> dict[str, str]:
    """Our environment, in which `toolgate` is the very one that plays the demo."""
    here = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))}


def _wait(process: subprocess.Popen[bytes], log: Path, address: tuple[str, int], probe: str | None) -> None:
    deadline_s = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise NotStartedError(f"`{_name(process)}` ended with {process.returncode}:\n{tail(log)}")
        if _answers(address, probe):
            return
        time.sleep(0.02)
    raise NotStartedError(f"`{_name(process)}` was not ready within {_START_WITHIN_S:.0f} s:\n{tail(log)}")


def _answers(address: tuple[str, int], probe: str | None) -> bool:
    connection = HTTPConnection(*address, timeout=2)
    try:
        connection.connect()
        if probe is None:
            return True
        connection.request("GET", probe)
        return connection.getresponse().status == 200  # noqa: PLR2004 - ready
    except OSError:
        return False
    finally:
        connection.close()


def _name(process: subprocess.Popen[bytes]) -> str:
    """The command as a person would write it."""
    words = [str(word) for word in process.args[2:]] if isinstance(process.args, list) else []
    return " ".join(words[:2]).replace("toolgate.cli serve", "toolgate serve")
