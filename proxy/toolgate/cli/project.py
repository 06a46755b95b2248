"""The bundle that the settings name, as commands load it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolgate.core.bundle import Bundle
    from toolgate.load.bundle import Sources
    from toolgate.settings import Settings


def sources_of(settings: Settings) -> Sources:
    """What the settings say a bundle is read from, with paths as one would type them here."""
    from toolgate.load.bundle import Sources  # noqa: PLC0415 - the loader; `--help` does without

    return Sources(
        toolspecs=shortest(settings.toolspecs),
        policies=shortest(settings.policies),
        environment=settings.environment,
        environments=settings.environments,
    )


def load_project(settings: Settings) -> Bundle:
    """Load everything the settings name. Raises BundleError with every problem."""
    from toolgate.load.bundle import load  # noqa: PLC0415 - the loader; `--help` does without

    return load(sources_of(settings))


def shortest(path: Path) -> Path:
    """A path as one would type it here: problems name files by it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
