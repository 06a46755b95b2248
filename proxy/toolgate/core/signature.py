"""A call's arguments: decoded once, judged, and written again as the request that is sent.

RULE: what was judged is what is sent. The request is built from the arguments object only, and what it says is read
back and compared before anyone may send it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from toolgate.core.bodies import (
    BODY,
    FORM,
    Body,
    Content,
    MediaType,
    OpaqueBody,
    WrongMediaType,
    differing,
    is_json,
    matches,
    parse_media_type,
    read_body,
    write_body,
)
from toolgate.core.fields import Fields, join_cookies, join_query, split_cookies, split_query
from toolgate.core.model import Header, Json, UpstreamRequest, Violation, Wire, new
from toolgate.core.parameters import (
    Parameter,
    read_header,
    read_path,
    write_header,
    write_path,
)
from toolgate.core.schema import Judge, offered, self_contained
from toolgate.core.verbatim import PLAIN_SEGMENT, Verbatim, reads_verbatim
from toolgate.core.violations import MOST_VIOLATIONS
from toolgate.core.wiretext import (
    Malformed,
    Unwritable,
    echo,
    header_text,
    is_another_path,
    is_deceptive,
    is_encoded,
    pointer,
    quote_path,
    unquote,
)

_QUOTED: Final = re.compile("`[^`]*`")
_ENCODED_SLASH: Final = re.compile(r"%2[Ff]").search
_IDENTITY: Final = frozenset({"", "identity"})
Problem: TypeAlias = Literal["arguments.malformed", "arguments.invalid", "arguments.media_type", "arguments.too_large"]


class Decoded(NamedTuple):
    """Arguments that fit, and the request that says exactly them."""

    arguments: Mapping[str, Json]
    request: UpstreamRequest


class Rejected(NamedTuple):
    """Why the arguments cannot be sent; `violations` point into the arguments object."""

    code: Problem
    detail: str
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """A document's path key: literal texts around its parameters, and the query the key itself carries."""

    literals: tuple[str, ...]  # one more than there are path parameters
    query: tuple[tuple[str, str], ...] = ()  # decoded pairs that are always sent

    @property
    def is_compound(self) -> bool:
        """Whether a segment holds more than one whole parameter, so that texts may add up to dots."""
        return any(text and not text.endswith("/") for text in self.literals[:-1]) or any(
            text and not text.startswith("/") for text in self.literals[1:]
        )


@dataclass(frozen=True, slots=True)
class Places:
    """An operation's parameters by where they stand."""

    path: tuple[Parameter, ...]
    query: Fields
    header: tuple[Parameter, ...]
    cookie: Fields


@dataclass(frozen=True, slots=True)
class Contents:
    """What may be sent as the body, and who judges the arguments."""

    judge: Judge  # of a call without a body
    bodies: Mapping[str, Body]
    is_required: bool = False
    masks: tuple[str, ...] = ()


class Signature:
    """How one operation's arguments are written on the wire, and what fits."""

    __slots__ = (
        "_cookie",
        "_defaults",
        "_fixed_query",
        "_has_cookies",
        "_header",
        "_header_names",
        "_is_compound",
        "_judge",
        "_method",
        "_path",
        "_query",
        "_schema",
        "_template",
        "_verbatim",
        "bodies",
        "body_required",
        "masks",
        "parameters",
        "reads_headers",
    )

    def __init__(self, method: str, template: Template, places: Places, contents: Contents) -> None:
        self._method = method
        self._template = template
        self._is_compound = template.is_compound
        self._path = places.path
        self._query = places.query
        self._header = places.header
        self._header_names = tuple(each.name.lower() for each in places.header)
        self._cookie = places.cookie
        self._has_cookies = bool(places.cookie.parameters)
        self.reads_headers = bool(places.header) or self._has_cookies  # beside the body's own
        self._judge = contents.judge
        self._fixed_query = join_query((quote_path(name), quote_path(text)) for name, text in template.query)
        self.parameters = (*places.path, *places.query.parameters, *places.header, *places.cookie.parameters)
        self._defaults: tuple[tuple[Parameter, Json], ...] = ()
        self.bodies = contents.bodies
        self.body_required = contents.is_required
        self.masks = contents.masks
        self._schema: dict[str, Json] | None = None
        self._verbatim = self._read_verbatim()

    def fill_defaults(self, defaults: Mapping[str, Json]) -> None:
        """Set the defaults, by key, that are filled in: at load, after each was judged by its own schema."""
        self._defaults = tuple((each, defaults[each.key]) for each in self.parameters if each.key in defaults)
        self._verbatim = self._read_verbatim()

    def _read_verbatim(self) -> Verbatim | None:
        """How most requests are read, where this operation's can be."""
        is_more = self._is_compound or self._fixed_query or self._defaults or self.reads_headers
        if is_more or not reads_verbatim(self._path):
            return None
        return Verbatim(self._template.literals, self._path, self._query.parameters)

    # -- a call over the wire ----------------------------------------------------------------------------------

    def declares(self, path_values: Sequence[str]) -> bool:
        """Whether encoded slashes stand only where they are declared (`allowReserved`), in raw values."""
        return not any(
            _ENCODED_SLASH(raw) and not (parameter.reserved and not is_another_path(unquote(raw)))
            for parameter, raw in zip(self._path, path_values, strict=True)
        )

    def decode(self, wire: Wire, path_values: Sequence[str]) -> Decoded | Rejected:
        """Decode and judge a request; return the arguments with the request that will be sent."""
        try:
            return self._decode(wire, path_values)
        except WrongMediaType as error:
            return Rejected("arguments.media_type", str(error))
        except Malformed as error:
            return Rejected("arguments.malformed", self._without_values(str(error)))
        except Unwritable as error:
            return self._unwritable(error)

    def _decode(self, wire: Wire, path_values: Sequence[str]) -> Decoded | Rejected:
        read = None if self._verbatim is None else self._verbatim.read(path_values, wire.query)
        if read is not None:
            return self._decode_verbatim(wire, *read)
        wrong: list[Violation] = []
        arguments = self._read_path(path_values, wrong)
        if wire.query or self._fixed_query:
            self._read_query(wire.query, arguments, wrong)
        if self._header:
            self._read_headers(wire.headers, arguments)
        if self._has_cookies and "cookie" in wire.headers:  # where none is declared, cookies are dropped (DESIGN §17)
            values, missed = self._cookie.read(split_cookies(wire.headers["cookie"]))
            arguments.update(values)
            wrong.extend(missed)
        for parameter, default in self._defaults:
            arguments.setdefault(parameter.key, default)
        judge, content = self._read_body(wire, arguments, wrong)
        fits = judge.fits(arguments)
        if wrong or not fits:
            return _invalid(tuple(wrong) if fits else (*wrong, *judge.faults(arguments)))
        request = self._request(arguments, content)
        self._prove(request, arguments, wire.query)
        return new(Decoded, (arguments, request))

    def _decode_verbatim(self, wire: Wire, arguments: dict[str, Json], target: str) -> Decoded | Rejected:
        """The same for a path and a query that are sent as they came: nothing is left to be written or proven."""
        wrong: list[Violation] = []
        judge, content = self._read_body(wire, arguments, wrong)
        fits = judge.fits(arguments)
        if wrong or not fits:
            return _invalid(tuple(wrong) if fits else (*wrong, *judge.faults(arguments)))
        return new(Decoded, (arguments, self._sent(target, (), content)))

    def _read_path(self, path_values: Sequence[str], wrong: list[Violation]) -> dict[str, Json]:
        arguments: dict[str, Json] = {}
        for parameter, raw in zip(self._path, path_values, strict=True):
            text = unquote(raw)
            if not PLAIN_SEGMENT(text) and (reason := _refused_in_path(text, parameter)):
                told = self._without_values(f"{echo(text)} {reason}")
                wrong.append(Violation(pointer("", parameter.key), "path", told))
            arguments[parameter.key] = read_path(parameter, text)
        return arguments

    def _read_query(self, raw: str, arguments: dict[str, Json], wrong: list[Violation]) -> None:
        pairs = split_query(raw)
        for fixed in self._template.query:
            if fixed not in pairs:
                raise Malformed(f"the query must hold {echo('='.join(fixed))}")
            pairs.remove(fixed)
        values, missed = self._query.read(pairs)
        arguments.update(values)
        wrong.extend(missed)

    def _read_headers(self, headers: Mapping[str, str], arguments: dict[str, Json]) -> None:
        for parameter, name in zip(self._header, self._header_names, strict=True):
            text = headers.get(name)
            if text is not None:
                if not text.isascii() or is_deceptive(text):
                    raise Malformed(f"the header `{parameter.name}` holds something else than printable ASCII")
                arguments[parameter.key] = read_header(parameter, text)

    def _read_body(
        self, wire: Wire, arguments: dict[str, Json], wrong: list[Violation]
    ) -> tuple[Judge, Content | None]:
        """Read the body into the arguments; return who judges them, and the body to send."""
        coding = wire.headers.get("content-encoding", "")
        if coding.lower() not in _IDENTITY:
            raise WrongMediaType(f"the content encoding {echo(coding)} is not accepted; send the body as it is")
        if not wire.body and not self._is_empty_form(wire.headers):
            return self._judge, None
        if not self.bodies:
            raise Malformed("this operation takes no body; send none")
        media, body = self._body_for(wire.headers.get("content-type"))
        content = read_body(body, wire.body, media)
        arguments[BODY] = content.value
        wrong.extend(content.wrong)
        return body.judge, content

    def _is_empty_form(self, headers: Mapping[str, str]) -> bool:
        """Whether no bytes are a body all the same: a form without fields, where a body is required."""
        if not self.body_required or FORM not in self.bodies or "content-type" not in headers:
            return False
        return parse_media_type(headers["content-type"]).essence == FORM

    def _body_for(self, content_type: str | None) -> tuple[MediaType, Body]:
        if content_type is None:
            raise WrongMediaType(f"the body has no Content-Type; send {_either(self.bodies)}")
        media = parse_media_type(content_type)
        body = self.bodies.get(media.essence) or _ranged(self.bodies, media.essence)
        if body is None:
            raise WrongMediaType(f"{echo(media.essence)} is not accepted here; send {_either(self.bodies)}")
        return media, body

    # -- a call by name ----------------------------------------------------------------------------------------

    def accept(self, arguments: Mapping[str, Json]) -> Decoded | Rejected:
        """Judge an arguments object; return it with the request that will be sent."""
        filled = dict(arguments)
        for parameter, default in self._defaults:
            filled.setdefault(parameter.key, default)
        if BODY not in filled or not self.bodies:
            return self._accept_with(None, filled)
        first: Rejected | None = None
        for body in _by_preference(self.bodies, filled[BODY]):
            outcome = self._accept_with(body, filled)
            if isinstance(outcome, Decoded):
                return outcome
            first = first or outcome
        return first or Rejected("arguments.malformed", "this operation takes no body; send none")

    def _accept_with(self, body: Body | None, arguments: Mapping[str, Json]) -> Decoded | Rejected:
        try:
            content = None if body is None else self._written(body, arguments[BODY])
            judged = dict(arguments)
            if content is not None:
                judged[BODY] = content.value
            elif body is not None:
                del judged[BODY]
            judge = self._judge if body is None or content is None else body.judge
            wrong = content.wrong if content is not None else ()
            fits = judge.fits(judged)
            if wrong or not fits:
                return _invalid(wrong if fits else (*wrong, *judge.faults(judged)))
            request = self._request(judged, content)
            self._prove(request, judged, None)
        except WrongMediaType as error:
            return Rejected("arguments.media_type", str(error))
        except Malformed as error:
            return Rejected("arguments.malformed", self._without_values(str(error)))
        except Unwritable as error:
            return self._unwritable(error)
        return Decoded(judged, request)

    def _written(self, body: Body, value: Json) -> Content | None:
        """The body given by name; None where it has no bytes, for then the wire says that there is none."""
        content = write_body(body, value)
        is_there = content.written or self._is_empty_form({"content-type": content.content_type})
        return content if is_there else None

    # -- writing -----------------------------------------------------------------------------------------------

    def _request(self, arguments: Mapping[str, Json], content: Content | None) -> UpstreamRequest:
        path = self._write_path(arguments)
        pairs = self._query.write(arguments)
        query = join_query(pairs)
        if self._fixed_query:
            query = f"{self._fixed_query}&{query}" if query else self._fixed_query
        headers = self._write_headers(arguments) if self._header or self._has_cookies else ()
        return self._sent(f"{path}?{query}" if query else path, headers, content)

    def _sent(self, target: str, headers: tuple[Header, ...], content: Content | None) -> UpstreamRequest:
        if content is None:
            return new(UpstreamRequest, (self._method, target, headers, None))
        typed = (("content-type", content.content_type), *headers)
        return new(UpstreamRequest, (self._method, target, typed, content.written))

    def _write_path(self, arguments: Mapping[str, Json]) -> str:
        if not self._path:
            return self._template.literals[0]
        texts = [self._template.literals[0]]
        for parameter, literal in zip(self._path, self._template.literals[1:], strict=True):
            texts.append(_written_segment(parameter, arguments[parameter.key]))
            texts.append(literal)
        path = "".join(texts)
        if self._is_compound and any(segment in {".", ".."} for segment in path.split("/")):
            raise Unwritable("the path parameters add up to a dot segment")
        return path

    def _write_headers(self, arguments: Mapping[str, Json]) -> tuple[Header, ...]:
        headers = []
        for parameter in self._header:
            if parameter.key in arguments:
                text = _written_header(parameter, arguments[parameter.key])
                headers.append((parameter.name, text))
        if self._has_cookies and (pairs := self._cookie.write(arguments)):
            headers.append(("cookie", join_cookies(pairs)))
        return tuple(headers)

    def _prove(self, request: UpstreamRequest, arguments: Mapping[str, Json], came: str | None) -> None:
        """Read the request's query and cookies back. Raises Unwritable when they do not say the arguments."""
        # Bytes equal to those the arguments were read from say the same: nothing to read again.
        _, _, query = request.target.partition("?")
        if query != came and query:
            again: dict[str, Json] = {}
            self._read_query(query, again, [])
            _require_same(self._query.parameters, arguments, again)
        elif came is None:
            _require_same(self._query.parameters, arguments, {})
        if self._has_cookies:
            cookie = next((text for name, text in request.headers if name == "cookie"), "")
            values, _ = self._cookie.read(split_cookies(cookie))
            _require_same(self._cookie.parameters, arguments, values)

    # -- what fits ---------------------------------------------------------------------------------------------

    def _unwritable(self, error: Unwritable) -> Rejected:
        path = "" if error.key is None else pointer(error.base, error.key)
        return _invalid((Violation(path, "style", self._without_values(str(error))),))

    def _without_values(self, told: str) -> str:
        """What is told of text that could not be read. SECURITY: where there are secrets, it may be part of one."""
        return _QUOTED.sub("`…`", told) if self.masks else told

    def schema(self) -> dict[str, Json]:
        """Return the JSON Schema of the arguments object: 2020-12, every definition inside."""
        if self._schema is None:
            root = dict(self._judge.schema)
            if self.bodies:
                every = [body.shown for body in self.bodies.values()]
                shown = [each for at, each in enumerate(every) if each not in every[:at]]
                body = shown[0] if len(shown) == 1 else {"anyOf": shown}
                root["properties"] = {**root["properties"], BODY: body}
            self._schema = offered(self_contained(root, self._judge.defs))
        return self._schema

    def compile(self) -> None:
        """Compile every judge now rather than at the first call."""
        self._judge.compile()
        for body in self.bodies.values():
            body.judge.compile()


def _written_segment(parameter: Parameter, value: Json) -> str:
    """Write one path value and read it back. Raises Unwritable."""
    if parameter.is_plain_text and type(value) is str and PLAIN_SEGMENT(value):
        return value
    try:
        written = write_path(parameter, value, quote_path)
        text = unquote(written)
        problem = _refused_in_path(text, parameter)
        again = value if problem else read_path(parameter, text)
    except (Unwritable, Malformed) as error:
        raise Unwritable(str(error), parameter.key) from None
    if problem:
        raise Unwritable(f"{echo(text)} {problem}", parameter.key)
    if again != value:
        raise Unwritable(f"{echo(value)} cannot be written in a path without changing", parameter.key)
    return written


def _written_header(parameter: Parameter, value: Json) -> str:
    """Write one header value and read it back. Raises Unwritable."""
    try:
        written = header_text(write_header(parameter, value, header_text))
        again = read_header(parameter, written)
    except (Unwritable, Malformed) as error:
        raise Unwritable(str(error), parameter.key) from None
    if again != value:
        raise Unwritable(f"{echo(value)} cannot be written in a header without changing", parameter.key)
    return written


def _refused_in_path(text: str, parameter: Parameter) -> str | None:
    # SECURITY: these make another path of it, here or on the way (SAFETY B15, B16).
    if text in {"", ".", ".."}:
        return "cannot stand in a path: it must not be empty, `.` or `..`"
    if "\\" in text or is_deceptive(text):
        return "cannot stand in a path: it has a backslash or control characters"
    if is_encoded(text):
        return "cannot stand in a path: once encoded it would be percent-encoded twice"
    if "/" in text and not parameter.reserved:
        return "cannot stand in a path: it has a slash"
    return "cannot stand in a path: it has empty or dot segments" if is_another_path(text) else None


def _require_same(parameters: Sequence[Parameter], arguments: Mapping[str, Json], again: Mapping[str, Json]) -> None:
    meant = {each.key: arguments[each.key] for each in parameters if each.key in arguments}
    if meant != again:
        raise Unwritable(
            "the value cannot be written in its parameter's style without changing", differing(meant, again)
        )


def _invalid(violations: tuple[Violation, ...]) -> Rejected:
    capped = violations[:MOST_VIOLATIONS]
    if not capped:
        return Rejected("arguments.invalid", "the arguments do not fit the operation's schema")
    first = f"`{capped[0].path}`: {capped[0].message}" if capped[0].path else capped[0].message
    more = f" (and {len(capped) - 1} more)" if len(capped) > 1 else ""
    return Rejected("arguments.invalid", first + more, capped)


def _ranged(bodies: Mapping[str, Body], essence: str) -> Body | None:
    """Return the declared range that takes an essence, the narrower before `*/*`."""
    for body in sorted(bodies.values(), key=lambda each: each.media_type == "*/*"):
        if matches(body.media_type, essence) and (is_json(essence) or isinstance(body.reading, OpaqueBody)):
            return body
    return None


def _by_preference(bodies: Mapping[str, Body], value: Json) -> list[Body]:
    """Order the declared bodies for a call by name: bytes go where bytes are taken, the rest to JSON first."""
    is_bytes = isinstance(value, dict) and "$base64" in value
    return sorted(
        bodies.values(),
        key=lambda each: (isinstance(each.reading, OpaqueBody) != is_bytes, not is_json(each.media_type)),
    )


def _either(bodies: Mapping[str, Body]) -> str:
    return " or ".join(f"`{name}`" for name in bodies)
