"""From JSON to what Cedar holds: exactly, or not at all."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.conversion import Untold, teller, wanted
from toolgate.core.kinds import Field, Fields, Kind, Many, Variants

WHOLE = [()]
BODY = Fields({
    "name": Field("text", required=True),
    "n": Field("long", required=False),
    "any": Field("opaque", required=False),
    "__entity": Field("text", required=False),
    "inner": Field(Fields({"deep": Field("flag", required=True)}), required=False),
})  # fmt: skip
EITHER = Variants({"string": "text", "integer": "long", "array": Many("long"), "object": BODY})
ESCAPE = {"__extn": {"fn": "unknown", "arg": "q"}}


def told(kind: Kind, value: Any, values: Any = WHOLE, presence: Any = ()) -> Any:
    return teller(kind, wanted(values, presence))(value)


def decimal(text: str) -> dict[str, Any]:
    return {"__extn": {"fn": "decimal", "arg": text}}


TOLD = [
    ("text", "a", "a"),
    ("text", "__entity", "__entity"),
    ("long", 7, 7),
    ("long", 1000.0, 1000),
    ("long", -(2**63), -(2**63)),
    ("long", 2**63 - 1, 2**63 - 1),
    ("flag", False, False),
    ("decimal", 1, decimal("1.0")),
    ("decimal", 0.75, decimal("0.7500")),
    ("decimal", 0.1, decimal("0.1000")),
    ("decimal", -0.0, decimal("0.0000")),
    ("decimal", 922_337_203_685_477, decimal("922337203685477.0")),
    (Many("text"), ["b", "a", "b", None], ["a", "b"]),
    (Many("long"), [3, 1, 1.0], [1, 3]),
    (Many("decimal"), [0.5, 0.5], [decimal("0.5000")]),
    (Many(Many("long")), [[2, 1], [1, 2]], [[1, 2]]),
    (EITHER, "a", {"string": "a"}),
    (EITHER, 5, {"integer": 5}),
    (EITHER, 5.0, {"integer": 5}),
    (EITHER, [5], {"array": [5]}),
    (EITHER, {"name": "x", "n": None}, {"object": {"name": "x"}}),
    (Variants({"number": "decimal", "string": "text"}), 5, {"number": decimal("5.0")}),
    (BODY, {"name": "x", "inner": {"deep": True}}, {"inner": {"deep": True}, "name": "x"}),
]


@pytest.mark.parametrize(("kind", "value", "expected"), TOLD, ids=[f"{row[0]!s:.12}-{row[1]}" for row in TOLD])
def test_values_are_told_by_their_kind(kind, value, expected):
    """A value becomes what its schema says it is; a null is not there."""
    assert orjson.dumps(expected, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        told(kind, value), option=orjson.OPT_SORT_KEYS
    )


UNTOLD = [
    ("text", 1, "is not a text"),
    ("text", ESCAPE, "is not a text"),
    ("long", True, "is not a whole number of 64 bits"),
    ("long", 1.5, "is not a whole number of 64 bits"),
    ("long", 2**63, "is not a whole number of 64 bits"),
    ("long", 1e300, "is not a whole number of 64 bits"),
    ("long", "1", "is not a whole number of 64 bits"),
    ("flag", 1, "is neither true nor false"),
    ("decimal", True, "is not a number Cedar's decimals can hold"),
    ("decimal", "1.0", "is not a number Cedar's decimals can hold"),
    ("decimal", ESCAPE, "is not a number Cedar's decimals can hold"),
    ("decimal", 1e300, "is not a number Cedar's decimals can hold"),
    ("decimal", float("nan"), "is not a number Cedar's decimals can hold"),
    ("decimal", float("inf"), "is not a number Cedar's decimals can hold"),
    ("decimal", 0.29999, "is not a number with at most four decimals"),
    ("decimal", 1e-5, "is not a number with at most four decimals"),
    ("opaque", 1, "is not described by its schema, so its value cannot be compared"),
    (Many("text"), "a", "is not a list"),
    (Many("text"), {"0": "a"}, "is not a list"),
    (BODY, "a", "is not an object"),
    (BODY, {"name": "x", "more": 1}, "has members its schema does not declare"),
    (BODY, {"name": "x", "__entity": "y"}, "has a member whose name policies reserve"),
    (EITHER, 1.5, "is of a type its schema does not declare"),
    (EITHER, True, "is of a type its schema does not declare"),
]


@pytest.mark.parametrize(("kind", "value", "why"), UNTOLD, ids=[f"{row[0]!s:.12}-{row[1]}" for row in UNTOLD])
def test_what_cedar_cannot_hold_is_not_told(kind, value, why):
    """SECURITY: nothing is rounded, cut or passed on as it is."""
    with pytest.raises(Untold) as raised:
        told(kind, value)

    assert why == raised.value.why


PARTS = [
    ("a part", BODY, [("name",)], [], {"name": "x", "n": "not looked at"}, {"name": "x"}),
    ("presence", BODY, [], [("any",)], {"name": "x", "any": ESCAPE}, {"any": True}),
    ("presence of null", BODY, [], [("any",)], {"any": None}, {}),
    ("undeclared and absent", BODY, [], [("force",)], {"name": "x"}, {}),
    ("below", BODY, [("inner", "deep")], [("inner",)], {"inner": {"deep": False}}, {"inner": {"deep": False}}),
    ("a variant", EITHER, [("integer",)], [], 5, {"integer": 5}),
    ("another variant", EITHER, [("integer",)], [], "a", {}),
    ("presence of a variant", EITHER, [], [("array",)], [1.5], {"array": True}),
    ("inside a variant", EITHER, [("object", "name")], [], {"name": "x"}, {"object": {"name": "x"}}),
    ("below what is anything", "opaque", [], [("force",)], {"other": 1}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("_", "kind", "values", "presence", "value", "expected"), PARTS, ids=[row[0] for row in PARTS])
def test_only_what_is_read_is_told(_, kind, values, presence, value, expected):
    """What no statement reads is neither converted nor looked at."""
    assert expected == told(kind, value, values, presence)


UNSEEN = [
    ("undeclared and sent", BODY, [("force",)], {"force": True}, "`/force`", "is not declared by the schema"),
    ("inside what is anything", "opaque", [("force",)], {"force": True}, "`/force`", "is not declared by the schema"),
    ("inside a text", "text", [("force",)], "x", "what is read", "is not an object"),
    ("an escape on the way", BODY, [("inner", "deep")], {"inner": ESCAPE | {"deep": True}}, "`/inner`", "has a member whose name policies reserve"),
    ("an escape beside", BODY, [("name",)], {"name": "x", "__entity": {"type": "Role", "id": "admin"}}, "what is read", "has a member whose name policies reserve"),
    ("in a list", Fields({"l": Field(Many(BODY), required=True)}), [("l",)], {"l": [{}, {"n": "x"}]}, "`/l/1/n`", "is not a whole number of 64 bits"),
    ("an odd name", Fields({"a/b~c": Field("long", required=True)}), [("a/b~c",)], {"a/b~c": "x"}, "`/a~1b~0c`", "is not a whole number of 64 bits"),
]  # fmt: skip


@pytest.mark.parametrize(("_", "kind", "presence", "value", "place", "why"), UNSEEN, ids=[row[0] for row in UNSEEN])
def test_what_a_statement_would_not_see_is_not_passed_over(_, kind, presence, value, place, why):
    """SECURITY: a statement asks for a member the schema does not declare, and the caller sends it: that is no `absent`."""
    with pytest.raises(Untold) as raised:
        told(kind, value, values=presence)

    assert [place, why] == [raised.value.place, raised.value.why]


def test_kinds_that_share_parts_are_compiled_once():
    """Forty levels of two members of one kind are forty kinds, not two to the fortieth."""
    kind: Kind = "long"
    for _ in range(40):
        kind = Fields({"a": Field(kind, required=False), "b": Field(kind, required=False)})

    assert {"a": {"b": {}}} == told(kind, {"a": {"b": {}}})


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=64),
    st.decimals(-1000, 1000, places=4).map(float),
    st.integers(-(10**16), 10**16),
)


@given(NUMBERS)
def test_a_decimal_is_the_number_or_nothing(number):
    """The text Cedar is told denotes the very number, with at most four decimals and within 64 bits."""
    try:
        text = told("decimal", number)["__extn"]["arg"]
    except Untold:
        assert number != round(number, 4) or abs(number) > 922_337_203_685_477
    else:
        assert float(text) == number
        assert abs(Decimal(text) * 10_000) < 2**63
        assert -4 <= Decimal(text).as_tuple().exponent


def kinds() -> st.SearchStrategy[Kind]:
    scalars = st.sampled_from(("text", "long", "flag", "decimal", "opaque"))
    names = st.sampled_from(("a", "b", "__entity", "__extn"))
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            inner.map(Many),
            st.dictionaries(names, st.builds(Field, inner, st.booleans()), max_size=3).map(Fields),
            st.fixed_dictionaries({}, optional={"string": st.just("text"), "array": inner.map(Many)}).map(Variants),
        ),
        max_leaves=6,
    )


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.sampled_from(("a", "unknown"))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(("a", "b", "c", "__entity", "__extn", "__expr", "fn", "arg")), inner, max_size=3),
    ),
    max_leaves=8,
)  # fmt: skip
PATHS = st.lists(st.lists(st.sampled_from(("a", "b", "string", "array")), max_size=3).map(tuple), max_size=3)


def escapes(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [found for each in value for found in escapes(each)]
    if not isinstance(value, dict):
        return []
    if value.keys() & {"__entity", "__extn", "__expr"}:
        return [value]
    return [found for each in value.values() for found in escapes(each)]


@given(kinds(), JSON, PATHS, PATHS)
def test_no_escape_of_a_caller_comes_through(kind, value, values, presence):
    """SECURITY (T1, T2): whatever the schema and the arguments, what is told holds no escape but decimals of our making."""
    try:
        found = told(kind, value, values, presence)
    except Untold:
        return

    for each in escapes(found):
        assert ["__extn"] == list(each)
        assert "decimal" == each["__extn"]["fn"]
        float(each["__extn"]["arg"])
