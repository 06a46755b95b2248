"""Did you mean: what is remembered of questions is bounded."""

from __future__ import annotations

from toolgate.core.suggest import near


def test_an_answer_does_not_depend_on_what_was_asked_before() -> None:
    """SECURITY: questions come from callers; asking thousands of others first changes no answer."""
    words = ("customer", "currency", "express", "lines")
    first = near("custommer", words, 1)
    for number in range(2_000):
        near(f"anything{number}", words, 1)

    assert (near("custommer", words, 1), near("nothing like it", words)) == (first, ())
    assert first == ("customer",)
