"""Reading case files: what is written is what is asked, and every slip is told with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.core.bundle import BundleError
from toolgate.core.model import Named, Principal, RunFacts, Wire
from toolgate.testing.cases import NOW_MS, Case, read_suite

CASE = "note: it is so, call: {operation: shop.list}, want: {permit: true}"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str, name: str = "cases.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return written


def only(path: Path) -> Case:
    (case,) = read_suite([path]).cases
    return case


def problems(path: Path) -> list[str]:
    with pytest.raises(BundleError) as broken:
        read_suite([path])
    return [str(problem).removeprefix(f"{path}:") for problem in broken.value.problems]


# -- what is written ---------------------------------------------------------------------------------------


def test_a_list_of_cases_is_a_file(write: Write) -> None:
    """Nothing but the cases is needed; what is not said is the settings' anonymous principal and a fixed time."""
    case = only(write(f"- {{{CASE}}}\n"))

    assert ("it is so", 1, None, None) == (case.name, case.line, case.environments, case.principal)
    assert (Named("shop.list", {}), NOW_MS, {"permit": True}) == (case.asked, case.at_ms, dict(case.want))


def test_a_mapping_shares_fixtures(write: Write) -> None:
    """Principals by name, resources by type, the environment, the time and who calls hold for every case of the file."""
    text = f"""\
principals:
  ann: {{id: corp/ann, roles: [digest], claims: {{team: sre, kubernetes.io.namespace: web}}, on_behalf_of: corp/bob}}
  eve: {{roles: [guest]}}
resources: {{Order: {{o-1: {{total: 10}}}}}}
environment: prod
principal: ann
now: 2026-11-22T08:00:00+01:00
cases:
  - {{{CASE}}}
  - {{note: eve may not, call: {{operation: shop.list, principal: eve}}, want: {{permit: false}}}}
  - {{note: inline, call: {{operation: shop.list, principal: {{roles: [x]}}}}, want: {{permit: false}}}}
  - {{note: nobody, call: {{operation: shop.list, principal: anonymous}}, want: {{permit: false}}, environment: [dev, prod]}}
"""
    cases = read_suite([write(text)]).cases
    ann = Principal("corp/ann", ("digest",), {"team": "sre", "kubernetes.io.namespace": "web"}, "corp/bob")

    assert [ann, Principal("eve", ("guest",)), Principal("inline", ("x",)), None] == [case.principal for case in cases]
    assert [("prod",)] * 3 + [("dev", "prod")] == [case.environments for case in cases]
    assert {1_795_330_800_000} == {case.at_ms for case in cases}
    assert {"Order": {"o-1": {"total": 10}}} == cases[0].resources


def test_fixtures_of_a_folder_hold_below_it(write: Write) -> None:
    """`fixtures.yaml` serves its folder and those below; what is nearer to the case wins."""
    write("principals: {a: {roles: [outer]}, b: {roles: [outer]}}\nenvironment: dev\n", "fixtures.yaml")
    write("principals: {b: {roles: [inner]}}\nresources: {T: {x: {}}}\n", "deep/fixtures.yaml")
    path = write(
        "principals: {c: {}}\ncases:\n"
        + "".join(
            f"  - {{note: {who}, call: {{operation: t.o, principal: {who}}}, want: {{permit: true}}}}\n"
            for who in "abc"
        ),
        "deep/cases.yaml",
    )
    suite = read_suite([path.parent], path.parents[1])

    assert [("outer",), ("inner",), ()] == [case.principal.roles for case in suite.cases if case.principal]
    assert {("dev",)} == {case.environments for case in suite.cases}
    assert {"T": {"x": {}}} == suite.cases[0].resources
    assert {"a", "b", "c"} == set(suite.principals)


def test_facts_that_are_left_out_follow(write: Write) -> None:
    """A completed operation was permitted once, and calls are permits and refusals, unless the case says otherwise."""
    text = """\
- note: follows
  call: {operation: t.o}
  facts: {run: {refusals: 2, completed: [t.a], by_operation: {t.b: 3}, age_s: 60}, now: 2026-01-01}
  want: {permit: true}
- note: said
  call: {operation: t.o}
  facts: {run: {calls: 9, by_operation: {t.b: 3}}, resources: {T: {x: {}}}, unready: {t: it sleeps}}
  want: {permit: true}
"""
    follows, said = read_suite([write(text)]).cases

    now_ms = 1_767_225_600_000
    assert RunFacts("run_test", 6, 2, 60, frozenset({"t.a"}), {"t.a": 1, "t.b": 3}, now_ms - 60_000) == follows.run
    assert now_ms == follows.at_ms
    assert (9, {"T": {"x": {}}}, {"t": "it sleeps"}) == (said.run.calls, said.resources, said.unready)


@pytest.mark.parametrize(
    ("call", "asked"),
    [
        ("{method: GET, path: /t/a, query: x=1}", Wire("GET", "/t/a", "x=1", {}, b"")),
        (
            "{method: POST, path: /t/a, body: {b: 1}}",
            Wire("POST", "/t/a", "", {"content-type": "application/json"}, b'{"b":1}'),
        ),
        (
            "{method: POST, path: /t/a, headers: {X-A: b}, body: 'é'}",
            Wire("POST", "/t/a", "", {"x-a": "b"}, "é".encode()),
        ),
        ("{method: POST, path: /t/a, size: 3}", Wire("POST", "/t/a", "", {}, b"   ")),
        ("{operation: t.a, arguments: {b: [1, null]}}", Named("t.a", {"b": [1, None]})),
    ],
)
def test_a_call_is_an_operation_or_a_request(write: Write, call: str, asked: Wire | Named) -> None:
    """By name with its arguments, or as it comes over HTTP; a body that is not text is JSON."""
    assert asked == only(write(f"- {{note: n, call: {call}, want: {{permit: true}}}}\n")).asked


# -- the matrix --------------------------------------------------------------------------------------------


def test_a_matrix_is_every_combination(write: Write) -> None:
    """Places in the case, or in its call without `call.`; each combination is a case of its own, labelled by its choice."""
    text = """\
- note: n
  matrix: {arguments.name: [a, b], environment: [dev, prod], facts.run.calls: 3}
  call: {operation: t.o}
  want: {permit: true}
"""
    cases = read_suite([write(text)]).cases

    assert [
        "n [name=a, environment=dev, calls=3]",
        "n [name=a, environment=prod, calls=3]",
        "n [name=b, environment=dev, calls=3]",
        "n [name=b, environment=prod, calls=3]",
    ] == [case.name for case in cases]
    assert [Named("t.o", {"name": name}) for name in "aabb"] == [case.asked for case in cases]
    assert [("dev",), ("prod",)] * 2 == [case.environments for case in cases]
    assert {3} == {case.run.calls for case in cases}


def test_a_row_of_a_matrix_may_say_what_it_wants(write: Write) -> None:
    """A list of rows is a table: each with its own choices, and its own `want` if they differ."""
    text = """\
- note: n
  matrix:
    - {arguments.name: [a, b], want: {permit: true}}
    - {arguments.name: c, arguments.body.tags: [[x, y]], want: {refusal: policy.denied}}
  call: {operation: t.o, arguments: {body: {kept: 1}}}
"""
    cases = read_suite([write(text)]).cases

    assert ["n [name=a]", "n [name=b]", 'n [name=c, tags=["x", "y"]]'] == [case.name for case in cases]
    assert [{"permit": True}, {"permit": True}, {"refusal": "policy.denied"}] == [dict(case.want) for case in cases]
    assert Named("t.o", {"name": "c", "body": {"kept": 1, "tags": ["x", "y"]}}) == cases[2].asked


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_a_matrix_has_the_product_of_its_lists(tmp_path_factory: pytest.TempPathFactory, counts: list[int]) -> None:
    """As many cases as there are ways to choose; a place with nothing to choose is a problem, not a silent nothing."""
    path = tmp_path_factory.mktemp("m") / "cases.yaml"
    rows = ", ".join(f"arguments.p{at}: {list(range(count))}" for at, count in enumerate(counts))
    path.write_text(f"- {{note: n, matrix: {{{rows}}}, call: {{operation: t.o}}, want: {{permit: true}}}}\n")
    if 0 in counts:
        assert all("lists no value" in told for told in problems(path))
        return
    cases = read_suite([path]).cases
    product = 1
    for count in counts:
        product *= count

    assert product == len(cases) == len({case.name for case in cases})


# -- slips -------------------------------------------------------------------------------------------------

SLIPS = [
    ("- {note: n, call: {operation: t.o}, wnat: {permit: true}, want: {permit: true}}", "1: config.unknown_key: the key `wnat` is not known; did you mean `want`?"),
    ("- {note: n, call: {operation: t.o}}", "1: config.missing_key: `want` is missing"),
    ("- {note: n, call: {operation: t.o}, want: {}}", "1: config.value: `want` is empty, so the case would check nothing; write `permit: true` or `refusal: CODE`"),
    ("- {note: n, call: {operation: t.o}, want: {statments: [x]}}", "1: config.unknown_key: the key `want.statments` is not known; did you mean `statements`?"),
    ("- {note: n, call: {operation: t.o}, want: {refusal: policy.deny}}", "1: config.value: `want.refusal`: `policy.deny` is not a code of this version; did you mean `policy.denied`?"),
    ("- {note: n, call: {operation: t.o}, want: {permit: true, refusal: policy.denied}}", "1: config.value: `want` wants `permit: true` and a `refusal` at once"),
    ("- {note: n, call: {operaton: t.o}, want: {permit: true}}", "1: config.unknown_key: the key `call.operaton` is not known; did you mean `operation`?"),
    ("- {note: n, call: {}, want: {permit: true}}", "1: config.value: `call` needs either `operation`, or the `method` and `path` of a request"),
    ("- {note: n, call: {operation: t.o, query: a=b}, want: {permit: true}}", "1: config.value: `call` has `operation`, so `query` says nothing; put it under `arguments`"),
    ("- {note: n, call: {path: /t/o}, want: {permit: true}}", "1: config.value: `call` is a request: it needs `method` beside `path`, and `arguments` are its query and body"),
    ("- {note: n, call: {method: GET, path: t/o}, want: {permit: true}}", "1: config.value: `call.path` must be a raw path such as `/metrics/metrics/node_cpu`"),
    ("- note: n\n  call:\n    operation: t.o\n    principal: ann\n  want: {permit: true}", "4: case.principal: the principal `ann` is not known; define it under `principals:`, or write `anonymous`"),
    ("principals: {anna: {}}\ncases:\n  - {note: n, call: {operation: t.o, principal: ann}, want: {permit: true}}", "3: case.principal: the principal `ann` is not known; did you mean `anna`?"),
    ("principals:\n  ann:\n    role: [x]\ncases: []", "3: config.unknown_key: the key `principals.ann.role` is not known; did you mean `roles`?"),
    ("principals: {ann: {claims: {level: 3}}}\ncases: []", "1: config.value: `principals.ann.claims.level` must be text"),
    ("- {note: n, call: {operation: t.o, principal: {rols: [x]}}, want: {permit: true}}", "1: config.unknown_key: the key `rols` is not known; did you mean `roles`?"),
    ("- {note: n, call: {operation: t.o}, facts: {now: yesterday}, want: {permit: true}}", "1: config.value: `facts.now` must be a date and time such as `2026-11-22T08:00:00Z`"),
    ("- {note: n, call: {operation: t.o}, facts: {now: 0001-01-01}, want: {permit: true}}", "1: config.value: `facts.now` must lie between 1971 and 2199"),
    ("- {note: n, call: {operation: t.o}, facts: {run: {completed: [list]}}, want: {permit: true}}", "1: config.value: `facts.run.completed.0` must be `tool.operationId`"),
    ("- {note: n, call: {operation: t.o}, facts: {plan: {steps: [{stepId: fetch}], done: [fetchh]}}, want: {permit: true}}", "1: config.value: `facts.plan` speaks of the step `fetchh`, which `steps` does not have; did you mean `fetch`?"),
    ("- {note: n, call: {operation: t.o}, facts: {run: {calls: -1}}, want: {permit: true}}", "1: config.value: `facts.run.calls` must be greater than or equal to 0"),
    ("- {note: n, call: {operation: t.o}, environment: [], want: {permit: true}}", "1: config.value: `environment` must name at least one environment, such as `prod`"),
    ("- {note: n, matrix: {arguments.x: []}, call: {operation: t.o}, want: {permit: true}}", "1: case.matrix: `arguments.x` lists no value, so the case would never run"),
    ("- {note: n, matrix: {argument.x: [1]}, call: {operation: t.o}, want: {permit: true}}", "1: case.matrix: `argument.x` is no place of a case; did you mean `arguments`?"),
    ("- {note: n, matrix: {want.: [1]}, call: {operation: t.o}, want: {permit: true}}", "1: case.matrix: `want.` is no place of a case; did you mean `want`?"),
    ("- {note: n, matrix: [], call: {operation: t.o}, want: {permit: true}}", "1: case.matrix: `matrix` must map places to lists of values, such as `{principal: [digest, oncall]}`, or be a list of such rows"),
    ("- {note: n, matrix: {operation.x: [1]}, call: {operation: t.o}, want: {permit: true}}", "1: case.matrix: `operation.x` lies inside something that is not a mapping"),
    ("- note: n\n  matrix:\n    - arguments.x: 1\n    - want.refusal: policy.no\n  call: {operation: t.o}\n  want: {permit: false}", "4: config.value: `want.refusal`: `policy.no` is not a code of this version; did you mean `policy.error`?"),
    ("cases: 3", "1: config.value: `cases` must be a list"),
    ("cases: []", "1: case.none: has no cases"),
    ("- 3", "1: config.value: must be a mapping of keys to values"),
    ("casses: []", "1: config.unknown_key: the key `casses` is not known; did you mean `cases`?"),
    ("", "1: config.empty: is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "told"), SLIPS)
def test_a_slip_is_told_where_it_stands(write: Write, text: str, told: str) -> None:
    """Every key is known or named with its nearest; each message says what to write instead."""
    assert told in problems(write(text + "\n"))


def test_every_slip_of_every_file_is_told_at_once(write: Write, tmp_path: Path) -> None:
    """One run shows all there is to mend, in files that are read and in files that are not YAML."""
    write("- {note: n, call: {}, want: {}}\n- {note: n}\n", "a.yaml")
    write("a: [\n", "b.yaml")

    assert 5 == len(problems(tmp_path))


def test_a_matrix_is_bounded(write: Write) -> None:
    """A matrix of millions is a slip, and is told before it is written out."""
    axes = ", ".join(f"arguments.a{at}: {list(range(20))}" for at in range(8))
    text = f"- {{note: n, matrix: {{{axes}}}, call: {{operation: t.o}}, want: {{permit: true}}}}\n"

    assert ["1: case.matrix: `matrix` has more than 1,000 combinations; split the case"] == problems(write(text))


@given(st.binary(max_size=200))
def test_any_bytes_are_cases_or_problems(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """A file of anything at all is read, or told what is wrong with it."""
    path = tmp_path_factory.mktemp("any") / "cases.yaml"
    path.write_bytes(content)
    told: tuple[object, ...] = ()
    try:
        found = len(read_suite([path]).cases)
    except BundleError as broken:
        found, told = 0, broken.problems

    assert (found > 0) != (told != ())
