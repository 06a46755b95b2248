"""A run as numbered steps, from whatever the journal holds of it."""

from __future__ import annotations

from toolgate.core.steps import Step, steps_of


def test_each_decision_is_a_step_with_its_end() -> None:
    """In the order of their numbers, however the ends came; an end without its decision is no step."""
    first = {"event": "Decided", "call": "a", "number": 1}
    second = {"event": "Decided", "call": "b", "number": 2}
    end = {"event": "Finished", "call": "b"}
    stray = {"event": "Finished", "call": "pruned"}
    started = {"event": "RunStarted", "run": "r"}
    assert steps_of([started, stray, second, end, first]) == [Step(first, None), Step(second, end)]


def test_a_line_without_its_number_is_shown_first() -> None:
    """What was written into the file by hand breaks no listing."""
    whole = {"event": "Decided", "call": "a", "number": 1}
    odd = {"event": "Decided", "call": "b", "number": "two"}
    assert steps_of([whole, odd]) == [Step(odd, None), Step(whole, None)]
