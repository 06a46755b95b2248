"""The policy of tests that are about something else: everything the environment allows is permitted.

RULE: nothing is permitted without a statement, so a project of a test says so in a file, as a user's does.
"""

from __future__ import annotations

from pathlib import Path

PERMIT_ALL = '@id("everything")\npermit (principal, action, resource);\n'


def permit_all(folder: Path) -> Path:
    """Write the policies folder beside the toolspecs, and return it."""
    policies = folder / "policies"
    policies.mkdir(exist_ok=True)
    (policies / "all.cedar").write_text(PERMIT_ALL, encoding="utf-8")
    return policies
