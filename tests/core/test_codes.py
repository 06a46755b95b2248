"""The table of codes keeps its own promises."""

from __future__ import annotations

from toolgate.core.codes import CODES

REPEATING = {"retry", "wait", "request_approval"}


def test_whoever_is_told_to_repeat_may_repeat() -> None:
    """`retryable` and the way forward never contradict each other."""
    assert {code for code, row in CODES.items() if row.retryable} == {
        code for code, row in CODES.items() if row.action in REPEATING
    }


def test_a_hint_is_one_imperative_sentence() -> None:
    """A model acts on it: a capital, a final stop, no line break."""
    for row in CODES.values():
        assert row.hint[0].isupper()
        assert row.hint.endswith(".")
        assert "\n" not in row.hint
