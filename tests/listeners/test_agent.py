"""The agent's own API, over HTTP, in front of a real gateway (DESIGN §13, §14)."""

from __future__ import annotations

from pathlib import Path

import jsonschema_rs
import pytest
from tests.listeners.served import Served, Told, serving, serving_bundle, write_shop

from toolgate.core.codes import CODES
from toolgate.core.model import Reply, ResourceCatalogue, Situation
from toolgate.load.bundle import Sources, load

KEYS = [
    "type", "title", "status", "detail", "instance", "call", "code", "environment", "retryable", "sent", "recovery",
    "violations", "statements", "revision",
]  # fmt: skip


async def test_a_call_by_url_passes(served: Served) -> None:
    """What the upstream answered is the answer, marked as the upstream's, with the id of the call."""
    served.upstream.reply = Reply(201, (("content-type", "application/json"), ("etag", '"1"')), b'{"id":"a"}')
    told = await served.ask("GET", "/shop/items/hammer", headers={"Authorization": "Bearer sdk"})
    assert (told.status, told.body) == (201, b'{"id":"a"}')
    assert (told.headers["Toolgate-Source"], told.headers["etag"]) == ("upstream", '"1"')
    assert served.upstream.sent[0].valid.call.id == told.headers["Toolgate-Call"]


async def test_the_problem_is_the_published_format(served: Served) -> None:
    """Every member of DESIGN §13, in its order, and no other."""
    told = await served.ask("DELETE", "/shop/items/hammer")
    problem = told.json
    assert list(problem) == KEYS
    assert list(problem["recovery"]) == ["action", "hint", "alternatives"]
    assert told.headers["Content-Type"] == "application/problem+json"
    assert (told.status, problem["code"], problem["title"]) == (403, "tool.disallowed", "DisallowedToolError")
    assert problem["detail"] == "`shop.deleteItem` cannot be used in production"
    assert problem["instance"] == f"urn:toolgate:call:{told.headers['Toolgate-Call']}"
    assert (problem["environment"], problem["sent"], problem["retryable"]) == ("prod", "no", False)
    assert problem["revision"] == served.gateway.bundle.revision


async def test_a_call_by_name_is_the_same_call(served: Served) -> None:
    """`/-/call` takes the operation's key or the model's name, and answers what the URL would answer."""
    for who in ({"operation": "shop.getItem"}, {"name": "shop__getItem"}):
        told = await served.ask("POST", "/-/call", json={**who, "arguments": {"id": "nail"}})
        assert (told.status, told.headers["Toolgate-Source"]) == (200, "upstream")
    assert [permit.valid.request.target for permit in served.upstream.sent] == ["/items/nail"] * 2
    by_name = await served.ask("POST", "/-/call", json={"operation": "shop.getItem", "arguments": {"id": "a" * 10}})
    by_url = await served.ask("GET", "/shop/items/" + "a" * 10)
    assert by_name.json["violations"] == by_url.json["violations"] != []


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (b"[]", "arguments.invalid", ""),
        (b'{"arguments":{}}', "arguments.invalid", "/operation"),
        (b'{"operation":"a","name":"b"}', "arguments.invalid", "/operation"),
        (b'{"operation":1}', "arguments.invalid", "/operation"),
        (b'{"operation":"shop.getItem","arguments":[]}', "arguments.invalid", "/arguments"),
        (b'{"operation":"shop.getItem","argumens":{}}', "arguments.invalid", "/argumens"),
        (b'{"operation":"shop.getItem","arguments":"[]"}', "arguments.invalid", "/arguments"),
        (b'{"operation":"shop.getItem","arguments":""}', "arguments.malformed", None),
        (
            b'{"operation":"shop.getItem","arguments":"{\\"id\\":\\"a\\",\\"id\\":\\"b\\"}"}',
            "arguments.malformed",
            None,
        ),
        (b'{"operation":"shop.getItem","operation":"shop.putItem"}', "arguments.malformed", None),
        (b'{"operation":"shop.getItem","arguments":{"id":NaN}}', "arguments.malformed", None),
        (b"", "arguments.malformed", None),
        (b"\xff", "arguments.malformed", None),
    ],
)
async def test_a_call_by_name_is_read_strictly(served: Served, body: bytes, code: str, path: str | None) -> None:
    """A body that could be read two ways is not read at all; what is wrong is named by its pointer."""
    for line in ("/-/call", "/-/explain"):
        told = await served.ask("POST", line, data=body, headers={"Content-Type": "application/json"})
        assert told.json["code"] == code
        assert [violation["path"] for violation in told.json["violations"]] == ([] if path is None else [path])
    assert served.upstream.sent == []


async def test_what_is_asked_of_the_gate_itself_is_logged_as_that(served: Served) -> None:
    """A refusal of the gate's own API is no refusal of the wire."""
    await served.ask("POST", "/-/call", data=b"{}", headers={"Content-Type": "application/json"})
    assert ["own_request_refused"] == [event for event, _ in served.log.lines]


async def test_a_models_function_call_is_taken_as_it_is(served: Served) -> None:
    """OpenAI's wire hands the arguments over as the text of an object; it is the same call, read as strictly."""
    told = await served.ask("POST", "/-/call", json={"name": "shop__getItem", "arguments": '{"id": "nail"}'})
    assert (told.status, told.headers["Toolgate-Source"]) == (200, "upstream")
    assert [permit.valid.request.target for permit in served.upstream.sent] == ["/items/nail"]


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("Toolgate-Reasn", "x", "Write `toolgate-reason`, or remove the header."),
        ("Toolgate-Mock", "off", "Remove the named header and send the call again."),
        ("Toolgate-Reason", "x" * 513, "Shorten the reason."),
    ],
)
async def test_a_header_of_ours_that_cannot_be_taken_says_what_to_do(
    served: Served, name: str, value: str, hint: str
) -> None:
    """A misspelt one names the one that was meant."""
    told = await served.ask("GET", "/shop/items/nail", headers={name: value})
    assert (told.json["code"], told.json["recovery"]["hint"]) == ("request.header", hint)


@pytest.mark.parametrize("content_type", ["text/plain", "application/jsonp", "application/json-patch+json"])
async def test_a_call_by_name_is_json(served: Served, content_type: str) -> None:
    """K03, D03: nothing a form on a page could send is a call."""
    told = await served.ask("POST", "/-/call", data=b"{}", headers={"Content-Type": content_type})
    assert told.json["code"] == "arguments.media_type"


async def test_explain_decides_and_sends_nothing(served: Served) -> None:
    """Stage by stage; a permit says so, a refusal is the problem the call would get."""
    passed = await served.ask("POST", "/-/explain", json={"operation": "shop.getItem", "arguments": {"id": "a"}})
    assert passed.json["decision"] == {"permit": True}
    assert {stage["result"] for stage in passed.json["stages"]} == {"passed"}
    refused = await served.ask("POST", "/-/explain", json={"operation": "shop.deleteItem", "arguments": {"id": "a"}})
    assert (refused.status, refused.json["decision"]["code"]) == (200, "tool.disallowed")
    assert list(refused.json["stages"][0]) == ["stage", "result", "reason", "statements"]
    assert "refused" in {stage["result"] for stage in refused.json["stages"]}
    assert served.upstream.sent == []


async def test_explain_tells_an_agent_of_what_its_arguments_decide_only(tmp_path: Path) -> None:
    """SECURITY: which role would be permitted is for operators; a condition on an argument is the agent's own."""
    toolspecs, policies = write_shop(tmp_path), tmp_path / "policies"
    policies.mkdir()
    (policies / "shop.cedar").write_text(
        '@id("clerks") permit (principal in Role::"secret", action, resource);\n'
        '@id("nails") permit (principal, action, resource) when { context.args.id == "nail" };\n'
    )
    async with serving_bundle(load(Sources(toolspecs, policies, "prod", ("dev", "prod")))) as served:
        told = await served.ask("POST", "/-/explain", json={"operation": "shop.getItem", "arguments": {"id": "a"}})

    assert b"secret" not in told.body
    assert ["nails"] == [miss["statement"] for stage in told.json["stages"] for miss in stage.get("near_misses", ())]


async def test_tools_lists_what_is_allowed(served: Served) -> None:
    """Unlisted is refused here, and refused here is unlisted; each entry can be called as it says."""
    told = (await served.ask("GET", "/-/tools")).json
    assert (told["environment"], told["revision"]) == ("prod", served.gateway.bundle.revision)
    assert [tool["operation"] for tool in told["tools"]] == ["shop.getItem", "shop.putItem"]
    assert list(told["tools"][0]) == [
        "operation", "name", "method", "path", "effect", "description", "arguments", "requires_approval",
    ]  # fmt: skip
    tool = told["tools"][0]
    assert (tool["name"], tool["method"], tool["path"], tool["effect"]) == (
        "shop__getItem", "GET", "/shop/items/{id}", "read",
    )  # fmt: skip
    jsonschema_rs.Draft202012Validator(tool["arguments"]).validate({"id": "a"})


@pytest.mark.parametrize(
    ("shape", "schema", "keys"),
    [
        ("openai", ("function", "parameters"), ["type", "function"]),
        ("anthropic", ("input_schema",), ["name", "description", "input_schema"]),
        ("mcp", ("inputSchema",), ["name", "description", "inputSchema", "annotations"]),
    ],
)
async def test_tools_in_other_shapes(served: Served, shape: str, schema: tuple[str, ...], keys: list[str]) -> None:
    """Each maker's own shape, with the same arguments."""
    ours = (await served.ask("GET", "/-/tools")).json["tools"]
    told = (await served.ask("GET", f"/-/tools?format={shape}")).json
    assert list(told) == ["tools"]
    assert list(told["tools"][0]) == keys
    shown = told["tools"][0]
    for key in schema:
        shown = shown[key]
    assert shown == ours[0]["arguments"]


async def test_tools_are_rendered_once_per_bundle(served: Served) -> None:
    """The same bytes until the bundle changes, then those of the new one."""
    first = await served.ask("GET", "/-/tools")
    assert (await served.ask("GET", "/-/tools")).body == first.body
    told = await served.ask("GET", "/-/tools?format=opneai")
    assert told.json["violations"][0]["suggestion"] == "openai"
    assert (await served.ask("GET", "/-/tools?fromat=mcp")).json["violations"][0]["suggestion"] == "format"


async def test_environment_says_where_the_agent_is(served: Served) -> None:
    """Which environment, which tools, which resources."""
    told = (await served.ask("GET", "/-/environment")).json
    assert list(told) == [
        "environment", "revision", "mode", "policy", "tools", "resources", "expectations",
    ]  # fmt: skip
    assert told["tools"] == [{"tool": "shop", "title": "The shop", "operations": 2}]
    assert told["resources"] == {"Item": {"count": 2, "sample": ["hammer", "nail"], "fresh_at": None}}


async def test_environment_says_what_was_read_live_and_which_tool_must_wait(served: Served) -> None:
    """As fresh as its last reading; what is not known any more is not shown, and its tool says why."""
    live = ResourceCatalogue("Nail", {"n1": {"long": True}}, 1_700_000_000_123)
    served.gateway.situation = Situation({"shop": {"Nail": live}}, {"shop": "a reason"})
    told = (await served.ask("GET", "/-/environment")).json
    assert told["resources"]["Nail"] == {"count": 1, "sample": ["n1"], "fresh_at": "2023-11-14T22:13:20.123Z"}
    assert told["tools"] == [{"tool": "shop", "title": "The shop", "operations": 2, "not_ready": "a reason"}]


async def test_own_paths(served: Served) -> None:
    """What is not there is `tool.unknown` with what is; a wrong method is too; HEAD is GET without its body."""
    told = await served.ask("GET", "/-/tols")
    assert (told.json["code"], told.json["recovery"]["hint"]) == ("tool.unknown", "Use GET /-/tools instead.")
    assert (await served.ask("GET", "/-/call")).json["code"] == "tool.unknown"
    assert (await served.ask("GET", "/-/journal")).json["code"] == "tool.unknown"
    head, get = await served.ask("HEAD", "/-/tools"), await served.ask("GET", "/-/tools")
    assert (head.body, head.headers["Content-Length"]) == (b"", str(len(get.body)))
    assert (await served.ask("GET", "/-/live")).status == 200


async def test_ready_says_why_not(served: Served) -> None:
    """Ready with the bundle's revision; 503 with the reason when draining."""
    told = await served.ask("GET", "/-/ready")
    assert (told.status, told.json) == (
        200,
        {"bundle": {"revision": served.gateway.bundle.revision, "last_error": None}},
    )
    served.health.draining = True
    told = await served.ask("GET", "/-/ready", door="health")
    assert (told.status, told.json["reason"]) == (503, "the gate is shutting down")


async def test_the_own_document_describes_what_is_answered(served: Served) -> None:
    """The OpenAPI document of our own API: every path answers, every code is in it, and it loads as a toolspec would."""
    document = (await served.ask("GET", "/-/openapi.json")).json
    for path, methods in document["paths"].items():
        for method in methods:
            told = await served.ask(method.upper(), path, json={} if method == "post" else None)
            assert told.status != 404, path
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == list(CODES)
    problem = (await served.ask("GET", "/nothing/here")).json
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    jsonschema_rs.Draft202012Validator(schema).validate(problem)


async def test_hidden_refusals_are_the_same_bytes(tmp_path: Path) -> None:
    """`disclosure: hide`: unknown and disallowed cannot be told apart, by URL, by name, or by explaining: nor by status or headers."""
    async with serving(tmp_path, "hide") as served:
        by_url = [await served.ask("DELETE", path) for path in ("/shop/items/a", "/shop/nothing", "/nope/x")]
        named = [{"operation": name, "arguments": {}} for name in ("shop.deleteItem", "shop.nothing", "x")]
        by_name = [await served.ask("POST", "/-/call", json=asked) for asked in named]
        explained = [await served.ask("POST", "/-/explain", json=asked) for asked in named]
        for told in (by_url, by_name, explained):
            assert len({as_told(each) for each in told}) == 1
        assert by_url[0].json["code"] == "tool.unknown"


def as_told(told: Told) -> tuple[object, ...]:
    """Everything an agent is told, but for the id of the call."""
    call = told.headers["Toolgate-Call"]
    headers = sorted((name, value.replace(call, "ID")) for name, value in told.headers.items())
    return told.status, tuple(headers), told.body.replace(call.encode(), b"ID")


async def test_the_reason_reaches_the_journal(served: Served) -> None:
    """`Toolgate-Reason` is what the agent said it calls this for."""
    await served.ask("GET", "/shop/items/a", headers={"Toolgate-Reason": "metric appears outdated"})
    told = (await served.ask("GET", "/-/journal?kind=Decided", door="admin")).json
    assert told["events"][0]["event"]["reason"] == "metric appears outdated"
