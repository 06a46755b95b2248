"""Which release this is: asked once, at start or by a command, of the installed distribution."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def installed_version() -> str:
    """The installed distribution's version; `0+source` where none is installed."""
    try:
        return version("toolgate")
    except PackageNotFoundError:
        return "0+source"
