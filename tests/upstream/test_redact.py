"""Taking injected secrets out of answers, wherever a stream is cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.upstream.redact import REDACTED, Redactor

NEEDLES = frozenset({b"abcabd", b"abcabdab", b"bdx", b"cc"})


class Chunks:
    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk

    async def aclose(self) -> None:
        self.closed = True


def reference(content: bytes) -> bytes:
    """Leftmost, then longest, one byte at a time."""
    clean, at = b"", 0
    while at < len(content):
        found = max((needle for needle in NEEDLES if content.startswith(needle, at)), key=len, default=b"")
        clean += REDACTED if found else content[at : at + 1]
        at += len(found) or 1
    return clean


# Words that make up needles, parts of them, and needles that overlap.
_words = st.sampled_from([b"abc", b"abd", b"ab", b"bdx", b"c", b"x", b"d", b"abcabdab", b""])


@given(chunks=st.lists(st.lists(_words, max_size=5).map(b"".join), max_size=6))
def test_where_a_stream_is_cut_makes_no_difference(chunks: list[bytes]) -> None:
    """A stream, read as it comes, and the whole give the same: leftmost, then longest."""
    redactor = Redactor(NEEDLES)
    clean, held = b"", b""
    for chunk in chunks:
        part, held = redactor.cut(held + chunk, last=False)
        clean += part

    expected = reference(b"".join(chunks))
    assert expected == clean + redactor.cut(held, last=True)[0]
    assert expected == redactor.whole(b"".join(chunks))


async def test_a_stream_is_held_back_no_longer_than_needed() -> None:
    """A chunk that ends in nothing like a secret is passed on at once: events are not delayed."""
    body = Redactor(frozenset({b"canary-secret"})).stream(
        Chunks([b"data: can\n\n", b"data: cana", b"ry-secret\n\n", b"can"])
    )

    assert [b"data: can\n\n", b"data: ", b"[redacted]\n\n", b"can"] == [chunk async for chunk in body]


async def test_closing_a_redacted_stream_closes_what_it_reads() -> None:
    """`aclose` reaches the exchange."""
    chunks = Chunks([b"a", b"b"])
    body = Redactor(NEEDLES).stream(chunks)

    await body.aclose()

    assert chunks.closed
    with pytest.raises(StopAsyncIteration):
        await anext(body)


def test_what_holds_no_secret_is_the_same_object() -> None:
    """Nothing is copied where nothing is found."""
    redactor, body, headers = Redactor(NEEDLES), b"nothing here", (("a", "b"),)

    assert redactor.whole(body) is body
    assert redactor.headers(headers) is headers


def test_header_values_are_redacted_byte_for_byte() -> None:
    """A secret in a header value is taken out; bytes beyond ASCII around it stay what they were."""
    headers = (("x", "é abcabd é"), ("y", "plain"))

    assert (("x", "é [redacted] é"), ("y", "plain")) == Redactor(NEEDLES).headers(headers)
