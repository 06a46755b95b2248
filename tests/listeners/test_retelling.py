"""A refusal that comes again is told as the first time, but for the id of the call."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from tests.listeners.served import Served

from toolgate.core.bundle import Bundle
from toolgate.core.codes import CODES
from toolgate.core.model import Charge, Known, Recovery, Refusal, Refused
from toolgate.core.quota import Rule, Standing, Told
from toolgate.listeners.problem import render
from toolgate.listeners.retelling import Retelling

IDS = [f"01ARZ3NDEKTSV4RRFFQ69G5F{number}" for number in range(10, 16)]


def bundle(revision: str) -> Bundle:
    return cast("Bundle", SimpleNamespace(environment="prod", revision=revision))


def refusal(detail: str = "no `x`", **more: Any) -> Refusal:
    code = CODES["tool.unknown"]
    return Refusal(code, detail, Recovery(code.action, code.hint, **more), stage="tool")


def test_the_bytes_are_those_of_the_first_time():
    """Whatever a refusal holds, its repetition differs in nothing but the id."""
    retelling, here = Retelling(), bundle("r1")
    for each in (refusal(), refusal('ünïcode " \\ \n'), refusal(alternatives=("a.b",), retry_after_s=2.5)):
        for call_id in IDS:
            assert render(Refused(each), call_id, here) == retelling.render(
                Refused(each), call_id, here, bodiless=False
            )


def test_an_id_in_an_agents_words_stays_what_it_was():
    """SECURITY: a text that holds the id of a call is no place for the id of another."""
    retelling, here, each = Retelling(), bundle("r1"), refusal(f"`{IDS[1]}` is not known")
    for call_id in IDS:
        assert render(Refused(each), call_id, here) == retelling.render(Refused(each), call_id, here, bodiless=False)


def test_ids_may_be_of_any_length():
    """The Content-Length is that of the body, also where the ids before were shorter."""
    retelling, here, each = Retelling(), bundle("r1"), refusal()
    for call_id in ("c8", "c9", "c10", "c11", "c100"):
        assert render(Refused(each), call_id, here) == retelling.render(Refused(each), call_id, here, bodiless=False)


def test_another_bundle_is_named():
    """A reload changes the revision that an answer names, at once."""
    retelling, each = Retelling(), refusal()
    for here in (bundle("r1"), bundle("r2"), bundle("r1")):
        for call_id in IDS:
            assert render(Refused(each), call_id, here) == retelling.render(
                Refused(each), call_id, here, bodiless=False
            )


def test_what_is_left_and_a_head_are_told_each_time():
    """Neither is a part of the refusal."""
    retelling, here, each = Retelling(), bundle("r1"), refusal()
    told = Told(((Rule("calls", "requests", 5), Charge("b:calls", 1, 5)),))
    for left in (5, 4):
        refused = Refused(each, Standing(told, Known({"b:calls": 5 - left}), 0))
        assert render(refused, IDS[left], here) == retelling.render(refused, IDS[left], here, bodiless=False)
        assert b"" == cast("Any", retelling.render(Refused(each), IDS[left], here, bodiless=True)).body
        assert render(Refused(each), IDS[left], here) == retelling.render(
            Refused(each), IDS[left], here, bodiless=False
        )


def test_a_storm_of_refusals_forgets_the_earlier_ones():
    """No caller makes it grow; what was forgotten is rendered."""
    retelling, here = Retelling(), bundle("r1")
    storm = [refusal(f"no `{number}`") for number in range(500)]
    for _ in range(3):
        for each in storm:
            assert render(Refused(each), IDS[0], here) == retelling.render(Refused(each), IDS[0], here, bodiless=False)


async def test_over_http_a_repeated_mistake_has_an_id_of_its_own(served: Served) -> None:
    """The same problem four times, and four calls in the journal."""
    told = [await served.ask("GET", "/shop/itemz") for _ in range(4)]
    ids = [each.headers["Toolgate-Call"] for each in told]

    assert len(set(ids)) == len(ids)
    assert ids == [each.json["call"] for each in told]
    assert [f"urn:toolgate:call:{each}" for each in ids] == [each.json["instance"] for each in told]
    assert 1 == len({(each.status, each.json["detail"], each.json["recovery"]["hint"]) for each in told})
