"""The benchmark itself: its arithmetic, and that every request it sends is answered as it expects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import everything
from bench.everything import Issuer, write_gate
from bench.report import Measured, Report, Started, table, with_results
from bench.run import Effort, run
from bench.workload import cases, document

from toolgate.load.bundle import Sources, load


def _measured(case: str, size: int, *cpu_us: float, at_most: float | None = 1.3) -> list[Measured]:
    figures = [{"cpu_us": figure, "per_s": 1e6 / figure, "p50_ms": 0.1, "p99_ms": 0.2} for figure in cpu_us]
    return [Measured(case, size, "closed", at_most, figure) for figure in figures]


def test_a_ratio_is_taken_within_each_round() -> None:
    """A round in which the machine was slow for both sides does not move the median."""
    measured = [*_measured("GET", 0, 100, 400, 100), *_measured("GET", 10, 120, 480, 130)]
    assert Report(measured, (), 3).ratio("GET", 10) == pytest.approx(1.2)


def test_missed_targets_are_named() -> None:
    """Too dear, not flat, too heavy: each is one sentence with the figure."""
    measured = [*_measured("GET", 0, 100), *_measured("GET", 10, 120), *_measured("GET", 10_000, 140)]
    started = [Started("imports only", 0.4, 60, 40), Started("10 operations", 0.7, 90, 55)]
    assert Report(measured, started, 1).missed() == [
        "GET at 10,000 operations costs 1.40 of the pass-through, more than 1.3",
        "GET costs 1.17 times as much at 10,000 operations as at 10",
        "idle memory is 30.0 MB above a process that only imports, more than 15",
        "ready 0.30 s after a process that only imports, more than 0.25",
    ]


def test_what_nobody_measures_under_a_name_is_an_empty_report() -> None:
    """`--only` starts no gate and asks nothing where no case has the name."""
    report = run(Effort(rounds=1, seconds=0.1, sizes=(10,)), with_gate=False, only="no such case")
    assert (report.measured, report.runs) == ((), [])


def test_a_case_without_a_target_cannot_miss() -> None:
    """The flushed write is shown, not judged: what it costs is the disk's."""
    measured = [*_measured("write", 0, 100, at_most=None), *_measured("write", 10, 900, at_most=None)]
    assert Report(measured, (), 1).missed() == []


@pytest.mark.parametrize("operations", [10, 1000])
def test_the_document_has_as_many_operations_as_asked(operations: int) -> None:
    """Every operation is named once."""
    items = [operation for path in document(operations)["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in items}) == operations


def test_requests_are_spread_from_the_first_to_the_last_operation() -> None:
    """Whatever is found first or last in a catalogue is asked for."""
    get = cases(10_000, 80)[0]
    assert b"/v1/resource0/" in get.requests[0]
    assert b"/v1/resource3332/" in get.requests[-1]


def test_a_gate_with_everything_on_has_a_statement_for_each_operation(tmp_path: Path) -> None:
    """What the bench writes is what the product takes, without a word about it."""
    write_gate(tmp_path, operations=30, upstream=9, ports=(1, 2, 3), issuer=Issuer())
    bundle = load(Sources(tmp_path / "toolspecs", tmp_path / "policies", "prod", ("prod",)))
    named = [each for each in bundle.policies.statements if each in {op.id for op in bundle.catalog.allowed}]
    assert len(named) == len(bundle.catalog.allowed) == 30
    assert bundle.notes == ()


def test_every_request_of_the_gate_with_everything_on_has_the_token() -> None:
    """The same bytes go to the pass-through, so the ratio is of what the gate does about it."""
    for case in everything.cases(30, 80, "a.b.c"):
        assert all(b"Authorization: Bearer a.b.c\r\n" in request for request in case.requests)


@pytest.mark.soak
def test_a_short_run_measures_every_case() -> None:
    """Upstream, pass-through, gate and load generator work together; a wrong status would stop the run."""
    report = run(Effort(rounds=1, seconds=0.2, sizes=(10, 1000), warm_up_s=0.1, open_runs=100), with_gate=True)
    assert len(report.cases()) == 22
    assert [entry.count for entry in report.runs] == [100, 100]
    assert all(entry.figures["cpu_us"] > 0 for entry in report.measured)
    assert json.dumps(report.as_json())
    assert "refused: bad arguments · 1,000 operations" in table(report)
    assert "everything: refused by policy · 1,000 operations" in table(report)


@pytest.mark.soak
def test_a_run_measures_only_what_it_is_asked_for() -> None:
    """`--only` starts the gates that have such a case, and asks nothing else of them; open runs are not weighed."""
    effort = Effort(rounds=1, seconds=0.2, sizes=(10,), warm_up_s=0.1, open_runs=100)

    report = run(effort, with_gate=True, only="budgets in memory: GET")

    assert ["budgets in memory: GET"] == list(report.cases())
    assert {0, 10} == {each.size for each in report.measured}
    assert [] == report.runs


def test_a_page_keeps_everything_but_its_results() -> None:
    """The table replaces what stood between the marks."""
    report = Report([*_measured("GET", 0, 100), *_measured("GET", 10, 120)], (), 1)
    page = with_results("before\n```text results\nold\n```\nafter\n", report)
    assert page.startswith("before\n```text results\nPython ")
    assert page.endswith("every target met\n```\nafter\n")
    assert "old" not in page
    assert with_results(page, report) == page
