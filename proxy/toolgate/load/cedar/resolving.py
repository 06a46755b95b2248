"""Where a path of a statement leads among the arguments of an operation, and where it stands in the text.

RULE: says for every path that leads nowhere what is there instead, and what to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from toolgate.core.derived import kind_at
from toolgate.core.kinds import Fields, Kind, Many, Variants
from toolgate.core.reads import Path, place_of
from toolgate.core.suggest import near, shortened
from toolgate.core.wiretext import pointer
from toolgate.load.cedar.lexer import Token
from toolgate.load.cedar.words import is_name, kind_text, path_text, there_are
from toolgate.load.models import did_you_mean

ARGS: Final = ("context", "args")
_LENGTHS: Final = frozenset({"length", "size", "count", "len"})
_ROOTS: Final = frozenset({"principal", "action", "resource", "context"})


class Led(NamedTuple):
    """How far a path leads: to a kind at its end, or to the step that is not there."""

    kind: Kind  # of the last step that is there
    steps: int  # that are there
    optional: tuple[int, ...]  # steps that may be absent, by their number


def follow(kind: Kind, path: Path) -> Led:
    """Follow a path below a kind as far as it leads."""
    optional: list[int] = []
    for at, step in enumerate(path):
        match kind:
            case Fields(members) if step in members:
                kind, is_required = members[step].kind, members[step].required
            case Variants(by) if step in by:
                kind, is_required = by[step], False  # type: ignore[index] # it is one of them
            case _:
                return Led(kind, at, tuple(optional))
        if not is_required:
            optional.append(at)
    return Led(kind, len(path), tuple(optional))


def missing_text(path: Path, led: Led, operation: str) -> str:
    """Say that a path of the arguments does not lead on, and what to do. `path` starts after `context.args`."""
    there, step = (*ARGS, *path[: led.steps]), path[led.steps]
    parent = path_text(there)
    match led.kind:
        case Fields(members) if members or not led.steps:
            what = f"an argument of `{operation}`" if not led.steps else f"declared below `{parent}`"
            return f"`{path_text((*there, step))}` is not {what}{_meant(there, step, members)}"
        case Fields() | "opaque":
            return f"`{parent}` may hold anything, so nothing below it can be read; ask only whether it is there, with `has`"
        case Variants(by):
            first = next(iter(by))
            return f"`{parent}` may be {kind_text(led.kind)}; ask first: `{parent} has {first} && {parent}.{first} …`"
        case Many() if step in _LENGTHS:
            count = "".join(pointer("", each) for each in path[: led.steps])
            return f'`{parent}` is a list; how many it holds is `context.derived.count["{count}"]`'
        case Many():
            items = pointer("".join(pointer("", each) for each in path[: led.steps]), "*")
            every = f'context.derived.every["{pointer(items, step)}"]'
            return f"`{parent}` is a list; ask for all of its elements with `{every}`, or `{parent}.contains(…)`"
        case _:
            return f"`{parent}` is {kind_text(led.kind)} and has nothing below it"


def guard_text(path: Path, optional: tuple[int, ...]) -> str:
    """Write the condition that everything on a path is there. `path` is whole; `optional` numbers its steps."""
    first, last = optional[0], optional[-1]
    asked = path[first : last + 1]
    if all(map(is_name, asked)):
        return f"{path_text(path[:first])} has {'.'.join(asked)}"
    places = (at for at in range(first, last + 1) if at in optional)
    return " && ".join(f"{path_text(path[:at])} has {_has(path[at])}" for at in places)


def pointer_text(text: str, kind: Kind, operation: str) -> str:
    """Say where a pointer into the arguments stops leading on. `kind` is that of the arguments."""
    tokens = place_of(text).tokens
    there = next(at for at in range(len(tokens) + 1) if at == len(tokens) or kind_at(kind, tokens[: at + 1]) is None)
    if there == len(tokens):
        return f"`{text}` does not lead to a list of `{operation}`"
    parent = kind_at(kind, tokens[:there])
    members = parent.kind.members if parent is not None and isinstance(parent.kind, Fields) else {}
    below = "".join(pointer("", each) for each in tokens[:there])
    where = f"below `{below}`" if below else f"among the arguments of `{operation}`"
    hint = did_you_mean(tokens[there], members)
    return f"`{shortened(text)}` leads nowhere: {where} there is no `{shortened(tokens[there])}`{hint}"


def _has(step: str) -> str:
    return step if is_name(step) else f'"{step}"'


def _meant(parent: Path, step: str, members: Mapping[str, object]) -> str:
    found = near(step, members)
    if found:
        return f"; did you mean `{path_text((*parent, found[0]))}`?"
    if not members:
        return "; it takes none"
    return there_are(sorted(members))


def places(tokens: list[Token]) -> dict[Path, int]:
    """Return where each path that is written out stands first: the place of its last step."""
    found: dict[Path, int] = {}
    at = 0
    while at < len(tokens):
        if tokens[at].text in _ROOTS and (at == 0 or tokens[at - 1].text not in {".", "@"}):
            for path, place in _path_at(tokens, at):
                found.setdefault(path, place)
        at += 1
    return found


def _path_at(tokens: list[Token], at: int) -> Iterator[tuple[Path, int]]:
    path: Path = (tokens[at].text,)
    yield path, tokens[at].start
    at += 1
    while at + 1 < len(tokens):
        word, following = tokens[at].text, tokens[at + 1]
        is_indexed = word == "[" and following.kind == "text"
        if word not in {".", "has"} and not is_indexed:
            return
        step = following.text[1:-1] if following.kind == "text" else following.text
        path = (*path, step)
        yield path, following.start
        at += 3 if is_indexed else 2
