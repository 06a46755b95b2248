"""Masking: what is hidden stays hidden, what is beside it stays as it was, and the key brings all of it back."""

from __future__ import annotations

import os
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.mask import keyed_digest, mask, mask_key, patterns, unmask

KEY = mask_key(b"k" * 32)
OTHER = mask_key(b"o" * 32)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
names = st.sampled_from(["a", "b", "c", "a/b", "m~n", "*", "0"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(names, values, max_size=4)
tokens = st.sampled_from(["a", "b", "c", "a~1b", "m~0n", "*", "0", "1"])
pointers = st.lists(st.lists(tokens, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)), max_size=4)


def masked(arguments: dict[str, Any], *where: str) -> Any:
    return mask(arguments, patterns(where), KEY, os.urandom)


def test_nothing_to_mask_is_the_same_object() -> None:
    """An operation without masks, and a call that sends no masked value, cost nothing."""
    arguments = {"body": {"a": 1}}
    assert masked(arguments).arguments is arguments
    assert masked(arguments, "/body/password", "/nope/*/x").arguments is arguments
    assert masked(arguments, "/body/password").sealed is None


def test_a_masked_value_is_a_keyed_digest_and_its_neighbours_stay() -> None:
    """Only what the pointer names is replaced; the original object is not touched."""
    arguments = {"name": "x", "body": {"password": "hunter2", "user": "ann"}}
    found = masked(arguments, "/body/password")
    assert found.arguments == {
        "name": "x",
        "body": {"password": {"$masked": keyed_digest("hunter2", KEY)}, "user": "ann"},
    }
    assert arguments["body"] == {"password": "hunter2", "user": "ann"}
    assert b"hunter2" not in orjson.dumps(found.arguments) + (found.sealed or "").encode()


def test_a_star_is_every_element_of_a_list_and_of_an_object() -> None:
    """`*` reaches every element, whether the agent sent an array or an object."""
    for items in ([{"p": 1}, {"p": 2, "q": 3}, 4], {"x": {"p": 1}, "y": {"p": 2, "q": 3}, "z": 4}):
        shown = orjson.dumps(masked({"body": items}, "/body/*/p").arguments)
        assert (shown.count(b"$masked"), b'"q":3' in shown) == (2, True)


def test_pointers_are_unescaped_and_the_outer_one_wins() -> None:
    """`~1` and `~0` are JSON Pointer's; a pointer inside a masked value has nothing left to mask."""
    found = masked({"a/b": {"m~n": 1}, "c": [1, 2]}, "/a~1b/m~0n", "/a~1b", "/c/1")
    assert found.arguments == {
        "a/b": {"$masked": keyed_digest({"m~n": 1}, KEY)},
        "c": [1, {"$masked": keyed_digest(2, KEY)}],
    }


def test_equal_values_look_equal_and_depend_on_the_key() -> None:
    """A digest answers `is it the same value?` and, without the key, nothing else."""
    assert keyed_digest({"a": 1, "b": 2}, KEY) == keyed_digest({"b": 2, "a": 1}, KEY)
    assert keyed_digest("x", KEY) != keyed_digest("y", KEY)
    assert keyed_digest("x", KEY) != keyed_digest("x", OTHER)


def test_the_wrong_key_and_altered_records_do_not_open() -> None:
    """Unmasking answers exactly or not at all."""
    found = masked({"p": "secret", "q": "other"}, "/p")
    assert found.sealed is not None
    with pytest.raises(ValueError, match="cannot be opened"):
        unmask(found.arguments, found.sealed, OTHER)
    with pytest.raises(ValueError, match="cannot be opened"):
        unmask(found.arguments, found.sealed[:-8] + "AAAAAAA=", KEY)
    with pytest.raises(ValueError, match="do not belong"):
        unmask(masked({"p": "another", "q": "other"}, "/p").arguments, found.sealed, KEY)
    with pytest.raises(ValueError, match="do not belong"):
        unmask({"q": "other"}, found.sealed, KEY)


@given(objects, pointers)
def test_unmask_restores_exactly(arguments: dict[str, Any], where: list[str]) -> None:
    """unmask(mask(x)) == x for any JSON, any pointers."""
    found = mask(arguments, patterns(where), KEY, os.urandom)
    assert unmask(found.arguments, found.sealed, KEY) == arguments


@given(st.dictionaries(names, st.lists(st.just("SECRET") | st.just({"a": "SECRET"}), max_size=3), max_size=4))
def test_no_masked_value_is_left_anywhere(arguments: dict[str, Any]) -> None:
    """Whatever the shape around it, a value under a masked pointer occurs nowhere in what is written."""
    found = mask(arguments, patterns(["/*/*"]), KEY, os.urandom)
    assert b"SECRET" not in orjson.dumps(found.arguments) + (found.sealed or "").encode()
