"""Requests that are remembered: exactly the same one, and never more of them than there is room for."""

from __future__ import annotations

import tracemalloc

import pytest

from toolgate.core import engine, strictjson
from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Catalog
from toolgate.core.codes import CODES
from toolgate.core.judgements import Fitting, Judgements
from toolgate.core.model import (
    EVERYTHING,
    Call,
    Facts,
    Freeze,
    Principal,
    Recovery,
    Refusal,
    UpstreamRequest,
    Wire,
)


def refusal(detail: str) -> Refusal:
    code = CODES["tool.unknown"]
    return Refusal(code, detail, Recovery(code.action, code.hint), stage="tool")


def wire(path: str = "/shop/items", *, method: str = "GET", query: str = "", body: bytes = b"") -> Wire:
    return Wire(method, path, query, {"content-type": "application/json"}, body)


def test_where_no_operation_is_nothing_else_is_read():
    """What no operation is meant by stays so whatever is sent there, and only there."""
    memory, said = Judgements(), refusal("no such thing")
    memory.keep_unknown(wire(), said)

    assert said is memory.get(wire(body=b"{}"))
    assert [None] * 3 == [memory.get(wire("/shop/item")), memory.get(wire(method="PUT")), memory.get(wire(query="a=1"))]


def test_of_an_operation_the_body_is_read_too():
    """Arguments that were refused are not those that come next."""
    memory, said = Judgements(), refusal("wrong")
    memory.keep(wire(body=b"{}"), said)

    assert said is memory.get(wire(body=b"{}"))
    assert memory.get(wire(body=b"[]")) is None


@pytest.mark.parametrize("keep", ["keep", "keep_unknown"])
def test_no_caller_makes_it_grow(keep: str):
    """It is bounded in number and size: a storm of different requests forgets the earlier ones."""
    memory, said = Judgements(), refusal("wrong")
    asked = [wire(f"/shop/{number}" + "a" * 1900) for number in range(1000)]
    for each in [*asked, wire("/" + "a" * 9000)]:
        getattr(memory, keep)(each, said)

    assert 0 < sum(memory.get(each) is said for each in asked) <= 512
    assert memory.get(wire("/" + "a" * 9000)) is None


@pytest.mark.parametrize("element", [b"{}", b"[]", b"1.5", b'{"a":1}', b'"ab"', b"[ ]"])
def test_what_is_remembered_takes_no_more_than_it_is_weighed(element: bytes):
    """SECURITY: a body may take many times its length once it is decoded, and what an encoder wrote lies in still more."""
    memory, elements = Judgements(), b",".join([element] * (8000 // (len(element) + 1)))
    tracemalloc.start()
    for number in range(100):
        asked = wire(body=b"[%d,%b]" % (number, elements))
        value, written = strictjson.read(asked.body)
        sent = UpstreamRequest("POST", "/x", (), written)
        memory.keep(asked, Fitting(None, {"body": value}, sent))  # type: ignore[arg-type]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert memory.get(asked) is not None
    assert taken < 10 * (1 << 20)


def test_headers_that_say_what_a_body_is_are_part_of_the_request():
    """The same bytes as something else are judged as something else."""
    memory, said = Judgements(), refusal("wrong")
    memory.keep(wire(body=b"{}"), said)

    assert memory.get(wire(body=b"{}")._replace(headers={"content-type": "text/plain"})) is None


def test_the_kill_switch_comes_before_what_is_remembered():
    """The order of precedence holds for a repeated mistake as for the first one."""
    bundle = Bundle("r", "prod", ("prod",), Catalog([]), {})
    call = Call("c1", 0, Principal("agent"), wire())
    first, again = (engine.check(call, Facts(), bundle) for _ in range(2))
    closed = engine.check(call, Facts(freezes={EVERYTHING: Freeze("carol", "alarm", 0)}), bundle)

    assert first is again
    assert ("tool.unknown", "gateway.frozen") == (again.code.code, closed.code.code)
