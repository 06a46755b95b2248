"""A process that only imports the modules it is given, then waits (`python -m bench.imports NAME …`).

RULE: what it weighs and how long it takes is the price of the libraries, not of the product.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import suppress


def main() -> None:
    for name in sys.argv[1:]:
        with suppress(ImportError):  # parts of compiled extensions are listed and cannot be imported by name
            importlib.import_module(name)
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
