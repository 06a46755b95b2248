"""Guessing effects: names may make an operation more dangerous, never less; patterns match what they should and no more."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.cli.guess import Listed, globs, guess
from toolgate.core.model import Effect

RANK = {"read": 0, "write": 1, "destructive": 2}


@pytest.mark.parametrize(
    ("operation_id", "method", "by_method", "effect", "maybe_read"),
    [
        ("listOrders", "GET", "read", "read", False),
        ("loginUser", "GET", "read", "write", False),
        ("connectGetNamespacedPodExec", "GET", "read", "write", False),
        ("createOrder", "POST", "write", "write", False),
        ("searchOrders", "POST", "write", "write", True),
        ("queryCluster", "POST", "write", "write", True),
        ("purge_cache", "POST", "write", "destructive", False),
        ("conversations.archive", "POST", "write", "write", False),
        ("credentials/revoke", "POST", "write", "destructive", False),
        ("deleteOrder", "DELETE", "destructive", "destructive", False),
        ("readAll", "DELETE", "destructive", "destructive", False),
        ("getOrder", "POST", "write", "write", True),
        ("PostCharges", "POST", "write", "write", False),
        ("get_pets_id", "GET", "read", "read", False),
        ("…", "GET", "read", "read", False),
    ],
)
def test_effects(operation_id: str, method: str, by_method: Effect, effect: Effect, maybe_read: bool) -> None:
    """The method first, then the verb of the name; a POST that says it reads is only proposed."""
    guessed = guess(Listed(operation_id, method, by_method))

    assert (guessed.effect, guessed.maybe_read) == (effect, maybe_read)


@given(st.text(max_size=30), st.sampled_from([("GET", "read"), ("POST", "write"), ("DELETE", "destructive")]))
def test_a_name_never_makes_an_operation_safer(operation_id: str, method: tuple[str, Effect]) -> None:
    """Whoever names operations does not decide what is allowed."""
    assert RANK[guess(Listed(operation_id, *method)).effect] >= RANK[method[1]]


def test_patterns_are_those_a_person_would_write() -> None:
    """Verbs, tags with verbs, and single ids where nothing is shared."""
    reads = ["orders/list", "orders/get-one", "orders/get-all", "users/get-one", "users/list", "ping"]
    writes = ["orders/getaway", "users/create"]

    assert globs(reads, reads + writes) == ["*/get-*", "orders/list", "ping", "users/list"]
    assert globs(["getA", "getB"], ["getA", "getB", "getaway"]) == ["getA", "getB"]
    assert globs([], ["a"]) == []


WORDS = st.sampled_from(["get", "Get", "list", "delete", "Order", "User", "s", "é", "*", "?", "[", "/", "_", ".", "1"])
IDS = st.lists(WORDS, min_size=1, max_size=4).map("".join)


@given(st.lists(IDS, unique=True, max_size=12), st.data())
def test_patterns_never_match_more_than_they_should(ids: list[str], data: st.DataObject) -> None:
    """What is proposed to be allowed is what was meant; an id that cannot be written as a pattern is left out."""
    wanted = set(data.draw(st.lists(st.sampled_from(ids), unique=True))) if ids else set()
    patterns = globs(wanted, ids)
    matched = {each for each in ids for pattern in patterns if matches(pattern, each)}
    spelt = {each for each in wanted if each.isascii() and not {"*", "?"} & set(each)}

    assert matched <= wanted
    assert spelt <= matched


def matches(pattern: str, operation_id: str) -> bool:
    """`*` and `?` as in a shell, and a pattern matches the very id it spells: what toolspecs mean by it."""
    text = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return pattern == operation_id or re.fullmatch(text, operation_id, re.DOTALL) is not None
