"""Any bytes as a policy file, and any statement: told or taken, never a traceback; and taken only if Cedar takes it too.

RULE: Cedar itself, given the whole file or the whole schema, is what the parts of this package are compared with.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import cedarpy
from hypothesis import given, settings
from hypothesis import strategies as st

from toolgate.core.bundle import Bundle
from toolgate.load.cedar.lexer import split, tokens
from toolgate.load.cedar.reference import schema_of
from toolgate.load.policies import Judged

WORDS: Final = (
    "permit", "forbid", "(", ")", "{", "}", "[", "]", ",", ";", "principal", "action", "resource", "context", "==", "!=",
    "in", "is", "has", "like", "when", "unless", "&&", "||", "!", "-", "+", "*", "<", ".", "::", "@", "if", "then", "else",
    "Action", "Role", "Metric", '"metrics.removeMetric"', '"a"', "'", '"', "args", "body", "tags", "contains", "true",
    "1", "99999999999999999999", "?principal", "//", "\n", "é", "decimal", "__entity", "&", "%", "unknown",
)  # fmt: skip
SAID: Final = st.text(st.sampled_from('ab;"\\/\n{}(),é*'), max_size=8)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, int]:
    """A file of statements with texts and comments full of what ends a statement elsewhere."""
    count = draw(st.integers(0, 4))
    parts = []
    for _ in range(count):
        comment = draw(SAID).replace("\n", " ")
        said, asked = quoted(draw(SAID)), quoted(draw(SAID))
        parts.append(
            f'// {comment}\n@reason({said}) permit (principal, action, resource) // {comment};\nwhen {{ "x" == {asked} }};'
        )
    return "\n".join(parts) + draw(st.sampled_from(["", "\n", " // end; of file", "\n// }"])), count


@given(files())
def test_a_file_is_split_as_cedar_splits_it(drawn: tuple[str, int]) -> None:
    """As many statements, each of them one to Cedar, whatever stands in texts and comments."""
    text, count = drawn
    sources = list(split(text, "a.cedar", "a.cedar"))

    assert count == len(sources) == len(cedarpy.PolicySet.from_str(text))
    for source in sources:
        assert source.text.endswith(";")
        assert 1 == len(cedarpy.PolicySet.from_str(source.text))
        assert text.split("\n")[source.line - 1][source.column - 1 :].startswith(source.text.split("\n")[0])


@given(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
def test_every_word_is_a_token_or_space(text: str) -> None:
    """Nothing is lost between tokens but white space and comments."""
    end = 0
    for token in tokens(text):
        assert text[end : token.start].strip() == "" or text[end : token.start].strip().startswith("//")
        assert text[token.start : token.end] == token.text
        end = token.end


@settings(max_examples=150)
@given(content=st.one_of(st.binary(max_size=80), st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)))
def test_any_bytes_are_statements_or_problems(judged: Callable[..., Judged], content: bytes | str) -> None:
    """And every problem is one line with a place in the file."""
    found = judged(content)

    for problem in found.problems:
        assert problem.path == "policies/a.cedar"
        assert 1 <= problem.line
        assert "\n" not in problem.message
        assert "Traceback" not in problem.message


PATHS: Final = st.sampled_from(
    [
        "context.args.body.metric", "context.args.body.cluster", "context.args.body.limit", "context.args.body.ratio",
        "context.args.body.live", "context.args.body.tags", "context.args.body.items", "context.args.body.opts.deep.x",
        "context.args.body.title", "context.args.body.title.string", 'context.args.body["odd name"]', "context.args.body",
        "context.args.name", "context.args.nme", "context.args", "context.environment", "context.run.calls", "context.now",
        "context.nulls", 'context.derived.count["/body/tags"]', 'context.derived.every["/body/items/*/name"]',
        "context.on_behalf_of", "resource.tier", "resource.weight", "resource", "principal", "action",
    ]
)  # fmt: skip
LITERALS: Final = st.sampled_from(
    ['"prod"', '"a"', "1", "-1", "true", 'decimal("0.5")', '["a", "b"]', "[1]", '{"x": 1}', 'Role::"sre"',
     'Action::"metrics.removeMetric"', 'Metric::"cpu"', 'datetime("2024-01-31")', "[]"]
)  # fmt: skip
VALUES: Final = PATHS | LITERALS
CONDITIONS: Final = st.recursive(
    st.one_of(
        st.tuples(VALUES, st.sampled_from(["==", "!=", "<", ">=", "in", "+"]), VALUES).map(" ".join),
        st.tuples(PATHS, VALUES).map(lambda both: f"{both[0]}.contains({both[1]})"),
        st.tuples(PATHS, st.sampled_from(["lessThan", "containsAll", "containsAny"]), VALUES).map(
            lambda all_: f"{all_[0]}.{all_[1]}({all_[2]})"
        ),
        PATHS.map(lambda path: f'{path} like "a*"'),
        st.tuples(PATHS, st.sampled_from(["metric", "title.string", "opts.deep", "name", "tier", "nme", "tags"])).map(
            lambda both: f"{both[0]} has {both[1]}"
        ),
        PATHS.map(lambda path: f"{path} is Metric"),
        st.just('principal.hasTag("team") && principal.getTag("team") == "sre"'),
        PATHS,
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda each: f"!({each})"),
        st.tuples(inner, inner, inner).map(lambda all_: f"(if {all_[0]} then {all_[1]} else {all_[2]})"),
    ),
    max_leaves=4,
)
SCOPES: Final = st.sampled_from(
    ["action", 'action == Action::"metrics.queryCluster"', 'action == Action::"metrics.removeMetric"',
     'action in [Action::"metrics.flagMetric", Action::"metrics.removeMetric"]', 'action in Action::"read"',
     'action in Action::"destructive"', 'action in Action::"metrics"']
)  # fmt: skip


@settings(max_examples=300)
@given(scope=SCOPES, condition=CONDITIONS, resource=st.sampled_from(["resource", "resource is Metric"]))
def test_what_is_taken_is_taken_by_cedar_with_the_whole_schema(
    judged: Callable[..., Judged], bundle: Bundle, scope: str, condition: str, resource: str
) -> None:
    """Checking against what a statement reads, operations that look alike once, takes nothing that Cedar would not."""
    text = f"permit (principal, {scope}, {resource}) when {{ {condition} }};"
    if judged(text).problems:
        return
    whole = cedarpy.Schema.from_json_str(json.dumps(schema_of(bundle)))

    assert [] == cedarpy.validate_policies(text, whole).errors
