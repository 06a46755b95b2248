"""What is kept of compiled plans: no more than a bound, whatever agents propose."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from tests.support.plans import loaded, locked, project, step

_TEXT = 500_000  # characters of one plan


def test_plans_that_are_revised_for_ever_do_not_fill_the_memory(tmp_path: Path) -> None:
    """A step weighs what it says: of sixty plans of half a megabyte each only the last few are kept."""
    bundle = loaded(project(tmp_path))
    tracemalloc.start()
    try:
        for number in range(60):
            text = f"{number:0{_TEXT}}"
            plan = locked(bundle, step("s", "m.publish", arguments={"body": {"title": text}}))
            bundle.courses.of(plan, bundle)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 48 << 20
