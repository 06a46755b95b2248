"""Requests drawn from the vendors' documents: what fits is accepted, what does not is refused. A seeded sample.

The whole of it is `make soak` (`tests/soak/test_generated.py`); the reasons are in `settled`, `harmless` and
`disagreements` beside this file.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.specs.agreement import LEAST_AGREEMENT, measure
from tests.specs.disagreements import class_of
from tests.specs.generation import COUNTS, Budget, Mode

SAMPLED_OPERATIONS = 12
EXAMPLES = 4


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("name", COUNTS)
def test_a_sample_of_requests_is_judged_as_its_document_says(
    tmp_path: Path, specs: Path, name: str, mode: Mode
) -> None:
    """At least 99 of 100 requests are accepted or refused as schemathesis means them; each exception is understood."""
    stride = max(1, COUNTS[name] // SAMPLED_OPERATIONS)
    found = measure(tmp_path, specs / name, mode, Budget(EXAMPLES, stride // 2, stride))
    assert found.asked >= 10
    assert [] == [each for each in found.disagreements if class_of(each[0]) is None], found
    assert found.share >= LEAST_AGREEMENT, found
