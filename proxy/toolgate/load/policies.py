"""The policies folder: what may lie there, and what of it counts.

RULE: a file that nobody reads is an error, because somebody believes that it is enforced. Cedar policies, budgets and
plans are hashed into the revision and not enforced by this version: `check` and the notes say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from toolgate.core.bundle import BundleError, Note, Problem
from toolgate.load.files import Folder

_FILES: Final = ("budgets.yaml", "plans.yaml")
_TESTS: Final = "tests"
_NOT_ENFORCED: Final = "is not enforced by this version; the environments' allow-lists decide"


def read_policies(folder: Folder) -> tuple[list[Note], list[Problem]]:
    """Read the folder, if it is there; return what is not enforced and what does not belong there."""
    notes: list[Note] = []
    problems: list[Problem] = []
    if not folder.root.exists():
        return notes, problems
    if not folder.root.is_dir():
        return notes, [Problem(folder.shown, 0, "policies.folder", "is not a folder; `policies:` names one")]
    for path in sorted(folder.root.iterdir()):
        if path.name.startswith("."):
            continue
        if path.name == _TESTS and path.is_dir():
            problems += _strangers_in_tests(folder, path)
        elif path.is_file() and (path.suffix == ".cedar" or path.name in _FILES):
            problems += _read(folder, path)
            notes.append(Note(folder.name(path), "", "not_enforced", _NOT_ENFORCED))
        else:
            problems.append(_stranger(folder, path))
    return notes, problems


def _read(folder: Folder, path: Path) -> tuple[Problem, ...]:
    try:
        folder.read(path)
    except BundleError as error:
        return error.problems
    return ()


def _strangers_in_tests(folder: Folder, tests: Path) -> Iterator[Problem]:
    for path in sorted(tests.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(tests).parts)
        if path.is_file() and path.suffix != ".yaml" and not hidden:
            yield _stranger(folder, path)


def _stranger(folder: Folder, path: Path) -> Problem:
    message = "does not belong here; only `*.cedar`, `budgets.yaml`, `plans.yaml` and `tests/**/*.yaml` do"
    return Problem(folder.name(path), 0, "policies.stranger", message)
