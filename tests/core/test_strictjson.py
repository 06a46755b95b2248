"""Keys that collide are found, however the text around them is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core import strictjson
from toolgate.core.wiretext import Malformed

KEYS = st.text('aAbB:",\\ é', max_size=3)
TREES = st.recursive(
    st.one_of(st.sampled_from(["", "A", "A:", "T1:2", "x y"]), st.sampled_from([1e30, 7, None, True])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


def collides(value: Any) -> bool:
    """The rule, said the slow way."""
    if isinstance(value, dict):
        return len({key.casefold() for key in value}) < len(value) or any(map(collides, value.values()))
    return isinstance(value, list) and any(map(collides, value))


@given(TREES, st.sampled_from([None, 1]), st.booleans())
def test_keys_that_differ_only_in_case_never_stand_together(value: Any, indent: int | None, plain: bool) -> None:
    """E03: whether the quick look at the text is taken or not, the answer is that of the rule."""
    text = json.dumps(value, indent=indent, ensure_ascii=plain).encode()
    if collides(value):
        with pytest.raises(Malformed, match="differ only in case"):
            strictjson.read(text)
        return

    assert strictjson.read(text)[0] == value
