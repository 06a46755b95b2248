"""Run tokens: who made them, for whom, until when."""

from __future__ import annotations

import base64
import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.auth import AuthError
from toolgate.auth.runs import RunTokens
from toolgate.core.model import OpenedRun, Principal
from toolgate.testing.fakes import FakeClock

KEY = bytes(range(32))
ALICE = Principal("corp/alice", ("digest",))
START_MS = 1_700_000_000_000
RUN = OpenedRun("run_01KDMB4Y8M4Z2T9GJ6Q0V7R3XA", START_MS + 60_000, ("run_01KDMB4Y8M4Z2T9GJ6Q0V7R3XB",))


def tokens(clock: FakeClock | None = None, key: bytes = KEY, environment: str = "prod") -> RunTokens:
    return RunTokens(key, environment, (clock or FakeClock(START_MS)).now_ms)


def refused(reader: RunTokens, token: str, principal: Principal = ALICE) -> str:
    with pytest.raises(AuthError) as caught:
        reader.read(token, principal)
    assert caught.value.detail == caught.value.detail.lower()
    return caught.value.code


def test_a_token_names_its_run() -> None:
    """Whoever has the key reads what was signed, also in another process."""
    token = tokens().mint(RUN, ALICE)

    assert tokens().read(token, ALICE) == RUN
    assert len(token) < 256


def test_a_token_is_bound() -> None:
    """To its principal, its environment and the gate's key; roles may change under it."""
    token = tokens().mint(RUN, ALICE)

    assert refused(tokens(), token, Principal("corp/bob", ("digest",))) == "auth.invalid"
    assert refused(tokens(environment="dev"), token) == "auth.invalid"
    assert refused(tokens(key=bytes(32)), token) == "auth.invalid"
    assert tokens().read(token, Principal("corp/alice", ("admin",))) == RUN


def test_a_token_expires_and_stays_so() -> None:
    """To the millisecond, remembered or not; the clock it is given never goes back (`Steady.latest_s`)."""
    clock = FakeClock(START_MS)
    reader = tokens(clock)
    token = reader.mint(RUN, ALICE)
    clock.advance(59.999)
    assert reader.read(token, ALICE) == RUN
    clock.advance(0.001)

    assert refused(reader, token) == "auth.expired"
    assert refused(tokens(clock), token) == "auth.expired"


def test_no_two_callers_are_one(subtests: pytest.Subtests) -> None:
    """SECURITY: what is signed cannot be cut in two ways: `a` in `bprod` is not `ab` in `prod`."""
    token = RunTokens(KEY, "prod", FakeClock(START_MS).now_ms).mint(RUN, Principal("a"))
    for environment, principal in (("rod", "ap"), ("aprod", ""), ("", "aprod")):
        with subtests.test(environment=environment):
            assert refused(tokens(environment=environment), token, Principal(principal)) == "auth.invalid"


def test_a_changed_token_is_refused() -> None:
    """Each character counts, in both parts, and there is one spelling only."""
    reader, token = tokens(), tokens().mint(RUN, ALICE)
    alphabet = string.ascii_letters + string.digits + "-_"
    for at, char in enumerate(token):
        other = alphabet[(alphabet.index(char) + 1) % 64] if char in alphabet else "_"
        assert refused(reader, f"{token[:at]}{other}{token[at + 1 :]}") == "auth.invalid"
    for other in (f"{token}=", f" {token}", f"{token} ", token.replace(".", ".."), token + ".", token.upper()):
        assert refused(reader, other) == "auth.invalid"


def test_a_later_end_cannot_be_written_in() -> None:
    """What the token says is signed, not only who it is for."""
    said, _, seal = tokens().mint(RUN, ALICE).partition(".")
    told = json.loads(base64.urlsafe_b64decode(said + "=="))
    told["exp"] += 3_600_000
    changed = base64.urlsafe_b64encode(json.dumps(told, separators=(",", ":")).encode()).rstrip(b"=").decode()

    assert refused(tokens(), f"{changed}.{seal}") == "auth.invalid"


@given(st.text(max_size=300))
def test_any_text_is_answered(text: str) -> None:
    """A run or an AuthError; never anything else, and nothing of the token in it."""
    assert refused(tokens(), text) == "auth.invalid"


def test_what_is_remembered_is_bounded() -> None:
    """Many tokens in turn are all read; memory does not grow with them."""
    reader = tokens()
    minted = [reader.mint(RUN._replace(id=f"run_{at}"), ALICE) for at in range(2_000)]

    assert [f"run_{at}" for at in range(2_000)] == [reader.read(token, ALICE).id for token in minted]
    assert len(reader._known) <= 1_024
