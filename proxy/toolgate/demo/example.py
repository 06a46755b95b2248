"""The worked example on disk: where it is, which address its upstream has, and a copy of it with another one.

RULE: the example is used where it stands; a copy is made only when its upstream must be somewhere else.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UPSTREAM = re.compile(r"(?m)^  prod:\n    upstream: http://(?P<host>[0-9.]+):(?P<port>\d+)$")
_PLAN = "examples/weekly_digest.json"
_NEEDED = ("toolgate.yaml", "toolspecs/metrics/tool.yaml", "examples/metrics_upstream/__main__.py", _PLAN)
_COPIED = ("toolspecs", "policies")


@dataclass(frozen=True, slots=True)
class Example:
    """`home` holds toolgate.yaml and what it names; `code` is where the upstream's program and the agent's plan are."""

    home: Path
    code: Path
    upstream_port: int

    @property
    def plan(self) -> Any:
        """The weekly digest, as the agent plans it."""
        return json.loads((self.code / _PLAN).read_text(encoding="utf-8"))

    @property
    def settings(self) -> Path:
        return self.home / "toolgate.yaml"

    @property
    def token_file(self) -> Path:
        return self.home / ".toolgate" / "metrics-token"

    @property
    def logs(self) -> Path:
        return self.home / ".toolgate"

    @property
    def ledger(self) -> Path:
        """The demo's own journal: what was done before must not count for this morning."""
        return self.home / ".toolgate" / "demo.db"


def find(start: Path) -> Example | None:
    """The example in `start`, or in the checkout this very file belongs to."""
    checkout = Path(__file__).resolve().parents[3]
    for home in (start, checkout):
        if all((home / name).is_file() for name in _NEEDED):
            return Example(home, home, _upstream_port(home))
    return None


def moved(example: Example, home: Path, upstream_port: int) -> Example:
    """A copy of the example in `home` whose upstream listens on another port."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(example.settings, home / "toolgate.yaml")
    for name in _COPIED:
        shutil.rmtree(home / name, ignore_errors=True)
        shutil.copytree(example.home / name, home / name)
    old, new = f"127.0.0.1:{example.upstream_port}", f"127.0.0.1:{upstream_port}"
    for toolspec in (home / "toolspecs").glob("*/tool.yaml"):
        toolspec.write_text(toolspec.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    return Example(home, example.code, upstream_port)


def forget(example: Example) -> None:
    """Remove the journal of the last morning: its run would go on, and in it the data was read already."""
    for path in example.ledger.parent.glob(f"{example.ledger.name}*"):
        path.unlink()


def _upstream_port(home: Path) -> int:
    text = (home / "toolspecs" / "metrics" / "tool.yaml").read_text(encoding="utf-8")
    found = _UPSTREAM.search(text)
    return int(found["port"]) if found else 8410
