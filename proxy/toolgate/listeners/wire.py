"""The wire gate: what a parsed request must be before anything else looks at it (SAFETY §5, attacks A to D).

RULE: reject, never repair. A request passes as it came or is refused with a typed reason, and its connection ends;
no byte of it is echoed except names that are plain tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import unquote_to_bytes

from aiohttp.http_exceptions import (
    BadHttpMethod,
    HttpProcessingError,
    InvalidHeader,
    InvalidURLError,
    LineTooLong,
)

from toolgate.core.codes import CODES
from toolgate.core.model import Recovery, Refusal, Said, new
from toolgate.core.suggest import near

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage

RawHeaders = tuple[tuple[bytes, bytes], ...]

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MAX_LINE_BYTES: Final = 4096
MAX_FIELD_BYTES: Final = (
    8190  # INVARIANT: differs from MAX_LINE_BYTES, which is how the parser's complaint is told apart
)
MAX_HEADERS: Final = 64
MAX_HEADER_BYTES: Final = 16 * 1024
MAX_REASON_CHARS: Final = 512
MAX_ID_CHARS: Final = 128  # of a plan or a step

_STAGE: Final = "wire"
_MAX_LENGTH_DIGITS: Final = 18
_RETRY_AFTER_S: Final = {"gateway.overloaded": 1.0, "gateway.draining": 1.0}
_OURS: Final = "toolgate-"
_FORWARDED: Final = "x-forwarded-"
_MEANT: Final = ("plan", "reason", "run", "step", "token")
_KNOWN: Final = frozenset(f"{_OURS}{name}" for name in _MEANT)
# RFC 9110 §7.6.1, §10.1.1, and what frames or routes the message: ours on both sides, so no one behind the gate sees it.
_FRAMING: Final = frozenset({
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
})  # fmt: skip
# SECURITY: who the caller is and what it asks for comes from the peer and the request line, never from these.
_CLAIMS: Final = frozenset({
    "authorization", "forwarded", "via", "x-real-ip", "x-client-ip", "x-original-url", "x-rewrite-url",
    "x-http-method", "x-http-method-override", "x-method-override", "origin", "sec-fetch-site",
})  # fmt: skip
_DROPPED: Final = _FRAMING | _CLAIMS | _KNOWN
# Headers whose definition is a list (RFC 9110 §5.3); everything else comes once.
_LISTS: Final = frozenset({
    "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "connection", "forwarded",
    "if-match", "if-none-match", "pragma", "prefer", "te", "trailer", "tracestate", "via", "warning",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
})  # fmt: skip
_COMMON: Final = _DROPPED | _LISTS | {
    "baggage", "content-encoding", "content-language", "content-type", "cookie", "date", "dnt", "idempotency-key",
    "if-modified-since", "if-unmodified-since", "priority", "range", "referer", "sec-fetch-dest", "sec-fetch-mode",
    "traceparent", "user-agent", "x-api-key", "x-request-id",
}  # fmt: skip
_NAMES: Final[dict[bytes, str]] = {
    spelled.encode(): name for name in _COMMON for spelled in (name, name.title(), name.upper())
}
_OTHERS: Final = _COMMON - _KNOWN  # what is found here needs no other look at its name
_KEPT: Final = frozenset(name for name in _OTHERS - _DROPPED if not name.startswith(_FORWARDED))
_TOKEN: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^`|~-]{1,128}")  # RFC 9110 §5.6.2, without `_`: CGI reads it as `-`
_REASON: Final = f"{_OURS}reason"
_NAMING: Final = {f"{_OURS}{name}": name for name in ("plan", "step")}
_ID: Final = re.compile(rf"[!-~]{{1,{MAX_ID_CHARS}}}")
_ANY_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_SAME_SITE: Final = frozenset({"same-origin", "none"})

_SEGMENT: Final = r"A-Za-z0-9._~!$&'()*+,;=:@\-"
_PLAIN_PATH: Final = re.compile(rf"/[{_SEGMENT}/]*").fullmatch
_PATH_CHARS: Final = re.compile(rf"[{_SEGMENT}/%]*")
_PLAIN_QUERY: Final = re.compile(rf"[{_SEGMENT}/?|\[\]]*").fullmatch
_QUERY_CHARS: Final = re.compile(rf"[{_SEGMENT}/?|\[\]%]*")
_BAD_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED_PLAIN: Final = re.compile(r"%(?:2[DEde]|3[0-9]|4[1-9A-Fa-f]|5[0-9AFaf]|6[1-9A-Fa-f]|7[0-9Aa])")
_METHOD_LIKE: Final = re.compile(r"""\n\n +b["'][\x21-\x5b\x5d-\x7e]{1,64} [\x21-\x7e]""")  # in what the parser quotes
_ENCODED_SLASH: Final = re.compile(r"%2[Ff]")
_ENCODED_PERCENT: Final = re.compile(r"%25[0-9A-Fa-f]{2}")
_SLASHED: Final = "the path has an encoded slash or backslash"
# C0, DEL, C1, line and paragraph separators, and the characters that change the direction of text.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def _nowhere(_method: str, _path: str, _query: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Rules:
    """What differs between listeners. `hosts` None: any well-formed Host."""

    hosts: frozenset[str] | None
    origins: frozenset[str] = frozenset()
    declares: Callable[[str, str, str], bool] = _nowhere  # see `_slash_fault`
    authorization: Literal["dropped", "read"] = "dropped"  # read only where an issuer could have made a token


class Block(NamedTuple):
    """A header block that passed."""

    fields: int  # how many lines it has
    kept: Mapping[str, str]  # lower-case names, without what frames, routes or claims
    content_length: int | None
    chunked: bool
    expects_continue: bool
    said: Said
    token: str | None
    run: str | None = None  # the token of the run it is made in


class Head(NamedTuple):
    """A request line and header block that passed."""

    method: str
    path: str
    query: str
    block: Block


def refuse(code: str, detail: str, hint: str | None = None) -> Refusal:
    """A refusal on the wire: there is no Call yet, so it is counted and logged, not journaled."""
    row = CODES[code]
    return Refusal(
        row, detail, Recovery(row.action, hint or row.hint, retry_after_s=_RETRY_AFTER_S.get(code)), stage=_STAGE
    )


def accepted_hosts(names: Iterable[str], port: int | None) -> frozenset[str]:
    """Every spelling of Host this listener answers for: each name alone, and with the port it listens on."""
    hosts: set[str] = set()
    for name in names:
        host = name.lower()
        bare = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
        hosts.add(bare)
        if port is not None and not re.search(r":[0-9]+\Z", bare.rpartition("]")[2]):
            hosts.add(f"{bare}:{port}")
    return frozenset(hosts)


def judge(message: RawRequestMessage, rules: Rules) -> Head | Refusal:
    """Hold a parsed request against every rule of the wire; the first that fails answers."""
    if message.version != (1, 1):
        return refuse("request.framing", "the request is not HTTP/1.1")
    if message.method not in METHODS:
        return refuse("request.method", f"the method `{message.method}` is not one an operation can have")
    path, _, query = message.path.partition("?")
    fault = target_fault(message.method, path, query, rules)
    if fault is not None:
        return refuse("request.target", fault)
    block = _judge_block(message.raw_headers, rules)
    return block if isinstance(block, Refusal) else new(Head, (message.method, path, query, block))


def target_fault(method: str, path: str, query: str, rules: Rules) -> str | None:
    """What is wrong with a request target; None when it is sound."""
    if not _PLAIN_PATH(path) or "//" in path or "/." in path:
        fault = _path_fault(path) or _slash_fault(method, path, query, rules)
        if fault is not None:
            return fault
    return None if _PLAIN_QUERY(query) else _query_fault(query)


def _path_fault(path: str) -> str | None:
    """What is wrong with a path that is not plain; None when its percent-encoding is needed and sound."""
    if not path.startswith("/"):
        return "the request target does not begin with `/`: absolute, authority and asterisk forms are not accepted"
    if "#" in path:
        return "the request target has a fragment"
    if "\\" in path:
        return "the path has a backslash"
    if "//" in path:
        return "the path has a double slash"
    if not _PATH_CHARS.fullmatch(path):
        return "the path has a character that must be percent-encoded"
    return _encoding_fault(path)


def _encoding_fault(path: str) -> str | None:
    if _BAD_PERCENT.search(path):
        return "the path has a `%` that is not followed by two hexadecimal digits"
    segments = path.split("/")
    if any(unquote_to_bytes(segment) in (b".", b"..") for segment in segments):
        return "the path has a dot segment"
    if _ENCODED_PERCENT.search(path):
        return "the path is percent-encoded twice"
    if _ENCODED_PLAIN.search(path):
        return "the path percent-encodes a character that is plain in a path"
    try:
        decoded = [unquote_to_bytes(segment).decode("utf-8") for segment in segments]
    except UnicodeDecodeError:
        return "the path is not UTF-8 once decoded"
    return next((fault for fault in map(_segment_fault, decoded) if fault), None)


def _segment_fault(segment: str) -> str | None:
    if "\\" in segment:
        return _SLASHED
    if _CONTROL.search(segment):
        return "the path has an encoded control character"
    return None


def _slash_fault(method: str, path: str, query: str, rules: Rules) -> str | None:
    """What is wrong with a path that is sound but for encoded slashes, which stand only where an operation declares them."""
    return _SLASHED if _ENCODED_SLASH.search(path) and not rules.declares(method, path, query) else None


def _query_fault(query: str) -> str | None:
    if "#" in query:
        return "the request target has a fragment"
    if not _QUERY_CHARS.fullmatch(query):
        return "the query has a character that must be percent-encoded"
    if _BAD_PERCENT.search(query):
        return "the query has a `%` that is not followed by two hexadecimal digits"
    return None


def _judge_block(raw: RawHeaders, rules: Rules) -> Block | Refusal:
    headers = _collect(raw)
    if isinstance(headers, Refusal):
        return headers
    refusal = _host_fault(headers, rules) or _framing_fault(headers) or _page_fault(headers, rules)
    refusal = refusal or _own_fault(headers)
    if refusal is not None:
        return refusal
    length = headers.get("content-length")
    kept = {name: value for name, value in headers.items() if name in _KEPT or _is_kept(name)}
    said = headers.get("toolgate-reason") or None, headers.get("toolgate-plan"), headers.get("toolgate-step")
    return Block(
        len(raw),
        kept,
        int(length) if length is not None else None,
        "transfer-encoding" in headers,
        "expect" in headers,
        new(Said, said),
        _token(headers, rules),
        headers.get("toolgate-run"),
    )


def _is_kept(name: str) -> bool:
    return name not in _DROPPED and not name.startswith(_FORWARDED)


def _token(headers: Mapping[str, str], rules: Rules) -> str | None:
    """What the caller presents; `Toolgate-Token` goes before `Authorization`, which may be meant for the API.

    Another scheme than Bearer is handed on whole: it is no token, so it is refused, and not taken for no token.
    """
    own, bearer = headers.get("toolgate-token"), headers.get("authorization")
    if own is not None or bearer is None or rules.authorization == "dropped":
        return own
    scheme, _, token = bearer.partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else bearer


def _collect(raw: RawHeaders) -> dict[str, str] | Refusal:
    """The headers by lower-case name: tokens, printable ASCII, once each unless the header is a list."""
    if len(raw) > MAX_HEADERS:
        return too_many_headers()
    headers: dict[str, str] = {}
    size = 0
    for raw_name, raw_value in raw:
        name = _NAMES.get(raw_name) or _lower(raw_name)
        if name is None:
            return refuse(
                "request.header", "a header name is not a plain token: letters, digits and `-`, without underscores"
            )
        value = raw_value.decode("ascii", "replace")
        if not value.isascii() or not value.isprintable():
            return refuse("request.header", f"the value of the header `{name}` is not printable ASCII")
        size += len(raw_name) + len(raw_value) + 4
        if name in headers:
            if name not in _LISTS:
                return refuse("request.header", f"the header `{name}` is repeated", "Send the named header once.")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    if size > MAX_HEADER_BYTES:
        return refuse("request.headers_too_large", f"the headers are larger than {MAX_HEADER_BYTES} bytes")
    return headers


def _lower(raw_name: bytes) -> str | None:
    return raw_name.decode("ascii").lower() if _TOKEN.fullmatch(raw_name) else None


def _host_fault(headers: Mapping[str, str], rules: Rules) -> Refusal | None:
    host = headers.get("host")
    if host is None:
        return missing_host()
    known = _ANY_HOST.fullmatch(host) is not None if rules.hosts is None else host.lower() in rules.hosts
    if known:
        return None
    return refuse("request.host", "the Host header names no host this listener answers for (`listen.hosts`)")


def missing_host() -> Refusal:
    return refuse("request.header", "the Host header is missing", "Send the Host header of the address you connect to.")


def _framing_fault(headers: Mapping[str, str]) -> Refusal | None:
    coding = headers.get("transfer-encoding")
    if coding is not None and coding != "chunked":
        return refuse("request.framing", "the Transfer-Encoding is not exactly `chunked`")
    length = headers.get("content-length")
    if length is not None and (coding is not None or not (length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS)):
        return refuse(
            "request.framing", "the request has a Content-Length that is not one plain number, or also chunks"
        )
    if "upgrade" in headers or "http2-settings" in headers:
        return refuse("request.header", "the header `upgrade` is not accepted: the gate speaks HTTP/1.1 only")
    if headers.get("expect", "100-continue") != "100-continue":
        return refuse("request.header", "the Expect header is not exactly `100-continue`")
    return None


def _page_fault(headers: Mapping[str, str], rules: Rules) -> Refusal | None:
    """SECURITY: a page in a browser on this machine must not be able to call tools (rebinding, CSRF)."""
    origin = headers.get("origin")
    if origin is not None:
        if origin in rules.origins:
            return None
        return refuse(
            "request.header", "requests with an `origin` are not accepted from this origin (`listen.origins`)"
        )
    if headers.get("sec-fetch-site", "none") not in _SAME_SITE:
        return refuse("request.header", "requests a browser makes for another site are not accepted (`sec-fetch-site`)")
    return None


def _own_fault(headers: Mapping[str, str]) -> Refusal | None:
    """Our own headers: known ones only. `toolgate-` is reserved, so that a misspelt one is not silently without effect."""
    for name in headers:
        if name not in _OTHERS and name.startswith(_OURS):
            fault = _fault_of_ours(name, headers[name])
            if fault is not None:
                return fault
    return None


def _fault_of_ours(name: str, given: str) -> Refusal | None:
    if name not in _KNOWN:
        return refuse("request.header", f"the header `{name}` is reserved and not known to this gate", _meant(name))
    if name == _REASON and len(given) > MAX_REASON_CHARS:
        detail = f"the header `{name}` is longer than {MAX_REASON_CHARS} characters"
        return refuse("request.header", detail, "Shorten the reason.")
    # SECURITY: a name that could name nothing is refused, and not taken for none: the call would be matched to any step.
    if name not in _NAMING or _ID.fullmatch(given):
        return None
    detail = f"the header `{name}` is not the id of a {_NAMING[name]}: 1 to {MAX_ID_CHARS} visible characters"
    return refuse("request.header", detail, f"Send the id as POST /-/plans told it, or leave `{name}` out.")


def _meant(name: str) -> str | None:
    """The hint for a misspelt header of ours; None, which is the code's own, where nothing is near."""
    nearest = near(name.removeprefix(_OURS), _MEANT, 1)
    return f"Write `{_OURS}{nearest[0]}`, or remove the header." if nearest else None


def parser_fault(error: HttpProcessingError) -> Refusal:
    """The parser's complaint as a typed refusal; nothing of what it quotes is shown."""
    match error:
        case LineTooLong(args=(_, int(limit), *_)) if limit == MAX_LINE_BYTES:
            return refuse("request.target_too_long", f"the request line is longer than {MAX_LINE_BYTES} bytes")
        case LineTooLong():
            return refuse("request.headers_too_large", f"a header is larger than {MAX_FIELD_BYTES} bytes")
        case InvalidURLError():
            return refuse("request.target", "the request target is not the plain ASCII path of a tool")
        case BadHttpMethod():
            return _line_fault(error.message)
        case InvalidHeader():
            return refuse("request.header", "a header is malformed")
        case _:
            return _complaint(error)


def _complaint(error: HttpProcessingError) -> Refusal:
    # The parser quotes what it read after its own words; only its words are looked at.
    words = error.message.partition(":\n\n")[0]
    return next((answer() for said, answer in _COMPLAINTS if said in words), None) or malformed()


def malformed() -> Refusal:
    return refuse("request.framing", "the bytes are not one well-formed HTTP/1.1 request")


def _line_fault(quoted: str) -> Refusal:
    """A request line with a method we do not know, or no request line at all."""
    if _METHOD_LIKE.search(quoted):
        return refuse("request.method", "the method is not one an operation can have")
    return malformed()


def too_many_headers() -> Refusal:
    return refuse("request.headers_too_large", f"the request has more than {MAX_HEADERS} headers")


def _bad_header() -> Refusal:
    return refuse("request.header", "a header is malformed or repeated")


_COMPLAINTS: Final[tuple[tuple[str, Callable[[], Refusal]], ...]] = (
    ("Too many headers", too_many_headers),
    ("Missing 'Host'", missing_host),
    ("Duplicate 'Content-Length'", malformed),
    ("Duplicate 'Transfer-Encoding'", malformed),
    ("Duplicate '", _bad_header),
    ("Invalid header", _bad_header),
    ("Unexpected whitespace after header value", _bad_header),
    ("Invalid character in header", _bad_header),
)
