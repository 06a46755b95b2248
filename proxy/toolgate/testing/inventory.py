"""What changes of the resources that two configurations know: who lists a type, which exist, what they are like.

RULE: what a live catalogue lists is known to a running gate only; of it, only who lists it is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from toolgate.core.bundle import Bundle
from toolgate.core.model import Json

_FILE: Final = "a file"
_NOBODY: Final = "nobody"

Listed = Mapping[str, Mapping[str, Json]]  # id → attributes


class ResourceChange(NamedTuple):
    """Resources of one type that are not what they were."""

    environment: str
    tool: str
    type: str
    what: str  # added · removed · other attributes · `listed by: a file → metrics.listMetrics`
    ids: tuple[str, ...] = ()


def resource_changes(old: Bundle, new: Bundle) -> Iterator[ResourceChange]:
    """Return what changes of the resources of one environment, by tool and type."""
    before, after = _listers(old), _listers(new)
    for tool, kind in sorted(before.keys() | after.keys()):
        was, is_now = before.get((tool, kind), _NOBODY), after.get((tool, kind), _NOBODY)
        if was != is_now:
            yield ResourceChange(new.environment, tool, kind, f"listed by: {was} → {is_now}")
        elif is_now == _FILE:
            changed = _changes(old.resources[tool][kind].attributes, new.resources[tool][kind].attributes)
            yield from (ResourceChange(new.environment, tool, kind, what, ids) for what, ids in changed if ids)


def _listers(bundle: Bundle) -> dict[tuple[str, str], str]:
    """Who lists each type of each tool."""
    files = {(tool, kind): _FILE for tool, kinds in bundle.resources.items() for kind in kinds}
    return files | {(each.tool, each.type): each.operation for each in bundle.live}


def _changes(old: Listed, new: Listed) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "added", tuple(name for name in new if name not in old)
    yield "removed", tuple(name for name in old if name not in new)
    yield "other attributes", tuple(name for name in new if name in old and old[name] != new[name])
