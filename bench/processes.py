"""The processes under measurement: starting them, and asking the kernel what they used.

RULE: whatever was started is ended, by its own id, when the block ends.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_START_WITHIN_S = 60.0
_MEMORY = ("VmRSS", "RssAnon")
# What the product has loaded once it could serve; read off the product so that the comparison cannot go stale.
_LISTING = """
import sys, toolgate.app, toolgate.cli.serve, toolgate.core.slate
print("\\n".join(name for name in list(sys.modules) if name.split(".")[0] not in ("toolgate", "__main__")))
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A process that answered that it is ready, and how long that took from its start."""

    pid: int
    port: int
    ready_s: float


def cpu_s(pid: int) -> float:
    """CPU time of the whole process, its ended threads included, to the nanosecond.

    Linux encodes a process's CPU clock in the clock id (clock_getcpuclockid(3)): ~pid shifted by three, plus
    CPUCLOCK_SCHED.
    """
    return time.clock_gettime((~pid << 3) | 2)


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory, and what of it the process asked for itself: the rest are pages of the libraries' files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {
        name: float(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if name in _MEMORY
    }
    if len(found) < len(_MEMORY):
        raise ProcessLookupError(pid)
    return found["VmRSS"] / 1024, found["RssAnon"] / 1024


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> tuple[int, ...]:
    """Different ones: each is held until all are found."""
    with ExitStack() as held:
        taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return tuple(int(each.getsockname()[1]) for each in taken)


@contextmanager
def module(name: str, *arguments: str, port: int = 0) -> Iterator[Running]:
    """`python -m NAME PORT …`, ready when it prints a line."""
    started_s = time.perf_counter()
    with opened(name, str(port), *arguments) as process:
        yield Running(process.pid, port, time.perf_counter() - started_s)


@contextmanager
def imports_only() -> Iterator[Running]:
    """A process that imports what `toolgate serve` imports, and nothing else."""
    modules = libraries_of_serve()
    started_s = time.perf_counter()
    with opened("bench.imports", *modules) as process:
        yield Running(process.pid, 0, time.perf_counter() - started_s)


@contextmanager
def opened(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A module of ours as a process with pipes; it has printed its first line when the block begins."""
    command = [sys.executable, "-m", name, *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=_ROOT, env=environment(), stdin=pipe, stdout=pipe, text=True)
    with _ended(process):
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError(f"`python -m {name}` ended before it was ready")
        yield process


def libraries_of_serve() -> list[str]:
    """Every module, the standard library's included, that the product has loaded once its own are."""
    command = [sys.executable, "-c", _LISTING]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout.split()


@contextmanager
def toolgate(config: Path, *, agent: int, health: int, log: Path) -> Iterator[Running]:
    """`toolgate serve`, ready when its readiness probe says so."""
    command = [sys.executable, "-m", "toolgate.cli", "serve", "--config", str(config)]
    started_s = time.perf_counter()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=config.parent, env=environment(), stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
        )
    with _ended(process):
        _wait_until_ready(process, health, log)
        yield Running(process.pid, agent, time.perf_counter() - started_s)


def _wait_until_ready(process: subprocess.Popen[bytes], health: int, log: Path) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"`toolgate serve` ended with {process.returncode}:\n{log.read_text()}")
        if _is_ready(health):
            return
        time.sleep(0.005)
    raise TimeoutError(f"`toolgate serve` was not ready within {_START_WITHIN_S:.0f} s:\n{log.read_text()}")


def _is_ready(health: int) -> bool:
    connection = HTTPConnection("127.0.0.1", health, timeout=2)
    try:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def _ended(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def environment() -> Mapping[str, str]:
    """Ours without anything that would configure the product, and with the source tree first.

    Byte code is kept, as in any installation: compiling the product anew at every start is not its start-up time.
    """
    left_out = ("TOOLGATE_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    paths: Sequence[str] = [str(_ROOT / "proxy"), str(_ROOT)]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}
