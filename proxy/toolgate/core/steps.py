"""A run as numbered steps: each call as it was decided, and how it ended.

RULE: a step is made of what the journal says, and of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from toolgate.core.model import Json


class Step(NamedTuple):
    """One call of a run: its decision, and its end when it was permitted."""

    decided: Mapping[str, Json]
    finished: Mapping[str, Json] | None


def steps_of(events: Iterable[Mapping[str, Json]]) -> list[Step]:
    """Join a run's events, oldest first, into its steps in the order of their numbers."""
    decided: dict[str, Mapping[str, Json]] = {}
    finished: dict[str, Mapping[str, Json]] = {}
    for event in events:
        match event.get("event"):
            case "Decided":
                decided[str(event.get("call"))] = event
            case "Finished":
                finished[str(event.get("call"))] = event
            case _:
                pass
    ordered = sorted(decided.items(), key=lambda item: _number(item[1]))
    return [Step(decision, finished.get(call)) for call, decision in ordered]


def _number(decided: Mapping[str, Json]) -> int:
    number = decided.get("number")
    return number if isinstance(number, int) else 0  # also a line somebody wrote into the file is shown
