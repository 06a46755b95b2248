"""A plan as a command is given it: a file, or the id or digest of one that a running gate has.

RULE: a file is read as `load.planfile` reads it; what is wrong with its form is told whole, with its lines.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import quote

import click

from toolgate.cli import console
from toolgate.cli.command import CONFIGURATION, NO
from toolgate.core.bundle import BundleError, Problem

if TYPE_CHECKING:
    from toolgate.cli.gate import Gate
    from toolgate.core.model import Violation
    from toolgate.core.plan import Plan, PlanFacts
    from toolgate.load.planfile import Document

_LOCKED: Final = re.compile(r"plan_[0-9A-Za-z]+|sha256:[0-9a-f]{64}")
_SENT: Final[Mapping[str, Literal["running", "done", "failed", "unknown"]]] = {
    "running": "running", "done": "done", "failed": "failed", "unknown": "unknown",
}  # fmt: skip


class Shown(NamedTuple):
    """A plan to show, and what the gate tells of it where it is locked."""

    plan: Plan
    told: Mapping[str, Any] | None = None

    @property
    def states(self) -> dict[str, str]:
        """What each step is in; nothing of a plan that is not locked."""
        return {each["stepId"]: each["state"] for each in self.told["steps"]} if self.told else {}

    @property
    def facts(self) -> PlanFacts:
        """The plan with what was sent of it, as revisions are held against it."""
        from toolgate.core.mask import MaskKey  # noqa: PLC0415 - `--help` does without
        from toolgate.core.plan import Attempted, LockedPlan, PlanFacts  # noqa: PLC0415 - as above

        sent = {step: Attempted(_SENT[state], 1) for step, state in self.states.items() if state in _SENT}
        locked = LockedPlan("", "", "", "", "", "", "", self.plan, 0, 0)
        return PlanFacts(locked, sent, MaskKey(b"", b""))


def read_document(path: str) -> Document:
    """Read a file as JSON or YAML; `-` is standard input. Raises BundleError."""
    from toolgate.load import planfile  # noqa: PLC0415 - `--help` does without
    from toolgate.load.yaml import MAX_BYTES  # noqa: PLC0415 - as above

    if path == "-":
        return planfile.read_document(sys.stdin.buffer.read(MAX_BYTES + 1), path)
    with Path(path).open("rb") as file:
        return planfile.read_document(file.read(MAX_BYTES + 1), path)


def shown(given: str, gate: Gate) -> Shown:
    """The plan of a file, or of the gate where that is what is named."""
    if _LOCKED.fullmatch(given) and not Path(given).exists():
        return _locked(given, gate)
    return Shown(plan_of(read_document(given)))


def plan_of(document: Document) -> Plan:
    """Read a plan whose form is right and whose steps can be put in order; end with every problem otherwise."""
    from toolgate.cli.drawing import in_order  # noqa: PLC0415 - `--help` does without
    from toolgate.core.planform import read  # noqa: PLC0415 - jsonschema-rs
    from toolgate.load.planfile import faults_of  # noqa: PLC0415 - as above

    faults = faults_of(document.value)
    if faults:
        tell_faults(document, faults)
        raise click.exceptions.Exit(CONFIGURATION)
    plan = read(document.value)
    why = _misnamed(plan) or (
        "steps of it depend on each other in a circle" if len(in_order(plan)) < len(plan.steps) else None
    )
    if why is not None:
        raise BundleError([Problem(document.path, 0, "plan.form", f"{why}; `toolgate plan check` tells more")])
    return plan


def tell_faults(document: Document, faults: Iterable[Violation]) -> None:
    """Print what is wrong with a plan as `path:line: code: message`."""
    console.problems([document.problem(each) for each in faults], to_stderr=False)


def _misnamed(plan: Plan) -> str | None:
    """What cannot be drawn: a name twice, or one of nothing."""
    names = [step.id for step in plan.steps]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return f"two steps are called `{twice}`"
    known = set(names)
    return next(
        (
            f"`{step.id}` depends on `{each}`, which is no step"
            for step in plan.steps
            for each in step.depends_on
            if each not in known
        ),
        None,
    )


def _locked(named: str, gate: Gate) -> Shown:
    from toolgate.core.planform import read  # noqa: PLC0415 - jsonschema-rs; `--help` does without

    told = gate.ask("GET", f"/-/plans/{quote(named, safe=':')}")
    if not told.is_done:
        console.failure(told.refusal)
        raise click.exceptions.Exit(NO)
    return Shown(read(told.value["document"]), told.value)
