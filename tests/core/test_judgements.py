"""Requests that are remembered: exactly the same one, and never more of them than there is room for."""

from __future__ import annotations

import pytest

from toolgate.core import engine
from toolgate.core.bundle import Bundle
from toolgate.core.catalog import Catalog
from toolgate.core.codes import CODES
from toolgate.core.judgements import Judgements
from toolgate.core.model import EVERYTHING, Call, Facts, Freeze, Principal, Recovery, Refusal, Wire


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

    assert 0 < sum(memory.get(each) is said for each in asked) <= 128
    assert memory.get(wire("/" + "a" * 9000)) is None


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
