"""The journal's encoding: total, bounded, one line, and a link of the chain."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgate.core.journal import GENESIS, MAX_LINE, RESERVED, encode, line, timestamp
from toolgate.core.model import Event

WRITER = "w_01ARYZ6S410000000000000000"

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals()
    | st.builds(object),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters()) | st.integers(), inner)
        | st.tuples(inner)
        | st.sets(st.integers())
    ),
    max_leaves=20,
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


def written(data: dict[str, Any], **event: Any) -> bytes:
    return line(encode(Event("Decided", 1, data, **event)), WRITER, 7, timestamp(1), GENESIS)


def test_a_line_reads_as_documented() -> None:
    """The frame's keys come first and in order, then the event's own, then `prev`."""
    event = Event("Decided", 1_795_362_879_123, {"number": 3, "reason": "digest"}, call="01J", run="run_1")
    got = line(encode(event), WRITER, 12, timestamp(event.at_ms), "ab" * 32)
    assert got == (
        b'{"v":1,"event":"Decided","writer":"w_01ARYZ6S410000000000000000","seq":12,"at":"2026-11-22T15:54:39.123Z",'
        b'"at_ms":1795362879123,"call":"01J","run":"run_1","number":3,"reason":"digest","prev":"' + b"ab" * 32 + b'"}'
    )


def test_an_event_without_call_run_or_data_is_a_whole_line_too() -> None:
    """What is not there is left out, commas included."""
    assert orjson.loads(written({})) == {
        "v": 1, "event": "Decided", "writer": WRITER, "seq": 7, "at": "1970-01-01T00:00:00.001Z", "at_ms": 1,
        "prev": GENESIS,
    }  # fmt: skip


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])).filter(lambda key: key not in RESERVED), json_values
    )
)
def test_what_json_can_hold_is_held_exactly(data: dict[str, Any]) -> None:
    """decode(encode(x)) == x (INV24), unless it is too long."""
    got = orjson.loads(written(data))
    if "cut" not in got:
        assert {key: got[key] for key in data} == data


@settings(max_examples=60)
@given(
    st.dictionaries(st.text(st.characters()) | st.integers(), anything),
    st.text(st.characters()),
    st.text(st.characters()),
)
def test_any_value_at_all_becomes_one_bounded_line(data: dict[Any, Any], call: str, run: str) -> None:
    """P03, INV24: never an exception, exactly one line, valid JSON, at most 16 KiB."""
    got = written(data, call=call, run=run)
    assert b"\n" not in got
    assert len(got) <= MAX_LINE
    assert orjson.loads(got)["writer"] == WRITER


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\ud800b", {"$text": "a\\ud800b"}),
        (b"\xff\x00", {"$base64": "/wA="}),
        (1 << 64, {"$integer": "18446744073709551616"}),
        (math.nan, None),
        (MappingProxyType({"a": (1, {2})}), {"a": [1, [2]]}),
        (Decimal("1.5"), {"$type": "Decimal"}),
        (object(), {"$type": "object"}),
        ({"a": ["\udfff", {"b": b"x"}]}, {"a": [{"$text": "\\udfff"}, {"b": {"$base64": "eA=="}}]}),
    ],
)
def test_what_json_cannot_hold_is_represented(value: object, expected: object) -> None:
    """P03: each has a form that can be read back by eye and never shows a secret's repr."""
    assert orjson.loads(written({"x": value}))["x"] == expected


@pytest.mark.parametrize("beside", ["", 1 << 64, "a\ud800b", "x" * 20_000])
@pytest.mark.parametrize("length", [1, 20_000])
def test_what_is_encoded_already_is_the_same_line(beside: object, length: int) -> None:
    """A JSON body stands in the line by its bytes: beside what JSON cannot hold and in a line that is cut, too."""
    body = {"a": [1, "é"], "text": "y" * length}
    plain = written({"arguments": {"body": body}, "beside": beside})
    assert plain == written({"arguments": {"body": orjson.Fragment(orjson.dumps(body))}, "beside": beside})


def test_cycles_and_depth_end() -> None:
    """A value that contains itself, or is deeper than any JSON, is cut and not followed."""
    cycle: list[Any] = []
    cycle += [cycle, cycle]
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    assert len(written({"cycle": cycle, "deep": deep})) <= MAX_LINE


def test_the_longest_values_are_cut_and_the_others_stay() -> None:
    """P02: a megabyte of arguments never costs the decision its record; size and digest of each cut value remain."""
    long = "x" * 1_000_000
    got = orjson.loads(
        written({"operation": "a.b", "arguments": {"body": {"text": long, "n": 1, "tags": ["t"] * 9}}, "code": "c"})
    )
    whole = orjson.dumps(long)
    assert got["arguments"]["body"] == {
        "text": {"$cut": {"size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}},
        "n": 1,
        "tags": ["t"] * 9,
    }
    assert (got["cut"], got["operation"], got["code"]) == (True, "a.b", "c")


def test_many_small_values_are_cut_together() -> None:
    """A list too long to be cut element by element is cut whole."""
    got = orjson.loads(written({"a": list(range(100_000)), "b": {str(n): n for n in range(50_000)}, "c": 1}))
    assert (set(got["a"]), set(got["b"]), got["c"]) == ({"$cut"}, {"$cut"}, 1)


def test_data_cannot_pose_as_the_frame() -> None:
    """A key of the frame in the data is renamed: `seq` means one thing in a line."""
    got = orjson.loads(written({"seq": 99, "prev": "x", "cut": True}))
    assert (got["seq"], got["prev"], got["seq_"], got["prev_"], got["cut_"]) == (7, GENESIS, 99, "x", True)


def test_columns_agree_with_the_line_even_where_it_was_cut() -> None:
    """What queries find is what the line says."""
    body = encode(Event("Decided", 1, {"operation": "o" * 5000, "code": "\ud800", "principal": 3, "x": "y" * 40_000}))
    assert (body.operation, body.code, body.principal) == (None, None, None)


@given(st.integers(-(10**18), 10**18))
def test_any_time_can_be_written(at_ms: int) -> None:
    """A broken clock never stops the journal."""
    assert datetime.fromisoformat(timestamp(at_ms)).tzinfo == UTC
