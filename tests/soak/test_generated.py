"""Every operation of every vendor's document against generated requests; the sample of `make test` is in `tests/specs`."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from tests.specs.agreement import LEAST_AGREEMENT, Agreement, measure
from tests.specs.disagreements import class_of
from tests.specs.generation import COUNTS, Budget, Mode

REQUESTS = 2000  # aimed at for each document and mode
MOST_EXAMPLES = 50


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("name", COUNTS)
def test_every_operation_judges_requests_as_its_document_says(
    tmp_path: Path, specs: Path, capsys: pytest.CaptureFixture[str], name: str, mode: Mode
) -> None:
    """At least 99 of 100 requests are accepted or refused as schemathesis means them; each exception is understood."""
    examples = max(2, min(MOST_EXAMPLES, REQUESTS // COUNTS[name]))
    workers = os.cpu_count() or 1
    found = Agreement(name, mode)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending = [
            pool.submit(measure, tmp_path / str(at), specs / name, mode, Budget(examples, at, workers))
            for at in range(workers)
        ]
        for each in pending:
            found.add(each.result())
    classes = Counter(class_of(said) or "unexplained" for said, _ in found.disagreements)
    with capsys.disabled():
        print(f"\n{found}; disagreements: {dict(classes)}")  # noqa: T201 (figures for whoever runs the soak)
    assert [] == [each for each in found.disagreements if class_of(each[0]) is None]
    assert found.share >= LEAST_AGREEMENT
