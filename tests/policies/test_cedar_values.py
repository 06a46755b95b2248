"""Cedar's traps with values, nulls and what cannot be analysed (T7 to T9), at the door."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.policies.test_cedar_traps import KINDS, WRITE, refused
from tests.support import desk as desks
from tests.support.desk import ALL, desk, said

from toolgate.core.bundle import BundleError

# -- T7 · T8: values ---------------------------------------------------------------------------------------------

HEAVY = f'{ALL}@id("heavy") forbid (principal, {WRITE}, resource) when {{ context.args has body.weight && context.args.body.weight.greaterThan(decimal("5.0")) }};'
MANY = f'{ALL}@id("many") forbid (principal, {WRITE}, resource) when {{ context.args has body.count && context.args.body.count > 5 }};'


@pytest.mark.parametrize(
    ("policies", "name", "values"),
    [
        (HEAVY, "weight", {"4.9999": "completed", "5": "completed", "5.0001": "policy.denied", "-0": "completed", "-0.0": "completed",
                           "0.33333": "policy.error", "1e300": "policy.error", "1e-9": "policy.error", "922337203685478": "policy.error",
                           "6e0": "policy.denied", '"9"': "arguments.invalid", "[9]": "arguments.invalid", "NaN": "arguments.malformed"}),
        (MANY, "count", {"5": "completed", "6": "policy.denied", "6.0": "policy.denied", "6e0": "policy.denied", "-0": "completed",
                         "9223372036854775807": "policy.denied", "9223372036854775808": "policy.error", "1e300": "policy.error",
                         "99999999999999999999": "arguments.malformed", "5.5": "arguments.invalid", "true": "arguments.invalid"}),
    ],
)  # fmt: skip
async def test_numbers_are_told_exactly_or_not_at_all(
    tmp_path: Path, policies: str, name: str, values: dict[str, str]
) -> None:
    """T7: a number Cedar cannot hold refuses where it is read, with its place; where it is not read it is only a number."""
    async with desk(tmp_path, policies) as gate:
        assert values == {value: await refused(gate, f'{{"{name}":{value}}}') for value in values}
        other = {"weight": "count", "count": "weight"}[name]
        problem = (await gate.write(f'{{"{name}":1e300}}')).json
        assert problem["detail"].startswith(f"`desk.writeNote` cannot be judged: `/body/{name}` is not a ")
        assert "completed" == await refused(
            gate, f'{{"{other}":{"1e300" if other == "weight" else "9223372036854775808"}}}'
        )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"owner":{"kind":"\\ud800"}}', "arguments.malformed"),
        ('{"owner":{"kind":"a\\u0000b\\u202e"}}', "completed"),
        ('{"owner":{"kind":"secret\\u0000"}}', "completed"),
        ('{"owner":{"kind":"\\u0073ecret"}}', "policy.denied"),
        ('{"open":' + '{"a":' * 70 + "1" + "}" * 71, "arguments.malformed"),
        ('{"open":' + '{"a":' * 60 + "1" + "}" * 61, "completed"),
        ('{"owner":{"kind":"fine","deep":' + "[" * 60 + "]" * 60 + "}}", "completed"),
        ('{"owner":null}', "arguments.invalid"),
        ("[]", "arguments.invalid"),
        ("null", "arguments.invalid"),
        ('"secret"', "arguments.invalid"),
    ],
)
async def test_odd_values_get_a_typed_answer(tmp_path: Path, body: str, expected: str) -> None:
    """T7: depth, surrogates, controls: Cedar is never asked what it cannot read, and nobody meets an exception."""
    async with desk(tmp_path, KINDS) as gate:
        assert expected == await refused(gate, body)
        assert [] == [line for line in gate.served.log.lines if "defect" in line[0]]


async def test_a_null_that_clears_is_seen(tmp_path: Path) -> None:
    """T8: to `has` a null is absent; to `context.nulls` it is what it does."""
    clears = (
        f'{ALL}@id("keep") forbid (principal, {WRITE}, resource) when {{ context.nulls.contains("/body/milestone") }};'
    )
    async with desk(tmp_path, clears) as gate:
        bodies = {'{"milestone":null}': "policy.denied", '{"milestone":1}': "completed", "{}": "completed"}
        assert bodies == {body: await refused(gate, body) for body in bodies}
        assert "policy.denied" == said(await gate.call("writeNote", '{"body":{"milestone":null}}'))


async def test_a_null_is_absent_to_has(tmp_path: Path) -> None:
    """T8: a forbid of a change that asks for it with `has` alone does not see a clearing; this is what `nulls` is for."""
    changes = f'{ALL}@id("keep") forbid (principal, {WRITE}, resource) when {{ context.args has body.milestone }};'
    async with desk(tmp_path, changes) as gate:
        assert ["completed", "policy.denied"] == [
            await refused(gate, body) for body in ('{"milestone":null}', '{"milestone":1}')
        ]


# -- T9: what cannot be analysed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "permit (principal, action, resource) when { " + " && ".join(["true"] * 300) + " };",
        "permit (principal, action, resource) when { " + "(" * 200 + "true" + ")" * 200 + " };",
        'forbid (principal, action, resource) when { unknown("q") };',
        "permit (principal == ?principal, action, resource);",
        "permit (principal, action, resource in ?resource);",
        "permit (principal, action, resource",
        "",
    ],
)
async def test_what_cannot_be_analysed_is_refused_at_load(tmp_path: Path, statement: str) -> None:
    """T9: depth, `unknown`, templates, half a statement: with file and line. No statement at all permits nothing."""
    if statement:
        with pytest.raises(BundleError, match=r"policies/desk\.cedar:"):
            desks.bundle(tmp_path, f"\n{statement}")
        return
    async with desk(tmp_path, statement) as gate:
        assert "policy.not_allowed" == await refused(gate, "{}")
        assert [] == (await gate.ask("GET", "/-/tools")).json["tools"]
