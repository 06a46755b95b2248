"""Declared responses: does an answer fit what the document promises.

RULE: judged only where JSON with a schema is declared for this status and media type; compiled at first use, because
most operations of a large document are never called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import jiter

from toolgate.core.bodies import WrongMediaType, is_json, matches, parse_media_type
from toolgate.core.model import Json, Violation
from toolgate.core.schema import Judge

_UNREADABLE: Final = "the answer is declared as JSON and cannot be read as JSON"


class Responses:
    """The judges of one operation's answers, by status (`200`, `4XX`, `default`) and media type."""

    __slots__ = ("_declared", "_judges", "can_judge")

    def __init__(self, declared: Mapping[str, Mapping[str, Callable[[], Judge]]]) -> None:
        self._declared = {status.upper(): dict(by_type) for status, by_type in declared.items()}
        self.can_judge = any(self._declared.values())  # False: no answer is declared that could be wrong
        self._judges: dict[tuple[str, str], Judge] = {}

    def declared_json(self, status: int, content_type: str) -> bool:
        """Whether a JSON schema is declared to judge this answer by."""
        return self.can_judge and self._find(status, content_type) is not None

    def schema(self, status: int) -> Mapping[str, Json] | None:
        """Return the schema declared for a JSON answer with this status, standing alone; None where none is."""
        key = self._status_key(status)
        names = [name for name in self._declared[key] if is_json(name)] if key is not None else []
        if key is None or not names:
            return None
        return self._judge(key, "application/json" if "application/json" in names else names[0]).schema

    def violations(self, status: int, content_type: str, body: bytes) -> tuple[Violation, ...]:
        """Return what is wrong with an answer; nothing where nothing is declared."""
        found = self._find(status, content_type)
        if found is None:
            return ()
        try:
            value = jiter.from_json(body, allow_inf_nan=False)
        except ValueError:
            return (Violation("", "json", _UNREADABLE),)
        return self._judge(*found).violations(value)

    def _find(self, status: int, content_type: str) -> tuple[str, str] | None:
        """Return the status and media type as declared: the exact one before a range before the default."""
        by_type_key = self._status_key(status)
        if by_type_key is None:
            return None
        try:
            essence = parse_media_type(content_type).essence
        except WrongMediaType:
            return None
        if not is_json(essence):
            return None
        declared = self._declared[by_type_key]
        candidates = [each for each in declared if matches(each, essence)]
        return (by_type_key, min(candidates, key=lambda each: each.count("*"))) if candidates else None

    def _status_key(self, status: int) -> str | None:
        code = str(status)
        return next((key for key in (code, f"{code[0]}XX", "DEFAULT") if key in self._declared), None)

    def _judge(self, status: str, media_type: str) -> Judge:
        judge = self._judges.get((status, media_type))
        if judge is None:
            judge = self._judges[status, media_type] = self._declared[status][media_type]()
        return judge
