"""Resource catalogues from files: a YAML list of objects, each with its id and its attributes.

    # metrics.yaml
    - {id: node_cpu, tier: critical}
    - {id: node_load1, tier: standard}

RULE: an id is text and occurs once; what is not listed does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping

from toolgate.core.bundle import BundleError, Problem, ResourceCatalogue
from toolgate.core.model import Json
from toolgate.load.files import Folder, Named
from toolgate.load.tools import ToolSpec, View
from toolgate.load.toolspec import CatalogueEntry
from toolgate.load.yaml import strict_parse


def catalogues_of(folder: Folder, spec: ToolSpec, view: View) -> Mapping[str, ResourceCatalogue]:
    """Return the catalogues of a tool in one environment, by type. Raises BundleError with every problem."""
    problems: list[Problem] = []
    catalogues = {}
    for kind, entry in view.entry.resources.items():
        line = spec.parsed.line(("environments", view.environment, "resources", kind))
        try:
            catalogues[kind] = ResourceCatalogue(kind, _attributes(folder, spec, entry, line))
        except BundleError as error:
            problems += error.problems
    if problems:
        raise BundleError(problems)
    return catalogues


def _attributes(folder: Folder, spec: ToolSpec, entry: CatalogueEntry, line: int) -> Mapping[str, Mapping[str, Json]]:
    path = spec.folder / entry.file
    shown = folder.name(path)
    parsed = strict_parse(folder.read_named(Named(path, spec.shown, line)), shown)
    if not isinstance(parsed.value, list):
        message = f"is not a list; write one object for each resource, such as `- {{{entry.id}: node_load1}}`"
        raise BundleError([Problem(shown, 1, "resources.list", message)])
    found: dict[str, Mapping[str, Json]] = {}
    problems = []
    for at, item in enumerate(parsed.value):
        wrong = _add(found, item, entry.id)
        if wrong:
            problems.append(Problem(shown, parsed.line((at,)), "resources.item", wrong))
    if problems:
        raise BundleError(problems)
    return found


def _add(found: dict[str, Mapping[str, Json]], item: Json, id_key: str) -> str | None:
    """Add one resource; return what is wrong with it."""
    if not isinstance(item, dict) or id_key not in item:
        return f"has no `{id_key}`; each resource is an object with its id and its attributes"
    name = item[id_key]
    if not isinstance(name, str) or not name:
        return f"has an `{id_key}` that is not text; quote it"
    if name in found:
        return f"lists `{name}` twice; keep one"
    found[name] = {key: value for key, value in item.items() if key != id_key}
    return None
