"""What a verified token says of its principal: id, roles, claims, on whose behalf."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.auth.idp import World, corp, token, world

from toolgate.auth import AuthError
from toolgate.auth.issuer import Issuer, RoleRule
from toolgate.core.model import Principal


def principal(folder: Path, issuer: dict[str, Any], **said: Any) -> Principal:
    return world(folder, corp(folder / "jwks.json", **issuer)).tokens.authenticate(token(**said))


def refused(folder: Path, issuer: dict[str, Any], **said: Any) -> str:
    with pytest.raises(AuthError) as caught:
        principal(folder, issuer, **said)
    assert caught.value.code == "auth.invalid"
    return caught.value.detail


def test_claims_are_told_by_dotted_names(corp_world: World) -> None:
    """Text, whole numbers and truth values become text; lists and fractions are no claims, and times are not the subject's."""
    said = {
        "team": "sre", "level": 3, "verified": True, "off": False, "nothing": None, "share": 0.5, "groups": ["a"],
        "kubernetes.io": {"namespace": "agents", "pod": {"name": "digest-0"}}, "jti": "1", "nbf": 1,
    }  # fmt: skip
    found = corp_world.tokens.authenticate(token(**said))

    assert found == Principal(
        "corp/alice",
        (),
        {
            "iss": "https://id.example", "aud": "toolgate", "sub": "alice", "team": "sre", "level": "3",
            "verified": "true", "off": "false", "kubernetes.io.namespace": "agents", "kubernetes.io.pod.name": "digest-0",
        },
        None,
    )  # fmt: skip


def test_two_claims_of_one_name_refuse_the_token(tmp_path: Path) -> None:
    """Whoever may choose a claim's name must not be able to stand in for a nested one."""
    said = {"kubernetes.io": {"namespace": "agents"}, "kubernetes.io.namespace": "kube-system"}

    assert "same name" in refused(tmp_path, {}, **said)


def test_claims_are_bounded(tmp_path: Path) -> None:
    """A claim left out silently could switch a forbid off, so too many refuse the token."""
    assert "more than 128 claims" in refused(tmp_path, {}, **{f"c{number}": 1 for number in range(126)})


@pytest.mark.parametrize(
    ("rule", "said", "roles"),
    [
        (RoleRule("groups"), {"groups": ["sre", "dev", "sre"]}, ("sre", "dev")),
        (RoleRule("groups"), {"groups": "sre dev"}, ("sre dev",)),
        (RoleRule("scope", separator=" "), {"scope": "read  write"}, ("read", "write")),
        (RoleRule("groups"), {}, ()),
        (RoleRule("groups"), {"groups": []}, ()),
        (RoleRule("groups"), {"groups": ["Domain Admins", "équipe"]}, ("Domain Admins", "équipe")),
        (RoleRule("realm_access.roles"), {"realm_access": {"roles": ["sre"]}}, ("sre",)),
        (RoleRule("https://example.com/roles"), {"https://example.com/roles": ["sre"]}, ("sre",)),
        (RoleRule("sub", {"alice": ("digest",)}), {}, ("digest",)),
        (RoleRule("groups", {"sre": ("oncall", "digest")}), {"groups": ["admin", "sre"]}, ("oncall", "digest")),
        (RoleRule("groups", {}), {"groups": ["admin"]}, ()),
        (None, {"groups": ["admin"], "roles": ["admin"]}, ()),
    ],
)
def test_roles_come_from_the_configured_claim(
    tmp_path: Path, rule: RoleRule | None, said: dict[str, Any], roles: tuple[str, ...]
) -> None:
    """With a map, only what it names is a role; without, whatever the claim says; without a rule, nothing."""
    assert principal(tmp_path, {"roles": rule}, **said).roles == roles


@pytest.mark.parametrize(
    "said",
    [
        {"groups": 7}, {"groups": {"a": 1}, "groups.a": 2}, {"groups": ["sre", 7]}, {"groups": ["sre", ["dev"]]}, {"groups": ["a\nb"]},
        {"groups": ["\u202eadmin"]}, {"groups": [""]}, {"groups": ["x" * 257]}, {"groups": ["x"] * 257}, {"groups": True},
    ],
)  # fmt: skip
def test_roles_that_cannot_be_read_refuse_the_token(tmp_path: Path, said: dict[str, Any]) -> None:
    """A role left out silently could switch a forbid off."""
    refused(tmp_path, {"roles": RoleRule("groups")}, **said)


def test_roles_that_stand_elsewhere_refuse_the_token(tmp_path: Path) -> None:
    """Entra leaves `groups` out of a token when there are too many, and only says so."""
    said = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example"}}}

    assert "leaves its `groups` out" in refused(tmp_path, {"roles": RoleRule("groups")}, **said)


def test_a_service_account_is_a_principal(tmp_path: Path) -> None:
    """A projected Kubernetes token: a list with our audience, nested claims, roles by subject."""
    subject = "system:serviceaccount:agents:digest"
    found = principal(
        tmp_path,
        {"name": "cluster", "roles": RoleRule("sub", {subject: ("digest",)})},
        sub=subject,
        aud=["toolgate"],
        jti="5bfd",
        **{
            "kubernetes.io": {
                "namespace": "agents",
                "node": {"name": "n1", "uid": "u1"},
                "pod": {"name": "digest-0", "uid": "u2"},
                "serviceaccount": {"name": "digest", "uid": "u3"},
                "warnafter": 1_800_000_000,
            }
        },
    )

    assert (found.id, found.roles) == (f"cluster/{subject}", ("digest",))
    assert found.claims["kubernetes.io.serviceaccount.name"] == "digest"
    assert found.claims["kubernetes.io.namespace"] == "agents"


def test_a_spiffe_id_is_a_principal(tmp_path: Path) -> None:
    """A JWT-SVID: the subject is the ID, the audience a list, and the trust domain is pinned."""
    issuer = {"name": "mesh", "trust_domain": "prod.example"}
    subject = "spiffe://prod.example/ns/agents/sa/digest"

    assert principal(tmp_path, issuer, sub=subject, aud=["toolgate"]).id == f"mesh/{subject}"
    for wrong in (
        "spiffe://dev.example/ns/agents", "spiffe://prod.example", "spiffe://prod.example/", "alice",
        "spiffe://prod.example.evil/x", "spiffe://prod.example//x", "spiffe://prod.example@evil/x", "SPIFFE://prod.example/x",
    ):  # fmt: skip
        assert "not a SPIFFE ID of the trust domain `prod.example`" in refused(tmp_path, issuer, sub=wrong)


def test_a_delegated_token_has_its_subjects_permissions(tmp_path: Path) -> None:
    """RFC 8693: `sub` is who it is for and whose authority was delegated, `act.sub` who acts. The actor adds nothing."""
    issuer: dict[str, Any] = {"roles": RoleRule("groups")}
    act = {"sub": "digest-bot", "iss": "https://other.example", "groups": ["admin"], "act": {"sub": "planner"}}
    found = principal(tmp_path, issuer, groups=["sre"], act=act)

    assert (found.id, found.roles, found.on_behalf_of) == ("corp/alice", ("sre",), "corp/alice")
    assert found.claims["act.sub"] == "digest-bot"
    assert [name for name in found.claims if name.startswith("act.act")] == []
    assert principal(tmp_path, issuer).on_behalf_of is None


@pytest.mark.parametrize(
    "act",
    [
        None, "bot", [], {}, {"sub": 1}, {"sub": "a b"}, {"sub": "bot", "act": "planner"}, {"sub": "bot", "act": {}},
        {"sub": "1", "act": {"sub": "2", "act": {"sub": "3", "act": {"sub": "4", "act": {"sub": "5"}}}}},
    ],
)  # fmt: skip
def test_an_actor_that_cannot_be_read_refuses_the_token(tmp_path: Path, act: Any) -> None:
    """Each actor has a subject, and there are at most four."""
    refused(tmp_path, {}, act=act)


def test_a_claim_cannot_name_the_gate_itself(tmp_path: Path) -> None:
    """A token's principal always has its issuer's name before it, so no token makes `toolgate` or the anonymous id."""
    issuer: Issuer = corp(tmp_path / "jwks.json")

    assert principal(tmp_path, {}, sub="toolgate").id == f"{issuer.name}/toolgate"
