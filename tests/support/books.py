"""Joining three books that were kept apart: what agents were told, what the upstream saw, what the journal says.

RULE: an item names its call in all three, so nothing here trusts an id that the gate gave out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tests.e2e.world import Heard
from tests.support.gate import Gate


def permits(gate: Gate) -> dict[str, list[dict[str, Any]]]:
    """Every `Decided: permit`, by item."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in gate.events("Decided"):
        if event["decision"] == "permit":
            found.setdefault(event["arguments"]["id"], []).append(event)
    return found


def assert_written_ahead(gate: Gate, seen: Iterable[str]) -> None:
    """INV1 and INV11: what the upstream saw was permitted in writing, and each permit was sent at most once."""
    permitted, counted = permits(gate), Counter(seen)
    assert {item for item in counted if item not in permitted} == set()
    assert {item: count for item, count in counted.items() if count > len(permitted[item])} == {}


def assert_every_permit_ended_once(gate: Gate) -> None:
    """INV4: after the next start every permitted call has exactly one `Finished`."""
    ended = Counter(event["call"] for event in gate.events("Finished"))
    permitted = [event["call"] for events in permits(gate).values() for event in events]
    assert len(permitted) == len(set(permitted))
    assert ended == Counter(permitted)


def assert_agents_were_told_the_truth(answers: Mapping[str, Heard | None], seen: Iterable[str]) -> None:
    """INV12: success means the upstream answered; `sent: no` means it saw nothing; refused means not sent."""
    counted = Counter(seen)
    for item, heard in answers.items():
        if heard is None:
            continue
        if heard.headers["toolgate-source"] == "upstream":
            assert counted[item] == 1, (item, heard)
        elif heard.json["sent"] == "no":
            assert counted[item] == 0, (item, heard)
