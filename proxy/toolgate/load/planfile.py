"""A plan in a file: JSON or YAML, read as strictly as a proposal, for commands and for tests.

RULE: only the form is judged here, all of it at once and with its lines; what a plan names is judged by a gate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from toolgate.core.bundle import BundleError, Problem
from toolgate.core.model import Json, Violation
from toolgate.core.planform import faults_of_plan, faults_of_step
from toolgate.core.strictjson import read as read_json
from toolgate.core.wiretext import Malformed
from toolgate.load.yaml import MAX_BYTES, Steps, strict_parse

_INDEX: Final = re.compile(r"[0-9]{1,6}")


class Document(NamedTuple):
    """A file's value, and where in it things stand."""

    path: str
    value: Json
    lines: Mapping[Steps, int] = {}

    def problem(self, fault: Violation) -> Problem:
        """A fault as it is told of a file."""
        hint = f"; {fault.hint}" if fault.hint else ""
        pointer = f"`{fault.path}`: " if fault.path else ""
        code = fault.code or f"plan.{fault.keyword}"
        return Problem(self.path, self.line(fault.path), code, f"{pointer}{fault.message}{hint}")

    def line(self, pointer: str) -> int:
        """The line of what a JSON Pointer names, or of the nearest thing around it; 0 where that is not known."""
        steps = tuple(_unescaped(part) for part in pointer.split("/")[1:])
        while steps and steps not in self.lines:
            steps = steps[:-1]
        return self.lines.get(steps, 0)


def read_document(content: bytes, path: str) -> Document:
    """Read the bytes of a file; what begins as an object or is called so is JSON. Raises BundleError."""
    if len(content) > MAX_BYTES:
        raise BundleError([Problem(path, 0, "plan.form", f"is larger than {MAX_BYTES >> 20} MiB")])
    if not path.endswith(".json") and not content.lstrip().startswith(b"{"):
        parsed = strict_parse(content, path)
        return Document(path, parsed.value, parsed.lines)
    value = _json(content, path)
    try:
        return Document(path, value, strict_parse(content, path).lines)
    except BundleError:  # it is JSON and no YAML (tabs): then it has no lines
        return Document(path, value)


def faults_of(document: Json) -> list[Violation]:
    """Everything that is wrong with a plan's form."""
    faults = [*faults_of_plan(document)]
    steps = document.get("steps") if isinstance(document, dict) else None
    if isinstance(steps, list):
        faults += [each for at, step in enumerate(steps) for each in faults_of_step(step, at)]
    return faults


def _json(content: bytes, path: str) -> Json:
    try:
        return read_json(content)[0]
    except Malformed as error:
        raise BundleError([Problem(path, 0, "plan.form", str(error))]) from error


def _unescaped(part: str) -> str | int:
    return int(part) if _INDEX.fullmatch(part) else part.replace("~1", "/").replace("~0", "~")
