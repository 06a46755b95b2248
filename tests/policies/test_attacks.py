"""Attacks on policies as such (SAFETY, part I and what of N concerns them), over the socket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.auth.idp import claims, ed_key, header, sealed, world
from tests.support import desk as desks
from tests.support.desk import ALL, NOTES, desk, said

from toolgate.core.bundle import BundleError

WRITE = 'action == Action::"desk.writeNote"'


async def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    """H08: `*` in a subject or a resource's id is a character, in statements and in what is held against them."""
    policies = """
    @id("star") permit (principal == Agent::"corp/*", action == Action::"desk.readNote", resource == Note::"*");
    @id("ann") permit (principal == Agent::"corp/ann", action == Action::"desk.readNote", resource == Note::"n1");
    """
    tokens = world(tmp_path)
    permitted = set()
    async with desk(tmp_path, policies, who=tokens.tokens, notes=NOTES | {"*": {}}) as gate:
        for subject in ("*", "ann", "a*", "?"):
            bearer = {"Authorization": f"Bearer {sealed(header(), claims(sub=subject), ed_key(), 'EdDSA')}"}
            for note in ("%2A", "n1", "n2"):
                if said(await gate.ask("GET", f"/desk/notes/{note}", **bearer)) == "completed":
                    permitted.add((subject, note))
    assert {("*", "%2A"), ("ann", "n1")} == permitted


@pytest.mark.parametrize("condition", ["context.args has body.tags && context.args.body.tags.containsAll([])", "[].containsAny([])", "!([].isEmpty())"])  # fmt: skip
def test_an_empty_set_is_no_condition(tmp_path: Path, condition: str) -> None:
    """I13: what holds of nothing holds always; such a statement is refused at load."""
    with pytest.raises(BundleError, match=r"policies/desk\.cedar:2"):
        desks.bundle(tmp_path, f'{ALL}@id("no") permit (principal, {WRITE}, resource) when {{ {condition} }};')


async def test_an_empty_list_meets_no_requirement(tmp_path: Path) -> None:
    """I13: nor does what the agent leaves empty, or out."""
    required = f'@id("tagged") permit (principal, {WRITE}, resource) when {{ context.args has body.tags && context.args.body.tags.containsAll(["reviewed"]) }};'
    async with desk(tmp_path, required) as gate:
        bodies = (
            '{"tags":[]}',
            "{}",
            '{"tags":["x"]}',
            '{"tags":["x","reviewed"]}',
            '{"tags":["reviewed","reviewed"]}',
        )
        codes = [said(await gate.write(body)) for body in bodies]
        assert ["policy.not_allowed"] * 3 + ["completed"] * 2 == codes


async def test_what_was_read_may_not_be_sent_on(tmp_path: Path) -> None:
    """N01: each call alone is allowed; after the one, the other is not."""
    flow = f'{ALL}@id("no-leak") @reason("Notes stay inside") forbid (principal, {WRITE}, resource) when {{ context.run.completed.contains("desk.readNote") }};'
    async with desk(tmp_path, flow) as gate:
        assert "completed" == said(await gate.write("{}"))
        assert "completed" == said(await gate.ask("GET", "/desk/notes/n1"))
        problem = (await gate.write("{}")).json
        assert ("policy.denied", "`desk.writeNote` is blocked: Notes stay inside") == (
            problem["code"],
            problem["detail"],
        )


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("https://ok.example/a", "completed"),
        ("https://ok.example.evil/a", "policy.not_allowed"),
        ("HTTPS://ok.example/a", "policy.not_allowed"),
        ("http://ok.example/a", "policy.not_allowed"),
        ("https://evil/https://ok.example/", "policy.not_allowed"),
        ("\u200bhttps://ok.example/a", "policy.not_allowed"),
        ("https://ok.example\uff0fa", "policy.not_allowed"),
    ],
)
async def test_a_field_is_held_to_its_pattern(tmp_path: Path, title: str, expected: str) -> None:
    """N03: `like` is of the whole text, character by character."""
    hosts = f'@id("hosts") permit (principal, {WRITE}, resource) when {{ context.args has body.title && context.args.body.title like "https://ok.example/*" }};'
    async with desk(tmp_path, hosts) as gate:
        assert expected == said(await gate.write(json.dumps({"title": title})))


async def test_a_refusal_tells_no_threshold(tmp_path: Path) -> None:
    """N10: the statement's name, its reason and its hint, which somebody wrote for whom it refuses; no condition of it."""
    policies = f"""{ALL}
    @id("small") @reason("Too many at once") @hint("Send fewer.") forbid (principal, {WRITE}, resource)
    when {{ context.args has body.count && context.args.body.count > 7421 }};
    @id("quiet") forbid (principal, action == Action::"desk.dropNote", resource is Note)
    when {{ resource has tier && resource.tier == "critical" }};
    """
    async with desk(tmp_path, policies) as gate:
        loud = await gate.write('{"count":9999}')
        assert ("`desk.writeNote` is blocked: Too many at once", "Send fewer.", ["small"]) == (
            loud.json["detail"],
            loud.json["recovery"]["hint"],
            loud.json["statements"],
        )
        quiet = await gate.ask("DELETE", "/desk/notes/n1")
        assert "policy.denied" == said(quiet)
        for told in (loud, quiet):
            assert b"7421" not in told.body
            assert b"9999" not in told.body
            assert b"critical" not in told.body
