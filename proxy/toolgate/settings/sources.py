"""Where the settings say a bundle is read from.

RULE: paths are shown as one would type them here, so every problem names its file the same way at `check`, at start and
at a reload.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolgate.load.bundle import Sources
    from toolgate.settings.model import Settings


def sources_of(settings: Settings) -> Sources:
    """What a bundle is read from, and for which environment."""
    from toolgate.load.bundle import Sources  # noqa: PLC0415 - the loader; `--help` does without

    return Sources(
        toolspecs=shortest(settings.toolspecs),
        policies=shortest(settings.policies),
        environment=settings.environment,
        environments=settings.environments,
        mode=settings.mode,
    )


def shortest(path: Path) -> Path:
    """A path as one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
