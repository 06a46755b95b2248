"""The policies folder: what may lie there, and what of it counts.

RULE: a file that nobody reads is an error, because somebody believes that it is enforced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from toolgate.core.bundle import BundleError, Note, Problem
from toolgate.load.budgets import FILE, BudgetsSource, read_budgets
from toolgate.load.files import Folder
from toolgate.load.plans import FILE as PLANS_FILE
from toolgate.load.plans import PlansSource, read_plans

if TYPE_CHECKING:
    from toolgate.core.catalog import Operation
    from toolgate.core.policy import Statement
    from toolgate.load.attributes import Shapes

_TESTS: Final = "tests"


class CedarFile(NamedTuple):
    """A `*.cedar` file: as problems name it, its name within the policies folder, and its bytes."""

    shown: str
    name: str
    content: bytes


class Standing(NamedTuple):
    """What statements may name: the operations of every environment, and the attributes of resources here."""

    environment: str
    environments: tuple[str, ...]  # widest first
    here: Sequence[Operation]
    elsewhere: Sequence[Operation]
    shapes: Shapes
    listed: Mapping[str, frozenset[str]] = MappingProxyType({})  # by type: every id there can be, where files say so
    spent: frozenset[str] = frozenset()  # dimensions that some budget counts for each run


class Judged(NamedTuple):
    """What became of policy files."""

    statements: tuple[Statement, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(slots=True)
class PoliciesFolder:
    """What the policies folder holds, read and not yet judged."""

    cedar: list[CedarFile] = field(default_factory=list)
    budgets: BudgetsSource | None = None
    plans: PlansSource | None = None
    problems: list[Problem] = field(default_factory=list)


def read_policies(folder: Folder) -> PoliciesFolder:
    """Read the folder, if it is there."""
    found = PoliciesFolder()
    if not folder.root.exists():
        return found
    if not folder.root.is_dir():
        found.problems.append(Problem(folder.shown, 0, "policies.folder", "is not a folder; `policies:` names one"))
        return found
    for path in sorted(folder.root.iterdir()):
        if path.name.startswith("."):
            continue
        if path.name == _TESTS and path.is_dir():
            found.problems += _strangers_in_tests(folder, path)
        elif path.is_file() and (path.suffix == ".cedar" or path.name in (FILE, PLANS_FILE)):
            _read(folder, path, found)
        else:
            found.problems.append(_stranger(folder, path))
    return found


def judge(files: Sequence[CedarFile], standing: Standing | None) -> Judged:
    """Return the statements of every file, and what is wrong with them.

    `standing` is what they may name; without it, when the catalog itself has problems, only their form is judged.
    """
    if not files:
        return Judged()
    from toolgate.load.cedar.judging import judged  # noqa: PLC0415 - Cedar: only where there are policies

    return judged(files, standing)


def _read(folder: Folder, path: Path, found: PoliciesFolder) -> None:
    try:
        content = folder.read(path)
        if path.name == FILE:
            found.budgets = read_budgets(content, folder.name(path))
            found.problems += found.budgets.problems
        elif path.name == PLANS_FILE:
            found.plans = read_plans(content, folder.name(path))
            found.problems += found.plans.problems
    except BundleError as error:
        found.problems += error.problems
        return
    if path.suffix == ".cedar":
        found.cedar.append(CedarFile(folder.name(path), path.name, content))


def _strangers_in_tests(folder: Folder, tests: Path) -> Iterator[Problem]:
    for path in sorted(tests.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(tests).parts)
        if path.is_file() and path.suffix != ".yaml" and not hidden:
            yield _stranger(folder, path)


def _stranger(folder: Folder, path: Path) -> Problem:
    message = "does not belong here; only `*.cedar`, `budgets.yaml`, `plans.yaml` and `tests/**/*.yaml` do"
    return Problem(folder.name(path), 0, "policies.stranger", message)
