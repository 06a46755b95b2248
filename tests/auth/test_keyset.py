"""Which keys of a JWKS are taken, and that what is no JWKS never is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from tests.auth.idp import b64, ec_key, ed_key, jwk, jwks, number, rsa_key

from toolgate.auth.errors import KeysUnavailableError
from toolgate.auth.keyset import Keys, read_jwks, read_secret

WEAK = rsa_key("weak", 1024)


def told(document: bytes) -> str:
    with pytest.raises(KeysUnavailableError) as caught:
        read_jwks(document, ())
    return str(caught.value)


def test_a_key_has_the_algorithms_of_its_type() -> None:
    """And of them only the one it names, if it names one."""
    found = read_jwks(
        jwks(
            jwk(rsa_key(), "r"), jwk(rsa_key("two"), "r2", alg="PS256", use="sig", key_ops=["verify"]),
            *(jwk(ec_key(curve), curve) for curve in ("P-256", "P-384", "P-521")), jwk(ed_key(), "ed"),
        ),
        (),
    )  # fmt: skip

    assert {kid: key.algorithms for kid, key in found.named.items()} == {
        "r": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        "r2": ("PS256",),
        "P-256": ("ES256",),
        "P-384": ("ES384",),
        "P-521": ("ES512",),
        "ed": ("EdDSA",),
    }
    assert (len(found), found.refused, found.only) == (6, (), None)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ({"kty": "oct", "kid": "x", "k": b64(b"x" * 32)}, "it is not a public key of type RSA, EC or OKP"),
        (jwk(WEAK, "x"), "it has 1024 bits; RSA keys need 2048 to 8192"),
        (jwk(rsa_key(), "x", d=number(7)), "its private part is published"),
        (jwk(ed_key(), "x", d=b64(b"x" * 32)), "its private part is published"),
        (jwk(rsa_key(), "x", use="enc"), "it is not for verifying signatures"),
        (jwk(rsa_key(), "x", use=["sig"]), "it is not for verifying signatures"),
        (jwk(rsa_key(), "x", key_ops=["sign"]), "it is not for verifying signatures"),
        (jwk(rsa_key(), "x", key_ops=1), "it is not for verifying signatures"),
        (jwk(rsa_key(), "x", alg="HS256"), "its type, curve or `alg`"),
        (jwk(rsa_key(), "x", alg="RSA-OAEP"), "its type, curve or `alg`"),
        (jwk(rsa_key(), "x", alg="none"), "its type, curve or `alg`"),
        (jwk(ec_key(), "x", alg="ES384"), "its type, curve or `alg`"),
        (jwk(ec_key(), "x") | {"crv": "secp256k1"}, "its type, curve or `alg`"),
        (jwk(ec_key(), "x") | {"crv": ["P-256"]}, "its type, curve or `alg`"),
        (jwk(ed_key(), "x") | {"crv": "Ed448"}, "its type, curve or `alg`"),
        (jwk(ec_key(), "x") | {"y": number(1, 32)}, "its parameters make no key"),
        (jwk(ec_key(), "x") | {"x": 7}, "its parameters make no key"),
        (jwk(ed_key(), "x") | {"x": b64(b"short")}, "its parameters make no key"),
        (jwk(rsa_key(), "x") | {"e": number(1)}, "its parameters make no key"),
        (jwk(rsa_key(), "x") | {"n": "?"}, "its parameters make no key"),
        ({"kty": "RSA", "kid": "x"}, "its parameters make no key"),
        ({"kty": ["RSA"], "kid": "x"}, "it is not a public key"),
        ({"kid": "x"}, "it is not a public key"),
        (jwk(ed_key(), None) | {"kid": 7}, "its `kid` is not text"),
    ],
)
def test_a_key_that_should_not_be_trusted_is_left_out(key: dict[str, Any], why: str) -> None:
    """With its reason for the log; the other keys serve."""
    found = read_jwks(jwks(key, jwk(ed_key(), "ed")), ())

    assert list(found.named) == ["ed"]
    (said,) = found.refused
    assert why in said


def test_two_keys_of_one_name_are_both_left_out() -> None:
    """Which of them was meant cannot be told; one that is for encryption is not one of them."""
    found = read_jwks(
        jwks(jwk(ed_key(), "x"), jwk(rsa_key(), "x"), jwk(ec_key(), "y"), jwk(rsa_key(), "y", use="enc")), ()
    )

    assert list(found.named) == ["y"]
    assert "key `x`: more than one key has this `kid`" in found.refused


def test_a_token_without_kid_finds_the_only_key() -> None:
    """Where there are several, none."""
    assert read_jwks(jwks(jwk(ed_key(), None)), ()).find(None) is not None
    assert read_jwks(jwks(jwk(ed_key(), "ed")), ()).find(None) is not None
    assert read_jwks(jwks(jwk(ed_key(), None), jwk(ec_key(), None)), ()).find(None) is None


def test_no_keys_is_an_answer() -> None:
    """An issuer that publishes none has revoked them all."""
    assert len(read_jwks(b'{"keys":[]}', ())) == 0


@pytest.mark.parametrize(
    "document",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"keys":{}}', b'{"keys":[1]}', b'{"keys":[],"keys":[]}', b'{"keys":["\\ud800"]}',
     json.dumps({"keys": [{}] * 257}).encode()],
)  # fmt: skip
def test_what_is_no_jwks_is_told(document: bytes) -> None:
    """A login page, a list, a document with a twin: never an empty set of keys."""
    assert told(document).startswith("what was read is no JWKS")


@given(st.binary(max_size=200))
def test_any_bytes_are_keys_or_a_sentence(document: bytes) -> None:
    """Whatever answers at the URL, nothing escapes but `KeysUnavailableError`, on one line."""
    said = ""
    try:
        assert isinstance(read_jwks(document, ()), Keys)
    except KeysUnavailableError as error:
        said = str(error)

    assert "\n" not in said


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9), lambda inner: st.lists(inner, max_size=3)
)
_MEMBERS = ("kty", "kid", "crv", "x", "y", "n", "e", "d", "k", "alg", "use", "key_ops", "x5c")


@given(
    st.sampled_from([jwk(rsa_key(), "r"), jwk(ec_key(), "e"), jwk(ed_key(), "d")]),
    st.dictionaries(st.sampled_from(_MEMBERS), _JSON),
)
def test_any_members_make_a_key_or_are_left_out(key: dict[str, Any], changed: dict[str, Any]) -> None:
    """No member of a key, whatever its type, breaks the reading of the others."""
    found = read_jwks(jwks(key | changed, jwk(ec_key("P-384"), "still here")), ())

    assert "still here" in found.named or changed.get("kid") == "still here"


@pytest.mark.parametrize(
    ("secret", "algorithms", "why"),
    [
        (b"secret", (), "the secret has 6 bytes; HS256 needs at least 32 random ones"),  # J10
        (b"", (), "the secret has 0 bytes"),
        (b"x" * 31, ("HS256",), "the secret has 31 bytes"),
        (b"x" * 47, ("HS256", "HS384"), "the secret has 47 bytes; HS384 needs at least 48 random ones"),
        (b"x" * 63, ("HS512", "HS256"), "the secret has 63 bytes; HS512 needs at least 64 random ones"),
        (
            rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            (),
            "public key or certificate",
        ),
        (
            rsa_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            (),
            "public key or certificate",
        ),
    ],
)
def test_a_weak_secret_is_not_taken(secret: bytes, algorithms: tuple[str, ...], why: str) -> None:
    """J10: a start refuses it; a public key is no secret."""
    with pytest.raises(KeysUnavailableError, match=why):
        read_secret(secret, algorithms)


def test_the_curve_of_a_key_is_its_own() -> None:
    """A P-256 point under the name of another curve is no key."""
    moved = jwk(ec_key("P-256"), "x") | {"crv": "P-384"}

    assert isinstance(ec_key("P-256").curve, ec.SECP256R1)
    assert len(read_jwks(jwks(moved), ())) == 0
