"""What a plan says of the arguments of a step, and whether a call's fit (DESIGN §9).

RULE: exactly as sent. A literal is equal down to the kind of its numbers; an expression is compared by keyed digests, so
that no answer of an upstream is kept; what the plan leaves out is free.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeAlias
from unicodedata import normalize

import orjson

from toolgate.core.canonical import canonical
from toolgate.core.mask import MaskKey
from toolgate.core.model import Json, Violation
from toolgate.core.outputs import output_digest
from toolgate.core.plan import Attempted
from toolgate.core.planform import NAME
from toolgate.core.schema import Judge
from toolgate.core.wiretext import echo, pointer

LITERAL: Final = "$literal"
CONSTRAINT: Final = "$constraint"
MARKS: Final = frozenset((LITERAL, CONSTRAINT))
_BOUND: Final = re.compile(rf"\$steps\.({NAME})\.outputs\.({NAME})").fullmatch
# Keywords of violations: a part that the plan does not have, and one that waits for an answer that did not hold it.
SURPLUS: Final = "unplanned"
UNANSWERED: Final = "unanswered"
_OTHER_KINDS: Final = frozenset({"true", "false", "null", "{}", "[]"})
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
_LONGEST_SHOWN: Final = 1024  # bytes of an expected value in an answer


class Bound(NamedTuple):
    """What an earlier step answered."""

    step: str
    output: str

    @property
    def text(self) -> str:
        return f"$steps.{self.step}.outputs.{self.output}"


@dataclass(frozen=True, slots=True)
class Equal:
    """One value and no other."""

    value: Json
    written: bytes  # the one text of it


@dataclass(frozen=True, slots=True)
class Fitting:
    """Any value that fits a schema. None: the schema cannot be enforced, and nothing fits."""

    schema: Json
    judge: Judge | None


@dataclass(frozen=True, slots=True)
class Members:
    """An object with exactly these members."""

    members: Mapping[str, Pin]


@dataclass(frozen=True, slots=True)
class Elements:
    """An array of exactly these elements."""

    elements: tuple[Pin, ...]


Pin: TypeAlias = Bound | Equal | Fitting | Members | Elements
# A constraint's schema, compiled as the schemas of operations are; or why it cannot be enforced: pointers and sentences.
Compile: TypeAlias = Callable[[Json], "Judge | tuple[tuple[str, str], ...]"]


class Answers(Protocol):
    """What steps answered so far, as far as it is known."""

    @property
    def steps(self) -> Mapping[str, Attempted]: ...
    @property
    def key(self) -> MaskKey: ...


def bound(value: Json) -> Bound | None:
    """Read an expression; None for any other value."""
    found = _BOUND(value) if isinstance(value, str) else None
    return Bound(found[1], found[2]) if found else None


def pin(value: Json, compiling: Compile) -> Pin:
    """Compile what a plan says of one value."""
    expression = bound(value)
    if expression is not None:
        return expression
    mark = mark_of(value)
    if mark == LITERAL:
        return _equal(value[LITERAL])
    if mark == CONSTRAINT:
        judge = compiling(value[CONSTRAINT])
        return Fitting(value[CONSTRAINT], judge if isinstance(judge, Judge) else None)
    if not has_marks(value):
        return _equal(value)
    if isinstance(value, Mapping):
        return Members({name: pin(each, compiling) for name, each in value.items()})
    return Elements(tuple(pin(each, compiling) for each in value))


def mark_of(value: Json) -> str | None:
    """`$literal` or `$constraint` of an object that is nothing else."""
    if isinstance(value, Mapping) and len(value) == 1:
        (name,) = value
        return name if name in MARKS else None
    return None


def has_marks(value: Json) -> bool:
    """Whether an expression, a constraint or a marked literal stands in it somewhere."""
    if isinstance(value, Mapping):
        return mark_of(value) is not None or any(map(has_marks, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_marks, value))
    return bound(value) is not None


def reads_of(pinned: Pin) -> Iterator[Bound]:
    """The expressions in what a plan says of a value."""
    match pinned:
        case Bound():
            yield pinned
        case Members(members):
            for each in members.values():
                yield from reads_of(each)
        case Elements(elements):
            for each in elements:
                yield from reads_of(each)
        case _:
            return


def is_unanswered(read: Bound, steps: Mapping[str, Attempted]) -> bool:
    """Whether the answer it reads came, and did not hold it: nothing can ever be sent in its place."""
    tried = steps.get(read.step)
    return tried is not None and tried.state == "done" and tried.outputs.get(read.output) is None


def fits(pinned: Pin, value: Json, answers: Answers) -> bool:
    """Whether a value is what the plan says. What waits for an answer that is not there yet may still be."""
    match pinned:
        case Equal():
            return value == pinned.value if type(value) is str else text_of(value) == pinned.written
        case Bound():
            return _is_answer(pinned, value, answers)
        case Fitting(_, judge):
            return judge is not None and judge.fits(value)
        case Members(members):
            return _has_names(value, members) and all(
                fits(each, value[name], answers) for name, each in members.items()
            )
        case Elements(elements):
            if type(value) is not list or len(value) != len(elements):
                return False
            return all(fits(each, element, answers) for each, element in zip(elements, value, strict=True))


def _has_names(value: Json, members: Mapping[str, Pin]) -> bool:
    return type(value) is dict and value.keys() == members.keys()


def _is_answer(pinned: Bound, value: Json, answers: Answers) -> bool:
    tried = answers.steps.get(pinned.step)
    if tried is None or tried.state != "done":
        return True
    return output_digest(value, answers.key) == tried.outputs.get(pinned.output)


def misfits(pinned: Pin, value: Json, path: str, answers: Answers, hidden: Hidden) -> Iterator[Violation]:
    """Say where a value is not what the plan says. `hidden`: whether what stands at a path must not be shown."""
    if fits(pinned, value, answers):
        return
    match _in_parts(pinned):
        case Members(members) if type(value) is dict:
            yield from _misfit_members(members, value, path, answers, hidden)
        case Elements(elements) if type(value) is list and len(value) == len(elements):
            for at, (each, element) in enumerate(zip(elements, value, strict=True)):
                yield from misfits(each, element, pointer(path, at), answers, hidden)
        case Fitting(_, judge) if judge is not None and not hidden(path):
            yield from (each._replace(path=path + each.path) for each in judge.violations(value))
        case _:
            yield _misfit(pinned, value, path, answers, hidden)


Hidden: TypeAlias = Callable[[str], bool]


def missing(pinned: Pin, path: str, hidden: Hidden) -> Violation:
    """The plan has a value where the call has none."""
    return Violation(
        path, "plan", f"is missing; the plan has {_told(pinned, hidden(path))} here", _expected(pinned, path, hidden)
    )


def hider(masks: Iterable[str]) -> Hidden:
    """Whether a path leads to a masked value, into one, or past one."""
    patterns = [mask.split("/") for mask in masks]
    if not patterns:
        return lambda _path: False
    return lambda path: any(_meets(pattern, path.split("/")) for pattern in patterns)


def _meets(pattern: list[str], path: list[str]) -> bool:
    return all(want in {"*", have} for want, have in zip(pattern, path, strict=False))


def _misfit_members(
    members: Mapping[str, Pin], value: Mapping[str, Json], path: str, answers: Answers, hidden: Hidden
) -> Iterator[Violation]:
    for name, each in members.items():
        place = pointer(path, name)
        if name in value:
            yield from misfits(each, value[name], place, answers, hidden)
        else:
            yield missing(each, place, hidden)
    for name in value:
        if name not in members:
            yield Violation(pointer(path, name), SURPLUS, "is not in the plan; leave it out")


def _misfit(pinned: Pin, value: Json, path: str, answers: Answers, hidden: Hidden) -> Violation:
    shown = "the value" if hidden(path) else echo(value)
    if isinstance(pinned, Bound):
        if is_unanswered(pinned, answers.steps):
            message = f"the answer of step `{pinned.step}` held no `{pinned.output}`, so nothing can be sent here"
            return Violation(path, UNANSWERED, message, pinned.text)
        message = f"{shown} is not the `{pinned.output}` that step `{pinned.step}` answered"
        return Violation(path, "plan", message, pinned.text)
    told = _told(pinned, hidden(path))
    if isinstance(pinned, Equal) and not hidden(path):
        shown, told = f"{shown}{_kind(value)}", f"{told}{_apart(value, pinned.value)}"
    message = f"{shown} is not what the plan has here: {told}"
    return Violation(path, "plan", message, _expected(pinned, path, hidden))


def _kind(value: Json) -> str:
    """What a value is, where another one may look the same."""
    match value:
        case bool() | None:
            return ""
        case int():
            return " (a whole number)"
        case float():
            return " (a number with a point)"
        case str() if value in _OTHER_KINDS or _NUMBER(value):
            return " (text)"
        case _:
            return ""


def _apart(sent: Json, planned: Json) -> str:
    """Where two texts part that look the same, as they are shown."""
    if not isinstance(sent, str) or not isinstance(planned, str) or not _look_alike(sent, planned):
        return ""
    at = next((at for at, (one, other) in enumerate(zip(sent, planned, strict=False)) if one != other), None)
    if at is None:
        return f"; {len(sent)} characters were sent, and the plan has {len(planned)}"
    pair = (f"`{each[at].encode('ascii', 'backslashreplace').decode()}`" for each in (sent, planned))
    return f"; character {at + 1} is {' and not '.join(pair)}"


def _look_alike(one: str, other: str) -> bool:
    return echo(one) == echo(other) or normalize("NFKC", one) == normalize("NFKC", other)


def _told(pinned: Pin, is_hidden: bool) -> str:  # noqa: FBT001 (what is known of the place, not a way to behave)
    if is_hidden:
        return "another value"
    match pinned:
        case Equal(value):
            return f"{echo(value)}{_kind(value)}"
        case Bound():
            return f"`{pinned.text}`"
        case Fitting():
            return "a constraint"
        case Members(members):
            return f"an object of {', '.join(f'`{name}`' for name in list(members)[:5])}"
        case Elements(elements):
            return f"an array of {len(elements)}"


def _expected(pinned: Pin, path: str, hidden: Hidden) -> Json:
    """What is expected, as far as it may be shown and is short enough for an answer."""
    if hidden(path):
        return None
    match pinned:
        case Equal(value, written):
            return value if len(written) <= _LONGEST_SHOWN else None
        case Bound():
            return pinned.text
        case Fitting(schema):
            return schema if len(canonical(schema)) <= _LONGEST_SHOWN else None
        case _:
            return None


def narrows(old: Pin, new: Pin) -> bool:
    """Whether whatever fits the new fits the old."""
    match old, new:
        case Equal(), Equal():
            return old.written == new.written
        case Fitting(_, judge), Equal(value):
            return judge is not None and judge.fits(value)
        case Fitting(), Fitting():
            return canonical(old.schema) == canonical(new.schema)
        case ((Members() | Elements()), _):
            return _parts_narrow(old, _in_parts(new))
        case _:
            return old == new


def _parts_narrow(old: Pin, new: Pin) -> bool:
    match old, new:
        case Members(members), Members(others):
            return members.keys() == others.keys() and all(
                narrows(each, others[name]) for name, each in members.items()
            )
        case Elements(elements), Elements(others):
            return len(elements) == len(others) and all(map(narrows, elements, others))
        case _:
            return False


def _in_parts(pinned: Pin) -> Pin:
    """A literal object or array, part by part."""
    match pinned:
        case Equal(dict() as value):
            return Members({name: _equal(each) for name, each in value.items()})
        case Equal(list() as value):
            return Elements(tuple(map(_equal, value)))
        case _:
            return pinned


def _equal(value: Json) -> Equal:
    return Equal(value, text_of(value))


def text_of(value: Json) -> bytes:
    """The one text of a value: two are the same exactly when their texts are."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # what orjson does not know, such as an integer beyond 64 bit
        return canonical(value)
