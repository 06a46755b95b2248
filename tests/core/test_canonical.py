"""The text that stands for a value: one for each, and no two alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.canonical import canonical, digest
from toolgate.core.model import Json

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["$number", "$literal"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.sampled_from(["$number", "$literal", "$text"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def _same(one: Json, other: Json) -> bool:
    """Equal down to the kind of every number, as text that is read shows it."""
    return repr(_ordered(one)) == repr(_ordered(other))


def _ordered(value: Json) -> Json:
    if isinstance(value, dict):
        return sorted((name, _ordered(each)) for name, each in value.items()), "object"
    return [_ordered(each) for each in value] if isinstance(value, list) else value


@given(_JSON, _JSON)
def test_one_text_for_one_value(one: Json, other: Json) -> None:
    """Two values have one text exactly when they are the same; nothing that JSON holds cannot be written."""
    assert _same(one, other) == (canonical(one) == canonical(other))
    assert (canonical(one) == canonical(other)) == (digest(one) == digest(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, {"$number": "1"}),
        (1.0, {"$number": "1.0"}),
        ({"$number": "1.0"}, {"$literal": {"$number": "1.0"}}),
        ({"$literal": 1}, 1),
        (0.0, -0.0),
        (True, 1),
        (1 << 60, float(1 << 60)),
        ("\ud800", {"$text": "\\ud800"}),
        ("é", "e\u0301"),
    ],
)
def test_what_looks_alike_is_told_apart(one: Json, other: Json) -> None:
    """M26."""
    assert canonical(one) != canonical(other)


def test_the_text_is_that_of_rfc_8785_where_it_has_one() -> None:
    """Anybody can make the digest of a plan that has no such numbers."""
    assert b'{"a":[0.1,"\xe2\x82\xac",null,true],"b":2}' == canonical({"b": 2, "a": [0.1, "€", None, True]})
