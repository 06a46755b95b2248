"""Our own YAML: one meaning for every reader, and a line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.bundle import BundleError
from toolgate.load.yaml import MAX_BYTES, strict_load, strict_parse


def problems(text: str | bytes) -> list[tuple[int, str]]:
    try:
        strict_parse(text if isinstance(text, bytes) else text.encode(), "f.yaml")
    except BundleError as error:
        return [(each.line, each.code) for each in error.problems]
    return []


def test_scalars_are_those_of_the_core_schema() -> None:
    """YAML 1.2: `no`, `on`, `1:30:00`, `1_000`, dates and versions are text; `0o17` and `0x1F` are numbers."""
    text = "{a: no, b: on, c: '1', d: 1:30:00, e: 1_000, f: 2026-01-01, g: 0o17, h: 0x1F, i: -1.5e3, j: ~, k: , l: True, m: y, n: 1.2.3}"
    expected = {
        "a": "no", "b": "on", "c": "1", "d": "1:30:00", "e": "1_000", "f": "2026-01-01", "g": 15, "h": 31,
        "i": -1500.0, "j": None, "k": None, "l": True, "m": "y", "n": "1.2.3",
    }  # fmt: skip
    assert expected == strict_parse(text.encode(), "f.yaml").value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", [(4, "yaml.duplicate_key")]),
        ("a: 1\n'a': 2\n", [(2, "yaml.duplicate_key")]),
        ("x: &x {a: 1}\ny: {<<: *x}\n", [(2, "yaml.merge_key")]),
        ("a: &a [*a]", [(1, "yaml.alias")]),
        ("a: *b", [(1, "yaml.alias")]),
        ("a: !!python/object/apply:os.system ['id']", [(1, "yaml.tag")]),
        ("a: !x 1", [(1, "yaml.tag")]),
        ("\n200: x", [(2, "yaml.key")]),
        ("~: x", [(1, "yaml.key")]),
        ("[a]: x", [(1, "yaml.key")]),
        ("a: 017", [(1, "yaml.number")]),
        ("a: .nan\nb: -.Inf", [(1, "yaml.number"), (2, "yaml.number")]),
        ("a: 1e999", [(1, "yaml.number")]),
        ("a: 1\n---\nb: 2", [(2, "yaml.documents")]),
        ("%YAML 1.1\n---\na: yes", [(1, "yaml.version")]),
        ("a: b: c", [(1, "yaml.syntax")]),
        ("a:\n\t- b", [(2, "yaml.syntax")]),
        ("a: [1,\n2", [(3, "yaml.syntax")]),
        ("a: x\u2028b: 2", [(1, "yaml.character")]),
        ("a: x # \u202e", [(1, "yaml.character")]),
        ("\ufeffa: 1", [(1, "yaml.character")]),
        ("a: x\n\x00", [(2, "yaml.character")]),
        (b"a: 1\nb: \xff", [(2, "yaml.encoding")]),
        ("a: 1".encode("utf-16"), [(1, "yaml.encoding")]),
    ],
)  # fmt: skip
def test_what_two_readers_could_read_differently_is_a_problem(
    text: str | bytes, expected: list[tuple[int, str]]
) -> None:
    """Attacks G02 to G07: each is refused, with the line to look at."""
    assert expected == problems(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ledger: memory:", "put a value that holds `: ` or ends with `:` in quotes"),
        ("keys: {mask: ${file:key}}", "put a value with braces, such as `${file:PATH}`, in quotes"),
        ("hosts: [${env:HOST}, a]", "put a value with braces, such as `${file:PATH}`, in quotes"),
        ("a:\n\tb: 1", "indent with spaces, not tabs"),
        ("a: {b: 1\nc: 2", ""),
    ],
)
def test_what_people_write_that_yaml_reads_otherwise_is_told(text: str, hint: str) -> None:
    """Our own values are such (`memory:`, `${file:…}`), so the parser's words alone do not help."""
    with pytest.raises(BundleError) as told:
        strict_parse(text.encode(), "toolgate.yaml")

    assert told.value.problems[0].message.partition("; ")[2] == hint


def test_several_mistakes_are_told_at_once() -> None:
    """Reading goes on after a mistake that does not hide the rest."""
    expected = [(2, "yaml.duplicate_key"), (3, "yaml.number"), (4, "yaml.tag")]
    assert expected == problems("a: 1\na: 2\nb: 017\nc: !x y\n")


def test_bombs_do_not_go_off() -> None:
    """Attacks G01 and G08: aliases of aliases and deep nesting are refused before anything grows."""
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for name, before in zip("bcdefg", "abcdef", strict=True):
        bomb += f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    assert [(6, "yaml.too_large")] == problems(bomb)
    assert [(1, "yaml.alias")] == problems("x: [&a 1, " + ", ".join(["*a"] * 65) + "]")
    assert [(1, "yaml.too_deep")] == problems("[" * 100_000)
    assert [(64, "yaml.too_deep")] == problems("\n".join(" " * at + "a:" for at in range(200)))
    assert [(0, "yaml.too_large")] == problems(b"#" * (MAX_BYTES + 1))


def test_every_key_and_item_has_its_line() -> None:
    """Problems name the line of the nearest key around what is wrong."""
    parsed = strict_parse(b"a:\n  b:\n    - x\n    - {c: 1}\nd: &d {e: 1}\nf: *d\n", "f.yaml")
    lines = {
        steps: parsed.line(steps)
        for steps in [("a",), ("a", "b", 1), ("a", "b", 1, "c"), ("d", "e"), ("f", "e"), ("z",)]
    }
    expected = {("a",): 1, ("a", "b", 1): 4, ("a", "b", 1, "c"): 4, ("d", "e"): 5, ("f", "e"): 6, ("z",): 1}
    assert expected == lines


def test_an_empty_file_is_nothing() -> None:
    """Whoever asked says what is missing."""
    assert [None, None] == [strict_parse(text, "f.yaml").value for text in (b"", b"# nothing\n")]


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """Told with the name the caller shows it by."""
    with pytest.raises(BundleError, match=r"f\.yaml: file\.unreadable: cannot be read: no such file"):
        strict_load(tmp_path / "f.yaml", "f.yaml")


@given(
    st.text(alphabet="ab:-[]{}&*!|>'\"#%@`?,~\n\t 01.e<\u2028\x00", max_size=60)
    | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1"))
)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Totality: a value with lines, or BundleError."""
    assert all(code.startswith("yaml.") for _, code in problems(text))
