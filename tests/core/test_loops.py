"""Going round in circles, and the kill switch: what a refusal brings with it, and what is refused before anything else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.spending import ANN, NOW_MS, bundle, call, costing

from toolgate.core import engine, freeze
from toolgate.core.bundle import Bundle
from toolgate.core.codes import CODES
from toolgate.core.loop import TOGETHER_MS, Loops, again, call_digest, signature_of
from toolgate.core.model import (
    EVERYTHING,
    OWN,
    Call,
    Charge,
    Facts,
    Freeze,
    Known,
    LoopFacts,
    Named,
    OpenedRun,
    Permit,
    Principal,
    Recovery,
    Refusal,
    RunFacts,
    Violation,
    Wire,
)

QUERY = costing("metrics.query")
LOOPS = Loops(identical_refusals=3, denied_attempts=20)
DENIED = Refusal(
    CODES["policy.denied"],
    "`metrics.query` is blocked: no",
    Recovery("use_alternative", "Ask for less, then flag it with metrics.flag.", ("metrics.flag",)),
    stage="policy",
    statements=("stay",),
    operation=QUERY,
)
RUN = RunFacts("run_1", started_ms=NOW_MS)
ATTEMPT = Charge("l:denied_attempts:run_1", 1, 20)
WHY = Freeze("carol", "billing  alarm\n14", NOW_MS)


def after(repeats: int, attempts: int = 0, refusal: Refusal = DENIED) -> Facts:
    """The same refusal came so often in a row, and so many were refused in all."""
    return Facts(Known({ATTEMPT.key: attempts}), RUN, loops=LoopFacts(signature_of(refusal), repeats))


def by(loops: Loops = LOOPS, **changes: Any) -> Bundle:
    return replace(bundle([QUERY], loops=loops), **changes)


def test_the_first_refusal_is_told_as_it_is() -> None:
    """It is counted as a denied attempt, and has a signature."""
    came = engine.consequence(call(QUERY).call, DENIED, Facts(run=RUN), by())

    assert (DENIED, signature_of(DENIED), (ATTEMPT,), None) == came


def test_the_second_time_the_hint_is_shorter_and_firmer() -> None:
    """It says what comes next, and keeps what may be used instead."""
    came = engine.consequence(call(QUERY).call, DENIED, after(1), by())

    assert "Stop repeating this: once more stops the run. Use `metrics.flag`." == came.refusal.recovery.hint
    assert ("policy.denied", ("metrics.flag",), None) == (
        came.refusal.code.code, came.refusal.recovery.alternatives, came.stop,
    )  # fmt: skip
    assert {"loop": {"refusal": "policy.denied", "repeats": 2}} == came.refusal.read
    more = engine.consequence(call(QUERY).call, DENIED, after(1), by(Loops(identical_refusals=5)))
    assert "Stop repeating this: 3 more times stop the run. Use `metrics.flag`." == more.refusal.recovery.hint


def test_the_third_time_the_run_is_stopped() -> None:
    """With a code of its own; what was refused stands beside it."""
    came = engine.consequence(call(QUERY).call, DENIED, after(2), by())

    assert ("loop.repeated_refusal", "LoopDetected", "stop", "loops") == (
        came.refusal.code.code, came.refusal.code.title, came.refusal.recovery.action, came.refusal.stage,
    )  # fmt: skip
    assert "the same refusal 3 times in a row: `policy.denied` for `metrics.query`" == came.stop
    assert f"{came.stop}; the run is stopped" == came.refusal.detail
    assert {"loop": {"refusal": "policy.denied", "repeats": 3}} == came.refusal.read
    assert ((ATTEMPT,), signature_of(DENIED)) == (came.guards, came.signature)


def test_what_is_asked_together_is_refused_once() -> None:
    """Five calls at once are refused alike before the agent has read a word: no second time, and no reason to stop it."""
    loops, told = LoopFacts(), []
    for at_ms in (0, 1, 2, 100, TOGETHER_MS - 1, TOGETHER_MS, TOGETHER_MS + 1, 2 * TOGETHER_MS):
        refused = call(QUERY, at_ms=NOW_MS + at_ms).call
        came = engine.consequence(refused, DENIED, Facts(run=RUN, loops=loops), by())
        loops = again(loops, came.signature, refused.at_ms)
        told.append((loops.repeats, came.stop is not None))

    assert [(1, False)] * 5 + [(2, False)] * 2 + [(3, True)] == told


def test_a_clock_that_stands_still_or_goes_back_counts_nothing_twice() -> None:
    """What came before the refusal that counted was not asked after it."""
    before = LoopFacts("a", 2, NOW_MS)

    assert before == again(before, "a", NOW_MS) == again(before, "a", NOW_MS - 5_000)


def test_another_refusal_begins_to_count_anew() -> None:
    """In a row means in a row."""
    other = DENIED._replace(detail="`metrics.query` is blocked: something else")

    assert other == engine.consequence(call(QUERY).call, other, after(2), by()).refusal


def test_too_many_refusals_stop_the_run_whatever_they_are() -> None:
    """The one that is one too many keeps its code, and says that the run is stopped."""
    came = engine.consequence(call(QUERY).call, DENIED, after(0, attempts=19), by())

    assert ("policy.denied", "stop") == (came.refusal.code.code, came.refusal.recovery.action)
    assert "Stop and tell a person; the run is stopped, for 20 of its calls were refused." == came.refusal.recovery.hint
    assert ("20 of its calls were refused", {"attempts": 20}) == (came.stop, came.refusal.read)
    assert engine.consequence(call(QUERY).call, DENIED, after(0, attempts=18), by()).stop is None


@pytest.mark.parametrize(
    "code",
    ["limit.rate", "limit.concurrency", "environment.not_ready", "gateway.frozen", "run.stopped", "tool.disabled"],
)
def test_being_asked_to_wait_is_no_loop(code: str) -> None:
    """Whoever is told to repeat may repeat; what is stopped already is not stopped again."""
    waiting = DENIED._replace(code=CODES[code])

    assert (waiting, "", (), None) == engine.consequence(call(QUERY).call, waiting, after(9, 99, waiting), by())


def test_without_loops_and_for_the_gate_itself_nothing_is_counted() -> None:
    """What the file does not say is not looked for."""
    own = call(QUERY, principal=OWN).call

    assert (DENIED, "", (), None) == engine.consequence(call(QUERY).call, DENIED, after(9, 99), by(Loops()))
    assert (DENIED, "", (), None) == engine.consequence(own, DENIED, after(9, 99), by())


def test_mode_audit_counts_and_stops_nothing() -> None:
    """What would be refused is sent there, so no run is stopped for what was not."""
    came = engine.consequence(call(QUERY).call, DENIED, after(2, 19), by(mode="audit"))

    assert (DENIED, (ATTEMPT,), None) == (came.refusal, came.guards, came.stop)


def test_attempts_below_a_run_count_for_the_run_above() -> None:
    """A sub-run is no way to try again."""
    below = call(QUERY, run=OpenedRun("run_2", NOW_MS, ("run_1",))).call

    assert (ATTEMPT,) == engine.consequence(below, DENIED, Facts(run=RunFacts("run_2")), by()).guards


def test_refusals_are_the_same_when_they_say_the_same() -> None:
    """Code, operation, what was wrong and where; the amounts of a budget change from call to call and say nothing new."""
    wrong = DENIED._replace(violations=(Violation("/a", "type", "must be a number"),))
    short = DENIED._replace(code=CODES["budget.exhausted"], detail="0.2 usd left")

    assert signature_of(DENIED) == signature_of(DENIED._replace(recovery=Recovery("stop", "Stop.")))
    assert 3 == len({signature_of(each) for each in (DENIED, wrong, short)})
    assert signature_of(short) == signature_of(short._replace(detail="0.1 usd left"))
    assert signature_of(DENIED._replace(detail="\ud800", operation=None))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1, "b": [1.0, {"c": "x", "d": None}]}, {"b": [1, {"d": None, "c": "x"}], "a": 1.0}, True),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1.5}, {"a": 1.50}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": "1.0, 2"}, {"a": "1, 2"}, False),
        ({"a": 'x"1.0,', "b": 2.0}, {"b": 2, "a": 'x"1.0,'}, True),
        ({"a": None}, {}, False),
        ({"a": b"\x00"}, {"a": b"\x00"}, True),
        ({"a": b"\x00"}, {"a": b"\x01"}, False),
    ],
)
def test_a_call_is_known_by_its_digest(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    """Key order and the spelling of numbers do not matter, values do; anything has a digest."""
    assert same == (call_digest(call(QUERY, one)) == call_digest(call(QUERY, other)))
    assert call_digest(call(QUERY, one)) != call_digest(call(costing("metrics.other"), one))


def asked(request: Wire | Named, *, run: OpenedRun | None = None, principal: Principal = ANN) -> Call:
    return Call("01CALL", NOW_MS, principal, request, run=run)


LISTED = Named("metrics.query", {})


@pytest.mark.parametrize(
    ("key", "refused", "code", "detail"),
    [
        (EVERYTHING, asked(LISTED), "gateway.frozen", "everything is frozen: billing alarm 14"),
        ("principal:ann", asked(LISTED), "gateway.frozen", "the principal `ann` is frozen: billing alarm 14"),
        (
            "principal:boss",
            asked(LISTED, principal=replace(ANN, on_behalf_of="boss")),
            "gateway.frozen",
            "the principal `boss` is frozen: billing alarm 14",
        ),
        ("run:run_1", asked(LISTED), "run.stopped", "the run `run_1` is frozen: billing alarm 14"),
        (
            "run:run_0",
            asked(LISTED, run=OpenedRun("run_1", NOW_MS, ("run_0",))),
            "run.stopped",
            "the run `run_0` is frozen: billing alarm 14",
        ),
        ("tool:metrics", asked(LISTED), "tool.disabled", "the tool `metrics` is frozen: billing alarm 14"),
        (
            "tool:metrics",
            asked(Named("metrics.nothing", {})),
            "tool.disabled",
            "the tool `metrics` is frozen: billing alarm 14",
        ),
        (
            "tool:metrics",
            asked(Wire("GET", "/metrics/x/y")),
            "tool.disabled",
            "the tool `metrics` is frozen: billing alarm 14",
        ),
    ],
)
def test_what_is_frozen_is_refused_before_anything_else(key: str, refused: Call, code: str, detail: str) -> None:
    """Before it is known whether such an operation exists; the reason is told in one line, who froze it is not."""
    refusal = engine.check(refused, Facts(run=RUN, freezes={key: WHY}), by())

    assert isinstance(refusal, Refusal)
    assert (code, detail, "frozen", "stop") == (
        refusal.code.code, refusal.detail, refusal.stage, refusal.recovery.action,
    )  # fmt: skip


def test_a_stopped_run_takes_no_more_calls() -> None:
    """The reason is told, and that a person must be asked."""
    refusal = engine.check(asked(LISTED), Facts(run=RUN._replace(stopped="20 of its calls were refused")), by())

    assert isinstance(refusal, Refusal)
    assert ("run.stopped", 403) == (refusal.code.code, refusal.code.status)
    assert "the run `run_1` takes no more calls: 20 of its calls were refused" == refusal.detail


def test_the_gates_own_readings_stop_with_everything_and_with_their_tool_only() -> None:
    """Somebody who is merely called as the gate is cannot stop what it reads."""
    own = asked(LISTED, principal=OWN)
    stopped = Facts(run=RUN._replace(stopped="it went astray"), freezes={"principal:toolgate": WHY, "run:run_1": WHY})

    codes = []
    for told in (Facts(freezes={EVERYTHING: WHY}), Facts(freezes={"tool:metrics": WHY})):
        refusal = engine.check(own, told, by())
        assert isinstance(refusal, Refusal)
        codes.append(refusal.code.code)
    assert ["gateway.frozen", "tool.disabled"] == codes
    assert freeze.frozen(own, stopped) is None
    assert freeze.frozen(asked(LISTED, principal=Principal("toolgate")), stopped) is not None


@pytest.mark.parametrize("mode", ["enforce", "audit"])
def test_a_tool_is_disabled_whatever_way_led_to_it(mode: Any) -> None:
    """Once more when the operations are known, all of them, and in mode audit too."""
    other = costing("vendor.query")
    frozen = Facts(run=RUN, freezes={"tool:vendor": WHY})
    valid = call(QUERY)

    refusal = engine.decide(valid._replace(also=(call(other),)), frozen, by(mode=mode))

    assert isinstance(refusal, Refusal)
    assert "tool.disabled" == refusal.code.code
    assert isinstance(engine.decide(valid, frozen, by(mode=mode)), Permit)


def test_needs_names_the_run_a_call_is_in() -> None:
    """The principal's implicit one, or the one its token names."""
    assert ("run:ann",) == engine.needs(asked(LISTED))
    assert ("opened:run_7",) == engine.needs(asked(LISTED, run=OpenedRun("run_7", NOW_MS)))
