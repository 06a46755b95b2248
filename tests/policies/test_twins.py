"""One request that means several operations (keys that differ only by `#…`): policies judge each of them (DESIGN §6)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.desk import ALL, Desk, desk, said

SEALED = 'action == Action::"desk.sealFile"'
WAYS = ("by path", "draftFile", "sealFile")


async def put(gate: Desk, way: str) -> str:
    if way == "by path":
        return said(await gate.ask("PUT", "/desk/files/a"))
    return said(await gate.call(way, '{"id": "a"}'))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        (ALL, "completed"),
        (f'{ALL}@id("no") forbid (principal, {SEALED}, resource);', "policy.denied"),
        ('@id("draft") permit (principal, action == Action::"desk.draftFile", resource);', "policy.not_allowed"),
        (f'@id("seal") permit (principal, {SEALED}, resource);', "policy.not_allowed"),
        (f'{ALL}@id("ask") @approval("oncall") forbid (principal, {SEALED}, resource);', "approval.required"),
        (f'{ALL}@id("late") forbid (principal, {SEALED}, resource) when {{ context.run.calls > 0 }};', "completed"),
    ],
)
async def test_a_request_is_sent_only_if_all_it_means_may_be_called(
    tmp_path: Path, policies: str, expected: str, way: str
) -> None:
    """SECURITY: the upstream chooses which of them it runs, and not the caller's word for it."""
    async with desk(tmp_path, policies) as gate:
        assert expected == await put(gate, way)
        assert (expected == "completed") is bool(gate.sent)


@pytest.mark.parametrize("way", WAYS)
async def test_what_each_of_them_was_judged_by_is_journaled(tmp_path: Path, way: str) -> None:
    """Every statement that allowed it, what audit would have changed for any of them, and the facts either read."""
    policies = f"""
    @id("draft") permit (principal, action == Action::"desk.draftFile", resource);
    @id("seal") permit (principal, {SEALED}, resource) when {{ context.run.calls < 9 }};
    @id("soon") @mode("audit") forbid (principal, {SEALED}, resource);
    """
    async with desk(tmp_path, policies) as gate:
        assert "completed" == await put(gate, way)
        (decided,) = await gate.decided(1)
        assert ["draft", "seal"] == decided["statements"]
        assert {"decision": "refuse", "code": "policy.denied", "statements": ["soon"]} == decided["would"]
        assert 0 == decided["facts"]["run"]["calls"]


@pytest.mark.parametrize("way", WAYS)
async def test_audit_turns_the_refusal_only_where_it_would_allow_all(tmp_path: Path, way: str) -> None:
    """A permit in audit for one of them changes nothing while the other is refused all the same."""
    policies = f'@id("soon") @mode("audit") permit (principal, {SEALED}, resource);\n'
    drafts = '@id("draft") permit (principal, action == Action::"desk.draftFile", resource);\n'
    for at, (text, flips) in enumerate([(policies, False), (policies + drafts, True)]):
        async with desk(tmp_path / str(at), text) as gate:
            assert "policy.not_allowed" == await put(gate, way)
            (decided,) = await gate.decided(1)
            assert flips is ("would" in decided)


async def test_explaining_tells_of_the_one_that_refuses(tmp_path: Path) -> None:
    """The statements shown are those of the operation that is refused."""
    async with desk(tmp_path, f'{ALL}@id("no") forbid (principal, {SEALED}, resource);') as gate:
        asked = b'{"operation": "desk.draftFile", "arguments": {"id": "a"}}'
        stages = (await gate.ask("POST", "/-/explain", asked)).json["stages"]
        stage = next(each for each in stages if each["stage"] == "policy")
        assert ["no"] == stage["statements"]
        assert [("all", True), ("no", True)] == [(each["statement"], each["holds"]) for each in stage["applied"]]
