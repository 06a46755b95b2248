"""Bodies by media type: bytes to the value that is judged, and that value to the bytes that are sent.

RULE: JSON and forms are written anew from what was judged; text, files and opaque bytes travel verbatim, and policies
see a file's size, digest, name and type instead of its content.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Final, Literal, NamedTuple, TypeAlias, assert_never

from toolgate.core import multipart, strictjson
from toolgate.core.fields import Fields, Unknown, given_twice, join_query, split_query, unknown_field
from toolgate.core.model import Json, Part, Violation
from toolgate.core.schema import Judge
from toolgate.core.shape import TEXT, Shape, write_scalar
from toolgate.core.wiretext import Malformed, Unwritable, echo, is_deceptive

BODY: Final = "body"
AT_BODY: Final = "/body"
FORM: Final = "application/x-www-form-urlencoded"
_ESSENCE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+\-]+/[A-Za-z0-9!#$&^_.+\-]+|\*/\*|[A-Za-z0-9!#$&^_.+\-]+/\*").fullmatch
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii"})


class WrongMediaType(Malformed):
    """A body whose media type, charset or coding cannot be judged: `arguments.media_type`."""


@dataclass(frozen=True, slots=True)
class JsonBody:
    """`application/json` and every `+json`. `twins` are declared keys that differ only in case."""

    twins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FormBody:
    """`application/x-www-form-urlencoded`."""

    fields: Fields


@dataclass(frozen=True, slots=True)
class PartPlan:
    """How one part of a multipart body is read."""

    reading: Literal["text", "json", "binary"]
    shape: Shape = TEXT
    is_array: bool = False
    content_types: tuple[str, ...] = ()  # the encoding object's contentType; empty: any
    is_either: bool = False  # one part is a value, several are an array of them

    @property
    def is_repeated(self) -> bool:
        """Whether each element of its array is a part of its own."""
        return self.is_array and self.reading != "json"


@dataclass(frozen=True, slots=True)
class MultipartBody:
    """`multipart/form-data`."""

    plans: Mapping[str, PartPlan]
    rest: PartPlan | None  # parts the schema does not name but wants
    unknown: Unknown
    twins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TextBody:
    """`text/*`: judged as one string."""

    shape: Shape = TEXT


@dataclass(frozen=True, slots=True)
class OpaqueBody:
    """Anything else that is declared: not decoded, judged by size and digest."""


Reading: TypeAlias = JsonBody | FormBody | MultipartBody | TextBody | OpaqueBody


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """One declared media type of a request body, with the judge of all arguments when it is the one sent."""

    media_type: str  # as declared: an essence, `image/*` or `*/*`
    reading: Reading
    judge: Judge
    shown: Json = field(default_factory=dict)  # its schema for a caller by name: files as `$base64`
    parameters: Mapping[str, str] = field(default_factory=dict)  # of the declared media type itself


class Content(NamedTuple):
    """A body read once: the value that is judged and the bytes that will be sent."""

    value: Json
    written: bytes
    content_type: str
    wrong: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type header, taken apart."""

    essence: str
    parameters: Mapping[str, str]


@lru_cache(maxsize=256)
def parse_media_type(text: str) -> MediaType:
    """Take a Content-Type header apart. Raises WrongMediaType."""
    essence, _, _ = text.partition(";")
    parameters = multipart.read_parameters(text[len(essence) :].rstrip(" \t"))
    essence = essence.strip(" \t").lower()
    if not _ESSENCE(essence) or parameters is None:
        raise WrongMediaType(f"the media type {echo(text)} is malformed")
    charset = parameters.get("charset")
    if charset is not None and charset.lower() not in _UTF8:
        raise WrongMediaType(f"the charset {echo(charset)} is not accepted; send UTF-8")
    return MediaType(essence, parameters)


def is_json(essence: str) -> bool:
    return essence == "application/json" or essence.endswith("+json")


def read_body(body: Body, raw: bytes, media: MediaType) -> Content:
    """Decode a body that came over the wire. Raises Malformed."""
    match body.reading:
        case JsonBody(twins):
            value, written = strictjson.read(raw, twins)
            return Content(value, written, _declared_type(body, media))
        case FormBody(fields):
            return _read_form(fields, raw, media.essence)
        case MultipartBody() as reading:
            parts = multipart.split(raw, media.parameters.get("boundary", ""))
            return _from_parts(reading, parts)
        case TextBody(shape):
            return Content(shape.read(_utf8(raw)), raw, _with_charset(media))
        case OpaqueBody():
            return Content(describe(raw, media.essence, None), raw, _declared_type(body, media))
        case _ as never:
            assert_never(never)


def write_body(body: Body, value: Json) -> Content:
    """Encode a body given by name. Raises Malformed or Unwritable."""
    match body.reading:
        case JsonBody(twins):
            return Content(
                value, strictjson.prove(value, twins), body.media_type if "*" not in body.media_type else _JSON
            )
        case FormBody(fields):
            return _write_form(fields, value)
        case MultipartBody() as reading:
            return _from_parts(reading, tuple(_parts_of(reading, value)))
        case TextBody(shape):
            raw = write_scalar(value, shape).encode()
            return Content(value, raw, f"{'text/plain' if '*' in body.media_type else body.media_type}; charset=utf-8")
        case OpaqueBody():
            part = _file(BODY, value)
            content_type = _concrete(body, part.content_type)
            return Content(describe(part.content, content_type, None), part.content, content_type)
        case _ as never:
            assert_never(never)


_JSON: Final = "application/json"


def _declared_type(body: Body, media: MediaType) -> str:
    if not body.parameters:
        return media.essence
    return media.essence + "".join(f"; {name}={value}" for name, value in body.parameters.items())


def _with_charset(media: MediaType) -> str:
    return f"{media.essence}; charset=utf-8" if "charset" in media.parameters else media.essence


def _concrete(body: Body, given: str | None) -> str:
    """Return the type opaque bytes are sent with: the declared one, or the given one that fits it."""
    if given is None:
        return "application/octet-stream" if "*" in body.media_type else body.media_type
    essence = parse_media_type(given).essence
    if not matches(body.media_type, essence):
        raise WrongMediaType(f"{echo(given)} is not `{body.media_type}`, the media type declared here")
    return essence


def matches(declared: str, essence: str) -> bool:
    """Whether a declared media type or range takes an essence."""
    return declared in {essence, "*/*"} or (declared.endswith("/*") and essence.startswith(declared[:-1]))


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Malformed("the body is not UTF-8 text") from None


def describe(content: bytes, content_type: str | None, filename: str | None) -> dict[str, Json]:
    """Return what a policy sees of bytes that are not decoded."""
    described: dict[str, Json] = {"size": len(content), "sha256": sha256(content).hexdigest()}
    if content_type is not None:
        described["content_type"] = content_type
    if filename is not None:
        described["filename"] = filename
    return described


# -- forms -----------------------------------------------------------------------------------------------------


def _read_form(fields: Fields, raw: bytes, essence: str) -> Content:
    if not raw.isascii():
        raise Malformed("the form has bytes that are not percent-encoded")
    value, wrong = fields.read(split_query(raw.decode()))
    if wrong:
        return Content(value, b"", essence, tuple(wrong))
    written = _form_text(fields, value)
    return Content(value, written, essence)


def _write_form(fields: Fields, value: Json) -> Content:
    if not isinstance(value, dict):
        return Content(value, b"", FORM)  # the judge says what is wrong with it
    return Content(value, _form_text(fields, value), FORM)


def _form_text(fields: Fields, value: Mapping[str, Json]) -> bytes:
    text = join_query(fields.write(value))
    again, _ = fields.read(split_query(text))
    if again != value:
        raise Unwritable(
            "the value cannot be written as a form field without changing", differing(value, again), AT_BODY
        )
    return text.encode()


def differing(value: Mapping[str, Json], again: Mapping[str, Json]) -> str:
    """Name the first key whose value did not survive being written and read."""
    return next((key for key in value if key not in again or again[key] != value[key]), "")


# -- multipart -------------------------------------------------------------------------------------------------


def _from_parts(reading: MultipartBody, parts: tuple[Part, ...]) -> Content:
    value: dict[str, Json] = {}
    wrong: list[Violation] = []
    kept: list[Part] = []
    for part in parts:
        plan = reading.plans.get(part.name) or reading.rest
        if plan is None:
            _miss_part(reading, part, wrong)
            continue
        kept.append(part)
        _put(value, part, plan, _part_value(part, plan, reading.twins, wrong), wrong)
    written, boundary = multipart.join(kept)
    return Content(value, written, f"multipart/form-data; boundary={boundary}", tuple(wrong))


def _miss_part(reading: MultipartBody, part: Part, wrong: list[Violation]) -> None:
    if is_deceptive(part.name):
        raise Malformed(f"the part name {echo(part.name)} has control characters")
    if reading.unknown == "refuse":
        wrong.append(unknown_field(AT_BODY, part.name, "part", reading.plans))


def _put(value: dict[str, Json], part: Part, plan: PartPlan, each: Json, wrong: list[Violation]) -> None:
    if plan.is_repeated:
        value.setdefault(part.name, []).append(each)
    elif part.name in value and plan.is_either:
        before = value[part.name]
        value[part.name] = [*(before if isinstance(before, list) else [before]), each]
    elif part.name in value:
        wrong.append(given_twice(AT_BODY, part.name, part.name))
    else:
        value[part.name] = each


def _part_value(part: Part, plan: PartPlan, twins: frozenset[str], wrong: list[Violation]) -> Json:
    if part.content_type is not None:
        essence = parse_media_type(part.content_type).essence
        if plan.content_types and not any(matches(declared, essence) for declared in plan.content_types):
            wrong.append(_wrong_part_type(part.name, essence, plan.content_types))
    match plan.reading:
        case "binary":
            return describe(part.content, part.content_type, part.filename)
        case "json":
            return strictjson.read(part.content, twins)[0]
        case "text":
            return plan.shape.read(_utf8(part.content))
        case _ as never:
            assert_never(never)


def _wrong_part_type(name: str, essence: str, declared: tuple[str, ...]) -> Violation:
    return Violation(
        f"{AT_BODY}/{name}", "contentType", f"{echo(essence)} is not a media type of this part", list(declared)
    )


def _parts_of(reading: MultipartBody, value: Json) -> list[Part]:
    if not isinstance(value, dict):
        raise Unwritable("the body must be an object: one field for each part of the form", BODY)
    parts: list[Part] = []
    for name, each in value.items():
        plan = reading.plans.get(name) or reading.rest or PartPlan("text")
        many = each if (plan.is_repeated or plan.is_either) and isinstance(each, list) else [each]
        try:
            parts.extend(_write_part(name, one, plan, reading.twins) for one in many)
        except Unwritable as error:
            raise error.of(name, AT_BODY) from None
    return parts


def _write_part(name: str, value: Json, plan: PartPlan, twins: frozenset[str]) -> Part:
    match plan.reading:
        case "binary":
            return _file(name, value)
        case "json":
            return Part(name, strictjson.prove(value, twins), _JSON)
        case "text":
            return Part(name, write_scalar(value, plan.shape).encode())
        case _ as never:
            assert_never(never)


def _file(name: str, value: Json) -> Part:
    """Read bytes given by name: a plain string, or `{"$base64": …, "content_type"?, "filename"?}`."""
    match value:
        case str():
            return Part(name, value.encode(), None, name if name != BODY else None)
        case {"$base64": str(encoded), **more} if set(more) <= {"content_type", "filename"}:
            content_type, filename = more.get("content_type"), more.get("filename", name)
            if not isinstance(content_type, str | None) or not isinstance(filename, str):
                raise Unwritable("`content_type` and `filename` must be strings", *_place(name))
            return multipart.checked(Part(name, _from_base64(name, encoded), content_type, filename))
        case _:
            raise Unwritable(
                'a file is given as a string, or as `{"$base64": "…", "content_type": "…"}`', *_place(name)
            )


def _from_base64(name: str, encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Unwritable("`$base64` does not hold base64", *_place(name)) from None


def _place(name: str) -> tuple[str, str]:
    return (BODY, "") if name == BODY else (name, AT_BODY)
