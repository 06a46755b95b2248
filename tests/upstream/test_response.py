"""Reading an answer: exact HTTP/1.x or nothing, however it is cut into reads."""

from __future__ import annotations

from contextlib import suppress

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolgate.ports import UpstreamError
from toolgate.upstream.response import Response

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


def read(data: bytes, method: str = "GET", step: int = 0) -> Response:
    response = Response(method)
    for start in range(0, len(data), step or len(data)):
        response.feed(data[start : start + (step or len(data))])
    return response


BROKEN = {
    "two lengths": LENGTH + b"Content-Length: 2\r\n\r\nok",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "length and chunked": LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "bare LF after a header": b"HTTP/1.1 200 OK\r\nContent-Length: 2\nX: y\r\n\r\nok",
    "bare CR": LENGTH + b"X: a\rb\r\n\r\nok",
    "NUL in a value": LENGTH + b"X: a\x00b\r\n\r\nok",
    "NUL in the reason": b"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\nok",
    "folded": LENGTH + b"X: a\r\n b\r\n\r\nok",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "no name": LENGTH + b": v\r\n\r\nok",
    "no colon": LENGTH + b"foo\r\n\r\nok",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    "empty length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
    "overflowing length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "RTSP": b"RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "leading line ends": b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 99": b"HTTP/1.1 99 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 099": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 600": b"HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 2000": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    "switching protocols": b"HTTP/1.1 101 Go\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "six interim answers": b"HTTP/1.1 103 Early\r\n\r\n" * 6 + LENGTH + b"\r\nok",
    "an interim answer with a body": b"HTTP/1.1 104 X\r\nContent-Length: 2\r\n\r\nok" + LENGTH + b"\r\nok",
    "chunk size with 0x": CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
    "chunk size with a space": CHUNKED + b"2 \r\nok\r\n0\r\n\r\n",
    "chunk size with bare LF": CHUNKED + b"2\nok\r\n0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"2\r\nokk\r\n0\r\n\r\n",
    "negative chunk size": CHUNKED + b"-2\r\nok\r\n0\r\n\r\n",
    "overflowing chunk size": CHUNKED + b"fffffffffffffffff\r\nok\r\n0\r\n\r\n",
    "129 headers": LENGTH + b"X: y\r\n" * 128 + b"\r\nok",
    "10,000 headers": LENGTH + b"X: y\r\n" * 10_000 + b"\r\nok",
    "a header of 64 KiB": LENGTH + b"X: " + b"y" * 65_536 + b"\r\n\r\nok",
    "an endless header": LENGTH + b"X: " + b"y" * 70_000,
    "an endless chunk extension": CHUNKED + b"2;" + b"x" * 140_000,
    "endless trailers": CHUNKED + b"0\r\n" + b"X: y\r\n" * 200,
}


@pytest.mark.parametrize("step", [0, 7, 1])
@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_an_ambiguous_answer_is_broken(data: bytes, step: int) -> None:
    """What is not exactly one well-formed answer is broken, whether it comes in one read or byte by byte."""
    with pytest.raises(UpstreamError) as raised:
        read(data, step=step)

    assert (raised.value.code, raised.value.sent) == ("upstream.broken", "unknown")
    assert "\n" not in raised.value.detail


WHOLE = {
    "length": (LENGTH + b"\r\nok", "GET", 200, b"ok"),
    "length with blanks": (b"HTTP/1.1 200 OK\r\nContent-Length: \t2 \r\n\r\nok", "GET", 200, b"ok"),
    "chunked": (CHUNKED + b"1;x=y\r\no\r\n1\r\nk\r\n0\r\nT: v\r\n\r\n", "GET", 200, b"ok"),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "GET", 200, b"ok"),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", 200, b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", "DELETE", 204, b""),
    "304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", 304, b""),
    "HEAD": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", 200, b""),
    "HEAD, chunked": (CHUNKED, "HEAD", 200, b""),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nLink: a\r\n\r\n" + LENGTH + b"\r\nok",
        "POST",
        200,
        b"ok",
    ),
    "error": (b"HTTP/1.1 599 X\r\nContent-Length: 2\r\n\r\nno", "GET", 599, b"no"),
}


@pytest.mark.parametrize("step", [0, 3, 1])
@pytest.mark.parametrize(("data", "method", "status", "body"), WHOLE.values(), ids=WHOLE.keys())
def test_a_whole_answer_is_read_however_it_is_cut(
    data: bytes, method: str, status: int, body: bytes, step: int
) -> None:
    """The same answer comes of the same bytes, in one read or in many, and leaves the connection usable."""
    response = read(data, method, step)

    assert (status, body) == (response.status, response.take())
    assert (True, True, False) == (response.complete, response.keep_alive, response.surplus)


@pytest.mark.parametrize(("data", "method", "status", "body"), WHOLE.values(), ids=WHOLE.keys())
def test_an_answer_cut_anywhere_is_never_whole(data: bytes, method: str, status: int, body: bytes) -> None:
    """At every byte but the last, the end of the connection makes the answer broken."""
    for size in range(len(data)):
        response = read(data[:size], method) if size else Response(method)

        with pytest.raises(UpstreamError, match="closed the connection"):
            response.end()


def test_an_answer_until_close_ends_with_the_connection() -> None:
    """An answer without a length is whole when the upstream closes, and its connection is not used again."""
    response = read(b"HTTP/1.0 200 OK\r\n\r\nabc")

    assert (False, True) == (response.complete, response.until_close)
    response.end()
    assert (True, False, b"abc") == (response.complete, response.keep_alive, response.take())


@pytest.mark.parametrize(
    ("data", "method"),
    [
        (LENGTH + b"\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL", "GET"),
        (LENGTH + b"\r\nokzzz", "GET"),
        (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", "GET"),
        (b"HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL", "GET"),
        (b"HTTP/1.1 304 No\r\n\r\nhello", "GET"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HEAD"),
        (CHUNKED + b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "GET"),
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_bytes_after_the_end_are_noticed(data: bytes, method: str, step: int) -> None:
    """Surplus bytes are never part of the answer, and mark the connection as not to be used again (L17, L19)."""
    response = read(data, method, step)

    assert (True, True) == (response.complete, response.surplus)
    assert response.take() in {b"ok", b""}


@pytest.mark.parametrize(
    "data",
    [
        LENGTH + b"Connection: close\r\n\r\nok",
        LENGTH + b"Connection: Keep-Alive, Close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_a_connection_that_is_to_close_is_not_kept(data: bytes) -> None:
    """`close`, and everything below HTTP/1.1, ends the connection's use."""
    assert not read(data).keep_alive


def test_headers_of_the_connection_are_not_the_answers() -> None:
    """Hop-by-hop headers and those that `Connection` names are dropped; the others are lower case, in order."""
    response = read(
        LENGTH
        + b"X-A: 1\r\nConnection: x-hop, keep-alive\r\nX-Hop: 2\r\nKeep-Alive: timeout=5\r\nX-A:\t3 \r\nUpgrade: h2c\r\n\r\nok"
    )

    assert (("content-length", "2"), ("x-a", "1"), ("x-a", "3")) == response.headers


def test_trailers_are_dropped() -> None:
    """A trailer never becomes a header."""
    response = read(CHUNKED + b"2\r\nok\r\n0\r\nSet-Cookie: a=b\r\n\r\n")

    assert () == response.headers


@given(data=st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: LENGTH + tail), step=st.integers(0, 5))
def test_any_bytes_give_an_answer_or_a_typed_error(data: bytes, step: int) -> None:
    """No bytes raise anything but UpstreamError."""
    with suppress(UpstreamError):
        response = read(data, step=step) if data else Response("GET")
        response.end()
        assert 200 <= response.status <= 599


@given(
    status=st.integers(200, 599).filter(lambda status: status not in {204, 304}),
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    framing=st.sampled_from(["content-length", "transfer-encoding"]),
    step=st.integers(1, 60),
)
def test_what_another_implementation_writes_is_read(status: int, chunks: list[bytes], framing: str, step: int) -> None:
    """h11 writes an answer; cut anyhow, we read the same status, header and body."""
    size = str(sum(map(len, chunks)))
    headers = [("x-a", "b"), (framing, size if framing == "content-length" else "chunked")]
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    server.next_event()
    events = [
        h11.Response(status_code=status, headers=headers),
        *(h11.Data(data=chunk) for chunk in chunks),
        h11.EndOfMessage(),
    ]

    response = read(b"".join(server.send(event) or b"" for event in events), step=step)

    assert (status, b"".join(chunks)) == (response.status, response.take())
    assert (True, False) == (response.complete, response.surplus)
    assert ("x-a", "b") in response.headers


_LINES = st.sampled_from(
    [
        *(
            "Content-Length: 2",
            "content-length:2",
            "Content-Length: \t2 ",
            "Content-Length: 02",
            "Content-Length: 2, 2",
        ),
        *("Content-Length: 0", "Content-Length: 7", "Content-Length: +2", "Content-Length:", "Content-Length : 2"),
        *(
            "Connection: close",
            "Connection: Keep-Alive",
            "Connection: close, x-a",
            "Connection:",
            "Connection: upgrade",
        ),
        *("Keep-Alive: timeout=5", "Keep-Alive: close", "Proxy-Connection: close", "Transfer-Encoding: chunked"),
        *("Transfer-Encoding: identity", "TE: trailers", "Trailer: x", "Upgrade: h2c", "X-A: b", "X-A:", "X-A:  b \t"),
        *(
            "X-A: b:c",
            "X A: b",
            "x_a: ä",
            "X-A: a\tb",
            "X-A: a\x00",
            "X-A: a\x7f",
            "X-A: a\rb",
            "X-A: a\nb",
            " x: y",
            ":",
        ),
        *("Set-Cookie: a=b", "SET-COOKIE: c", "X-A: b\r\n c", "Content-Type: text/html; charset=utf-8"),
    ]
)
_STARTS = st.sampled_from(
    [
        *(
            "HTTP/1.1 200 OK",
            "HTTP/1.1 404 Not Found",
            "HTTP/1.1 599 ",
            "HTTP/1.1 200",
            "HTTP/1.0 200 OK",
            "HTTP/1.1 204 No",
        ),
        *(
            "HTTP/1.1 304 No",
            "HTTP/1.1 100 Go",
            "HTTP/1.1 600 X",
            "HTTP/1.1  200 OK",
            "HTTP/1.1 200 \xe4",
            "http/1.1 200 OK",
        ),
        *("HTTP/1.1 2000 OK", "HTTP/1.1 200 O\tK", "HTTP/1.1 200 O\x00K", "HTTP/1.1 200 OK ", " HTTP/1.1 200 OK", ""),
    ]
)


def told(*reads: bytes) -> tuple[object, ...] | str:
    """Everything that is told of an answer, or that it is broken."""
    response = Response("GET")
    try:
        for data in reads:
            response.feed(data)
    except UpstreamError as error:
        return error.code
    named = (response.status, response.headers, response.length) if response.head_done else ()
    ending = (response.complete, response.surplus, response.complete and response.keep_alive, response.until_close)
    return (*named, *ending, response.size, response.take())


@given(
    start=_STARTS, lines=st.lists(_LINES, max_size=4), rest=st.sampled_from([b"", b"o", b"ok", b"okHTTP/1.1 200 OK"])
)
def test_a_plain_head_is_read_as_llhttp_reads_it(start: str, lines: list[str], rest: bytes) -> None:
    """A head in one piece may be read by its lines; one in two goes to llhttp. Both say the same, whatever it is."""
    data = "\r\n".join([start, *lines, "", ""]).encode("latin-1") + rest

    assert told(data[:1], data[1:]) == told(data)


def test_what_many_answers_say_is_not_mixed_up() -> None:
    """Lines are remembered and forgotten: however many there are, and however long, each answer has its own."""
    values = [str(number) * (1 if number % 9 else 2_000) for number in range(1_000)]

    answers = [read(LENGTH + f"X-Id: {value}\r\n\r\nok".encode()) for value in values]

    assert [(("content-length", "2"), ("x-id", value)) for value in values] == [each.headers for each in answers]
    assert {b"ok"} == {each.take() for each in answers}
