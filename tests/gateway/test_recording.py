"""What a `Decided` keeps of a call: enough to decide it again, and nothing that is marked as secret."""

from __future__ import annotations

import orjson
import pytest

from toolgate.core.events import unsealed
from toolgate.core.mask import mask_key
from toolgate.core.model import Named, Principal, Wire

SECRET = "hunter2hunter2"
KEY = mask_key(b"k" * 32)  # the one `outside` masks with
JSON = {"content-type": "application/json"}
LONG = b"x" * 5000


def wire(method: str, path: str, query: str = "", body: bytes = b"", **headers: str) -> Wire:
    return Wire(method, path, query, {**JSON, **{name.replace("_", "-"): text for name, text in headers.items()}}, body)


SIGN_IN = b'{"account": "ann", "password": "hunter2hunter2"}'
REFUSED = {
    "a field is wrong": wire("POST", "/shop/sign-in", body=SIGN_IN.replace(b"account", b"acount")),
    "the body cannot be read": wire("POST", "/shop/sign-in", body=SIGN_IN[:-1]),
    "the body is of another media type": wire(
        "POST", "/shop/sign-in", body=b"password=hunter2hunter2", content_type="application/x-www-form-urlencoded"
    ),
    "an unknown query field": wire("POST", "/shop/sign-in", "password=hunter2hunter2", SIGN_IN),
    "a resource that is not there": wire("POST", "/shop/sign-in", body=SIGN_IN.replace(b"ann", b"bob")),
    "no such operation": wire("POST", "/shop/signin", "password=hunter2hunter2", SIGN_IN),
    "by name, beside its place": Named("shop.signIn", {"password": SECRET}),
    "in the path": wire("GET", f"/shop/shared/{SECRET}", "n=x"),
}


@pytest.mark.parametrize("asked", REFUSED.values(), ids=REFUSED.keys())
async def test_a_refused_call_shows_no_secret_and_loses_nothing(outside, asked):
    """What is marked as secret is masked in refusals too, wherever the agent put it; the key brings it back."""
    await outside.gateway.handle(outside.gateway.new_call(Principal("agent"), asked))
    decided = outside.ledger.events[0].data

    assert decided["decision"] == "refuse"
    assert SECRET not in orjson.dumps(decided).decode()
    assert SECRET in orjson.dumps(unsealed(decided, KEY)).decode()


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (
            wire("POST", "/shop/signin", body=SIGN_IN),
            {"method": "POST", "path": "/shop/signin", "body_bytes": len(SIGN_IN)},
        ),
        (Named("shop.signin", {"body": {"password": SECRET}}), {"asked": {"operation": "shop.signin"}}),
    ],
)
async def test_what_no_operation_declares_is_not_kept(outside, asked, kept):
    """Nobody knows what it holds, and the decision did not read it: the line and the size are enough."""
    await outside.gateway.handle(outside.gateway.new_call(Principal("agent"), asked))
    decided = outside.ledger.events[0].data

    assert decided["code"] == "tool.unknown"
    assert {name: decided[name] for name in kept} == kept
    assert "sealed" not in decided
    assert not decided.keys() & {"body", "arguments", "headers"}


async def test_a_refused_call_without_secrets_is_kept_as_it_came(outside):
    """Promise 6: where the arguments did not fit, what the decision read is in the journal, byte for byte."""
    await outside.gateway.handle(
        outside.gateway.new_call(Principal("agent"), wire("PUT", "/shop/items/a1", "x=1", b'{"a": }'))
    )
    decided = outside.ledger.events[0].data

    assert [decided[name] for name in ("method", "path", "query", "content_type", "body")] == [
        "PUT", "/shop/items/a1", "x=1", "application/json", '{"a": }',
    ]  # fmt: skip
    assert "sealed" not in decided


async def test_a_disallowed_call_is_kept_whole(outside):
    """Another bundle may allow it: what the agent wanted to do is in the journal, not only that it was refused."""
    asked = wire("DELETE", "/shop/items/a1", body=b'{"why": "looks deprecated"}')

    await outside.gateway.handle(outside.gateway.new_call(Principal("agent"), asked))
    decided = outside.ledger.events[0].data

    assert [decided["code"], decided["path"]] == ["tool.disallowed", "/shop/items/a1"]
    assert decided["body"] == '{"why": "looks deprecated"}'


async def test_what_is_too_long_to_be_kept_is_masked_all_the_same(outside):
    """A megabyte that no line could hold is not sealed either; its digest stays."""
    body = orjson.dumps({"account": "ann", "password": SECRET * 70_000})

    await outside.gateway.handle(
        outside.gateway.new_call(Principal("agent"), wire("POST", "/shop/sign-in", "x=1", body))
    )
    decided = outside.ledger.events[0].data

    assert decided["body"].keys() == {"$masked"}
    assert "sealed" not in decided


async def test_declared_headers_and_cookies_are_kept_with_a_refusal(outside):
    """A header that did not fit is part of what was judged; what the operation does not declare is not kept."""
    asked = wire("POST", "/shop/sign-in", body=SIGN_IN, x_attempt="one", cookie="seen=maybe", x_other="1")

    await outside.gateway.handle(outside.gateway.new_call(Principal("agent"), asked))

    assert unsealed(outside.ledger.events[0].data, KEY)["headers"] == {"cookie": "seen=maybe", "x-attempt": "one"}


async def test_a_refusal_after_the_arguments_keeps_them_as_a_permit_does(outside):
    """A call that was refused for what exists is told by its arguments: the same object policies will see."""
    await outside.gateway.handle(outside.call("shop.signIn", body={"account": "bob", "password": SECRET}))
    decided = outside.ledger.events[0].data

    assert decided["code"] == "environment.resource_not_found"
    assert decided["arguments"]["body"]["account"] == "bob"
    assert decided["arguments"]["body"]["password"].keys() == {"$masked"}
    assert unsealed(decided, KEY)["arguments"] == {"body": {"account": "bob", "password": SECRET}}


async def test_another_key_opens_nothing(outside):
    """A journal without its key stays closed, and says so."""
    await outside.gateway.handle(outside.call("shop.signIn", body={"account": "bob", "password": SECRET}))

    with pytest.raises(ValueError, match=r"cannot be opened with this `keys\.mask`"):
        unsealed(outside.ledger.events[0].data, mask_key(b"o" * 32))


@pytest.mark.parametrize(
    ("content_type", "body", "kept"),
    [
        ("application/json", b'{ "a": [1, "caf\\u00e9"], "b": 1.50 }', {"a": [1, "café"], "b": 1.5}),
        ("application/json; charset=utf-8", b'{"a": "%b"}' % LONG, {"a": LONG.decode()}),
        ("application/x-www-form-urlencoded", b"a=1", {"a": 1}),
        ("application/x-www-form-urlencoded", b"a%b=1" % LONG, {f"a{LONG.decode()}": 1}),
    ],
)
async def test_a_permitted_call_is_kept_by_its_arguments(outside, content_type, body, kept):
    """Promise 6: however the body came, and in whatever form it is sent, its decoded value is in the journal."""
    asked = wire("PUT", "/shop/items/a1", body=body, content_type=content_type)
    await outside.gateway.handle(outside.gateway.new_call(Principal("agent"), asked))
    decided = orjson.loads(orjson.dumps(outside.ledger.events[0].data))

    assert decided["decision"] == "permit"
    assert decided["arguments"] == {"id": "a1", "body": kept}


async def test_bytes_that_are_not_decoded_are_kept_by_size_and_digest(outside):
    """Nothing that was not read as JSON stands in the journal as JSON."""
    asked = wire("PUT", "/shop/items/a1", body=b'{"a":' + LONG, content_type="application/x-broken+xml")
    await outside.gateway.handle(outside.gateway.new_call(Principal("agent"), asked))
    decided = orjson.loads(orjson.dumps(outside.ledger.events[0].data))

    assert decided["arguments"]["body"]["size"] == len(asked.body)
