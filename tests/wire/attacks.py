"""The attacks on the wire, as bytes, and where each attack of the catalogue is tested.

`{H}` stands for the Host header of the listener under test. An entry of `REFUSED` must be answered with its code and a
closed connection, and nothing may reach the gateway; one of `PASSED` reaches it as said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GET: Final = b"GET /t/x HTTP/1.1\r\n{H}"
POST: Final = b"POST /t/x HTTP/1.1\r\n{H}"
CHUNKED: Final = POST + b"Transfer-Encoding: chunked\r\n\r\n"
EVIL: Final = b"GET /evil HTTP/1.1\r\n{H}\r\n"

FRAMING, TARGET, HEADER = "request.framing", "request.target", "request.header"
METHOD, HOST = "request.method", "request.host"
TOO_LONG, TOO_LARGE = "request.target_too_long", "request.headers_too_large"


@dataclass(frozen=True)
class Refused:
    """Bytes, and the codes one of which must answer them."""

    id: str
    sent: bytes
    codes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.id}-{self.sent[:40]!r}"


def _refused(attack: str, code: str | tuple[str, ...], *sent: bytes) -> list[Refused]:
    return [Refused(attack, each, (code,) if isinstance(code, str) else code) for each in sent]


def _target(*paths: bytes) -> tuple[bytes, ...]:
    return tuple(b"GET %b HTTP/1.1\r\n{H}\r\n" % path for path in paths)


def _header(*lines: bytes) -> tuple[bytes, ...]:
    return tuple(GET + line + b"\r\n\r\n" for line in lines)


REFUSED: Final[tuple[Refused, ...]] = (
    # Framing (part A).
    *_refused("A01", FRAMING, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + EVIL),
    *_refused("A01", FRAMING, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + EVIL),
    *_refused("A02", FRAMING, POST + b"Content-Length: 0\r\nContent-Length: 31\r\n\r\n" + EVIL),
    *_refused("A02", FRAMING, POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nZ"),
    *_refused("A02", FRAMING, POST + b"Content-Length: 1, 1\r\n\r\nZ"),
    *_refused("A04", FRAMING, POST + b"Content-Length: +1_0\r\n\r\n0123456789", POST + b"Content-Length: -1\r\n\r\n"),
    *_refused("A05", FRAMING, POST + b"Content-Length: 0x10\r\n\r\n0123456789abcdef"),
    *_refused("A07", (HEADER, FRAMING), POST + b"Content-Length : 1\r\n\r\nZ"),
    *_refused("A08", (FRAMING, "arguments.too_large"), POST + b"Content-Length: 99999999999999999999\r\n\r\n"),
    *_refused("A10", FRAMING, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    *_refused("A10", FRAMING, POST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    *_refused("A11", FRAMING, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    *_refused("A11", FRAMING, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    *_refused(
        "A13", FRAMING, POST + b"Transfer-Encoding: blegh\r\n\r\n", POST + b"Transfer-Encoding: identity\r\n\r\n"
    ),
    *_refused("A13", FRAMING, POST + b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    *_refused("A14", (FRAMING, HEADER), POST + b"Transfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n"),
    *_refused("A14", (FRAMING, HEADER), POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    *_refused("A14", (FRAMING, HEADER), POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    *_refused("A16", FRAMING, b"POST /t/x HTTP/1.0\r\n{H}Transfer-Encoding: chunked\r\n\r\n1\r\nZ\r\n0\r\n\r\n"),
    *_refused("A16", FRAMING, b"GET /t/x HTTP/1.0\r\n{H}\r\n", b"GET /t/x HTTP/1.2\r\n{H}\r\n"),
    *_refused("A17", HEADER, POST + b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    *_refused("A17", HEADER, *_header(b"X_Y: 1", b"_: 1", b"Toolgate_Reason: x")),
    *_refused("A19", FRAMING, CHUNKED + b"1;a\nb\r\nZ\r\n0\r\n\r\n", CHUNKED + b"1\r\r;a\r\nZ\r\n0\r\n\r\n"),
    *_refused("A19", FRAMING, CHUNKED + b"1\nZ\r\n0\r\n\r\n", CHUNKED + b"1 \r\nZ\r\n0\r\n\r\n"),
    *_refused("A19", FRAMING, CHUNKED + b"0x1\r\nZ\r\n0\r\n\r\n", CHUNKED + b"-1\r\nZ\r\n0\r\n\r\n"),
    *_refused("A19", FRAMING, CHUNKED + b"ffffffffffffffffff\r\nZ\r\n0\r\n\r\n", CHUNKED + b"\r\n0\r\n\r\n"),
    *_refused("A20", FRAMING, CHUNKED + b"1\r\nZXX0\r\n\r\n"),
    *_refused("A22", (TOO_LARGE, FRAMING), CHUNKED + b"0\r\n" + b"X-i: 1\r\n" * 5000),
    *_refused("A23", FRAMING, b"GET /t/x HTTP/1.1\nHost: a\n\n"),
    *_refused(
        "A23", (FRAMING, HEADER), *_header(b"X-Abc: \rxTransfer-Encoding: chunked", b"X: a\nY: b", b"X: a\r\n b")
    ),
    *_refused(
        "A25", (FRAMING, HEADER), *_header(b"X: v\x00w", b"X: a\x01b", b"X: a\x7fb", b"X\x01: v", b"\xefoo: v", b": v")
    ),
    *_refused(
        "A26", FRAMING, b"GET /t/x\r\n\r\n", b"GET /t/x HTTP/2.0\r\n{H}\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    ),
    *_refused(
        "A26", FRAMING, b"GET /t/x RTSP/1.1\r\n{H}\r\n", b"GET /t/x HTTP/1.1 \r\n{H}\r\n", b"\x16\x03\x01\x02\x00\x01"
    ),
    *_refused(
        "A28",
        METHOD,
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 34\r\n\r\n" + EVIL,
        b"CONNECT a:1 HTTP/1.1\r\n{H}\r\n" + EVIL,
    ),
    *_refused("A29", HEADER, POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 34\r\n\r\n" + EVIL),
    *_refused("A29", HEADER, POST + b"Connection: Upgrade\r\nUpgrade: frob\r\nContent-Length: 2\r\n\r\nhi" + EVIL),
    *_refused(
        "A29", HEADER, GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n" + EVIL
    ),
    *_refused("A31", HEADER, POST + b"Expect: x 100-continue\r\nContent-Length: 1\r\n\r\n"),
    *_refused("A31", HEADER, POST + b"Expect: 100-continue, x\r\nContent-Length: 1\r\n\r\n"),
    *_refused(
        "A31",
        HEADER,
        POST + b"Expect: frob\r\nContent-Length: 1\r\n\r\n",
        POST + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
    ),
    *_refused(
        "A34",
        METHOD,
        *(
            b"%b /t/x HTTP/1.1\r\n{H}\r\n" % m
            for m in (b"get", b"FROB", b'G=":<>(e)', b"TRACE", b"patch", b"PROPFIND", b"QUERY")
        ),
    ),
    # The request target (part B).
    *_refused(
        "B01",
        TARGET,
        *_target(b"/t/public/../admin", b"/t/public/%2e%2e/admin", b"/t/public/.%2E/admin", b"/t/./x", b"/t/.."),
    ),
    *_refused("B01", TARGET, *_target(b"/..", b"/.", b"/%2e", b"/%2e%2E/", b"/t/x/.?a=1")),
    *_refused(
        "B03", TARGET, *_target(b"/t/a%2fb", b"/t/a%2F..%2F..%2Fadmin", b"/t/a%5cb", b"/t\\..\\admin", b"/t/a%5Cb")
    ),
    # Where `GET /t/files/{path}` declares encoded slashes, and beside it.
    *_refused(
        "B03",
        TARGET,
        *_target(
            b"/t/files/a%2F..%2F..%2Fadmin",
            b"/t/files/..%2fadmin",
            b"/t/files/.%2Fadmin",
            b"/t/files/a%2F.",
            b"/t/files/a%2F..;%2Fx",
            b"/t/files/a%2F%2Fb",
            b"/t/files/%2Fadmin",
            b"/t/files/a%2F",
            b"/t/files/a%2Fb%5Cc",
            b"/t/files/a%2Fb%00",
            b"/t/files/a%2F%e2%80%aeb",
            b"/t/files/a%2F%2e%2e",
            b"/t/files/a%2F%ff",
            b"/t/files/a%2Fb/c",
            b"/t/Files/a%2Fb",
            b"/t/other/a%2Fb",
            b"/u/files/a%2Fb",
            b"/t%2Ffiles/a%2Fb",
            b"/t/files%2Fa",
            b"/-%2Ffiles/a",
            b"/-/files/a%2Fb",
        ),
    ),
    *_refused("B03", TARGET, b"DELETE /t/files/a%2Fb HTTP/1.1\r\n{H}\r\n", b"PUT /t/files/a%2Fb HTTP/1.1\r\n{H}\r\n"),
    *_refused(
        "B04",
        TARGET,
        *_target(
            b"/t/files/%252e%252e",
            b"/t/files/a%252F..%252Fadmin",
            b"/t/files/a%2F%252e%252e%2Fb",
            b"/t/files/a%252F%252Fb",
            b"/t/files/a%252Fb",
            b"/t/files/a%2Fb%2541",
            b"/t/files/a%25252Fb",
            b"/t/files/a%255Cb",
            b"/t/files/a%2500",
            b"/t/files/a%25c0%25ae",
            b"/t/other/a%252Fb",
        ),
    ),
    *_refused("B04", TARGET, *_target(b"/t/%252e%252e/admin", b"/t/%25%32%65", b"/t/%252f", b"/t/a%2541")),
    *_refused(
        "B06",
        TARGET,
        *_target(
            b"/t/%c0%ae%c0%ae/admin", b"/t/%ff", b"/t/%zz", b"/t/%u002e", b"/t/%", b"/t/%4", b"/t/x?a=%zz", b"/t/x?%"
        ),
    ),
    *_refused(
        "B06",
        TARGET,
        *_target(b"/t/\xc3\xa9", b"/t/%ed%a0%80", b"/t/%61dmin", b"/t/%2D", b'/t/"', b"/t/<x>", b"/t/{x}", b'/t/x?a="'),
    ),
    *_refused("B07", TARGET, *_target(b"//evil.example/x", b"///x", b"/t//x", b"/t/x//", b"//")),
    *_refused("B09", TARGET, *_target(b"http://evil.example/t/x", b"evil.example:80", b"*", b"https:/t/x", b"t/x")),
    *_refused("B09", TARGET, b"OPTIONS * HTTP/1.1\r\n{H}\r\n"),
    *_refused("B10", TARGET, *_target(b"/t/a#frag?x=1", b"/t/a?x=1#frag", b"/#")),
    *_refused(
        "B13", TARGET, *_target(b"/t/refund%0a", b"/t/refund%00", b"/t/refund%7f", b"/t/%e2%80%aex", b"/t/refund%2e")
    ),
    *_refused("B21", TOO_LONG, *_target(b"/t/" + b"a" * 9000, b"/t/x?" + b"a" * 5000)),
    # Headers (part C).
    *_refused(
        "C01",
        HEADER,
        b"GET /t/x HTTP/1.1\r\n\r\n",
        b"GET /t/x HTTP/1.1\r\n{H}{H}\r\n",
        b"GET /t/x HTTP/1.1\r\n{H}Host: b\r\n\r\n",
    ),
    *_refused(
        "C02",
        HOST,
        *(
            b"GET /t/x HTTP/1.1\r\nHost: %b\r\n\r\n" % host
            for host in (
                b"a b",
                b"u:p@evil",
                b"a/../evil",
                b"evil:80:80",
                b"[::1",
                b"localhost:80@evil",
                b"",
                b"evil",
                b"localhost.",
                b"localhost:1",
                b"127.0.0.1:0x50",
                b"127.1",
                b"localhost:",
                b"127.0.0.1, evil",
                b"localhost.evil.example",
            )
        ),
    ),
    *_refused("C08", HEADER, *_header(b"X Y: v", b"X\xc3\xa4: v", b"X(: v", b'X": v', b": v")),
    *_refused("C11", HEADER, *_header(b"X: \xff\xfe", b"X: caf\xc3\xa9", b"X: a\tb")),
    *_refused(
        "C17",
        HEADER,
        *_header(b"Toolgate-Mock: off", b"Toolgate-Approved: true", b"toolgate-x: 1", b"TOOLGATE-PLANS: none"),
    ),
    *_refused(
        "C17",
        HEADER,
        *_header(
            b"Toolgate-Plan: ",
            b"Toolgate-Step:",
            b"Toolgate-Step: a b",
            b"Toolgate-Step: " + b"a" * 129,
            b"Toolgate-Plan: p\r\nToolgate-Plan: q",
            b"Toolgate-Reason: " + b"a" * 513,
        ),
    ),
    *_refused(
        "C13", HEADER, *_header(b"X-Role: user\r\nX-Role: admin", b"Authorization: Bearer a\r\nAuthorization: Bearer b")
    ),
    *_refused(
        "C16",
        HEADER,
        *_header(b"Origin: http://evil.example", b"Origin: null", b"Origin: http://localhost:80.evil.example"),
    ),
    *_refused(
        "C16",
        HEADER,
        *_header(b"Sec-Fetch-Site: cross-site", b"Origin: http://a\r\nOrigin: http://b", b"Sec-Fetch-Site: same-site"),
    ),
    *_refused("C19", TOO_LARGE, *_header(b"X: " + b"a" * 9000, b"\r\n".join(b"X-%d: 1" % i for i in range(80)))),
    *_refused("C19", TOO_LARGE, *_header(b"\r\n".join(b"X-%d: %b" % (i, b"a" * 1000) for i in range(20)))),
    # Bodies (part D), as far as the listener judges them.
    *_refused(
        "D04",
        HEADER,
        POST + b"Content-Type: application/json\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
    ),
)


@dataclass(frozen=True)
class Passed:
    """Bytes that are a request, and the headers the gateway may be shown of them."""

    id: str
    sent: bytes
    headers: dict[str, str]
    body: bytes = b""
    path: str = "/t/x"

    def __str__(self) -> str:
        return f"{self.id}-{self.sent[18:60]!r}"


PASSED: Final[tuple[Passed, ...]] = (
    Passed("A05", POST + b"Content-Length: 010\r\n\r\n0123456789", {}, b"0123456789"),
    Passed("B03", b"GET /t/files/src%2Fmain.py HTTP/1.1\r\n{H}\r\n", {}, path="/t/files/src%2Fmain.py"),
    Passed("B03", b"GET /t/files/src%2fmain.py?x=1 HTTP/1.1\r\n{H}\r\n", {}, path="/t/files/src%2fmain.py"),
    Passed("B03", b"GET /t/files/a%2Fb%2F..c%2F...%20d HTTP/1.1\r\n{H}\r\n", {}, path="/t/files/a%2Fb%2F..c%2F...%20d"),
    Passed("C04", GET + b"Connection: close, Toolgate-Call, Authorization, Content-Length, X-Kept\r\nX-Kept: 1\r\n\r\n", {"x-kept": "1"}),
    Passed("C05", GET + b"TE: trailers\r\nKeep-Alive: timeout=9\r\nProxy-Authorization: Basic x\r\nTrailer: X\r\nProxy-Connection: x\r\n\r\n", {}),
    Passed("C07", GET + b"Authorization: Bearer stolen\r\n\r\n", {}),
    Passed("C14", POST + b"X-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\nX-HTTP-Method: PUT\r\nContent-Length: 0\r\n\r\n", {}),
    Passed("C16", GET + b"X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\nX-Forwarded-User: admin\r\nVia: x\r\n\r\n", {}),
    Passed("C19", GET + b"Accept: */*;q=1e999\r\nAccept: text/plain\r\n\r\n", {"accept": "*/*;q=1e999, text/plain"}),
    Passed("D13", GET + b"Content-Length: 3\r\n\r\nabc", {}, b"abc"),
)  # fmt: skip
