"""What the process need not keep in mind: garbage of loading, and code that only loading ran.

RULE: nothing is collected on the path of a call that could have been taken out of sight before, and nothing is given
back that the kernel could not read again from the file it came from.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_THRESHOLDS: Final = (50_000, 20, 50)  # a call allocates little that is cyclic; the default looks every few calls
_MAPPINGS: Final = Path("/proc/self/smaps")
_MAPPING: Final = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+).*$((?:\n[A-Z].*$)+)", re.MULTILINE)
_UNCHANGED: Final = re.compile(r"^(?:Private_Dirty|Shared_Dirty|Anonymous|Swap): +0 kB$", re.MULTILINE)
_FIGURES: Final = 4  # what `_UNCHANGED` names: where the kernel tells less, nothing is known to be unchanged
_CODE: Final = "r-xp"
_NO_FILE: Final = "0"
_DONTNEED: Final = 4  # MADV_DONTNEED of madvise(2)


class Stretch(NamedTuple):
    """A part of the address space."""

    start: int
    size: int


def begin() -> None:
    """Leave what was imported alone: to look through it once more would take a tenth of the start."""
    gc.set_threshold(*_THRESHOLDS)
    gc.freeze()


def settle() -> None:
    """Take what was loaded out of the collector's sight, for a bundle lives until it is replaced; drop loading's code."""
    gc.collect()
    gc.freeze()
    _give_back()


def settle_anew() -> None:
    """The same once another bundle serves: what the last one was made of is garbage now."""
    gc.unfreeze()
    settle()


def clean_code(mappings: str) -> Iterator[Stretch]:
    """Where the code of files is mapped of which this process changed nothing, as `/proc/PID/smaps` tells it."""
    for mapping in _MAPPING.finditer(mappings):
        start, end, allowed, inode, figures = mapping.groups()
        if allowed == _CODE and inode != _NO_FILE and len(_UNCHANGED.findall(figures)) == _FIGURES:
            yield Stretch(int(start, 16), int(end, 16) - int(start, 16))


def _give_back() -> None:
    """Unmap the pages of all code; what is run again is found in the page cache. Does nothing where that is not Linux."""
    try:
        stretches = list(clean_code(_MAPPINGS.read_bytes().decode(errors="replace")))
        import ctypes  # noqa: PLC0415 - a millisecond that only Linux has a use for

        advise = ctypes.CDLL(None).madvise
    except (ImportError, OSError, AttributeError):
        return
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for stretch in stretches:
        advise(stretch.start, stretch.size, _DONTNEED)  # a refusal leaves the pages where they are
