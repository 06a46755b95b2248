"""A plan as a command is given it: a file, or the id or digest of one that a running gate has.

RULE: a file is read as strictly as a proposal; what is wrong with its form is told with its line, all of it at once.
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
    from toolgate.core.model import Json, Violation
    from toolgate.core.plan import Plan, PlanFacts

_LOCKED: Final = re.compile(r"plan_[0-9A-Za-z]+|sha256:[0-9a-f]{64}")
_SENT: Final[Mapping[str, Literal["running", "done", "failed", "unknown"]]] = {
    "running": "running", "done": "done", "failed": "failed", "unknown": "unknown",
}  # fmt: skip
_INDEX: Final = re.compile(r"[0-9]{1,6}")


class Document(NamedTuple):
    """A file's value, and where in it things stand."""

    path: str
    value: Json
    lines: Mapping[tuple[str | int, ...], int]

    def line(self, pointer: str) -> int:
        """The line of what a JSON Pointer names, or of the nearest thing around it; 0 where that is not known."""
        steps = tuple(_unescaped(part) for part in pointer.split("/")[1:])
        while steps and steps not in self.lines:
            steps = steps[:-1]
        return self.lines.get(steps, 0)


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
    from toolgate.load.yaml import strict_parse  # noqa: PLC0415 - `--help` does without

    content = sys.stdin.buffer.read() if path == "-" else _content(path)
    if not path.endswith(".json") and not content.lstrip().startswith(b"{"):
        parsed = strict_parse(content, path)
        return Document(path, parsed.value, parsed.lines)
    value = _json(content, path)
    try:
        return Document(path, value, strict_parse(content, path).lines)
    except BundleError:  # it is JSON and no YAML (tabs): then it has no lines
        return Document(path, value, {})


def shown(given: str, gate: Gate) -> Shown:
    """The plan of a file, or of the gate where that is what is named."""
    if _LOCKED.fullmatch(given) and not Path(given).exists():
        return _locked(given, gate)
    return Shown(plan_of(read_document(given)))


def plan_of(document: Document) -> Plan:
    """Read a plan whose form is right and whose steps can be put in order; end with every problem otherwise."""
    from toolgate.cli.drawing import in_order  # noqa: PLC0415 - `--help` does without
    from toolgate.core.planform import faults_of_plan, faults_of_step, read  # noqa: PLC0415 - jsonschema-rs

    faults = [*faults_of_plan(document.value)]
    steps = document.value.get("steps") if isinstance(document.value, dict) else None
    if isinstance(steps, list):
        faults += [each for at, step in enumerate(steps) for each in faults_of_step(step, at)]
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
    console.problems([_problem(document, each) for each in faults], to_stderr=False)


def _problem(document: Document, fault: Violation) -> Problem:
    hint = f"; {fault.hint}" if fault.hint else ""
    pointer = f"`{fault.path}`: " if fault.path else ""
    code = fault.code or f"plan.{fault.keyword}"
    return Problem(document.path, document.line(fault.path), code, f"{pointer}{fault.message}{hint}")


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


def _content(path: str) -> bytes:
    from toolgate.load.yaml import MAX_BYTES  # noqa: PLC0415 - `--help` does without

    with Path(path).open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BundleError([Problem(path, 0, "plan.form", f"is larger than {MAX_BYTES >> 20} MiB")])
    return content


def _json(content: bytes, path: str) -> Json:
    from toolgate.core.strictjson import read  # noqa: PLC0415 - `--help` does without
    from toolgate.core.wiretext import Malformed  # noqa: PLC0415 - as above

    try:
        return read(content)[0]
    except Malformed as error:
        raise BundleError([Problem(path, 0, "plan.form", str(error))]) from error


def _unescaped(part: str) -> str | int:
    return int(part) if _INDEX.fullmatch(part) else part.replace("~1", "/").replace("~0", "~")
