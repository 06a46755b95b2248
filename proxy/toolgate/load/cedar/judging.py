"""Policy files judged against a catalog: statements that are sound, what is wrong, and what stays unproven.

RULE: the one door to this package for the loader, so that Cedar is imported when there is a policy and not before.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolgate.core.bundle import BundleError
from toolgate.load.cedar.lattice import unproven
from toolgate.load.cedar.statements import read_statements
from toolgate.load.cedar.vocabulary import vocabulary
from toolgate.load.policies import CedarFile, Judged, Standing


def judged(files: Sequence[CedarFile], standing: Standing | None) -> Judged:
    """Judge every file at once; without a catalog that stands, their form only."""
    known = None if standing is None else vocabulary(standing)
    try:
        statements = read_statements(files, known)
    except BundleError as error:
        return Judged(problems=error.problems)
    return Judged(statements, notes=() if known is None else tuple(unproven(statements, known)))
