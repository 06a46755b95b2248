"""INV17: what is sent by an approval is, byte by byte, what was asked for; and it is sent once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import OPENAPI, TOOL
from tests.gateway.scene import ALL, JSON, ONCALL, Scene, code_of, scene
from tests.support.policies import permit_all

from toolgate.core.approval import Approval
from toolgate.core.bundle import Bundle
from toolgate.core.engine import check
from toolgate.core.model import Call, Facts, Named, OpenedRun, Principal, Refused, Reply, Said, ValidCall
from toolgate.load.bundle import Sources, load

ASK = '@id("ask") @approval("oncall") forbid (principal, action, resource) when { !(context.args has n) };\n'
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from((1.0, 0.0, -0.0, 1e16, 10**16, 0.1)),
    st.sampled_from(("", "1", "true", "é", "e\u0301", "a b", "a%20b")),
)
_BODIES = st.dictionaries(
    st.sampled_from(("n", "m", "N")),
    st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner)),
    max_size=3,
)


@dataclass(frozen=True)
class Asked:
    """Everything about a call that somebody could change."""

    operation: str
    item: str
    body: Mapping[str, Any]
    principal: Principal
    run: str | None

    def call(self, desk: Scene) -> Call:
        arguments = {"id": self.item} | ({"body": self.body} if self.operation == "shop.putItem" else {})
        run = OpenedRun(self.run, desk.clock.at_ms + 3_600_000) if self.run else None
        return desk.gateway.new_call(self.principal, Named(self.operation, arguments), Said(), run)


CALLS = st.builds(
    Asked,
    operation=st.sampled_from(("shop.putItem", "shop.getItem", "shop.strictItem")),
    item=st.sampled_from(("a", "b", "A", "é")),
    body=_BODIES,
    principal=st.sampled_from(
        (
            Principal("ann"),
            Principal("bob"),
            Principal("ann", on_behalf_of="bob"),
            Principal("ann", (), {"act.sub": "x"}),
        )
    ),
    run=st.sampled_from((None, "run_1", "run_2")),
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Asked, Asked]:
    """A call, and it again with some of it drawn anew."""
    granted, other = draw(CALLS), draw(CALLS)
    kept = draw(st.sets(st.sampled_from(("operation", "item", "body", "principal", "run"))))
    return granted, Asked(**{name: getattr(granted if name in kept else other, name) for name in Asked.__match_args__})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("shop")
    (folder / "shop").mkdir()
    (folder / "shop" / "tool.yaml").write_text(TOOL)
    (folder / "shop" / "openapi.yaml").write_text(OPENAPI)
    (folder / "shop" / "accounts.yaml").write_text("- {id: ann}\n")
    return load(Sources(folder, permit_all(tmp_path_factory.mktemp("policies")), "prod", ("dev", "prod")))


def meant(asked: Asked, desk: Scene) -> tuple[object, ...]:
    """What a call is, to whoever agrees to it."""
    call = asked.call(desk)
    valid = check(call, Facts(), desk.bundle)
    assume(isinstance(valid, ValidCall))  # what is no call at all is refused before anybody is asked
    assert isinstance(valid, ValidCall)
    who = (call.principal.id, call.principal.on_behalf_of, call.principal.claims.get("act.sub"))
    return valid.operation.key, valid.request, who, asked.run


async def one_grant(shop: Bundle, granted: Asked, other: Asked) -> None:
    async with scene(shop, ALL + ASK) as desk:
        is_same = meant(granted, desk) == meant(other, desk)
        desk.upstream.reply = Reply(200, JSON, b'{"id":"a"}')
        refused = await desk.gateway.handle(granted.call(desk))
        assert isinstance(refused, Refused), refused
        answer = await desk.approvals.grant(str(refused.refusal.recovery.approval), ONCALL)
        assert isinstance(answer, Approval)

        assert ("completed" if is_same else "approval.required") == code_of(await desk.gateway.handle(other.call(desk)))
        assert ("approval.required" if is_same else "completed") == code_of(
            await desk.gateway.handle(granted.call(desk))
        )
        assert 1 == len(desk.upstream.sent)


ONE = Asked("shop.putItem", "a", {"n": 1, "m": 2}, Principal("ann"), None)


@given(pair=pairs())
@example(pair=(ONE, Asked("shop.putItem", "a", {"m": 2, "n": 1}, Principal("ann"), None)))
@example(pair=(ONE, Asked("shop.putItem", "a", {"n": 1.0, "m": 2}, Principal("ann"), None)))
@example(pair=(ONE, ONE))
@settings(max_examples=150, deadline=None)
def test_a_grant_for_one_call_never_lets_another_through(shop: Bundle, pair: tuple[Asked, Asked]) -> None:
    """Whatever is changed of a call that was granted: it is asked for anew, and the grant still serves its own."""
    asyncio.run(one_grant(shop, *pair))


@pytest.mark.soak
@given(pair=pairs())
@settings(max_examples=5_000, deadline=None)
def test_a_long_walk(shop: Bundle, pair: tuple[Asked, Asked]) -> None:
    """The same, for long."""
    asyncio.run(one_grant(shop, *pair))
