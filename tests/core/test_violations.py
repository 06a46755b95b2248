"""What is said of arguments that do not fit: the thing to change, not the way a validator came to it."""

from __future__ import annotations

from tests.signing import body, posted, signature

from toolgate.core.signature import Rejected


def test_of_alternatives_the_one_whose_fields_are_there_is_explained() -> None:
    """A locker with a bad number is told about the number, not that it is no home."""
    kinds = [
        {"type": "object", "required": [own], "properties": {own: {"type": "integer"}}} for own in ("street", "locker")
    ]
    outcome = posted(signature(body({"oneOf": kinds})), b'{"locker":"three"}')
    assert isinstance(outcome, Rejected)
    assert [("/body/locker", "type")] == [(each.path, each.keyword) for each in outcome.violations]
