"""Vendors' documents: JSON and YAML of any dialect, within bounds, to one JSON value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.bundle import BundleError
from toolgate.load.vendor import parse_document


def test_yaml_keeps_text_as_text() -> None:
    """Dates, versions in quotes, `no` and `on` stay what their author wrote; status codes become text keys."""
    text = b"""
openapi: 3.0.3
info: {version: 2026-01-01, title: no, on: off}
responses: {200: {a: 1}, 4XX: {}, default: {}, true: 1, 1.5: 2, ~: 3}
"""
    expected = {
        "openapi": "3.0.3",
        "info": {"version": "2026-01-01", "title": "no", "on": "off"},
        "responses": {"200": {"a": 1}, "4XX": {}, "default": {}, "true": 1, "1.5": 2, "null": 3},
    }
    assert expected == parse_document(text, "f.yaml")


def test_merge_keys_are_merged() -> None:
    """Vendors may use what they like: own keys first, then the earlier of the merged, merges within merges too."""
    text = b"a: &a {x: 1, y: 1}\nb: &b {<<: *a, y: 2, z: 2}\nc: {<<: [*b, {w: 3, x: 3}], z: 4}\n"
    assert {"x": 1, "y": 2, "z": 4, "w": 3} == parse_document(text, "f.yaml")["c"]


def test_integers_beyond_64_bits_are_the_doubles_they_are_everywhere_else() -> None:
    """A vendor's `minimum: -9223372036854776000` loads, exactly as the same number does in JSON."""
    text = b"a: {minimum: -9223372036854776000, maximum: 123456789012345678901234567890}\nb: '-9223372036854776000'\n"
    value = parse_document(text, "f.yaml")
    same = parse_document(
        b'{"a": {"minimum": -9223372036854776000, "maximum": 123456789012345678901234567890}}', "f.json"
    )
    assert same["a"] == value["a"]
    assert "-9223372036854776000" == value["b"]


def test_json_may_have_a_byte_order_mark_and_yaml_may_begin_with_a_brace() -> None:
    """What is in the file decides, not its name."""
    assert {"a": 1} == parse_document(b'\xef\xbb\xbf{"a": 1}', "f.json")
    assert {"a": "b"} == parse_document(b"{a: b}", "f.yaml")


@pytest.mark.parametrize(
    ("content", "shown", "line"),
    [
        (b'{"a": 1,\n "b": }', "f.json", 2),
        (b"a: 1\nb: c: d", "f.yaml", 2),
        (b"- a", "f.yaml", 0),
        (b"", "f.yaml", 0),
        (b"[1]: 2", "f.yaml", 0),
        (b"a: 1\nb: \xff", "f.yaml", 2),
        (b"a: &a [*a]", "f.yaml", 1),
        (b"[" * 200, "f.yaml", 1),
        (b"a: 1\na: 2", "f.yaml", 0),
    ],
)
def test_what_is_no_document_is_told_with_its_line(content: bytes, shown: str, line: int) -> None:
    """A sentence and a line, where there is one."""
    with pytest.raises(BundleError) as caught:
        parse_document(content, shown)
    (problem,) = caught.value.problems
    assert (shown, line) == (problem.path, problem.line)
    assert "\n" not in problem.message


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"a: " + b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_deep_nesting_is_refused_before_it_costs(content: bytes) -> None:
    """G08: the parser would take half a minute to say so."""
    assert ["document.too_deep"] == codes(content)


def test_alias_bombs_do_not_go_off() -> None:
    """Billion laughs in a vendor's document are refused while parsing."""
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for name, before in zip("bcdefghi", "abcdefgh", strict=True):
        bomb += f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    with pytest.raises(BundleError, match="repetition limit"):
        parse_document(bomb.encode(), "f.yaml")


@given(st.binary(max_size=60) | st.text(alphabet="ab:-[]{}&*!|>'\"#%?,~\n 01.e<", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """Totality: an object, or BundleError."""
    assert all(code.startswith("document.") for code in codes(content))


def codes(content: bytes) -> list[str]:
    try:
        parse_document(content, "f.yaml")
    except BundleError as error:
        return [each.code for each in error.problems]
    return []
