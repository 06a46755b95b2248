"""Reads the documentation's fenced examples, and runs its console blocks as they are printed.

RULE: an example is run as written. Only two things differ from what a reader sees: ports that may be taken are
replaced, and `…` in printed output stands for what differs from run to run.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>[a-z]+)(?: (?P<rest>[^>]*?))? -->\n)?```(?P<language>[a-z]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced example: its language, what the comment before it says, its text, its line."""

    page: Path
    line: int
    language: str
    mark: str
    rest: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("text")),
            found["language"],
            found["mark"] or "",
            found["rest"] or "",
            found["text"],
        )
        for found in _FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with the output printed under it."""
    for chunk in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = chunk.splitlines()
        end = next(i for i, line in enumerate(lines) if not line.endswith("\\"))
        yield "\n".join(lines[: end + 1]), "\n".join(lines[end + 1 :])


class Session:
    """A reader at a terminal: a folder, a shell, and what they started in the background."""

    def __init__(self, folder: Path, ports: Mapping[str, str]) -> None:
        self.folder = folder
        self._ports = ports
        self._started: list[subprocess.Popen[bytes]] = []
        self._scripts = folder / ".scripts"
        self._scripts.mkdir()
        script = self._scripts / "toolgate"  # what installing the product would put into .venv/bin
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m toolgate.cli "$@"\n', encoding="utf-8")
        script.chmod(0o755)

    def here(self, text: str) -> str:
        for printed, real in self._ports.items():
            text = re.sub(rf"\b{printed}\b", real, text)
        return text

    def _printed(self, text: str) -> str:
        for printed, real in self._ports.items():
            text = re.sub(rf"\b{real}\b", printed, text)
        return text

    def run(self, command: str) -> str:
        """Run a command as printed; `&` at its end leaves it running. Return what it says, as it would be printed."""
        if command.startswith("cd "):
            self.folder = (self.folder / command[3:].strip()).resolve()
            return ""
        if command.endswith("&"):
            self._start(command.removesuffix("&"))
            return ""
        done = subprocess.run(
            ["bash", "-c", self.here(command)],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=60,
        )
        return self._printed(done.stdout)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.here(text), encoding="utf-8")

    def until_answered(self, url: str) -> None:
        """Wait until the address answers anything at all."""
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(self.here(url), timeout=1).close()
            except urllib.error.HTTPError as error:
                error.close()
                return
            except OSError:
                time.sleep(0.05)  # polling a condition, not waiting for time to pass
            else:
                return
        said = "".join(path.read_text() for path in sorted(self.folder.glob(".started-*")))
        raise AssertionError(f"nothing answers at {url}; what was started says:\n{said}")

    def close(self) -> None:
        for process in self._started:
            os.killpg(process.pid, signal.SIGTERM)
        for process in self._started:
            process.wait(timeout=30)

    def _start(self, command: str) -> None:
        with (self.folder / f".started-{len(self._started)}").open("wb") as said:
            self._started.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {self.here(command)}"],
                    cwd=self.folder,
                    env=self._environment(),
                    stdout=said,
                    stderr=said,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TOOLGATE_")}
        return kept | {
            "PATH": os.pathsep.join([str(self._scripts), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT / "proxy"),
            "TOOLGATE_LISTEN__AGENT": self.here("127.0.0.1:8400"),
            "TOOLGATE_LISTEN__ADMIN": self.here("127.0.0.1:8401"),
            "TOOLGATE_LISTEN__HEALTH": self.here("127.0.0.1:8402"),
            "COLUMNS": "120",
            "NO_COLOR": "1",
        }


def agrees(printed: str, said: str) -> bool:
    """What is printed holds of what was said: `…` is anything, and blanks do not count."""
    pattern = ".*?".join(re.escape("".join(part.split())) for part in printed.split("…"))
    return re.fullmatch(pattern, "".join(said.split()), re.DOTALL) is not None
