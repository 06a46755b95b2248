"""Finding the operation a request means: every odd path matches, nothing in a disguised form does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.signing import parameter, signature

from toolgate.core.catalog import Absent, Catalog, Found, Operation
from toolgate.core.matching import parse_key
from toolgate.core.model import Effect
from toolgate.core.responses import Responses
from toolgate.core.signature import Signature


class Undeclared:
    """A signature that declares no encoded slash; the catalog asks nothing else of it."""

    def declares(self, path_values: Sequence[str]) -> bool:
        return not any("%2F" in raw.upper() for raw in path_values)


SIGNATURE, RESPONSES = cast("Signature", Undeclared()), cast("Responses", object())


def operation(
    name: str,
    method: str,
    template: str,
    *,
    tool: str = "t",
    allowed: bool = True,
    effect: Effect = "read",
    made: Signature = SIGNATURE,
) -> Operation:
    return Operation(
        tool, name, method, template, effect, allowed, made, RESPONSES, None, f"{tool}.{name}",
        re.sub(r"[^A-Za-z0-9_-]", "_", f"{tool}__{name}"),
    )  # fmt: skip


def found(catalog: Catalog, method: str, path: str, query: str = "") -> tuple[list[str], list[tuple[str, ...]]]:
    result = catalog.find(method, path, query)
    assert isinstance(result, Found), result
    return [each.id for each in result.operations], list(result.path_values)


ODD = Catalog(
    [
        operation("list", "GET", "/files"),
        operation("recent", "GET", "/files/recent"),
        operation("get", "GET", "/files/{id}"),
        operation("put", "PUT", "/files/{id}"),
        operation("compare", "GET", "/repos/{owner}/compare/{base}...{head}"),
        operation("json", "GET", "/calls/{Sid}.json"),
        operation("call", "GET", "/calls/{Sid}"),
        operation("cancel", "POST", "/jobs/{name}:cancel"),
        operation("odata", "GET", "/Users('{id}')"),
        operation("plain", "POST", "/responses/compact"),
        operation("beta", "POST", "/responses/compact?beta=true"),
        operation("share", "PUT", "/items/{id}#add_link"),
        operation("unshare", "PUT", "/items/{id}#remove_link"),
        operation("root", "GET", "/"),
        operation("folder", "GET", "/folder/"),
        operation("two", "GET", "/x/{a}/{b}"),
        operation("literal_first", "GET", "/x/fixed/{b}"),
        operation("only_beta", "GET", "/y/z?beta=true"),
        operation("y", "GET", "/y/{id}"),
        operation("accent", "GET", "/café/{id}"),
        operation("post_recent", "POST", "/mixed/recent"),
        operation("get_mixed", "GET", "/mixed/{id}"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "query", "names", "values"),
    [
        ("GET", "/t/files", "", ["list"], [()]),
        ("GET", "/t/files/recent", "", ["recent"], [()]),
        ("GET", "/t/files/%72ecent", "", ["recent"], [()]),
        ("GET", "/t/files/7", "", ["get"], [("7",)]),
        ("GET", "/t/files/a%20b", "", ["get"], [("a%20b",)]),
        ("GET", "/t/files/a%2Cb", "", ["get"], [("a%2Cb",)]),
        ("PUT", "/t/files/recent", "", ["put"], [("recent",)]),
        ("GET", "/t/repos/o/compare/main...dev", "", ["compare"], [("o", "main", "dev")]),
        ("GET", "/t/repos/o/compare/v1.0...v2...x", "", ["compare"], [("o", "v1.0", "v2...x")]),
        ("GET", "/t/repos/o/compare/d%C3%A9v%2E..x", "", ["compare"], [("o", "d%C3%A9v", "x")]),
        ("GET", "/t/calls/CA1.json", "", ["json"], [("CA1",)]),
        ("GET", "/t/calls/CA1%2Ejson", "", ["json"], [("CA1",)]),
        ("GET", "/t/calls/CA1", "", ["call"], [("CA1",)]),
        ("GET", "/t/calls/.json", "", ["call"], [(".json",)]),
        ("POST", "/t/jobs/a:cancel", "", ["cancel"], [("a",)]),
        ("POST", "/t/jobs/a%3Acancel", "", ["cancel"], [("a",)]),
        ("GET", "/t/Users('7')", "", ["odata"], [("7",)]),
        ("GET", "/t/Users(%277%27)", "", ["odata"], [("7",)]),
        ("POST", "/t/responses/compact", "", ["plain"], [()]),
        ("POST", "/t/responses/compact", "beta=true", ["beta"], [()]),
        ("POST", "/t/responses/compact", "x=1&beta=%74rue", ["beta"], [()]),
        ("POST", "/t/responses/compact", "beta=false", ["plain"], [()]),
        ("PUT", "/t/items/7", "", ["share", "unshare"], [("7",), ("7",)]),
        ("GET", "/t/", "", ["root"], [()]),
        ("GET", "/t/folder/", "", ["folder"], [()]),
        ("GET", "/t/x/fixed/1", "", ["literal_first"], [("1",)]),
        ("GET", "/t/x/other/1", "", ["two"], [("other", "1")]),
        ("GET", "/t/y/z", "beta=true", ["only_beta"], [()]),
        ("GET", "/t/y/z", "", ["y"], [("z",)]),
        ("GET", "/t/caf%C3%A9/1", "", ["accent"], [("1",)]),
        ("GET", "/t/mixed/recent", "", ["get_mixed"], [("recent",)]),
    ],
)  # fmt: skip
def test_every_odd_path_of_a_document_matches(
    method: str, path: str, query: str, names: list[str], values: list[tuple[str, ...]]
) -> None:
    """Literals beat templates, longer affixes beat shorter, a query in the key beats none; values stay as written."""
    assert (names, values) == found(ODD, method, path, query)


@pytest.mark.parametrize(
    "path",
    ["/t/files/.", "/t/files/..", "/t/files/%2e", "/t/files/%2E%2e", "/t/files/.%2e", "/t//files", "/t/files//", "/t/files/",
     "/t/files/a%2fb", "/t/files/a%5Cb", "/t/files/a\\b", "/t/files/a%00", "/t/files/a%0a", "/t/files/a\n", "/t/files/a#b",
     "/t/files/a?b", "/t/files/%c0%ae", "/t/files/%ff", "/t/files/%zz", "/t/files/%", "/t/files/%u002e", "/t/files/é",
     "/t/files/%E2%80%AE", "/t/files/\x7f", "/t/../t/files", "/T/files", "/t/FILES", "t/files", "", "/", "//t/files", "/t",
     "/t/Files", "/t/files%20", "/t/fo%6Cder", "/t/x/%2e%2e/fixed", "/t/repos/o/compare/...", "/t/repos/o/compare/a..."],
)  # fmt: skip
def test_a_disguised_path_is_refused_not_repaired(path: str) -> None:
    """Attacks B01 to B13: dot segments, encoded slashes, controls, bad escapes, other case: none of them is a match."""
    assert isinstance(ODD.find("GET", path), Absent)


@pytest.mark.parametrize("name", ["t.get", "t__get"])
def test_a_call_by_name_takes_the_key_or_the_models_name(name: str) -> None:
    """Both names of `/-/tools` lead to the operation."""
    assert ODD.operations["t.get"] is ODD.named(name)


@pytest.mark.parametrize(
    "name",
    [
        "t.Get",
        "T.get",
        "t/get",
        "t:get",
        "t.get ",
        "t\u2024get",
        "t.g\u0435t",
        "t.get#v2",
        "\uff54.get",
        "",
        ".",
        "t.get\n",
        "t.get\x00",
        "t..get",
        "t.*",
        "*",
        "t.g\u200bet",
        "t.\ufb01le",
        "T__get",
        "t__GET",
    ],
)
def test_names_are_exact(name: str) -> None:
    """Attacks H01 to H05: homoglyphs, other case, other separators are other names."""
    assert isinstance(ODD.named(name), Absent)


def test_a_way_that_was_given_up_leaves_no_values() -> None:
    """Where the literal way ends in nothing after a template, the values are those of the way that was taken."""
    catalog = Catalog([
        operation("on", "GET", "/x/{id}/deep/on"),
        operation("off", "GET", "/{kind}/{id}/deep/off"),
        operation("posted", "POST", "/x/{id}/deep/off"),
    ])  # fmt: skip
    assert (["on"], [("1",)]) == found(catalog, "GET", "/t/x/1/deep/on")
    assert (["off"], [("x", "1")]) == found(catalog, "GET", "/t/x/1/deep/off")
    assert (["posted"], [("1",)]) == found(catalog, "POST", "/t/x/1/deep/off")
    assert isinstance(catalog.find("GET", "/t/x//deep/off"), Absent)


def slashed(*names: str, plain: Sequence[str] = ()) -> Signature:
    """A signature whose path parameters `names` declare encoded slashes; those of `plain` follow and do not."""
    declared = [parameter(name, "path", {"type": "string"}, allowReserved=True) for name in names]
    others = [parameter(name, "path", {"type": "string"}) for name in plain]
    template = "".join(f"/{{{name}}}" for name in (*names, *plain))
    return signature({"parameters": [*declared, *others]}, template=template)


FILES = Catalog(
    [
        operation("read", "GET", "/files/{path}", made=slashed("path")),
        operation("history", "GET", "/files/{path}/history", made=slashed("path")),
        operation("version", "GET", "/files/{path}@{version}", made=slashed("path", plain=["version"])),
        operation("tree", "GET", "/trees/{tree}", made=slashed(plain=["tree"])),
        operation("edit", "PUT", "/files/{path}#edit", made=slashed("path")),
        operation("move", "PUT", "/files/{path}#move", made=slashed(plain=["path"])),
    ],
    elsewhere=[operation("raw", "GET", "/files/{path}/raw", allowed=False, made=slashed("path"))],
)


@pytest.mark.parametrize(
    ("path", "name", "values"),
    [
        ("/t/files/a%2Fb", "read", ("a%2Fb",)),
        ("/t/files/a%2fb%2Fc.py", "read", ("a%2fb%2Fc.py",)),
        ("/t/files/a%2Fb/history", "history", ("a%2Fb",)),
        ("/t/files/a%2Fb/raw", "raw", ("a%2Fb",)),
        ("/t/files/a%2F%C3%A9@v1", "version", ("a%2F%C3%A9", "v1")),
    ],
)
def test_an_encoded_slash_stands_where_it_is_declared(path: str, name: str, values: tuple[str, ...]) -> None:
    """A value with `allowReserved` is one segment, also in part of a segment; it is handed on as it was written."""
    assert ([name], [values]) == found(FILES, "GET", path)
    assert [name] == [each.id for each in FILES.declaring("GET", path, "")]


@pytest.mark.parametrize(
    "path",
    [
        "/t/trees/a%2Fb", "/t/files/a@v%2F1", "/t/files%2Fa", "/t%2Ffiles/a", "/t/files/a%2Fhistory%2F", "/t/files/a%2F..",
        "/t/files/a%2F%2e%2Fb", "/t/files/%2Fa", "/t/files/a%2F%2Fb", "/t/files/a%2Fb%5C", "/t/files/a%2F..;%2Fb",
    ],
)  # fmt: skip
def test_an_encoded_slash_elsewhere_is_no_match(path: str) -> None:
    """Undeclared, or with empty or dot segments behind it: nothing here is meant by that."""
    assert isinstance(FILES.find("GET", path), Absent)
    assert () == FILES.declaring("GET", path, "")


@pytest.mark.parametrize("path", ["/t/files/a%2Fhistory", "/t/files/a%2Fraw"])
def test_an_encoded_slash_is_no_way_to_another_operation(path: str) -> None:
    """SECURITY: an upstream that decodes early would run an operation with rules of its own."""
    assert isinstance(FILES.find("GET", path), Absent)
    assert () == FILES.declaring("GET", path, "")


def test_twins_must_all_declare_it() -> None:
    """Where one request can mean several operations, one that does not take the slash is not left out of the decision."""
    assert isinstance(FILES.find("PUT", "/t/files/a%2Fb"), Absent)
    assert (["edit", "move"], [("a",), ("a",)]) == found(FILES, "PUT", "/t/files/a")


@pytest.mark.parametrize("path", ["/t/files/a%252Fb", "/t/files/a%2541", "/t/files/a%2Fb%252e", "/t/trees/a%252Fb"])
def test_what_decodes_twice_is_no_match(path: str) -> None:
    """B04: also where an encoded slash may stand."""
    assert isinstance(FILES.find("GET", path), Absent)
    assert () == FILES.declaring("GET", path, "")


def test_head_is_only_what_was_declared() -> None:
    """HEAD of a GET operation is another operation."""
    absent = ODD.find("HEAD", "/t/files")
    assert isinstance(absent, Absent)
    assert ("wrong_method", ("t.list",), ("GET",)) == (absent.kind, absent.near, absent.methods)


WORK = Catalog(
    [
        operation("queryCluster", "POST", "/v1/cluster", tool="metrics"),
        operation("listMetrics", "GET", "/metrics", tool="metrics"),
        operation("removeMetric", "DELETE", "/metrics/{name}", tool="metrics", effect="destructive", allowed=False),
        operation("dropAll", "DELETE", "/v1/all", tool="metrics", effect="destructive"),
        operation("flag", "POST", "/metrics/{name}/flags", tool="metrics", effect="write"),
    ],
    [
        operation("queryClusterV2", "POST", "/v2/cluster", tool="metrics", allowed=False),
        operation("listMetrics", "GET", "/v2/metrics", tool="metrics", allowed=False),
        operation("readAll", "DELETE", "/v2/all", tool="metrics", allowed=False, effect="read"),
        operation("flagIt", "POST", "/metrics/{name}/flag", tool="metrics", allowed=False, effect="write"),
        operation("readFlag", "POST", "/metrics/{name}/flagz", tool="metrics", allowed=False, effect="read"),
        operation("removeMetrics", "DELETE", "/metrics/{name}/", tool="metrics", allowed=False, effect="destructive"),
    ],
)


def test_an_operation_only_others_have_is_found_and_not_allowed() -> None:
    """Story 3: dev's endpoint is known in production, so that the refusal can name it and its replacement."""
    result = WORK.find("POST", "/metrics/v2/cluster")
    assert isinstance(result, Found)
    (elsewhere,) = result.operations
    assert not elsewhere.allowed
    equivalent = WORK.equivalent(elsewhere)
    assert equivalent is not None
    assert "metrics.queryCluster" == equivalent.key
    assert elsewhere is WORK.named("metrics.queryClusterV2")


def test_what_is_here_hides_what_is_elsewhere() -> None:
    """A name that exists here means the operation here, whatever other environments call by it."""
    here = WORK.named("metrics.listMetrics")
    assert isinstance(here, Operation)
    assert here.allowed
    moved = WORK.find("GET", "/metrics/v2/metrics")
    assert isinstance(moved, Found)
    assert here is WORK.equivalent(moved.operations[0])


@pytest.mark.parametrize(
    ("name", "equivalent"),
    [("flagIt", "metrics.flag"), ("readFlag", None), ("readAll", None), ("removeMetrics", None)],
)
def test_an_equivalent_never_does_more_harm(name: str, equivalent: str | None) -> None:
    """A near path is proposed only with no stronger effect, and never for an operation that destroys."""
    asked = next(each for each in WORK.elsewhere if each.id == name)
    proposed = WORK.equivalent(asked)
    assert equivalent == (proposed.key if proposed else None)


def test_a_refused_operation_is_never_proposed() -> None:
    """Did-you-mean names allowed operations only."""
    absent = WORK.named("metrics.removeMetrc")
    assert isinstance(absent, Absent)
    assert "metrics.removeMetric" not in absent.near


@pytest.mark.parametrize(
    ("name", "kind", "near"),
    [
        ("metrics.queryClustr", "unknown_operation", "metrics.queryCluster"),
        ("metrics.list_metrics", "unknown_operation", "metrics.listMetrics"),
        ("metrics__listMetric", "unknown_operation", "metrics.listMetrics"),
        ("metric.listMetrics", "unknown_tool", "metrics.listMetrics"),
    ],
)
def test_a_slip_in_a_name_leads_to_the_right_one(name: str, kind: str, near: str) -> None:
    """Typing errors, snake case, a missing letter in the tool: the near key comes first."""
    absent = WORK.named(name)
    assert isinstance(absent, Absent)
    assert (kind, near) == (absent.kind, absent.near[0])


@pytest.mark.parametrize(
    ("method", "path", "kind", "near"),
    [
        ("POST", "/metrics/v1/clustr", "unknown_operation", "metrics.queryCluster"),
        ("POST", "/metric/v1/cluster", "unknown_tool", "metrics.queryCluster"),
        ("GET", "/metrics/v1/cluster", "wrong_method", "metrics.queryCluster"),
    ],
)
def test_a_slip_in_a_path_leads_to_the_right_one(method: str, path: str, kind: str, near: str) -> None:
    """An unknown path, tool or method is told apart, with the operation that was meant."""
    absent = WORK.find(method, path)
    assert isinstance(absent, Absent)
    assert (kind, near) == (absent.kind, absent.near[0])


def test_the_largest_body_is_that_of_an_allowed_operation() -> None:
    """What a listener may read before the operation is known."""
    assert 1 << 20 == ODD.max_body
    assert 0 == Catalog([operation("a", "GET", "/a", allowed=False)]).max_body
    assert 0 == Catalog([]).max_body


@pytest.mark.parametrize(
    "template", ["files", "/a//b", "/a/../b", "/a/./b", "/a\\b", "/{a", "/a}", "/a?x={y}", "/a/%2e%2e/b", "/a\x00"]
)
def test_a_key_no_request_could_mean_is_told(template: str) -> None:
    """A path key that is not canonical, or has braces without partners, is a sentence and not a match."""
    with pytest.raises(ValueError, match="the path"):
        parse_key(template)


_TEXT = st.text(alphabet="abt.%/\\#?&=:{}'2eEfF\x00é", max_size=24)


@given(st.sampled_from(["GET", "POST", "PUT", "X"]), _TEXT, _TEXT)
def test_any_request_gets_a_typed_answer(method: str, path: str, query: str) -> None:
    """Totality: Found or Absent, never an exception, whatever the bytes."""
    for each in (path, f"/t/{path}", f"/t/files/{path}"):
        assert isinstance(ODD.find(method, each, query), (Found, Absent))
    assert isinstance(ODD.named(path), (Operation, Absent))


@given(st.text(alphabet="ab.-_~:%41", min_size=1, max_size=8), st.text(alphabet="ab-_~", min_size=1, max_size=8))
def test_the_values_put_back_into_the_template_are_the_path(base: str, head: str) -> None:
    """What is handed on is the path as it was written, taken apart at the template's own texts."""
    path = f"/t/repos/o/compare/{base}...{head}"
    result = ODD.find("GET", path)
    if isinstance(result, Found):
        owner, first, second = result.path_values[0]
        assert path in (f"/t/repos/{owner}/compare/{first}{dots}{second}" for dots in ("...",))


@given(st.sampled_from(["files", "repos", "calls", "v1"]), st.from_regex(r"[a-z0-9.:]{1,9}", fullmatch=True))
def test_a_plain_path_means_what_it_means_written_otherwise(head: str, last: str) -> None:
    """A path is found by its last segment, or walked where a character is encoded: the same operations either way."""
    plain, encoded = (ODD.find("GET", f"/t/{head}/{each}") for each in (last, f"%{ord(last[0]):02X}{last[1:]}"))

    assert type(encoded) is type(plain)
    if isinstance(plain, Found) and isinstance(encoded, Found):
        assert encoded.operations == plain.operations


def test_hits_do_not_follow_the_number_of_operations() -> None:
    """A literal path is one lookup, and a template is as deep as its path, with ten thousand operations or ten."""
    many = Catalog([operation(f"op{at}", "GET", f"/things{at}/{{id}}") for at in range(2_000)])
    assert (["op1999"], [("7",)]) == found(many, "GET", "/t/things1999/7")
    absent = many.find("GET", "/t/thingz1234/7")
    assert isinstance(absent, Absent)
    assert len(absent.near) <= 3
