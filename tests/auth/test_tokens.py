"""What is remembered of tokens that verified, for how long, and what a clock cannot bring back."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.auth.idp import ISSUER, NOW, World, claims, corp, ed_key, header, jwk, sealed, token, world

from toolgate.auth import AuthError
from toolgate.core.model import Principal


def code(place: World, presented: str | None) -> str:
    """What presenting a token comes to: the principal's id, or the code that refuses it."""
    try:
        return place.tokens.authenticate(presented).id
    except AuthError as error:
        return error.code


def test_a_token_is_verified_once(corp_world: World) -> None:
    """The second time is a look-up, and answers the very same principal."""
    first, second = (corp_world.tokens.authenticate(token()) for _ in range(2))

    assert first is second
    assert corp_world.counted == [("corp", "verified"), ("corp", "remembered")]


def test_no_token_is_kept(corp_world: World) -> None:
    """Only its digest: a token can be presented by whoever reads it."""
    presented = token(sub="kept-nowhere")
    corp_world.tokens.authenticate(presented)
    signature = presented.rpartition(".")[2]

    held = [
        each for each in gc.get_referents(corp_world.tokens.__dict__, corp_world.tokens._known) if isinstance(each, str)
    ]
    assert [each for each in held if signature in each] == []


def test_a_remembered_token_ends_when_it_says(corp_world: World) -> None:
    """Its times are held at each use, to the second, with the leeway."""
    presented = token(exp=NOW + 10)
    assert code(corp_world, presented) == "corp/alice"
    corp_world.clocks.pass_(39)
    assert code(corp_world, presented) == "corp/alice"
    corp_world.clocks.pass_(1)
    assert code(corp_world, presented) == "auth.expired"


def test_a_clock_set_back_revives_nothing(corp_world: World) -> None:
    """SAFETY INV9: what was over stays over, whatever the clock says then."""
    presented = token(exp=NOW + 10)
    corp_world.clocks.wall_s = NOW + 3600
    assert code(corp_world, presented) == "auth.expired"
    corp_world.clocks.wall_s = NOW - 7200
    assert code(corp_world, presented) == "auth.expired"


def test_a_key_rotated_out_forgets_what_it_verified(corp_world: World) -> None:
    """A token is remembered with the keys that verified it; with others it is verified again, or not at all."""
    presented = token()
    assert code(corp_world, presented) == "corp/alice"
    corp_world.publish(jwk(ed_key(), "ed"), jwk(ed_key("next"), "next"))
    assert code(corp_world, presented) == "corp/alice"
    assert corp_world.counted[-1] == ("corp", "verified")
    corp_world.publish(jwk(ed_key("next"), "next"))
    assert code(corp_world, presented) == "auth.invalid"
    renamed = sealed(header(kid="next"), claims(), ed_key("next"), "EdDSA")
    assert code(corp_world, renamed) == "corp/alice"


def test_keys_read_again_unchanged_forget_nothing(corp_world: World) -> None:
    """A refresh that brings the same document costs nobody a verification."""
    corp_world.tokens.authenticate(token())
    corp_world.tokens.rings[ISSUER].read_now()
    corp_world.tokens.authenticate(token())

    assert corp_world.counted[-1] == ("corp", "remembered")


def test_keys_too_old_to_be_trusted_refuse_their_tokens(tmp_path: Path) -> None:
    """Also remembered ones; and once the keys are read again, they serve."""
    place = world(tmp_path, corp(tmp_path / "jwks.json", max_stale_s=100))
    presented = token()
    assert code(place, presented) == "corp/alice"
    place.clocks.pass_(100)
    assert code(place, presented) == "corp/alice"
    place.clocks.pass_(1)
    assert code(place, presented) == "auth.invalid"
    place.tokens.rings[ISSUER].read_now()
    assert code(place, presented) == "corp/alice"


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    """Expired ones go first; when all are good, the oldest half goes at once, and they verify again (J13: no nonce is kept)."""
    place = world(tmp_path, most=10)
    short = [token(sub=f"short{number}", exp=NOW + 5) for number in range(5)]
    long = [token(sub=f"long{number}") for number in range(20)]
    for presented in (*short, *long[:5]):
        place.tokens.authenticate(presented)
    place.clocks.pass_(60)
    place.tokens.authenticate(long[5])
    assert len(place.tokens._known) == 6
    for presented in long:
        place.tokens.authenticate(presented)
        assert len(place.tokens._known) <= 10
    assert [code(place, presented) for presented in long] == [f"corp/long{number}" for number in range(20)]


def test_a_refused_token_is_not_remembered(corp_world: World) -> None:
    """A flood of them takes no memory."""
    for number in range(100):
        assert code(corp_world, token(aud=f"a{number}")) == "auth.invalid"

    assert len(corp_world.tokens._known) == 0


def test_without_a_token(tmp_path: Path) -> None:
    """The anonymous workload where it is configured beside issuers; else nobody. A token that fails is never it."""
    place = world(tmp_path, anonymous=Principal("digest", ("reader",)))
    assert place.tokens.authenticate(None) == Principal("digest", ("reader",))
    assert [code(place, presented) for presented in ("", "x", token(aud="x"))] == ["auth.invalid"] * 3
    assert code(world(tmp_path), None) == "auth.missing"


def test_answers_are_counted_by_registered_names_only(corp_world: World) -> None:
    """No caller can make a label: an issuer nobody configured counts as none."""
    for presented in (
        None,
        "x",
        token(iss="https://evil.example"),
        token(aud="x"),
        token(exp=NOW - 31, iat=NOW - 60),
        token(),
    ):
        code(corp_world, presented)

    assert corp_world.counted == [
        ("_none", "missing"), ("_none", "invalid"), ("_none", "invalid"), ("corp", "invalid"), ("corp", "expired"),
        ("corp", "verified"),
    ]  # fmt: skip


def test_an_unknown_key_asks_for_a_refresh(corp_world: World) -> None:
    """The token is refused now; the keys are read beside the path of calls."""
    ring = corp_world.tokens.rings[ISSUER]
    assert not ring._asked.is_set()
    assert code(corp_world, token({"kid": "new"})) == "auth.invalid"
    assert ring._asked.is_set()


GOOD = token()


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="ascii"))
def test_no_byte_of_a_token_can_be_changed(tmp_path_factory: pytest.TempPathFactory, at: int, to: str) -> None:
    """Whatever single character is another, it does not verify."""
    place = world(tmp_path_factory.getbasetemp())
    changed = f"{GOOD[:at]}{to}{GOOD[at + 1 :]}"

    assert code(place, changed) == ("corp/alice" if changed == GOOD else "auth.invalid")


@given(st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{0,20}(\.[A-Za-z0-9_-]{0,20}){0,4}", fullmatch=True))
def test_any_text_is_refused_with_a_code(tmp_path_factory: pytest.TempPathFactory, presented: str) -> None:
    """Never a traceback, and never anybody."""
    place = world(tmp_path_factory.getbasetemp(), anonymous=Principal("digest"))

    assert code(place, presented) == "auth.invalid"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
)
_CLAIMS = ("iss", "aud", "sub", "exp", "iat", "nbf", "act", "groups", "_claim_names", "kubernetes.io", "scope")


@given(
    st.dictionaries(st.sampled_from(_CLAIMS), _JSON),
    st.dictionaries(st.sampled_from(("kid", "typ", "crit", "jku", "x")), _JSON),
)
def test_any_signed_claims_are_a_principal_or_a_code(
    tmp_path_factory: pytest.TempPathFactory, said: dict[str, object], head: dict[str, object]
) -> None:
    """Also what the issuer itself signed may be of any shape; its principal stays within the issuer's own name."""
    place = world(tmp_path_factory.getbasetemp())

    assert code(place, token(head, **said)).startswith(("corp/", "auth.invalid", "auth.expired"))
