"""What is wrong with what a statement reads, told in the words of its file.

RULE: each message names what is written there, says what is so instead, and gives words that work. Cedar's own names
of types and policies never show.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Final

from toolgate.core.actions import ACTION, TOOL, uid
from toolgate.core.amounts import COUNTED
from toolgate.core.bundle import Problem
from toolgate.core.derived import kind_at, kind_of_count, kind_of_every
from toolgate.core.kinds import Fields, Kind, Many
from toolgate.core.reads import Path, place_of
from toolgate.core.suggest import shortened
from toolgate.load.cedar.checking import Alike, Fault, Parsed
from toolgate.load.cedar.comparing import PLAIN, Misfit, misfits
from toolgate.load.cedar.complaints import TIME_OF_DAY
from toolgate.load.cedar.resolving import ARGS, Led, follow, guard_text, missing_text, places, pointer_text
from toolgate.load.cedar.schema import CONTEXT, RUN
from toolgate.load.cedar.syntax import problem
from toolgate.load.cedar.tree import resource_type
from toolgate.load.cedar.vocabulary import Known, Vocabulary, scope_names
from toolgate.load.cedar.words import a, cedars_text, path_text, there_are
from toolgate.load.models import did_you_mean

_UNKNOWN: Final = "policy.unknown"
_ABSENCE: Final = "policy.absent"
_TYPE: Final = "policy.type"
_ANYTHING: Final = "`{}` may be anything, so its value cannot be compared; ask only whether it is there, with `has`"
_NOT_AN_OBJECT: Final = "OpenRecord"  # Cedar's word for what has members
_EVERY: Final = "`{0}` has no `*`; write `{0}/*` for the elements of a list"
_POINTERS: Final[Mapping[Path, Callable[[Kind, str], object]]] = {
    ("context", "nulls"): lambda kind, text: kind_at(kind, place_of(text).tokens),
    ("context", "derived", "count"): kind_of_count,
    ("context", "derived", "every"): kind_of_every,
}
_PLAIN_CONTEXT: Final[Mapping[Path, str]] = {
    ("context", "now"): f"a point in time and has nothing below it; {TIME_OF_DAY}",
    ("context", "environment"): "text and has nothing below it",
    ("context", "on_behalf_of"): "text and has nothing below it",
}
_LATER: Final[Mapping[Path, str]] = {
    ("context", "plan"): "plans",
}
_ABSENT: Final = re.compile(r'access to optional attribute `(.+)` in context for Action::"(.+)"$')
_MISSING: Final = re.compile(r'attribute `(.+)` in context for Action::"(.+)" not found$')
_ABSENT_HERE: Final = re.compile(r"access to optional attribute `(.+)` on entity type `(.+)`$")
_MISSING_HERE: Final = re.compile(r"attribute `(.+)` on entity type `(.+)` not found$")
_TAG: Final = re.compile(r'access to tag `"(.+)"` on')
_KINDS: Final = re.compile(r"unexpected type: expected (.+) but saw (.+)$|the types (.+) and (.+) are not compatible$")
_LITERAL: Final = re.compile(r'failed to parse as (?:an? )?(\w+) (?:value|address): `"(.*)"`')
_OPAQUE: Final[tuple[Kind, ...]] = ("opaque", Many("opaque"))
_CONTEXT_KINDS: Final[Mapping[Path, Kind]] = {
    ("context", "environment"): "text",
    ("context", "on_behalf_of"): "text",
    ("context", "nulls"): Many("text"),
    ("context", "run", "completed"): Many("text"),
    **dict.fromkeys((("context", "run", name) for name in ("calls", "refusals", "age_s", "by_operation")), "long"),
    ("context", "derived", "count"): "long",
}


def retold(parsed: Parsed, faults: Iterable[Fault], alike: tuple[Alike, ...], known: Vocabulary) -> list[Problem]:
    """Every problem of what one statement reads: what Cedar found, and what Cedar does not look for."""
    telling = _Telling(parsed, alike, known)
    telling.unknown_context()
    if alike:
        telling.never_there()
        telling.pointers()
        telling.unreadable()
    telling.faults(fault.said for fault in faults)
    return telling.problems


class _Telling:
    """The problems of one statement, each said once."""

    def __init__(self, parsed: Parsed, alike: tuple[Alike, ...], known: Vocabulary) -> None:
        self._parsed = parsed
        self._alike = {each.name: each for each in alike}
        self._reached = tuple(member for each in alike for member in each.members)
        self._known = known
        self._paths = parsed.reads.values | parsed.reads.presence
        self._told: set[Path] = set()
        self._guards: set[str] = set()
        self.problems: list[Problem] = []

    @cached_property
    def _places(self) -> dict[Path, int]:
        return places(list(self._parsed.source.tokens()))

    # -- what Cedar does not look for ------------------------------------------------------------------------------

    def unknown_context(self) -> None:
        """Members of the context that do not exist; with `has`, Cedar takes them for always absent."""
        for path in sorted(self._paths):
            plain, step = path[:2], path[2:3]
            if step and plain in _PLAIN_CONTEXT:
                self._say(path[:3], f"`{path_text(plain)}` is {_PLAIN_CONTEXT[plain]}", _TYPE)
            for size, names in ((2, CONTEXT), (3, RUN)):
                start = path[:size]
                is_open = size == 3 and path[:2] != ("context", "run")  # noqa: PLR2004 (context.run.NAME)
                if path[0] != "context" or len(path) < size or is_open or path[size - 1] in names:
                    continue
                later = f"is not there yet: {_LATER[start]} come with a later version" if start in _LATER else ""
                known = f"is not known{_meant(path[size - 1], names, path_text(path[: size - 1]) + '.')}"
                self._say(start, f"`{path_text(start)}` {later or known}", _UNKNOWN)
                break

    def never_there(self) -> None:
        """What no operation has. Behind a `has`, Cedar takes it for always absent, and the condition for false."""
        for path in sorted(self._paths):
            if path[:2] == ARGS and len(path) > len(ARGS):
                self._never_argument(path)
            elif path[0] == "resource" and len(path) > 1:
                self._never_attribute(path)

    def _never_argument(self, path: Path) -> None:
        steps = path[len(ARGS) :]
        led = [(follow(known.kind, steps), known) for known in self._reached]
        if all(each.steps < len(steps) for each, _ in led):
            nearest, known = max(led, key=lambda each: each[0].steps)
            told = missing_text(steps, nearest, known.key)
            if isinstance(nearest.kind, Fields) and len(led) > 1:
                there = (*ARGS, *steps[: nearest.steps])
                names = {name for each, _ in led if isinstance(each.kind, Fields) for name in each.kind.members}
                told = f"no operation{self._scope()} has `{path_text((*there, steps[nearest.steps]))}`"
                told += did_you_mean(steps[nearest.steps], names)
            self._say(path[: len(ARGS) + nearest.steps + 1], told, _UNKNOWN)

    def _never_attribute(self, path: Path) -> None:
        asked = resource_type(self._parsed.statement.template.resource)
        about = {kind for known in self._reached for kind in known.types}
        types = sorted(about if asked is None else about & {asked})
        if all(follow(self._known.shape(kind), path[1:]).steps < len(path) - 1 for kind in types):
            self._say(path, self._missing_attribute(path[1:], types), _UNKNOWN)

    def pointers(self) -> None:
        """Pointers into the arguments that lead nowhere, or not to what is asked of them."""
        reads = self._parsed.reads
        for start, find in _POINTERS.items():
            for text in sorted(reads.named(*start)):
                if not any(find(known.kind, text) for known in self._reached):
                    first = self._reached[0]
                    told = _EVERY if start[-1] == "every" and "*" not in text else ""
                    message = told.format(text) or pointer_text(text, first.kind, first.key)
                    self._say((*start, text), message, _UNKNOWN, place=self._find(f'"{text}"'))

    def unreadable(self) -> None:
        """Values that the schema does not describe: no call could be told to Cedar."""
        asked = self._parsed.actions_asked  # a condition may leave these out; at a call it would refuse all the same
        reached = [each for each in self._reached if each.key not in asked]
        for path in sorted(self._parsed.reads.values):
            steps = path[len(ARGS) :]
            if path[:2] == ARGS and steps:
                found = [known for known in reached if _end(follow(known.kind, steps), len(steps)) in _OPAQUE]
                if found:
                    self._say(path, self._for(found, _ANYTHING.format(path_text(path))), _TYPE)

    # -- what Cedar says -------------------------------------------------------------------------------------------

    def faults(self, said: Iterable[str]) -> None:
        told = set(said)
        self._not_objects(told)
        unfit: list[str] = []
        absent: dict[str, list[Known]] = {}
        missing: dict[str, list[Known]] = {}
        for each in sorted(told, key=lambda text: (len(text), text)):  # Cedar's own order changes from run to run
            if match := _ABSENT.search(each):
                absent.setdefault(match.group(1), []).extend(self._alike[match.group(2)].members)
            elif match := _MISSING.search(each):
                missing.setdefault(match.group(1), []).extend(self._alike[match.group(2)].members)
            elif not self._of_resource(each):
                unfit.append(each)
        for text, found in missing.items():
            self._missing(self._path(text), found)
        for text, found in absent.items():
            self._absent(self._path(text), found)
        if unfit:
            self._of_kinds(unfit)

    def _not_objects(self, said: set[str]) -> None:
        """What leads on below a text or a list for some of the operations: Cedar says only that kinds do not fit."""
        for path in sorted(self._paths) if any(_NOT_AN_OBJECT in each for each in said) else ():
            steps = path[len(ARGS) :]
            if path[:2] == ARGS and steps:
                led = [(follow(known.kind, steps), known) for known in self._reached]
                found = [(each, known) for each, known in led if each.steps < len(steps) and _is_plain(each.kind)]
                if found and len(found) < len(led):
                    first, known = found[0]
                    told = missing_text(steps, first, known.key).partition("; ")[0]
                    self._say(path, self._for([each for _, each in found], told), _TYPE)
                    self._told.update(path[:size] for size in range(len(ARGS) + 1, len(path)))

    def _path(self, text: str) -> Path:
        """Return the path that Cedar writes as this text."""
        ways = sorted({path[:size] for path in self._paths for size in range(2, len(path) + 1)}, key=len)
        return next((way for way in ways if path_text(way) == f"context.{text}"), ("context", *text.split(".")))

    def _missing(self, path: Path, found: list[Known]) -> None:
        """Tell of what some of the operations do not have: what none has is told already."""
        guard = guard_text(path, (len(path) - 1,))
        told = f"there is no `{path_text(path)}`; narrow the action, or write `{guard} && …` before it"
        self._say(path, self._for(found, told), _UNKNOWN)

    def _absent(self, path: Path, found: list[Known]) -> None:
        optional: tuple[int, ...] = (len(path) - 1,)
        if path[:2] == ARGS:
            whole = max((each for each in self._paths if each[: len(path)] == path), key=len, default=path)
            numbers = follow(found[0].kind, whole[len(ARGS) :]).optional
            optional = tuple(len(ARGS) + at for at in numbers) or optional
            guard = guard_text(whole, optional)
        else:
            guard = guard_text(path, optional)
        if guard not in self._guards:
            self._guards.add(guard)
            told = f"`{path_text(path)}` may be absent; write `{guard} && …` before it"
            self._say(path, self._for(found, told), _ABSENCE)

    def _of_resource(self, said: str) -> bool:
        """Tell of an attribute or a tag; False when it is about neither."""
        absent, missing, tag = _ABSENT_HERE.search(said), _MISSING_HERE.search(said), _TAG.search(said)
        if tag:
            name = tag.group(1)
            told = f'the tag `{name}` may be absent; write `principal.hasTag("{name}") && …` before it'
            self._say(("tag", name), told, _ABSENCE, place=self._find(f'"{name}"'))
        elif absent:
            name, kind = absent.groups()
            path = ("resource", *name.split("."))
            guard = guard_text(path, (len(path) - 1,))
            told = f"not every {kind} has `{path_text(path)}`; write `{guard} && …` before it"
            self._say(path, told, _ABSENCE)
        elif missing:
            name, kind = missing.groups()
            path = ("resource", *name.split("."))
            self._say(path, self._missing_attribute(path[1:], [kind]), _UNKNOWN)
        return bool(absent or missing or tag)

    def _missing_attribute(self, path: Path, types: list[str]) -> str:
        text = path_text(("resource", *path))
        if types == [TOOL]:
            about = next(known.key for known in self._reached if TOOL in known.types)
            others = [each for each, fields in self._known.attributes.items() if path[0] in fields.members]
            told = f"`{text}`: a call of `{about}` is, or may be, about the tool itself, which has no attributes"
            return told + _whose(others, {kind for known in self._reached for kind in known.types})
        names = sorted({each for kind in types for each in self._known.shape(kind).members})
        if names:
            return f"`{text}`: {_either(types)} has no `{path[0]}`{_meant(path[0], names)}"
        return f"`{text}`: no catalogue of `{self._known.environment}` says what attributes {_either(types)} has"

    def _of_kinds(self, said: list[str]) -> None:
        """Tell what does not fit what; Cedar names kinds only, so the words are looked for."""
        found: dict[Misfit, list[Known]] = {}
        for alike in self._alike.values():
            for misfit in misfits(self._parsed.statement.template, partial(self._kind, known=alike.members[0])):
                found.setdefault(misfit, []).extend(alike.members)
        for misfit, members in found.items():
            place = self._places.get(misfit.path) if misfit.path else self._find(misfit.word)
            is_for_all = len(members) == len(self._reached)
            message = misfit.message if is_for_all else misfit.message.partition("; ")[0]
            self._say((misfit.message,), self._for(members, message), _TYPE, place=place)
        for each in said:
            is_told = self._told and (_KINDS.search(each) is not None)
            if not is_told:
                self._say((each,), _general(each), _TYPE, place=self._literal_place(each))

    def _literal_place(self, said: str) -> int:
        literal = _LITERAL.search(said)
        return self._find(f'"{literal.group(2)}"') if literal else 0

    def _kind(self, path: Path, known: Known) -> Kind | None:
        """What stands at a path for an operation, as far as that is known."""
        match path:
            case ("context", "args", *steps):
                return _end(follow(known.kind, tuple(steps)), len(steps))
            case ("context", "derived", "every", text):
                every = kind_of_every(known.kind, text)
                return None if every is None else every.kind
            case ("context", "run", "spent", dimension):
                return "long" if dimension in COUNTED else "decimal"
            case ("resource", *steps) if steps:
                ends = (_end(follow(self._known.shape(each), tuple(steps)), len(steps)) for each in known.types)
                return next((each for each in ends if each is not None), None)
            case _:
                return _CONTEXT_KINDS.get(path[:3])

    # -- saying it -------------------------------------------------------------------------------------------------

    def _for(self, found: list[Known], message: str) -> str:
        """Put before a message for which operations it holds, and after it how to leave them out."""
        keys = list(dict.fromkeys(known.key for known in found))
        if len(self._reached) == 1:
            return message
        every = f"{len(self._reached):,} operations{self._scope()}"
        if len(keys) == len(self._reached):
            return f"for all {every}, such as `{keys[0]}`: {message}"
        example = f" (`{keys[0]}`)" if len(keys) == 1 else f", such as `{keys[0]}`"
        told = f"for {len(keys):,} of {every}{example}: {message}"
        if "narrow the action" in message or "&& …" in message:
            return told
        asked = f", or write `action != {uid(ACTION, keys[0])} && …` before it" if len(keys) == 1 else ""
        return f"{told}; narrow the action{asked}"

    def _scope(self) -> str:
        names = scope_names(self._parsed.statement.template.action)
        return f" of `{next(iter(names))}`" if names is not None and len(names) == 1 else ""

    def _find(self, word: str) -> int:
        return max(0, self._parsed.source.text.find(word))

    def _say(self, path: Path, message: str, code: str, *, place: int | None = None) -> None:
        if any(path[: len(told)] == told for told in self._told):
            return
        self._told.add(path)
        at = self._places.get(path, 0) if place is None else place
        self.problems.append(problem(self._parsed.source, at, code, message))


def _whose(types: list[str], about: set[str]) -> str:
    """What to write for an attribute that some type has and the tool itself has not."""
    if not types:
        return ""
    if types[0] in about:
        return f"; write `resource is {types[0]}` in the scope"
    return f"; map its arguments to {a(f'`{types[0]}`')} (`resources:` in tool.yaml)"


def _either(types: list[str]) -> str:
    return " or ".join(map(a, types))


def _is_plain(kind: Kind) -> bool:
    return isinstance(kind, Many) or kind in PLAIN


def _end(led: Led, steps: int) -> Kind | None:
    return led.kind if led.steps == steps else None


def _meant(name: str, names: Iterable[str], before: str = "") -> str:
    listed = [before + each for each in names]
    name = before + name
    return did_you_mean(name, listed) or there_are(listed)


def _general(said: str) -> str:
    """Tell what has no words in the file that could be found, or needs none."""
    kinds, literal = _KINDS.search(said), _LITERAL.search(said)
    if literal:
        return _of_literal(*literal.groups())
    if kinds and kinds.group(1):
        expected = " or ".join(
            dict.fromkeys(cedars_text(each) for each in kinds.group(1).replace(", or ", ", ").split(", "))
        )
        return f"{expected} is expected, and there is {cedars_text(kinds.group(2))}"
    if kinds:
        return f"{cedars_text(kinds.group(3))} and {cedars_text(kinds.group(4))} do not go together"
    return next((told for part, told in _GENERAL.items() if part in said), f"does not fit: {said}")


def _of_literal(kind: str, text: str) -> str:
    examples = {
        "decimal": 'one to four digits after the point, as in `decimal("0.5")`',
        "datetime": '`datetime("2024-01-31")` or `datetime("2024-01-31T12:00:00Z")`',
        "duration": 'days to milliseconds, as in `duration("1h30m")`',
        "IP": 'an address or a range, as in `ip("10.0.0.0/8")`',
    }
    return f'`{kind.lower()}("{shortened(text)}")` cannot be read; write {examples.get(kind, "another text")}'


_GENERAL: Final[Mapping[str, str]] = {
    "non-literal expressions": "`decimal(…)`, `datetime(…)`, `duration(…)` and `ip(…)` take a text written out, and no argument of the call",
    "empty set literals": "an empty list `[]` says nothing of what it holds; ask `.isEmpty()` instead",
    "do not respect": "`in` asks what can never be: a principal is in a `Role`, an action in a group",
    "wrong number of arguments": "a method is given more or fewer values than it takes",
    "applicable action": "the scope fits no call: no operation it holds is about what it names",
}
