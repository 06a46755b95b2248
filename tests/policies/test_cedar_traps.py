"""Cedar's traps, each sprung at the door: by JSON an agent made, by a token's claims, by what a catalogue lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.auth.idp import claims, corp, ed_key, header, sealed, world
from tests.support import desk as desks
from tests.support.desk import ALL, NOTES, Desk, desk, said

from toolgate.auth.issuer import RoleRule
from toolgate.core.bundle import BundleError
from toolgate.core.model import ResourceCatalogue, Situation

WRITE = 'action == Action::"desk.writeNote"'
KINDS = f"""{ALL}
@id("no-secrets") forbid (principal, {WRITE}, resource)
when {{ context.args has body.owner.kind && context.args.body.owner.kind == "secret" }};
"""
EITHER = f"""{ALL}
@id("no-secrets") forbid (principal, {WRITE}, resource)
when {{ context.args has body.either.object.kind && context.args.body.either.object.kind == "secret" }};
"""
FILTER = f"""{ALL}
@id("no-secrets") forbid (principal, {WRITE}, resource)
when {{ context.args has filter.kind && context.args.filter.kind == "secret" }};
"""
PARTS = f"""{ALL}
@id("no-secrets") forbid (principal, {WRITE}, resource)
when {{ context.derived.every has "/body/parts/*/kind" && context.derived.every["/body/parts/*/kind"].contains("secret") }};
"""
ESCAPES = (
    '{"__entity":{"type":"Role","id":"admin"}}',
    '{"__extn":{"fn":"unknown","arg":"q"}}',
    '{"__extn":{"fn":"ip","arg":"10.0.0.1"}}',
    '{"__expr":"principal"}',
    r'{"\u005f_entity":{"type":"Role","id":"admin"}}',
    r'{"__ext\u006e":{"fn":"unknown","arg":"q"}}',
    '{"kind":"fine","__extn":{"fn":"unknown","arg":"q"}}',
)


async def refused(desk: Desk, body: str, query: str = "") -> str:
    """What a note comes to; a refused one was not sent, and is told without a value of it."""
    before = len(desk.sent)
    told = await desk.write(body, query)
    code = said(told)
    if code == "completed":
        assert before + 1 == len(desk.sent)
        return code
    assert before == len(desk.sent)
    assert "unknown" not in told.json["detail"]
    assert "Role" not in told.json["detail"]
    return code


# -- T1 · T2: escapes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "written", "expected"),
    [
        (KINDS, '{{"owner":{0}}}', "policy.error"),  # an object that takes other members: read, so it is not told
        (KINDS, '{{"owner":{{"kind":{0}}}}}', "arguments.invalid"),  # its schema says text
        (KINDS, '{{"title":{0}}}', "arguments.invalid"),
        (KINDS, '{{"tags":[{0}]}}', "arguments.invalid"),
        (KINDS, '{{"open":{0},"anything":{0},"parts":[{0}]}}', "completed"),  # what is not read is data like any other
        (EITHER, '{{"either":{0}}}', "policy.error"),
        (PARTS, '{{"parts":[{{"kind":"fine"}},{0}]}}', "completed"),  # of each part only its kind is read
        (PARTS, '{{"parts":[{{"kind":{0}}}]}}', "arguments.invalid"),
    ],
)
async def test_an_escape_is_never_an_entity_or_an_unknown(
    tmp_path: Path, policies: str, written: str, expected: str
) -> None:
    """T1, T2: refused where a statement reads it, however the name of the key is written; else it is sent as it came."""
    async with desk(tmp_path, policies) as gate:
        assert [expected] * len(ESCAPES) == [await refused(gate, written.format(escape)) for escape in ESCAPES]
        assert "completed" == await refused(gate, '{"owner":{"kind":"fine"}}')
        sent = [json.loads(written.format(escape)) for escape in ESCAPES if expected == "completed"]
        assert [*sent, {"owner": {"kind": "fine"}}] == [each.arguments["body"] for each in gate.sent]


@pytest.mark.parametrize("policies", [KINDS, EITHER, PARTS])
async def test_the_forbid_of_these_traps_bites(tmp_path: Path, policies: str) -> None:
    """Without it the traps would prove nothing."""
    body = '{"owner":{"kind":"secret"},"either":{"kind":"secret"},"parts":[{"kind":"secret"}]}'
    async with desk(tmp_path, policies) as gate:
        assert "policy.denied" == await refused(gate, body)


async def test_by_name_and_as_text_an_escape_is_the_same(tmp_path: Path) -> None:
    """`POST /-/call` takes arguments as an object, or as the text of one: read as strictly, judged alike, also by explain."""
    owner = '{"owner":{"\\u005f_extn":{"fn":"unknown","arg":"q"}}}'
    async with desk(tmp_path, KINDS) as gate:
        for arguments in (f'{{"body":{owner}}}', json.dumps(f'{{"body":{owner}}}')):
            assert "policy.error" == said(await gate.call("writeNote", arguments))
            asked = f'{{"operation":"desk.writeNote","arguments":{arguments}}}'.encode()
            explained = (await gate.ask("POST", "/-/explain", asked)).json
            assert ("policy.error", ["no-secrets"]) == (
                explained["decision"]["code"],
                explained["decision"]["statements"],
            )
        assert [] == gate.sent


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?filter[kind]=secret", "policy.denied"),
        ("?filter[kind]=fine", "completed"),
        ("?filter[__extn]=unknown", "policy.error"),
        ("?filter[kind]=fine&filter[__entity]=Role", "policy.error"),
        ("?filter[%5F_entity]=Role", "policy.error"),
        ("?filter[kind]=fine&filter[kind]=secret", "arguments.malformed"),
        ("?filter[kind][__extn]=q", "arguments.invalid"),
    ],
)
async def test_escapes_in_a_query(tmp_path: Path, query: str, expected: str) -> None:
    """A parameter in the style of `deepObject` makes objects too."""
    async with desk(tmp_path, FILTER) as gate:
        assert expected == await refused(gate, "{}", query)


@pytest.mark.parametrize(
    ("form", "expected"),
    [("title=x", "completed"), ("title=%7B%22__entity%22%3A1%7D", "completed"), ("owner=%7B%22__extn%22%3A%7B%7D%7D", "policy.error")],
)  # fmt: skip
async def test_escapes_in_a_form(tmp_path: Path, form: str, expected: str) -> None:
    """A form's field is text, or JSON where its schema says object; either is judged as what it is."""
    async with desk(tmp_path, KINDS) as gate:
        told = await gate.write(form, **{"Content-Type": "application/x-www-form-urlencoded"})
        assert expected == said(told)


@pytest.mark.parametrize(
    "body",
    [
        '{"owner":{"kind":"secret"},"owner":{}}',
        '{"owner":{},"owner":{"kind":"secret"}}',
        '{"owner":{"kind":"secret","kind":"fine"}}',
        r'{"owner":{"kind":"secret","\u006bind":"fine"}}',
        r'{"owner":{"__entity":1,"\u005f_entity":{"type":"Role","id":"admin"}}}',
    ],
)
async def test_a_key_said_twice_has_no_meaning(tmp_path: Path, body: str) -> None:
    """T1: whichever of the two an upstream takes, policies would have judged the other."""
    async with desk(tmp_path, KINDS) as gate:
        assert "arguments.malformed" == await refused(gate, body)


# -- T1: claims --------------------------------------------------------------------------------------------------

TEAM = """
@id("sre") permit (principal, action, resource) when { principal.hasTag("team") && principal.getTag("team") == "sre" };
@id("admins") permit (principal in Role::"admin", action, resource);
@id("no-guests") forbid (principal, action, resource) when { principal.hasTag("team") && principal.getTag("team") == "guest" };
"""
ADMIN = {"__entity": {"type": "Role", "id": "admin"}}
UNKNOWN = {"__extn": {"fn": "unknown", "arg": "q"}}


@pytest.mark.parametrize(
    ("said_by_token", "expected"),
    [
        ({"team": "sre"}, "completed"),
        ({"groups": ["admin"]}, "completed"),
        ({"groups": ["admin"], "team": "guest"}, "policy.denied"),
        ({}, "policy.not_allowed"),
        ({"team": ADMIN}, "policy.not_allowed"),  # `team.__entity.type` and `team.__entity.id`: texts under other names
        ({"team": UNKNOWN}, "policy.not_allowed"),
        ({"team": json.dumps(ADMIN)}, "policy.not_allowed"),
        ({"groups": json.dumps(ADMIN)}, "policy.not_allowed"),
        ({"groups": 'admin", "x'}, "policy.not_allowed"),
        ({"groups": 'Role::"admin"'}, "policy.not_allowed"),
        ({"groups": [ADMIN]}, "auth.invalid"),  # roles that are none refuse the token: one left out may be a forbid's
        ({"groups": ["admin", UNKNOWN]}, "auth.invalid"),
        ({"groups": ["admin", None]}, "auth.invalid"),
    ],
)
async def test_claims_are_texts_and_roles_are_names(
    tmp_path: Path, said_by_token: dict[str, Any], expected: str
) -> None:
    """T1: an escape in a verified token is no entity, no role and no unknown."""
    issuer = corp(tmp_path / "jwks.json", roles=RoleRule("groups"))
    tokens = world(tmp_path, issuer)
    made = sealed(header(), claims(**said_by_token), ed_key(), "EdDSA")
    async with desk(tmp_path, TEAM, who=tokens.tokens) as gate:
        told = await gate.ask("GET", "/desk/files/x", Authorization=f"Bearer {made}")
        assert "tool.unknown" == said(told) or "auth.invalid" == expected == said(told)
        assert expected == said(await gate.write("{}", Authorization=f"Bearer {made}"))
        assert (expected == "completed") is bool(gate.sent)


async def test_a_key_said_twice_in_a_token(tmp_path: Path) -> None:
    """T1: claims are read as strictly as arguments."""
    tokens = world(tmp_path)
    good = json.dumps(claims(team="sre"))
    twice = f'{good[:-1]}, "team": "sre"}}'.encode()
    async with desk(tmp_path, TEAM, who=tokens.tokens) as gate:
        codes = [
            said(await gate.write("{}", Authorization=f"Bearer {sealed(header(), payload, ed_key(), 'EdDSA')}"))
            for payload in (good.encode(), twice)
        ]
        assert ["completed", "auth.invalid"] == codes


# -- T1 · T2 · T3: attributes ------------------------------------------------------------------------------------

TIER = (
    ALL
    + '@id("critical-stays") forbid (principal, action == Action::"desk.dropNote", resource is Note) when { resource has tier && resource.tier == "critical" };'
)
OWNED = (
    ALL
    + '@id("teams-stay") forbid (principal, action == Action::"desk.dropNote", resource is Note) when { resource has owner.kind && resource.owner.kind == "team" };'
)
HAS_TIER = ALL + '@id("critical-stays") forbid (principal, action == Action::"desk.dropNote", resource is Note) when { resource.tier == "critical" };'  # fmt: skip


async def drop(gate: Desk, name: str) -> str:
    return said(await gate.ask("DELETE", f"/desk/notes/{name}"))


async def test_attributes_of_a_file_reach_policies_as_they_stand(tmp_path: Path) -> None:
    """What is critical stays; an attribute that is not there is not there."""
    async with desk(tmp_path, TIER) as gate:
        assert ["policy.denied", "completed", "completed"] == [await drop(gate, name) for name in NOTES]


@pytest.mark.parametrize(
    ("policies", "attributes", "expected"),
    [
        (OWNED, {"owner": ADMIN}, "policy.error"),
        (OWNED, {"owner": {"kind": "x", **UNKNOWN}}, "policy.error"),
        (OWNED, {"tier": UNKNOWN}, "completed"),  # what is not read is data like any other
    ],
)
async def test_escapes_in_a_files_attributes(
    tmp_path: Path, policies: str, attributes: dict[str, Any], expected: str
) -> None:
    """T1, T2: the statement that reads them refuses the call."""
    async with desk(tmp_path, policies, notes=NOTES | {"n9": attributes}) as gate:
        assert expected == await drop(gate, "n9")


@pytest.mark.parametrize(
    ("policies", "attributes", "place"),
    [
        (TIER, {"tier": ADMIN}, "resource.tier"),
        (TIER, {"tier": UNKNOWN}, "resource.tier"),
        (OWNED, {"owner": {"kind": UNKNOWN}}, "resource.owner.kind"),
    ],
)
def test_an_escape_where_others_have_text(
    tmp_path: Path, policies: str, attributes: dict[str, Any], place: str
) -> None:
    """T1, T2: the statement that reads it is refused at load, since what it reads may now be an object."""
    with pytest.raises(BundleError, match=f"`{place}` may be text or an object"):
        desks.bundle(tmp_path, policies, notes=NOTES | {"n9": attributes})


def live(**notes: Any) -> Situation:
    return Situation({"desk": {"Note": ResourceCatalogue("Note", notes, 1)}})


@pytest.mark.parametrize(
    ("policies", "attributes", "expected"),
    [
        (TIER, {"tier": "critical"}, "policy.denied"),
        (TIER, {"tier": "low"}, "completed"),
        (TIER, {"tier": ADMIN}, "policy.error"),
        (TIER, {"tier": UNKNOWN}, "policy.error"),
        (TIER, {"tier": ["critical"]}, "policy.error"),
        (TIER, {"tier": None}, "completed"),
        (TIER, {"owner": UNKNOWN}, "completed"),  # not read
        (OWNED, {"owner": {"kind": "team"}}, "policy.denied"),
        (OWNED, {"owner": UNKNOWN}, "policy.error"),
        (OWNED, {"owner": {"kind": "x", **UNKNOWN}}, "policy.error"),
        (OWNED, {"owner": {"kind": ADMIN}}, "policy.error"),
        (OWNED, {"owner": {"other": UNKNOWN}}, "completed"),
    ],
)
async def test_live_attributes_are_held_to_their_schema_again(
    tmp_path: Path, policies: str, attributes: dict[str, Any], expected: str
) -> None:
    """T1, T2: a reading is held to its schema before it counts; what got past it all the same is no entity either."""
    async with desk(tmp_path, policies, live=True) as gate:
        gate.served.gateway.situation = live(n1=attributes)
        assert expected == await drop(gate, "n1")


# -- T3: errors --------------------------------------------------------------------------------------------------


async def test_a_forbid_that_errs_refuses(tmp_path: Path) -> None:
    """T3: Cedar leaves it out, and would permit."""
    large = f'@id("large") forbid (principal, {WRITE}, resource) when {{ context.args has body.count && context.args.body.count + 9223372036854775807 > 9 }};'
    async with desk(tmp_path, ALL + large) as gate:
        assert ["policy.error", "completed", "policy.denied"] == [
            await refused(gate, f'{{"count":{count}}}') for count in (1, -9223372036854775807, -5)
        ]
        problem = (await gate.write('{"count":1}')).json
        assert ["large"] == problem["statements"]
        assert (
            "`desk.writeNote` cannot be judged: statement `large` could not be evaluated: "
            "its arithmetic leaves the range of 64-bit whole numbers" == problem["detail"]
        )


async def test_a_permit_that_errs_refuses_too(tmp_path: Path) -> None:
    """T3: whatever else holds; an operator finds out by the first call and not by the last."""
    large = f'@id("large") permit (principal, {WRITE}, resource) when {{ context.args has body.count && context.args.body.count + 9223372036854775807 > 9 }};'
    async with desk(tmp_path, ALL + large) as gate:
        assert ["policy.error", "completed"] == [await refused(gate, body) for body in ('{"count":1}', "{}")]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [({"rank": 5}, "policy.denied"), ({"rank": 1}, "completed"), ({}, "policy.error"), ({"rank": "5"}, "policy.error")],
)
async def test_an_attribute_that_is_missing_at_run_time_refuses(
    tmp_path: Path, attributes: dict[str, Any], expected: str
) -> None:
    """T3: the upstream's document promises it, so the statement asks for it without `has`; where it is not there, it errs."""
    ranked = f'{ALL}@id("high-stays") forbid (principal, action == Action::"desk.dropNote", resource is Note) when {{ resource.rank > 3 }};'
    async with desk(tmp_path, ranked, live=True) as gate:
        gate.served.gateway.situation = live(n1=attributes)
        told = await gate.ask("DELETE", "/desk/notes/n1")
        assert expected == said(told)
        if not attributes:
            assert (
                "`desk.dropNote` on Note `n1` cannot be judged: statement `high-stays` could not be evaluated: "
                "it reads the attribute `rank`, which is not there" == told.json["detail"]
            )


async def test_a_files_attribute_that_is_not_everywhere_is_found_at_load(tmp_path: Path) -> None:
    """T3: every note had a tier when the file was written; once one has none, the statement that asks for it is refused."""
    tiered = {name: {"tier": "low"} for name in NOTES}
    async with desk(tmp_path / "a", HAS_TIER, notes=tiered) as gate:
        assert "completed" == await drop(gate, "n1")
    with pytest.raises(BundleError, match=r"policies/desk\.cedar:2.*tier"):
        desks.bundle(tmp_path / "b", HAS_TIER)


# -- T4 · T5: names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["destructive", "desk", "desk.dropNote"])
async def test_a_forbid_of_a_group_bites(tmp_path: Path, group: str) -> None:
    """T4: also where Cedar was told of no action."""
    async with desk(tmp_path, f'{ALL}@id("no") forbid (principal, action in Action::"{group}", resource);') as gate:
        assert "policy.denied" == await drop(gate, "n2")
        expected = "policy.denied" if group == "desk" else "completed"
        assert expected == said(await gate.ask("GET", "/desk/notes/n2"))


@pytest.mark.parametrize("condition", ['action in Action::"destructive"', 'action == Action::"desk.dropNote"', '[Action::"desk.dropNote"].contains(action)'])  # fmt: skip
async def test_an_action_in_a_condition_is_known(tmp_path: Path, condition: str) -> None:
    """T4: groups hold in conditions as they do in scopes."""
    async with desk(tmp_path, f'{ALL}@id("no") forbid (principal, action, resource) when {{ {condition} }};') as gate:
        assert "policy.denied" == await drop(gate, "n2")
        assert "completed" == said(await gate.ask("GET", "/desk/notes/n2"))


@pytest.mark.parametrize(
    "scope",
    [
        'principal, action == Action::"desk.dropNoet", resource',
        'principal, action == Action::"drop", resource',
        'principal, action in Action::"distructive", resource',
        'principal, action == Action::"desk.dropNote", resource is Noet',
        'principal, action == Action::"desk.dropNote", resource == Noet::"n1"',
        'principal == User::"ann", action, resource',
        'principal in Group::"ops", action, resource',
        'principal, action, resource == Tool::"dsek"',
    ],
)
def test_a_name_that_is_none_is_found_at_load(tmp_path: Path, scope: str) -> None:
    """T5: it would match nothing, and a forbid would forbid nothing."""
    with pytest.raises(BundleError, match=r"policies/desk\.cedar:2"):
        desks.bundle(tmp_path, f'{ALL}@id("no") forbid ({scope});')


async def test_who_nobody_knows_is_nobody(tmp_path: Path) -> None:
    """T5: a principal without roles, and a resource without a catalogue, are themselves and nothing else."""
    known = """
    @id("ann") permit (principal == Agent::"corp/ann", action, resource);
    @id("one") permit (principal, action == Action::"desk.readNote", resource == Note::"n1");
    """
    tokens = world(tmp_path)
    async with desk(tmp_path, known, who=tokens.tokens) as gate:
        for subject, expected in (("ann", "completed"), ("anna", "policy.not_allowed"), ("Ann", "policy.not_allowed")):
            bearer = {"Authorization": f"Bearer {sealed(header(), claims(sub=subject), ed_key(), 'EdDSA')}"}
            assert "completed" == said(await gate.ask("GET", "/desk/notes/n1", **bearer))
            assert expected == said(await gate.ask("GET", "/desk/notes/n2", **bearer))
            assert "environment.resource_not_found" == said(await gate.ask("GET", "/desk/notes/N1", **bearer))


# -- T6: what is optional ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "listed"),
    [
        (
            "permit (principal, {0}, resource) when {{ context.args has body.count && context.args.body.count < 5 }};",
            True,
        ),
        ("permit (principal, {0}, resource) when {{ !(context.args has body.count) }};", True),
        ("permit (principal, {0}, resource) unless {{ context.args has body.count }};", True),
        ('permit (principal, {0}, resource) when {{ context has on_behalf_of && context.on_behalf_of == "x" }};', True),
        ('permit (principal, {0}, resource) when {{ context.environment == "dev" }};', False),
        ('permit (principal in Role::"nobody", {0}, resource);', False),
    ],
)
async def test_what_may_be_absent_is_not_taken_for_present(tmp_path: Path, statement: str, listed: bool) -> None:
    """T6: the list neither hides what some call may do, nor promises what none may."""
    async with desk(tmp_path, f'@id("only") {statement.format(WRITE)}') as gate:
        tools = (await gate.ask("GET", "/-/tools")).json["tools"]
        assert listed is (["desk.writeNote"] == [each["operation"] for each in tools])
        if not listed:
            assert "policy.not_allowed" == await refused(gate, "{}")
