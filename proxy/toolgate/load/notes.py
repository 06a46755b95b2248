"""What is wrong with a vendor's document, or not enforced as it says; and how its places are written.

RULE: each thing is said once, with a JSON Pointer into the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote

from toolgate.core.model import Json
from toolgate.core.wiretext import pointer

# Where the parent is, and a token: a pointer is only written when something is noted.
At: TypeAlias = tuple[Any, str]


@dataclass(frozen=True, slots=True)
class Note:
    """Something in a document that is enforced differently from what it says, or not at all."""

    pointer: str
    status: Literal["only reported", "not understood"]
    message: str


class Said:
    """Notes and problems of one document, each said once."""

    __slots__ = ("_said", "notes", "problems")

    def __init__(self) -> None:
        self.notes: list[Note] = []
        self.problems: list[tuple[str, str]] = []
        self._said: set[tuple[str, str]] = set()

    def report(self, at: At | str, message: str) -> None:
        self._add(Note(written(at), "only reported", message))

    def puzzle(self, at: At | str, message: str) -> None:
        self._add(Note(written(at), "not understood", message))

    def fail(self, at: At | str, message: str) -> None:
        problem = (written(at), message)
        if problem not in self._said:
            self._said.add(problem)
            self.problems.append(problem)

    def _add(self, note: Note) -> None:
        if (note.pointer, note.message) not in self._said:
            self._said.add((note.pointer, note.message))
            self.notes.append(note)


def written(at: At | str) -> str:
    """Write a place as a pointer."""
    tokens = []
    while not isinstance(at, str):
        at, token = at
        tokens.append(token)
    text = at
    for token in reversed(tokens):
        text = pointer(text, token)
    return text


def resolve(document: Mapping[str, Json], reference: Json) -> Json:
    """Return what a local reference points to. Raises LookupError."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        raise LookupError(reference)
    node: Json = document
    for raw in reference[1:].split("/")[1:]:
        token = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and token.isdigit() and int(token) < len(node):
            node = node[int(token)]
        elif isinstance(node, Mapping) and (token in node or unquote(token) in node):
            node = node[token] if token in node else node[unquote(token)]
        else:
            raise LookupError(reference)
    return node
