"""The bundle that the settings name, as commands load it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolgate.settings.sources import sources_of

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.settings import Settings


def load_project(settings: Settings) -> Bundle:
    """Load everything the settings name. Raises BundleError with every problem."""
    from toolgate.load.bundle import load  # noqa: PLC0415 - the loader; `--help` does without

    return load(sources_of(settings))


def without_tools(environment: str) -> str:
    """The warning for an environment that no tool has an entry for."""
    return (
        f"no tool has an entry for `{environment}`, so every call would be refused; add `{environment}:` under "
        "`environments:` of a tool.yaml, or choose another with `environment:` or `--environment`"
    )
