"""Expressions: parsed at load with a sentence for every mistake, asked without ever raising."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.expressions import Expression, parse_expression

ARGUMENTS = {
    "name": "node_cpu",
    "body": {"metric": "m", "items": [{"name": "a"}, {"name": "b"}, {}], "odd name": 1, "a/b": 2, "~": 3, "*": 4},
}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("$args.name", ("node_cpu",)),
        ("$args#/name", ("node_cpu",)),
        ("$args.body.metric", ("m",)),
        ("$args#/body/items/*/name", ("a", "b")),
        ("$args#/body/items/1/name", ("b",)),
        ("$args#/body/items/01/name", ()),
        ("$args#/body/items/-1/name", ()),
        ("$args#/body/items/9/name", ()),
        ("$args#/body/odd name", (1,)),
        ("$args#/body/a~1b", (2,)),
        ("$args#/body/~0", (3,)),
        ("$args.body.missing", ()),
        ("$args.name.deeper", ()),
        ("$args", (ARGUMENTS,)),
        ("$args#", (ARGUMENTS,)),
    ],
)
def test_an_expression_names_every_value_at_its_place(text: str, values: tuple[object, ...]) -> None:
    """What is there is returned in document order, what is not there is left out."""
    assert values == parse_expression(text).values(ARGUMENTS)


def test_a_star_stands_for_every_value_of_an_object_too() -> None:
    """A resource cannot hide in an object where the author expected a list."""
    assert (1, 2) == parse_expression("$args#/body/*").values({"body": {"a": 1, "b": 2}})


def test_a_reply_is_asked_by_body_and_header() -> None:
    """Header names are compared in lower case; the body by pointer."""
    assert (7,) == parse_expression("$response.body#/usage/cost").values({"usage": {"cost": 7}})
    assert ("9",) == parse_expression("$response.header.X-Cost").values({"x-cost": "9"})


def test_the_pointer_is_written_back_for_violations() -> None:
    """A violation's path is a JSON Pointer, escaped."""
    assert "/body/a~1b/~0" == parse_expression("$args#/body/a~1b/~0").pointer
    assert "/body/metric" == parse_expression("$args.body.metric").pointer


@pytest.mark.parametrize(
    "text",
    ["", "name", "$arg.name", "$args.", "$args..a", "$args.a b", "$args.*", "$argsname", "$args#name", "$args#/a~2", "$args#/~",
     "$response.bodyx", "$response.header.", "$response.header.a b", "$steps.a.outputs.b", "$args.é"],
)  # fmt: skip
def test_what_is_not_an_expression_is_told_with_the_forms_that_are(text: str) -> None:
    """Every mistake is a ValueError whose text can stand in the problem list."""
    with pytest.raises(ValueError, match=r"`.*`"):
        parse_expression(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_JSON, st.lists(st.text() | st.sampled_from(["*", "0", "1", "body"]), max_size=5))
def test_asking_never_raises(value: object, tokens: list[str]) -> None:
    """Any arguments, any way down: values or nothing."""
    assert isinstance(Expression("", "args", tuple(tokens)).values(value), tuple)
