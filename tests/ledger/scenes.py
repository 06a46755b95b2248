"""Running `victim.py`: the command, its environment, what it said."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    lines: list[str]
    errors: str

    def after(self, beginning: str) -> list[str]:
        return [line.removeprefix(beginning) for line in self.lines if line.startswith(beginning)]

    @property
    def acknowledged(self) -> set[str]:
        return {line for line in self.lines if line.startswith("call-")}


def command(scene: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.ledger.victim", scene, *map(str, arguments)]


def run(words: Sequence[str]) -> Said:
    done = subprocess.run(words, env=_environment(), capture_output=True, text=True, timeout=60, check=False)
    return Said(done.returncode, done.stdout.splitlines(), done.stderr)


def killed_after(words: Sequence[str], lines: int) -> Said:
    """Run it until it has said so many lines, and end it then and there."""
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=_environment(), stdout=pipe, stderr=pipe, text=True) as victim:
        assert victim.stdout is not None
        said = list(islice(victim.stdout, lines))
        victim.kill()
        rest, errors = victim.communicate(timeout=60)
    return Said(victim.returncode, [*(line.rstrip("\n") for line in said), *rest.splitlines()], errors)


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))}  # noqa: PTH109 (text)
