"""One answer read off the wire, without I/O: feed it bytes, read status, headers and body.

RULE: HTTP/1.1 or 1.0 in exact form or nothing; an answer that could be framed in two ways is broken (RFC 9112 §6.3).
A plain head that comes in one piece is read by its lines (`head.py`), and its length says where its body ends. llhttp
(httptools) with its strict defaults reads all others; what it lets through beyond that is refused here: other protocols
and versions, statuses outside 200 to 599, transfer codings other than `chunked`, bytes without end.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

import httptools

from toolgate.core.model import Header
from toolgate.ports import UpstreamError
from toolgate.upstream.head import read_plain

_MAX_FIELDS: Final = 128
_MAX_HEAD: Final = 1 << 16
_MAX_INTERIMS: Final = 5
_H: Final = ord("H")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BODILESS: Final = frozenset({204, 304})
# Headers of the connection, not of the answer (RFC 9110 §7.6.1).
_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_PLAIN_OPTIONS: Final = frozenset({"", "close", "keep-alive"})


class Response:
    """An answer as far as it has come. `headers` are lower case, without those of the connection."""

    __slots__ = (
        "_bodiless",
        "_chunked",
        "_chunks",
        "_fault",
        "_field_bytes",
        "_fields",
        "_interims",
        "_left",
        "_options",
        "_parser",
        "_raw",
        "complete",
        "fed",
        "head_done",
        "headers",
        "keep_alive",
        "length",
        "pending",
        "size",
        "status",
        "surplus",
    )

    def __init__(self, method: str) -> None:
        self.status = 0
        self.headers: tuple[Header, ...] = ()
        self.length: int | None = None  # the declared Content-Length
        self.head_done = False
        self.complete = False
        self.surplus = False  # bytes came after the end of the answer
        self.keep_alive = False
        self.fed = 0  # bytes read
        self.size = 0  # bytes of the body read
        self.pending = 0  # bytes of the body not yet taken
        self._chunks: list[bytes] = []
        self._left = -1  # bytes of the body still to come; below zero: llhttp knows
        self._chunked = False
        self._bodiless = method == "HEAD"
        self._parser: httptools.HttpResponseParser | None = None

    @property
    def until_close(self) -> bool:
        """The end of the connection is the end of the body: HTTP/1.0's framing, still allowed in 1.1."""
        return self.head_done and self.length is None and not self._chunked and not self._bodiless

    def feed(self, data: bytes) -> None:
        """Read bytes. Raises UpstreamError when they are no answer."""
        if self.complete:
            self.surplus = True
        elif self._left > 0:
            self._add_plain(data)
        elif self.fed or self._bodiless or not self._begins_plain(data):
            self._parse(data)

    def end(self) -> None:
        """Take note that the upstream closed. Raises UpstreamError when the answer is not whole."""
        if not self.complete:
            if not self.until_close:
                raise cut_short(self)
            self.complete = True
        self.release()

    def take(self) -> bytes:
        """The body that came since the last time."""
        chunks, self._chunks, self.pending = self._chunks, [], 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def release(self) -> None:
        """Let go of the parser, which refers back to this."""
        self._parser = None

    # -- the plain form: a length, and so many bytes ----------------------------------------------------------

    def _begins_plain(self, data: bytes) -> bool:
        head, end, body = data.partition(b"\r\n\r\n")
        plain = read_plain(head) if end else None
        if plain is None:
            return False
        self.status, self.headers, self.length = plain
        self._left = self.length
        self.head_done = self.keep_alive = True
        self._add_plain(body)
        self.fed = len(data)
        return True

    def _add_plain(self, body: bytes) -> None:
        size = len(body)
        if size > self._left:
            self.surplus, size, body = True, self._left, body[: self._left]
        self._chunks.append(body)
        self._left -= size
        self.size += size
        self.pending += size
        self.complete = not self._left

    # -- every other form -------------------------------------------------------------------------------------

    def _parse(self, data: bytes) -> None:
        if not self.fed and data[0] != _H:  # llhttp would skip line ends and read `RTSP/` and `ICE/`
            raise self._broken("it does not begin with `HTTP/`")
        self.fed += len(data)
        try:
            (self._parser or self._begin_parsing()).feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                raise self._broken(self._fault or f"`{error}`") from None
            self.surplus = True
        if self.complete:
            self.release()
        else:
            self._bound()

    def _begin_parsing(self) -> httptools.HttpResponseParser:
        self._raw: list[tuple[bytes, bytes]] = []
        self._options = ""  # the Connection header
        self._fields = self._field_bytes = self._interims = 0
        self._fault = ""
        self._parser = httptools.HttpResponseParser(self)
        return self._parser

    def _bound(self) -> None:
        """Bound what is not body: endless heads, chunk extensions, trailers, chunks of a byte with padded sizes."""
        if not self.head_done and self.fed > _MAX_HEAD:
            raise self._broken("its head is larger than 64 KiB")
        if self.fed - self.size > 2 * _MAX_HEAD + 16 * self.size:
            raise self._broken("its chunks are mostly framing")

    def _broken(self, why: str) -> UpstreamError:
        self.release()
        return UpstreamError("upstream.broken", f"the upstream's answer is not valid HTTP/1.1: {why}", sent="unknown")

    # -- what llhttp calls; an exception stops it -------------------------------------------------------------

    def _stop(self, fault: str) -> NoReturn:
        self._fault = fault
        raise ValueError(fault)

    def on_message_begin(self) -> None:
        if self.complete:
            self._stop("bytes after the end of the answer")

    def on_status(self, reason: bytes) -> None:
        if _CONTROL.search(reason) is not None:
            self._stop("its reason phrase holds control characters")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._field_bytes += len(name) + len(value)
        if self._fields > _MAX_FIELDS or self._field_bytes > _MAX_HEAD:
            self._stop("it has more than 128 headers, or more than 64 KiB of them")
        if not self.head_done:  # trailers are counted and dropped
            self._raw.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser is None:
            return
        version, status = parser.get_http_version(), parser.get_status_code()
        if version not in {"1.1", "1.0"}:
            self._stop(f"its version is `{version}`")
        self._read_headers(version)
        if status < 200:  # noqa: PLR2004  # RFC 9110 §15.2: an interim answer, the final one follows
            self._skip_interim(status)
            return
        if status > 599:  # noqa: PLR2004  # RFC 9110 §15: no class of status beyond 5xx
            self._stop(f"its status is `{status}`")
        self.status = status
        self.head_done = True
        self.keep_alive = version == "1.1" and "close" not in self._options
        self._bodiless = self._bodiless or status in _BODILESS
        self.complete = self._bodiless

    def on_body(self, chunk: bytes) -> None:
        if self.complete:
            self._stop("a body where none may be")
        self._chunks.append(chunk)
        self.size += len(chunk)
        self.pending += len(chunk)

    def on_message_complete(self) -> None:
        if self.head_done:
            self.complete = True

    # -- the head ---------------------------------------------------------------------------------------------

    def _read_headers(self, version: str) -> None:
        headers: list[Header] = []
        for raw_name, raw_value in self._raw:
            name, value = raw_name.decode("ascii").lower(), raw_value.decode("latin-1").strip(" \t")
            if name == "content-length":
                self.length = int(value)  # digits, once, and without Transfer-Encoding: llhttp saw to that
            elif name in _HOP_BY_HOP:
                self._read_hop(name, value, version)
                continue
            headers.append((name, value))
        self.headers = tuple(headers)
        if self._options:
            self._drop_nominated()

    def _read_hop(self, name: str, value: str, version: str) -> None:
        if name == "connection":
            self._options = f"{self._options},{value.lower()}"
        elif name == "transfer-encoding":
            if value.lower() != "chunked" or self._chunked or version == "1.0":
                self._stop("its Transfer-Encoding is not exactly `chunked`")
            self._chunked = True

    def _drop_nominated(self) -> None:
        options = {option.strip(" \t") for option in self._options.split(",")}
        if not options <= _PLAIN_OPTIONS:
            self.headers = tuple(header for header in self.headers if header[0] not in options)

    def _skip_interim(self, status: int) -> None:
        self._interims += 1
        if status < 100 or status == 101 or self.length is not None or self._chunked:  # noqa: PLR2004  # RFC 9110 §15.2
            self._stop(f"its status is `{status}`")
        if self._interims > _MAX_INTERIMS:
            self._stop("more than 5 interim answers")
        self._raw = []
        self._options = ""
        self.headers = ()


def cut_short(response: Response) -> UpstreamError:
    """What to say when the connection ended before the answer did."""
    if not response.fed:
        what = "the upstream closed the connection without an answer"
    else:
        what = "the upstream closed the connection before its answer was whole"
    return UpstreamError("upstream.broken", what, sent="unknown")
