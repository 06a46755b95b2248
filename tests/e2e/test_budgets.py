"""Story 5 of the design over HTTP: an agent that reflects on its reflection is stopped at its budget, and told so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner
from tests.e2e.world import Heard, World, ask, example, running
from tests.support.ports import free_port
from tests.support.waiting import think, until

from toolgate.cli import main

_QUERY = "/metrics/metrics/v1/cluster"
_DETECT = "/anomaly/detect"
_METRICS = ("node_cpu", "node_memory_available_bytes", "node_load1", "node_load5")
_VALUES = 100
_PRICE = Decimal("0.002")  # of a query: toolspecs/metrics/tool.yaml
_NORMAL = 4 * _PRICE + Decimal("0.001")  # a query of each metric, and one look for anomalies in a hundred values
_ROUNDS = 27


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gate in whose journal nothing has been spent."""
    with running(example(tmp_path_factory.mktemp("budgets"), free_port())) as started:
        yield started


def _reflection(number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The whole analysis once more, a little different each time, as a model that doubts itself asks for it."""
    for metric in _METRICS:
        yield _QUERY, {"cluster": "eu-1", "metric": metric, "window_s": 60 + number}
    series = [{"at": at, "value": at % 7} for at in range(_VALUES)]
    yield _DETECT, {"series": series, "threshold": 3.5 + number}


def _reflect(world: World, rounds: int) -> list[tuple[str, Heard]]:
    """What came of each call of so many rounds; the agent reads what it is told, and does not listen."""
    heard: list[tuple[str, Heard]] = []
    for path, body in (each for number in range(rounds) for each in _reflection(number)):
        answer = ask(world.agent_port, "POST", path, body)
        heard.append((path, answer))
        if answer.status >= 400 and answer.json["code"] != "run.stopped":
            think()
    return heard


def _billed(heard: list[tuple[str, Heard]]) -> Decimal:
    """What the upstream bills for what it answered: so much a query, and what it says itself of the rest."""
    answered = [(path, each.json) for path, each in heard if each.headers["toolgate-source"] == "upstream"]
    return sum((_PRICE if path == _QUERY else Decimal(str(body["usage"]["usd"])) for path, body in answered), Decimal())


def _codes(heard: list[tuple[str, Heard]]) -> list[str]:
    return [each.json["code"] for _, each in heard if each.status >= 400]


def _command(world: World, *words: str) -> str:
    done = CliRunner().invoke(main, [*words, "--config", str(world.home / "toolgate.yaml")], prog_name="toolgate")
    assert done.exit_code == 0, done.output
    return done.output


def _events(world: World) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _command(world, "journal", "list", "--limit", "1000", "--json").splitlines()]


def _settled(world: World, heard: list[tuple[str, Heard]]) -> None:
    """Wait until the journal has the end of every call that was answered; nobody else waits for that."""
    answered = {each.headers["toolgate-call"] for _, each in heard if each.headers["toolgate-source"] == "upstream"}
    until(
        lambda: answered <= {event["call"] for event in _events(world) if event["event"] == "Finished"},
        "every settlement is journaled",
    )


def _taken(world: World, budget: str) -> Decimal:
    """What the journal says was taken of a budget: charged, given back, and charged on top."""
    micro = 0
    for event in _events(world):
        for sign, part in ((1, "charges"), (-1, "refunds"), (1, "extra")):
            micro += sign * sum(
                each["amount"] for each in event.get(part, ()) if each["key"].startswith(f"b:{budget}:")
            )
    return Decimal(micro) / 1_000_000


def test_a_normal_run_stays_within_its_budget(world: World) -> None:
    """One analysis is permitted whole, and costs what it costs: what was held and not used is given back."""
    heard = _reflect(world, 1)
    assert [each.status for _, each in heard] == [200] * 5
    _settled(world, heard)
    assert (_billed(heard), _taken(world, "run-spend")) == (_NORMAL, _NORMAL)


def test_the_reflection_loop(world: World) -> None:
    """Story 5: what would cost 27 times a normal run is stopped within the budget, and the bill is exact."""
    heard = _reflect(world, _ROUNDS)
    _settled(world, heard)
    figures = {
        "a normal run": _NORMAL,
        "27 reflections": _ROUNDS * _NORMAL,
        "given": Decimal("0.05"),
        "billed": _billed(heard),
        "journaled": _taken(world, "run-spend"),
        "of the day": _taken(world, "daily-spend"),
    }
    assert figures == {
        "a normal run": Decimal("0.009"),
        "27 reflections": Decimal("0.243"),
        "given": Decimal("0.05"),
        "billed": Decimal("0.049"),
        "journaled": Decimal("0.049"),
        "of the day": Decimal("0.049"),
    }


def test_the_agent_is_told_that_it_is_over_and_what_is_left(world: World) -> None:
    """Story 5: the first refusal names the budget and what is left, and says to finish; nothing of it is sent."""
    heard = _reflect(world, 6)
    first = next(each for _, each in heard if each.status >= 400)
    problem = first.json
    assert (first.status, problem["code"], problem["title"]) == (403, "budget.exhausted", "BudgetExceeded")
    assert (problem["sent"], problem["retryable"], problem["recovery"]["action"]) == ("no", False, "finish")
    assert problem["detail"].startswith("the budget `run-spend` of 0.05 usd has 0.001 usd left")
    assert problem["recovery"]["hint"].startswith("Finish with what you have")


def test_who_does_not_listen_is_stopped(world: World) -> None:
    """Story 5: the second time the hint is firmer, the third refusal of its kind stops the run, and then nothing is taken."""
    heard = _reflect(world, _ROUNDS)
    told = _codes(heard)
    end = told.index("loop.repeated_refusal")
    assert set(told[:end]) == {"budget.exhausted"}
    assert set(told[end + 1 :]) == {"run.stopped"}
    refused = [each.json for _, each in heard if each.status >= 400]
    assert refused[end - 1]["recovery"]["hint"].startswith("Stop repeating this: once more stops the run.")
    assert refused[end]["recovery"]["action"] == "stop"
    free = ask(world.agent_port, "GET", "/metrics/metrics")
    assert (free.status, free.json["code"]) == (403, "run.stopped"), "what costs nothing is of the same run"


def test_the_stop_is_journaled_with_its_reason(world: World) -> None:
    """An operator reads which run was stopped, by what, and that it was the gate."""
    _reflect(world, _ROUNDS)
    (stopped,) = until(
        lambda: [event for event in _events(world) if event["event"] == "RunStopped"], "the stop is journaled"
    )
    assert (stopped["principal"], stopped["code"]) == ("metrics-digest", "loop.repeated_refusal")
    assert "3 times in a row" in stopped["why"]


def test_a_stopped_run_is_no_way_to_another(world: World) -> None:
    """Neither finishing a stopped run nor opening one from it gives an agent a new budget; a person has to thaw it."""
    _reflect(world, _ROUNDS)
    task = {"labels": {"task": "the next digest"}}
    ask(world.agent_port, "POST", "/-/run/finish")
    assert ask(world.agent_port, "POST", "/-/runs", task).json["code"] == "run.stopped"
    stopped = ask(world.agent_port, "GET", "/-/run").json
    assert "3 times in a row" in stopped["stopped"]
    thawed = ask(world.admin_port, "POST", "/-/thaw", {"run": stopped["run"], "why": "the prompt was mended"})
    assert thawed.json["changed"]
    opened = ask(world.agent_port, "POST", "/-/runs", task)
    assert opened.status == 201, opened.content


def test_the_next_run_has_its_own_budget_and_the_same_day(world: World) -> None:
    """A run of its own may spend again, within what the day has left."""
    _reflect(world, 6)
    opened = ask(world.agent_port, "POST", "/-/runs", {"labels": {"task": "the next digest"}})
    assert opened.status == 201, opened.content
    body = {"cluster": "eu-1", "metric": "node_cpu"}
    heard = ask(world.agent_port, "POST", _QUERY, body, headers={"Toolgate-Run": opened.json["token"]})
    assert heard.status == 200
    assert _taken(world, "daily-spend") == Decimal("0.051")


def test_the_same_call_over_and_over_is_a_loop(world: World) -> None:
    """Three identical calls in a minute are enough; another call still goes through."""
    same = [ask(world.agent_port, "POST", _QUERY, {"cluster": "eu-1", "metric": "node_cpu"}) for _ in range(4)]
    assert [each.status for each in same] == [200, 200, 200, 403]
    problem = same[-1].json
    assert (problem["code"], problem["title"]) == ("loop.repeated_call", "LoopDetected")
    assert problem["recovery"]["action"] == "finish"
    assert _taken(world, "run-spend") == 3 * _PRICE, "a refused call costs nothing"
    assert ask(world.agent_port, "POST", _QUERY, {"cluster": "eu-1", "metric": "node_load1"}).status == 200


def test_a_refusal_that_is_not_heeded_stops_the_run(world: World) -> None:
    """The same refusal three times: told, told again in fewer words, stopped."""
    refused = []
    for _ in range(4):
        refused.append(ask(world.agent_port, "DELETE", "/metrics/metrics/node_cpu").json)
        think()
    codes = [each["code"] for each in refused]
    assert codes == ["policy.denied", "policy.denied", "loop.repeated_refusal", "run.stopped"]
    first, second = (each["recovery"]["hint"] for each in refused[:2])
    assert first != second
    assert "once more stops the run" in second


def test_an_agent_sees_what_it_has_left(world: World) -> None:
    """`GET /-/run` says in decimals what the run has taken of each budget."""
    _reflect(world, 1)
    told = ask(world.agent_port, "GET", "/-/run").json
    assert told["balances"]["usd"] == {"given": "0.05", "taken": "0.009", "left": "0.041"}
    budgets = {each["budget"]: (each["taken"], each["left"]) for each in told["budgets"]}
    assert budgets["run-calls"] == ("5", "45")
    assert budgets["daily-spend"] == ("0.009", "0.491")


def test_every_governed_answer_says_what_is_left_of_its_limits(world: World) -> None:
    """`RateLimit` and `RateLimit-Policy` stand on permitted answers too."""
    heard = ask(world.agent_port, "GET", "/metrics/metrics")
    assert heard.status == 200
    assert {"ratelimit", "ratelimit-policy"} <= set(heard.headers)


def test_what_was_spent_is_spent_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Balances come back from the journal: another start gives no second budget, whether it was ended or killed."""
    copy = example(tmp_path_factory.mktemp("restarts"), free_port())
    with running(copy) as world:
        before = _reflect(world, 3)
        _settled(world, before)
        world.gate.kill()
        world.gate.wait()
    with running(copy) as world:
        after = _reflect(world, 3)
        _settled(world, after)
        assert _billed(before) + _billed(after) == Decimal("0.049")
        assert _taken(world, "run-spend") == Decimal("0.049")
        assert _codes(after)[0] == "budget.exhausted"
