"""JSON is read in one way only: what is taken, what is refused, and that the quick look agrees with the long one."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from toolgate.core import strictjson
from toolgate.core.wiretext import Malformed

KEYS = st.text('aAbB:",\\ é', max_size=3)
TREES = st.recursive(
    st.one_of(st.sampled_from(["", "A", "A:", "T1:2", "x y"]), st.sampled_from([1e30, 7, None, True])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)

# Text as clients, and attackers, spell it: each of these is one token, and some of them are none.
NUMBERS = [
    "0", "-0", "7", "19.90", "1.5", "1E5", "1e5", "1e16", "1e22", "1e400", "-1e400", "1e-400", "-0.0", "5e-324",
    "01", "1.", ".5", "+1", "NaN", "Infinity", "-Infinity", "12345678901234567", "123456789012345678901234567890",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
    "18446744073709551615", "18446744073709551616", "1.8446744073709552e19", "0.30000000000000004",
    "100000000000000000000", "100000000000000000000.0",
]  # fmt: skip
WORDS = [*"aAbB:,[{]1. /éÉßKk\u212a", "e\u0301", "ss"]
ESCAPES = [
    '\\"', "\\\\", "\\/", "\\n", "\\u0041", "\\u003a", "\\u0022", "\\u0000", "\\u00e9", "\\ud83d\\ude00",
    "\\ud800",
]  # fmt: skip
NUMBER = st.one_of(st.sampled_from(NUMBERS), st.integers(-(2**66), 2**66).map(str), st.floats().map(repr))
STRING = st.lists(st.sampled_from(WORDS + ESCAPES), max_size=3).map(lambda parts: f'"{"".join(parts)}"')
BLANK = st.sampled_from(["", "", "", " ", "\n  ", "\t"])


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    elements = [draw(BLANK) + draw(inner) + draw(BLANK) for _ in range(draw(st.integers(0, 3)))]
    return f"[{','.join(elements)}]"


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    members = [
        f"{draw(BLANK)}{draw(STRING)}{draw(BLANK)}:{draw(BLANK)}{draw(inner)}{draw(BLANK)}"
        for _ in range(draw(st.integers(0, 4)))
    ]
    return f"{{{','.join(members)}}}"


TEXTS = st.recursive(
    st.one_of(NUMBER, STRING, st.sampled_from(["null", "true", "false"])),
    lambda inner: st.one_of(arrays(inner), objects(inner)),
    max_leaves=10,
)
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(0, 1),
        st.sampled_from([b"", *(bytes([b]) for b in b'{}[]:,"\\ 0e.-\x00\x80A')]),
    ),
    max_size=2,
)


class Refused(Exception):  # noqa: N818 (an answer, not a fault)
    """What the slow reader says of a text that must be refused."""


def folded(key: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", key).casefold())


def object_of(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({folded(key) for key, _ in members}) < len(members):
        raise Refused
    return dict(members)


def integer(text: str) -> int:
    if not -(2**63) <= int(text) < 2**64:
        raise Refused
    return int(text)


def number(text: str) -> float:
    if abs(value := float(text)) == float("inf"):
        raise Refused
    return value


def no_constant(text: str) -> None:
    raise Refused(text)


def depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, (dict, list)) + max(map(depth, children), default=0)


def slowly(text: bytes) -> bytes | None:
    """The rules of the module by the standard library: the value, written; None where it must be refused."""
    try:
        value = json.loads(
            text.decode(),
            object_pairs_hook=object_of,
            parse_int=integer,
            parse_float=number,
            parse_constant=no_constant,
        )
        return orjson.dumps(value) if depth(value) <= strictjson.DEPTH else None
    except (Refused, ValueError, TypeError):  # TypeError: a lone surrogate cannot be written
        return None


def as_read(text: bytes) -> bytes | None:
    try:
        value, written = strictjson.read(text)
    except Malformed:
        return None
    assert orjson.dumps(value) == written
    return written


@given(TEXTS, CHANGES)
@example('{"a":1,"a":2,"b":"\\u003a"}', [])
@example('{"a":1,"a":2,"b":"\\u0022\\u0022"}', [])
@example('{"a\\\\":1,"A\\\\":2}', [])
@example('{"a\\"A":1,"a\\"a":2}', [])
@example("[18446744073709551616, 1E5]", [])
@example("[100000000000000000000,1E15]", [])
@example('{"A[":1,"a[":2}', [])
@example('{"\u212a":1,"k":2}', [])
@example('{"\u0130":1,"i\u0307":2}', [])
def test_a_text_is_read_as_the_rules_say_however_it_is_spelled(
    text: str, changes: list[tuple[int, int, bytes]]
) -> None:
    """Part E: whichever way a text is read, the same is taken and refused, and what is judged is what is sent."""
    raw = text.encode()
    for at, cut, put in changes:
        raw = raw[:at] + put + raw[at + cut :]
    assert slowly(raw) == as_read(raw)


@given(TREES, st.sampled_from([None, 1]), st.booleans())
def test_keys_that_differ_only_in_case_never_stand_together(value: Any, indent: int | None, plain: bool) -> None:
    """E03: whether the quick look at the text is taken or not, the answer is that of the rule."""
    text = json.dumps(value, indent=indent, ensure_ascii=plain).encode()
    assert slowly(text) == as_read(text)


LEVELS = {"[": "]", '{"a":': "}", '{"[":': "}", '{"\\\\":': "}", '{"]\\"":': "}"}


@pytest.mark.parametrize("opened", LEVELS)
@pytest.mark.parametrize(("levels", "is_read"), [(64, True), (65, False), (300, False), (2000, False)])
def test_depth_counts_brackets_outside_strings_only(opened: str, levels: int, is_read: bool) -> None:
    """E12: sixty-four levels are read and sixty-five are not, whatever the strings between them hold."""
    text = f"{opened * levels}1{LEVELS[opened] * levels}".encode()
    assert is_read == (as_read(text) is not None)


def test_an_array_of_brackets_in_text_is_not_deep() -> None:
    """E12: brackets within strings are no levels."""
    text = orjson.dumps(["[" * 100, {"{": "}" * 70}])
    assert text == as_read(text)


def test_declared_twins_may_stand_together() -> None:
    """A schema that declares `id` and `ID` beside each other is served; other keys stay apart."""
    assert strictjson.read(b'{"id":1,"ID":2}', frozenset({"id", "ID"}))[0] == {"id": 1, "ID": 2}
    with pytest.raises(Malformed, match="`name` and `Name`"):
        strictjson.read(b'{"name":1,"Name":2}', frozenset({"id", "ID"}))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a":1,"a":2}', "an object has the same key twice"),
        ('{"a":1,"A":2}', "the keys `a` and `A` of one object differ only in case or composition"),
        ("18446744073709551616", "an integer is beyond 64 bit"),
        ("1e400", "a number is too large to be kept"),
        ("[" * 65 + "]" * 65, "the JSON is nested more than 64 levels deep"),
        ("NaN", "the JSON cannot be read"),
    ],
)
def test_what_is_refused_is_said(text: str, told: str) -> None:
    """The sentence names the rule, so that an agent can write the text again."""
    with pytest.raises(Malformed) as caught:
        strictjson.read(text.encode())
    assert told in str(caught.value)
