"""Which tokens verify (attacks part J): one table of those that do, one of those that do not, each with its reason."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.auth.idp import (
    ISSUER,
    NOW,
    World,
    b64,
    claims,
    corp,
    ec_key,
    ed_key,
    header,
    jwk,
    jwks,
    rsa_key,
    sealed,
    token,
    world,
)

from toolgate.auth import AuthError
from toolgate.auth.issuer import FromSecret
from toolgate.core.catalog import Secret

KEYS: dict[str, Any] = {
    "RS256": rsa_key(), "RS384": rsa_key(), "RS512": rsa_key(), "PS256": rsa_key(), "PS384": rsa_key(), "PS512": rsa_key(),
    "ES256": ec_key(), "ES384": ec_key("P-384"), "ES512": ec_key("P-521"), "EdDSA": ed_key(),
}  # fmt: skip
EVERY = jwks(*(jwk(key, str(number)) for number, key in enumerate({id(key): key for key in KEYS.values()}.values())))


def refused(place: World, presented: str) -> str:
    """Hold a token that must not verify; answer why, as one line `code: detail`."""
    with pytest.raises(AuthError) as caught:
        place.tokens.authenticate(presented)
    return f"{caught.value.code}: {caught.value.detail}"


@pytest.mark.parametrize("alg", KEYS)
def test_every_algorithm_verifies_with_a_key_of_its_type(tmp_path: Path, alg: str) -> None:
    """RS, PS, ES and EdDSA; the key says which, and no configuration is needed for it."""
    place = world(tmp_path, document=EVERY)
    kid = next(said["kid"] for said in json.loads(EVERY)["keys"] if said == jwk(KEYS[alg], said["kid"]))

    found = place.tokens.authenticate(sealed(header(alg=alg, kid=kid), claims(), KEYS[alg], alg))

    assert found.id == "corp/alice"


@pytest.mark.parametrize(
    "presented",
    [
        pytest.param(token({"typ": ...}), id="no typ"),
        pytest.param(token({"typ": "at+jwt"}), id="at+jwt"),
        pytest.param(token({"typ": "application/AT+JWT"}), id="media type"),
        pytest.param(token({"typ": "JOSE"}), id="SPIFFE's JOSE"),
        pytest.param(token({"kid": ...}), id="no kid, one key"),
        pytest.param(token(aud=["toolgate"]), id="our audience in a list"),
        pytest.param(token(nbf=NOW - 60), id="nbf"),
        pytest.param(token(nbf=NOW + 30, iat=NOW + 30), id="nbf and iat at the leeway"),
        pytest.param(token(exp=NOW - 29, iat=NOW - 600), id="exp within the leeway"),
        pytest.param(token(iat=NOW, exp=NOW + 3600), id="as long as allowed"),
        pytest.param(
            token({"jku": "http://169.254.169.254/", "x5u": "http://evil/", "x5c": ["eA=="]}), id="urls unused"
        ),
    ],
)
def test_a_good_token_verifies(corp_world: World, presented: str) -> None:
    """What a well-behaved issuer may write differently is taken."""
    assert corp_world.tokens.authenticate(presented).id == "corp/alice"


FORM = "auth.invalid: what was presented is not a signed JSON web token"
GOOD = token()
HEAD, BODY, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize(
    ("presented", "why"),
    [
        # J01: no signature at all.
        *(
            (f"{b64(json.dumps({'alg': alg}).encode())}.{BODY}.{end}", why)
            for alg in ("none", "NoNe", "NONE", "")
            for end, why in (("", FORM), (SIGNATURE, "auth.invalid: the token"))
        ),
        # J11: forms that are not the compact one.
        ("", FORM),
        (" ", FORM),
        ("null", FORM),
        (f"{HEAD}.{BODY}", FORM),
        (f"{GOOD}.", FORM),
        (f"{GOOD}.e30", FORM),
        (f"{HEAD}.{BODY}.{SIGNATURE}.e30.e30", FORM),
        (f"{GOOD}\n", FORM),
        (f" {GOOD}", FORM),
        (f"{GOOD} ", FORM),
        (f"{GOOD}=", FORM),
        (f"{GOOD}==", FORM),
        (f"{HEAD}=.{BODY}.{SIGNATURE}", FORM),
        (f"{HEAD}.{BODY[:5]} {BODY[5:]}.{SIGNATURE}", FORM),
        (GOOD.replace("_", "/").replace("-", "+") + "+", FORM),
        (f"Bearer {GOOD}", FORM),
        ("Basic dXNlcjpwYXNz", FORM),
        (f"{GOOD}\u0661", FORM),
        (f"{HEAD}.{BODY}.{SIGNATURE}A", "auth.invalid: the token's signature does not verify"),
        (f"{HEAD}.{BODY}.{SIGNATURE[:-2]}", "auth.invalid: the token's signature does not verify"),
        (f"{HEAD}.{BODY}.AA", "auth.invalid: the token's signature does not verify"),
        (f"{HEAD[:-1]}.{BODY}.{SIGNATURE}", "auth.invalid: the token's header is not one JSON object"),
        ("A" * 9000, "auth.invalid: the token is longer than 8192 characters"),
        # Strict JSON: what two readers could read differently.
        (sealed(b'{"alg":"EdDSA","kid":"x","kid":"ed"}', claims(), ed_key(), "EdDSA"), "auth.invalid: the token's header"),
        (sealed(header(), b'{"iss":"https://id.example","aud":"a","aud":"toolgate"}', ed_key(), "EdDSA"), "auth.invalid: the token's payload"),
        (sealed(header(), json.dumps(claims()).replace("}", ', "Sub": "root"}').encode(), ed_key(), "EdDSA"), "auth.invalid: the token's payload"),
        (sealed(header(), b"[]", ed_key(), "EdDSA"), "auth.invalid: the token's payload"),
        (sealed(header(), b"\xff", ed_key(), "EdDSA"), "auth.invalid: the token's payload"),
        (sealed(header(), b'{"iss":"https://id.example","x":1e999}', ed_key(), "EdDSA"), "auth.invalid: the token's payload"),
        # Headers that would change what is read.
        (token({"crit": ["exp"], "exp": 1}), "auth.invalid: the token's header asks for extensions"),  # J07
        (token({"crit": []}), "auth.invalid: the token's header asks for extensions"),
        (token({"b64": False}), "auth.invalid: the token's header asks for extensions"),
        (token({"typ": "dpop+jwt"}), "auth.invalid: the token's `typ` says that it is another kind"),
        (token({"typ": "secevent+jwt"}), "auth.invalid: the token's `typ` says that it is another kind"),
        (token({"typ": "logout+jwt"}), "auth.invalid: the token's `typ` says that it is another kind"),
        (token({"typ": 1}), "auth.invalid: the token's `typ` says that it is another kind"),
        (token({"alg": ...}), "auth.invalid: the token's header has no `alg`"),
        (token({"alg": ["EdDSA"]}), "auth.invalid: the token's header has no `alg`"),
        # J08: a key is looked up by name and nothing else.
        (token({"kid": "../../dev/null"}), "auth.invalid: the token names a key that issuer `corp` does not have"),
        (token({"kid": "' OR 1=1 --"}), "auth.invalid: the token names a key that issuer `corp` does not have"),
        (token({"kid": ""}), "auth.invalid: the token names a key that issuer `corp` does not have"),
        (token({"kid": 0}), "auth.invalid: the token's header has no `alg`, or a `kid` that is not text"),
        (sealed(header(jwk=jwk(ed_key("mallory"), "ed")), claims(), ed_key("mallory"), "EdDSA"), "auth.invalid: the token's signature"),
        (sealed(header(jku="http://169.254.169.254/"), claims(), ed_key("mallory"), "EdDSA"), "auth.invalid: the token's signature"),
        (sealed(header(kid=...), claims(), ed_key("mallory"), "EdDSA"), "auth.invalid: the token's signature"),
        (token({"alg": "RS256"}), "auth.invalid: the token is signed with an algorithm that its key is not used with"),
        (token({"alg": "eddsa"}), "auth.invalid: the token is signed with an algorithm that its key is not used with"),
        # Whose it is, and for whom.
        (token(iss=...), "auth.invalid: the token was issued by nobody this gate trusts"),
        (token(iss=f"{ISSUER}/"), "auth.invalid: the token was issued by nobody this gate trusts"),
        (token(iss=ISSUER.upper()), "auth.invalid: the token was issued by nobody this gate trusts"),
        (token(iss=[ISSUER]), "auth.invalid: the token was issued by nobody this gate trusts"),
        (token(aud=...), "auth.invalid: the token has no audience"),  # J05
        (token(aud=None), "auth.invalid: the token has no audience"),
        (token(aud=1), "auth.invalid: the token has no audience"),
        (token(aud={"toolgate": 1}), "auth.invalid: the token has no audience"),
        (token(aud=[["toolgate"]]), "auth.invalid: the token has no audience"),
        (token(aud=[]), "auth.invalid: the token is for another audience; get one for `toolgate`"),
        (token(aud="toolgate2"), "auth.invalid: the token is for another audience; get one for `toolgate`"),
        (token(aud="Toolgate"), "auth.invalid: the token is for another audience; get one for `toolgate`"),
        (token(aud=["other", "toolgate"]), "auth.invalid: the token is for other audiences beside `toolgate`"),
        (token(sub=...), "auth.invalid: the token's subject"),
        (token(sub=""), "auth.invalid: the token's subject"),
        (token(sub=7), "auth.invalid: the token's subject"),
        (token(sub="a b"), "auth.invalid: the token's subject"),
        (token(sub="a\nb"), "auth.invalid: the token's subject"),
        (token(sub='a"b'), "auth.invalid: the token's subject"),
        (token(sub="a`b"), "auth.invalid: the token's subject"),
        (token(sub="аlice"), "auth.invalid: the token's subject"),  # a Cyrillic letter
        (token(sub="a" * 256), "auth.invalid: the token's subject"),
        (token(cnf={"jkt": "x"}), "auth.invalid: the token is bound to its holder's key (`cnf`)"),
        (token(cnf=None), "auth.invalid: the token is bound to its holder's key (`cnf`)"),
        # J04: times are whole numbers, and no token lives for ever.
        (token(exp=...), "auth.invalid: the token must say when it was issued and when it expires"),
        (token(iat=...), "auth.invalid: the token must say when it was issued and when it expires"),
        (token(exp=str(NOW + 600)), "auth.invalid: the token must say when"),
        (token(exp=True), "auth.invalid: the token must say when"),
        (token(exp=NOW + 600.5), "auth.invalid: the token must say when"),
        (token(exp=-1), "auth.invalid: the token must say when"),
        (token(exp=253402300799), "auth.invalid: the token is made to live for 251602300859 s"),
        (token(exp=NOW + 3600), "auth.invalid: the token is made to live for 3660 s; `corp` may give them 3600 s"),
        (token(nbf="1"), "auth.invalid: the token's `nbf` is not a whole number"),
        (token(nbf=NOW + 31), "auth.invalid: the token is not valid yet"),
        (token(iat=NOW + 31), "auth.invalid: the token is not valid yet"),
        (token(exp=NOW - 30, iat=NOW - 600), "auth.expired: the token has expired"),
        (token(exp=0, iat=0), "auth.expired: the token has expired"),
    ],
)  # fmt: skip
def test_a_bad_token_is_refused_with_its_reason(corp_world: World, presented: str, why: str) -> None:
    """Nothing falls back, nothing is remembered, and the reason repeats nothing of the token."""
    said = refused(corp_world, presented)

    assert said.startswith(why)
    assert corp_world.counted[-1][1] in {"invalid", "expired"}
    assert refused(corp_world, presented) == said


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    """J02: a token signed with HS256 and the RSA key's own PEM or DER as its secret does not verify."""
    public = rsa_key().public_key()
    place = world(tmp_path, document=jwks(jwk(rsa_key(), "rsa")))
    for encoding in (Encoding.PEM, Encoding.DER):
        secret = public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        for alg in ("HS256", "HS384", "HS512"):
            forged = sealed(header(alg=alg, kid="rsa"), claims(), secret, alg)
            assert refused(place, forged).startswith("auth.invalid: the token is signed with an algorithm")


def test_a_token_signed_by_another_issuer_is_not_ours(tmp_path: Path) -> None:
    """Each issuer's tokens are held against its own keys, whatever keys another has."""
    place = world(tmp_path)
    (tmp_path / "other.json").write_bytes(jwks(jwk(ed_key("other"), "ed")))
    other = corp(tmp_path / "other.json", name="other", issuer="https://other.example")
    place = world(tmp_path, corp(tmp_path / "jwks.json"), other)
    cross = sealed(header(), claims(iss="https://other.example"), ed_key(), "EdDSA")

    assert refused(place, cross).startswith("auth.invalid: the token's signature")
    mine = sealed(header(), claims(iss="https://other.example"), ed_key("other"), "EdDSA")
    assert place.tokens.authenticate(mine).id == "other/alice"


def test_algorithms_can_be_pinned(tmp_path: Path) -> None:
    """With `algorithms`, a key is used with those of its type that are listed; a key of another type is left out."""
    file = tmp_path / "jwks.json"
    place = world(
        tmp_path, corp(file, algorithms=("PS256",)), document=jwks(jwk(rsa_key(), "rsa"), jwk(ed_key(), "ed"))
    )

    assert place.tokens.authenticate(sealed(header(alg="PS256", kid="rsa"), claims(), rsa_key(), "PS256"))
    assert "algorithm that its key" in refused(
        place, sealed(header(alg="RS256", kid="rsa"), claims(), rsa_key(), "RS256")
    )
    assert "names a key" in refused(place, token())


def test_a_shared_secret_verifies_where_one_is_configured(tmp_path: Path) -> None:
    """HS256 by default; the header cannot ask for another, and a `kid` names nothing."""
    secret = b"0123456789abcdef0123456789abcdef"
    (tmp_path / "secret").write_bytes(secret + b"\n")
    place = world(tmp_path, corp(tmp_path, source=FromSecret(Secret("file", str(tmp_path / "secret")))))

    def minted(alg: str, **head: Any) -> str:
        return sealed(header(alg=alg, kid=..., **head), claims(), secret, alg)

    assert place.tokens.authenticate(minted("HS256")).id == "corp/alice"
    assert "algorithm that its key" in refused(place, minted("HS512"))
    assert "names a key" in refused(place, sealed(header(alg="HS256"), claims(), secret, "HS256"))
    assert "signature" in refused(place, sealed(header(alg="HS256", kid=...), claims(), secret[:-1], "HS256"))


def test_audiences_beside_ours_are_those_that_are_configured(tmp_path: Path) -> None:
    """An Auth0 or Keycloak token names its user-info endpoint or account service too; nothing else is let through."""
    place = world(tmp_path, corp(tmp_path / "jwks.json", other_audiences=frozenset({"account"})))

    assert place.tokens.authenticate(token(aud=["account", "toolgate"])).id == "corp/alice"
    assert place.tokens.authenticate(token(aud="toolgate")).id == "corp/alice"
    assert "other audiences beside" in refused(place, token(aud=["account", "toolgate", "shop"]))
    assert "another audience" in refused(place, token(aud=["account"]))


@pytest.mark.parametrize("skew_s", [-90, 90])
def test_a_clock_that_is_off_by_more_than_the_leeway_is_told(corp_world: World, skew_s: int) -> None:
    """SAFETY FT32: 30 s are forgiven, 90 s are not, in both directions."""
    said = refused(corp_world, token(iat=NOW + skew_s, exp=NOW + skew_s + (5 if skew_s < 0 else 600)))

    assert said.startswith("auth.expired" if skew_s < 0 else "auth.invalid: the token is not valid yet")


def test_nothing_of_a_token_is_in_an_error(corp_world: World) -> None:
    """Whoever reads an error learns no claim, no name of a key and no part of the token."""
    marked = {
        "sub": "canary sub",
        "iss": "https://canary.example",
        "aud": "canary-aud",
        "exp": "canary",
        "act": "canary",
    }
    for name, value in marked.items():
        assert "canary" not in refused(corp_world, token(**{name: value}))
    for name, value in (("kid", "canary"), ("typ", "canary"), ("alg", "canary"), ("crit", ["canary"])):
        assert "canary" not in refused(corp_world, token({name: value}))
    assert "canary" not in refused(corp_world, base64.b64encode(b"canary").decode())
